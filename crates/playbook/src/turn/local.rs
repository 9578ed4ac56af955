//! Models of ends of turns that run here: the place for one is a row of [`LOCAL`].

use std::fmt::Debug;

use super::completeness::{Completeness, of};

/// Says how likely a turn has ended, without asking anyone. It is called on a call's own task: it answers within a
/// millisecond, opens nothing and keeps nothing.
pub trait LocalModel: Debug + Sync {
    /// Its name in `eou.type`.
    fn name(&self) -> &'static str;
    /// How likely these words are all, 0 to 1. `text` is at most 4,000 characters; `language` a tag such as `en-US`.
    fn likelihood(&self, text: &str, language: &str) -> f64;
}

/// Every model that runs here.
pub static LOCAL: &[&dyn LocalModel] = &[&Grammar];

/// The model that `eou.type` names, in any case.
pub fn named(name: &str) -> Option<&'static dyn LocalModel> {
    LOCAL.iter().copied().find(|model| model.name().eq_ignore_ascii_case(name.trim()))
}

/// `completeness`: the last sign and the last word of the text.
#[derive(Debug)]
struct Grammar;

impl LocalModel for Grammar {
    fn name(&self) -> &'static str {
        "completeness"
    }

    fn likelihood(&self, text: &str, language: &str) -> f64 {
        match of(text, language) {
            Completeness::Complete => 0.9,
            // Most turns of a telephone call are one phrase, and recognizers write no signs.
            Completeness::Unknown => 0.6,
            Completeness::Open => 0.1,
        }
    }
}
