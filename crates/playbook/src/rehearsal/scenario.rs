//! What a caller does in a rehearsal and what shall happen.

use protocol::value::Extra;
use serde_json::Value;

use crate::error::PlaybookError;
use crate::parse;

/// A file of scenarios for one playbook.
#[derive(Clone, Debug, PartialEq)]
pub struct Suite {
    /// The playbook's file, as the scenario file names it.
    pub playbook: String,
    /// The scenarios, in the order of the file.
    pub scenarios: Vec<Scenario>,
}

impl Suite {
    /// Reads a file of scenarios.
    ///
    /// # Errors
    /// Says which line and key is wrong, and what is expected there.
    pub fn parse(yaml: &str) -> Result<Suite, PlaybookError> {
        parse::scenario::suite(yaml)
    }
}

/// One call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scenario {
    /// What it shows.
    pub name: String,
    /// Line in the file.
    pub line: usize,
    /// Variables of the call.
    pub vars: Extra,
    /// Headers of the INVITE.
    pub headers: Vec<(String, String)>,
    /// What happens, one after the other.
    pub steps: Vec<Play>,
}

/// A step and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Play {
    /// Line in the file.
    pub line: usize,
    /// What happens or shall happen.
    pub step: Step,
    /// Of expectations: within so many simulated milliseconds. Default 10,000.
    pub within_ms: u64,
}

/// What happens or shall happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The caller speaks, when the agent has finished; with `over`, so many milliseconds after the agent began.
    Caller {
        /// The words.
        text: String,
        /// Milliseconds into the agent's utterance.
        over: Option<u64>,
    },
    /// The caller presses these keys, at once.
    Press(String),
    /// Nothing happens for so many milliseconds.
    Silence(u64),
    /// The caller hangs up.
    HangUp,
    /// The transfer under way fails, for this reason.
    Refused(String),
    /// The model is asked and answers this.
    Model {
        /// What it says.
        text: String,
        /// Functions it calls: name and arguments.
        calls: Vec<(String, Value)>,
        /// It fails instead, for this reason.
        fails: Option<String>,
    },
    /// The agent says something.
    Agent(Want),
    /// A tool is used.
    Tool {
        /// Its name: of a function, or of a tag.
        name: String,
        /// Arguments that it is called with, at least these.
        arguments: Option<Value>,
        /// What its request brings.
        returns: Option<Result<String, String>>,
    },
    /// The conversation is in this scene.
    Scene(String),
    /// A variable has this value.
    Var(String, Value),
    /// The agent ends the call, for this reason if one is named.
    Ends(Option<String>),
    /// The call is transferred to this target.
    Transfer(String),
    /// Digits are sent to the far end.
    Digits(String),
}

/// What the agent shall say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// This text is part of it, in any case.
    Text(String),
    /// This regular expression is found in it.
    Pattern(String),
    /// This is a part of it, and a model says yes to a question about it.
    Judge {
        /// The question.
        question: String,
        /// The part, as for [`Want::Text`]; empty for any words.
        text: String,
    },
}
