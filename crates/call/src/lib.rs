//! A call: its rules in one task, its sound on a media thread, its legs.
