//! The leg of a SIP party: its dialog, through the SIP driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use protocol::Headers;
use protocol::event::TransferState;
use protocol::reason::Particulars;
use sip::driver::SipHandle;
use sip::{
    Answering, Credentials, DialogId, EndCause, Failure, Hop, InDialog, InDialogMethod, OfferMethod,
    Outbound, Refer, Rejection, SipError, SipEvent, TransferProgress,
};
use tokio::sync::mpsc;

use super::hosts::{Hosts, Names};
use super::said::{particulars, reason};
use super::{
    Asked, CallOut, DigitBody, Leg, LegError, LegEvent, LegRequest, Objection, TransferIn, TransferOut,
    Unsendable, Warning,
};

/// Retry-After of a 503, in seconds.
const RETRY_AFTER: &str = "10";

/// Callees of one call whose early answers are kept. When full the oldest is forgotten.
const MOST_FORKS: usize = 16;

/// A SIP dialog.
pub struct SipLeg {
    sip: SipHandle,
    dialog: Option<(DialogId, mpsc::Receiver<SipEvent>)>,
    /// Where a call of ours goes.
    route: Option<Route>,
    /// The dialog that takes this one's place.
    successor: Option<DialogId>,
    early: EarlyAnswers,
    /// Set when the far end is told where to send its sound.
    told: Arc<AtomicBool>,
    /// Finds hosts that descriptions name; without it they are refused.
    hosts: Option<Hosts>,
    /// An event whose description waits for the address of a host.
    locating: Option<BoxFuture<'static, (Hosts, SipEvent)>>,
    over: bool,
}

/// Where a call of ours goes, and what it may say about us on the way.
pub struct Route {
    /// `Call-ID`; a random one if absent.
    pub call_id: Option<String>,
    /// Targets, best first.
    pub targets: Vec<Hop>,
    /// URI of the outbound proxy.
    pub proxy: Option<String>,
    /// Further URIs of the way, behind the proxy: those that a registrar gives to calls of its account.
    pub route: Vec<String>,
    /// Whom to call, where that is not the callee as it was given: a number at a registrar.
    pub to: Option<String>,
    /// Our name for display.
    pub display_name: Option<String>,
    /// What answers a challenge.
    pub credentials: Option<Credentials>,
    /// What lives as long as the leg, such as its media port.
    pub keep: Box<dyn Send>,
}

impl SipLeg {
    /// The leg of a call that came in. It has told nobody yet where sound may be sent.
    pub fn inbound(sip: SipHandle, dialog: DialogId, events: mpsc::Receiver<SipEvent>) -> Self {
        SipLeg { dialog: Some((dialog, events)), ..SipLeg::new(sip) }
    }

    /// A leg on which [`LegRequest::Invite`] calls someone.
    pub fn outbound(sip: SipHandle, route: Route) -> Self {
        SipLeg { route: Some(route), ..SipLeg::new(sip) }
    }

    fn new(sip: SipHandle) -> Self {
        SipLeg {
            sip,
            dialog: None,
            route: None,
            successor: None,
            early: EarlyAnswers::default(),
            told: Arc::default(),
            hosts: None,
            locating: None,
            over: false,
        }
    }

    /// The same, and `told` becomes true when the far end is told where to send its sound: until then no packet can be
    /// under way.
    #[must_use]
    pub fn telling(self, told: Arc<AtomicBool>) -> Self {
        SipLeg { told, ..self }
    }

    /// The same, and hosts that the far end's descriptions name are looked up in `names`.
    #[must_use]
    pub fn finding(self, names: Arc<dyn Names>) -> Self {
        SipLeg { hosts: Some(Hosts::new(names)), ..self }
    }

    /// The far end's first offer with addresses in place of the hosts that it names.
    pub async fn located(&mut self, sdp: Option<String>) -> Option<String> {
        match (&mut self.hosts, sdp) {
            (Some(hosts), Some(sdp)) => Some(hosts.locate(&sdp).await),
            (_, sdp) => sdp,
        }
    }

    /// The next thing that happens in the dialog, with addresses in its description. Pending for ever once the leg is
    /// over, `None` when the driver has stopped. Cancel-safe: an event that waits for an address is kept.
    async fn heard(&mut self) -> Option<SipEvent> {
        if self.locating.is_none() {
            let Some((_, events)) = self.dialog.as_mut().filter(|_| !self.over) else {
                return std::future::pending().await;
            };
            let mut event = events.recv().await?;
            if !names_hosts(&mut event) {
                return Some(event);
            }
            let Some(hosts) = self.hosts.take() else { return Some(event) };
            self.locating = Some(Box::pin(locate(hosts, event)));
        }
        let (hosts, event) = self.locating.as_mut()?.await;
        (self.locating, self.hosts) = (None, Some(hosts));
        Some(event)
    }

    fn event(&mut self, event: SipEvent) -> Option<LegEvent> {
        self.over |= event.is_last();
        match event {
            SipEvent::Canceled { headers, .. } => Some(LegEvent::Canceled { message: reason(&headers) }),
            SipEvent::AnswerSent { .. } => Some(LegEvent::AnswerSent),
            SipEvent::Established { sdp, .. } => Some(LegEvent::Established { sdp }),
            SipEvent::AckTimeout { .. } => Some(LegEvent::Unconfirmed),
            SipEvent::Reoffered { sdp, method, .. } => {
                Some(LegEvent::Reoffered { sdp, refusable: method != OfferMethod::Prack })
            }
            SipEvent::ReofferAnswered { sdp, .. } => Some(LegEvent::ReofferAnswered { sdp }),
            SipEvent::OfferAnswered { sdp, .. } => Some(LegEvent::OfferAnswered { sdp }),
            SipEvent::Refreshed { sdp, .. } => Some(LegEvent::Refreshed { sdp }),
            SipEvent::OfferRefused { code, reason, .. } => Some(LegEvent::OfferRefused { code, reason }),
            SipEvent::Info { content_type, body, .. } => {
                sip::info_digit(&content_type, &body).map(|(digit, _)| LegEvent::Digit(digit))
            }
            SipEvent::Responded { code, .. } => Some(LegEvent::DigitAnswered { code }),
            SipEvent::Left { headers, .. } => Some(LegEvent::Left { message: reason(&headers) }),
            SipEvent::Ended { cause: EndCause::PrackTimeout, .. } => Some(LegEvent::Unreached),
            SipEvent::Ended { headers, cause, .. } => {
                let message = reason(&headers).or_else(|| words_for(cause).map(str::to_owned));
                Some(LegEvent::Ended { remote: cause == EndCause::Bye, message })
            }
            SipEvent::Provisional { code, fork, sdp, .. } => {
                self.early.keep(fork, sdp.as_ref());
                Some(LegEvent::Ringing { code, sdp })
            }
            SipEvent::Answered { fork, sdp, .. } => {
                Some(LegEvent::Answered { sdp: sdp.or_else(|| self.early.take(&fork)) })
            }
            SipEvent::Rejected { code, reason, contacts, headers, .. } => {
                Some(LegEvent::Refused { code, reason, particulars: particulars(&headers, contacts) })
            }
            SipEvent::Failed { why, .. } => {
                let (code, reason) = (status_of(why), why.to_string());
                Some(LegEvent::Refused { code, reason, particulars: Particulars::default() })
            }
            SipEvent::TransferRequested { to, referred_by, replaces, .. } => {
                Some(LegEvent::TransferRequested(TransferIn { to, referred_by, replaces }))
            }
            SipEvent::Transfer { progress, headers, contacts, .. } => {
                Some(transferred(progress, particulars(&headers, contacts)))
            }
            SipEvent::TakenOver { by, invite, .. } => {
                self.successor = Some(by);
                let source = invite.source.ip();
                Some(LegEvent::TakenOver { caller: invite.from_uri, offer: invite.sdp, source })
            }
            // A call that comes in has no leg yet.
            SipEvent::Invited { .. } => None,
        }
    }

    async fn invite(&mut self, call: CallOut) -> Result<(), LegError> {
        let Some(route) = &self.route else { return Err(LegError::Refused(SipError::Stopped.to_string())) };
        let callee = route.to.clone().unwrap_or(call.callee);
        let outbound = Outbound {
            to: callee.clone(),
            from: call.caller,
            display_name: route.display_name.clone(),
            targets: route.targets.clone(),
            proxy: route.proxy.clone(),
            route: route.route.clone(),
            sdp: Some(call.sdp),
            call_id: route.call_id.clone(),
            headers: list(call.headers),
            credentials: route.credentials.clone(),
            patience: call.patience,
            replaces: call.replaces,
            referred_by: call.referred_by,
        };
        self.dialog = Some(self.sip.invite(outbound).await.map_err(|error| unplaced(&error, &callee))?);
        Ok(())
    }
}

/// Why a call could not be placed to `callee`.
fn unplaced(error: &SipError, callee: &str) -> LegError {
    let what = match error {
        SipError::BadUri(uri) | SipError::OtherMethod(uri) if uri == callee => Unsendable::Callee,
        SipError::BadUri(_) | SipError::OtherMethod(_) => Unsendable::Caller,
        SipError::BadHeader { name, .. } if name == "Call-ID" => Unsendable::CallId,
        SipError::BadHeader { .. } => Unsendable::Header,
        other => return LegError::Refused(other.to_string()),
    };
    LegError::Unsendable(what, error.to_string())
}

/// Answers to our offer that came before the 200, which need not repeat them (RFC 3262 section 5): the last one of each
/// callee that a proxy rings.
#[derive(Debug, Default)]
struct EarlyAnswers(Vec<(String, String)>);

impl EarlyAnswers {
    fn keep(&mut self, fork: String, sdp: Option<&String>) {
        let Some(sdp) = sdp else { return };
        let known = self.0.iter().position(|(name, _)| *name == fork);
        if let Some(at) = known {
            self.0.remove(at);
        } else if self.0.len() == MOST_FORKS {
            self.0.remove(0);
        }
        self.0.push((fork, sdp.clone()));
    }

    /// What the callee that answers has said before; the others have nothing more to say.
    fn take(&mut self, fork: &str) -> Option<String> {
        std::mem::take(&mut self.0).into_iter().find(|(name, _)| name == fork).map(|(_, sdp)| sdp)
    }
}

/// The status that tells how a call failed that got no final answer.
fn status_of(why: Failure) -> u16 {
    match why {
        Failure::Timeout | Failure::NoAnswer => 408,
        Failure::Unreachable(_) => 503,
        Failure::CancelUnanswered => 487,
    }
}

#[async_trait]
impl Leg for SipLeg {
    async fn next(&mut self) -> LegEvent {
        loop {
            let Some(event) = self.heard().await else {
                self.over = true;
                return LegEvent::Ended { remote: false, message: Some("the SIP driver has stopped".into()) };
            };
            if let Some(event) = self.event(event) {
                return event;
            }
        }
    }

    async fn request(&mut self, request: LegRequest) -> Result<Asked, LegError> {
        if let LegRequest::Invite(call) = request {
            return self.invite(*call).await.map(|()| Asked::Done);
        }
        // A leg on which nobody was called yet has nothing to end.
        let Some((dialog, _)) = self.dialog else { return Ok(Asked::Done) };
        if matches!(request, LegRequest::Ring { sdp: Some(_) } | LegRequest::Answer { .. }) {
            self.told.store(true, Ordering::Relaxed);
        }
        let sip = &self.sip;
        let mut asked = Asked::Done;
        let done = match request {
            LegRequest::Invite(_) => Ok(()),
            LegRequest::Ring { sdp } => sip.ring(dialog, sdp).await,
            LegRequest::Answer { sdp } => sip.answer(dialog, sdp, Vec::new()).await.map(|answering| {
                if answering == Answering::Waits {
                    asked = Asked::Waits;
                }
            }),
            LegRequest::Reject { code, reason, warning } => {
                let mut headers = warned(warning);
                if code == 503 {
                    headers.push(("Retry-After".into(), RETRY_AFTER.into()));
                }
                sip.reject(dialog, Rejection { code, reason, headers }).await
            }
            LegRequest::AnswerReoffer(answer) => {
                let refused = |Objection { code, warning }| Rejection {
                    headers: warned(warning),
                    ..Rejection::new(code)
                };
                sip.answer_reoffer(dialog, answer.map_err(refused)).await
            }
            LegRequest::Offer { sdp } => sip.reoffer(dialog, sdp).await,
            LegRequest::Digit { digit, length, body } => {
                sip.request_inside(dialog, digit_info(digit, length, body)).await
            }
            LegRequest::Transfer(transfer) => sip.refer(dialog, refer(*transfer)).await,
            LegRequest::AnswerTransfer(answer) => sip.answer_refer(dialog, answer).await,
            LegRequest::TransferProgress { code, reason } => {
                // The peer may have said that it wants to hear nothing of it, or have left without a transfer.
                let needless = |error: &SipError| {
                    matches!(error, SipError::WrongState { .. } | SipError::NoSuchDialog(_))
                };
                let told = sip.refer_progress(dialog, code, reason).await;
                told.or_else(|error| if needless(&error) { Ok(()) } else { Err(error) })
            }
            LegRequest::Hangup { headers } => {
                // The rules have told of headers that cannot be sent; without them the BYE goes out.
                let (headers, _) = sip::sendable(list(headers));
                if !self.over {
                    // A dialog that has just ended by itself needs no end.
                    let _ = sip.hangup(dialog, headers).await;
                }
                Ok(())
            }
        };
        done.map(|()| asked).map_err(|error| match error {
            SipError::NoSuchDialog(_) => LegError::Gone,
            other => LegError::Refused(other.to_string()),
        })
    }

    async fn successor(&mut self) -> Option<Box<dyn Leg>> {
        let by = self.successor.take()?;
        let events = self.sip.claim(by).await.ok()?;
        let leg = SipLeg::inbound(self.sip.clone(), by, events);
        Some(Box::new(SipLeg { hosts: self.hosts.as_ref().map(Hosts::anew), ..leg }))
    }

    fn dialog(&self) -> Option<u64> {
        self.dialog.as_ref().map(|(dialog, _)| dialog.0)
    }
}

/// The description in an event.
fn description(event: &mut SipEvent) -> Option<&mut String> {
    match event {
        SipEvent::Established { sdp, .. }
        | SipEvent::Reoffered { sdp, .. }
        | SipEvent::ReofferAnswered { sdp, .. }
        | SipEvent::OfferAnswered { sdp, .. }
        | SipEvent::Provisional { sdp, .. }
        | SipEvent::Answered { sdp, .. } => sdp.as_mut(),
        SipEvent::Refreshed { sdp, .. } => Some(sdp),
        SipEvent::TakenOver { invite, .. } => invite.sdp.as_mut(),
        _ => None,
    }
}

fn names_hosts(event: &mut SipEvent) -> bool {
    description(event).is_some_and(|sdp| !rtp::sdp::hosts(sdp).is_empty())
}

/// The event with addresses in place of the hosts that its description names.
async fn locate(mut hosts: Hosts, mut event: SipEvent) -> (Hosts, SipEvent) {
    if let Some(sdp) = description(&mut event) {
        *sdp = hosts.locate(sdp).await;
    }
    (hosts, event)
}

/// The header that tells a warning, in our name.
fn warned(warning: Option<Warning>) -> Vec<(String, String)> {
    let line = |Warning { code, text }| {
        let text: String = text.chars().filter(|c| !c.is_control() && !"\"\\".contains(*c)).collect();
        ("Warning".to_owned(), format!("{code} active-call \"{text}\""))
    };
    warning.map(line).into_iter().collect()
}

fn refer(transfer: TransferOut) -> Refer {
    let credentials = transfer.login.map(|login| Credentials {
        realm: login.realm,
        ..Credentials::new(login.username, login.password.expose())
    });
    let headers = list(transfer.headers);
    Refer { to: transfer.to, replaces: transfer.dialog.map(DialogId), headers, credentials }
}

fn transferred(progress: TransferProgress, particulars: Particulars) -> LegEvent {
    let (state, code, reason) = match progress {
        TransferProgress::Accepted => (TransferState::Accepted, 202, String::new()),
        TransferProgress::Ringing { code, reason } => (TransferState::Ringing, code, reason),
        TransferProgress::Succeeded { code } => (TransferState::Succeeded, code, String::new()),
        TransferProgress::Failed { code, reason } => (TransferState::Failed, code, reason),
    };
    LegEvent::Transferred { state, code, reason, particulars }
}

/// Headers without those that no SIP message can carry, and why those cannot.
pub(crate) fn sendable(headers: Headers) -> (Headers, Vec<String>) {
    let (good, faults) = sip::sendable(list(headers));
    (good.into_iter().collect(), faults.iter().map(ToString::to_string).collect())
}

fn list(headers: Headers) -> Vec<(String, String)> {
    headers.into_iter().collect()
}

/// The INFO that presses a key.
fn digit_info(digit: char, length: Duration, body: DigitBody) -> InDialog {
    let (content_type, body) = match body {
        DigitBody::Relay => ("application/dtmf-relay", sip::dtmf_relay(digit, length)),
        DigitBody::Plain => ("application/dtmf", digit.to_string()),
    };
    let (content_type, body) = (content_type.into(), body.into_bytes());
    InDialog { method: InDialogMethod::Info, content_type, body, headers: Vec::new() }
}

/// What the record says of an end that neither side asked for; `None` where who ended it says enough.
fn words_for(cause: EndCause) -> Option<&'static str> {
    match cause {
        EndCause::Lost => Some("the far end does not know the call any more"),
        EndCause::Expired => Some("the far end has not refreshed the session in time"),
        EndCause::Bye
        | EndCause::LocalBye
        | EndCause::LocalReject
        | EndCause::Unanswered
        | EndCause::Replaced
        | EndCause::AckTimeout
        | EndCause::PrackTimeout => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callee_that_answered_early_need_not_say_it_again_and_is_not_taken_for_another() {
        let mut early = EarlyAnswers::default();
        let keep =
            |early: &mut EarlyAnswers, fork: &str, sdp: &str| early.keep(fork.into(), Some(&sdp.into()));
        keep(&mut early, "a", "first");
        keep(&mut early, "b", "other");
        keep(&mut early, "a", "second");
        early.keep("b".into(), None);
        assert_eq!(early.take("a").as_deref(), Some("second"));
        assert_eq!(early.take("b"), None);
        for n in 0..100 {
            keep(&mut early, &n.to_string(), "x");
        }
        assert_eq!(early.0.len(), MOST_FORKS);
        assert_eq!(early.take("99").as_deref(), Some("x"));
    }

    #[test]
    fn a_uri_that_asks_for_another_request_is_told_with_its_field() {
        let other = |uri: &str| match unplaced(&SipError::OtherMethod(uri.into()), "sip:b@h;method=BYE") {
            LegError::Unsendable(what, _) => what,
            error => panic!("{error}"),
        };
        assert_eq!(other("sip:b@h;method=BYE"), Unsendable::Callee);
        assert_eq!(other("sip:a@h;method=BYE"), Unsendable::Caller);
    }

    #[test]
    fn both_kinds_of_info_bodies_are_read_as_they_are_written() {
        for body in [DigitBody::Relay, DigitBody::Plain] {
            let info = digit_info('#', Duration::from_millis(200), body);
            assert_eq!(sip::info_digit(&info.content_type, &info.body).map(|(digit, _)| digit), Some('#'));
        }
    }
}
