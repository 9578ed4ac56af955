//! Session timers (RFC 4028): both ends agree how often one of them shows that the call still
//! stands, and who does not hear it in time hangs up.

use std::time::Duration;

use sipx_sip::session::{self, Accepted, Answer, MinSe, Refresher, Session, SessionExpires};
use sipx_sip::{HeaderName, Headers, Response, TuEvent};

use super::Endpoint;
use super::outgoing::Again;
use super::register::seconds;
use super::reliable::names;
use crate::config::Time;
use crate::dialog::{Dialog, State};
use crate::event::{DialogId, EndCause};
use crate::message::{Draft, Refusal};
use crate::schedule::Chore;
use crate::transactions::{Errand, Happening, Job};

/// When a refresh that something stood in the way of is tried again.
const LATER: Duration = Duration::from_secs(5);
/// Shortest and longest wait after a refresh that was refused. It is a quarter of the time that is left.
const AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// The session timer of a dialog.
#[derive(Debug, Default)]
pub(crate) struct Refreshing {
    /// Interval and whose turn it is; absent without a timer.
    session: Option<Session>,
    /// Tells the alarm that counts from older ones.
    alarm: u32,
    /// When the call ends unless it is refreshed.
    until: Time,
    /// Whether the peer takes UPDATE.
    update: bool,
}

impl Refreshing {
    pub(crate) fn awaits(&self, alarm: u32) -> bool {
        self.session.is_some() && self.alarm == alarm
    }
}

impl Endpoint {
    /// What a request of the peer asks of the timer: the terms for our 200, or a refusal.
    pub(super) fn session_terms(&self, headers: &Headers) -> Result<Option<Accepted>, Refusal> {
        let requested = headers.typed::<SessionExpires>().and_then(Result::ok);
        let Some(ours) = self.config.session_expires.or(requested.map(|r| r.interval)) else {
            return Ok(None);
        };
        let supports = names(headers, &HeaderName::Supported, session::OPTION_TAG);
        let floor = self.config.min_session_expires.max(session::ABSOLUTE_MIN_INTERVAL);
        // A caller without timers did not ask and would not understand a 422 (RFC 4028 section 9): a proxy asks, which
        // is told a longer interval, and we refresh.
        let requested = requested.map(|asked| match supports {
            true => asked,
            false => SessionExpires { interval: asked.interval.max(floor), refresher: None },
        });
        let least = headers.typed::<MinSe>().and_then(Result::ok).map(|least| least.0);
        match session::answer(supports, requested, least, self.config.min_session_expires) {
            Answer::None => Ok(None),
            Answer::TooBrief(floor) => Err(Refusal::with(422, "Min-SE", floor.as_secs().to_string())),
            Answer::Accept(terms) if requested.is_some() => Ok(Some(terms)),
            Answer::Accept(terms) => {
                let interval = ours.max(least.unwrap_or_default()).max(session::ABSOLUTE_MIN_INTERVAL);
                Ok(Some(Accepted { interval, ..terms }))
            }
        }
    }

    /// Enters the terms that our 200 tells.
    pub(super) fn agree(&mut self, now: Time, id: DialogId, terms: Option<Accepted>, headers: &Headers) {
        let allows = allows_update(headers);
        let session = terms
            .map(|terms| Session { interval: terms.interval, we_refresh: terms.refresher == Refresher::Uas });
        self.restart_session(now, id, session, allows);
    }

    /// Enters what the 2xx to an INVITE or UPDATE of ours says.
    pub(super) fn adopt_session(&mut self, now: Time, id: DialogId, answer: &Response) {
        let agreed = answer.headers.typed::<SessionExpires>().and_then(Result::ok);
        let session = session::adopt(agreed, None);
        self.restart_session(now, id, session, allows_update(&answer.headers));
    }

    fn restart_session(&mut self, now: Time, id: DialogId, session: Option<Session>, allows: Option<bool>) {
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        let timer = &mut dialog.refreshing;
        timer.alarm = timer.alarm.wrapping_add(1);
        timer.session = session;
        timer.update = allows.unwrap_or(timer.update);
        if let Some(Session { interval, we_refresh }) = session {
            let margin = (interval / 3).min(Duration::from_secs(32));
            timer.until = now.saturating_add(interval.saturating_sub(margin));
            let due = if we_refresh { now.saturating_add(interval / 2) } else { timer.until };
            self.wire.remind(due, id, Chore::Session(timer.alarm));
        }
    }

    /// The lines of a request of ours that asks for a timer or keeps one.
    pub(super) fn session_lines(&self, draft: &mut Draft, dialog: Option<&Dialog>) {
        let standing = dialog.and_then(|dialog| dialog.refreshing.session);
        let interval = standing.map(|session| session.interval).or(self.config.session_expires);
        let Some(interval) = interval else { return };
        // Who refreshes now goes on doing so; the sender of this request is its `uac`.
        let refresher = match standing {
            Some(Session { we_refresh: true, .. }) => ";refresher=uac",
            Some(_) => ";refresher=uas",
            None => "",
        };
        let floor = self.config.min_session_expires.max(session::ABSOLUTE_MIN_INTERVAL);
        draft.line("Session-Expires", format!("{}{refresher}", interval.max(floor).as_secs()));
        draft.line("Min-SE", floor.as_secs().to_string());
    }

    /// Asks again for a timer as long as the peer wants it; whether that was done.
    pub(super) fn lengthened(&mut self, now: Time, happening: &Happening, answer: &Response) -> bool {
        let (Some(Ok(MinSe(least))), Some(request)) =
            (answer.headers.typed::<MinSe>(), happening.request.as_deref())
        else {
            return false;
        };
        let mut job = happening.job;
        if job.rounds >= 4 {
            return false;
        }
        job.rounds += 1;
        let seconds = least.as_secs().to_string();
        let lines = vec![(HeaderName::SessionExpires, seconds.clone()), (HeaderName::MinSe, seconds)];
        let again = Again { to: happening.to.clone(), seq: self.next_seq(job.owner), job, lines };
        self.again(now, happening.tx, request, again)
    }

    /// The timer of a dialog has rung.
    pub(super) fn session_due(&mut self, now: Time, id: DialogId, alarm: u32) {
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        if !dialog.refreshing.awaits(alarm) || !matches!(dialog.state, State::Up { bye: None }) {
            return;
        }
        if now >= dialog.refreshing.until {
            let reason = "SIP;cause=408;text=\"session timer expired\"".to_owned();
            return self.send_bye(now, id, &[("Reason".to_owned(), reason)], EndCause::Expired);
        }
        if !dialog.is_quiet() {
            return self.session_later(now, id, LATER);
        }
        let left = dialog.refreshing.until.saturating_sub(now);
        self.session_later(now, id, left);
        self.refresh_session(now, id);
    }

    /// Sets the timer's next alarm, before the end of the session at the latest.
    fn session_later(&mut self, now: Time, id: DialogId, wait: Duration) {
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        let timer = &mut dialog.refreshing;
        timer.alarm = timer.alarm.wrapping_add(1);
        let at = now.saturating_add(wait).min(timer.until);
        self.wire.remind(at, id, Chore::Session(timer.alarm));
    }

    /// Our refresh was refused. A call of which the peer knows nothing is over; any other goes on, and it is tried again
    /// while the session lasts (RFC 4028 section 10).
    pub(super) fn refresh_refused(&mut self, now: Time, id: DialogId, answer: &Response) {
        let code = answer.status.code();
        if matches!(code, 408 | 481) {
            return self.lost_if(now, id, true);
        }
        let Some(dialog) = self.dialogs.by_id.get(&id).filter(|dialog| dialog.refreshing.session.is_some())
        else {
            return;
        };
        let left = dialog.refreshing.until.saturating_sub(now);
        let asked = seconds(&answer.headers, &HeaderName::RetryAfter).unwrap_or_default().min(left / 2);
        self.session_later(now, id, (left / 4).clamp(AGAIN.0, AGAIN.1).max(asked));
    }

    fn refresh_session(&mut self, now: Time, id: DialogId) {
        let Some(dialog) = self.dialogs.by_id.get(&id) else { return };
        if !dialog.refreshing.update {
            return self.repeat_offer(now, id);
        }
        let Some((mut draft, way)) = self.inside_draft(id, "UPDATE") else { return };
        self.session_lines(&mut draft, self.dialogs.by_id.get(&id));
        self.send_inside(now, (draft.finish(), way), Job::of(id, Errand::Refresh));
    }

    /// Our UPDATE without offer was answered.
    pub(super) fn refresh_happened(&mut self, now: Time, id: DialogId, happening: &Happening) {
        match &happening.event {
            TuEvent::Response(response) if response.status.is_success() => {
                self.adopt_session(now, id, response);
            }
            TuEvent::Response(response) if response.status.is_provisional() => {}
            TuEvent::Response(response) => match response.status.code() {
                422 if self.lengthened(now, happening, response) => {}
                405 | 501 => {
                    if let Some(dialog) = self.dialogs.by_id.get_mut(&id) {
                        dialog.refreshing.update = false;
                    }
                    self.repeat_offer(now, id);
                }
                _ => self.refresh_refused(now, id, response),
            },
            _ => self.lost_if(now, id, true),
        }
    }
}

/// The lines of our 200 that tell these terms.
pub(super) fn terms_lines(draft: &mut Draft, terms: &Accepted) {
    let expires = SessionExpires { interval: terms.interval, refresher: Some(terms.refresher) };
    draft.line("Session-Expires", expires.to_string());
    if terms.require {
        draft.line("Require", session::OPTION_TAG);
    }
}

/// Whether the sender takes UPDATE; `None` if it does not say what it takes.
fn allows_update(headers: &Headers) -> Option<bool> {
    headers.get(&HeaderName::Allow).map(|_| names(headers, &HeaderName::Allow, "UPDATE"))
}
