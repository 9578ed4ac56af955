//! `play`.

use std::time::Duration;

use protocol::CallTime;
use protocol::command::Play;

use crate::core::{Core, Effect};
use crate::media::order::UtteranceId;

impl Core {
    pub(super) fn play(&mut self, now: CallTime, play: Play) {
        if !self.audible(now, "play") {
            return;
        }
        if play.url.trim().is_empty() {
            let why = "is empty; write a path under the media folders or an http(s) address";
            return self.wrong(now, "command", "url", why);
        }
        self.interrupt_voice(now, false, Duration::ZERO);
        let play_id = play.play_id.unwrap_or_else(|| play.url.clone());
        let id = self.begin_utterance(now, Some(play_id), true);
        if let Some(utterance) = self.voice.utterances.iter_mut().find(|u| u.id == id) {
            utterance.commanded = true;
            utterance.auto_hangup = play.auto_hangup == Some(true);
            utterance.wait_input = play.wait_input_timeout.map(|t| t.0).filter(|limit| !limit.is_zero());
        }
        self.say_file(now, id, ("url", play.url));
    }

    /// Lets an utterance play the file that the key `field` names.
    pub(crate) fn say_file(&mut self, now: CallTime, id: UtteranceId, (field, url): (&'static str, String)) {
        if let Some(voice) = self.open_source(now, id, field) {
            self.effect(Effect::OpenFile(voice, url));
        }
    }
}
