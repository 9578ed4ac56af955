//! The providers of a simulated call: what the rules ask of them becomes entries of the agenda.

use audio::Resampler;
use call::Failure;
use call::core::realtime::Broken;
use call::core::voice::VoiceId;
use call::core::{Background, Input};
use call::legs::LegId;
use call::media::order::{DoorId, ToMedia};
use call::setup::Sound;
use protocol::chat::{Ask, ModelOutput};
use providers::{Heard, Hearing, Spoken, Words};

use super::{Due, From, Voice, What, World};
use crate::cast::{Fault, Fetch, RATE, Reply, tone, tone_of};

/// Sound that a file gives at once: a second.
const FILE_CHUNK: usize = RATE as usize;

/// A recognizer at work.
pub(super) struct Ears {
    pub(super) leg: LegId,
    pub(super) door: DoorId,
    speaking: bool,
    /// Utterances of the caller that were understood.
    understood: usize,
    last: String,
}

impl World {
    pub(super) fn listen(&mut self, leg: LegId, door: DoorId) -> Option<Input> {
        if let Some(Fault::Refuses(why)) = &self.cast.recognizer.fault {
            let broken = Broken { failure: why.as_str().into(), retryable: false };
            return Some(Input::Unheard(door, Err(broken)));
        }
        let understood = self.caller.said.iter().filter(|said| said.to <= self.now).count();
        self.ears.push(Ears { leg, door, speaking: false, understood, last: String::new() });
        self.order(ToMedia::Listen(leg, door, RATE));
        None
    }

    pub(super) fn recognize(&mut self, door: DoorId, hearing: &Hearing) {
        let times = self.cast.recognizer.clone();
        let now = self.now;
        let Some(ears) = self.ears.iter_mut().find(|ears| ears.door == door) else { return };
        match hearing {
            Hearing::Audio { .. } => {}
            Hearing::SpeechStarted { at } => {
                ears.speaking = true;
                // What was said before was not heard.
                let missed = self.caller.said.iter().filter(|said| said.to <= *at).count();
                ears.understood = ears.understood.max(missed);
                if let Some(pause) = times.partials {
                    self.due(now + pause, From::Door(door), What::Partial(door));
                }
            }
            Hearing::SpeechEnded { .. } => {
                ears.speaking = false;
                let said = &self.caller.said;
                let done = said.iter().filter(|said| said.to <= now).count();
                let texts: Vec<&str> = said
                    .get(ears.understood..done)
                    .unwrap_or_default()
                    .iter()
                    .map(|s| s.text.as_str())
                    .collect();
                let text = texts.join(" ");
                ears.understood = ears.understood.max(done);
                ears.last.clear();
                if let Some(Fault::Breaks(why)) = times.fault {
                    let input =
                        Input::Unheard(door, Err(Broken { failure: why.as_str().into(), retryable: true }));
                    self.due(now + times.last, From::Door(door), What::Input(input));
                } else if times.fault != Some(Fault::Hangs) {
                    // Without words it was a noise.
                    self.due(now + times.last, From::Door(door), What::Final(door, text));
                }
            }
        }
    }

    /// The words of what is being said that have been said so far.
    pub(super) fn partial(&mut self, door: DoorId) {
        let now = self.now;
        let Some(ears) = self.ears.iter_mut().find(|ears| ears.door == door && ears.speaking) else { return };
        let Some(said) = self.caller.said.get(ears.understood).filter(|said| said.from < now) else { return };
        let share = (now - said.from).as_secs_f64() / (said.to - said.from).as_secs_f64().max(1e-3);
        let words: Vec<&str> = said.text.split_whitespace().collect();
        let count = (words.len() as f64 * share.min(1.0)) as usize;
        let text = words.get(..count).unwrap_or_default().join(" ");
        let news = !text.is_empty() && text != ears.last;
        ears.last.clone_from(&text);
        if news {
            self.feed(Input::Heard(door, Heard::Partial(Words { text, ..Words::default() })));
        }
        if let Some(pause) = self.cast.recognizer.partials {
            self.due(now + pause, From::Door(door), What::Partial(door));
        }
    }

    /// Music that is loaded as a whole.
    pub(super) fn music(&mut self, number: u32, path: &str, rate: u32) -> Option<Input> {
        let Some(length) = self.cast.files.get(path) else {
            return Some(Input::NoBackground(Background::Music(number), missing(path)));
        };
        let hz = tone_of(self.spoken);
        self.spoken += 1;
        self.tones.insert(hz, format!("music {path}"));
        let mut sound = Vec::new();
        Resampler::new(RATE, rate).process(&tone(hz, *length), &mut sound);
        self.order(ToMedia::Music(number, sound.into()));
        None
    }

    /// Background sound: too soft for the ear that tells tones, so it is only looked for.
    pub(super) fn ambience(&self, path: &str) -> Option<Input> {
        let there = self.cast.files.contains_key(path);
        (!there).then(|| Input::NoBackground(Background::Ambience, missing(path)))
    }

    pub(super) fn open(&mut self, voice: VoiceId) -> Option<Input> {
        if let Some(Fault::Refuses(why)) = &self.cast.synthesizer.fault {
            return Some(Input::Silent(voice, Err(why.as_str().into())));
        }
        self.voices.insert(voice, Voice { busy: self.now, broken: false, held: None });
        None
    }

    pub(super) fn say(&mut self, voice: VoiceId, piece: u32, text: &str) {
        let now = self.now;
        let hz = tone_of(self.spoken);
        let Some(running) = self.voices.get_mut(&voice).filter(|voice| !voice.broken) else { return };
        self.spoken += 1;
        self.tones.insert(hz, format!("\"{}\"", text.trim()));
        let begin = running.busy.max(now);
        let mut sound = self.cast.synthesizer.speak(text, hz);
        let end = begin + sound.last().map_or(self.cast.synthesizer.first, |(at, _)| *at);
        running.busy = end;
        let fault = match &self.cast.synthesizer.fault {
            Some(Fault::Breaks(why)) => {
                running.broken = true;
                sound.truncate(sound.len() / 2);
                Some(why.clone())
            }
            _ => None,
        };
        if let Some(words) = self.cast.synthesizer.words(text) {
            let input = Input::Spoken(voice, RATE, Spoken::Words { piece, words });
            self.due(begin, From::Voice(voice), What::Input(input));
        }
        for (at, samples) in sound {
            let input = Input::Spoken(voice, RATE, Spoken::Audio { piece, samples });
            self.due(begin + at, From::Voice(voice), What::Input(input));
        }
        let last = match fault {
            Some(why) => Input::Silent(voice, Err(why.as_str().into())),
            None => Input::Spoken(voice, RATE, Spoken::Done { piece }),
        };
        self.due(end, From::Voice(voice), What::Input(last));
    }

    pub(super) fn close(&mut self, voice: VoiceId) {
        let Some(running) = self.voices.get(&voice).filter(|voice| !voice.broken) else { return };
        let at = running.busy.max(self.now);
        self.due(at, From::Voice(voice), What::Input(Input::Silent(voice, Ok(()))));
    }

    pub(super) fn open_file(&mut self, voice: VoiceId, url: &str) -> Option<Input> {
        let Some(length) = self.cast.files.get(url) else {
            return Some(Input::Silent(voice, Err(missing(url))));
        };
        let hz = tone_of(self.spoken);
        self.spoken += 1;
        self.tones.insert(hz, format!("file {url}"));
        let sound = tone(hz, *length);
        self.voices.insert(voice, Voice { busy: self.now, broken: false, held: None });
        for samples in sound.chunks(FILE_CHUNK) {
            let sound = Sound { rate: RATE, samples: samples.into() };
            self.due(self.now, From::Voice(voice), What::Input(Input::Sound(voice, sound)));
        }
        self.due(self.now, From::Voice(voice), What::Input(Input::Silent(voice, Ok(()))));
        None
    }

    pub(super) fn flow(&mut self, voice: VoiceId, on: bool) {
        let now = self.now;
        let Some(running) = self.voices.get_mut(&voice) else { return };
        if !on {
            running.held.get_or_insert_default();
            return;
        }
        let held = running.held.take().unwrap_or_default();
        // What waited comes before what is still to come.
        let held =
            held.into_iter().map(|input| Due { at: now, from: From::Voice(voice), what: What::Input(input) });
        self.agenda.splice(0..0, held);
    }

    pub(super) fn ask(&mut self, ask: &Ask) -> Option<Input> {
        let turn = ask.turn;
        let failed = |error| Some(Input::Model(turn, ModelOutput::Failed { error }));
        if let Some(Fault::Refuses(why)) = &self.cast.model.fault {
            return failed(why.clone());
        }
        let reply = self.cast.replies.get(self.asked).cloned().unwrap_or(Reply::Never);
        self.asked += 1;
        match reply {
            Reply::Says(text) => {
                for (after, output) in self.cast.model.answer(&text) {
                    let input = Input::Model(turn, output);
                    self.due(self.now + after, From::Turn(turn), What::Input(input));
                }
            }
            Reply::Fails(error) => {
                let input = Input::Model(turn, ModelOutput::Failed { error });
                self.due(self.now + self.cast.model.first, From::Turn(turn), What::Input(input));
            }
            Reply::Never => {}
        }
        None
    }

    pub(super) fn fetch(&mut self, id: u32) -> Option<Input> {
        let Some(Fetch { after, body }) = self.cast.fetches.get(self.fetched).cloned() else {
            return Some(Input::Fetched(id, Err("no network".into())));
        };
        self.fetched += 1;
        if let Some(after) = after {
            self.due(self.now + after, From::Fetch(id), What::Input(Input::Fetched(id, body)));
        }
        None
    }

    /// Whoever made this is told to stop; the obstinate go on.
    pub(super) fn forget(&mut self, from: From) {
        if self.cast.obstinate {
            return;
        }
        self.agenda.retain(|due| due.from != from);
        if let From::Voice(voice) = from {
            self.voices.remove(&voice);
        }
    }
}

fn missing(path: &str) -> Failure {
    Failure::new(404, format!("{path:?} is not there"))
}
