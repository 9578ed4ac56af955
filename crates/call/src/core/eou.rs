//! Whether the caller's words are all (`option.eou`): a model is asked at each pause, and `eou` events tell what it
//! says. Where it fails, or says nothing in time, silence is the end of the turn.
//!
//! A playbook whose own strategy is `model` asks by itself, and this stays quiet.

use playbook::turn::end::Bounds;
use playbook::turn::model::{self, Asked};
use protocol::CallTime;
use protocol::event::{Event, Transcript};
use protocol::option::EouOption;

use super::{Core, Due, Effect};

/// Requests from here on are questions of this file; those of a playbook count from one.
const VERDICTS: u32 = 1 << 31;
/// Longest words that are judged, in characters; what was said first is cut.
const MOST_WORDS: usize = 4000;

/// Letters by which a recognizer may revise words that were said already: "two" for "to".
const REVISED: usize = 4;

/// Whether a request is a question of this file.
pub(crate) fn is_verdict(id: u32) -> bool {
    id >= VERDICTS
}

/// The turn of the caller so far.
#[derive(Debug, Default)]
pub(crate) struct Eou {
    /// Its complete words.
    complete: String,
    /// Words that are still being recognized.
    partial: String,
    /// What was asked about last.
    judged: String,
    /// The utterance whose words were judged to be all before they were complete, and how many letters it had.
    ended_early: Option<(u32, usize)>,
    index: u32,
    /// Questions so far; the last one may wait for its verdict.
    asked: u32,
    waits: bool,
    /// The model has failed and that was told; told again only after it has answered.
    failed: bool,
}

impl Eou {
    fn words(&self) -> String {
        let words = format!("{} {}", self.complete, self.partial);
        let surplus = words.chars().count().saturating_sub(MOST_WORDS);
        words.chars().skip(surplus).collect::<String>().trim().to_owned()
    }

    /// Whether `words` are no more than what was judged to be all before they were complete.
    fn was_ended(&self, words: &Transcript) -> bool {
        self.ended_early
            .is_some_and(|(index, known)| index == words.index && letters(&words.text) <= known + REVISED)
    }
}

fn letters(text: &str) -> usize {
    text.chars().filter(|c| c.is_alphanumeric()).count()
}

impl Core {
    /// The option that says whom to ask, where it is for this file to ask.
    fn asked_eou(&self) -> Option<&EouOption> {
        let own = self.playbook.as_ref().is_some_and(|playbook| playbook.end_of_turn.row.name == "model");
        self.option.eou.as_ref().filter(|option| !own && model::names_one(option))
    }

    /// Tells a client that the model it names is none.
    pub(crate) fn check_eou(&mut self, now: CallTime) {
        if self.option.eou.as_ref().is_some_and(model::is_unknown) {
            let why = format!("names no model of ends of turns; {}", model::known());
            self.wrong(now, "eou", "eou.type", why);
        }
    }

    /// The caller speaks: what was asked is out of date.
    pub(crate) fn caller_goes_on(&mut self) {
        self.deadlines.drop_where(|due| *due == Due::TurnEnd);
        self.eou.judged.clear();
        if std::mem::take(&mut self.eou.waits) {
            self.effect(Effect::CancelFetch(VERDICTS | self.eou.asked));
        }
    }

    /// Words are being recognized.
    pub(crate) fn words_go_on(&mut self, words: &Transcript) {
        if self.eou.was_ended(words) {
            return;
        }
        self.eou.index = words.index;
        self.eou.partial = words.text.trim().chars().take(MOST_WORDS).collect();
    }

    /// The caller is silent: the words that are known may be all.
    pub(crate) fn caller_pauses(&mut self, now: CallTime) {
        self.judge(now);
    }

    /// Words are complete.
    pub(crate) fn words_complete(&mut self, now: CallTime, words: &Transcript) {
        self.eou.partial.clear();
        let ended = self.eou.was_ended(words);
        self.eou.ended_early = None;
        if ended {
            return;
        }
        self.eou.complete = format!("{} {}", self.eou.complete, words.text.trim());
        self.eou.complete = self.eou.words();
        self.judge(now);
    }

    /// The model has answered, or failed: then nobody knows better than the silence.
    pub(crate) fn verdict(&mut self, now: CallTime, id: u32, body: Result<String, String>) {
        if !self.eou.waits || id != VERDICTS | self.eou.asked {
            return;
        }
        self.eou.waits = false;
        let read = |body: String| model::verdict(&body).ok_or_else(|| "no verdict in the answer".to_owned());
        match body.and_then(read) {
            Ok(ended) => {
                self.eou.failed = false;
                self.ends(now, ended);
            }
            Err(why) => {
                self.tell_failure(now, &why);
                self.ends(now, true);
            }
        }
    }

    /// Nothing more has come: the turn is over.
    pub(crate) fn turn_ends(&mut self, now: CallTime) {
        if std::mem::take(&mut self.eou.waits) {
            self.effect(Effect::CancelFetch(VERDICTS | self.eou.asked));
            self.tell_failure(now, "no verdict in time");
        }
        self.ends(now, true);
    }

    fn judge(&mut self, now: CallTime) {
        let words = self.eou.words();
        if words.is_empty() || words == self.eou.judged {
            return;
        }
        let Some(option) = self.asked_eou() else { return };
        let (asked, patience) =
            (model::ask(option, &words, &self.spoken_language()), model::patience(option));
        self.caller_goes_on();
        self.eou.judged = words;
        match asked {
            Some(Asked::Fetch(request)) => {
                self.eou.asked = (self.eou.asked + 1) % VERDICTS;
                self.eou.waits = true;
                self.deadlines.set(now + patience, Due::TurnEnd);
                self.effect(Effect::Fetch(VERDICTS | self.eou.asked, request));
            }
            Some(Asked::Told(ended)) => self.ends(now, ended),
            None => {}
        }
    }

    /// Tells a verdict. Words that are not all are taken for all when nothing follows them.
    fn ends(&mut self, now: CallTime, ended: bool) {
        self.deadlines.drop_where(|due| *due == Due::TurnEnd);
        if ended {
            if !self.eou.partial.is_empty() {
                self.eou.ended_early = Some((self.eou.index, letters(&self.eou.partial)));
            }
            self.eou.complete.clear();
            self.eou.partial.clear();
            self.eou.judged.clear();
        } else {
            self.deadlines.set(now + Bounds::default().max, Due::TurnEnd);
        }
        self.emit(Event::Eou {
            track_id: self.facts.id.clone(),
            timestamp: self.unix_ms(now),
            completed: ended,
            complete: ended,
            interrupt_point: None,
        });
    }

    fn tell_failure(&mut self, now: CallTime, why: &str) {
        if !std::mem::replace(&mut self.eou.failed, true) {
            let why = protocol::read::shown(why);
            self.error(now, "eou", format!("the end of the turn is guessed: {why}"), 500);
        }
    }

    /// The language that is spoken, as far as anyone has said.
    fn spoken_language(&self) -> String {
        let playbook = self.playbook.as_ref().map(|playbook| playbook.language().to_owned());
        let option = || self.option.asr.as_ref().and_then(|asr| asr.language.clone());
        playbook.or_else(option).unwrap_or_else(|| "en".to_owned())
    }
}
