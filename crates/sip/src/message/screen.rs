//! What is refused by looking at the request alone, in the order of RFC 3261 section 8.2.

use sipx_sip::headers::address::ContactValue;
use sipx_sip::headers::misc::Expires;
use sipx_sip::{HeaderName, Headers, Method, Request, Scheme, validate_request};

use super::fault;
use super::read::{content_type, sdp, text};

/// The methods that are understood; value of `Allow`.
pub(crate) const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY";

/// The option tags of RFC 3261 section 19.2 that are understood; value of `Supported`.
pub(crate) const SUPPORTED: &[&str] = &["100rel", "replaces", "timer"];

/// A response that refuses, with the header lines that its code asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    /// Reason phrase; the usual one of the code if empty.
    pub(crate) reason: String,
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl Refusal {
    pub(crate) fn plain(code: u16) -> Self {
        Self { code, reason: String::new(), headers: Vec::new() }
    }

    pub(crate) fn with(code: u16, name: &'static str, value: impl Into<String>) -> Self {
        Self { headers: vec![(name, value.into())], ..Self::plain(code) }
    }

    /// 400 with what is wrong.
    pub(crate) fn bad(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..Self::plain(400) }
    }
}

/// Whether a request other than ACK may be looked at further.
///
/// # Errors
/// The response that it gets instead.
pub(crate) fn screen(request: &Request) -> Result<(), Refusal> {
    check_form(request)?;
    if request.method == Method::Cancel {
        return Ok(());
    }
    check_method(&request.method)?;
    if !matches!(request.uri.scheme(), Scheme::Sip | Scheme::Sips | Scheme::Tel) {
        return Err(Refusal::plain(416));
    }
    check_extensions(&request.headers)?;
    if matches!(request.method, Method::Invite | Method::Update) {
        check_media(request)?;
    }
    Ok(())
}

fn check_form(request: &Request) -> Result<(), Refusal> {
    let findings = validate_request(request);
    // Of several that are as bad the first is told.
    if let Some(worst) = findings.iter().rev().filter(|f| !f.is_repairable()).max_by_key(|f| f.status()) {
        return Err(Refusal { reason: fault::phrase(worst), ..Refusal::plain(worst.status()) });
    }
    let headers = &request.headers;
    let expires_broken = matches!(headers.typed::<Expires>(), Some(Err(_)));
    let contact_broken = headers.typed_all::<ContactValue>().any(|contact| match contact {
        Ok(ContactValue::Address(address)) => address.param("expires").is_some_and(|v| !is_u32(v)),
        Ok(ContactValue::Wildcard) => request.method != Method::Register,
        Err(_) => true,
    });
    let broken = [(expires_broken, "Expires"), (contact_broken, "Contact")];
    let first = broken.into_iter().find_map(|(broken, name)| broken.then_some(name));
    first.map_or(Ok(()), |name| Err(Refusal::bad(fault::malformed(name))))
}

fn is_u32(digits: &[u8]) -> bool {
    std::str::from_utf8(digits).is_ok_and(|d| d.parse::<u32>().is_ok())
}

fn check_method(method: &Method) -> Result<(), Refusal> {
    match method {
        Method::Invite | Method::Ack | Method::Bye | Method::Cancel => Ok(()),
        Method::Options | Method::Info | Method::Update | Method::Prack | Method::Refer | Method::Notify => {
            Ok(())
        }
        Method::Other(_) => Err(Refusal::with(501, "Allow", ALLOW)),
        _ => Err(Refusal::with(405, "Allow", ALLOW)),
    }
}

fn check_extensions(headers: &Headers) -> Result<(), Refusal> {
    // What `Proxy-Require` asks for is the business of proxies (RFC 3261 section 20.29).
    let wanted = headers.get_all(&HeaderName::Require).map(|header| text(&header.value()));
    let unknown: Vec<String> = wanted
        .flat_map(|row| row.split(',').map(|tag| tag.trim().to_owned()).collect::<Vec<_>>())
        .filter(|tag| !tag.is_empty() && !SUPPORTED.iter().any(|s| s.eq_ignore_ascii_case(tag)))
        .collect();
    if unknown.is_empty() { Ok(()) } else { Err(Refusal::with(420, "Unsupported", unknown.join(", "))) }
}

fn check_media(request: &Request) -> Result<(), Refusal> {
    let headers = &request.headers;
    let accepts = |row: &str| {
        row.split(',').any(|range| {
            let range = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            matches!(range.as_str(), "application/sdp" | "application/*" | "*/*")
        })
    };
    let mut accept = headers.get_all(&HeaderName::Accept).peekable();
    if accept.peek().is_some() && !accept.any(|h| accepts(&text(&h.value()))) {
        return Err(Refusal::plain(406));
    }
    if request.body().is_empty() || is_optional(headers) {
        return Ok(());
    }
    if sdp(headers, request.body()).is_none() {
        return Err(Refusal::with(415, "Accept", "application/sdp, multipart/mixed"));
    }
    match headers.value(&HeaderName::ContentEncoding) {
        Some(coding) if !coding.eq_ignore_ascii_case(b"identity") => {
            Err(Refusal::with(415, "Accept-Encoding", "identity"))
        }
        _ => Ok(()),
    }
}

/// Whether the sender says that the body may be ignored (RFC 3261 section 20.11).
fn is_optional(headers: &Headers) -> bool {
    let disposition = headers.value(&HeaderName::ContentDisposition).map(|v| text(&v)).unwrap_or_default();
    disposition.split(';').any(|part| part.replace(' ', "").eq_ignore_ascii_case("handling=optional"))
        && content_type(headers) != "application/sdp"
}
