//! What a playbook must withstand, whoever wrote it: a client may send one. Fuzzing runs this probe on what it invents,
//! the tests on what is kept in `fuzz/seeds`.

use std::sync::Arc;

use playbook::{Conversation, Input, Playbook, Vars};
use protocol::CallTime;

/// Most actions of a conversation that begins and that nobody answers.
const MOST_ACTIONS: usize = 10_000;
/// Most bytes of what is said of a playbook beside those of the playbook itself.
const MOST_SAID: usize = 4_096;

/// A file: it is refused with its line in bounded words, or a conversation by it begins and comes to rest.
pub(crate) fn playbook(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Playbook::parse(text, &|_| None) {
        Ok(playbook) => {
            let mut talk = Conversation::new(Arc::new(playbook), Vars::default());
            let mut actions = Vec::new();
            talk.handle(CallTime::ZERO, Input::Answered, &mut actions);
            assert!(actions.len() < MOST_ACTIONS, "the conversation does not come to rest");
        }
        Err(error) => assert!(error.to_string().len() <= data.len() + MOST_SAID),
    }
}
