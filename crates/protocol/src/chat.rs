//! What is said to and by a language model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::option::Rule;

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
    /// What is said; of a tool, its result.
    pub content: String,
    /// Functions that the agent calls with this message. Each is followed by its result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Of a result: the id of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

/// A call of a function in a [`Message`], in the shape of chat completions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolCall {
    /// The model's id of this call.
    pub id: String,
    /// Always `function`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What is called.
    pub function: FunctionCall,
}

/// Name and arguments of a [`ToolCall`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FunctionCall {
    /// Name of the function.
    pub name: String,
    /// Arguments, as the text of a JSON object.
    pub arguments: String,
}

/// A function that a model may call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolSpec {
    /// Name: letters, digits, `_` and `-`, at most 64.
    pub name: String,
    /// What it is for, told to the model.
    pub description: String,
    /// Its parameters as a JSON schema of type object.
    pub parameters: Value,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Message { role, content: content.into(), tool_calls: Vec::new(), tool_call_id: None }
    }

    /// The agent's call of a function and its result, which belong together.
    pub fn tool(id: &str, name: &str, arguments: &Value, result: impl Into<String>) -> [Message; 2] {
        let function = FunctionCall { name: name.to_owned(), arguments: arguments.to_string() };
        let call = ToolCall { id: id.to_owned(), kind: "function".to_owned(), function };
        let called = Message { tool_calls: vec![call], ..Message::new(Role::Assistant, "") };
        let result = Message { tool_call_id: Some(id.to_owned()), ..Message::new(Role::Tool, result) };
        [called, result]
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
    /// Functions the model may call.
    pub tools: Vec<ToolSpec>,
    /// Rules in place of those of the model's option, with their templates rendered; empty: those of the option.
    pub rules: Vec<Rule>,
    /// What is said where no rule fits, with its templates rendered; absent: what the option says.
    pub otherwise: Option<String>,
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
