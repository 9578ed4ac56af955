//! Transfer: REFER out and in, and the NOTIFYs that tell how far it has got (RFC 3515), replacing a
//! call (RFC 3891).

use bytes::Bytes;
use sipx_sip::{Address, HeaderName, Headers, Limits, Message, TuEvent, Uri, parse_datagram};

use super::caller::{callable, drop_method, redirections};
use super::inbound::Arrival;
use super::{Endpoint, wrong};
use crate::config::Time;
use crate::dialog::{Dialog, Referral, State};
use crate::digest::Authentication;
use crate::event::{DialogId, EndCause, HeaderList, SipEvent, TransferProgress};
use crate::message::{
    Refusal, came_by_sips, check_extra, content_type, cseq, header_list, reason_phrase, response, text, value,
};
use crate::order::{Refer, SipError};
use crate::schedule::Chore;
use crate::transactions::{Errand, Happening, Job};

/// How long the peer has to tell the end of a transfer that it has accepted.
const TRANSFERRING: Time = Time::from_secs(180);
/// How long our owner may think about a transfer that the peer wants; the peer waits 32 s.
const THINKING: Time = Time::from_secs(10);
/// How much of a sipfrag is looked at, in bytes.
const MAX_FRAGMENT: usize = 4_096;

/// A request for a transfer that our owner has not answered.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) seq: u32,
    /// Whether the peer wants to hear nothing of it (RFC 4488).
    silent: bool,
    arrival: Arrival,
}

/// What a refusal says beyond its status.
#[derive(Debug, Default)]
struct Said {
    headers: HeaderList,
    contacts: Vec<String>,
}

impl Said {
    fn of(code: u16, headers: &Headers) -> Self {
        let contacts = if (300..400).contains(&code) { redirections(headers) } else { Vec::new() };
        Self { headers: header_list(headers), contacts }
    }
}

impl Endpoint {
    /// Asks the peer to call someone else: blindly, or in place of another call of ours. `Transfer`
    /// events follow until `Succeeded` or `Failed`; the dialog stays up, so that the call can be
    /// taken back, until one side ends it.
    ///
    /// # Errors
    /// [`SipError::WrongState`] before the answer, after the end, and while a transfer is open;
    /// [`SipError::BadUri`], [`SipError::BadHeader`]; [`SipError::NoSuchDialog`] for the call that is
    /// to be replaced.
    pub fn refer(&mut self, now: Time, dialog: DialogId, refer: &Refer) -> Result<(), SipError> {
        check_extra(&refer.headers)?;
        let mut to = Vec::from(&b"<"[..]);
        to.extend_from_slice(&self.replaced_target(refer.replaces).map_or_else(|| callable(&refer.to), Ok)?);
        if let Some(other) = refer.replaces {
            to.extend_from_slice(b"?Replaces=");
            to.extend_from_slice(escaped(&self.replaces(other)?).as_bytes());
        }
        to.push(b'>');
        let found = self.dialog(dialog)?;
        if !matches!(found.state, State::Up { bye: None }) || found.referral.is_some() {
            return Err(wrong(found, "transfer"));
        }
        let local = found.path.local_uri();
        // Who has its own shows them when it is asked.
        let draft = match refer.credentials {
            Some(_) => self.bare_draft(dialog, "REFER"),
            None => self.inside_draft(dialog, "REFER"),
        };
        let Some((mut draft, way)) = draft else { return Err(SipError::NoSuchDialog(dialog)) };
        draft.line("Contact", self.contact_in(dialog, &way));
        draft.line("Refer-To", to);
        draft.line("Referred-By", local);
        draft.extra(&refer.headers);
        self.send_inside(now, (draft.finish(), way), Job::of(dialog, Errand::Refer));
        let found = self.dialog(dialog)?;
        let seq = found.path.local_seq;
        let auth = refer.credentials.clone().map(Authentication::new);
        found.referral = Some(Referral { seq, auth });
        self.wire.remind(now.saturating_add(TRANSFERRING), dialog, Chore::GiveUpTransfer(seq));
        Ok(())
    }

    /// Whom a peer has to call to take our place in a call that came in: who is there is known by its `Contact` alone,
    /// since its `From` need lead nowhere (RFC 5589 section 7.3). Whom we have called is reached as we have reached it.
    fn replaced_target(&self, dialog: Option<DialogId>) -> Option<Bytes> {
        let dialog = self.dialogs.by_id.get(&dialog?)?;
        let target = dialog.path.target.as_ref().filter(|_| dialog.invited_seq.is_some())?;
        callable(&text(&target.to_bytes())).ok()
    }

    /// The value of `Replaces` that names a call of ours to a third party.
    fn replaces(&mut self, dialog: DialogId) -> Result<String, SipError> {
        let path = &self.dialog(dialog)?.path;
        let (id, remote) = (text(&path.call_id), text(&path.remote_tag));
        Ok(format!("{id};to-tag={remote};from-tag={}", path.local_tag))
    }

    /// Our REFER got a response, or none.
    pub(super) fn refer_happened(&mut self, now: Time, id: DialogId, happening: &Happening) {
        let (code, reason, said) = match &happening.event {
            TuEvent::Response(response) if response.status.is_provisional() => return,
            TuEvent::Response(response) => {
                let code = response.status.code();
                (code, text(&response.reason), Said::of(code, &response.headers))
            }
            TuEvent::Timeout => (408, "no answer".to_owned(), Said::default()),
            _ => (503, "the peer cannot be reached".to_owned(), Said::default()),
        };
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        if dialog.referral.is_none() {
            return;
        }
        if (200..300).contains(&code) {
            return self.tell_transfer(id, TransferProgress::Accepted);
        }
        dialog.referral = None;
        self.tell_transfer_said(id, TransferProgress::Failed { code, reason }, said);
        self.part_if_settled(id);
        self.lost_if(now, id, matches!(code, 408 | 481));
    }

    pub(super) fn tell_transfer(&mut self, dialog: DialogId, progress: TransferProgress) {
        self.tell_transfer_said(dialog, progress, Said::default());
    }

    fn tell_transfer_said(&mut self, dialog: DialogId, progress: TransferProgress, said: Said) {
        let Said { headers, contacts } = said;
        self.wire.tell(SipEvent::Transfer { dialog, progress, headers, contacts });
    }

    /// The peer tells how far the transfer has got.
    pub(super) fn notified(&mut self, now: Time, id: DialogId, arrival: Arrival) {
        let headers = &arrival.request.headers;
        let event = text(&value(headers, &HeaderName::Event)).to_ascii_lowercase();
        let ours = event.split(';').next().is_some_and(|package| package.trim() == "refer");
        let Some(dialog) = self.dialogs.by_id.get_mut(&id).filter(|dialog| ours && dialog.has_asked(&event))
        else {
            // Of a subscription that is over or never was (RFC 6665 section 4.1.3).
            return self.refuse(&arrival, &Refusal::plain(if ours { 481 } else { 489 }));
        };
        let state = text(&value(headers, &HeaderName::SubscriptionState)).to_ascii_lowercase();
        let over = state.split(';').next().is_some_and(|state| state.trim() == "terminated");
        let quoted = match content_type(headers).as_str() {
            "message/sipfrag" => &arrival.request.body()[..],
            _ => &[],
        };
        if let Some(progress) = progress(fragment(quoted), over) {
            if progress.is_last() {
                dialog.referral = None;
            }
            let said = match &progress {
                TransferProgress::Failed { code, .. } => quotation(*code, quoted),
                _ => Said::default(),
            };
            self.tell_transfer_said(id, progress, said);
        }
        let bytes = response(&arrival.request, 200, "", &self.local_tag(id)).finish();
        self.accept(now, arrival, bytes);
        self.part_if_settled(id);
    }

    pub(super) fn give_up_transfer(&mut self, id: DialogId, seq: u32) {
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        if dialog.referral.as_ref().is_some_and(|referral| referral.seq == seq) {
            dialog.referral = None;
            let reason = "the peer never told the end of the transfer".to_owned();
            self.tell_transfer(id, TransferProgress::Failed { code: 408, reason });
            self.part_if_settled(id);
        }
    }

    /// The peer wants us to call someone else.
    pub(super) fn referred(&mut self, now: Time, id: DialogId, arrival: Arrival) {
        let headers = &arrival.request.headers;
        let seq = cseq(headers).unwrap_or_default();
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        match &dialog.referred {
            // A copy: its answer is still being thought about.
            Some(waiting) if waiting.seq == seq => return,
            Some(_) => return self.refuse(&arrival, &Refusal::plain(491)),
            None if matches!(dialog.state, State::Up { bye: None }) => {}
            None => return self.refuse(&arrival, &Refusal::plain(481)),
        }
        let one = headers.count(&HeaderName::ReferTo) == 1;
        let target = Address::parse(&value(headers, &HeaderName::ReferTo), "Refer-To").ok().filter(|_| one);
        let Some(mut target) = target.map(|target| target.uri) else {
            let bad = Refusal::bad("Missing, repeated or malformed Refer-To header field");
            return self.refuse(&arrival, &bad);
        };
        if !drop_method(&mut target) {
            // It wants us to send another request than an INVITE (RFC 3515 section 2.1).
            return self.refuse(&arrival, &Refusal::plain(501));
        }
        let (to, replaces) = split_target(target);
        let by = text(&value(headers, &HeaderName::ReferredBy));
        let silent = text(&value(headers, &HeaderName::ReferSub)).trim().eq_ignore_ascii_case("false");
        dialog.referred = Some(Box::new(Waiting { seq, silent, arrival }));
        self.wire.remind(now.saturating_add(THINKING), id, Chore::GiveUpReferred(seq));
        let referred_by = (!by.is_empty()).then_some(by);
        self.wire.tell(SipEvent::TransferRequested { dialog: id, to, referred_by, replaces });
    }

    /// Answers `TransferRequested`: 202, and then tell how the call to the target goes by
    /// [`refer_progress`](Self::refer_progress); or a refusal from 300 to 699. Without an answer the
    /// request is refused with 603 after ten seconds.
    ///
    /// # Errors
    /// [`SipError::WrongState`] if no request waits; [`SipError::BadCode`].
    pub fn answer_refer(
        &mut self,
        now: Time,
        dialog: DialogId,
        answer: Result<(), u16>,
    ) -> Result<(), SipError> {
        if let Err(code) = answer
            && !(300..700).contains(&code)
        {
            return Err(SipError::BadCode(code));
        }
        let found = self.dialog(dialog)?;
        let Some(waiting) = found.referred.take() else { return Err(wrong(found, "answer a transfer")) };
        let Waiting { seq, silent, arrival } = *waiting;
        let mut draft = response(&arrival.request, answer.err().unwrap_or(202), "", &self.local_tag(dialog));
        let sips = came_by_sips(&arrival.request);
        draft.line("Contact", self.identity.contact(arrival.reply_to.transport, sips));
        draft.line("Server", &self.identity.agent);
        if silent {
            draft.line("Refer-Sub", "false");
        }
        self.accept(now, arrival, draft.finish());
        if answer.is_ok() && !silent {
            self.dialog(dialog)?.subscription = Some(seq);
            self.refer_progress(now, dialog, 100, "")?;
        }
        Ok(())
    }

    /// Tells the peer how the call that it asked for goes: a status code as from the target; one of
    /// 200 or more is the last.
    ///
    /// # Errors
    /// [`SipError::WrongState`] if no accepted transfer is open; [`SipError::BadCode`] outside 100
    /// to 699.
    pub fn refer_progress(
        &mut self,
        now: Time,
        dialog: DialogId,
        code: u16,
        reason: &str,
    ) -> Result<(), SipError> {
        if !(100..700).contains(&code) {
            return Err(SipError::BadCode(code));
        }
        let found = self.dialog(dialog)?;
        let Some(seq) = found.subscription else { return Err(wrong(found, "tell of a transfer")) };
        let over = code >= 200;
        if over {
            found.subscription = None;
        }
        let Some((mut draft, way)) = self.inside_draft(dialog, "NOTIFY") else {
            return Err(SipError::NoSuchDialog(dialog));
        };
        draft.line("Contact", self.contact_in(dialog, &way));
        draft.line("Event", format!("refer;id={seq}"));
        draft.line(
            "Subscription-State",
            if over { "terminated;reason=noresource" } else { "active;expires=180" },
        );
        let reason = if reason.is_empty() { reason_phrase(code) } else { reason };
        let reason: String = reason.chars().filter(|c| !c.is_control()).take(128).collect();
        let body = format!("SIP/2.0 {code} {reason}\r\n");
        let bytes = draft.finish_body("message/sipfrag;version=2.0", body.as_bytes())?;
        self.send_inside(now, (bytes, way), Job::of(dialog, Errand::Notify));
        Ok(())
    }

    /// Nobody answered the peer's request for a transfer.
    pub(super) fn give_up_referred(&mut self, now: Time, id: DialogId, seq: u32) {
        let waiting = self.dialogs.by_id.get(&id).and_then(|dialog| dialog.referred.as_ref());
        if waiting.is_some_and(|waiting| waiting.seq == seq) {
            let _ = self.answer_refer(now, id, Err(603));
        }
    }

    /// The call that a new one wants to take the place of: `Ok(None)` if it wants none (RFC 3891
    /// section 3).
    pub(super) fn replaced(&self, headers: &Headers) -> Result<Option<DialogId>, Refusal> {
        let mut rows = headers.get_all(&HeaderName::Replaces);
        let Some(row) = rows.next() else { return Ok(None) };
        if rows.next().is_some() {
            return Err(Refusal::bad("More than one Replaces header field"));
        }
        let row = text(&row.value());
        let mut parts = row.split(';').map(str::trim);
        let call_id = parts.next().unwrap_or_default();
        let (mut to_tag, mut from_tag, mut early_only) = ("", "", false);
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "to-tag" => to_tag = value.trim(),
                "from-tag" => from_tag = value.trim(),
                "early-only" => early_only = true,
                _ => {}
            }
        }
        let named = self.dialogs.tagged(to_tag.as_bytes());
        match named.filter(|dialog| dialog.path.call_id == call_id.as_bytes()) {
            Some(dialog) => replaceable(dialog, from_tag.as_bytes(), early_only).map(|()| Some(dialog.id)),
            None => Err(Refusal::plain(481)),
        }
    }

    /// A call was answered that takes the place of another.
    pub(super) fn take_place(&mut self, now: Time, id: DialogId) {
        let replaced = self.dialogs.by_id.get_mut(&id).and_then(|dialog| dialog.replaces.take());
        let Some(old) = replaced else { return };
        match self.dialogs.by_id.get(&old).map(|dialog| &dialog.state) {
            Some(State::Up { .. }) => self.send_bye(now, old, &[], EndCause::Replaced),
            // It rings elsewhere no more. One that has been given up meanwhile needs nothing.
            Some(State::Calling(_)) => {
                let reason = "SIP;cause=200;text=\"Call completed elsewhere\"";
                let _ = self.cancel_because(now, old, &[("Reason".to_owned(), reason.to_owned())]);
            }
            Some(State::Invited { .. } | State::Ending { .. } | State::Left { .. }) | None => {}
        }
    }
}

/// Whether a new call may take the place of this one, whose far end it names by `tag` (RFC 3891 section 3): a call that
/// is answered, unless only a ringing one is meant, and one of ours that rings at that far end. A call that rings here
/// is nobody's to replace but its caller's.
fn replaceable(dialog: &Dialog, tag: &[u8], early_only: bool) -> Result<(), Refusal> {
    let theirs = dialog.path.remote_tag == tag;
    match &dialog.state {
        State::Up { bye: None } if theirs && early_only => Err(Refusal::plain(486)),
        State::Up { bye: None } if theirs => Ok(()),
        State::Up { .. } | State::Ending { .. } | State::Left { .. } if theirs => Err(Refusal::plain(603)),
        State::Calling(calling) if calling.rings_at(tag) => Ok(()),
        _ => Err(Refusal::plain(481)),
    }
}

/// What a sipfrag says: code and reason of its status line.
fn fragment(body: &[u8]) -> Option<(u16, String)> {
    let head = body.get(..MAX_FRAGMENT.min(body.len()))?;
    let line = text(head.split(|b| matches!(b, b'\r' | b'\n')).next()?);
    let status = line.strip_prefix("SIP/2.0 ")?;
    let (code, reason) = status.split_once(' ').unwrap_or((status, ""));
    let code = code.trim().parse().ok().filter(|code| (100..700).contains(code))?;
    Some((code, reason.to_owned()))
}

/// What the header lines of a sipfrag say of a refusal: the others are not the peer's to tell.
fn quotation(code: u16, body: &[u8]) -> Said {
    const TELLING: [&str; 5] = ["reason", "warning", "retry-after", "contact", "m"];
    let head = String::from_utf8_lossy(body.get(..MAX_FRAGMENT.min(body.len())).unwrap_or_default());
    let whole = body.len() <= MAX_FRAGMENT;
    // The last line of what is cut off is not all there.
    let end = if whole { head.len() } else { head.rfind('\n').map_or(0, |at| at.saturating_add(1)) };
    let lines = head.get(..end).unwrap_or_default().lines().skip(1).take_while(|line| !line.is_empty());
    let (mut quoted, mut taken) = (format!("SIP/2.0 {code} \r\n"), false);
    for line in lines {
        // A line that begins with a blank goes on with the one before (RFC 3261 section 7.3.1).
        if !line.starts_with([' ', '\t']) {
            let name = line.split(':').next().unwrap_or_default().trim();
            taken = TELLING.iter().any(|telling| name.eq_ignore_ascii_case(telling));
        }
        if taken {
            quoted.push_str(line);
            quoted.push_str("\r\n");
        }
    }
    quoted.push_str("\r\n");
    match parse_datagram(Bytes::from(quoted), &Limits::datagram()) {
        Ok(Message::Response(response)) => Said::of(code, &response.headers),
        _ => Said::default(),
    }
}

fn progress(told: Option<(u16, String)>, over: bool) -> Option<TransferProgress> {
    match told {
        Some((code @ 200..=299, _)) => Some(TransferProgress::Succeeded { code }),
        Some((code @ 300.., reason)) => Some(TransferProgress::Failed { code, reason }),
        // It ends without telling how (RFC 3515 section 2.4.7).
        _ if over => Some(TransferProgress::Failed { code: 487, reason: "the end was not told".to_owned() }),
        Some((code, reason)) => Some(TransferProgress::Ringing { code, reason }),
        None => None,
    }
}

/// The URI to call, and what the call is to replace, from `Refer-To`.
fn split_target(mut uri: Uri) -> (String, Option<String>) {
    let replaces = uri.headers().and_then(|headers| {
        let found = headers.iter().find(|header| header.name().eq_ignore_ascii_case(b"Replaces"))?;
        Some(text(&unescaped(found.value().unwrap_or_default())))
    });
    while let Some(name) = uri.headers().and_then(|headers| headers.iter().next().map(|h| text(h.name()))) {
        if !uri.remove_header(&name) {
            break;
        }
    }
    (text(&uri.to_bytes()), replaces)
}

/// A header value as it stands in a URI (RFC 3261 section 25.1, `hvalue`).
fn escaped(value: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&b);
    value.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn unescaped(value: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&first, behind)) = rest.split_first() {
        let pair = behind.get(..2).filter(|_| first == b'%').and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                plain.push(first);
                rest = behind;
            }
        }
    }
    plain
}
