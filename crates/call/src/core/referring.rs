//! A second party that `refer` calls in: dialled while the caller hears music, then bridged with the caller, then gone
//! again.

use std::time::Duration;

use protocol::event::{Attendee, Event, HangupEvent};
use protocol::option::{ReferOption, SipOption};
use protocol::reason::{Initiator, Particulars};
use protocol::record::CallRecord;
use protocol::rest::CallKind;
use protocol::{CallTime, Extra, HangupReason, redact};
use rtp::sdp::redacted;

use audio::ringback;

use super::dialing::{UNUSABLE, reason_of};
use super::ending::saying;
use super::handing_over::Afterwards;
use super::keys::Presses;
use super::{Core, Due, Effect};
use crate::end::End;
use crate::failure::Failure;
use crate::legs::sip_media::SipMedia;
use crate::legs::{CallOut, Failed, LegEvent, LegId, LegRequest, Unsendable};
use crate::media::order::{Start, ToMedia, UtteranceId, Way};
use crate::record::said;
use crate::setup::{Dial, Undialled};

/// How long the second party may let it ring where `timeout` says nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is told of a second party that has not answered in time.
const TIMEOUT: &str = "Timeout when refer";
/// The `playId` of the tone that tells a caller that it rings.
const RINGBACK: &str = "ringback";
/// So often it sounds in one utterance: for half a minute.
const RINGS: usize = 6;
/// Music where the file that was asked for cannot be played.
const OTHER_MUSIC: &str = "./config/sounds/refer_moh.wav";

/// The second party of a call.
#[derive(Debug)]
pub(crate) struct Referred {
    leg: LegId,
    caller: String,
    callee: String,
    /// Who has taken its place, by URI.
    successor: Option<String>,
    option: ReferOption,
    media: Option<SipMedia>,
    start: Start,
    began: CallTime,
    rang: Option<CallTime>,
    answered: Option<CallTime>,
    /// Its answer, told when the music has ended.
    untold: Option<String>,
    /// It holds us.
    held: bool,
    /// The keys it has pressed lately.
    presses: Presses,
    music: Music,
    /// It has failed, which is told when the music has ended.
    failed: Option<Untold>,
    /// The first party's words were recognized before.
    resume_asr: bool,
}

impl Referred {
    /// It is reached by this leg, and has not failed.
    fn is_here(&self, leg: LegId) -> bool {
        self.leg == leg && self.failed.is_none()
    }
}

/// How a transfer has failed.
#[derive(Debug)]
struct Untold {
    failure: Failure,
    reason: String,
    particulars: Particulars,
}

/// What the caller hears while the second party is dialled.
#[derive(Debug, Default)]
struct Music {
    /// The files that have not failed yet, the one that plays first.
    files: Vec<String>,
    playing: Option<UtteranceId>,
    /// Nobody has said what is played: the tone of a telephone that rings, once it does.
    tone: bool,
    /// The second party can be heard: no more music.
    stopped: bool,
}

impl Core {
    /// Dials `callee` as the second party.
    pub(crate) fn refer_to(
        &mut self,
        now: CallTime,
        (caller, display_name): (String, Option<String>),
        callee: String,
        option: ReferOption,
    ) {
        self.interrupt_voice(now, false, Duration::ZERO);
        let resume_asr = option.pause_parent_asr == Some(true);
        if resume_asr {
            self.deafen();
        }
        self.legs_dialled += 1;
        self.draft.second_quality = None;
        let leg = LegId(self.legs_dialled);
        let sip = option.sip.clone().or_else(|| self.option.sip.clone()).unwrap_or_default();
        let first = self.start();
        // Another stream than the first party's: other numbers, still by chance.
        let start = Start { ssrc: first.ssrc ^ 0x9e37_79b9u32.wrapping_mul(leg.0), ..first };
        let call_id = option.call_id.clone();
        let dial = Dial { call_id, display_name, ..self.dial_for(caller.clone(), callee.clone(), sip) };
        let files = match option.moh.clone().filter(|file| !file.is_empty()) {
            Some(file) => vec![file, OTHER_MUSIC.to_owned()],
            None => Vec::new(),
        };
        let music = Music { files, tone: option.moh.is_none(), ..Music::default() };
        self.referred = Some(Referred {
            leg,
            caller,
            callee,
            successor: None,
            option,
            media: None,
            start,
            began: now,
            rang: None,
            answered: None,
            untold: None,
            held: false,
            presses: Presses::default(),
            music,
            failed: None,
            resume_asr,
        });
        self.deadlines.set(now + self.patience(), Due::Refer);
        self.play_music(now);
        self.effect(Effect::Dial(leg, Box::new(dial)));
    }

    fn patience(&self) -> Duration {
        let said = self.referred.as_ref().and_then(|referred| referred.option.timeout).map(|limit| limit.0);
        said.filter(|limit| !limit.is_zero()).unwrap_or(PATIENCE)
    }

    /// A line to the second party is there, or there is none.
    pub(crate) fn referred_line(
        &mut self,
        now: CallTime,
        leg: LegId,
        line: Result<Box<SipMedia>, Undialled>,
    ) {
        let patience = self.patience();
        let own = self.referred.as_ref().and_then(|referred| referred.option.sip.as_ref());
        let encryption = self.encryption(own);
        let reference = self.facts.reference.clone();
        let (first_caller, first_callee) = (self.caller(), self.callee());
        let Some(referred) = self.referred.as_mut().filter(|referred| referred.is_here(leg)) else {
            // The caller has given up meanwhile.
            return self.effect(Effect::Drop(leg));
        };
        let mut media = match line {
            Ok(media) => media,
            Err(Undialled { code, reason }) => return self.refer_failed(now, code, &reason),
        };
        media.encrypt(encryption);
        let sdp = media.make_offer();
        referred.media = Some(*media);
        let sip = referred.option.sip.clone().unwrap_or_default();
        let mut headers = sip.headers.unwrap_or_default();
        let about = [
            ("X-Referred-To", first_callee),
            ("X-Referred-From", first_caller),
            ("X-Referred-Id", reference),
        ];
        for (name, value) in about.into_iter().filter(|(_, value)| !value.is_empty()) {
            headers.entry(name.to_owned()).or_insert(value);
        }
        let (caller, callee) = (referred.caller.clone(), referred.callee.clone());
        let invite = CallOut { caller, callee, sdp, headers, patience, replaces: None, referred_by: None };
        self.effect(Effect::Request(leg, LegRequest::Invite(Box::new(invite))));
    }

    /// Something happened on the second party's leg.
    pub(crate) fn referred_leg(&mut self, now: CallTime, leg: LegId, event: LegEvent) {
        let Some(referred) = self.referred.as_ref().filter(|referred| referred.is_here(leg)) else { return };
        let up = referred.answered.is_some();
        match event {
            LegEvent::Ringing { code, sdp } if !up => self.second_rings(now, code, sdp.as_deref()),
            LegEvent::Answered { sdp } if !up => self.second_answers(now, sdp.as_deref()),
            // Its leg has the same patience, and may come first.
            LegEvent::Refused { code: 408 | 487, .. }
                if !up && now.since(referred.began) >= self.patience() =>
            {
                self.refer_failed(now, 408, TIMEOUT);
            }
            LegEvent::Refused { code, reason, particulars } => {
                self.draft.refused = particulars;
                self.refer_failed(now, code, &reason);
            }
            LegEvent::Reoffered { sdp, .. } => self.reoffered(now, leg, sdp.as_deref()),
            // A party that has taken its place confirms our answer, with its own where we had made the offer.
            LegEvent::ReofferAnswered { sdp } | LegEvent::Established { sdp } => {
                self.reoffer_answered(now, leg, sdp.as_deref());
            }
            LegEvent::Refreshed { sdp } => self.refreshed(now, leg, &sdp),
            LegEvent::Digit(digit) => self.digit(now, leg, digit, Way::Signalling),
            LegEvent::Ended { remote, message } => {
                let end = End::new(if remote { HangupReason::Callee } else { HangupReason::System }, 200);
                self.party_left(now, leg, End { message, ..end });
            }
            LegEvent::TransferRequested(transfer) => self.sent_on(now, leg, transfer),
            LegEvent::TakenOver { caller, offer, source } => {
                self.taken_over(now, leg, (caller, offer), source);
            }
            _ => {}
        }
    }

    /// The second party's leg could not do what was asked of it.
    pub(crate) fn referred_failed(&mut self, now: CallTime, leg: LegId, failed: Failed, why: String) {
        let here = self.referred.as_ref().is_some_and(|referred| referred.is_here(leg));
        match failed {
            Failed::Invite if here => self.refer_failed(now, 500, &why),
            Failed::Unsendable(what) if here => {
                let field = match what {
                    Unsendable::Caller => "caller",
                    Unsendable::Callee => "callee",
                    Unsendable::CallId => "options.callId",
                    Unsendable::Header => "options.sip.headers",
                };
                self.second_failed(now, field, (400, &why), None);
            }
            _ => self.error(now, "sip", why, 500),
        }
    }

    /// The second party has not answered in time. Its leg gives it up, whether it obeys or not.
    pub(crate) fn refer_timed_out(&mut self, now: CallTime) {
        if self.referred.as_ref().is_some_and(|referred| referred.answered.is_none()) {
            self.refer_failed(now, 408, TIMEOUT);
        }
    }

    /// How the second party was called in.
    pub(super) fn referred_option(&self) -> Option<&ReferOption> {
        self.referred.as_ref().map(|referred| &referred.option)
    }

    /// The second party, once it has answered: its leg and its URI.
    pub(crate) fn second_party(&self) -> Option<(LegId, String)> {
        let up = self.referred.as_ref().filter(|referred| referred.answered.is_some());
        up.map(|referred| (referred.leg, referred.successor.as_ref().unwrap_or(&referred.callee).clone()))
    }

    /// Who we are to the second party, and its URI.
    pub(super) fn second_ends(&self) -> Option<(&str, &str)> {
        self.referred.as_ref().map(|referred| (referred.caller.as_str(), referred.callee.as_str()))
    }

    /// What the second party's servers are told.
    pub(super) fn second_sip(&self) -> Option<&SipOption> {
        self.referred.as_ref()?.option.sip.as_ref()
    }

    /// Another party, at `uri`, has taken the second's place; `leg` is who was there.
    pub(super) fn second_steps_in(&mut self, leg: LegId, media: SipMedia, uri: &str) {
        let Some(place) = self.referred.as_ref().map(|referred| referred.leg) else { return };
        self.order(ToMedia::Renew(place));
        self.effect(Effect::Exchange(leg, place));
        if let Some(referred) = &mut self.referred {
            referred.media = Some(media);
            referred.successor = Some(uri.to_owned());
            referred.presses = Presses::default();
        }
    }

    pub(super) fn second_media(&mut self, leg: LegId) -> Option<(&mut SipMedia, Start)> {
        let referred = self.referred.as_mut().filter(|referred| referred.leg == leg)?;
        referred.media.as_mut().map(|media| (media, referred.start))
    }

    pub(super) fn second_presses(&mut self, leg: LegId) -> Option<&mut Presses> {
        self.referred.as_mut().filter(|referred| referred.leg == leg).map(|referred| &mut referred.presses)
    }

    pub(super) fn second_held(&mut self, leg: LegId) -> Option<&mut bool> {
        self.referred.as_mut().filter(|referred| referred.leg == leg).map(|referred| &mut referred.held)
    }

    /// Ends the second party's leg alone; `false` when there is none.
    pub(crate) fn hang_up_referred(&mut self, now: CallTime) -> bool {
        let Some(referred) = &self.referred else { return false };
        if referred.answered.is_none() {
            self.refer_failed(now, 487, "Cancelled");
        } else {
            self.let_go_of_second(None);
            self.second_ended(now, &End::new(HangupReason::System, 200));
        }
        true
    }

    /// The whole call ends: the second party too.
    pub(crate) fn end_referred(&mut self, now: CallTime) {
        if self.referred.as_ref().is_some_and(|referred| referred.failed.is_some()) {
            return self.tell_refer_failed(now);
        }
        self.let_go_of_second(None);
        let Some(referred) = self.referred.take() else { return };
        let end = End::new(HangupReason::System, if referred.answered.is_some() { 200 } else { 487 });
        self.tell_second_over(now, &referred, &end);
    }

    /// An utterance is over, whole or cut off.
    pub(crate) fn music_over(&mut self, now: CallTime, id: UtteranceId, silent: bool) {
        let Some(referred) = self.referred.as_mut() else { return };
        if referred.music.playing != Some(id) {
            return;
        }
        referred.music.playing = None;
        if referred.failed.is_some() {
            return self.tell_refer_failed(now);
        }
        if referred.music.stopped {
            return self.tell_second_up(now);
        }
        if silent && !referred.music.files.is_empty() {
            // A file of which nothing was heard would be asked for without end.
            referred.music.files.remove(0);
        }
    }

    /// Music goes on while the second party is dialled, once nothing else is said.
    pub(super) fn go_on_with_music(&mut self, now: CallTime) {
        let waits = |referred: &Referred| !referred.music.stopped && referred.music.playing.is_none();
        if self.voice.utterances.is_empty() && self.referred.as_ref().is_some_and(waits) {
            self.play_music(now);
        }
    }

    fn play_music(&mut self, now: CallTime) {
        let Some(referred) = &self.referred else { return };
        let Some(file) = referred.music.files.first().cloned() else {
            if referred.music.tone && referred.rang.is_some() {
                self.play_ringback(now);
            }
            return;
        };
        let id = self.begin_utterance(now, Some(file.clone()), true);
        if let Some(referred) = &mut self.referred {
            referred.music.playing = Some(id);
        }
        self.say_file(now, id, ("options.moh", file));
    }

    /// The tone of a telephone that rings, for a while; it goes on as music does.
    fn play_ringback(&mut self, now: CallTime) {
        let id = self.begin_utterance(now, Some(RINGBACK.to_owned()), true);
        if let Some(utterance) = self.voice.utterance(id) {
            utterance.open = false;
        }
        if let Some(referred) = &mut self.referred {
            referred.music.playing = Some(id);
        }
        self.say_sound(now, id, ringback::RATE, &ringback::sound(RINGS));
    }

    fn second_rings(&mut self, now: CallTime, code: u16, sdp: Option<&str>) {
        let early = sdp.is_some_and(|sdp| self.bridge(now, sdp));
        let track_id = self.facts.rules.server_track.clone();
        let timestamp = self.unix_ms(now);
        let (code, refer) = (Some(code), Some(true));
        self.emit(Event::Ringing { track_id, timestamp, early_media: early, code, refer });
        if let Some(referred) = &mut self.referred {
            referred.rang.get_or_insert(now);
        }
        if early {
            self.stop_music(now);
        }
    }

    fn second_answers(&mut self, now: CallTime, sdp: Option<&str>) {
        match sdp {
            None => self.second_unusable(now, "the answer has no description"),
            Some(sdp) if !self.bridge(now, sdp) => {
                self.second_unusable(now, "the answer has no sound for us");
            }
            Some(sdp) => self.second_up(now, sdp),
        }
    }

    /// The second party talks to the first from now on.
    pub(super) fn second_up(&mut self, now: CallTime, sdp: &str) {
        self.deadlines.drop_where(|due| matches!(due, Due::Refer));
        if let Some(referred) = &mut self.referred {
            referred.answered = Some(now);
            referred.untold = Some(sdp.to_owned());
        }
        if let Some(leg) = self.referred.as_ref().map(|referred| referred.leg) {
            self.overhear(now, leg);
        }
        self.stop_music(now);
        if self.referred.as_ref().is_some_and(|referred| referred.music.playing.is_none()) {
            self.tell_second_up(now);
        }
    }

    /// Tells the second party's answer, once.
    fn tell_second_up(&mut self, now: CallTime) {
        let Some(sdp) = self.referred.as_mut().and_then(|referred| referred.untold.take()) else { return };
        let (track_id, timestamp) = (self.facts.rules.server_track.clone(), self.unix_ms(now));
        self.emit(Event::TrackStart { track_id: track_id.clone(), timestamp, play_id: None });
        let sdp = redacted(&sdp).into_owned();
        self.emit(Event::Answer { track_id, timestamp, sdp, refer: Some(true) });
    }

    /// Joins the second party's sound with the first's; `false` when its answer is of no use.
    fn bridge(&mut self, now: CallTime, answer: &str) -> bool {
        let Some(leg) = self.referred.as_ref().map(|referred| referred.leg) else { return false };
        let Some((media, start)) = self.second_media(leg) else { return false };
        match media.answered(answer, start) {
            Ok(plan) => {
                self.agreed(now, leg, plan);
                self.clean_second(leg);
                true
            }
            Err(error) => {
                self.error(now, "sip", error.to_string(), error.status());
                false
            }
        }
    }

    fn stop_music(&mut self, now: CallTime) {
        let Some(referred) = &mut self.referred else { return };
        referred.music.stopped = true;
        if referred.music.playing.is_some() {
            self.interrupt_voice(now, false, Duration::ZERO);
        }
    }

    /// The second party has answered with media that are of no use: it is told so, as by a refusal.
    fn second_unusable(&mut self, now: CallTime, reason: &str) {
        let why = (UNUSABLE, reason);
        self.second_failed(now, "", why, Some(why));
    }

    /// The transfer has failed; the caller is back with the agent.
    fn refer_failed(&mut self, now: CallTime, code: u16, reason: &str) {
        self.second_failed(now, "", (code, reason), None);
    }

    /// Lets go of the second party, and tells it what `told` says. How the transfer has failed, because of what the command
    /// has in `field` if that is not empty, is kept until the music is over and told then.
    fn second_failed(
        &mut self,
        now: CallTime,
        field: &str,
        (code, reason): (u16, &str),
        told: Option<(u16, &str)>,
    ) {
        let particulars = std::mem::take(&mut self.draft.refused);
        let Some(referred) = self.referred.as_ref().filter(|referred| referred.failed.is_none()) else {
            return;
        };
        let why = format!("refer to {}: {code} {reason}", referred.callee);
        self.let_go_of_second(told);
        self.stop_music(now);
        self.deadlines.drop_where(|due| matches!(due, Due::Refer));
        let failure = Failure { code, field: field.to_owned(), why };
        let Some(referred) = &mut self.referred else { return };
        referred.failed = Some(Untold { failure, reason: reason.to_owned(), particulars });
        if referred.music.playing.is_none() {
            self.tell_refer_failed(now);
        }
    }

    /// Tells how it has failed, behind the end of the music as an answer is told.
    fn tell_refer_failed(&mut self, now: CallTime) {
        let Some(mut referred) = self.referred.take() else { return };
        let Some(Untold { failure, reason, particulars }) = referred.failed.take() else { return };
        let code = failure.code;
        self.tell_second_reject(now, (code, &reason), particulars.clone());
        self.fail(now, "command", &failure);
        self.keep_record(now, &referred, (&End::new(reason_of(code), code).because(reason), particulars));
        if referred.resume_asr {
            self.listen(now);
        }
    }

    pub(super) fn second_ended(&mut self, now: CallTime, end: &End) {
        let Some(leg) = self.referred.as_ref().map(|referred| referred.leg) else { return };
        self.overhear_no_more();
        self.order(ToMedia::Remove(leg));
        self.effect(Effect::Drop(leg));
        let Some(referred) = self.referred.take() else { return };
        self.tell_second_over(now, &referred, end);
        let afterwards = match end.reason {
            HangupReason::Callee if referred.option.auto_hangup != Some(false) => Some(Afterwards::End),
            _ => referred.resume_asr.then_some(Afterwards::Listen),
        };
        match &mut self.handover {
            // Where the far end takes our place, it is the target that has left us.
            Some(handover) => handover.afterwards = afterwards,
            None => self.after_second(now, afterwards),
        }
    }

    /// Asks the leg to end, takes its sound out, and forgets its connection once it has ended. It is told `why`, where its
    /// answer was of no use.
    fn let_go_of_second(&mut self, why: Option<(u16, &str)>) {
        let Some(leg) = self.referred.as_ref().map(|referred| referred.leg) else { return };
        self.end_succession_of(leg);
        self.overhear_no_more();
        // What of them cannot be sent is told when the call ends.
        let (headers, _) = self.bye_headers();
        let headers = saying(headers, why);
        self.effect(Effect::Request(leg, LegRequest::Hangup { headers }));
        self.order(ToMedia::Remove(leg));
        self.effect(Effect::Drop(leg));
    }

    fn tell_second_over(&mut self, now: CallTime, referred: &Referred, end: &End) {
        let (track_id, timestamp) = (self.facts.rules.server_track.clone(), self.unix_ms(now));
        if let Some(answered) = referred.answered {
            let duration = (now - answered).as_millis() as u64;
            let (track_id, ssrc) = (track_id.clone(), referred.start.ssrc);
            self.emit(Event::TrackEnd { track_id, timestamp, duration, ssrc, play_id: None });
        }
        let clock = self.facts.clock;
        let attendee = |uri: &str| (!uri.is_empty()).then(|| Attendee::from_uri(uri));
        let hangup = HangupEvent {
            track_id,
            timestamp,
            reason: Some(end.reason.wire().to_owned()),
            initiator: end.initiator.map(|who: Initiator| who.as_str().to_owned()),
            start_time: clock.rfc3339(referred.began),
            hangup_time: clock.rfc3339(now),
            answer_time: referred.answered.map(|at| clock.rfc3339(at)),
            ringing_time: referred.rang.map(|at| clock.rfc3339(at)),
            from: attendee(&referred.caller),
            to: attendee(&referred.callee),
            extra: Some(self.public_vars()),
            refer: Some(true),
        };
        self.emit(Event::Hangup(Box::new(hangup)));
        self.keep_record(now, referred, (end, Particulars::default()));
    }

    /// The second party's part of the call record; of several the last one stands.
    fn keep_record(&mut self, now: CallTime, referred: &Referred, (end, refused): (&End, Particulars)) {
        let clock = self.facts.clock;
        let call_id = referred.option.call_id.clone();
        self.draft.referred = Some(Box::new(CallRecord {
            call_type: CallKind::B2bua,
            call_id: call_id.unwrap_or_else(|| format!("ref-{}-{}", referred.leg.0, self.facts.id)),
            start_time: clock.recorded(referred.began),
            ring_time: referred.rang.map(|at| clock.recorded(at)),
            answer_time: referred.answered.map(|at| clock.recorded(at)),
            end_time: clock.recorded(now),
            caller: redact::text(&referred.caller).into_owned(),
            callee: redact::text(&referred.callee).into_owned(),
            // It was told to the second party.
            extras: Some(Extra::from([("reference".to_owned(), self.facts.reference.clone().into())])),
            status_code: end.status,
            hangup_reason: Some(end.reason.clone()),
            hangup_messages: said(end, refused).into_iter().collect(),
            ..self.empty_record()
        }));
    }
}
