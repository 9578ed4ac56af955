//! What is said to and by a language model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which question to the model something belongs to. A message with an older id is dropped on arrival.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct TurnId(pub u64);

crate::value::words! {
    /// Who says a [`Message`].
    Role {
        /// Instructions.
        System = "system",
        /// The caller.
        User = "user",
        /// The agent.
        Assistant = "assistant",
        /// The result of a tool.
        Tool = "tool",
    }
}

/// One entry of a conversation's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Message { role, content: content.into() }
    }
}

/// A question to a language model.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The turn it belongs to; every answer carries it back.
    pub turn: TurnId,
    /// System prompt first, then the history, the caller's last words at the end.
    pub messages: Vec<Message>,
    /// Scene the conversation is in, for rules that hold in one scene only.
    pub scene: String,
}

/// What comes back from a language model, piece by piece.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelOutput {
    /// A piece of the answer as it streams.
    Text(String),
    /// A piece of the model's reasoning; never spoken.
    Reasoning(String),
    /// A complete call of a function.
    ToolCall {
        /// The model's id of this call.
        id: String,
        /// Name of the function.
        name: String,
        /// Arguments as JSON.
        arguments: Value,
    },
    /// The answer is complete.
    Done(Usage),
    /// The answer failed; what came before stands.
    Failed {
        /// What went wrong, free of secrets.
        error: String,
    },
}

/// Tokens a model counted; zero where it tells none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Tokens of the question.
    pub prompt: u64,
    /// Tokens of the answer.
    pub completion: u64,
}
