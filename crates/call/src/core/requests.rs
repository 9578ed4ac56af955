//! Requests to voices: one at a time for each utterance, or as many as `maxConcurrentTasks` allows. Those that run ahead
//! have begun to make their sound when their turn comes; until then it waits with them.

use std::time::Duration;

use protocol::CallTime;
use protocol::option::SynthesisOption;
use protocol::read::shown;

use super::pieces::Piece;
use super::voice::{MOST_PIECES, MOST_TEXT, MOST_WAITING, Utterance, VoiceId};
use super::{Core, Effect};
use crate::failure::Failure;
use crate::media::order::UtteranceId;

/// Requests of one utterance at once, however many a client allows: each may be a process or a connection.
const MOST_AT_ONCE: usize = 8;

/// A voice at work.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) voice: VoiceId,
    /// Number of the first piece the voice makes.
    pub(super) first: usize,
    pub(super) provider: String,
    speaker: Option<String>,
    /// The key that named it, where a failure tells no other; empty where there is none.
    pub(super) field: &'static str,
    /// When its sound was first wanted.
    pub(super) asked: CallTime,
    pub(super) first_sound: Option<CallTime>,
    /// Its sound was kept from an earlier time.
    pub(super) cached: bool,
    pub(super) flowing: bool,
    /// How it ended before its turn came.
    ended: Option<Result<(), Failure>>,
}

impl Running {
    /// A voice whose turn has come.
    pub(super) fn new(voice: VoiceId, first: usize, provider: String, now: CallTime) -> Self {
        Running {
            voice,
            first,
            provider,
            speaker: None,
            field: "",
            asked: now,
            first_sound: None,
            cached: false,
            flowing: true,
            ended: None,
        }
    }

    /// A file that the key `field` names.
    pub(super) fn of_file(voice: VoiceId, field: &'static str, now: CallTime) -> Self {
        Running { field, ..Running::new(voice, 0, "file".into(), now) }
    }
}

impl Utterance {
    /// Something is still to be made.
    pub(super) fn busy(&self) -> bool {
        self.running.is_some() || !self.waiting.is_empty() || self.gathered.len() > 0
    }

    /// Forgets the texts whose turn has not come. Gives the voices that have begun on them.
    pub(super) fn drop_waiting(&mut self) -> Vec<VoiceId> {
        let begun = self.early.front().map_or(self.pieces.len(), |early| early.first);
        let waiting = self.waiting.drain(..).map(|(text, _)| text).filter(|text| !text.is_empty());
        let waiting: Vec<String> = waiting.collect();
        self.unsaid.before(self.texts_from(begun).into_iter().chain(waiting));
        self.pieces.truncate(begun);
        self.early.drain(..).map(|early| early.voice).collect()
    }
}

impl Core {
    /// Lets an utterance say `text`: at once, or after what it says already.
    pub(crate) fn say(&mut self, now: CallTime, id: UtteranceId, text: String, option: SynthesisOption) {
        let Some(utterance) = self.voice.utterance(id) else { return };
        utterance.ended = false;
        let queued =
            utterance.waiting.iter().map(|(text, _)| text.len()).sum::<usize>() + utterance.gathered.len();
        let many = utterance.waiting.len() >= MOST_WAITING || utterance.pieces.len() >= MOST_PIECES;
        if many || queued + text.len() > MOST_TEXT {
            let of =
                utterance.play_id.clone().map_or_else(String::new, |id| format!(" of playId {}", shown(&id)));
            let why = format!(
                "too much text{of} waits to be spoken, and this was dropped: {MOST_WAITING} commands and {MOST_TEXT} bytes wait at most; send it as it is heard"
            );
            return self.error(now, "tts", why, 429);
        }
        if !utterance.streaming {
            utterance.waiting.push_back((text, option));
            return self.next_request(now, id);
        }
        if providers::speaks_whole_texts(option.provider.as_deref().unwrap_or_default()) {
            return self.gather(now, id, &text, option);
        }
        self.speak_piece(now, id, text, option);
    }

    /// Gives the voice of a stream its next piece.
    pub(super) fn speak_piece(
        &mut self,
        now: CallTime,
        id: UtteranceId,
        text: String,
        option: SynthesisOption,
    ) {
        let Some(utterance) = self.voice.utterance(id) else { return };
        let number = utterance.pieces.len();
        utterance.pieces.push(Piece { text: text.clone(), ..Piece::default() });
        let voice = match &utterance.running {
            Some(running) => running.voice,
            None => {
                let running = self.open_voice(now, number, option);
                let voice = running.voice;
                if let Some(utterance) = self.voice.utterance(id) {
                    utterance.running = Some(running);
                }
                voice
            }
        };
        self.effect(Effect::Speak(voice, number as u32, text));
    }

    /// Lets the next request of an utterance have its turn when none has it, and begins on those behind it.
    pub(super) fn next_request(&mut self, now: CallTime, id: UtteranceId) {
        let Some(utterance) = self.voice.utterance(id) else { return };
        if utterance.running.is_none() {
            if let Some(mut next) = utterance.early.pop_front() {
                next.asked = now;
                next.flowing = true;
                let (voice, ended) = (next.voice, next.ended.take());
                utterance.running = Some(next);
                self.effect(Effect::Flow(voice, true));
                if let Some(result) = ended {
                    return self.silent(now, voice, result);
                }
            } else if !self.begin_request(now, id, true) {
                return self.settle_utterance(now, id);
            }
        }
        while self.voice.utterance(id).is_some_and(|utterance| {
            let allowed =
                utterance.waiting.front().map_or(0, |(_, option)| option.max_concurrent_tasks.unwrap_or(1));
            !utterance.streaming && utterance.early.len() + 1 < (allowed as usize).min(MOST_AT_ONCE)
        }) {
            self.begin_request(now, id, false);
        }
    }

    /// Begins on the next text that waits; false when there is none. Ahead of its turn a voice does not flow.
    fn begin_request(&mut self, now: CallTime, id: UtteranceId, turn: bool) -> bool {
        let Some(utterance) = self.voice.utterance(id) else { return false };
        let Some((text, option)) = utterance.waiting.pop_front() else { return false };
        let number = utterance.pieces.len();
        // Texts of separate requests are separate sentences; a space keeps their words apart in transcripts.
        let spaced = if number == 0 { text.clone() } else { format!(" {text}") };
        utterance.pieces.push(Piece { text: spaced, ..Piece::default() });
        let mut running = self.open_voice(now, number, option);
        let voice = running.voice;
        // No sound can come before the text has gone to the voice.
        if !turn {
            running.flowing = false;
            self.effect(Effect::Flow(voice, false));
        }
        if let Some(utterance) = self.voice.utterance(id) {
            match turn {
                true => utterance.running = Some(running),
                false => utterance.early.push_back(running),
            }
        }
        self.effect(Effect::Speak(voice, number as u32, text));
        self.effect(Effect::CloseVoice(voice));
        true
    }

    fn open_voice(&mut self, now: CallTime, first: usize, option: SynthesisOption) -> Running {
        let voice = self.voice.new_voice();
        let (provider, speaker) = (option.provider.clone().unwrap_or_default(), option.speaker.clone());
        self.effect(Effect::OpenVoice(voice, Box::new(option)));
        Running { speaker, ..Running::new(voice, first, provider, now) }
    }

    /// A synthesizer or file has ended.
    pub(crate) fn silent(&mut self, now: CallTime, voice: VoiceId, result: Result<(), Failure>) {
        if let Some(early) = self.voice.early(voice) {
            early.ended = Some(result);
            return;
        }
        let Some(utterance) = self.voice.by_voice(voice) else { return };
        let (id, file, given, play_id) =
            (utterance.id, utterance.file, utterance.given, utterance.play_id.clone());
        let Some(running) = utterance.running.take() else { return };
        let many = if utterance.streaming { usize::MAX } else { 1 };
        let mut made = Duration::ZERO;
        let mut inaudible = None;
        for piece in utterance.pieces.iter_mut().skip(running.first).take(many) {
            piece.from.get_or_insert(given);
            piece.done |= result.is_ok();
            made += piece.length;
            if piece.is_silent() {
                inaudible = Some((piece.length, piece.text.chars().count()));
            }
        }
        let voiceless = !utterance.is_audible();
        if let Some((length, characters)) = inaudible.filter(|_| !file) {
            let (ms, provider) = (length.as_millis(), shown(&running.provider));
            let why = format!(
                "{provider} made {ms} ms of silence of {characters} characters; does the voice speak their language?"
            );
            let failure = Failure::new(500, why).at("tts.speaker");
            if voiceless {
                self.fail_to_speak(now, file, &failure);
            }
            self.fail(now, "tts", &failure);
        }
        match result {
            Ok(()) if !file => {
                let ttfb = running.first_sound.map_or(Duration::ZERO, |at| at - running.asked);
                let data = serde_json::json!({
                    "playId": play_id, "length": made.as_millis() as u64, "cached": running.cached,
                    "ttfb": ttfb.as_millis() as u64, "duration": (now - running.asked).as_millis() as u64,
                    "provider": running.provider, "speaker": running.speaker, "cmdSeq": running.first,
                });
                self.metric(now, &format!("completed.tts.{}", running.provider), now - running.asked, data);
            }
            Ok(()) => {}
            Err(failure) => {
                let sender = if file { "media" } else { "tts" };
                let failure = failure.at(running.field);
                if given.is_zero() {
                    self.fail_to_speak(now, file, &failure);
                }
                self.fail(now, sender, &failure);
            }
        }
        self.next_request(now, id);
    }
}
