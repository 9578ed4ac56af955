//! Whole calls: scripts on a clock moved by hand, what they measure, and the real task with its threads.

#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap like tests")]

mod digits;
mod encryption;
mod fence;
mod field;
mod heard;
mod hearing;
mod live;
mod measured;
mod pair;
mod realtime;
mod scripts;
mod sound;
mod waiting;
