//! The main leg's signalling: ringing, answering, refusing, and the beginning of the sound.

use std::time::Duration;

use audio::mix::Ducking;
use protocol::event::{Event, TransferState};
use protocol::option::{AudioCodec, CallOption, Over};
use protocol::reason::Particulars;
use protocol::rest::CallKind;
use protocol::{CallTime, HangupReason};
use rtp::sdp::redacted;

use super::{Core, Due, Effect, State};
use crate::end::End;
use crate::failure::Failure;
use crate::legs::sip_media::Agreed;
use crate::legs::{Failed, LegEvent, LegId, LegRequest, Unsendable};
use crate::media::order::{LegPlan, ToMedia, Way};
use crate::record::Ended;

/// When the far end does not confirm the answer, the conversation begins after so long: a lost ACK must not
/// cost the caller the greeting.
const CONFIRM: Duration = Duration::from_millis(500);

impl Core {
    /// The call's task runs: an inbound call with a playbook answers by itself, one without waits.
    pub(crate) fn begin(&mut self, now: CallTime) {
        if !matches!(self.state, State::Pending) {
            return;
        }
        if self.playbook.is_some() {
            return self.accept(now, CallOption::default());
        }
        self.deadlines.set(now + self.facts.rules.accept_timeout, Due::Accept);
    }

    /// A client took command of a call that waits for it.
    pub(crate) fn attached(&mut self, now: CallTime) {
        self.be_attended();
        if !matches!(self.state, State::Pending) {
            return;
        }
        let event = Event::Incoming {
            track_id: self.facts.id.clone(),
            timestamp: self.unix_ms(now),
            caller: self.caller(),
            callee: self.callee(),
            sdp: self.sip.as_ref().map(|sip| redacted(sip.offer()).into_owned()).unwrap_or_default(),
        };
        self.emit(event);
    }

    /// Answers: the waiting inbound call, or the client of `/call`.
    pub(crate) fn accept(&mut self, now: CallTime, option: CallOption) {
        self.take_option(option);
        self.stop_ringtone(now);
        match self.facts.kind {
            CallKind::WebSocket => self.answer_socket(now),
            _ => self.answer_sip(now),
        }
    }

    /// Lays the option of a command over the playbook's and the configuration's.
    pub(crate) fn take_option(&mut self, mut option: CallOption) {
        if self.recorder_fixed {
            option.recorder = self.option.recorder.clone();
        }
        let base = self.option.clone();
        let Some(playbook) = self.playbook.clone() else {
            self.option = option.over(&base);
            self.info_changed = true;
            return;
        };
        // What the playbook writes with variables can be rendered once its option has said which headers it takes.
        self.option = option.clone().over(&playbook.option()).over(&base);
        self.option = option.over(&playbook.rendered_option(&self.vars())).over(&base);
        self.info_changed = true;
    }

    /// Lets the caller hear ringing, with our sound when `early`.
    pub(crate) fn ring(&mut self, now: CallTime, early: bool) {
        if self.rang.is_none() {
            self.rang = Some(now);
            self.info_changed = true;
        }
        let sdp = if early { self.negotiate(now) } else { None };
        if early && sdp.is_none() {
            return;
        }
        self.request(LegRequest::Ring { sdp });
    }

    /// Refuses the waiting call.
    pub(crate) fn refuse(&mut self, now: CallTime, code: u16, reason: &str) {
        let end = End::new(HangupReason::Rejected, code).because(reason);
        self.end(now, End { initiator: Some(protocol::reason::Initiator::System), ..end });
    }

    /// Nobody accepted in time.
    pub(crate) fn not_accepted(&mut self, now: CallTime) {
        if matches!(self.state, State::Pending) {
            self.end(now, End::new(HangupReason::NoAnswer, 480).because("nobody accepted the call in time"));
        }
    }

    /// Something happened on a leg.
    pub(crate) fn leg(&mut self, now: CallTime, leg: LegId, event: LegEvent) {
        if self.succeeds(leg) {
            return self.successor_leg(now, event);
        }
        if leg != LegId::MAIN {
            return self.referred_leg(now, leg, event);
        }
        match event {
            LegEvent::Ringing { code, sdp } => self.callee_rings(now, code, sdp.as_deref()),
            LegEvent::Answered { sdp } => self.callee_answers(now, sdp.as_deref()),
            LegEvent::Refused { code, reason, particulars } => {
                self.draft.refused = particulars;
                self.dial_failed(now, code, &reason);
            }
            LegEvent::AnswerSent => self.answered_sip(now),
            LegEvent::Established { sdp } => {
                if let Some(answer) = sdp {
                    self.answered_late(now, &answer);
                }
                if self.rate.is_none() && self.is_up() {
                    let end = End::new(HangupReason::Failed, 488);
                    return self.end(now, end.because("the peer acknowledged our offer without an answer"));
                }
                self.confirmed(now);
                self.sound_is_there(now);
            }
            LegEvent::Reoffered { sdp: Some(offer), refusable: false } => self.offered_early(now, &offer),
            LegEvent::Reoffered { sdp, .. } => self.reoffered(now, leg, sdp.as_deref()),
            LegEvent::ReofferAnswered { sdp } => self.reoffer_answered(now, leg, sdp.as_deref()),
            LegEvent::OfferAnswered { sdp } => self.hold_answered(now, sdp.as_deref()),
            LegEvent::OfferRefused { code, reason } => self.hold_refused(now, code, &reason),
            LegEvent::Refreshed { sdp } => self.refreshed(now, leg, &sdp),
            LegEvent::Digit(digit) => self.digit(now, leg, digit, Way::Signalling),
            LegEvent::DigitAnswered { code } => self.digit_answered(now, code),
            LegEvent::TransferRequested(transfer) => self.sent_on(now, leg, transfer),
            LegEvent::Transferred { state, code, reason, particulars } => {
                self.handed_over(now, state, (code, &reason), particulars);
            }
            LegEvent::TakenOver { caller, offer, source } => {
                self.taken_over(now, leg, (caller, offer), source);
            }
            LegEvent::Canceled { message } => {
                self.end(now, End { message, ..End::new(HangupReason::Canceled, 487) });
            }
            LegEvent::Unconfirmed => {
                self.end(
                    now,
                    End::new(HangupReason::Failed, 408).because("the answer was never acknowledged"),
                );
            }
            LegEvent::Unreached => {
                let end = End::new(HangupReason::Failed, 504);
                self.end(now, end.because("the caller acknowledged no early media (no PRACK)"));
            }
            LegEvent::Left { message } => self.far_end_left(now, message),
            LegEvent::Ended { remote, message } => {
                let reason = match (remote, self.dialled) {
                    (true, true) => HangupReason::Callee,
                    (true, false) => HangupReason::Caller,
                    (false, _) => HangupReason::System,
                };
                let status = match (self.answered.is_some(), remote) {
                    (true, _) => 200,
                    (false, true) => 487,
                    (false, false) => 480,
                };
                let mut end = End::new(reason, status);
                end.message = message;
                self.party_left(now, leg, end);
            }
        }
    }

    /// A request to the leg could not be carried out. A leg that cannot be answered is lost: the caller has
    /// given up in that moment, or the peer cannot be reached. Anything else the call survives.
    pub(crate) fn leg_failed(&mut self, now: CallTime, leg: LegId, failed: Failed, why: String) {
        if self.succeeds(leg) {
            return self.successor_failed(now, failed, &why);
        }
        if leg != LegId::MAIN {
            return self.referred_failed(now, leg, failed, why);
        }
        if matches!(self.state, State::Ending(_)) {
            return;
        }
        match failed {
            Failed::Gone => {
                self.end(now, End::new(HangupReason::Canceled, 487));
            }
            Failed::Answer => {
                self.error(now, "sip", why.clone(), 500);
                self.end(now, End::new(HangupReason::Failed, 500).because(why));
            }
            Failed::Invite => self.dial_failed(now, 500, &why),
            Failed::Unsendable(what) => {
                let field = match what {
                    Unsendable::Caller => "option.caller",
                    Unsendable::Callee => "option.callee",
                    Unsendable::CallId => "id",
                    Unsendable::Header => "option.sip.headers",
                };
                self.undialled(now, &Failure::new(400, why).at(field));
            }
            Failed::Other => {
                self.forget_digits();
                self.error(now, "sip", why, 500);
            }
            Failed::Offer => self.hold_refused(now, 500, &why),
            Failed::Transfer => {
                self.handed_over(now, TransferState::Failed, (500, &why), Particulars::default());
            }
        }
    }

    /// The far end knows that we have answered: the conversation begins.
    pub(crate) fn confirmed(&mut self, now: CallTime) {
        self.deadlines.drop_where(|due| *due == Due::Unconfirmed);
        self.renew_media(now);
        if !self.is_up() || self.ears_open() {
            return;
        }
        self.begin_conversation(now);
        self.listen(now);
        self.judge_answer();
        self.start_pass(now);
        self.order(ToMedia::Watch(self.media_patience()));
        self.draft.listening = true;
    }

    fn ears_open(&self) -> bool {
        self.draft.listening
    }

    fn answer_socket(&mut self, now: CallTime) {
        let Some((plan, rate)) = self.socket_plan(now) else { return };
        self.open_sound(rate);
        self.order(ToMedia::Leg(LegId::MAIN, plan));
        self.deadlines.drop_where(|due| *due == Due::Accept);
        self.up(now, "");
        self.confirmed(now);
    }

    /// Codec and rate of `/call`.
    fn socket_plan(&mut self, now: CallTime) -> Option<(LegPlan, u32)> {
        let codec = self.option.codec.unwrap_or(AudioCodec::Pcm);
        let asked = self.option.sample_rate;
        let plan = match codec {
            AudioCodec::Pcm => {
                let heard = audio::codec::pcm::at(asked.unwrap_or(16_000));
                let sent = audio::codec::pcm::at(asked.unwrap_or(self.facts.rules.ws_pcm_out_rate));
                heard.zip(sent)
            }
            AudioCodec::Opus => None,
            other => audio::codec::find(audio::WEBSOCKET_CODECS, other.as_str()).map(|codec| (codec, codec)),
        };
        let Some((heard, sent)) = plan else {
            let (field, why) = match codec {
                AudioCodec::Opus => ("option.codec", "opus is for WebRTC; use pcm, pcmu, pcma or g722"),
                _ => ("option.sampleRate", "expected 8000, 16000, 24000 or 48000"),
            };
            self.wrong(now, "invite", field, why);
            return None;
        };
        Some((LegPlan::Raw { heard, sent }, sound_rate(heard.rate.max(sent.rate))))
    }

    fn answer_sip(&mut self, now: CallTime) {
        let Some(sdp) = self.negotiate(now) else { return };
        self.deadlines.drop_where(|due| *due == Due::Accept);
        self.request(LegRequest::Answer { sdp: sdp.clone() });
        self.state = State::Answering(sdp);
    }

    /// Our answer has gone out. Only now anything is told of it: a caller who gives up in that moment was never answered.
    pub(crate) fn answered_sip(&mut self, now: CallTime) {
        let State::Answering(sdp) = &mut self.state else { return };
        let sdp = std::mem::take(sdp);
        self.up(now, &sdp);
        // Without sound there is nobody to talk to yet: the ACK brings the answer to our offer.
        if self.rate.is_some() {
            self.deadlines.set(now + CONFIRM, Due::Unconfirmed);
        }
    }

    /// Somebody has picked up a call of ours that still rang elsewhere: the conversation begins with its ACK.
    pub(crate) fn answered_for(&mut self, now: CallTime, sdp: &str) {
        self.deadlines = super::Deadlines::default();
        self.up(now, sdp);
        if self.rate.is_some() {
            self.deadlines.set(now + CONFIRM, Due::Unconfirmed);
        }
    }

    pub(crate) fn up(&mut self, now: CallTime, sdp: &str) {
        self.state = State::Up;
        self.answered = Some(now);
        self.info_changed = true;
        let (track_id, timestamp) = (self.facts.id.clone(), self.unix_ms(now));
        if !self.dialled {
            self.emit(Event::TrackStart { track_id: track_id.clone(), timestamp, play_id: None });
        }
        let sdp = redacted(sdp).into_owned();
        self.emit(Event::Answer { track_id, timestamp, sdp, refer: Some(false) });
        if self.rate.is_some() {
            self.start_taking();
            self.start_ambience();
        }
    }

    fn start_ambience(&mut self) {
        let Some(option) = self.option.ambiance.clone().filter(|option| option.enabled != Some(false)) else {
            return;
        };
        let Some(path) = option.path else { return };
        let default = Ducking::default();
        let ducking = Ducking {
            normal_level: option.normal_level.unwrap_or(default.normal_level),
            duck_level: option.duck_level.unwrap_or(default.duck_level),
            transition_speed: option.transition_speed.unwrap_or(default.transition_speed),
        };
        if let Some(rate) = self.rate {
            self.effect(Effect::Ambience(path, rate, ducking));
        }
    }

    /// Who takes the call's sound gets it from its first moment on, before an answer or after it: the recording, and a
    /// client that asked to hear both sides; that of `/call` is one of them.
    pub(crate) fn start_taking(&mut self) {
        self.start_recording();
        let wanted = self.option.subscribe == Some(true) && self.facts.kind != CallKind::WebSocket;
        if wanted && !std::mem::replace(&mut self.subscribed, true) {
            self.order(ToMedia::Subscribe);
            self.effect(Effect::Subscribe);
        }
    }

    /// Agrees on media with the far end, once; a call that cannot agree is refused with what the far end's
    /// SDP is worth.
    fn negotiate(&mut self, now: CallTime) -> Option<String> {
        let (start, encryption) = (self.start(), self.encryption(None));
        let sip = self.sip.as_mut()?;
        sip.encrypt(encryption);
        match sip.answer(start) {
            Ok(Agreed { sdp, plan }) => {
                if let Some(plan) = plan {
                    self.note_agreed(LegId::MAIN, &plan.media);
                    self.sound_begins(plan);
                }
                Some(sdp)
            }
            Err(error) => {
                let code = error.status();
                self.error(now, "sip", error.to_string(), code);
                self.end(now, End::disagreed(&error));
                None
            }
        }
    }

    pub(crate) fn sound_begins(&mut self, plan: crate::media::order::RtpPlan) {
        self.open_sound(sound_rate(plan.media.codec.rate));
        self.keys.events = plan.media.telephone_event.is_some();
        self.order(ToMedia::Leg(LegId::MAIN, LegPlan::Rtp(Box::new(plan))));
    }

    fn open_sound(&mut self, rate: u32) {
        if self.rate.is_none() {
            self.rate = Some(rate);
            self.effect(Effect::Seat(rate));
            self.follow_line();
            if self.is_up() {
                self.start_taking();
                self.start_ambience();
            }
        }
    }

    /// The far end's answer to our offer came with the ACK.
    fn answered_late(&mut self, now: CallTime, answer: &str) {
        let start = self.start();
        let Some(sip) = self.sip.as_mut() else { return };
        match sip.answered(answer, start) {
            Ok(plan) => self.agreed(now, LegId::MAIN, plan),
            Err(error) => {
                self.error(now, "sip", error.to_string(), error.status());
                self.end(now, End::disagreed(&error));
            }
        }
    }

    /// Everything that plays is over, as far as it went out.
    pub(crate) fn cut_all(&mut self, now: CallTime) {
        for id in self.voice.utterances.iter().map(|u| u.id).collect::<Vec<_>>() {
            self.over(now, id, Duration::ZERO, Ended::Cut);
        }
    }
}

/// Rate of a call's sound for a leg's codec: narrowband stays narrow, so that nothing is computed for sound
/// that is not there; all else is wideband.
fn sound_rate(codec_rate: u32) -> u32 {
    if codec_rate <= 8_000 { 8_000 } else { 16_000 }
}
