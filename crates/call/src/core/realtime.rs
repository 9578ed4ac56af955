//! A speech-to-speech model in place of detector, recognizer, chat model and synthesizer (`realtime`): it hears the far
//! end through a door, and each of its answers is an utterance.

use std::time::Duration;

use protocol::command::Refer;
use protocol::event::Event;
use protocol::option::ReferOption;
use protocol::{CallTime, HangupReason};
use providers::{AnswerId, RealtimeInput, RealtimeOutput};
use serde_json::{Value, json};

use super::lent::Lent;
use super::voice::Utterance;
use super::{Core, Due, Effect};
use crate::end::End;
use crate::failure::Failure;
use crate::media::order::{DoorId, ToMedia, UtteranceId};
use crate::record::Ended;

/// A model whose connection breaks is connected anew so often. It is told what was said before.
const MOST_RESTARTS: u32 = 3;
/// Pause before the first time, and twice as long before each further one: who restarts needs a moment.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Answers that may wait to be heard; sound of more is dropped with an `error` event.
const MOST_ANSWERS: usize = 16;
/// Text kept of one answer, in bytes; more of it is heard and not written down.
const MOST_TEXT: usize = 64 * 1024;

/// The model of a call, when it has one.
#[derive(Debug, Default)]
pub(crate) struct SpeechModel {
    door: Option<DoorId>,
    /// Texts it is to say, oldest first.
    pub(crate) lent: Vec<Lent>,
    /// The scene it knows of.
    pub(crate) scene: Option<String>,
    /// The prompt of a scene that was entered since it began.
    pub(crate) instructions: Option<String>,
    restarts: u32,
    /// Answers that are not over, oldest first.
    answers: Vec<(AnswerId, UtteranceId)>,
    /// Sound up to this answer is not wanted any more.
    stale: Option<AnswerId>,
}

impl SpeechModel {
    pub(crate) fn is_connected(&self) -> bool {
        self.door.is_some()
    }
}

/// Why a model has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// For the `error` event.
    pub failure: Failure,
    /// Whether connecting anew may help.
    pub retryable: bool,
}

/// An error inside ours, which would come again.
impl From<&str> for Broken {
    fn from(why: &str) -> Self {
        Broken { failure: why.into(), retryable: false }
    }
}

impl Core {
    /// Connects the model of the option.
    pub(crate) fn start_realtime(&mut self, now: CallTime) {
        if self.model.door.is_some() {
            return;
        }
        let Some(mut option) = self.option.realtime.clone() else { return };
        let extra = option.extra.get_or_insert_default();
        let first = || self.first_prompt().filter(|_| !extra.contains_key("instructions"));
        if let Some(prompt) = self.model.instructions.clone().or_else(first) {
            extra.insert("instructions".into(), prompt.into());
        }
        if !self.said_so_far().is_empty() {
            // The call is under way: nobody is greeted twice.
            extra.remove("greeting");
        }
        let door = self.next_door();
        self.model.door = Some(door);
        // Another connection counts its answers anew.
        self.model.stale = None;
        for (_, utterance) in std::mem::take(&mut self.model.answers) {
            self.answer_given(now, utterance);
        }
        self.effect(Effect::OpenModel(door, Box::new(option)));
        self.remind();
    }

    /// Lets go of the model, for good or while another party talks with the caller.
    pub(crate) fn stop_realtime(&mut self) {
        self.deadlines.drop_where(|due| *due == Due::Model);
        if let Some(door) = self.model.door.take() {
            self.order(ToMedia::Deaf(door));
            self.effect(Effect::CloseModel(door));
        }
    }

    /// The model has ended, which it should not while the call is up. A call of a playbook that is left without its
    /// model ends; a client decides itself.
    pub(crate) fn model_ended(&mut self, now: CallTime, door: DoorId, result: Result<(), Broken>) {
        if self.model.door != Some(door) {
            return;
        }
        self.order(ToMedia::Deaf(door));
        self.model.door = None;
        let answers: Vec<UtteranceId> = self.model.answers.iter().map(|(_, utterance)| *utterance).collect();
        for utterance in answers {
            self.answer_given(now, utterance);
        }
        let broken = result.err().unwrap_or(Broken { failure: "the model ended".into(), retryable: true });
        self.fail(now, "realtime", &broken.failure);
        if !self.is_up() {
            return;
        }
        if broken.retryable && self.model.restarts < MOST_RESTARTS {
            let pause = FIRST_PAUSE * (1 << self.model.restarts.min(MOST_RESTARTS));
            self.model.restarts += 1;
            self.deadlines.set(now + pause, Due::Model);
        } else if self.playbook.is_some() {
            self.end(now, End::new(HangupReason::Failed, 500).because(broken.failure.to_string()));
        }
    }

    /// What the model gives; its sound is at `rate` Hz.
    pub(crate) fn model_says(&mut self, now: CallTime, door: DoorId, rate: u32, output: RealtimeOutput) {
        if self.model.door != Some(door) || !self.is_up() {
            return;
        }
        match output {
            RealtimeOutput::Audio { answer, samples } => {
                if let Some(utterance) = self.answer(now, answer) {
                    self.answer_sound(utterance, rate, samples);
                }
            }
            RealtimeOutput::Agent { answer, text } => {
                if let Some(utterance) = self.answer(now, answer) {
                    self.answer_text(utterance, &text, MOST_TEXT);
                }
            }
            RealtimeOutput::Said(answer) => {
                let known = self.model.answers.iter().find(|(id, _)| *id == answer);
                if let Some((_, utterance)) = known.copied() {
                    self.answer_given(now, utterance);
                }
            }
            RealtimeOutput::SpeechStarted => self.model_hears(now),
            RealtimeOutput::SpeechEnded => self.speech_ended(now),
            RealtimeOutput::Caller(heard) => {
                let provider = self.option.realtime.as_ref().and_then(|option| option.provider.clone());
                self.understood(now, heard, &provider.unwrap_or_default());
            }
            RealtimeOutput::ToolCall { id, name, arguments } => self.called(now, id, &name, &arguments),
            RealtimeOutput::Done(usage) => {
                self.model.restarts = 0;
                self.draft.used(usage);
            }
            RealtimeOutput::Trouble(why) => self.error(now, "realtime", why, 500),
        }
    }

    /// An utterance is over; when it was an answer that was cut, the model is told how much of it was heard.
    pub(crate) fn answer_over(
        &mut self,
        now: CallTime,
        over: &Utterance,
        heard: (Duration, &str),
        ended: Ended,
    ) {
        self.lent_over(over.id);
        let at = self.model.answers.iter().position(|(_, utterance)| *utterance == over.id);
        let (played, text) = heard;
        // An answer of a connection that broke is not known to the next one.
        if let Some((answer, _)) = at.map(|at| self.model.answers.remove(at))
            && ended == Ended::Cut
        {
            self.model.stale = self.model.stale.max(Some(answer));
            self.effect(Effect::ToModel(RealtimeInput::Interrupted { answer, heard: played }));
        }
        if !over.of_model {
            return;
        }
        if self.model.answers.is_empty() {
            self.tell(playbook::Input::Agent { speaks: false });
        }
        // Of what it says for the playbook, the playbook tells.
        if over.play_id.is_none() && !text.trim().is_empty() {
            let (sender, timestamp) = (Some("realtime".into()), self.unix_ms(now));
            self.emit(Event::AddHistory {
                sender,
                timestamp,
                speaker: "assistant".into(),
                text: text.into(),
            });
        }
    }

    /// The utterance of an answer, begun when it is new; `None` when its sound is not wanted.
    fn answer(&mut self, now: CallTime, answer: AnswerId) -> Option<UtteranceId> {
        if self.model.stale.is_some_and(|stale| answer <= stale) {
            return None;
        }
        if let Some((_, utterance)) = self.model.answers.iter().find(|(id, _)| *id == answer) {
            return Some(*utterance);
        }
        if self.model.answers.len() >= MOST_ANSWERS {
            self.model.stale = Some(answer);
            self.error(now, "realtime", "too many answers wait to be heard", 429);
            return None;
        }
        let utterance = match self.taken_up() {
            Some(lent) => lent,
            None => self.begin_utterance(now, None, false),
        };
        self.begin_answer(utterance);
        self.model.answers.push((answer, utterance));
        self.tell(playbook::Input::Agent { speaks: true });
        Some(utterance)
    }

    /// Sound of an utterance does not fit any more. The utterance ends where it was cut, and a model is told so when it
    /// has been heard up to there.
    pub(crate) fn sound_dropped(&mut self, now: CallTime, id: UtteranceId) {
        let Some(utterance) = self.voice.utterance(id) else { return };
        if !std::mem::replace(&mut utterance.dropped, true) {
            self.error(
                now,
                "media",
                "a minute of an utterance waits to be heard; the rest of it is dropped",
                413,
            );
        }
    }

    /// The caller speaks: the voice stops at once, and [`Core::answer_over`] tells the model what was heard.
    fn model_hears(&mut self, now: CallTime) {
        self.speech_began(now);
        let first = self.voice.utterances.first();
        if self.ears.arming.is_none() && first.is_some_and(|first| first.play_id.is_some() && !first.cut) {
            // The playbook says that this is to be heard to its end.
            return;
        }
        let last = self.model.answers.iter().map(|(answer, _)| *answer).max();
        self.model.stale = self.model.stale.max(last);
        self.interrupt_voice(now, false, Duration::ZERO);
    }

    /// Does what the model calls for, and tells it what came of it.
    fn called(&mut self, now: CallTime, id: String, name: &str, arguments: &Value) {
        self.emit(Event::FunctionCall {
            track_id: self.facts.id.clone(),
            call_id: id.clone(),
            name: name.to_owned(),
            arguments: arguments.to_string(),
            timestamp: self.unix_ms(now),
        });
        let text =
            |keys: &[&str]| keys.iter().find_map(|key| arguments.get(*key)?.as_str()).unwrap_or_default();
        let output = match name {
            "hangup_call" => self.hang_up_after_answer(now, text(&["reason"])),
            "transfer_call" | "refer_call" => self.transfer_of_model(now, text(&["callee", "callee_uri"])),
            "goto_scene" => self.scene_of_model(now, text(&["scene"])),
            _ => Ok("the call's client was told"),
        };
        let output = match output {
            Ok(done) => json!({ "status": done }),
            Err(why) => json!({ "error": why }),
        };
        self.effect(Effect::ToModel(RealtimeInput::ToolResult { id, output: output.to_string() }));
    }

    /// Ends the call when what is being said was heard.
    fn hang_up_after_answer(&mut self, now: CallTime, reason: &str) -> Result<&'static str, &'static str> {
        match self.model.answers.last().copied() {
            Some((_, utterance)) => self.hang_up_after(utterance),
            None => {
                let end = End::new(HangupReason::System, 200);
                self.end(now, if reason.is_empty() { end } else { end.because(reason) });
            }
        }
        Ok("the call ends")
    }

    /// What a caller dictates can never dial: only targets that the playbook names are called.
    fn transfer_of_model(&mut self, now: CallTime, callee: &str) -> Result<&'static str, &'static str> {
        if !self.playbook.as_ref().is_some_and(|playbook| playbook.allowed.permits(callee)) {
            return Err("the transfer was refused: the playbook does not name this target");
        }
        // The model has no part in what the two say to each other.
        let options = ReferOption { pause_parent_asr: Some(true), ..ReferOption::default() };
        let options = Some(Box::new(options));
        let refer = Refer { caller: String::new(), callee: callee.to_owned(), method: None, options };
        self.begin_refer(now, refer).map_err(|failure| {
            self.fail(now, "command", &failure);
            "the other party cannot be called"
        })?;
        Ok("the other party is being called")
    }

    fn scene_of_model(&mut self, now: CallTime, scene: &str) -> Result<&'static str, &'static str> {
        let mut actions = Vec::new();
        let visited = self.conversation.as_mut().and_then(|talk| talk.visit(scene, &mut actions));
        for action in actions {
            self.act(now, action);
        }
        visited.ok_or("there is no such scene")?;
        Ok("the new instructions hold from now on")
    }

    /// The prompt of the playbook's first scene, rendered.
    fn first_prompt(&self) -> Option<String> {
        let prompt = &self.playbook.as_ref()?.scenes.first()?.prompt;
        let rendered = playbook::template::render(prompt, &self.vars()).unwrap_or_else(|_| prompt.clone());
        Some(rendered).filter(|text| !text.trim().is_empty())
    }
}
