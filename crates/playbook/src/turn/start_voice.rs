//! The caller's turn starts when speech is heard.
//!
//! What must be instant is not decided here: the call's sound is armed beforehand and acts in the tick in which
//! the detector hears speech.

use std::time::Duration;

use crate::conversation::Arming;
use crate::playbook::Interruption;

/// With ducking, speech that lasts so long is no "mm-hm" any more.
const LONGER_THAN_BACKCHANNEL: Duration = Duration::from_millis(700);

/// What the call's sound shall do by itself when speech is heard; `None` when speech alone does nothing.
///
/// Without ducking the voice stops after `minSpeechMs`. With ducking it goes down at the onset and comes back by
/// itself; it stops when the speech lasts longer than an "mm-hm" does, or when words say so before.
pub fn arming(rule: &Interruption) -> Option<Arming> {
    if !rule.strategy.by_voice() {
        return None;
    }
    let stop_after = match rule.duck {
        Some(_) => rule.min_speech.max(LONGER_THAN_BACKCHANNEL),
        None => rule.min_speech,
    };
    Some(Arming { duck: rule.duck, stop_after, ignore_first: rule.ignore_first, fade: rule.volume_fade })
}
