//! An outbound call: the party that `invite` names is dialled, rings, answers or refuses.

use std::net::Ipv4Addr;
use std::time::Duration;

use protocol::event::Event;
use protocol::option::{CallOption, SipOption};
use protocol::reason::Initiator;
use protocol::{CallTime, HangupReason};
use rtp::sdp::SdpError;

use super::{Core, Due, Effect, State};
use crate::end::End;
use crate::failure::Failure;
use crate::legs::sip_media::SipMedia;
use crate::legs::{CallOut, LegId, LegRequest, Warning};
use crate::setup::{Dial, OwnAddress, Undialled};

/// Longest telephone number with what makes it easier to read, in bytes.
const LONGEST_NUMBER: usize = 64;
/// Status of an answer whose media are of no use.
pub(super) const UNUSABLE: u16 = 488;
/// How long a callee may leave a call unanswered where `handshakeTimeout` says nothing.
const PATIENCE: Duration = Duration::from_secs(60);

impl Core {
    /// Dials the callee of `option`. What is wrong with it is told, and the call still waits for `invite`.
    pub(crate) fn dial(&mut self, now: CallTime, option: CallOption) {
        self.take_option(option);
        let callee = match self.option.callee.as_deref().map(uri) {
            Some(Ok(callee)) => callee,
            Some(Err(why)) => return self.wrong(now, "invite", "option.callee", why),
            None => {
                let why = "missing; write the SIP URI to call, such as sip:1001@pbx.example";
                return self.wrong(now, "invite", "option.callee", why);
            }
        };
        let sip = self.option.sip.clone().unwrap_or_default();
        let display_name = self.option.caller.as_deref().and_then(display_name);
        let caller = match self.caller_uri(self.option.caller.as_deref().unwrap_or_default(), &sip, &callee) {
            Ok(caller) => caller,
            Err(why) => return self.wrong(now, "invite", "option.caller", why),
        };
        self.option.callee = Some(callee.clone());
        self.option.caller = Some(caller.clone());
        self.state = State::Dialing;
        self.dialled = true;
        self.info_changed = true;
        let (track_id, timestamp) = (self.facts.id.clone(), self.unix_ms(now));
        self.emit(Event::TrackStart { track_id, timestamp, play_id: None });
        let call_id = Some(self.facts.id.clone());
        let dial = Dial { call_id, display_name, ..self.dial_for(caller, callee, sip) };
        self.deadlines.set(now + self.callee_patience(), Due::Callee);
        self.effect(Effect::Dial(LegId::MAIN, Box::new(dial)));
    }

    /// `caller` as the URI that a call to `callee` comes from: a telephone number calls from where our account is.
    ///
    /// # Errors
    /// A text that says what to write instead.
    pub(crate) fn caller_uri(&self, caller: &str, sip: &SipOption, callee: &str) -> Result<String, String> {
        let own = |user| own_uri(sip, callee, (user, &self.facts.rules.accounts));
        if caller.trim().is_empty() {
            return Ok(own(None));
        }
        match telephone_number(address(caller)) {
            Some(number) => {
                let own = own(Some(&number));
                Ok(format!("sip:{number}@{}", own.rsplit('@').next().unwrap_or("127.0.0.1")))
            }
            None => uri(caller),
        }
    }

    /// As with a second party, 0 says nothing.
    fn callee_patience(&self) -> Duration {
        let said = self.option.handshake_timeout.map(|limit| limit.0);
        said.filter(|limit| !limit.is_zero()).unwrap_or(PATIENCE)
    }

    /// The callee has not answered in time. Its leg gives it up, whether it obeys or not.
    pub(crate) fn callee_timed_out(&mut self, now: CallTime) {
        self.dial_failed(now, 408, "nobody answered in time");
    }

    /// A party to be dialled for this call, under a `Call-ID` by chance.
    pub(crate) fn dial_for(&self, caller: String, callee: String, sip: SipOption) -> Dial {
        let (call, playbook) = (self.facts.id.clone(), self.playbook.is_some());
        Dial { call, call_id: None, caller, display_name: None, callee, sip, playbook }
    }

    /// A line to the callee is there, or there is none.
    pub(crate) fn line(&mut self, now: CallTime, leg: LegId, line: Result<Box<SipMedia>, Undialled>) {
        if self.succeeds(leg) {
            return self.successor_line(now, line);
        }
        if leg != LegId::MAIN {
            return self.referred_line(now, leg, line);
        }
        if !matches!(self.state, State::Dialing) {
            return;
        }
        match line {
            Ok(mut media) => {
                media.encrypt(self.encryption(None));
                let sdp = media.make_offer();
                self.sip = Some(*media);
                let sip = self.option.sip.clone().unwrap_or_default();
                let invite = CallOut {
                    caller: self.caller(),
                    callee: self.callee(),
                    sdp,
                    headers: sip.headers.unwrap_or_default(),
                    patience: self.callee_patience(),
                    replaces: None,
                    referred_by: None,
                };
                self.request(LegRequest::Invite(Box::new(invite)));
            }
            Err(Undialled { code, reason }) => self.dial_failed(now, code, &reason),
        }
    }

    /// The callee rings, perhaps with sound.
    pub(crate) fn callee_rings(&mut self, now: CallTime, code: u16, sdp: Option<&str>) {
        if !matches!(self.state, State::Dialing) {
            return;
        }
        if self.rang.is_none() {
            self.rang = Some(now);
            self.info_changed = true;
        }
        let (track_id, timestamp) = (self.facts.id.clone(), self.unix_ms(now));
        let early = sdp.is_some();
        let (code, refer) = (Some(code), Some(false));
        self.emit(Event::Ringing { track_id, timestamp, early_media: early, code, refer });
        if let Some(sdp) = sdp
            && self.take_answer(now, sdp).is_ok()
        {
            self.start_taking();
        }
    }

    /// The callee has answered.
    pub(crate) fn callee_answers(&mut self, now: CallTime, sdp: Option<&str>) {
        if !matches!(self.state, State::Dialing) {
            return;
        }
        if let Some(sdp) = sdp
            && let Err(error) = self.take_answer(now, sdp)
        {
            return self.answer_unusable(now, Warning::from(&error));
        }
        if self.rate.is_none() {
            let text = "the answer has no description".to_owned();
            self.error(now, "sip", text.clone(), UNUSABLE);
            return self.answer_unusable(now, Warning { code: 399, text });
        }
        self.deadlines = super::Deadlines::default();
        self.up(now, sdp.unwrap_or_default());
        self.confirmed(now);
    }

    /// The callee has answered with media that are of no use, which is as if it had refused ours.
    fn answer_unusable(&mut self, now: CallTime, warning: Warning) {
        self.tell_refused(now, UNUSABLE, &warning.text);
        let end = End::new(reason_of(UNUSABLE), UNUSABLE).because(warning.text.clone());
        self.end(now, End { initiator: Some(Initiator::System), warning: Some(warning), ..end });
    }

    /// The call could not be placed, or the callee refused it.
    pub(crate) fn dial_failed(&mut self, now: CallTime, code: u16, reason: &str) {
        if !matches!(self.state, State::Dialing) {
            return;
        }
        self.tell_refused(now, code, reason);
        self.error(now, "invite", format!("{code} {reason}"), code);
        self.end_undialled(now, code, reason);
    }

    /// The call could not be placed because of what the client asks for.
    pub(crate) fn undialled(&mut self, now: CallTime, failure: &Failure) {
        if !matches!(self.state, State::Dialing) {
            return;
        }
        self.tell_refused(now, failure.code, &failure.why);
        self.fail(now, "invite", failure);
        self.end_undialled(now, failure.code, &failure.why);
    }

    fn tell_refused(&mut self, now: CallTime, code: u16, reason: &str) {
        let particulars = self.draft.refused.clone();
        self.tell_reject(now, (code, reason), particulars);
    }

    fn end_undialled(&mut self, now: CallTime, code: u16, reason: &str) {
        let end = End::new(reason_of(code), code).because(reason);
        self.end(now, End { initiator: end.initiator.or(Some(Initiator::System)), ..end });
    }

    /// Takes in the far end's answer to our offer, early or final.
    fn take_answer(&mut self, now: CallTime, answer: &str) -> Result<(), SdpError> {
        let start = self.start();
        let Some(sip) = self.sip.as_mut() else { return Err(SdpError::NoAudio) };
        match sip.answered(answer, start) {
            Ok(plan) => {
                self.agreed(now, LegId::MAIN, plan);
                Ok(())
            }
            Err(error) => {
                self.error(now, "sip", error.to_string(), error.status());
                Err(error)
            }
        }
    }
}

/// Why a call ends whose INVITE got this final answer.
pub(crate) fn reason_of(code: u16) -> HangupReason {
    match code {
        408 | 480 => HangupReason::NoAnswer,
        486 | 600 | 603 | 607 | 608 => HangupReason::Rejected,
        487 => HangupReason::Canceled,
        401 | 407 => HangupReason::Other("unauthorized".into()),
        403 => HangupReason::Other("forbidden".into()),
        404 | 410 | 604 => HangupReason::Other("notFound".into()),
        415 | 488 | 606 => HangupReason::Other("notAcceptable".into()),
        484 => HangupReason::Other("incompleteAddress".into()),
        500..=599 => HangupReason::ServerUnavailable,
        _ => HangupReason::Failed,
    }
}

/// The address in `"Bob" <sip:bob@example.com>`, or all of what has no brackets.
fn address(text: &str) -> &str {
    let inside = text.trim().strip_suffix('>').and_then(|text| text.rsplit_once('<'));
    inside.map_or(text, |(_, address)| address).trim()
}

/// The name in `"Bob" <sip:bob@example.com>`, without its quotes and escapes (RFC 3261 section 25.1).
pub(crate) fn display_name(text: &str) -> Option<String> {
    let (name, _) = text.trim().strip_suffix('>')?.rsplit_once('<')?;
    let name = name.trim();
    let Some(quoted) = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) else {
        return (!name.is_empty()).then(|| name.to_owned());
    };
    let mut characters = quoted.chars();
    let mut plain = String::with_capacity(quoted.len());
    while let Some(character) = characters.next() {
        plain.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    (!plain.trim().is_empty()).then_some(plain)
}

/// A telephone number (RFC 3966) without what makes it easier to read. A host without a user is none.
fn telephone_number(text: &str) -> Option<String> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let number = text.len() <= LONGEST_NUMBER
        && digits.contains(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || " -.()".contains(c))
        && text.parse::<Ipv4Addr>().is_err();
    number.then(|| text.chars().filter(|c| c.is_ascii_digit() || *c == '+').collect())
}

/// `text` as a URI that can be dialled: `user@host` is a SIP address, digits are a telephone number.
///
/// # Errors
/// A text that says what to write instead.
pub(crate) fn uri(text: &str) -> Result<String, String> {
    let text = address(text);
    if let Some(number) = telephone_number(text) {
        return Ok(format!("tel:{number}"));
    }
    let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    let known = matches!(scheme.as_deref(), Some("sip" | "sips" | "tel"));
    let shown = protocol::read::shown(text);
    if text.is_empty()
        || text.len() > 512
        || text.contains(|c: char| c.is_whitespace() || c.is_control() || "<>\"".contains(c))
    {
        return Err(format!("{shown:?} is no SIP URI; write sip:user@host"));
    }
    if known {
        return Ok(text.to_owned());
    }
    if text.contains('@') {
        Ok(format!("sip:{text}"))
    } else {
        Err(format!("{shown:?} is no SIP URI; write sip:user@host"))
    }
}

/// `text` as a URI that a call can be placed to, as `invite` takes it in `callee`: a `sip:` or `sips:` URI with a host, a
/// `tel:` URI with a number, a number alone, or `user@host`.
///
/// # Errors
/// A text that says what to write instead.
pub fn dialable(text: &str) -> Result<String, String> {
    let uri = uri(text)?;
    let leads = match uri.split_once(':') {
        Some((scheme, number)) if scheme.eq_ignore_ascii_case("tel") => !number.is_empty(),
        _ => host(&uri).is_some(),
    };
    if leads {
        Ok(uri)
    } else {
        Err(format!("{:?} names nobody to call; write sip:user@host", protocol::read::shown(text)))
    }
}

/// The host of a SIP URI, in lower case and without its port; absent for other addresses.
pub(crate) fn host(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once(':')?;
    if !matches!(scheme.to_ascii_lowercase().as_str(), "sip" | "sips") {
        return None;
    }
    let rest = rest.split(['?', ';', '>']).next()?;
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    let host = match place.strip_prefix('[') {
        Some(six) => six.split(']').next()?,
        None => place.split(':').next()?,
    };
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

/// Who calls, where nobody says it, or says no more than a `user`: of several accounts there the one with that user,
/// else the first.
fn own_uri(sip: &SipOption, callee: &str, (user, accounts): (Option<&str>, &[OwnAddress])) -> String {
    if let Some(user) = sip.username.as_deref().filter(|user| !user.is_empty()) {
        return format!("sip:{user}@{}", sip.realm.as_deref().unwrap_or("127.0.0.1"));
    }
    let place = callee.split_once(':').map_or(callee, |(_, rest)| rest);
    let place = place.rsplit_once('@').map_or(place, |(_, host)| host);
    let at = |host: &str| {
        let rest = place.get(..host.len()).filter(|begin| begin.eq_ignore_ascii_case(host));
        rest.is_some()
            && place
                .get(host.len()..)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([':', ';', '?']))
    };
    // A telephone number is called by the first account.
    let number = callee.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("tel:"));
    let there = || accounts.iter().filter(|own| number || at(&own.host));
    let named = |own: &&OwnAddress| {
        user.is_some_and(|user| {
            own.uri.strip_prefix("sip:").and_then(|uri| uri.split('@').next()) == Some(user)
        })
    };
    let own = there().find(named).or_else(|| there().next());
    own.map_or_else(|| "sip:active-call@127.0.0.1".into(), |own| own.uri.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_from_the_account_at_the_host_of_its_callee() {
        let own = |host: &str, uri: &str| OwnAddress { host: host.into(), uri: uri.into() };
        let accounts = [own("pbx.example", "sip:1001@pbx.example"), own("b.example", "sip:2@b.example")];
        let from = |callee: &str| own_uri(&SipOption::default(), callee, (None, &accounts));
        assert_eq!(from("sip:1@PBX.example:5070;transport=tcp"), "sip:1001@pbx.example");
        assert_eq!(from("sip:1@b.example"), "sip:2@b.example");
        assert_eq!(from("tel:+4930"), "sip:1001@pbx.example");
        assert_eq!(from("sip:1@b.example.org"), "sip:active-call@127.0.0.1");
        let sip = SipOption { username: Some("7".into()), realm: Some("r".into()), ..SipOption::default() };
        assert_eq!(own_uri(&sip, "sip:1@b.example", (None, &accounts)), "sip:7@r");
        let named = |user| own_uri(&SipOption::default(), "tel:100", (Some(user), &accounts));
        assert_eq!((named("2").as_str(), named("3").as_str()), ("sip:2@b.example", "sip:1001@pbx.example"));
    }

    #[test]
    fn a_name_for_display_is_what_stands_before_the_address() {
        for (text, name) in [
            ("\"Bob B\" <sip:bob@h>", Some("Bob B")),
            ("Bob B <sip:bob@h>", Some("Bob B")),
            (r#""B. \"the\" \\ <x>" <100>"#, Some(r#"B. "the" \ <x>"#)),
            ("<sip:bob@h>", None),
            ("\" \" <sip:bob@h>", None),
            ("sip:bob@h", None),
        ] {
            assert_eq!(display_name(text).as_deref(), name, "{text}");
        }
    }

    #[test]
    fn what_can_be_dialled_is_a_uri() {
        assert_eq!(uri("sip:1001@pbx").unwrap(), "sip:1001@pbx");
        assert_eq!(uri(" 1001@pbx:5070 ").unwrap(), "sip:1001@pbx:5070");
        assert_eq!(uri("tel:+4930").unwrap(), "tel:+4930");
        assert_eq!(uri("0987654321").unwrap(), "tel:0987654321");
        assert_eq!(uri("+49 (30) 123-45").unwrap(), "tel:+493012345");
        assert_eq!(uri("\"Bob\" <sip:bob@b.example>").unwrap(), "sip:bob@b.example");
        assert!(uri(&"1".repeat(65)).is_err());
        for text in
            ["", "+", "(-)", "10.0.0.1", "10a1", "sip:a b@c", "sip:a@b\r\nX: y", "<sip:a@b", "<>", "http://x"]
        {
            assert!(uri(text).is_err(), "{text:?}");
        }
    }
}
