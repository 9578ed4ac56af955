//! What a call's speech model is told beside the caller's voice: texts that it says for want of a synthesizer, the scene
//! it is in, and what was said before it came.

use std::time::Duration;

use protocol::CallTime;
use protocol::chat::{Message, Role};
use providers::RealtimeInput;

use super::{Core, Due, Effect};
use crate::media::order::UtteranceId;
use crate::record::Ended;

/// A text that the model has not begun to say in this time is given up.
const PATIENCE: Duration = Duration::from_secs(15);
/// Texts that may wait to be said; more are refused with an `error` event.
const MOST_TEXTS: usize = 16;
/// Longest text, in bytes.
const LONGEST: usize = 16 * 1024;
/// What a model that comes back is told of the talk: so many of the last lines, of so many characters in all.
const MOST_LINES: usize = 40;
const MOST_CHARACTERS: usize = 16_000;

/// A text for the model, and the utterance as which it is heard.
#[derive(Debug)]
pub(crate) struct Lent {
    utterance: UtteranceId,
    text: String,
    /// The text is whole, and the model was told.
    told: bool,
}

impl Core {
    /// Whether the call's model says what there is no synthesizer for.
    pub(crate) fn lends(&self) -> bool {
        self.option.realtime.is_some()
    }

    /// Adds to what the model is to say as this utterance.
    pub(crate) fn lend(&mut self, now: CallTime, id: UtteranceId, text: &str) {
        let known = self.model.lent.iter().position(|lent| lent.utterance == id);
        let fits = known.map_or(self.model.lent.len() < MOST_TEXTS, |at| {
            self.model.lent.get(at).is_some_and(|lent| !lent.told && lent.text.len() + text.len() <= LONGEST)
        });
        if !fits {
            return self.error(now, "realtime", "too much text waits to be said by the model", 429);
        }
        if let Some(utterance) = self.voice.utterance(id) {
            utterance.lent = true;
        }
        match known.and_then(|at| self.model.lent.get_mut(at)) {
            Some(lent) => lent.text.push_str(text),
            None => self.model.lent.push(Lent { utterance: id, text: text.to_owned(), told: false }),
        }
    }

    /// The text of an utterance is whole: the model is told to say it. `false` when it is not for the model.
    pub(crate) fn tell_lent(&mut self, now: CallTime, id: UtteranceId) -> bool {
        let waits = |lent: &&mut Lent| lent.utterance == id && !lent.told;
        let Some(lent) = self.model.lent.iter_mut().find(waits) else { return false };
        lent.told = true;
        let prompt = to_say(&lent.text);
        self.effect(Effect::ToModel(RealtimeInput::Speak(prompt)));
        self.deadlines.set(now + PATIENCE, Due::Lent);
        true
    }

    /// The utterance as which a new answer of the model is heard, when the model was told to say one.
    pub(crate) fn taken_up(&mut self) -> Option<UtteranceId> {
        let at = self.model.lent.iter().position(|lent| lent.told)?;
        let id = self.model.lent.remove(at).utterance;
        let utterance = self.voice.utterance(id).filter(|utterance| !utterance.cut)?;
        utterance.lent = false;
        Some(id)
    }

    /// An utterance is over, whether the model has begun it or not.
    pub(crate) fn lent_over(&mut self, id: UtteranceId) {
        self.model.lent.retain(|lent| lent.utterance != id);
    }

    /// The model does not say what it was told to: the talk goes on without.
    pub(crate) fn lent_in_vain(&mut self, now: CallTime) {
        let told: Vec<UtteranceId> =
            self.model.lent.iter().filter(|lent| lent.told).map(|lent| lent.utterance).collect();
        for id in told {
            self.error(now, "realtime", "the model did not say what it was told to", 504);
            self.over(now, id, Duration::ZERO, Ended::Whole);
        }
    }

    /// Another connection knows nothing: the talk so far, and what was still to be said.
    pub(crate) fn remind(&mut self) {
        let said = self.said_so_far();
        if !said.is_empty() {
            self.effect(Effect::ToModel(RealtimeInput::History(said)));
        }
        let prompts: Vec<String> =
            self.model.lent.iter().filter(|lent| lent.told).map(|lent| to_say(&lent.text)).collect();
        for prompt in prompts {
            self.effect(Effect::ToModel(RealtimeInput::Speak(prompt)));
        }
    }

    /// The last lines of the talk, and what is being said, oldest first.
    pub(crate) fn said_so_far(&self) -> Vec<Message> {
        let line = |role, content: &str| Message {
            role,
            content: content.to_owned(),
            tool_calls: Vec::new(),
            tool_call_id: None,
        };
        let spoken = self.draft.lines().iter().map(|said| {
            let role = if said.speaker == "caller" { Role::User } else { Role::Assistant };
            line(role, &said.text)
        });
        let playing = self.voice.utterances.iter().map(|own| line(Role::Assistant, &own.audible_text()));
        let all: Vec<Message> =
            spoken.chain(playing).filter(|said| !said.content.trim().is_empty()).collect();
        let mut left = MOST_CHARACTERS;
        let fits = all.iter().rev().take(MOST_LINES).take_while(|said| {
            let length = said.content.chars().count();
            let fits = length <= left;
            left = left.saturating_sub(length);
            fits
        });
        let kept = fits.count();
        all.into_iter().rev().take(kept).rev().collect()
    }

    /// The playbook is in another scene: so is the model. The first scene is what it began with.
    pub(crate) fn scene_entered(&mut self, scene: &str) {
        let first = self.model.scene.replace(scene.to_owned()).is_none();
        if first || self.option.realtime.is_none() {
            return;
        }
        let Some(prompt) = self.conversation.as_ref().and_then(playbook::Conversation::instructions) else {
            return;
        };
        self.model.instructions = Some(prompt.clone());
        if self.model.is_connected() {
            self.effect(Effect::ToModel(RealtimeInput::Instructions(prompt)));
        }
    }

    /// Lets the model speak without being spoken to.
    pub(crate) fn prompt_model(&mut self, hint: String) {
        if self.model.is_connected() {
            self.effect(Effect::ToModel(RealtimeInput::Speak(hint)));
        }
    }
}

fn to_say(text: &str) -> String {
    let text = text.trim();
    format!("Say exactly the following words to the caller, and nothing else:\n{text}")
}
