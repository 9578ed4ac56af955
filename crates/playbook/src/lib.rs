//! Markdown playbooks and the conversation that runs them, without a clock.
