//! Markdown playbooks and the conversation that runs them, without a clock.
//!
//! A [`Playbook`] is read once from Markdown. A [`Conversation`] is fed with what happens in a call
//! ([`Input`], with the time as an argument) and answers with what shall be done ([`Action`]); it asks to be
//! called again by [`Conversation::timeout`]. It is a client that lives inside the call: it speaks the same
//! commands and hears the same events as a WebSocket client, and has two needs more, to ask a model and to
//! fetch a URL.
//!
//! Must not: open a socket or file, start a task, read a clock or the environment. What a model, a caller or a
//! fetched page says is bounded before it is looked at, and never becomes a template or a number to dial.
//!
//! Reading order: [`playbook`] (what a file says), [`parse`] (how it is read), [`vars`] and [`template`], [`thinking`],
//! [`scanner`] with [`tags`], [`plain`] and [`sentence`] (from streamed text to speech and acts), [`history`],
//! [`speech`] (what is being said and how much of it was heard), [`turn`] (whose turn it is), [`conversation`] (all of
//! it together).
#![forbid(unsafe_code)]

pub mod collector;
pub mod conversation;
pub mod error;
pub mod followup;
pub mod history;
pub mod hosts;
pub mod outcome;
pub mod parse;
pub mod phrases;
pub mod plain;
pub mod playbook;
pub mod prompt;
pub mod rehearsal;
pub mod scanner;
pub mod sentence;
pub mod speech;
pub mod tags;
pub mod template;
pub mod thinking;
pub mod tools;
pub mod transfer;
pub mod turn;
pub mod vars;

pub use conversation::{Action, Arming, Conversation, Ended, HttpRequest, Input, Note, Origin};
pub use error::{PlaybookError, Warning};
pub use outcome::Outcome;
pub use playbook::{Interruption, Playbook, Scene, Strategy};
pub use vars::{BuiltIns, Vars};
