//! `history`.

use protocol::CallTime;
use protocol::command::History;
use protocol::event::Event;

use crate::core::Core;

impl Core {
    pub(super) fn history(&mut self, now: CallTime, history: History) {
        let event = Event::AddHistory {
            sender: Some(self.facts.id.clone()),
            timestamp: self.unix_ms(now),
            speaker: history.speaker,
            text: history.text,
        };
        self.emit(event);
    }
}
