//! An answer: asked of the model, spoken as it streams, heard or cut off, and what follows it.

use std::time::Duration;

use protocol::chat::{Ask, ModelOutput, Role, TurnId};
use protocol::command::{Hangup, Refer};
use protocol::option::ReferOption;
use protocol::value::Headers;
use protocol::{CallTime, Command};
use serde_json::json;

use super::json_reply::Shape;
use super::{Action, Conversation, Ended, MAX_UNPROMPTED, Mode, Note};
use crate::prompt;
use crate::scanner::{Scan, Scanner};
use crate::sentence::Sentences;
use crate::speech::{Report, Utterance};
use crate::tags::Tag;
use crate::template;
use crate::vars::Vars;

/// Longest answer, in bytes; a model that goes on is stopped.
const MAX_REPLY: usize = 32 * 1024;

/// After an interruption without words the agent goes on when so much time has passed in silence.
pub(super) const RESUME: Duration = Duration::from_millis(2500);

/// Failed answers in a row after which the call is ended.
const MAX_FAILURES: u32 = 2;

/// An answer under way.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) turn: TurnId,
    /// Whether the model still answers.
    pub(super) generating: bool,
    pub(super) last_output: CallTime,
    pub(super) after: After,
    asked: Option<CallTime>,
    first_output: Option<CallTime>,
    scanner: Scanner,
    sentences: Sentences,
    text: String,
    shape: Shape,
    /// Whether it says or does anything.
    pub(super) counts: bool,
    /// Words after the tag that ends the call are not said.
    pub(super) has_ended: bool,
}

/// What follows when an answer has been heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct After {
    /// End the call, for this reason.
    pub(super) hangup: Option<Reason>,
    /// Transfer the call.
    pub(super) refer: Option<String>,
    /// Ask the model in the scene that was entered.
    pub(super) ask: bool,
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

/// Words of the caller and the turn that answers them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) words: TurnId,
    pub(super) reply: TurnId,
    pub(super) at: CallTime,
}

/// An answer that was cut off. If the caller says something it is given up; if not it goes on.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) deadline: CallTime,
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
    /// Asks the model. Without one it is the caller's turn.
    pub(super) fn ask(&mut self, now: CallTime, hint: Option<&str>, out: &mut Vec<Action>) {
        let turn = self.next_turn();
        self.ask_as(turn, now, hint, out);
    }

    pub(super) fn ask_as(&mut self, turn: TurnId, now: CallTime, hint: Option<&str>, out: &mut Vec<Action>) {
        self.news = false;
        self.silence.end();
        if self.playbook.llm.is_none() || self.playbook.option.realtime.is_some() {
            self.question = None;
            self.silence.begin(now);
            return;
        }
        let messages = prompt::messages(&self.prompt, self.history.messages(), hint);
        let play_id = format!("turn-{}", turn.0);
        let data = json!({ "history_length": self.history.messages().len(), "playId": play_id });
        out.push(Action::Note(Note::Metric { key: "llm_call_start", duration: Duration::ZERO, data }));
        out.push(Action::Ask(Ask { turn, messages, scene: self.scene().to_owned() }));
        self.reply = Some(Reply { asked: Some(now), ..Reply::new(turn, now) });
    }

    /// Asks the model once more although the caller said nothing, as often as that is sensible.
    pub(super) fn ask_unprompted(&mut self, now: CallTime, out: &mut Vec<Action>) {
        let hint = if self.news {
            "What was fetched is told above. Go on with it.".to_owned()
        } else {
            format!("This is the scene {} now. Go on.", self.scene())
        };
        self.news = false;
        self.unprompted = self.unprompted.saturating_add(1);
        if self.unprompted <= MAX_UNPROMPTED {
            self.ask(now, Some(&hint), out);
        } else {
            let text = format!("the model took {MAX_UNPROMPTED} turns in a row; it waits for the caller now");
            out.push(Action::Note(Note::Trouble(text)));
            self.silence.begin(now);
        }
    }

    /// Begins a turn that needs no model.
    pub(super) fn begin_fixed(&mut self, now: CallTime, after: After) -> TurnId {
        let turn = self.next_turn();
        self.silence.end();
        self.reply = Some(Reply { generating: false, counts: true, after, ..Reply::new(turn, now) });
        turn
    }

    /// Says a fixed text, which is a template.
    pub(super) fn say_fixed(&mut self, now: CallTime, text: &str, after: After, out: &mut Vec<Action>) {
        let text = self.render(text, out);
        self.begin_fixed(now, after);
        self.feed(&text, out);
        self.finish_words(out);
        self.settle(now, out);
    }

    pub(super) fn model(&mut self, now: CallTime, turn: TurnId, output: ModelOutput, out: &mut Vec<Action>) {
        let Some(reply) = self.reply.as_mut().filter(|reply| reply.turn == turn && reply.generating) else {
            return;
        };
        reply.last_output = now;
        match output {
            ModelOutput::Text(text) => {
                reply.first_output.get_or_insert(now);
                reply.text.push_str(&text);
                let endless = reply.text.len() > MAX_REPLY;
                let words = reply.shape.take(&text);
                self.feed(words, out);
                if endless {
                    out.push(Action::Abandon(turn));
                    out.push(Action::Note(Note::Trouble("the model's answer is too long; it is cut".into())));
                    self.complete(now, out);
                }
            }
            ModelOutput::Reasoning(_) => {}
            ModelOutput::ToolCall { name, arguments, .. } => match Tag::from_call(&name, &arguments) {
                Some(tag) => self.take(Scan::Tag(tag), out),
                None => out.push(Action::Note(Note::Trouble("the model calls an unknown function".into()))),
            },
            ModelOutput::Done(usage) => {
                let data = json!({
                    "response": reply.text, "playId": format!("turn-{}", turn.0),
                    "ttfb": reply.first_output.zip(reply.asked).map(|(first, asked)| first.since(asked).as_millis() as u64),
                    "promptTokens": usage.prompt, "completionTokens": usage.completion,
                });
                let duration = reply.asked.map_or(Duration::ZERO, |asked| now.since(asked));
                out.push(Action::Note(Note::Metric { key: "llm_response", duration, data }));
                self.complete(now, out);
            }
            ModelOutput::Failed { error } => self.fail(now, &error, out),
        }
    }

    /// Text of the answer: words go to speech sentence by sentence, tags act.
    pub(super) fn feed(&mut self, text: &str, out: &mut Vec<Action>) {
        let mut scans = Vec::new();
        if let Some(reply) = &mut self.reply {
            reply.scanner.push(text, &mut scans);
        }
        scans.into_iter().for_each(|scan| self.take(scan, out));
    }

    pub(super) fn take(&mut self, scan: Scan, out: &mut Vec<Action>) {
        match scan {
            Scan::Text(text) => {
                let mut sentences = Vec::new();
                if let Some(reply) = self.reply.as_mut().filter(|reply| !reply.has_ended) {
                    reply.sentences.push(&text, &mut sentences);
                }
                sentences.iter().for_each(|sentence| self.say(sentence, out));
            }
            Scan::Tag(tag) => {
                self.say_open_sentence(out);
                self.act(&tag, out);
            }
        }
    }

    fn say(&mut self, sentence: &str, out: &mut Vec<Action>) {
        if let Some(reply) = &mut self.reply {
            reply.counts = true;
            reply.after.ask = false;
            self.speech.say(reply.turn, sentence, out);
        }
    }

    pub(super) fn say_open_sentence(&mut self, out: &mut Vec<Action>) {
        if let Some(sentence) = self.reply.as_mut().and_then(|reply| reply.sentences.flush()) {
            self.say(&sentence, out);
        }
    }

    /// The text is complete: what the scanner and the sentence hold back is said.
    pub(super) fn finish_words(&mut self, out: &mut Vec<Action>) {
        let mut scans = Vec::new();
        if let Some(reply) = &mut self.reply {
            reply.scanner.finish(&mut scans);
        }
        scans.into_iter().for_each(|scan| self.take(scan, out));
        self.say_open_sentence(out);
        self.speech.close(out);
    }

    fn complete(&mut self, now: CallTime, out: &mut Vec<Action>) {
        let shape = self.reply.as_mut().map(|reply| std::mem::take(&mut reply.shape));
        if let Some(Shape::Json(text)) = shape {
            self.speak_json(&text, out);
        }
        self.finish_words(out);
        let Some(reply) = &mut self.reply else { return };
        reply.generating = false;
        if reply.counts {
            self.failures = 0;
            self.settle(now, out);
        } else {
            self.fail(now, "the model's answer is empty", out);
        }
    }

    /// The model failed: the caller hears an apology, and after several in a row a goodbye.
    pub(super) fn fail(&mut self, now: CallTime, why: &str, out: &mut Vec<Action>) {
        out.push(Action::Note(Note::Trouble(format!("no answer from the model: {why}"))));
        self.finish_words(out);
        self.failures = self.failures.saturating_add(1);
        self.question = None;
        let give_up = self.failures >= MAX_FAILURES;
        let mut text = self.render(&self.phrases.apology.clone(), out);
        if give_up {
            text = self.render(&self.phrases.goodbye.clone(), out);
        }
        let Some(reply) = &mut self.reply else { return };
        let turn = reply.turn;
        reply.generating = false;
        reply.counts = true;
        reply.after = if give_up { After::hangup("no answer from the model") } else { After::default() };
        self.speech.say(turn, text.trim(), out);
        self.speech.close(out);
        self.settle(now, out);
    }

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
        self.cut = Some(Cut { deadline: now + RESUME, turn: reply.turn, rest });
    }

    /// The last report of an utterance that we cut off says what is left of it.
    fn correct_rest(&mut self, utterance: &Utterance) {
        if let Some(cut) = self.cut.as_mut().filter(|cut| cut.turn == utterance.turn)
            && let Rest::Words(words, _) = &mut cut.rest
        {
            utterance.unheard().trim().clone_into(words);
        }
    }

    /// The caller said nothing after all: the answer goes on where it was cut off.
    pub(super) fn resume(&mut self, now: CallTime, out: &mut Vec<Action>) {
        let Some(cut) = self.cut.take() else { return };
        self.stop.forget();
        match cut.rest {
            Rest::Ask => {
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
        let After { hangup, refer, ask } = reply.after;
        if let Some(reason) = hangup {
            self.hang_up(reason, out);
        } else if let Some(target) = refer {
            self.transfer(target, out);
        } else if let Some(words) = self.waiting.take() {
            self.answer(now, &words, out);
        } else if ask || (self.news && self.fetches.is_empty()) {
            self.ask_unprompted(now, out);
        } else {
            if let Some(collector) = &mut self.collector {
                collector.begin(now);
            }
            if !self.caller_speaking {
                self.silence.begin(now);
            }
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

    pub(super) fn hang_up(&mut self, reason: Reason, out: &mut Vec<Action>) {
        self.mode = Mode::Over;
        let headers = self.hangup_headers(out);
        let headers = Some(headers).filter(|headers| !headers.is_empty());
        let Reason { reason, initiator } = reason;
        let hangup = Hangup { reason, initiator, headers, refer: None };
        out.push(Action::Do(Command::Hangup(hangup)));
    }

    /// The playbook's headers for the BYE, and over them those in the variable `_hangup_headers`.
    fn hangup_headers(&self, out: &mut Vec<Action>) -> Headers {
        let sip = self.playbook.option.sip.as_ref();
        let mut headers = sip.and_then(|sip| sip.hangup_headers.clone()).unwrap_or_default();
        let set = self.vars.text("_hangup_headers").and_then(|text| Vars::object(&text));
        for (name, value) in set.into_iter().flatten() {
            headers.insert(name, protocol::value::extra_string(&value));
        }
        for value in headers.values_mut() {
            match template::render(value, &self.vars) {
                Ok(text) => *value = text,
                Err(error) => out.push(Action::Note(Note::Trouble(error.to_string()))),
            }
        }
        headers
    }

    pub(super) fn transfer(&mut self, callee: String, out: &mut Vec<Action>) {
        self.mode = Mode::Transferred;
        self.silence.end();
        let options = ReferOption { pause_parent_asr: Some(true), ..ReferOption::default() };
        out.push(Action::Do(Command::Refer(Refer {
            caller: String::new(),
            callee,
            options: Some(Box::new(options)),
        })));
    }

    /// The transfer did not succeed: the caller is back.
    pub(super) fn transfer_failed(&mut self, now: CallTime, why: &str, out: &mut Vec<Action>) {
        if self.mode != Mode::Transferred {
            return;
        }
        self.mode = Mode::Talking;
        self.history.push(self.last_turn, Role::System, format!("The transfer failed: {why}"));
        let text = self.phrases.unreachable.clone();
        self.say_fixed(now, &text, After::default(), out);
    }
}

impl Reply {
    fn new(turn: TurnId, now: CallTime) -> Self {
        Reply {
            turn,
            generating: true,
            last_output: now,
            after: After::default(),
            asked: None,
            first_output: None,
            scanner: Scanner::default(),
            sentences: Sentences::default(),
            text: String::new(),
            shape: Shape::default(),
            counts: false,
            has_ended: false,
        }
    }
}
