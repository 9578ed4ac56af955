//! What the agent says: utterances and the voices that make their sound.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::CallTime;
use protocol::event::Event;
use protocol::option::SynthesisOption;
use providers::Spoken;

use super::cutting::Unsaid;
use super::gathering::Gathered;
use super::pieces::Piece;
use super::requests::Running;
use super::{Core, Due, Effect};
use crate::end::End;
use crate::media::order::{FromMedia, ToMedia, UtteranceId};
use crate::record::Ended;
use crate::setup::Sound;

/// Sound that Media may be given beyond what it last asked for before a voice is no longer read. Media asks while
/// it has a second and a half left, so it holds about four seconds at most: enough that the next sentence is asked
/// for while this one plays.
const AHEAD: Duration = Duration::from_secs(2);
/// The same of a file, which is there when it is wanted: a thousand calls that play files hold two and a half
/// seconds each.
const FILE_AHEAD: Duration = Duration::from_millis(400);
/// Requests and bytes of text of one utterance that may wait. More is refused with an `error` event.
pub(super) const MOST_WAITING: usize = 2048;
pub(crate) const MOST_TEXT: usize = 256 * 1024;
/// Texts of one utterance in all; a streaming reply of a model has some dozens. More is refused with an `error`
/// event.
pub const MOST_PIECES: usize = 4096;

/// Names one synthesizer request or opened file. Never reused; sound of a voice that is no longer known is
/// dropped on arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VoiceId(pub u64);

/// All utterances that are not over, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Voice {
    pub(crate) utterances: Vec<Utterance>,
    /// The file that `ringing` plays until the call is answered.
    pub(crate) ringtone: Option<UtteranceId>,
    next_utterance: u64,
    next_voice: u64,
}

/// One thing the agent says or plays.
#[derive(Debug)]
pub(crate) struct Utterance {
    pub(crate) id: UtteranceId,
    pub(crate) play_id: Option<String>,
    /// Its beginning was told.
    told: bool,
    pub(crate) streaming: bool,
    pub(crate) file: bool,
    /// More commands may come.
    pub(crate) open: bool,
    pub(crate) auto_hangup: bool,
    pub(crate) wait_input: Option<Duration>,
    /// When its first frame went out.
    pub(crate) started: Option<CallTime>,
    pub(crate) pieces: Vec<Piece>,
    /// Sound that Media played before it went on under the present id.
    pub(crate) earlier: Duration,
    /// Text of a stream that is no sentence yet.
    pub(super) gathered: Gathered,
    /// Requests that wait for the running one.
    pub(super) waiting: VecDeque<(String, SynthesisOption)>,
    /// Whose sound is taken.
    pub(super) running: Option<Running>,
    /// Begun ahead of their turn, which comes in this order.
    pub(super) early: VecDeque<Running>,
    /// Sound given to Media.
    pub(super) given: Duration,
    /// Sound given since Media last asked for more.
    ahead: Duration,
    pub(super) ended: bool,
    /// Cut off; it waits for Media to say how much went out, and takes nothing more.
    pub(crate) cut: bool,
    answers_turn: bool,
    /// A command of its own has begun it.
    pub(crate) commanded: bool,
    /// Commands of it that were dropped.
    pub(super) unsaid: Unsaid,
    /// Sound of it was dropped, because too much waited to be played.
    pub(crate) dropped: bool,
    /// The call's speech model is to say it, for want of a synthesizer.
    pub(crate) lent: bool,
    /// The call's speech model says it.
    pub(crate) of_model: bool,
}

impl Voice {
    pub(crate) fn utterance(&mut self, id: UtteranceId) -> Option<&mut Utterance> {
        self.utterances.iter_mut().find(|u| u.id == id)
    }

    pub(super) fn by_voice(&mut self, voice: VoiceId) -> Option<&mut Utterance> {
        self.utterances.iter_mut().find(|u| u.running.as_ref().is_some_and(|r| r.voice == voice))
    }

    /// The first id behind every utterance.
    pub(crate) fn end(&self) -> UtteranceId {
        UtteranceId(self.next_utterance + 1)
    }

    /// A voice that has begun ahead of its turn.
    pub(super) fn early(&mut self, voice: VoiceId) -> Option<&mut Running> {
        self.utterances.iter_mut().flat_map(|u| &mut u.early).find(|early| early.voice == voice)
    }

    pub(super) fn new_voice(&mut self) -> VoiceId {
        self.next_voice += 1;
        VoiceId(self.next_voice)
    }
}

impl Core {
    /// Begins an utterance, and tells that it begins once all that it cuts off has told its end: both have one track, and a
    /// client that knows playbacks by it takes the first end for that of the last beginning.
    pub(crate) fn begin_utterance(
        &mut self,
        now: CallTime,
        play_id: Option<String>,
        file: bool,
    ) -> UtteranceId {
        self.voice.next_utterance += 1;
        let id = UtteranceId(self.voice.next_utterance);
        let answers_turn = self.draft.turn_waits();
        self.voice.utterances.push(Utterance {
            id,
            play_id,
            told: false,
            streaming: false,
            file,
            open: true,
            auto_hangup: false,
            wait_input: None,
            started: None,
            pieces: Vec::new(),
            earlier: Duration::ZERO,
            gathered: Gathered::default(),
            waiting: VecDeque::new(),
            running: None,
            early: VecDeque::new(),
            given: Duration::ZERO,
            ahead: Duration::ZERO,
            ended: false,
            cut: false,
            answers_turn,
            commanded: false,
            unsaid: Unsaid::default(),
            dropped: false,
            lent: false,
            of_model: false,
        });
        self.deadlines.drop_where(|due| matches!(due, Due::Input { .. }));
        self.tell_beginnings(now);
        if answers_turn {
            self.yield_to_caller(id);
        }
        id
    }

    /// Tells of the utterance whose turn it is, once all before it have told their end.
    fn tell_beginnings(&mut self, now: CallTime) {
        if let Some(first) = self.voice.utterances.first().filter(|first| !first.cut).map(|first| first.id) {
            self.tell_beginning(now, first);
        }
    }

    fn tell_beginning(&mut self, now: CallTime, id: UtteranceId) {
        let Some(utterance) = self.voice.utterance(id).filter(|utterance| !utterance.told) else { return };
        utterance.told = true;
        let play_id = utterance.play_id.clone();
        let (track_id, timestamp) = (self.facts.rules.server_track.clone(), self.unix_ms(now));
        self.emit(Event::TrackStart { track_id, timestamp, play_id });
    }

    /// Makes an utterance that of a model which speaks itself: its sound comes until [`Core::answer_given`].
    pub(crate) fn begin_answer(&mut self, id: UtteranceId) {
        let Some(utterance) = self.voice.utterance(id) else { return };
        utterance.streaming = true;
        utterance.of_model = true;
        utterance.pieces.push(Piece { from: Some(Duration::ZERO), ..Piece::default() });
    }

    /// Sound of an answer.
    pub(crate) fn answer_sound(&mut self, id: UtteranceId, rate: u32, samples: Box<[i16]>) {
        let Some(utterance) = self.voice.utterance(id).filter(|utterance| !utterance.cut) else { return };
        let length = span(samples.len(), rate);
        utterance.pieces.iter_mut().for_each(|piece| piece.length += length);
        if !utterance.dropped {
            self.give(id, rate, samples);
        }
    }

    /// The text of an answer goes on, to at most `most` bytes.
    pub(crate) fn answer_text(&mut self, id: UtteranceId, text: &str, most: usize) {
        let Some(utterance) = self.voice.utterance(id) else { return };
        if let Some(piece) =
            utterance.pieces.first_mut().filter(|piece| piece.text.len() + text.len() <= most)
        {
            piece.text.push_str(text);
        }
    }

    /// All sound of an answer was given.
    pub(crate) fn answer_given(&mut self, now: CallTime, id: UtteranceId) {
        let Some(utterance) = self.voice.utterance(id).filter(|utterance| !utterance.cut) else { return };
        utterance.pieces.iter_mut().for_each(|piece| piece.done = true);
        self.tell_word_ends(id, 0);
        self.close_utterance(now, id);
    }

    /// The call ends when an utterance was heard to its end.
    pub(crate) fn hang_up_after(&mut self, id: UtteranceId) {
        if let Some(utterance) = self.voice.utterance(id) {
            utterance.auto_hangup = true;
        }
    }

    /// Gives an utterance sound that is there already.
    pub(crate) fn say_sound(&mut self, now: CallTime, id: UtteranceId, rate: u32, samples: &[i16]) {
        let second = rate.max(1) as usize;
        for chunk in samples.chunks(second) {
            self.give(id, rate, chunk.into());
        }
        self.settle_utterance(now, id);
    }

    /// Lets the sound of an utterance come from a source of its own, which the key `field` names, under the voice that is
    /// answered.
    pub(crate) fn open_source(
        &mut self,
        now: CallTime,
        id: UtteranceId,
        field: &'static str,
    ) -> Option<VoiceId> {
        let voice = self.voice.new_voice();
        let utterance = self.voice.utterance(id)?;
        utterance.open = false;
        utterance.running = Some(Running::of_file(voice, field, now));
        Some(voice)
    }

    /// No more commands come for an utterance.
    pub(crate) fn close_utterance(&mut self, now: CallTime, id: UtteranceId) {
        self.gathered_all(now, id);
        let Some(utterance) = self.voice.utterance(id) else { return };
        utterance.open = false;
        if utterance.streaming
            && let Some(running) = &utterance.running
        {
            let voice = running.voice;
            self.effect(Effect::CloseVoice(voice));
        }
        self.settle_utterance(now, id);
    }

    /// Sound of a synthesizer.
    pub(crate) fn spoken(&mut self, now: CallTime, voice: VoiceId, rate: u32, spoken: Spoken) {
        let Some(utterance) = self.voice.by_voice(voice) else { return };
        let id = utterance.id;
        let given = utterance.given;
        match spoken {
            Spoken::Audio { piece, samples } => {
                let number = piece as usize;
                let (mut first, before) = (false, utterance.is_audible());
                if let Some(piece) = utterance.pieces.get_mut(number) {
                    first = piece.from.replace(piece.from.unwrap_or(given)).is_none();
                    piece.take_sound(&samples, rate);
                }
                let begins = !before && utterance.is_audible() && utterance.started.is_some();
                if let Some(running) = utterance.running.as_mut().filter(|r| r.first_sound.is_none()) {
                    running.first_sound = Some(now);
                }
                self.give(id, rate, samples);
                if begins {
                    self.be_heard();
                }
                if first {
                    self.tell_word_ends(id, number);
                }
            }
            Spoken::Done { piece } => {
                let number = piece as usize;
                if let Some(piece) = utterance.pieces.get_mut(number) {
                    piece.from.get_or_insert(given);
                    piece.done = true;
                }
                self.tell_word_ends(id, number);
            }
            Spoken::Kept { .. } => {
                if let Some(running) = utterance.running.as_mut() {
                    running.cached = true;
                }
            }
            Spoken::Words { piece, words } => {
                let number = piece as usize;
                if let Some(piece) = utterance.pieces.get_mut(number) {
                    piece.take_times(&words);
                }
                self.tell_word_ends(id, number);
            }
        }
    }

    /// Sound of a file.
    pub(crate) fn sound(&mut self, _now: CallTime, voice: VoiceId, sound: Sound) {
        let Some(id) = self.voice.by_voice(voice).map(|utterance| utterance.id) else { return };
        self.give(id, sound.rate, sound.samples);
    }

    /// Tells the playbook how much of what is being said the caller has heard by now.
    pub(crate) fn tell_progress(&mut self, now: CallTime) {
        let playing =
            self.voice.utterances.iter().find(|utterance| utterance.started.is_some() && !utterance.cut);
        let Some((utterance, started)) = playing.and_then(|u| Some((u, u.started?))) else { return };
        let Some(play_id) = utterance.play_id.clone() else { return };
        let text = utterance.heard_until(now.since(started));
        self.tell(playbook::Input::Heard { play_id, text, ended: playbook::Ended::Playing });
    }

    /// Stops what is said. `graceful` lets the request that plays end and drops those behind it.
    pub(crate) fn interrupt_voice(&mut self, now: CallTime, graceful: bool, fade: Duration) {
        if graceful
            && let Some(first) = self.voice.utterances.first_mut()
            && !first.streaming
            && !first.file
        {
            let id = first.id;
            let later: Vec<UtteranceId> = self.voice.utterances.iter().skip(1).map(|u| u.id).collect();
            for other in later {
                self.stop_making(other);
                self.over(now, other, Duration::ZERO, Ended::Cut);
            }
            return self.finish_request(now, id);
        }
        let below = self.voice.end();
        self.order(ToMedia::Interrupt { below, fade });
        for id in self.voice.utterances.iter().map(|u| u.id).collect::<Vec<_>>() {
            self.stop_making(id);
            let Some(utterance) = self.voice.utterance(id) else { continue };
            utterance.cut = true;
            if utterance.given.is_zero() {
                self.over(now, id, Duration::ZERO, Ended::Cut);
            }
        }
    }

    /// Lets the request that plays end and drops those behind it, made or not. Where the sound stands is taken
    /// from when it began: after a pause it stands earlier, and a request more than needed is heard.
    fn finish_request(&mut self, now: CallTime, id: UtteranceId) {
        let Some(utterance) = self.voice.utterance(id) else { return };
        let early = utterance.drop_waiting();
        utterance.open = false;
        let played = utterance.started.map_or(Duration::ZERO, |at| now.since(at));
        let playing = utterance.pieces.iter().position(|piece| piece.end().is_none_or(|end| played < end));
        let behind = playing.map_or(0, |playing| playing + 1);
        let earlier = utterance.earlier;
        if let Some(end) = playing.and_then(|at| utterance.pieces[at].end())
            && behind < utterance.pieces.len()
        {
            let dropped = utterance.texts_from(behind);
            utterance.unsaid.before(dropped.into_iter());
            utterance.pieces.truncate(behind);
            utterance.given = end;
            self.stop_making(id);
            let at = end.saturating_sub(earlier);
            self.order(ToMedia::Cut { utterance: id, at });
        }
        for voice in early {
            self.effect(Effect::DropVoice(voice));
        }
        self.settle_utterance(now, id);
    }

    /// What Media says about utterances.
    pub(crate) fn playback(&mut self, now: CallTime, event: FromMedia) {
        match event {
            FromMedia::Started(id, at) => {
                let Some(utterance) = self.voice.utterance(id) else { return };
                let answers = utterance.answers_turn && utterance.started.is_none();
                utterance.started = Some(at.back(utterance.earlier));
                if utterance.is_audible() {
                    self.be_heard();
                }
                self.tell_progress(now);
                if answers {
                    self.replied(now, at);
                }
            }
            FromMedia::Low(id) => {
                let Some(utterance) = self.voice.utterance(id) else { return };
                utterance.ahead = Duration::ZERO;
                if let Some(running) = utterance.running.as_mut().filter(|r| !r.flowing) {
                    running.flowing = true;
                    let voice = running.voice;
                    self.effect(Effect::Flow(voice, true));
                }
            }
            FromMedia::Ended(id, played) => self.over(now, id, played, Ended::Whole),
            FromMedia::Stopped { utterance, played, .. } => {
                self.stop_making(utterance);
                self.over(now, utterance, played, Ended::Cut);
            }
            _ => {}
        }
    }

    /// Ends the making of sound of an utterance; what Media has of it is Media's.
    pub(crate) fn stop_making(&mut self, id: UtteranceId) {
        let Some(utterance) = self.voice.utterance(id) else { return };
        utterance.gathered.clear();
        let early = utterance.drop_waiting();
        utterance.open = false;
        let running = utterance.running.take().map(|running| running.voice);
        for voice in running.into_iter().chain(early) {
            self.effect(Effect::DropVoice(voice));
        }
    }

    /// An utterance is over: `played` of it went out.
    pub(crate) fn over(&mut self, now: CallTime, id: UtteranceId, played: Duration, ended: Ended) {
        if ended == Ended::Whole && self.goes_on(now, id, played) {
            return;
        }
        self.stop_making(id);
        self.tell_beginning(now, id);
        let Some(at) = self.voice.utterances.iter().position(|u| u.id == id) else { return };
        let mut utterance = self.voice.utterances.remove(at);
        let ended = if utterance.dropped { Ended::Cut } else { ended };
        let played = utterance.earlier + played;
        let heard = match ended {
            Ended::Whole => utterance.audible_text(),
            Ended::Cut => utterance.heard_until(played),
        };
        if ended == Ended::Cut || !utterance.unsaid.is_empty() {
            self.tell_interruption(now, &mut utterance, played, &heard);
        }
        let event = Event::TrackEnd {
            track_id: self.facts.rules.server_track.clone(),
            timestamp: self.unix_ms(now),
            duration: played.as_millis() as u64,
            ssrc: utterance.id.0 as u32,
            play_id: utterance.play_id.clone(),
        };
        self.emit(event);
        self.tell_beginnings(now);
        self.music_over(now, utterance.id, played.is_zero() && ended == Ended::Whole);
        self.pass_over(utterance.id);
        self.answer_over(now, &utterance, (played, &heard), ended);
        self.draft.agent(utterance.started.unwrap_or(now), &heard, ended);
        if let Some(play_id) = utterance.play_id {
            let ended = match ended {
                Ended::Whole => playbook::Ended::Finished,
                Ended::Cut => playbook::Ended::Interrupted,
            };
            self.tell(playbook::Input::Heard { play_id, text: heard, ended });
        }
        if !self.is_up() {
            return;
        }
        if utterance.auto_hangup && ended == Ended::Whole {
            return self.end(now, End::new(protocol::HangupReason::System, 200));
        }
        if let Some(limit) = utterance.wait_input.filter(|_| ended == Ended::Whole) {
            self.deadlines.drop_where(|due| matches!(due, Due::Input { .. }));
            self.deadlines.set(now + limit, Due::Input { since: now, limit });
        }
    }

    /// Text came for an utterance in the moment in which Media played its last sound: what is still to be made
    /// goes on under a new id, which Media takes, and behind the `played` that is out.
    fn goes_on(&mut self, now: CallTime, id: UtteranceId, played: Duration) -> bool {
        let next = self.voice.end();
        let Some(utterance) = self.voice.utterance(id) else { return false };
        if !utterance.busy() || utterance.cut {
            return false;
        }
        utterance.id = next;
        utterance.ended = false;
        utterance.earlier += played;
        utterance.given = utterance.earlier;
        self.voice.next_utterance = next.0;
        self.next_request(now, next);
        true
    }

    fn give(&mut self, id: UtteranceId, rate: u32, samples: Box<[i16]>) {
        let Some(utterance) = self.voice.utterance(id) else { return };
        let length = span(samples.len(), rate);
        // Media takes the end back too: it comes behind this.
        utterance.ended = false;
        utterance.given += length;
        utterance.ahead += length;
        let full = utterance.ahead > if utterance.file { FILE_AHEAD } else { AHEAD };
        let stop = utterance.running.as_mut().filter(|r| full && r.flowing).map(|running| {
            running.flowing = false;
            running.voice
        });
        self.order(ToMedia::Play(id, rate, samples));
        if let Some(voice) = stop {
            self.effect(Effect::Flow(voice, false));
        }
    }

    /// Tells Media that all sound of an utterance has come, once that is so.
    pub(crate) fn settle_utterance(&mut self, now: CallTime, id: UtteranceId) {
        let Some(utterance) = self.voice.utterance(id) else { return };
        if utterance.busy() || utterance.lent || utterance.ended || (utterance.streaming && utterance.open) {
            return;
        }
        utterance.ended = true;
        if utterance.given.is_zero() {
            // Nothing was audible: Media has never heard of it.
            return self.over(now, id, Duration::ZERO, Ended::Whole);
        }
        self.order(ToMedia::End(id));
    }
}

pub(super) fn span(samples: usize, rate: u32) -> Duration {
    Duration::from_micros(samples as u64 * 1_000_000 / u64::from(rate.max(1)))
}
