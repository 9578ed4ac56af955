//! The language model of a playbook, and the answers that need none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Over;
use crate::value::{Secret, lenient_number, one_or_many};

option_object! {
    /// The language model of a playbook.
    LlmOption {
        /// Name of the chat model: `openai` (any OpenAI-compatible server), `rules`.
        provider: String,
        /// Model name.
        model: String,
        /// Address in place of the vendor's.
        #[serde(alias = "base_url", alias = "endpoint")]
        base_url: String,
        /// Key.
        #[serde(alias = "api_key", alias = "secretKey", alias = "secret_key")]
        api_key: Secret,
        /// System prompt of a playbook without scenes.
        prompt: String,
        /// Spoken first; the playbook's own `greeting` wins.
        greeting: String,
        /// Language of snippets and sentence rules.
        language: String,
        /// Feature snippets to add to the prompt.
        features: Vec<String>,
        /// Milliseconds within which a caller's words complete the previous ones. Default 3000.
        #[serde(alias = "repair_window_ms", deserialize_with = "lenient_number")]
        repair_window_ms: u32,
        /// Messages after which older ones are summarised. Default 20.
        #[serde(alias = "summary_limit", deserialize_with = "lenient_number")]
        summary_limit: u32,
        /// Text on tools for the prompt.
        #[serde(alias = "tool_instructions")]
        tool_instructions: String,
        /// Sampling temperature.
        temperature: f32,
        /// Longest answer in tokens.
        #[serde(alias = "max_tokens", deserialize_with = "lenient_number")]
        max_tokens: u32,
        /// Answers that are always the same: tried in order before the model, or alone with `provider: rules`.
        rules: Vec<Rule>,
        /// What `rules` says when no rule fits. Default: asks to say it again.
        otherwise: String,
    }
}

impl Over for Vec<Rule> {
    fn over(self, _: &Self) -> Self {
        self
    }
}

/// A fixed answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Rule {
    /// Regular expressions, any of which must be found in what the caller said (any case).
    #[serde(deserialize_with = "one_or_many")]
    pub when: Vec<String>,
    /// Holds in this scene only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scene: Option<String>,
    /// What to answer, with tags; one of several by turn. `$1` or `$name` is what the pattern caught.
    #[serde(deserialize_with = "one_or_many")]
    pub say: Vec<String>,
}
