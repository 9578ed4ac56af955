//! Asking the model at the caller's first pause, before it is certain that the turn is over.
//!
//! If the words turn out to be all, the answer is already on its way; if not, it is dropped unheard and its cost
//! counted. Nothing of such an answer acts before the turn is over: no word is spoken, no tag done.

use std::time::Duration;

use protocol::CallTime;
use protocol::chat::{Message, ModelOutput, Role, TurnId};
use protocol::event::Transcript;
use serde_json::json;

use super::{Action, Conversation, Mode, Note};

/// Most pieces of an answer that are kept; a longer one is asked for again.
const MAX_PIECES: usize = 4096;

/// A question that may be the caller's.
#[derive(Debug)]
pub(super) struct Speculation {
    turn: TurnId,
    /// The words without case and signs.
    words: String,
    asked: CallTime,
    /// Messages of the history it was asked with.
    history: usize,
    pieces: Vec<ModelOutput>,
}

/// How often asking early was of use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Speculations {
    /// The answer was already there or on its way.
    pub hits: u32,
    /// The answer was dropped.
    pub wasted: u32,
}

impl Conversation {
    /// The caller pauses: asks with what is known, as far as the budget goes.
    pub(super) fn speculate(&mut self, now: CallTime, out: &mut Vec<Action>) {
        let Some(budget) = self.playbook.speculation else { return };
        let free = self.reply.is_none() && self.waiting.is_none() && self.collector.is_none();
        let text = self.ending.known();
        let words = Transcript { text: text.clone(), ..Transcript::default() };
        let known = !meaning(&text).is_empty() && !self.start.is_filler(&words);
        let asked = self.speculation.as_ref().is_some_and(|own| own.words == meaning(&text));
        let spent = self.speculations.wasted >= budget;
        if self.mode != Mode::Talking
            || !self.has_model()
            || !free
            || !known
            || asked
            || spent
            || self.question.is_some()
        {
            return;
        }
        self.drop_speculation(out);
        let turn = self.next_turn();
        let history = self.history.messages().len();
        let messages = self.told(None, Some(Message::new(Role::User, &text)));
        self.put_question(turn, messages, Some("speculative"), out);
        self.speculation =
            Some(Speculation { turn, words: meaning(&text), asked: now, history, pieces: Vec::new() });
    }

    /// Words so far differ from those that were asked with: the answer is of no use.
    pub(super) fn doubt_speculation(&mut self, out: &mut Vec<Action>) {
        let known = meaning(&self.ending.known());
        if self.speculation.as_ref().is_some_and(|own| own.words != known) {
            self.drop_speculation(out);
        }
    }

    /// Takes a piece of an answer that may not be wanted; gives it back when it belongs to no such answer.
    pub(super) fn keep_piece(&mut self, turn: TurnId, output: ModelOutput) -> Option<ModelOutput> {
        let Some(own) = self.speculation.as_mut().filter(|own| own.turn == turn) else { return Some(output) };
        if matches!(output, ModelOutput::Failed { .. }) || own.pieces.len() >= MAX_PIECES {
            // What failed early is asked again when the turn is over.
            self.speculation = None;
        } else {
            own.pieces.push(output);
        }
        None
    }

    /// The turn is over with `text`: the answer asked for early, if it is one to these words.
    pub(super) fn take_speculation(&mut self, text: &str, out: &mut Vec<Action>) -> Option<Speculation> {
        let history = self.history.messages().len();
        let last = self.last_turn;
        let fits =
            |own: &Speculation| own.words == meaning(text) && own.history == history && own.turn == last;
        if self.speculation.as_ref().is_some_and(fits) {
            return self.speculation.take();
        }
        self.drop_speculation(out);
        None
    }

    /// Goes on with an answer that was asked for early.
    pub(super) fn adopt(&mut self, now: CallTime, own: Speculation, out: &mut Vec<Action>) {
        self.speculations.hits = self.speculations.hits.saturating_add(1);
        let data = json!({ "hit": true, "playId": format!("turn-{}", own.turn.0) });
        out.push(Action::Note(Note::Metric { key: "speculation", duration: now.since(own.asked), data }));
        self.silence.end();
        self.reply = Some(self.reply_asked_at(own.turn, own.asked, now));
        for piece in own.pieces {
            self.model(now, own.turn, piece, out);
        }
    }

    /// The answer asked for early is not wanted.
    pub(super) fn drop_speculation(&mut self, out: &mut Vec<Action>) {
        let Some(own) = self.speculation.take() else { return };
        self.speculations.wasted = self.speculations.wasted.saturating_add(1);
        let chars: usize = own
            .pieces
            .iter()
            .map(|piece| if let ModelOutput::Text(text) = piece { text.len() } else { 0 })
            .sum();
        let data = json!({ "hit": false, "playId": format!("turn-{}", own.turn.0), "wastedChars": chars });
        out.push(Action::Abandon(own.turn));
        out.push(Action::Note(Note::Metric { key: "speculation", duration: Duration::ZERO, data }));
    }
}

/// What a recognizer may write one way or the other: words without case, signs and double spaces.
fn meaning(text: &str) -> String {
    let letters = |c: char| if c.is_alphanumeric() || c == '\'' { c } else { ' ' };
    let plain: String = text.to_lowercase().chars().map(letters).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}
