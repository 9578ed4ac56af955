//! Collecting digits.

use std::time::Duration;

use protocol::CallTime;
use regex::RegexBuilder;

use crate::playbook::Collect;

/// Largest compiled pattern, in bytes.
const MAX_PATTERN: usize = 64 * 1024;

/// Digits under way.
#[derive(Clone, Debug)]
pub struct Collector {
    rule: Collect,
    /// Variable that takes the digits.
    pub var: String,
    digits: String,
    tries_left: u32,
    /// When the entry as a whole began; absent while its prompt is spoken.
    begun: Option<CallTime>,
    last_key: Option<CallTime>,
}

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// These digits were entered and fit.
    Complete(String),
    /// They do not fit; there is another try.
    Again,
    /// They do not fit and there is no further try.
    Failed,
}

impl Collector {
    /// A collector for `var` that has not begun.
    pub fn new(rule: Collect, var: String) -> Self {
        let tries_left = rule.retry_times;
        Collector { rule, var, digits: String::new(), tries_left, begun: None, last_key: None }
    }

    /// What is collected.
    pub fn rule(&self) -> &Collect {
        &self.rule
    }

    /// The prompt was heard: the time of the entry begins.
    pub fn begin(&mut self, now: CallTime) {
        self.begun.get_or_insert(now);
    }

    /// A key was pressed.
    pub fn key(&mut self, now: CallTime, key: char) -> Option<Entry> {
        self.begin(now);
        self.last_key = Some(now);
        if Some(key) == self.rule.finish_key {
            return Some(self.judge());
        }
        self.digits.push(key);
        (self.digits.len() >= self.rule.max_digits).then(|| self.judge())
    }

    /// When waiting ends.
    pub fn deadline(&self) -> Option<CallTime> {
        let whole = self.begun? + self.rule.timeout;
        let next = self.last_key.map(|last| last + self.rule.inter_digit_timeout);
        Some(next.map_or(whole, |next| next.min(whole)))
    }

    /// What became of the entry if waiting has ended by `now`.
    pub fn expire(&mut self, now: CallTime) -> Option<Entry> {
        self.deadline().filter(|deadline| *deadline <= now).map(|_| self.judge())
    }

    fn judge(&mut self) -> Entry {
        let digits = std::mem::take(&mut self.digits);
        self.begun = None;
        self.last_key = None;
        if digits.len() >= self.rule.min_digits && self.matches(&digits) {
            return Entry::Complete(digits);
        }
        match self.tries_left.checked_sub(1) {
            Some(left) => {
                self.tries_left = left;
                Entry::Again
            }
            None => Entry::Failed,
        }
    }

    fn matches(&self, digits: &str) -> bool {
        let Some(pattern) = &self.rule.pattern else { return true };
        pattern_of(pattern).is_some_and(|pattern| pattern.is_match(digits))
    }
}

/// The pattern compiled, if it is one of bounded size.
pub(crate) fn pattern_of(pattern: &str) -> Option<regex::Regex> {
    RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build().ok()
}

/// The rule of a collector no playbook names: up to 32 digits, ended by `#`.
pub fn any_digits() -> Collect {
    Collect {
        description: String::new(),
        min_digits: 1,
        max_digits: 32,
        finish_key: Some('#'),
        timeout: Duration::from_secs(15),
        inter_digit_timeout: Duration::from_secs(5),
        pattern: None,
        error_message: None,
        retry_times: 3,
        interruptible: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collector() -> Collector {
        let rule = Collect { max_digits: 4, pattern: Some("^1".into()), retry_times: 1, ..any_digits() };
        Collector::new(rule, "pin".into())
    }

    #[test]
    fn the_last_digit_or_the_finish_key_completes() {
        let mut pin = collector();
        for key in "123".chars() {
            assert_eq!(pin.key(CallTime::ms(100), key), None);
        }
        assert_eq!(pin.key(CallTime::ms(200), '4'), Some(Entry::Complete("1234".into())));
        assert_eq!(pin.key(CallTime::ms(300), '1'), None);
        assert_eq!(pin.key(CallTime::ms(400), '#'), Some(Entry::Complete("1".into())));
    }

    #[test]
    fn waiting_between_keys_ends_an_entry() {
        let mut pin = collector();
        pin.key(CallTime::ms(0), '1');
        assert_eq!(pin.deadline(), Some(CallTime::ms(5000)));
        assert_eq!(pin.expire(CallTime::ms(4999)), None);
        assert_eq!(pin.expire(CallTime::ms(5000)), Some(Entry::Complete("1".into())));
    }

    #[test]
    fn wrong_entries_are_asked_again_and_then_given_up() {
        let mut pin = collector();
        pin.begin(CallTime::ZERO);
        assert_eq!(pin.expire(CallTime::ms(15_000)), Some(Entry::Again));
        pin.key(CallTime::ms(16_000), '2');
        assert_eq!(pin.key(CallTime::ms(16_100), '#'), Some(Entry::Failed));
    }
}
