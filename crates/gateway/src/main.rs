//! The `active-call` command.
fn main() {}
