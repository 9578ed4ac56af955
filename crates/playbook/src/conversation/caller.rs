//! What the caller says, presses and does.

use std::time::Duration;

use protocol::chat::Role;
use protocol::event::Transcript;
use protocol::{CallTime, Event};

use super::reply::{After, Question, RESUME, Reason};
use super::{Action, Conversation, Mode, Note};
use crate::collector::Entry;
use crate::playbook::DtmfAction;
use crate::turn::{Agent, Turn};

/// While words are being recognized, their end is awaited for so long.
const WORDS_PENDING: Duration = Duration::from_secs(3);
/// While the caller speaks, words are awaited for so long.
const SPEECH_PENDING: Duration = Duration::from_secs(10);
/// An answer of which fewer characters were heard does not separate the caller's words.
const FEW_CHARS: usize = 15;
/// Within this time the caller's words complete the previous ones, unless the playbook says otherwise.
const REPAIR_WINDOW_MS: u32 = 3000;

impl Conversation {
    pub(super) fn event(&mut self, now: CallTime, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::AsrDelta(words) => self.delta(now, &words, out),
            Event::AsrFinal(words) => {
                if let Some(Turn::Stop(text)) = self.stop.on_final(&words) {
                    self.words(now, Transcript { text, ..words }, out);
                }
            }
            Event::Eou { completed, complete, .. } if completed || complete => {
                if let Some(Turn::Stop(text)) = self.stop.on_complete() {
                    self.words(now, Transcript { text, ..Transcript::default() }, out);
                }
            }
            Event::Speaking { is_filler, .. } if is_filler != Some(true) => self.speech_began(now),
            Event::Silence { .. } => self.speech_ended(now),
            Event::Dtmf { digit, .. } => {
                if let Some(key) = digit.chars().next() {
                    self.key(now, key.to_ascii_uppercase(), out);
                }
            }
            Event::Hold { on_hold, .. } => self.hold(now, on_hold),
            Event::Reject { refer: Some(true), reason, .. } => self.transfer_failed(now, &reason, out),
            Event::Hangup(hangup) => self.ended(now, hangup.refer == Some(true)),
            _ => {}
        }
    }

    fn speech_began(&mut self, now: CallTime) {
        self.caller_speaking = true;
        self.silence.end();
        if let Some(cut) = &mut self.cut {
            cut.deadline = now + SPEECH_PENDING;
        }
    }

    fn speech_ended(&mut self, now: CallTime) {
        if std::mem::take(&mut self.caller_speaking)
            && let Some(cut) = &mut self.cut
        {
            cut.deadline = now + RESUME;
        }
        if self.is_waiting_for_caller() {
            self.silence.begin(now);
        }
    }

    fn hold(&mut self, now: CallTime, on_hold: bool) {
        self.held = on_hold;
        self.silence.end();
        if self.is_waiting_for_caller() {
            self.silence.begin(now);
        }
    }

    /// The call has ended, or only the leg it was transferred to.
    fn ended(&mut self, now: CallTime, only_referred: bool) {
        if !only_referred {
            self.mode = Mode::Over;
        } else if self.mode == Mode::Transferred {
            self.mode = Mode::Talking;
            self.silence.begin(now);
        }
    }

    /// Words that are still being spoken.
    fn delta(&mut self, now: CallTime, words: &Transcript, out: &mut Vec<Action>) {
        self.stop.on_delta(words);
        if self.mode != Mode::Talking || words.text.trim().is_empty() || self.start.is_filler(words) {
            return;
        }
        self.silence.end();
        if let Some(cut) = &mut self.cut {
            cut.deadline = now + WORDS_PENDING;
        } else if self.start.on(now, words, self.agent(now)) == Some(Turn::Start)
            || self.answers_too_early(now)
        {
            self.cut_by_words(now, out);
            if let Some(cut) = &mut self.cut {
                cut.deadline = now + WORDS_PENDING;
            }
        }
    }

    /// Whether the caller goes on while the answer to the first half is not audible yet.
    fn answers_too_early(&self, now: CallTime) -> bool {
        let tail = Duration::from_millis(500);
        self.is_answering_unheard() && self.last_final.is_none_or(|last| now.since(last) >= tail)
    }

    /// Whether there is an answer to the caller's words of which nothing was heard yet.
    fn is_answering_unheard(&self) -> bool {
        let answering = self.reply.as_ref().zip(self.question.as_ref());
        !self.speech.is_audible() && answering.is_some_and(|(reply, question)| reply.turn == question.reply)
    }

    fn agent(&self, now: CallTime) -> Agent {
        let audible_for =
            self.speech.current().and_then(|current| current.audible).map(|since| now.since(since));
        Agent { audible_for, last_final: self.last_final }
    }

    /// Words that are complete.
    fn words(&mut self, now: CallTime, words: Transcript, out: &mut Vec<Action>) {
        self.last_final = Some(now);
        self.caller_speaking = false;
        if self.mode != Mode::Talking {
            return;
        }
        let filler = self.start.is_filler(&words);
        if self.speech.is_audible() {
            if filler {
                return;
            }
            if self.start.on_final(&words, self.agent(now)) == Some(Turn::Start) {
                self.stop_reply(out);
                self.answer(now, &words.text, out);
            } else {
                self.keep_waiting(words.text);
            }
        } else if self.cut.is_some() && filler {
            self.resume(now, out);
        } else if self.is_answering_unheard() {
            if !filler {
                self.stop_reply(out);
                self.answer(now, &words.text, out);
            }
        } else if self.reply.is_some() {
            self.keep_waiting(words.text);
        } else {
            self.cut = None;
            self.answer(now, &words.text, out);
        }
    }

    /// Nothing more was understood for a while: words whose final text never came are answered as they are,
    /// and without words the agent goes on.
    pub(super) fn words_or_resume(&mut self, now: CallTime, out: &mut Vec<Action>) {
        let so_far = Transcript { text: self.stop.so_far().to_owned(), ..Transcript::default() };
        if so_far.text.is_empty() || self.start.is_filler(&so_far) {
            self.resume(now, out);
        } else if let Some(Turn::Stop(text)) = self.stop.on_complete() {
            self.cut = None;
            self.answer(now, &text, out);
        }
    }

    fn keep_waiting(&mut self, text: String) {
        self.waiting = Some(match self.waiting.take() {
            Some(first) => format!("{first} {text}"),
            None => text,
        });
    }

    /// Asks the model with the caller's words. Words that go on where the previous ones stopped, because
    /// hardly anything of the answer was heard, make one message with them.
    pub(super) fn answer(&mut self, now: CallTime, text: &str, out: &mut Vec<Action>) {
        self.silence.answered();
        self.collector = None;
        self.unprompted = 0;
        let turn = self.next_turn();
        let question = self.question.take().filter(|question| self.is_repaired_by_words(now, question));
        let joined = question.and_then(|question| {
            self.disowned = Some(question.reply);
            self.history.set_heard(question.reply, "");
            self.history.continue_words(question.words, turn, text)
        });
        if joined.is_none() {
            self.history.push(turn, Role::User, text);
        }
        out.push(Action::Note(Note::Said { speaker: "user", text: text.to_owned() }));
        self.question = Some(Question { words: turn, reply: turn, at: now });
        self.ask_as(turn, now, None, out);
    }

    fn is_repaired_by_words(&self, now: CallTime, question: &Question) -> bool {
        let heard = self.history.heard(question.reply).chars().count();
        let window =
            self.playbook.llm.as_ref().and_then(|llm| llm.repair_window_ms).unwrap_or(REPAIR_WINDOW_MS);
        let soon = now.since(question.at) <= Duration::from_millis(window.into());
        heard == 0 || (heard < FEW_CHARS && soon)
    }

    fn key(&mut self, now: CallTime, key: char, out: &mut Vec<Action>) {
        if self.mode != Mode::Talking || !(key.is_ascii_digit() || "*#ABCD".contains(key)) {
            return;
        }
        self.silence.answered();
        if self.is_waiting_for_caller() {
            self.silence.begin(now);
        }
        if let Some(collector) = &mut self.collector {
            let entry = collector.key(now, key);
            if collector.rule().interruptible && !self.speech.is_idle() {
                self.stop_reply(out);
            }
            if let Some(entry) = entry {
                self.entered(now, entry, out);
            }
            return;
        }
        let own = self.current_scene().and_then(|scene| scene.dtmf.get(&key));
        let Some(action) = own.or_else(|| self.playbook.dtmf.get(&key)).cloned() else { return };
        self.unprompted = 0;
        self.waiting = None;
        self.question = None;
        self.stop_reply(out);
        match action {
            DtmfAction::Goto(scene) => {
                let turn = self.next_turn();
                self.history.push(turn, Role::User, format!("[pressed {key}]"));
                self.arrive(now, &scene, out);
            }
            DtmfAction::Transfer(target) => {
                let target = self.render(&target, out);
                self.transfer(target, out);
            }
            DtmfAction::Hangup => self.hang_up(Reason::default(), out),
        }
    }

    /// Enters a scene by the caller's choice: its file plays, then the model is asked.
    fn arrive(&mut self, now: CallTime, scene: &str, out: &mut Vec<Action>) {
        let Some(index) = self.playbook.scenes.iter().position(|own| own.id == scene) else {
            out.push(Action::Note(Note::Trouble(format!("there is no scene {scene}"))));
            self.silence.begin(now);
            return;
        };
        self.enter(index, out);
        if self.current_scene().is_some_and(|scene| scene.play.is_some()) {
            self.begin_fixed(now, After { ask: true, ..After::default() });
            self.play_scene_file(out);
            self.settle(now, out);
        } else {
            self.ask(now, None, out);
        }
    }

    /// The caller's digits are complete, or wrong.
    pub(super) fn entered(&mut self, now: CallTime, entry: Entry, out: &mut Vec<Action>) {
        let Some(collector) = self.collector.as_ref() else { return };
        let (var, error) = (collector.var.clone(), collector.rule().error_message.clone());
        match entry {
            Entry::Complete(digits) => {
                self.collector = None;
                self.stop_reply(out);
                self.vars.set(var.clone(), digits.clone());
                self.answer(now, &format!("[entered {digits} for {var}]"), out);
            }
            Entry::Again => {
                let text = error.unwrap_or_else(|| self.phrases.apology.clone());
                self.stop_reply(out);
                self.say_fixed(now, &text, After::default(), out);
            }
            Entry::Failed => {
                self.collector = None;
                self.stop_reply(out);
                self.answer(now, &format!("[entered nothing valid for {var}]"), out);
            }
        }
    }
}
