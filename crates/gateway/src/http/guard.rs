//! What stands before every handler: tickets in the path, pages of other sites, keys, time and the access log.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION,
    HOST, ORIGIN, VARY, WWW_AUTHENTICATE,
};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::listen::Peer;
use super::{Door, problem, records};
use crate::access::tickets::Grant;
use crate::access::{Asking, FORWARDED, Refusal, Who};
use crate::app;
use crate::config::words::Scope;

/// What a path begins with that holds a ticket: `/t/<ticket>/call`.
pub(super) const TICKETS: &str = "/t/";
/// How long an answer may take to begin.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The ticket that stood in the path, and what it is good for.
#[derive(Clone, Debug)]
struct Shown(Option<Grant>);

/// Takes a ticket out of the path before the routes look at it.
pub(super) async fn ticket(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let rest = request.uri().path_and_query().and_then(|all| all.as_str().strip_prefix(TICKETS));
    if let Some((ticket, path)) = rest.and_then(|rest| rest.split_once('/'))
        && let Ok(inner) = format!("/{path}").parse::<PathAndQuery>()
    {
        let uri = Uri::from(inner);
        let grant = door.app.access.tickets.redeem(ticket, app::now_ms(), |grant| opens(grant, &uri));
        request.extensions_mut().insert(Shown(grant));
        *request.uri_mut() = uri;
    }
    next.run(request).await
}

/// Whether the ticket is for this address.
fn opens(grant: &Grant, uri: &Uri) -> bool {
    let id = || {
        let url = reqwest::Url::parse(&format!("http://h{uri}")).ok()?;
        url.query_pairs().find(|(name, _)| name == "id").map(|(_, id)| id.into_owned())
    };
    grant.path.as_ref().is_none_or(|path| path == uri.path())
        && grant.id.as_ref().is_none_or(|wanted| id().as_ref() == Some(wanted))
}

/// Refuses pages of other sites, answers their preflights when they are listed, and bounds the time to an answer.
pub(super) async fn origin(State(door): State<Door>, request: Request, next: Next) -> Response {
    let access = &door.app.access;
    let origin = request.headers().get(ORIGIN).cloned();
    if let Err(refusal) = access.origin(asking(&request)) {
        return refuse(&refusal);
    }
    let listed = origin.filter(|origin| origin.to_str().is_ok_and(|origin| access.lists(origin)));
    let preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if preflight && listed.is_some() {
        StatusCode::NO_CONTENT.into_response()
    } else {
        match timeout(TIMEOUT, next.run(request)).await {
            Ok(response) => response,
            Err(_) => problem(StatusCode::REQUEST_TIMEOUT, "the request took too long"),
        }
    };
    if let Some(origin) = listed {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.append(VARY, HeaderValue::from_static("Origin"));
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(records::TOTAL));
        if preflight {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, DELETE"));
            headers.insert(
                ACCESS_CONTROL_ALLOW_HEADERS,
                HeaderValue::from_static("authorization, x-api-key, content-type"),
            );
            headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        }
    }
    response
}

/// Lets those through who may do what the route does. `needs` is absent where everyone may.
pub(super) async fn scope(
    State((door, needs)): State<(Door, Option<Scope>)>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Err(refusal) = door.app.access.fetched(asking(&request), needs) {
        return refuse(&refusal);
    }
    let who = door.app.access.who(asking(&request), app::now_ms());
    if let Some(needs) = needs
        && let Err(refusal) = who.as_ref().map_err(Clone::clone).and_then(|who| who.may(needs))
    {
        return refuse(&refusal);
    }
    let who = who.unwrap_or_else(|_| Who { name: "unknown".into(), scope: Scope::Read });
    request.extensions_mut().insert(who.clone());
    let mut response = next.run(request).await;
    response.extensions_mut().insert(who);
    response
}

fn asking(request: &Request) -> Asking<'_> {
    let headers = request.headers();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let peer = request.extensions().get::<Peer>();
    Asking {
        peer: peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip()),
        forwarded: FORWARDED.iter().any(|name| headers.contains_key(*name)),
        host: text(HOST.as_str()),
        // An origin that is no text is nobody's.
        origin: headers.get(ORIGIN).map(|value| value.to_str().unwrap_or("?")),
        fetch_site: text("sec-fetch-site"),
        key: key(headers),
        ticket: request.extensions().get::<Shown>().map(|shown| shown.0.as_ref()),
    }
}

/// The key that a request shows. Something else in its place is a wrong key and not none.
fn key(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get("x-api-key") {
        return Some(value.to_str().unwrap_or_default());
    }
    let value = headers.get(AUTHORIZATION)?.to_str().unwrap_or_default();
    let bearer = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    Some(bearer.map_or("", |(_, key)| key.trim()))
}

fn refuse(refusal: &Refusal) -> Response {
    let status = match refusal {
        Refusal::NoKey | Refusal::BadKey => StatusCode::UNAUTHORIZED,
        Refusal::Origin(_) | Refusal::Link | Refusal::TooLittle { .. } => StatusCode::FORBIDDEN,
    };
    let mut response = problem(status, refusal.to_string());
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// One line for each request. The query is left out, and a ticket, since they may hold a key.
pub(super) async fn access_log(State(door): State<Door>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    let response = next.run(request).await;
    if !door.app.config.http_access_skip_paths.iter().any(|pattern| skips(pattern, &path)) {
        let status = response.status().as_u16();
        let who = response.extensions().get::<Who>().map(|who| who.name.as_str());
        let peer = peer.map(tracing::field::display);
        tracing::info!(%method, ?path, status, peer, who, "request");
    }
    response
}

fn skips(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => pattern == path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_at_the_end_stands_for_any_rest() {
        assert!(skips("/metrics*", "/metrics/x") && skips("/metrics*", "/metrics"));
        assert!(skips("/health", "/health") && !skips("/health", "/healthy"));
    }

    #[test]
    fn a_key_stands_in_either_header() {
        let headers = |name: &'static str, value: &str| {
            HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_str(value).unwrap())])
        };
        assert_eq!(key(&headers("x-api-key", "k")), Some("k"));
        assert_eq!(key(&headers("authorization", "bearer k")), Some("k"));
        assert_eq!(key(&headers("authorization", "Basic eDp5")), Some(""));
        assert_eq!(key(&HeaderMap::new()), None);
    }

    #[test]
    fn a_ticket_may_be_for_one_address_and_one_call() {
        let grant = Grant {
            name: String::new(),
            scope: Scope::Read,
            path: Some("/call/sip".into()),
            id: Some("a b".into()),
        };
        let at = |uri: &'static str| opens(&grant, &Uri::from_static(uri));
        assert!(at("/call/sip?x=1&id=a+b"));
        for other in ["/call?id=a+b", "/call/sip", "/call/sip?id=a", "/call/sip?id=x&id=a+b"] {
            assert!(!at(other), "{other}");
        }
    }
}
