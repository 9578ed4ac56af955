//! Every request that this server sends on behalf of clients and playbooks: to where `guard` lets it, bounded in
//! size and time. [`vet`] looks at the addresses inside commands.

pub mod guard;
pub mod vet;

use std::time::Duration;

use async_trait::async_trait;
use call::Failure;
use call::setup::Fetcher;
use protocol::redact;
use reqwest::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use reqwest::{Client, ClientBuilder, Method, Response, Url, redirect};

use crate::config::EgressTable;
use guard::{Guard, Unreachable};

/// Time to reach a server.
const CONNECT: Duration = Duration::from_secs(5);
/// Time for a whole file. Who plays it may be slower than who sends it, so between two pieces the configured time
/// counts.
const DOWNLOAD: Duration = Duration::from_secs(3600);
/// Redirects that are followed.
const REDIRECTS: usize = 3;
/// Largest answer that a playbook gets; it goes into the history of a model.
const MAX_ANSWER: usize = 64 * 1024;
/// Largest body that a playbook sends.
const MAX_BODY: usize = 1024 * 1024;

/// Sends requests. Clones share connections.
#[derive(Clone, Debug)]
pub struct Egress {
    guarded: Client,
    /// The same for requests with keys in their headers.
    keyed: Client,
    trusted: Client,
    guard: Guard,
    most: usize,
    timeout: Duration,
}

impl Egress {
    /// A sender that names itself `agent`.
    ///
    /// # Errors
    /// When the TLS library does not start.
    pub fn new(agent: &str, table: &EgressTable) -> Result<Self, reqwest::Error> {
        Self::guarded_by(agent, table, Guard::new(&table.allow))
    }

    fn guarded_by(agent: &str, table: &EgressTable, guard: Guard) -> Result<Self, reqwest::Error> {
        // A proxy would look names up by itself, behind the guard's back.
        let guarded = |leads| {
            let builder = basics(agent).no_proxy().read_timeout(table.timeout.0).dns_resolver(guard.clone());
            builder.redirect(redirects(guard.clone(), leads)).build()
        };
        Ok(Egress {
            guarded: guarded(Leads::Anywhere)?,
            keyed: guarded(Leads::ToTheSameServer)?,
            trusted: basics(agent).redirect(redirect::Policy::none()).build()?,
            guard,
            most: table.max_bytes,
            timeout: table.timeout.0,
        })
    }

    /// Which addresses may be reached.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// For `url`, which somebody else named: public addresses only, or those that are allowed. Redirects to other servers
    /// are not followed, since headers may hold keys.
    ///
    /// # Errors
    /// When it is no http address, or one that may not be reached.
    pub fn guarded(&self, url: &str) -> Result<Client, String> {
        self.guard.literal(&http_url(url)?)?;
        Ok(self.keyed.clone())
    }

    /// For addresses that stand in the configuration itself: any may be reached, and redirects are not followed,
    /// since what is sent is for whom the configuration names and for nobody else.
    pub fn trusted(&self) -> &Client {
        &self.trusted
    }

    /// Begins to get `url`, which somebody else named, for a file of any size up to the configured one.
    ///
    /// # Errors
    /// No address (400), not allowed (403), not there (404), too large (413), not 2xx or not reached (502, 504).
    pub async fn open(&self, url: &str) -> Result<Download, Failure> {
        let url = http_url(url).map_err(|why| Failure::new(400, why))?;
        self.guard.literal(&url).map_err(|why| Failure::new(403, why))?;
        let sent = self.guarded.get(url).timeout(DOWNLOAD).send().await;
        let response = sent.map_err(|e| Failure::new(code(&e), failure(&e)))?;
        let status = response.status();
        if !status.is_success() {
            let code = if matches!(status.as_u16(), 404 | 410) { 404 } else { 502 };
            return Err(Failure::new(code, format!("the server answers {status}")));
        }
        let download = Download { url: response.url().clone(), response, left: self.most, most: self.most };
        let length = download.response.content_length().unwrap_or(0);
        download.fits(length).map_err(|why| Failure::new(413, why))?;
        Ok(download)
    }
}

/// Where redirects may lead.
#[derive(Clone, Copy)]
enum Leads {
    Anywhere,
    ToTheSameServer,
}

/// Redirects that `guard` lets pass, at most [`REDIRECTS`] of them.
fn redirects(guard: Guard, leads: Leads) -> redirect::Policy {
    redirect::Policy::custom(move |attempt| {
        let (to, came) = (attempt.url(), attempt.previous());
        if came.len() > REDIRECTS {
            return attempt.error("too many redirects");
        }
        if matches!(leads, Leads::ToTheSameServer) && came.iter().any(|from| from.origin() != to.origin()) {
            return attempt.error("it leads to another server, and the keys of the request are not for that");
        }
        match http(to).and_then(|()| guard.literal(to)) {
            Ok(()) => attempt.follow(),
            Err(why) => attempt.error(why),
        }
    })
}

/// Whether a header holds a key that the HTTP library does not leave out by itself when another server is reached.
fn is_key(header: &str) -> bool {
    let known = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];
    redact::names_secret(header) && !known.iter().any(|known| header.eq_ignore_ascii_case(known.as_str()))
}

fn basics(agent: &str) -> ClientBuilder {
    Client::builder()
        .user_agent(agent)
        .connect_timeout(CONNECT)
        .pool_idle_timeout(Duration::from_secs(30))
        // Where we were before a redirect is nothing to whom it leads to: an address may hold a key.
        .referer(false)
}

/// The body of an answer of 2xx, as it comes.
#[derive(Debug)]
pub struct Download {
    /// Where it came from, after redirects.
    pub url: Url,
    response: Response,
    left: usize,
    most: usize,
}

impl Download {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// It is larger than configured (413), breaks off (502) or goes on no more (504).
    pub async fn piece(&mut self) -> Result<Option<bytes::Bytes>, Failure> {
        let piece = self.response.chunk().await.map_err(|e| match e.is_timeout() {
            true => Failure::new(504, "the server has sent a part of the file and then nothing more in time"),
            false => Failure::new(code(&e), failure(&e)),
        })?;
        if let Some(piece) = &piece {
            self.fits(piece.len() as u64).map_err(|why| Failure::new(413, why))?;
            self.left -= piece.len();
        }
        Ok(piece)
    }

    fn fits(&self, bytes: u64) -> Result<(), String> {
        if bytes > self.left as u64 {
            Err(format!("the answer is larger than {} bytes", self.most))
        } else {
            Ok(())
        }
    }
}

#[async_trait]
impl Fetcher for Egress {
    async fn fetch(&self, request: playbook::HttpRequest) -> Result<String, String> {
        let url = http_url(&request.url)?;
        self.guard.literal(&url)?;
        if !playbook::hosts::permits(&request.hosts, url.as_str()) {
            return Err(format!(
                "{} is not among the hosts that may be reached",
                url.host_str().unwrap_or_default()
            ));
        }
        let method = request.method.to_ascii_uppercase();
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| "no method of HTTP".to_owned())?;
        let client =
            if request.headers.keys().any(|name| is_key(name)) { &self.keyed } else { &self.guarded };
        let mut builder = client.request(method, url).timeout(self.timeout.min(request.timeout));
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        if let Some(body) = request.body {
            if body.len() > MAX_BODY {
                return Err(format!("a body of {} bytes is larger than {MAX_BODY}", body.len()));
            }
            let json = serde_json::from_str::<serde_json::Value>(&body).is_ok();
            if json && !request.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type")) {
                builder = builder.header("content-type", "application/json");
            }
            builder = builder.body(body);
        }
        let response = builder.send().await.map_err(|e| failure(&e))?;
        if !playbook::hosts::permits(&request.hosts, response.url().as_str()) {
            return Err("the answer comes from a host that may not be reached".into());
        }
        let status = response.status();
        let body = bounded(response, MAX_ANSWER).await?;
        let body = String::from_utf8_lossy(&body);
        if status.is_success() {
            Ok(body.into_owned())
        } else {
            Err(format!("the server answers {status}: {body}"))
        }
    }
}

fn http_url(text: &str) -> Result<Url, String> {
    let shown = protocol::read::shown(text);
    let url = Url::parse(text).map_err(|e| format!("{shown:?} is no address: {e}"))?;
    http(&url).map_err(|why| format!("{shown:?}: {why}"))?;
    Ok(url)
}

fn http(url: &Url) -> Result<(), Unreachable> {
    if matches!(url.scheme(), "http" | "https") {
        Ok(())
    } else {
        Err(Unreachable::Lost("only http and https addresses are fetched".into()))
    }
}

/// As in HTTP why a request has failed: the guard has stopped it (403), by a name or a redirect that leads where it may not
/// go, or the server did not answer (504) or not as it should (502).
fn code(error: &reqwest::Error) -> u16 {
    let mut causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let refused = causes.any(|cause| matches!(cause.downcast_ref(), Some(Unreachable::Refused(_))));
    match (refused, error.is_timeout()) {
        (true, _) => 403,
        (_, true) => 504,
        _ => 502,
    }
}

/// The body of `response`, at most `most` bytes.
///
/// # Errors
/// A text when it is larger or breaks off.
pub async fn bounded(mut response: Response, most: usize) -> Result<Vec<u8>, String> {
    let too_large = || format!("the answer is larger than {most} bytes");
    if response.content_length().is_some_and(|length| length > most as u64) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| failure(&e))? {
        if body.len() + chunk.len() > most {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What went wrong, without the address: its query may hold a key.
pub fn failure(error: &reqwest::Error) -> String {
    let kind = if error.is_timeout() {
        "did not answer in time"
    } else if error.is_connect() {
        "cannot be reached"
    } else if error.is_redirect() {
        "redirects, and is not followed"
    } else {
        "broke off"
    };
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    cause.map_or_else(|| format!("the server {kind}"), |cause| format!("the server {kind}: {cause}"))
}
