//! Properties of collectors: an entry is what was pressed, it ends in time, and tries are counted.

use playbook::collector::{Collector, Entry, any_digits};
use playbook::playbook::Collect;
use proptest::prelude::*;
use protocol::CallTime;

fn rule() -> impl Strategy<Value = Collect> {
    let digits = (1_usize..4, 0_usize..4);
    let finish = prop::option::of(Just('#'));
    let pattern = prop::option::of(prop::sample::select(vec!["^1", "^[0-5]+$", "^$"]));
    (digits, finish, pattern, 0_u32..4).prop_map(|((min_digits, more), finish_key, pattern, retry_times)| {
        Collect {
            min_digits,
            max_digits: min_digits + more,
            finish_key,
            pattern: pattern.map(str::to_owned),
            retry_times,
            ..any_digits()
        }
    })
}

/// A key, or none, and the time before it in milliseconds.
fn presses() -> impl Strategy<Value = Vec<(Option<char>, u64)>> {
    let key = prop::option::weighted(0.9, prop::sample::select("0123456789*#".chars().collect::<Vec<_>>()));
    prop::collection::vec((key, prop_oneof![4 => 0_u64..3000, 1 => 0_u64..20_000]), 0..40)
}

/// What a caller pressed, and the collector that takes it.
struct Caller {
    collector: Collector,
    rule: Collect,
    pressed: String,
    wrong: u32,
}

impl Caller {
    /// Whether the entry is over for good.
    fn judged(&mut self, entry: &Entry) -> bool {
        let pressed = std::mem::take(&mut self.pressed);
        let long_enough = (self.rule.min_digits..=self.rule.max_digits).contains(&pressed.len());
        let fits = |pattern: &String| regex::Regex::new(pattern).unwrap().is_match(&pressed);
        let good = long_enough && self.rule.pattern.as_ref().is_none_or(fits);
        match entry {
            Entry::Complete(digits) => {
                assert_eq!((digits, good), (&pressed, true));
                return true;
            }
            Entry::Again => self.wrong += 1,
            Entry::Failed => assert_eq!(self.wrong, self.rule.retry_times),
        }
        assert!(!good, "{pressed} is refused");
        assert!(self.wrong <= self.rule.retry_times);
        *entry == Entry::Failed
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn an_entry_is_what_was_pressed_and_ends_in_time(rule in rule(), presses in presses()) {
        let collector = Collector::new(rule.clone(), "x".into());
        let mut caller = Caller { collector, rule: rule.clone(), pressed: String::new(), wrong: 0 };
        let (mut now, mut last) = (CallTime::ZERO, None);
        caller.collector.begin(now);
        for (key, wait) in presses {
            let next = CallTime::ms(now.as_ms() + wait);
            let deadline = caller.collector.deadline().unwrap();
            prop_assert!(deadline <= now + rule.timeout);
            prop_assert!(last.is_none_or(|last: CallTime| deadline <= last + rule.inter_digit_timeout));
            if deadline <= next {
                let early = CallTime::ms(deadline.as_ms().saturating_sub(1));
                prop_assert!(deadline == CallTime::ZERO || caller.collector.expire(early).is_none());
                let entry = caller.collector.expire(deadline);
                prop_assert!(entry.is_some(), "nothing ends at the deadline");
                if caller.judged(&entry.unwrap()) {
                    return Ok(());
                }
                caller.collector.begin(next);
                last = None;
            }
            now = next;
            let Some(key) = key else { continue };
            if Some(key) != rule.finish_key {
                caller.pressed.push(key);
            }
            last = Some(now);
            if let Some(entry) = caller.collector.key(now, key) {
                if caller.judged(&entry) {
                    return Ok(());
                }
                caller.collector.begin(now);
                last = None;
            } else {
                prop_assert!(caller.pressed.len() < rule.max_digits, "an entry has no end");
            }
        }
    }
}
