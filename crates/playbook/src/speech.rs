//! What is being said: utterances in their order, and how much of each the caller has heard.
//!
//! An utterance begins when the one before it has ended, because a `tts` or `play` with another `playId`
//! would cut that off.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::chat::TurnId;
use protocol::command::{Interrupt, Play, Tts};
use protocol::option::SynthesisOption;
use protocol::value::InputTimeout;
use protocol::{CallTime, Command};
use serde_json::json;

use crate::conversation::{Action, Arming, Ended, Note};

/// The `waitInputTimeout` of what is said, unless the answer says another, as deployed playbooks have it.
const WAIT_INPUT: Duration = Duration::from_secs(10);

/// Most utterances that wait; further ones are dropped. Only a model that streams tags without end gets here.
const MAX_WAITING: usize = 64;

/// Everything that is being said or waits to be.
#[derive(Clone, Debug, Default)]
pub struct Speech {
    line: VecDeque<Utterance>,
    /// Cut off by us; its last report is still to come.
    leaving: Vec<Utterance>,
    /// Utterances so far of the turn of the last one.
    count: u32,
    last_turn: Option<TurnId>,
    /// The turn of the utterance that ended last, and all words of it that were heard.
    ended: Option<(TurnId, String)>,
    /// How the next words are to be said.
    pub manner: Manner,
    /// What the call's sound does when the caller is heard, where that is allowed.
    arming: Option<Arming>,
    /// Whether it was armed so.
    armed: Option<bool>,
}

/// How words are said. Words of another manner make another utterance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Heard to the end whatever the caller does.
    pub protected: bool,
    /// Emotion of the voice.
    pub emotion: Option<String>,
    /// `waitInputTimeout`; absent: 10 s.
    pub wait_input: Option<Duration>,
}

/// One `playId`.
#[derive(Clone, Debug)]
pub struct Utterance {
    /// The turn it belongs to.
    pub turn: TurnId,
    /// Its id in the call.
    pub play_id: String,
    /// File to play; else it is words.
    file: Option<String>,
    /// Its words so far.
    said: String,
    /// Of these, what the caller has heard.
    pub heard: String,
    /// Heard words of earlier utterances of the turn.
    before: String,
    /// When the first of it was heard.
    pub audible: Option<CallTime>,
    begun: bool,
    complete: bool,
    manner: Manner,
}

impl Utterance {
    /// Whether it is heard to the end whatever the caller does.
    pub fn is_protected(&self) -> bool {
        self.manner.protected
    }

    /// Whether its last sentence asks something and was heard, or nearly.
    pub fn asks(&self) -> bool {
        /// So many characters before its end a question is understood.
        const NEARLY: usize = 30;
        if self.unheard().trim().chars().nth(NEARLY).is_some() {
            return false;
        }
        let words = self.said.trim_end();
        let last = words.trim_end_matches(['"', '\'', ')', '”', '」']);
        last.ends_with(['?', '？'])
    }

    /// The words that were not heard.
    pub fn unheard(&self) -> &str {
        self.said.strip_prefix(self.heard.as_str()).unwrap_or("")
    }

    /// All words of the turn that the caller has heard.
    pub fn heard_of_turn(&self) -> String {
        if self.before.is_empty() || self.heard.is_empty() {
            return format!("{}{}", self.before, self.heard);
        }
        let apart = if self.heard.starts_with(' ') { "" } else { " " };
        format!("{}{apart}{}", self.before, self.heard)
    }
}

impl Speech {
    /// Nothing is said yet; `arming` holds for every utterance that is not protected.
    pub fn new(arming: Option<Arming>) -> Self {
        Speech { arming, ..Speech::default() }
    }

    /// Whether what is being said is heard to the end whatever the caller does.
    pub fn is_protected(&self) -> bool {
        self.current().is_some_and(Utterance::is_protected)
    }

    /// What is being said.
    pub fn current(&self) -> Option<&Utterance> {
        self.line.front()
    }

    /// Whether nothing is being said and nothing waits.
    pub fn is_idle(&self) -> bool {
        self.line.is_empty()
    }

    /// Whether the caller hears something of it.
    pub fn is_audible(&self) -> bool {
        self.current().is_some_and(|current| current.audible.is_some())
    }

    /// Says `words` after everything else of `turn`; a space that sets them apart is not needed first.
    pub fn say(&mut self, turn: TurnId, words: &str, out: &mut Vec<Action>) {
        let manner = &self.manner;
        let same = |last: &Utterance| {
            last.turn == turn && last.file.is_none() && !last.complete && last.manner == *manner
        };
        if !self.line.back().is_some_and(same) {
            self.close(out);
            self.append(turn, None);
        }
        let Some(last) = self.line.back_mut() else { return };
        let words = if last.said.is_empty() { words.trim_start() } else { words };
        last.said.push_str(words);
        if last.begun {
            say(last, words, out);
        } else {
            self.begin(out);
        }
    }

    /// Plays a file after everything else.
    pub fn play(&mut self, turn: TurnId, file: String, out: &mut Vec<Action>) {
        self.close(out);
        self.append(turn, Some(file));
        self.begin(out);
    }

    /// No more words come to what was said last.
    pub fn close(&mut self, out: &mut Vec<Action>) {
        let Some(last) = self.line.back_mut().filter(|last| !last.complete) else { return };
        last.complete = true;
        if last.begun {
            out.push(words_of(last, "", true));
        }
    }

    /// Stops everything; what was being said is reported once more.
    pub fn interrupt(&mut self, fade: Duration, out: &mut Vec<Action>) {
        let front = self.line.pop_front();
        self.line.clear();
        if let Some(front) = front.filter(|front| front.begun) {
            let fade_out_ms = u32::try_from(fade.as_millis()).ok().filter(|ms| *ms > 0);
            out.push(Action::Do(Command::Interrupt(Interrupt { graceful: None, fade_out_ms })));
            self.leaving.push(front);
        }
    }

    /// Notes a report and returns the utterance as it stands. One that has ended is taken out, and the next
    /// begins unless it was interrupted: then what waited is dropped.
    pub fn report(&mut self, now: CallTime, report: Report<'_>, out: &mut Vec<Action>) -> Option<Utterance> {
        if let Some(at) = self.leaving.iter().position(|own| own.play_id == report.play_id) {
            let leaving = self.leaving.get_mut(at)?;
            leaving.note(now, report.text, report.ended);
            let state = leaving.clone();
            if report.ended != Ended::Playing {
                self.leaving.remove(at);
            }
            return Some(state);
        }
        let current = self.line.front_mut().filter(|own| own.begun && own.play_id == report.play_id)?;
        current.note(now, report.text, report.ended);
        let state = current.clone();
        match report.ended {
            Ended::Playing => {}
            Ended::Interrupted => self.line.clear(),
            Ended::Finished => {
                self.line.pop_front();
                self.ended = Some((state.turn, state.heard_of_turn()));
                for next in self.line.iter_mut().filter(|next| next.turn == state.turn) {
                    next.before = state.heard_of_turn();
                }
                self.begin(out);
            }
        }
        Some(state)
    }

    /// Whether the utterance was cut off by us.
    pub fn is_leaving(&self, play_id: &str) -> bool {
        self.leaving.iter().any(|own| own.play_id == play_id)
    }

    fn append(&mut self, turn: TurnId, file: Option<String>) {
        if self.line.len() >= MAX_WAITING {
            return;
        }
        self.count = if self.last_turn == Some(turn) { self.count.saturating_add(1) } else { 1 };
        self.last_turn = Some(turn);
        let play_id = match self.count {
            1 => format!("turn-{}", turn.0),
            more => format!("turn-{}.{more}", turn.0),
        };
        let complete = file.is_some();
        let before = self.ended.as_ref().filter(|(own, _)| *own == turn).map(|(_, heard)| heard.clone());
        self.line.push_back(Utterance {
            turn,
            play_id,
            file,
            said: String::new(),
            heard: String::new(),
            before: before.unwrap_or_default(),
            audible: None,
            begun: false,
            complete,
            manner: self.manner.clone(),
        });
    }

    /// Lets the first utterance begin if it has not.
    fn begin(&mut self, out: &mut Vec<Action>) {
        let Some(first) = self.line.front_mut().filter(|first| !first.begun) else { return };
        first.begun = true;
        let arm = !first.manner.protected;
        if self.armed.replace(arm) != Some(arm) {
            out.push(Action::Arm(self.arming.filter(|_| arm)));
        }
        if let Some(url) = first.file.clone() {
            let play_id = Some(first.play_id.clone());
            let wait_input_timeout = Some(first.wait_input());
            let play = Play { url, play_id, wait_input_timeout, ..Play::default() };
            out.push(Action::Do(Command::Play(play)));
            return;
        }
        say(first, &first.said, out);
        if first.complete {
            out.push(words_of(first, "", true));
        }
    }
}

impl Utterance {
    fn wait_input(&self) -> InputTimeout {
        InputTimeout(self.manner.wait_input.unwrap_or(WAIT_INPUT))
    }

    fn note(&mut self, now: CallTime, text: &str, ended: Ended) {
        // Sound that has begun is audible before its first word is complete.
        if !text.is_empty() || self.file.is_some() || ended == Ended::Playing {
            self.audible.get_or_insert(now);
        }
        if self.file.is_none() {
            text.clone_into(&mut self.heard);
        }
    }
}

/// What the call tells of an utterance.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// Which.
    pub play_id: &'a str,
    /// Its words heard so far.
    pub text: &'a str,
    /// Whether it goes on.
    pub ended: Ended,
}

/// Gives words to the voice, and tells which utterance they belong to.
fn say(utterance: &Utterance, words: &str, out: &mut Vec<Action>) {
    let data = json!({ "playId": utterance.play_id, "text": words });
    out.push(Action::Note(Note::Metric { key: "tts_play_id_map", duration: Duration::ZERO, data }));
    out.push(words_of(utterance, words, false));
}

fn words_of(utterance: &Utterance, text: &str, end: bool) -> Action {
    let emotion = utterance.manner.emotion.clone();
    let option = emotion
        .map(|emotion| Box::new(SynthesisOption { emotion: Some(emotion), ..SynthesisOption::default() }));
    Action::Do(Command::Tts(Tts {
        text: text.to_owned(),
        play_id: Some(utterance.play_id.clone()),
        streaming: Some(true),
        end_of_stream: end.then_some(true),
        wait_input_timeout: Some(utterance.wait_input()),
        option,
        ..Tts::default()
    }))
}
