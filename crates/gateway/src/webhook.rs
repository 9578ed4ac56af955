//! Announces inbound calls to a server, which then takes them over the WebSocket. With a secret announcements are
//! signed as Standard Webhooks 1.0 describes it, so that the server knows who sends them and when.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use protocol::Secret;
use protocol::rest::InviteWebhook;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Url};
use sha2::Sha256;

use crate::app;
use crate::config::HandlerTable;
use crate::egress::{self, Egress};

/// Answers are read no further than this; only their status counts.
const MAX_ANSWER: usize = 64 * 1024;

/// The servers that are told of inbound calls. Clones share the turn they take.
#[derive(Clone, Debug)]
pub struct Webhook {
    client: Client,
    urls: Arc<[String]>,
    method: Method,
    headers: HeaderMap,
    timeout: Duration,
    secret: Option<Secret>,
    next: Arc<AtomicUsize>,
}

impl Webhook {
    /// The webhook that `table` describes. Each address may take `timeout` to answer.
    pub fn new(table: &HandlerTable, egress: &Egress, timeout: Duration) -> Self {
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
        Webhook {
            client: egress.trusted().clone(),
            urls: table.url.iter().chain(&table.urls).cloned().collect(),
            method: Method::from_bytes(table.method.to_ascii_uppercase().as_bytes()).unwrap_or(Method::POST),
            headers,
            timeout,
            secret: table.secret.clone(),
            next: Arc::default(),
        }
    }

    /// Announces a call, beginning with the address whose turn it is and going on to the others when one
    /// fails.
    ///
    /// # Errors
    /// What the last address failed with: no answer in time, or another status than 2xx.
    pub async fn announce(&self, invite: &InviteWebhook) -> Result<(), String> {
        // One id for all tries, so that a server that is told twice knows it.
        let id = format!("msg_{}", uuid::Uuid::new_v4().simple());
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let mut failed = String::from("no address is configured");
        for offset in 0..self.urls.len() {
            let Some(url) = self.urls.get(turn.wrapping_add(offset) % self.urls.len()) else { break };
            match self.send(url, &id, invite).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(call = ?invite.dialog_id, address = offset, %error, "the webhook failed");
                    failed = error;
                }
            }
        }
        Err(failed)
    }

    async fn send(&self, url: &str, id: &str, invite: &InviteWebhook) -> Result<(), String> {
        let mut url = Url::parse(url).map_err(|e| e.to_string())?;
        let mut request = self.client.request(self.method.clone(), url.clone());
        let signed = if self.method == Method::GET {
            url.query_pairs_mut().extend_pairs(short(invite));
            request = self.client.request(self.method.clone(), url.clone());
            url.query().unwrap_or_default().as_bytes().to_vec()
        } else {
            let body = serde_json::to_vec(invite).map_err(|e| e.to_string())?;
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
            body
        };
        if let Some(secret) = &self.secret {
            let timestamp = (app::now_ms() / 1000).to_string();
            let signature = signature(secret, id, &timestamp, &signed);
            request = request
                .header("webhook-id", id)
                .header("webhook-timestamp", timestamp)
                .header("webhook-signature", signature);
        }
        let request = request.headers(self.headers.clone()).timeout(self.timeout);
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

/// `v1,` and the base64 of HMAC-SHA256 over id, time and what is sent, joined by dots. For a GET that is its query.
pub(crate) fn signature(secret: &Secret, id: &str, timestamp: &str, sent: &[u8]) -> String {
    let text = secret.expose();
    let decoded = text.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
    let key = decoded.as_deref().unwrap_or(text.as_bytes());
    // HMAC takes a key of any length (RFC 2104).
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", sent] {
        mac.update(part);
    }
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// What fits into an address, for a webhook that is a GET.
fn short(invite: &InviteWebhook) -> [(&'static str, &str); 7] {
    [
        ("event", &invite.event),
        ("dialogId", &invite.dialog_id),
        ("caller", &invite.caller),
        ("callee", &invite.callee),
        ("requestUri", invite.request_uri.as_deref().unwrap_or_default()),
        ("createdAt", &invite.created_at),
        ("call_id", &invite.call_id),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_of_the_specification() {
        // The example of the Standard Webhooks libraries.
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signed =
            signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
