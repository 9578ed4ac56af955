//! How much of an answer was heard, whether it was cut off, and what follows it.

use std::time::Duration;

use protocol::chat::TurnId;
use protocol::command::Dtmf;
use protocol::{CallTime, Command};

use super::{Action, Conversation, Ended, Note};
use crate::speech::{Report, Utterance};

/// After an interruption without words the agent goes on when so much time has passed in silence.
pub(super) const RESUME: Duration = Duration::from_millis(2500);

/// What follows when an answer has been heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct After {
    /// End the call, for this reason.
    pub(super) hangup: Option<Reason>,
    /// Transfer the call.
    pub(super) refer: Option<String>,
    /// Send these digits to the far end.
    pub(super) digits: String,
    /// Ask the model in the scene that was entered.
    pub(super) ask: bool,
    /// The model was told of a mistake of its own.
    pub(super) mistaken: bool,
}

/// Why a conversation ends the call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) reason: Option<String>,
    pub(super) initiator: Option<String>,
}

impl After {
    /// The call ends, by the agent's own rule.
    pub(super) fn hangup(reason: &str) -> Self {
        let reason = Reason { reason: Some(reason.to_owned()), initiator: Some("system".to_owned()) };
        After { hangup: Some(reason), ..After::default() }
    }
}

/// An answer that was cut off. If the caller says something it is given up; if not it goes on.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) deadline: CallTime,
    /// Whether what was said last asks something.
    pub(super) asks: bool,
    turn: TurnId,
    rest: Rest,
}

#[derive(Debug)]
enum Rest {
    /// The model was still answering: it is asked again.
    Ask,
    /// These words were not heard.
    Words(String, After),
}

impl Conversation {
    /// The call tells how much of an utterance was heard.
    pub(super) fn heard(&mut self, now: CallTime, report: Report<'_>, out: &mut Vec<Action>) {
        let cut_by_us = self.speech.is_leaving(report.play_id);
        let Some(utterance) = self.speech.report(now, report, out) else { return };
        if self.disowned != Some(utterance.turn) {
            self.history.set_heard(utterance.turn, utterance.heard_of_turn().trim());
            if report.ended != Ended::Playing && !utterance.heard.trim().is_empty() {
                let text = utterance.heard.trim().to_owned();
                out.push(Action::Note(Note::Said { speaker: "assistant", text }));
            }
        }
        match report.ended {
            _ if cut_by_us => self.correct_rest(&utterance),
            Ended::Playing => {}
            Ended::Finished => self.settle(now, out),
            Ended::Interrupted => self.cut_off(now, &utterance, out),
        }
    }

    /// Stops the answer; the caller may say why. Its last report is still to come.
    pub(super) fn cut_by_words(&mut self, now: CallTime, out: &mut Vec<Action>) {
        let current = self.speech.current().cloned();
        self.speech.interrupt(self.playbook.interruption.volume_fade, out);
        match current {
            Some(utterance) => self.cut_off(now, &utterance, out),
            None => self.keep_rest(now, None, out),
        }
    }

    /// The answer is not heard any more: the model need not go on.
    fn cut_off(&mut self, now: CallTime, utterance: &Utterance, out: &mut Vec<Action>) {
        self.keep_rest(now, Some(utterance), out);
    }

    fn keep_rest(&mut self, now: CallTime, utterance: Option<&Utterance>, out: &mut Vec<Action>) {
        self.silence.end();
        let Some(reply) = self.reply.take() else { return };
        let rest = if reply.generating {
            out.push(Action::Abandon(reply.turn));
            Rest::Ask
        } else {
            Rest::Words(utterance.map_or("", Utterance::unheard).trim().to_owned(), reply.after)
        };
        let asks = utterance.is_some_and(Utterance::asks);
        self.cut = Some(Cut { deadline: now + RESUME, asks, turn: reply.turn, rest });
        self.wait_with_cut();
    }

    /// The last report of an utterance that we cut off says what is left of it.
    fn correct_rest(&mut self, utterance: &Utterance) {
        if let Some(cut) = self.cut.as_mut().filter(|cut| cut.turn == utterance.turn)
            && let Rest::Words(words, _) = &mut cut.rest
        {
            cut.asks = utterance.asks();
            utterance.unheard().trim().clone_into(words);
        }
    }

    /// The caller said nothing after all: the answer goes on where it was cut off.
    pub(super) fn resume(&mut self, now: CallTime, out: &mut Vec<Action>) {
        let Some(cut) = self.cut.take() else { return };
        self.ending.forget();
        match cut.rest {
            Rest::Ask => {
                self.replaced = self.replaced.saturating_add(1);
                let turn = self.next_turn();
                if let Some(question) = &mut self.question {
                    question.reply = turn;
                }
                self.ask_as(turn, now, None, out);
            }
            Rest::Words(words, after) => {
                let turn = self.begin_fixed(now, after);
                if !words.is_empty() {
                    self.speech.say(turn, &words, out);
                    self.speech.close(out);
                }
                self.settle(now, out);
            }
        }
    }

    /// When all of an answer was heard: what follows it.
    pub(super) fn settle(&mut self, now: CallTime, out: &mut Vec<Action>) {
        let heard = self.speech.is_idle() && self.reply.as_ref().is_some_and(|reply| !reply.generating);
        let Some(reply) = (if heard { self.reply.take() } else { None }) else { return };
        self.question = None;
        let After { hangup, refer, digits, ask, mistaken } = reply.after;
        if !digits.is_empty() {
            out.push(Action::Do(Command::Dtmf(Dtmf { digits, ..Dtmf::default() })));
        }
        if let Some(reason) = hangup {
            self.hang_up(reason, out);
        } else if let Some(target) = refer {
            self.transfer(target, out);
        } else if let Some(words) = self.waiting.take() {
            self.answer(now, &words, out);
        } else if ask && mistaken {
            self.ask_after_mistake(now, out);
        } else if ask || (self.news && self.fetches.is_empty()) {
            self.ask_unprompted(now, out);
        } else {
            if let Some(collector) = &mut self.collector {
                collector.begin(now);
            }
            if !self.caller_speaking {
                self.silence.begin(now);
            }
            self.release_keys(now, out);
            self.summarise(out);
        }
    }

    /// Stops the answer for good.
    pub(super) fn stop_reply(&mut self, out: &mut Vec<Action>) {
        if let Some(reply) = self.reply.take().filter(|reply| reply.generating) {
            out.push(Action::Abandon(reply.turn));
        }
        self.speech.interrupt(self.playbook.interruption.volume_fade, out);
        self.cut = None;
    }
}
