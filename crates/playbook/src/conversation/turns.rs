//! When the caller's words are all, and whose turn it is then.

use protocol::CallTime;
use protocol::event::Transcript;

use super::heard::After;
use super::{Action, Conversation, Mode};
use crate::turn::Turn;
use crate::turn::end::Verdict;
use crate::turn::model::{self, Asked};

impl Conversation {
    /// Words that the recognizer has completed: they are the turn, or more is awaited.
    pub(super) fn complete_words(&mut self, now: CallTime, words: &Transcript, out: &mut Vec<Action>) {
        self.last_final = Some(now);
        if self.mode != Mode::Talking {
            self.caller_speaking = false;
            self.ending.forget();
            return;
        }
        let overheard = self.speech.is_audible() && self.start.is_filler(words);
        if overheard {
            self.caller_speaking = false;
            self.ending.forget();
            self.overhear(words, out);
            return;
        }
        if self.speech.is_audible() && self.start.on_final(words, self.agent(now)) == Some(Turn::Start) {
            self.cut_by_words(now, out);
        }
        match self.ending.on_final(now, words) {
            None => self.caller_speaking = false,
            Some(Verdict::Answer(text)) => self.take_turn(now, text, out),
            Some(Verdict::Wait) => {
                self.silence.end();
                self.speculate(now, out);
            }
            Some(Verdict::Ask(text)) => {
                self.silence.end();
                self.speculate(now, out);
                self.ask_for_verdict(now, &text, out);
            }
        }
        self.wait_with_cut();
    }

    /// A cut answer does not go on while words are held.
    pub(super) fn wait_with_cut(&mut self) {
        if let Some((cut, until)) = self.cut.as_mut().zip(self.ending.deadline()) {
            cut.deadline = cut.deadline.max(until + std::time::Duration::from_millis(1));
        }
    }

    /// "Mm-hm" while the agent speaks says nothing; after a question it is the answer.
    fn overhear(&mut self, words: &Transcript, out: &mut Vec<Action>) {
        let asked = self.speech.current().is_some_and(crate::speech::Utterance::asks);
        if asked && self.start.is_assent(words) {
            self.keep_waiting(words.text.trim().to_owned(), out);
        }
    }

    /// The caller's turn is over: these are its words.
    pub(super) fn take_turn(&mut self, now: CallTime, text: String, out: &mut Vec<Action>) {
        self.caller_speaking = false;
        self.verdict = None;
        let words = Transcript { text, ..Transcript::default() };
        let filler = self.start.is_filler(&words);
        if self.speech.is_audible() {
            if filler {
                self.overhear(&words, out);
            } else if self.start.on_final(&words, self.agent(now)) == Some(Turn::Start) {
                self.stop_reply(out);
                self.answer(now, &words.text, out);
            } else {
                self.keep_waiting(words.text, out);
            }
        } else if filler && self.cut.as_ref().is_some_and(|cut| !(cut.asks && self.start.is_assent(&words))) {
            self.resume(now, out);
        } else if self.is_answering_unheard() && filler {
            // "Mm-hm" to an answer that is on its way.
        } else if self.is_answering_unheard() && self.may_replace() {
            self.stop_reply(out);
            self.answer(now, &words.text, out);
        } else if self.reply.is_some() {
            self.keep_waiting(words.text, out);
        } else if filler && (!self.fetches.is_empty() || self.collector.is_some()) {
            // "Okay" to "one moment, please", or to "key it in".
            self.silence.end();
        } else {
            self.cut = None;
            self.answer(now, &words.text, out);
        }
    }

    /// Nothing more was understood for a while: words whose final text never came are answered as they are,
    /// and without words the agent goes on.
    pub(super) fn words_or_resume(&mut self, now: CallTime, out: &mut Vec<Action>) {
        let so_far = Transcript { text: self.ending.known(), ..Transcript::default() };
        if so_far.text.is_empty() || self.start.is_filler(&so_far) {
            self.resume(now, out);
        } else if let Some(text) = self.ending.on_complete() {
            self.cut = None;
            self.answer(now, &text, out);
        }
    }

    /// The final words of the caller never come: those that are known are answered, and without any the caller is asked
    /// to say it again. An answer that was cut off goes on by itself.
    pub(super) fn not_understood(&mut self, now: CallTime, out: &mut Vec<Action>) {
        self.caller_speaking = false;
        if self.mode != Mode::Talking {
            return;
        }
        self.silence.answered();
        if let Some(text) = self.ending.on_complete() {
            self.take_turn(now, text, out);
        } else if self.is_waiting_for_caller() && self.fetches.is_empty() {
            let apology = self.phrases.apology.clone();
            self.say_fixed(now, &apology, After::default(), out);
        }
    }

    /// Words that are answered when the agent has finished.
    fn keep_waiting(&mut self, text: String, out: &mut Vec<Action>) {
        self.cancel_by_words(&text, out);
        self.waiting = Some(match self.waiting.take() {
            Some(first) => format!("{first} {text}"),
            None => text,
        });
    }

    fn ask_for_verdict(&mut self, now: CallTime, text: &str, out: &mut Vec<Action>) {
        let asked = self.playbook.option.eou.as_ref();
        match asked.and_then(|eou| model::ask(eou, text, self.playbook.language())) {
            Some(Asked::Fetch(request)) => {
                out.extend(self.verdict.take().map(Action::CancelFetch));
                self.last_fetch = self.last_fetch.wrapping_add(1);
                self.verdict = Some(self.last_fetch);
                out.push(Action::Fetch { id: self.last_fetch, request });
            }
            Some(Asked::Told(ended)) => self.take_verdict(now, ended, out),
            None => {}
        }
    }

    /// The model of ends of turns has answered, or failed: then the words are taken as complete.
    pub(super) fn judged(&mut self, now: CallTime, body: Result<String, String>, out: &mut Vec<Action>) {
        self.verdict = None;
        let ended = match body {
            Ok(body) => model::verdict(&body).unwrap_or(true),
            Err(why) => {
                let why = protocol::read::shown(&why);
                out.push(Action::Note(super::Note::Trouble(format!(
                    "the end of the turn is guessed: {why}"
                ))));
                true
            }
        };
        self.take_verdict(now, ended, out);
    }

    fn take_verdict(&mut self, now: CallTime, ended: bool, out: &mut Vec<Action>) {
        if let Some(words) = self.ending.on_verdict(now, ended) {
            self.take_turn(now, words, out);
        }
    }
}
