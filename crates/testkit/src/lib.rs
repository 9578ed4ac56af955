//! A simulated world for tests: scripted callers, fake providers, a SIP phone.
