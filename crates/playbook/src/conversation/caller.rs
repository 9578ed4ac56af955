//! What the caller says and does.

use std::time::Duration;

use protocol::chat::Role;
use protocol::event::Transcript;
use protocol::{CallTime, Event};

use super::heard::RESUME;
use super::reply::Question;
use super::{Action, Conversation, Mode, Note};
use crate::turn::{Agent, Turn};

/// While words are being recognized, their end is awaited for so long.
const WORDS_PENDING: Duration = Duration::from_secs(3);
/// While the caller speaks, words are awaited for so long.
const SPEECH_PENDING: Duration = Duration::from_secs(10);
/// An answer of which fewer characters were heard does not separate the caller's words.
const FEW_CHARS: usize = 15;
/// So often a question is asked anew with more words before anything of its answer was heard; further words are
/// answered behind it.
const MOST_REPLACED: u32 = 2;
/// Within this time the caller's words complete the previous ones, unless the playbook says otherwise.
const REPAIR_WINDOW_MS: u32 = 3000;

impl Conversation {
    pub(super) fn event(&mut self, now: CallTime, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::AsrDelta(words) => self.delta(now, &words, out),
            Event::AsrFinal(words) => self.complete_words(now, &words, out),
            Event::Eou { completed, complete, .. } if completed || complete => {
                if let Some(text) = self.ending.on_complete() {
                    self.take_turn(now, text, out);
                }
            }
            Event::Speaking { is_filler, .. } if is_filler != Some(true) => self.speech_began(now),
            Event::Silence { .. } => self.speech_ended(now, out),
            Event::Dtmf { digit, .. } => {
                if let Some(key) = digit.chars().next() {
                    self.key(now, key.to_ascii_uppercase(), out);
                }
            }
            Event::Hold { on_hold, .. } => self.hold(now, on_hold),
            Event::Reject(told) if told.refer == Some(true) => self.transfer_failed(now, &told.reason, out),
            Event::Hangup(hangup) => self.ended(now, hangup.refer == Some(true), out),
            _ => {}
        }
    }

    fn speech_began(&mut self, now: CallTime) {
        self.caller_speaking = true;
        self.silence.end();
        self.ending.on_speech(now);
        if let Some(cut) = &mut self.cut {
            cut.deadline = now + SPEECH_PENDING;
        }
    }

    fn speech_ended(&mut self, now: CallTime, out: &mut Vec<Action>) {
        if std::mem::take(&mut self.caller_speaking) {
            self.ending.on_silence(now);
            self.speculate(now, out);
            if let Some(cut) = &mut self.cut {
                cut.deadline = now + RESUME;
            }
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
    fn ended(&mut self, now: CallTime, only_referred: bool, out: &mut Vec<Action>) {
        if !only_referred {
            self.mode = Mode::Over;
            if let Some(reply) = self.reply.take().filter(|reply| reply.generating) {
                out.push(Action::Abandon(reply.turn));
            }
        } else if self.mode == Mode::Transferred {
            self.mode = Mode::Talking;
            self.silence.begin(now);
        }
    }

    /// Words that are still being spoken.
    fn delta(&mut self, now: CallTime, words: &Transcript, out: &mut Vec<Action>) {
        self.ending.on_delta(now, words);
        self.doubt_speculation(out);
        if self.mode != Mode::Talking || words.text.trim().is_empty() || self.start.is_filler(words) {
            return;
        }
        self.silence.end();
        if let Some(cut) = &mut self.cut {
            cut.deadline = now + WORDS_PENDING;
        } else if self.start.on(now, words, self.agent(now)) == Some(Turn::Start)
            || self.answers_too_early(now)
        {
            if !self.speech.is_audible() {
                self.ending.was_too_early(now);
            }
            self.cut_by_words(now, out);
            if let Some(cut) = &mut self.cut {
                cut.deadline = now + WORDS_PENDING;
            }
        }
    }

    /// Whether the caller goes on while the answer to the first half is not audible yet.
    fn answers_too_early(&self, now: CallTime) -> bool {
        let tail = Duration::from_millis(500);
        self.is_answering_unheard()
            && self.may_replace()
            && self.last_final.is_none_or(|last| now.since(last) >= tail)
    }

    /// Whether there is an answer to the caller's words of which nothing was heard yet.
    pub(super) fn is_answering_unheard(&self) -> bool {
        let answering = self.reply.as_ref().zip(self.question.as_ref());
        !self.speech.is_audible() && answering.is_some_and(|(reply, question)| reply.turn == question.reply)
    }

    /// Whether the question may be asked anew with more words: one who repeats himself while the model is slow would
    /// never be answered.
    pub(super) fn may_replace(&self) -> bool {
        self.replaced < MOST_REPLACED && self.reply.as_ref().is_none_or(|reply| !reply.filled)
    }

    pub(super) fn agent(&self, now: CallTime) -> Agent {
        let audible_for =
            self.speech.current().and_then(|current| current.audible).map(|since| now.since(since));
        Agent { audible_for, last_final: self.last_final, protected: self.speech.is_protected() }
    }

    /// Asks the model with the caller's words. Words that go on where the previous ones stopped, because
    /// hardly anything of the answer was heard, make one message with them.
    pub(super) fn answer(&mut self, now: CallTime, text: &str, out: &mut Vec<Action>) {
        self.silence.answered();
        self.unprompted = 0;
        self.cancel_by_words(text, out);
        let question = self.question.take().filter(|question| self.is_repaired_by_words(now, question));
        let unheard = |question: &Question| {
            [question.words, question.reply].iter().all(|turn| self.history.heard(*turn).is_empty())
        };
        self.replaced =
            if question.as_ref().is_some_and(unheard) { self.replaced.saturating_add(1) } else { 0 };
        self.mistakes = 0;
        let early = self.take_speculation(text, out).filter(|_| question.is_none());
        let turn = if early.is_some() { self.last_turn } else { self.next_turn() };
        if let Some(collector) = self.collector.take() {
            // A model that does not know would wait for keys that nobody takes.
            let told =
                format!("[stopped collecting {}: the caller speaks; collect again if needed]", collector.var);
            self.history.push(turn, Role::System, told);
        }
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
        match early {
            Some(early) => self.adopt(now, early, out),
            None => self.ask_as(turn, now, None, out),
        }
    }

    pub(super) fn is_repaired_by_words(&self, now: CallTime, question: &Question) -> bool {
        // An answer that was resumed was heard under both turns.
        let heard = [question.words, question.reply].map(|turn| self.history.heard(turn).chars().count());
        let heard = heard.into_iter().max().unwrap_or(0);
        let window =
            self.playbook.llm.as_ref().and_then(|llm| llm.repair_window_ms).unwrap_or(REPAIR_WINDOW_MS);
        let soon = now.since(question.at) <= Duration::from_millis(window.into());
        heard == 0 || (heard < FEW_CHARS && soon)
    }
}
