//! What the agent hears: the detector's events, the recognizer, digits.

use std::time::Duration;

use audio::Cleaning;
use audio::vad::{VAD_TYPES, VadEvent, VadSettings};
use playbook::Arming;
use protocol::CallTime;
use protocol::event::{Event, Transcript};
use providers::Heard;

use super::realtime::Broken;
use super::{Core, Due, Effect};
use crate::legs::LegId;
use crate::media::order::{BargeIn, DoorId, FromMedia, ToMedia, UtteranceId};
use crate::media::raw_leg::MOST_HELD_S;

/// After a final transcript the caller's last breath does not stop the reply.
const PROTECTED: Duration = Duration::from_millis(500);
/// A recognizer that fails is opened anew so often.
pub(super) const MOST_RESTARTS: u32 = 3;

/// What is known of the caller's speech.
#[derive(Debug, Default)]
pub(crate) struct Ears {
    pub(super) door: Option<DoorId>,
    next_door: u64,
    restarts: u32,
    /// The caller has spoken for so long that it was no noise, and its words are still to come.
    pub(super) wordless: bool,
    /// Why the recognizer has failed for good.
    pub(super) lost: Option<String>,
    /// Number of the utterance that is heard.
    index: u32,
    /// A delta of it was told.
    begun: Option<CallTime>,
    /// The last stretch of speech: its beginning and, once known, its end.
    speech: Option<(CallTime, Option<CallTime>)>,
    /// The end of speech whose words are still to come.
    unfinished: Option<CallTime>,
    /// When the words that were completed last ended, and when they were complete.
    words: Option<(CallTime, CallTime)>,
    protected_until: CallTime,
    /// What the playbook wants of the call's sound when the caller is heard.
    pub(crate) arming: Option<Arming>,
}

impl Core {
    /// What the call's sound says.
    pub(crate) fn media(&mut self, now: CallTime, event: FromMedia) {
        match event {
            FromMedia::Speech(event) => self.speech(now, event),
            FromMedia::Digit(leg, digit, way) => self.digit(now, leg, digit, way),
            FromMedia::Inactive(missing) => self.inactive(now, missing),
            FromMedia::TapeLost => {
                self.error(now, "media", "a second of the recording was lost: disk too slow", 500);
            }
            FromMedia::Overrun(lost) => {
                let lost = lost.as_millis();
                let why = format!(
                    "{lost} ms of sound came too fast and were dropped: at most {MOST_HELD_S} s wait"
                );
                self.error(now, "media", why, 429);
            }
            FromMedia::Gone => {
                let end = crate::StopReason::MediaLost("internal error in the call's sound".into()).end(true);
                self.end(now, end);
                // No sound is left that could say what was heard last: there is nothing to wait for.
                self.finish(now);
            }
            FromMedia::Found(finding) => self.found(now, finding),
            FromMedia::FirstSound(_) => {}
            FromMedia::Quality(leg, quality) => self.quality(now, leg, &quality),
            FromMedia::Settled => {
                self.draft.sound_settled = true;
                self.settled(now);
            }
            FromMedia::Full(id) => self.sound_dropped(now, id),
            FromMedia::Started(..) | FromMedia::Low(_) | FromMedia::Ended(..) | FromMedia::Stopped { .. } => {
                self.playback(now, event);
                self.settled(now);
            }
        }
    }

    /// Opens detector and recognizer as the option says.
    pub(crate) fn listen(&mut self, now: CallTime) {
        // The model hears and judges itself, but not who it is that speaks.
        let hears = self.option.realtime.is_none();
        let noise = self.option.denoise == Some(true) && hears;
        let cleaning = Cleaning { noise, echo: self.option.echo_cancellation == Some(true) };
        if cleaning.any() {
            self.order(ToMedia::Clean(LegId::MAIN, cleaning));
        }
        if !hears {
            return self.start_realtime(now);
        }
        let recognizes = self.recognizes();
        if self.wants_speech() {
            let (kind, settings) = self.detector(now);
            self.order(ToMedia::Vad(LegId::MAIN, kind, settings));
        }
        if recognizes {
            self.open_door();
        } else if self.option.asr.is_some() {
            let known: Vec<&str> = providers::RECOGNIZERS.iter().map(|row| row.name).collect();
            self.wrong(
                now,
                "asr",
                "asr.provider",
                format!("missing, so nothing is recognized; known: {}", known.join(", ")),
            );
        }
        self.check_eou(now);
        self.arm(now);
    }

    fn recognizes(&self) -> bool {
        self.option.asr.as_ref().is_some_and(|asr| asr.provider.is_some())
    }

    /// Whether clients are told when the far end speaks: as the original's documents have it, those that have configured a
    /// detector. What recognizer and turn-taking need of one does not make them hear of it.
    fn tells_speech(&self) -> bool {
        self.option.vad.is_some() || self.option.realtime.is_some() || self.conversation.is_some()
    }

    /// Whether someone wants to know when the far end speaks.
    fn wants_speech(&self) -> bool {
        self.option.vad.is_some() || self.recognizes() || self.conversation.is_some()
    }

    /// Closes the recognizer, or lets go of the model.
    pub(crate) fn deafen(&mut self) {
        self.stop_realtime();
        if let Some(door) = self.ears.door.take() {
            self.order(ToMedia::Deaf(door));
            self.effect(Effect::Unlisten(door));
        }
    }

    /// Arms barge-in as the playbook says, unless a final transcript protects the reply.
    pub(crate) fn arm(&mut self, now: CallTime) {
        if self.playbook.is_none() {
            return;
        }
        let Some(rule) = self.barge_in().filter(|_| now >= self.ears.protected_until) else {
            return self.order(ToMedia::Arm(None));
        };
        let Arming { duck, stop_after, ignore_first, fade } = rule;
        let armed = BargeIn { duck, min_speech: stop_after, ignore_first, fade };
        self.order(ToMedia::Arm(Some(armed)));
    }

    /// What speech does to the agent's voice. Where nobody understands it, as in a menu of keys, it does nothing: a noise
    /// would end what the caller has to hear.
    fn barge_in(&self) -> Option<Arming> {
        let understood = self.ears.door.is_some() || self.option.realtime.is_some();
        self.ears.arming.filter(|_| understood)
    }

    /// An answer of the playbook waits for a caller who goes on before anything of it was heard, where speech alone stops
    /// the agent.
    pub(crate) fn yield_to_caller(&mut self, id: UtteranceId) {
        let Some((since, _)) = self.ears.words.filter(|_| self.barge_in().is_some()) else { return };
        self.order(ToMedia::Yield(id, since));
    }

    /// What the recognizer heard.
    pub(crate) fn heard(&mut self, now: CallTime, door: DoorId, heard: Heard) {
        if self.ears.door != Some(door) {
            return self.overheard(now, door, heard);
        }
        let provider = self.recognizer_name();
        self.understood(now, heard, &provider);
    }

    /// What the caller said, whoever understood it.
    pub(crate) fn understood(&mut self, now: CallTime, heard: Heard, provider: &str) {
        let (words, last) = match heard {
            Heard::Partial(words) => (words, false),
            Heard::Final(words) => (words, true),
        };
        if last {
            self.words_came();
        }
        if words.text.trim().is_empty() {
            return;
        }
        self.input_came();
        self.tell_progress(now);
        if self.ears.begun.is_none() {
            self.ears.begun = Some(now);
            let spoken_since = words.start.or(self.ears.speech.map(|(start, _)| start)).unwrap_or(now);
            let data = serde_json::json!({ "index": self.ears.index, "provider": provider });
            self.metric(now, &format!("ttfb.asr.{provider}"), now - spoken_since, data);
        }
        let speech = self.ears.speech;
        let transcript = Transcript {
            track_id: self.facts.id.clone(),
            timestamp: self.unix_ms(now),
            index: self.ears.index,
            start_time: words.start.or(speech.map(|s| s.0)).map(|at| self.unix_ms(at)),
            end_time: words.end.or(speech.and_then(|s| s.1).filter(|_| last)).map(|at| self.unix_ms(at)),
            text: words.text.clone(),
            is_filler: None,
            confidence: words.confidence,
            task_id: words.task_id,
        };
        if !last {
            self.words_go_on(&transcript);
            return self.emit(Event::AsrDelta(transcript));
        }
        // A recognizer that is late tells of an earlier stretch of speech than the last.
        let ended = words.end.or(speech.and_then(|(_, end)| end));
        let since = ended.map_or(Duration::ZERO, |end| now.since(end));
        let data = serde_json::json!({ "index": self.ears.index, "provider": provider });
        self.metric(now, &format!("completed.asr.{provider}"), since, data);
        self.ears.index += 1;
        self.ears.restarts = 0;
        self.ears.begun = None;
        self.draft.caller(now, &words.text, ended);
        // Who speaks again before the words are there has begun something new.
        let words_end = self.ears.unfinished.take().or(ended).unwrap_or(now);
        self.ears.words = Some((words_end, now));
        self.ears.protected_until = now + PROTECTED;
        self.deadlines.drop_where(|due| *due == Due::Rearm);
        self.deadlines.set(now + PROTECTED, Due::Rearm);
        self.arm(now);
        self.emit(Event::AsrFinal(transcript.clone()));
        self.words_complete(now, &transcript);
    }

    /// A recognizer has ended, which it should not while the call is up.
    pub(crate) fn unheard(&mut self, now: CallTime, door: DoorId, result: Result<(), Broken>) {
        let broken =
            result.err().unwrap_or(Broken { failure: "the recognizer ended".into(), retryable: true });
        if self.ears.door != Some(door) {
            return self.second_unheard(now, door, &broken);
        }
        self.order(ToMedia::Deaf(door));
        self.ears.door = None;
        self.lose_hearing(now, &broken);
    }

    /// The recognizer is gone: another one is tried, a few times in a row.
    pub(super) fn lose_hearing(&mut self, now: CallTime, broken: &Broken) {
        self.fail(now, "asr", &broken.failure);
        if broken.retryable && self.is_up() && self.ears.restarts < MOST_RESTARTS {
            self.ears.restarts += 1;
            self.open_door();
            self.ask_again();
        } else {
            self.cease_to_hear(now, &broken.failure);
            self.arm(now);
        }
    }

    /// No input came after a playback.
    pub(crate) fn no_input(&mut self, now: CallTime, since: CallTime, limit: Duration) {
        let event = Event::Silence {
            track_id: self.facts.rules.server_track.clone(),
            timestamp: self.unix_ms(now),
            start_time: self.unix_ms(since),
            duration: limit.as_millis() as u64,
        };
        self.emit(event);
    }

    fn speech(&mut self, now: CallTime, event: VadEvent) {
        // The detector may be there only to judge the line.
        if !self.draft.listening || !self.wants_speech() {
            return;
        }
        let track_id = self.facts.id.clone();
        let timestamp = self.unix_ms(now);
        match event {
            VadEvent::Speaking { start, confidence } => {
                self.input_came();
                let start_time = self.unix_ms(start);
                self.ears.speech = Some((start, None));
                self.speech_goes_on();
                let confidence = Some(confidence);
                self.caller_goes_on();
                if self.tells_speech() {
                    self.emit(Event::Speaking {
                        track_id,
                        timestamp,
                        start_time,
                        is_filler: None,
                        confidence,
                    });
                }
            }
            VadEvent::Silence { start, duration } => {
                let start_time = self.unix_ms(start);
                self.ears.speech = Some((start, Some(start + duration)));
                if self.ears.words.is_none_or(|(_, complete)| complete < start) {
                    self.ears.unfinished = Some(start + duration);
                    self.await_words(now, duration);
                }
                let duration = duration.as_millis() as u64;
                if self.tells_speech() {
                    self.emit(Event::Silence { track_id, timestamp, start_time, duration });
                }
                self.caller_pauses(now);
            }
            VadEvent::Quiet { since, duration } => {
                let start_time = self.unix_ms(since);
                let duration = duration.as_millis() as u64;
                self.emit(Event::Silence { track_id, timestamp, start_time, duration });
            }
            VadEvent::Onset { .. } | VadEvent::Dismissed { .. } => {}
        }
    }

    /// The model hears the caller begin.
    pub(crate) fn speech_began(&mut self, now: CallTime) {
        self.input_came();
        self.ears.speech = Some((now, None));
        let (track_id, timestamp) = (self.facts.id.clone(), self.unix_ms(now));
        self.emit(Event::Speaking {
            track_id,
            timestamp,
            start_time: timestamp,
            is_filler: None,
            confidence: None,
        });
    }

    /// The model hears the caller end.
    pub(crate) fn speech_ended(&mut self, now: CallTime) {
        let start = self.ears.speech.map_or(now, |(start, _)| start);
        self.speech(now, VadEvent::Silence { start, duration: now.since(start) });
    }

    /// The caller did something: nothing is waited for any more.
    pub(crate) fn input_came(&mut self) {
        self.deadlines.drop_where(|due| matches!(due, Due::Input { .. }));
    }

    fn open_door(&mut self) {
        let Some(option) = self.option.asr.clone() else { return };
        let door = self.next_door();
        self.ears.door = Some(door);
        self.ears.lost = None;
        self.effect(Effect::Listen { leg: LegId::MAIN, door, option: Box::new(option) });
    }

    /// The number of another door.
    pub(crate) fn next_door(&mut self) -> DoorId {
        self.ears.next_door += 1;
        DoorId(self.ears.next_door)
    }

    fn recognizer_name(&self) -> String {
        self.option.asr.as_ref().and_then(|asr| asr.provider.clone()).unwrap_or_default()
    }

    /// The detector the option names; an unknown one is told and replaced by the default.
    pub(super) fn detector(&mut self, now: CallTime) -> (&'static str, VadSettings) {
        let option = self.option.vad.clone().unwrap_or_default();
        let default = VadSettings::default();
        let settings = VadSettings {
            speech_padding: option.speech_padding.map_or(default.speech_padding, |ms| ms.0),
            silence_padding: option.silence_padding.map_or(default.silence_padding, |ms| ms.0),
            voice_threshold: option.voice_threshold.unwrap_or(default.voice_threshold),
            silence_timeout: option.silence_timeout.map(|ms| ms.0).filter(|limit| !limit.is_zero()),
        };
        let wanted = option.kind.map_or_else(|| audio::vad::DEFAULT_VAD.to_owned(), |kind| kind.0);
        let known = VAD_TYPES.iter().map(|(name, _)| *name).find(|name| name.eq_ignore_ascii_case(&wanted));
        let kind = known.unwrap_or_else(|| {
            let names: Vec<&str> = VAD_TYPES.iter().map(|(name, _)| *name).collect();
            let shown: String = wanted.chars().take(40).collect();
            let text = format!("\"{shown}\" is unknown; known: {}; going on with silero", names.join(", "));
            self.wrong(now, "vad", "vad.type", text);
            audio::vad::DEFAULT_VAD
        });
        (kind, settings)
    }
}
