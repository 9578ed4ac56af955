//! An answer: asked of the model and spoken as it streams.

use std::time::Duration;

use protocol::CallTime;
use protocol::chat::{Ask, Message, ModelOutput, Role, TurnId};
use protocol::option::Rule;
use serde_json::json;

pub(super) use super::heard::After;
use super::json_reply::Shape;
use super::tools::Called;
use super::{Action, Conversation, MAX_UNPROMPTED, Note};
use crate::plain::Plain;
use crate::scanner::{Scan, Scanner};
use crate::sentence::Sentences;
use crate::speech::Manner;
use crate::template;
use crate::thinking::{Piece, Thinking};

/// Longest answer, in bytes; a model that goes on is stopped.
const MAX_REPLY: usize = 32 * 1024;

/// After so long without a word of the model the caller is told to wait.
const SLOW: Duration = Duration::from_millis(2500);
/// Failed answers in a row after which the call is ended.
const MAX_FAILURES: u32 = 2;

/// Mistakes in a row that the model is told of before the caller hears the apology.
const MAX_MISTAKES: u32 = 2;

/// An answer under way.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) turn: TurnId,
    /// Whether the model still answers.
    pub(super) generating: bool,
    /// When it was wanted.
    pub(super) since: CallTime,
    pub(super) last_output: CallTime,
    pub(super) after: After,
    asked: Option<CallTime>,
    first_output: Option<CallTime>,
    thinking: Thinking,
    scanner: Scanner,
    plain: Plain,
    sentences: Sentences,
    /// All of it without thoughts.
    text: String,
    shape: Shape,
    /// Whether it has words.
    pub(super) said: bool,
    /// Whether it says or does anything.
    pub(super) counts: bool,
    /// The caller was told to wait for it, or need not be.
    pub(super) filled: bool,
    /// Words after the tag that ends the call are not said.
    pub(super) has_ended: bool,
}

/// Words of the caller and the turn that answers them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) words: TurnId,
    pub(super) reply: TurnId,
    pub(super) at: CallTime,
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
        if !self.has_model() {
            self.question = None;
            self.silence.begin(now);
            if let Some(hint) = hint.filter(|_| self.speaks_itself()) {
                out.push(Action::Prompt(hint.to_owned()));
            }
            return;
        }
        self.put_question(turn, self.told(hint, None), None, out);
        self.reply = Some(self.reply_asked_at(turn, now, now));
    }

    /// An answer that was asked for at `asked` and is wanted since `now`.
    pub(super) fn reply_asked_at(&self, turn: TurnId, asked: CallTime, now: CallTime) -> Reply {
        let thinking = if self.thinks_first { Thinking::veiled() } else { Thinking::default() };
        Reply { asked: Some(asked), thinking, ..Reply::new(turn, now) }
    }

    /// Whether a chat model answers the caller.
    pub(super) fn has_model(&self) -> bool {
        self.playbook.llm.is_some() && self.playbook.option.realtime.is_none()
    }

    /// Whether a speech-to-speech model talks with the caller.
    pub(super) fn speaks_itself(&self) -> bool {
        self.playbook.option.realtime.is_some()
    }

    /// Asks the model for the answer of `turn`; `note` is a word that its metric has beside.
    pub(super) fn put_question(
        &self,
        turn: TurnId,
        messages: Vec<Message>,
        note: Option<&str>,
        out: &mut Vec<Action>,
    ) {
        let play_id = format!("turn-{}", turn.0);
        let mut data = json!({ "history_length": self.history.messages().len(), "playId": play_id });
        if let Some(note) = note {
            data[note] = true.into();
        }
        out.push(Action::Note(Note::Metric { key: "llm_call_start", duration: Duration::ZERO, data }));
        let (scene, tools) = (self.scene().to_owned(), self.functions());
        out.push(Action::Ask(Ask {
            turn,
            messages,
            scene,
            tools,
            rules: self.rules(),
            otherwise: self.otherwise(),
        }));
    }

    /// The rules as the variables have it; none where no rule has a template.
    fn rules(&self) -> Vec<Rule> {
        let own = self.playbook.llm.as_ref().and_then(|llm| llm.rules.as_deref()).unwrap_or_default();
        if !own.iter().flat_map(|rule| &rule.say).any(|say| template::is_template(say)) {
            return Vec::new();
        }
        let render = |say: &String| template::render_words(say, &self.vars).unwrap_or_else(|_| say.clone());
        own.iter().map(|rule| Rule { say: rule.say.iter().map(render).collect(), ..rule.clone() }).collect()
    }

    /// What is said where no rule fits, as the variables have it; none where it has no template.
    fn otherwise(&self) -> Option<String> {
        let own = self.playbook.llm.as_ref().and_then(|llm| llm.otherwise.as_ref());
        let own = own.filter(|text| template::is_template(text))?;
        Some(template::render_words(own, &self.vars).unwrap_or_else(|_| own.clone()))
    }

    /// The rules, where they are all that answers.
    fn rules_alone(&self) -> Option<&[Rule]> {
        let llm = self.playbook.llm.as_ref()?;
        let alone = llm.provider.as_deref().is_some_and(|name| name.eq_ignore_ascii_case("rules"));
        alone.then(|| llm.rules.as_deref().unwrap_or_default()).filter(|rules| !rules.is_empty())
    }

    /// Whether only rules give answers: they fit words, and there are none before the caller has spoken. Words of one's
    /// own for what no rule fits are said.
    pub(super) fn has_nothing_to_begin_with(&self) -> bool {
        let otherwise = self.playbook.llm.as_ref().is_some_and(|llm| llm.otherwise.is_some());
        !otherwise && self.rules_alone().is_some()
    }

    /// Whether the caller has an answer, only rules give answers, and none of them is for this scene: nothing can be
    /// added to what was said.
    fn has_said_all(&self) -> bool {
        let mut spoken = self.history.messages().iter().rev();
        let last = spoken.find(|message| matches!(message.role, Role::User | Role::Assistant));
        if last.is_none_or(|last| last.role == Role::User) {
            return false;
        }
        let here = |rule: &Rule| rule.scene.as_deref() == Some(self.scene());
        self.rules_alone().is_some_and(|rules| !rules.iter().any(here))
    }

    /// Asks the model once more although the caller said nothing, as often as that is sensible.
    pub(super) fn ask_unprompted(&mut self, now: CallTime, out: &mut Vec<Action>) {
        let hint = if self.news {
            "What was fetched is told above. Go on with it.".to_owned()
        } else {
            format!("This is the scene {} now. Go on.", self.scene())
        };
        self.news = false;
        if self.has_said_all() {
            return self.silence.begin(now);
        }
        self.unprompted = self.unprompted.saturating_add(1);
        if self.unprompted <= MAX_UNPROMPTED {
            self.ask(now, Some(&hint), out);
        } else {
            let text = format!("the model took {MAX_UNPROMPTED} turns in a row; it waits for the caller now");
            out.push(Action::Note(Note::Trouble(text)));
            if self.owes_an_answer() {
                return self.apologise(now, out);
            }
            self.silence.begin(now);
        }
    }

    /// Whether the caller has heard nothing since his last words.
    fn owes_an_answer(&self) -> bool {
        let spoken = |message: &&Message| {
            message.role == Role::User || message.role == Role::Assistant && !message.content.is_empty()
        };
        let last = self.history.messages().iter().rev().find(spoken);
        last.is_some_and(|last| last.role == Role::User)
    }

    /// The model has used what there is not and said nothing behind it: it is told what was wrong, and the caller hears
    /// the apology when that does not help.
    pub(super) fn ask_after_mistake(&mut self, now: CallTime, out: &mut Vec<Action>) {
        self.mistakes = self.mistakes.saturating_add(1);
        if self.mistakes <= MAX_MISTAKES {
            self.ask(now, Some("What you did last was not possible, as told above. Go on."), out);
        } else {
            out.push(Action::Note(Note::Trouble(format!(
                "the model was wrong {} times in a row",
                self.mistakes
            ))));
            self.apologise(now, out);
        }
    }

    /// No answer came of what the model did.
    fn apologise(&mut self, now: CallTime, out: &mut Vec<Action>) {
        self.mistakes = 0;
        let (phrase, after) = self.excuse();
        self.say_fixed(now, &phrase, after, out);
    }

    /// What is said in place of an answer: an apology, and after several in a row a goodbye.
    fn excuse(&mut self) -> (String, After) {
        self.failures = self.failures.saturating_add(1);
        match self.failures >= MAX_FAILURES {
            true => (self.phrases.goodbye.clone(), After::hangup("no answer from the model")),
            false => (self.phrases.apology.clone(), After::default()),
        }
    }

    /// The model is told what was wrong, and asked again unless it says something behind it.
    pub(super) fn mistaken(&mut self) {
        if let Some(reply) = &mut self.reply {
            reply.counts = true;
            reply.after.ask = true;
            reply.after.mistaken = true;
        }
    }

    /// When the caller, who hears nothing of the model, is told to wait.
    pub(super) fn filler_deadline(&self) -> Option<CallTime> {
        let reply = self.reply.as_ref().filter(|reply| reply.generating && !reply.said && !reply.filled)?;
        let free = self.speech.is_idle() && !reply.has_ended && self.fetches.is_empty();
        let quiet = !self.caller_speaking && !self.held && self.ending.known().is_empty();
        (free && quiet).then(|| reply.since + SLOW)
    }

    /// Tells the caller to wait for the model. What he says meanwhile is answered behind the answer.
    pub(super) fn fill(&mut self, out: &mut Vec<Action>) {
        let text = self.phrases.wait.clone();
        let text = self.render_spoken(&text, out);
        let Some(reply) = &mut self.reply else { return };
        reply.filled = true;
        if text.trim().is_empty() {
            return;
        }
        let manner =
            std::mem::replace(&mut self.speech.manner, Manner { protected: true, ..Manner::default() });
        self.speech.say(reply.turn, text.trim(), out);
        self.speech.close(out);
        self.speech.manner = manner;
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
        let text = self.render_spoken(text, out);
        self.begin_fixed(now, after);
        self.feed(&text, out);
        self.finish_words(out);
        self.settle(now, out);
    }

    pub(super) fn model(&mut self, now: CallTime, turn: TurnId, output: ModelOutput, out: &mut Vec<Action>) {
        let Some(output) = self.keep_summary(turn, output) else { return };
        let Some(output) = self.keep_piece(turn, output) else { return };
        let Some(reply) = self.reply.as_mut().filter(|reply| reply.turn == turn && reply.generating) else {
            return;
        };
        reply.last_output = now;
        match output {
            ModelOutput::Text(text) => {
                reply.first_output.get_or_insert(now);
                let mut pieces = Vec::new();
                reply.thinking.push(&text, &mut pieces);
                self.take_pieces(pieces, out);
                if self.reply.as_ref().is_some_and(|reply| reply.text.len() > MAX_REPLY) {
                    out.push(Action::Abandon(turn));
                    out.push(Action::Note(Note::Trouble("the model's answer is too long; it is cut".into())));
                    self.complete(now, out);
                }
            }
            ModelOutput::Reasoning(_) => {}
            ModelOutput::ToolCall { id, name, arguments } => {
                self.say_open_sentence(out);
                self.call_function(Called { id, name, arguments }, out);
            }
            ModelOutput::Done(usage) => {
                self.finish_thinking(out);
                let Some(reply) = &self.reply else { return };
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

    /// Text of the model, of which thoughts are not said.
    fn take_pieces(&mut self, pieces: Vec<Piece>, out: &mut Vec<Action>) {
        for piece in pieces {
            let Some(reply) = &mut self.reply else { return };
            match piece {
                Piece::Words(text) => {
                    reply.text.push_str(&text);
                    let words = reply.shape.take(&text);
                    self.feed(words, out);
                }
                Piece::Retracted => self.retract(out),
            }
        }
    }

    fn finish_thinking(&mut self, out: &mut Vec<Action>) {
        let mut pieces = Vec::new();
        if let Some(reply) = &mut self.reply {
            reply.thinking.finish(&mut pieces);
        }
        self.take_pieces(pieces, out);
    }

    /// The answer so far was a thought whose opening was cut off: the voice stops, and answers of this model are
    /// spoken from now on when it is certain that they are none.
    fn retract(&mut self, out: &mut Vec<Action>) {
        self.thinks_first = true;
        let Some(reply) = &mut self.reply else { return };
        reply.scanner = Scanner::default();
        reply.plain = Plain::default();
        reply.sentences = Sentences::default();
        reply.shape = Shape::default();
        reply.text.clear();
        reply.after = After::default();
        (reply.said, reply.counts, reply.has_ended) = (false, false, false);
        self.speech.manner = Manner::default();
        self.speech.interrupt(Duration::ZERO, out);
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
                    let mut words = String::new();
                    reply.plain.push(&text, &mut words);
                    reply.sentences.push(&words, &mut sentences);
                }
                sentences.iter().for_each(|sentence| self.say(sentence, out));
            }
            Scan::Tag(tag) => {
                self.say_open_sentence(out);
                self.act(&tag, out);
            }
            Scan::Emotion(emotion) => {
                // Another emotion is another utterance: only for voices that are said to have them.
                let features = self.playbook.llm.iter().flat_map(|llm| llm.features.iter().flatten());
                if features.into_iter().any(|feature| feature == "voice_emotion") {
                    self.say_open_sentence(out);
                    self.speech.manner.emotion = emotion.map(str::to_owned);
                }
            }
        }
    }

    fn say(&mut self, sentence: &str, out: &mut Vec<Action>) {
        if let Some(reply) = &mut self.reply {
            reply.counts = true;
            reply.said = true;
            reply.after.ask = false;
            self.speech.say(reply.turn, sentence, out);
        }
    }

    pub(super) fn say_open_sentence(&mut self, out: &mut Vec<Action>) {
        let mut sentences = Vec::new();
        if let Some(reply) = &mut self.reply {
            let mut words = String::new();
            reply.plain.flush(&mut words);
            reply.sentences.push(&words, &mut sentences);
            sentences.extend(reply.sentences.flush());
        }
        sentences.iter().for_each(|sentence| self.say(sentence, out));
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
        self.speech.manner = Manner::default();
    }

    /// The text broke off: what is no sentence yet is not said.
    fn drop_open_sentence(&mut self, out: &mut Vec<Action>) {
        if let Some(reply) = &mut self.reply {
            reply.scanner = Scanner::default();
            reply.plain = Plain::default();
            reply.sentences = Sentences::default();
        }
        self.speech.close(out);
        self.speech.manner = Manner::default();
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
            if reply.said {
                (self.failures, self.mistakes) = (0, 0);
            }
            self.settle(now, out);
        } else {
            self.fail(now, "the model's answer is empty", out);
        }
    }

    /// The model failed: the caller hears an apology, and after several in a row a goodbye.
    pub(super) fn fail(&mut self, now: CallTime, why: &str, out: &mut Vec<Action>) {
        out.push(Action::Note(Note::Trouble(format!("no answer from the model: {why}"))));
        self.drop_open_sentence(out);
        self.question = None;
        let (phrase, after) = self.excuse();
        let text = self.render(&phrase, out);
        let Some(reply) = &mut self.reply else { return };
        let turn = reply.turn;
        reply.generating = false;
        reply.counts = true;
        reply.after = after;
        self.speech.say(turn, text.trim(), out);
        self.speech.close(out);
        self.settle(now, out);
    }
}

impl Reply {
    /// Whether nobody was asked for it: it is a text of the playbook.
    pub(super) fn is_fixed(&self) -> bool {
        self.asked.is_none()
    }

    fn new(turn: TurnId, now: CallTime) -> Self {
        Reply {
            turn,
            generating: true,
            since: now,
            last_output: now,
            after: After::default(),
            asked: None,
            first_output: None,
            thinking: Thinking::default(),
            scanner: Scanner::default(),
            plain: Plain::default(),
            sentences: Sentences::default(),
            text: String::new(),
            shape: Shape::default(),
            said: false,
            counts: false,
            filled: false,
            has_ended: false,
        }
    }
}
