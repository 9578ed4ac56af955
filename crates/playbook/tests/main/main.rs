//! Conversations as scripts, the scanner's properties, and what the reader of playbooks says of bad ones.

mod parse;
mod scanner;
mod script;
mod speed;
mod world;
