//! Announces inbound calls to a server, which then takes them over the WebSocket.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use protocol::rest::InviteWebhook;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, redirect};

use crate::config::HandlerTable;
use crate::egress;

/// Answers are read no further than this; only their status counts.
const MAX_ANSWER: usize = 64 * 1024;

/// The servers that are told of inbound calls. Clones share the turn they take.
#[derive(Clone, Debug)]
pub struct Webhook {
    client: Client,
    urls: Arc<[String]>,
    method: Method,
    headers: HeaderMap,
    next: Arc<AtomicUsize>,
}

impl Webhook {
    /// The webhook that `table` describes. Each address may take `timeout` to answer. Redirects are not
    /// followed: a call is announced to whom the configuration names and to nobody else.
    ///
    /// # Errors
    /// When the TLS library does not start.
    pub fn new(table: &HandlerTable, agent: &str, timeout: Duration) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .user_agent(agent)
            .timeout(timeout)
            .redirect(redirect::Policy::none())
            .pool_idle_timeout(Duration::from_secs(30))
            .build()?;
        let mut headers = HeaderMap::new();
        for (name, value) in &table.headers {
            // Both were checked with the configuration.
            if let (Ok(name), Ok(mut value)) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
            {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        Ok(Webhook {
            client,
            urls: table.url.iter().chain(&table.urls).cloned().collect(),
            method: Method::from_bytes(table.method.to_ascii_uppercase().as_bytes()).unwrap_or(Method::POST),
            headers,
            next: Arc::default(),
        })
    }

    /// Announces a call, beginning with the address whose turn it is and going on to the others when one
    /// fails.
    ///
    /// # Errors
    /// What the last address failed with: no answer in time, or another status than 2xx.
    pub async fn announce(&self, invite: &InviteWebhook) -> Result<(), String> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let mut failed = String::from("no address is configured");
        for offset in 0..self.urls.len() {
            let Some(url) = self.urls.get(turn.wrapping_add(offset) % self.urls.len()) else { break };
            match self.send(url, invite).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(call = ?invite.dialog_id, address = offset, %error, "the webhook failed");
                    failed = error;
                }
            }
        }
        Err(failed)
    }

    async fn send(&self, url: &str, invite: &InviteWebhook) -> Result<(), String> {
        let request = self.client.request(self.method.clone(), url).headers(self.headers.clone());
        let request =
            if self.method == Method::GET { request.query(&short(invite)) } else { request.json(invite) };
        let response = request.send().await.map_err(|e| egress::failure(&e))?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("the server answers {status}"));
        }
        // The body is read so that the connection can be used again; its content says nothing.
        let _ = egress::bounded(response, MAX_ANSWER).await;
        Ok(())
    }
}

/// What fits into an address, for a webhook that is a GET.
fn short(invite: &InviteWebhook) -> [(&'static str, &str); 6] {
    [
        ("event", &invite.event),
        ("dialogId", &invite.dialog_id),
        ("caller", &invite.caller),
        ("callee", &invite.callee),
        ("createdAt", &invite.created_at),
        ("call_id", &invite.call_id),
    ]
}
