//! Records to an HTTP server, each as one form with its files.

use std::time::Duration;

use async_trait::async_trait;
use protocol::value::Headers;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Client};

use super::delivery::{Attached, Parcel, Sink};
use super::refused::NotTaken;
use crate::egress;

/// How long a server may take, the files included.
const TIMEOUT: Duration = Duration::from_secs(600);
/// Answers are read no further than this; only their status counts.
const MAX_ANSWER: usize = 64 * 1024;

/// Posts records to an address.
#[derive(Clone, Debug)]
pub struct Post {
    /// Sends to where the configuration says.
    pub client: Client,
    /// The address.
    pub url: String,
    /// Further headers.
    pub headers: Headers,
}

#[async_trait]
impl Sink for Post {
    /// Any 2xx confirms. `Idempotency-Key` is the same each time a record is sent.
    async fn deliver(&self, parcel: &Parcel) -> Result<(), NotTaken> {
        let text = String::from_utf8(parcel.text.clone()).map_err(|e| NotTaken::Never(e.to_string()))?;
        let mut form = Form::new().text("calllog.json", text);
        for file in &parcel.files {
            let name = match &file.track {
                Some(track) => format!("media_{track}"),
                None => format!("dump_events_{}", file.name),
            };
            form = form.part(name, part(file).await.map_err(NotTaken::Refused)?);
        }
        let mut request = self.client.post(&self.url).timeout(TIMEOUT);
        request = request.header("idempotency-key", &parcel.name);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let response = request.multipart(form).send().await;
        let response = response.map_err(|e| NotTaken::Away(egress::failure(&e)))?;
        let status = response.status();
        // The body is read so that the connection can be used again.
        let _ = egress::bounded(response, MAX_ANSWER).await;
        if status.is_success() {
            return Ok(());
        }
        Err(NotTaken::of_status(status, format!("the server answers {status}")))
    }
}

async fn part(file: &Attached) -> Result<Part, String> {
    let unreadable = |e: std::io::Error| format!("{}: {e}", file.path.display());
    let open = tokio::fs::File::open(&file.path).await.map_err(unreadable)?;
    let length = open.metadata().await.map_err(unreadable)?.len();
    Part::stream_with_length(Body::from(open), length)
        .file_name(file.name.clone())
        .mime_str("application/octet-stream")
        .map_err(|e| e.to_string())
}
