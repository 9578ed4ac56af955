//! Where our `Contact` has to be a `sips` URI: what comes back by it must be as well protected as what went out.

use sipx_sip::headers::{Contact, RecordRoute, Route};
use sipx_sip::{Request, Scheme, Uri};

pub(crate) fn is_sips(uri: &Uri) -> bool {
    matches!(uri.scheme(), Scheme::Sips)
}

/// The same of a URI as text.
pub(crate) fn says_sips(uri: &str) -> bool {
    uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:"))
}

/// Whether a request of ours goes to a `sips` URI, or to one first (RFC 3261 section 8.1.1.8).
pub(crate) fn asks_by_sips(request: &Request) -> bool {
    let first = || request.headers.typed::<Route>().and_then(Result::ok).map(|route| route.0.uri);
    is_sips(&request.uri) || first().is_some_and(|uri| is_sips(&uri))
}

/// Whether a request that we answer came by a `sips` URI, or the next hop on the way back is one (RFC 3261 section
/// 12.1.1).
pub(crate) fn came_by_sips(request: &Request) -> bool {
    let recorded = request.headers.typed::<RecordRoute>().and_then(Result::ok).map(|route| route.0.uri);
    let contact = || request.headers.typed::<Contact>().and_then(Result::ok).map(|contact| contact.0.uri);
    is_sips(&request.uri) || recorded.or_else(contact).is_some_and(|uri| is_sips(&uri))
}
