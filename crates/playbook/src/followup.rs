//! Speaking again when the caller is silent.

use protocol::CallTime;

use crate::playbook::FollowUp;

/// Measures the caller's silence and counts how often it was broken for him.
#[derive(Clone, Debug, Default)]
pub struct Silence {
    since: Option<CallTime>,
    count: u32,
}

/// What silence calls for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// Say this.
    Say(String),
    /// Ask the model what to say.
    Ask,
    /// Say goodbye and hang up.
    Goodbye,
}

impl Silence {
    /// Nobody speaks from `now` on, unless silence was measured already.
    pub fn begin(&mut self, now: CallTime) {
        self.since.get_or_insert(now);
    }

    /// Someone speaks.
    pub fn end(&mut self) {
        self.since = None;
    }

    /// The caller said something: the next silence is the first again.
    pub fn answered(&mut self) {
        *self = Silence::default();
    }

    /// When it becomes too long by `rule`.
    pub fn deadline(&self, rule: Option<&FollowUp>) -> Option<CallTime> {
        Some(self.since? + rule?.timeout)
    }

    /// What to do at `now`; counts.
    pub fn expire(&mut self, now: CallTime, rule: Option<&FollowUp>) -> Option<Prompt> {
        let rule = rule.filter(|_| self.deadline(rule).is_some_and(|deadline| deadline <= now))?;
        self.since = None;
        if self.count >= rule.max {
            return Some(Prompt::Goodbye);
        }
        let index = usize::try_from(self.count).unwrap_or(usize::MAX);
        self.count = self.count.saturating_add(1);
        Some(match rule.texts.get(index).or(rule.texts.last()) {
            Some(text) => Prompt::Say(text.clone()),
            None => Prompt::Ask,
        })
    }
}
