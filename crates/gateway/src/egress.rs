//! Every request that this server sends on behalf of clients and playbooks: bounded in size and time.

use std::time::Duration;

use async_trait::async_trait;
use call::setup::Fetcher;
use reqwest::{Client, Method, Response, Url, redirect};

/// Time for a whole request of a playbook or a sound file.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Time to reach a server.
const CONNECT: Duration = Duration::from_secs(5);
/// Redirects that are followed.
const REDIRECTS: usize = 3;
/// Largest answer that a playbook gets; it goes into the history of a model.
const MAX_ANSWER: usize = 64 * 1024;
/// Largest body that a playbook sends.
const MAX_BODY: usize = 1024 * 1024;

/// Sends requests. Clones share connections.
#[derive(Clone, Debug)]
pub struct Egress {
    client: Client,
}

/// An answer of 2xx.
#[derive(Debug)]
pub struct Answer {
    /// Where it came from, after redirects.
    pub url: Url,
    /// Its body.
    pub body: Vec<u8>,
}

impl Egress {
    /// A sender that names itself `agent`.
    ///
    /// # Errors
    /// When the TLS library does not start.
    pub fn new(agent: &str) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .user_agent(agent)
            .connect_timeout(CONNECT)
            .timeout(TIMEOUT)
            .redirect(redirect::Policy::limited(REDIRECTS))
            .build()?;
        Ok(Egress { client })
    }

    /// Gets `url`, at most `most` bytes of it.
    ///
    /// # Errors
    /// A text: no address, not reached, not 2xx, larger than `most`.
    pub async fn get(&self, url: &str, most: usize) -> Result<Answer, String> {
        let url = http_url(url)?;
        let response = self.client.get(url).send().await.map_err(|e| failure(&e))?;
        if !response.status().is_success() {
            return Err(format!("the server answers {}", response.status()));
        }
        let url = response.url().clone();
        let body = bounded(response, most).await?;
        Ok(Answer { url, body })
    }
}

#[async_trait]
impl Fetcher for Egress {
    async fn fetch(&self, request: playbook::HttpRequest) -> Result<String, String> {
        let url = http_url(&request.url)?;
        let method = request.method.to_ascii_uppercase();
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| "no method of HTTP".to_owned())?;
        let mut builder = self.client.request(method, url);
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
    if matches!(url.scheme(), "http" | "https") {
        Ok(url)
    } else {
        Err(format!("{shown:?}: only http and https addresses are fetched"))
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
        "redirects too often"
    } else {
        "broke off"
    };
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    cause.map_or_else(|| format!("the server {kind}"), |cause| format!("the server {kind}: {cause}"))
}
