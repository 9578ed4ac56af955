//! The active-call server as a library, so that tests can start it.
