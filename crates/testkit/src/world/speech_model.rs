//! A speech-to-speech model whose part a script plays.

use std::time::Duration;

use call::core::Input;
use call::core::realtime::Broken;
use call::legs::LegId;
use call::media::order::{DoorId, ToMedia};
use protocol::chat::Usage;
use providers::{AnswerId, Heard, RealtimeOutput, Words};
use serde_json::Value;

use super::World;
use crate::cast::{RATE, tone, tone_of};

/// What the model does.
#[derive(Clone, Debug)]
pub enum Doing {
    /// It answers with this; all the sound comes at once.
    Says(String),
    /// The same with so much sound, whatever the text.
    SaysFor(String, Duration),
    /// It hears the caller begin.
    HearsBegin,
    /// It hears the caller end.
    HearsEnd,
    /// It has understood this.
    Understands(String),
    /// It calls a function, with an object.
    Calls(String, Value),
    /// Its connection breaks, with this reason.
    Breaks(String),
}

/// The model as it stands.
#[derive(Debug, Default)]
pub(super) struct SpeechModel {
    door: Option<DoorId>,
    answers: u64,
    calls: u64,
}

impl World {
    pub(super) fn open_model(&mut self, door: DoorId) {
        self.model = SpeechModel { door: Some(door), ..SpeechModel::default() };
        self.order(ToMedia::Listen(LegId::MAIN, door, RATE));
    }

    pub(super) fn speech_model(&mut self, doing: Doing) {
        let Some(door) = self.model.door else { return };
        match doing {
            Doing::Says(text) => {
                let length = text.chars().count() as f64 / self.cast.synthesizer.chars_per_second;
                self.model_speaks(door, &text, Duration::from_secs_f64(length));
            }
            Doing::SaysFor(text, length) => self.model_speaks(door, &text, length),
            Doing::HearsBegin => self.model_gives(door, RealtimeOutput::SpeechStarted),
            Doing::HearsEnd => self.model_gives(door, RealtimeOutput::SpeechEnded),
            Doing::Understands(text) => {
                let words = Words { text, ..Words::default() };
                self.model_gives(door, RealtimeOutput::Caller(Heard::Final(words)));
            }
            Doing::Calls(name, arguments) => {
                self.model.calls += 1;
                let id = format!("f{}", self.model.calls);
                self.model_gives(door, RealtimeOutput::ToolCall { id, name, arguments });
            }
            Doing::Breaks(why) => {
                self.model.door = None;
                self.feed(Input::ModelEnded(
                    door,
                    Err(Broken { failure: why.as_str().into(), retryable: true }),
                ));
            }
        }
    }

    fn model_speaks(&mut self, door: DoorId, text: &str, length: Duration) {
        self.model.answers += 1;
        let answer = AnswerId(self.model.answers);
        let hz = tone_of(self.spoken);
        self.spoken += 1;
        self.tones.insert(hz, format!("{text:?}"));
        self.model_gives(door, RealtimeOutput::Agent { answer, text: text.to_owned() });
        for samples in tone(hz, length).chunks(RATE as usize / 5) {
            self.model_gives(door, RealtimeOutput::Audio { answer, samples: samples.into() });
        }
        self.model_gives(door, RealtimeOutput::Said(answer));
        self.model_gives(door, RealtimeOutput::Done(Usage::default()));
    }

    fn model_gives(&mut self, door: DoorId, output: RealtimeOutput) {
        self.feed(Input::Realtime(door, RATE, output));
    }
}
