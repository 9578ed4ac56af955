//! Whole calls: scripts on a clock moved by hand, what they measure, and the real task with its threads.

mod live;
mod measured;
mod scripts;
