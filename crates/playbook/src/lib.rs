//! Markdown playbooks and the conversation that runs them, without a clock.
#![forbid(unsafe_code)]

pub mod conversation;
pub mod error;
pub mod parse;
pub mod playbook;
pub mod template;
pub mod transfer;
pub mod vars;

pub use conversation::{Action, Conversation, Ended, HttpRequest, Input, Note};
pub use error::{PlaybookError, Warning};
pub use playbook::{Interruption, Playbook, Scene, Strategy};
pub use vars::{BuiltIns, Vars};
