//! What is written about a call while it goes on, and the record made of it at the end.

use std::time::Duration;

use protocol::chat::Usage;
use protocol::reason::Particulars;
use protocol::record::{CallRecord, HangupMessage, Line, Quality, TalkRecord, TurnRecord};
use protocol::{CallTime, redact};

use crate::core::Core;
use crate::end::End;

/// Lines and turns that are kept; a call of a day has fewer.
const MOST: usize = 10_000;

/// How an utterance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was played to its end.
    Whole,
    /// It was cut off.
    Cut,
}

/// What is known of a call so far.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    lines: Vec<Line>,
    turns: Vec<TurnRecord>,
    /// The caller has spoken and waits for a reply.
    turn: Option<TurnRecord>,
    /// What the talk has used so far.
    pub(crate) talk: TalkRecord,
    /// The second party's part.
    pub(crate) referred: Option<Box<CallRecord>>,
    /// The conversation has begun.
    pub(crate) listening: bool,
    /// How good the main leg's sound was so far.
    pub(crate) quality: Option<Quality>,
    /// And the second party's.
    pub(crate) second_quality: Option<Quality>,
    /// What the last party that refused has said of it.
    pub(crate) refused: Particulars,
    /// Sound has told everything.
    pub(crate) sound_settled: bool,
}

impl Draft {
    /// What was said and heard so far.
    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The caller's words, spoken until `speech_end`.
    pub(crate) fn caller(&mut self, now: CallTime, text: &str, speech_end: Option<CallTime>) {
        self.line("caller", now, text, false);
        let speech_end = speech_end.map(CallTime::as_ms);
        self.turn = Some(TurnRecord { speech_end, transcript: Some(now.as_ms()), ..TurnRecord::default() });
    }

    /// What the caller heard of an utterance.
    pub(crate) fn agent(&mut self, began: CallTime, heard: &str, ended: Ended) {
        self.line("agent", began, heard, ended == Ended::Cut);
    }

    /// The first text of the model's answer.
    pub(crate) fn first_text(&mut self, now: CallTime) {
        if let Some(turn) = &mut self.turn {
            turn.first_text.get_or_insert(now.as_ms());
        }
    }

    /// Whether the caller waits for a reply.
    pub(crate) fn turn_waits(&self) -> bool {
        self.turn.is_some()
    }

    /// A model has answered.
    pub(crate) fn used(&mut self, usage: Usage) {
        self.talk.prompt_tokens += usage.prompt;
        self.talk.completion_tokens += usage.completion;
    }

    fn line(&mut self, speaker: &str, at: CallTime, text: &str, interrupted: bool) {
        let text = text.trim();
        if !text.is_empty() && self.lines.len() < MOST {
            let (speaker, text) = (speaker.to_owned(), text.to_owned());
            self.lines.push(Line { speaker, text, at: at.as_ms(), interrupted });
        }
    }
}

/// What was said about an end, and by a party that refused.
pub(crate) fn said(end: &End, refused: Particulars) -> Option<HangupMessage> {
    let contacts = refused.contacts.iter().map(|uri| redact::text(uri).into_owned()).collect();
    end.message.as_deref().map(|reason| HangupMessage {
        code: end.status,
        reason: Some(redact::text(reason).into_owned()),
        target: end.initiator.map(|who| who.as_str().to_owned()),
        particulars: Particulars { contacts, ..refused },
    })
}

impl Core {
    /// The reply to the caller's words is audible since `at`: the turn is complete and its time is told.
    pub(crate) fn replied(&mut self, now: CallTime, at: CallTime) {
        let Some(mut turn) = self.draft.turn.take() else { return };
        turn.first_audio = Some(at.as_ms());
        let since = turn.speech_end.or(turn.transcript).unwrap_or_default();
        let waited = Duration::from_millis(at.as_ms().saturating_sub(since));
        let data = serde_json::to_value(&turn).unwrap_or_default();
        if self.draft.turns.len() < MOST {
            self.draft.turns.push(turn);
        }
        self.metric(now, "response_time", waited, data);
    }

    /// A record that says nothing yet.
    pub(crate) fn empty_record(&self) -> CallRecord {
        CallRecord {
            call_type: self.facts.kind,
            option: None,
            call_id: String::new(),
            start_time: String::new(),
            ring_time: None,
            answer_time: None,
            end_time: String::new(),
            caller: String::new(),
            callee: String::new(),
            status_code: 0,
            hangup_reason: None,
            hangup_messages: Vec::new(),
            recorder: Vec::new(),
            extras: None,
            dump_event_file: None,
            refer_callrecord: None,
            transcript: Vec::new(),
            turns: Vec::new(),
            talk: None,
            quality: None,
        }
    }

    /// What the talk has used; absent when nobody spoke and no model was asked.
    fn talk(&mut self) -> Option<TalkRecord> {
        let mut talk = std::mem::take(&mut self.draft.talk);
        if let Some(conversation) = &self.conversation {
            let outcome = conversation.outcome();
            talk.scene = Some(outcome.scene);
            talk.tool_calls = outcome.tool_calls;
            talk.speculation_hits = outcome.speculations.hits;
            talk.speculations_wasted = outcome.speculations.wasted;
        }
        (talk != TalkRecord::default()).then_some(talk)
    }

    /// The record of the call; recordings are filled in by whoever wrote them.
    pub(crate) fn record(&mut self, now: CallTime, end: &End) -> CallRecord {
        let clock = self.facts.clock;
        // What the agent said is known when it ends, and told by when it began.
        self.draft.lines.sort_by_key(|line| line.at);
        let said = said(end, std::mem::take(&mut self.draft.refused));
        let mut referred = self.draft.referred.take();
        if let Some(record) = &mut referred {
            record.quality = self.draft.second_quality;
        }
        CallRecord {
            call_type: self.facts.kind,
            option: Some(redact::option(&self.option)),
            call_id: self.facts.id.clone(),
            start_time: clock.recorded(CallTime::ZERO),
            ring_time: self.rang.map(|at| clock.recorded(at)),
            answer_time: self.answered.map(|at| clock.recorded(at)),
            end_time: clock.recorded(now),
            caller: redact::text(&self.caller()).into_owned(),
            callee: redact::text(&self.callee()).into_owned(),
            status_code: end.status,
            hangup_reason: Some(end.reason.clone()),
            hangup_messages: said.into_iter().collect(),
            recorder: Vec::new(),
            extras: Some(self.public_vars()),
            dump_event_file: self.facts.dump.clone(),
            refer_callrecord: referred,
            transcript: std::mem::take(&mut self.draft.lines),
            turns: std::mem::take(&mut self.draft.turns),
            talk: self.talk(),
            quality: self.draft.quality,
        }
    }
}
