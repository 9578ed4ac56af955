//! Answers that are JSON: `{"text": "...", "tools": [{"name": "hangup"}]}`, with or without a code fence.
//!
//! Such an answer is spoken when it is complete, because only then is known what its text is.

use std::time::Duration;

use protocol::chat::Role;
use serde_json::{Map, Value};

use super::tools::Called;
use super::{Action, Conversation, Note};
use crate::scanner::Scan;
use crate::tags::Tag;

/// Longest `waitInputTimeout`, in milliseconds.
const MAX_WAIT_MS: u64 = 600_000;

/// Most tools of one answer.
const MAX_TOOLS: usize = 16;

/// What the first characters of an answer say about the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Shape {
    /// Nothing but white space so far.
    #[default]
    Unknown,
    /// Words and tags.
    Words,
    /// Perhaps JSON; the text so far.
    Json(String),
}

impl Shape {
    /// Takes the next piece; what comes back is to be spoken.
    pub(super) fn take<'a>(&mut self, piece: &'a str) -> &'a str {
        if *self == Shape::Unknown {
            match piece.trim_start().chars().next() {
                Some('{' | '`') => *self = Shape::Json(String::new()),
                Some(_) => *self = Shape::Words,
                None => {}
            }
        }
        match self {
            Shape::Json(text) => {
                text.push_str(piece);
                ""
            }
            Shape::Unknown | Shape::Words => piece,
        }
    }
}

impl Conversation {
    /// An answer that began like JSON is complete.
    pub(super) fn speak_json(&mut self, text: &str, out: &mut Vec<Action>) {
        let bare = unfenced(text);
        let Ok(Value::Object(mut reply)) = serde_json::from_str(bare) else {
            if bare.starts_with('{') {
                out.push(Action::Note(Note::Trouble("the model's answer is broken JSON".into())));
            } else {
                self.feed(text, out);
            }
            return;
        };
        let wait =
            ["waitInputTimeout", "wait_input_timeout"].iter().find_map(|key| reply.get(*key)?.as_u64());
        self.speech.manner.wait_input = wait.map(|ms| Duration::from_millis(ms.min(MAX_WAIT_MS)));
        let interruptible =
            ["allowInterrupt", "allow_interrupt"].iter().find_map(|key| reply.get(*key)?.as_bool());
        self.speech.manner.protected = interruptible == Some(false);
        if let Some(Value::String(words)) = reply.remove("text") {
            self.feed(&words, out);
        }
        let Some(Value::Array(tools)) = reply.remove("tools") else { return };
        for tool in tools.into_iter().take(MAX_TOOLS) {
            match tool {
                Value::Object(tool) => self.use_tool(tool, out),
                _ => out.push(Action::Note(Note::Trouble("a tool of the model is no object".into()))),
            }
        }
    }

    /// A tool's fields stand beside its name, or in `arguments`.
    fn use_tool(&mut self, mut tool: Map<String, Value>, out: &mut Vec<Action>) {
        let Some(Value::String(name)) = tool.remove("name") else { return };
        let arguments = tool.remove("arguments").unwrap_or(Value::Object(tool));
        self.say_open_sentence(out);
        match (name.as_str(), &self.reply) {
            // The call is answered long since.
            ("accept", _) => {}
            ("rag", Some(reply)) => {
                let query = arguments.get("query").map(protocol::value::extra_string).unwrap_or_default();
                let text = format!("Nothing was found for {:?}.", protocol::read::shown(&query));
                self.history.push(reply.turn, Role::System, text);
                self.news = true;
                self.count_tool("rag", &query, out);
            }
            ("reject", _) => self.take_call("hangup", &arguments, out),
            _ if self.playbook.tools.named(&name).is_some() => {
                let id = format!("json-{}", self.last_fetch.wrapping_add(1));
                self.call_function(Called { id, name, arguments }, out);
            }
            _ => self.take_call(&name, &arguments, out),
        }
    }

    fn take_call(&mut self, name: &str, arguments: &Value, out: &mut Vec<Action>) {
        match Tag::from_call(name, arguments) {
            Some(tag) => self.take(Scan::Tag(tag), out),
            None => {
                let name = protocol::read::shown(name);
                out.push(Action::Note(Note::Trouble(format!(
                    "the model uses a tool that does not exist: {name}"
                ))));
            }
        }
    }
}

/// The text within a code fence, or all of it.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let Some(inner) = text.strip_prefix("```") else { return text };
    let inner = inner.strip_suffix("```").unwrap_or(inner);
    inner.trim_start_matches(|c: char| c.is_ascii_alphanumeric()).trim()
}
