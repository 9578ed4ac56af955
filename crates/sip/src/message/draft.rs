//! A message being written. Whatever goes in, no line of it can end early: CR and LF in a value
//! become spaces.

use std::net::SocketAddr;

use sipx_sip::{HeaderName, Headers, Request};

use super::MAX_DATAGRAM;
use crate::config::Config;
use crate::hop::Transport;
use crate::order::SipError;

/// Header lines of a caller of ours.
pub(crate) type Extra = [(String, String)];

/// The message up to now.
#[derive(Debug)]
pub(crate) struct Draft(Vec<u8>);

impl Draft {
    /// Begins a request; `uri` is one that was parsed.
    pub(crate) fn request(method: &str, uri: &[u8]) -> Self {
        let mut draft = Self(Vec::with_capacity(768));
        draft.clean(method.as_bytes());
        draft.0.push(b' ');
        draft.clean(uri);
        draft.0.extend_from_slice(b" SIP/2.0\r\n");
        draft
    }

    /// Begins a response; an empty reason stands for the usual one.
    pub(crate) fn status(code: u16, reason: &str) -> Self {
        let mut draft = Self(Vec::with_capacity(768));
        draft.0.extend_from_slice(b"SIP/2.0 ");
        draft.clean(code.to_string().as_bytes());
        draft.0.push(b' ');
        draft.clean(if reason.is_empty() { reason_phrase(code) } else { reason }.as_bytes());
        draft.0.extend_from_slice(b"\r\n");
        draft
    }

    /// One header line.
    pub(crate) fn line(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.clean(name.as_bytes());
        self.0.extend_from_slice(b": ");
        self.clean(value.as_ref());
        self.0.extend_from_slice(b"\r\n");
    }

    /// Every line of this name, in order.
    pub(crate) fn copy(&mut self, headers: &Headers, name: &HeaderName) {
        for header in headers.get_all(name) {
            self.clean(name.canonical());
            self.0.extend_from_slice(b": ");
            self.clean(&header.value());
            self.0.extend_from_slice(b"\r\n");
        }
    }

    /// The lines of a caller of ours, which passed [`check_extra`].
    pub(crate) fn extra(&mut self, headers: &Extra) {
        for (name, value) in headers {
            self.line(name, value);
        }
    }

    /// Ends the message without a body.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        self.0
    }

    /// Ends the message with a body whose `Content-Type` is written already.
    pub(crate) fn finish_raw(mut self, body: &[u8]) -> Vec<u8> {
        self.line("Content-Length", body.len().to_string());
        self.0.extend_from_slice(b"\r\n");
        self.0.extend_from_slice(body);
        self.0
    }

    /// Ends the message with SDP.
    ///
    /// # Errors
    /// [`SipError::TooLarge`] if it does not fit a datagram.
    pub(crate) fn finish_sdp(self, sdp: &str) -> Result<Vec<u8>, SipError> {
        self.finish_body("application/sdp", sdp.as_bytes())
    }

    /// Ends the message with SDP if there is any.
    ///
    /// # Errors
    /// [`SipError::TooLarge`].
    pub(crate) fn finish_with(self, sdp: Option<&str>) -> Result<Vec<u8>, SipError> {
        match sdp {
            Some(sdp) => self.finish_sdp(sdp),
            None => Ok(self.finish()),
        }
    }

    /// Ends the message with a body of this kind.
    ///
    /// # Errors
    /// [`SipError::TooLarge`] if it does not fit a datagram.
    pub(crate) fn finish_body(mut self, kind: &str, body: &[u8]) -> Result<Vec<u8>, SipError> {
        self.line("Content-Type", kind);
        self.line("Content-Length", body.len().to_string());
        self.0.extend_from_slice(b"\r\n");
        self.0.extend_from_slice(body);
        if self.0.len() > MAX_DATAGRAM { Err(SipError::TooLarge(self.0.len())) } else { Ok(self.0) }
    }

    fn clean(&mut self, bytes: &[u8]) {
        self.0.extend(bytes.iter().map(|&b| if matches!(b, b'\r' | b'\n') { b' ' } else { b }));
    }
}

/// Begins the response to a request with the headers of RFC 3261 section 8.2.6.2. The tag is put
/// into `To` if it has none.
pub(crate) fn response(request: &Request, code: u16, reason: &str, tag: &str) -> Draft {
    let mut draft = Draft::status(code, reason);
    draft.copy(&request.headers, &HeaderName::Via);
    draft.copy(&request.headers, &HeaderName::From);
    if let Some(to) = request.headers.value(&HeaderName::To) {
        draft.line("To", with_tag(&to, tag));
    }
    draft.copy(&request.headers, &HeaderName::CallId);
    draft.copy(&request.headers, &HeaderName::CSeq);
    draft.copy(&request.headers, &HeaderName::Timestamp);
    draft
}

/// A `To` value with a tag: its own, or this one.
pub(super) fn with_tag(to: &[u8], tag: &str) -> Vec<u8> {
    let tagged = match sipx_sip::Address::parse(to, "To") {
        Ok(address) => address.tag().is_some(),
        Err(_) => to.windows(5).any(|w| w.eq_ignore_ascii_case(b";tag=")),
    };
    let mut value = to.to_vec();
    if !tagged {
        value.extend_from_slice(b";tag=");
        value.extend_from_slice(tag.as_bytes());
    }
    value
}

/// What we say of ourselves in every message.
#[derive(Debug)]
pub(crate) struct Identity {
    user: String,
    advertised: [SocketAddr; 5],
    /// Where TLS is listened for, and secure WebSockets.
    secure: [Option<SocketAddr>; 2],
    /// Our `User-Agent` or `Server`.
    pub(crate) agent: String,
    /// The same without version, for those who are no party of a call: a scanner looks for versions.
    pub(crate) product: String,
}

impl Identity {
    pub(crate) fn new(config: &Config) -> Self {
        let user: String = config
            .contact_user
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || "-_.+".contains(*c))
            .collect();
        let agent: String = config.user_agent.chars().filter(|c| !c.is_control()).collect();
        Self {
            user,
            advertised: Transport::ALL.map(|transport| advertised(config, transport)),
            secure: [config.advertised_tls, config.advertised_wss],
            product: agent.split('/').next().unwrap_or_default().to_owned(),
            agent,
        }
    }

    /// The `Via` of a request of ours.
    pub(crate) fn via(&self, transport: Transport, branch: &str) -> String {
        format!("SIP/2.0/{transport} {};branch={branch};rport", self.address(transport))
    }

    /// Our `Contact` for a peer that is reached by this transport, and that may come back by TLS alone where `sips` and
    /// where TLS is listened for: behind a proxy that has the TLS a `sips` URI of ours would lead nowhere.
    pub(crate) fn contact(&self, transport: Transport, sips: bool) -> String {
        format!("<{}>", self.uri(&self.user, transport, sips))
    }

    /// A URI at which this user is reached here.
    pub(crate) fn uri(&self, user: &str, transport: Transport, sips: bool) -> String {
        let [tls, wss] = self.secure.map(|address| address.filter(|_| sips));
        match (transport, tls, wss) {
            (Transport::Ws | Transport::Wss, _, Some(address)) => {
                return format!("sips:{user}@{address};transport=ws");
            }
            (Transport::Udp | Transport::Tcp | Transport::Tls, Some(address), _) => {
                return format!("sips:{user}@{address}");
            }
            _ => {}
        }
        let address = self.address(transport);
        match transport {
            Transport::Udp => format!("sip:{user}@{address}"),
            // A URI has one word for both kinds of WebSocket (RFC 7118 section 5.2.1).
            Transport::Ws | Transport::Wss => format!("sip:{user}@{address};transport=ws"),
            Transport::Tcp => format!("sip:{user}@{address};transport=tcp"),
            Transport::Tls => format!("sip:{user}@{address};transport=tls"),
        }
    }

    fn address(&self, transport: Transport) -> SocketAddr {
        let [udp, tcp, tls, ws, wss] = self.advertised;
        match transport {
            Transport::Udp => udp,
            Transport::Tcp => tcp,
            Transport::Tls => tls,
            Transport::Ws => ws,
            Transport::Wss => wss,
        }
    }
}

fn advertised(config: &Config, transport: Transport) -> SocketAddr {
    let other = match transport {
        Transport::Udp => None,
        Transport::Tcp => config.advertised_tcp,
        Transport::Tls => config.advertised_tls,
        Transport::Ws => config.advertised_ws,
        Transport::Wss => config.advertised_wss,
    };
    other.unwrap_or(config.advertised)
}

/// Header names that the endpoint writes itself, long and compact.
const OWNED: &[&str] = &[
    "via",
    "v",
    "from",
    "f",
    "to",
    "t",
    "call-id",
    "i",
    "cseq",
    "contact",
    "m",
    "max-forwards",
    "route",
    "record-route",
    "content-length",
    "l",
    "content-type",
    "c",
    "content-encoding",
    "e",
    "allow",
    "supported",
    "k",
    "require",
    "proxy-require",
    "user-agent",
    "server",
    "authorization",
    "proxy-authorization",
    "session-expires",
    "x",
    "min-se",
    "rseq",
    "rack",
    "replaces",
    "refer-to",
    "r",
];

/// Most header lines of a caller of ours, and the longest value in bytes.
const MAX_EXTRA: usize = 64;
const MAX_EXTRA_VALUE: usize = 4_096;
/// Most bytes of the lines that [`sendable`] lets through, so that the message fits into a datagram.
const MAX_EXTRA_BYTES: usize = 32_768;

/// Whether these header lines may go into a message of ours.
///
/// # Errors
/// [`SipError::BadHeader`] with the first line that may not.
pub(crate) fn check_extra(headers: &Extra) -> Result<(), SipError> {
    if headers.len() > MAX_EXTRA {
        return Err(SipError::BadHeader { name: String::new(), why: "more than 64 header lines" });
    }
    headers.iter().try_for_each(|(name, value)| match fault(name, value) {
        Some(why) => Err(SipError::BadHeader { name: name.clone(), why }),
        None => Ok(()),
    })
}

/// Parts header lines into those that may go into a message of ours and, for each of the others, why it may not
/// ([`SipError::BadHeader`]).
pub fn sendable(headers: Vec<(String, String)>) -> (Vec<(String, String)>, Vec<SipError>) {
    let (mut good, mut faults, mut room) = (Vec::new(), Vec::new(), MAX_EXTRA_BYTES);
    for (name, value) in headers {
        let bytes = name.len().saturating_add(value.len());
        let full = if good.len() >= MAX_EXTRA {
            Some("there are 64 header lines already")
        } else {
            (bytes > room).then_some("all header lines together are longer than 32768 bytes")
        };
        match fault(&name, &value).or(full) {
            Some(why) => faults.push(SipError::BadHeader { name, why }),
            None => {
                room = room.saturating_sub(bytes);
                good.push((name, value));
            }
        }
    }
    (good, faults)
}

fn fault(name: &str, value: &str) -> Option<&'static str> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b);
    if name.is_empty() || name.len() > 128 || !name.bytes().all(token) {
        Some("a header name is a token such as X-Account")
    } else if OWNED.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        Some("this header is written by the endpoint")
    } else if value.len() > MAX_EXTRA_VALUE {
        Some("the value is longer than 4096 bytes")
    } else if value.chars().any(|c| c.is_control() && c != '\t') {
        Some("the value has a line break or another control character")
    } else {
        None
    }
}

/// The usual reason phrase of a code (RFC 3261 section 21).
pub(crate) fn reason_phrase(code: u16) -> &'static str {
    REASONS.iter().find(|(c, _)| *c == code).map_or_else(|| class_phrase(code), |(_, phrase)| phrase)
}

fn class_phrase(code: u16) -> &'static str {
    match code / 100 {
        1 => "Progress",
        2 => "OK",
        3 => "Redirection",
        4 => "Request Failure",
        5 => "Server Failure",
        _ => "Global Failure",
    }
}

const REASONS: &[(u16, &str)] = &[
    (100, "Trying"),
    (180, "Ringing"),
    (181, "Call Is Being Forwarded"),
    (183, "Session Progress"),
    (200, "OK"),
    (202, "Accepted"),
    (302, "Moved Temporarily"),
    (400, "Bad Request"),
    (401, "Unauthorized"),
    (402, "Payment Required"),
    (403, "Forbidden"),
    (404, "Not Found"),
    (405, "Method Not Allowed"),
    (406, "Not Acceptable"),
    (407, "Proxy Authentication Required"),
    (408, "Request Timeout"),
    (410, "Gone"),
    (413, "Request Entity Too Large"),
    (415, "Unsupported Media Type"),
    (416, "Unsupported URI Scheme"),
    (420, "Bad Extension"),
    (422, "Session Interval Too Small"),
    (469, "Bad Info Package"),
    (480, "Temporarily Unavailable"),
    (481, "Call/Transaction Does Not Exist"),
    (482, "Loop Detected"),
    (483, "Too Many Hops"),
    (484, "Address Incomplete"),
    (486, "Busy Here"),
    (487, "Request Terminated"),
    (488, "Not Acceptable Here"),
    (489, "Bad Event"),
    (491, "Request Pending"),
    (500, "Server Internal Error"),
    (501, "Not Implemented"),
    (503, "Service Unavailable"),
    (504, "Server Time-out"),
    (505, "Version Not Supported"),
    (513, "Message Too Large"),
    (600, "Busy Everywhere"),
    (603, "Decline"),
    (604, "Does Not Exist Anywhere"),
    (606, "Not Acceptable"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_can_begin_a_line() {
        let mut draft = Draft::status(200, "OK\r\nEvil: 1");
        draft.line("X", "a\r\nEvil: 2\nEvil: 3");
        let bytes = draft.finish();
        let text = String::from_utf8(bytes).unwrap();
        assert!(!text.lines().any(|line| line.starts_with("Evil")), "{text}");
    }

    #[test]
    fn a_caller_may_not_write_our_headers_or_control_characters() {
        let refused = [("Via", "x"), ("f", "x"), ("X A", "x"), ("", "x"), ("X", "a\r\nb"), ("X", "a\0")];
        for (name, value) in refused {
            assert!(check_extra(&[(name.into(), value.into())]).is_err(), "{name}: {value:?}");
        }
        assert!(check_extra(&[("X-Grüße".into(), String::new())]).is_err());
        assert_eq!(check_extra(&[("Reason".into(), "Q.850;cause=16".into())]), Ok(()));
    }
}
