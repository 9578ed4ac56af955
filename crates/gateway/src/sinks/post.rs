//! Records to an HTTP server, each as one form with its files.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::Stream;
use futures::stream;
use protocol::value::Headers;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Client, StatusCode};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, Take};
use tokio::sync::watch;
use tokio::time::timeout;

use super::delivery::Sink;
use super::parcel::{Attached, Parcel};
use super::refused::NotTaken;
use crate::egress;

/// How long a server may stand still.
const PATIENCE: Patience = Patience { taking: Duration::from_secs(30), answering: Duration::from_secs(60) };
/// The end of a form with files is held back for so long. Whoever answers before has not read it, also where all of
/// the form fits into what lies between us.
const HELD_BACK: Duration = Duration::from_millis(200);
/// Bytes of a file that are sent at a time.
const PIECE: usize = 64 * 1024;
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
    /// Any 2xx confirms that comes when the whole form was taken. `Idempotency-Key` is the same each time a record is
    /// sent.
    async fn deliver(&self, parcel: &Parcel) -> Result<(), NotTaken> {
        let (form, sent) = form(parcel).await?;
        let mut request = self.client.post(&self.url).header("idempotency-key", &parcel.name);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let (response, whole) = tokio::select! {
            response = request.multipart(form).send() => (response, sent.borrow().whole),
            told = stalled(sent.clone(), PATIENCE) => return Err(NotTaken::Away(told)),
        };
        let response = response.map_err(|e| NotTaken::Away(egress::failure(&e)))?;
        let status = response.status();
        // The body is read so that the connection can be used again.
        let _ = timeout(PATIENCE.answering, egress::bounded(response, MAX_ANSWER)).await;
        confirmed(status, whole)
    }
}

/// What an answer says of a record whose form was taken whole by then, or not.
fn confirmed(status: StatusCode, whole: bool) -> Result<(), NotTaken> {
    match (status.is_success(), whole) {
        (true, true) => Ok(()),
        (true, false) => {
            let told =
                format!("the server answers {status} before it has everything, which confirms nothing");
            Err(NotTaken::Away(told))
        }
        (false, _) => Err(NotTaken::of_status(status, format!("the server answers {status}"))),
    }
}

/// How far the files of a form have come.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    /// Pieces that were taken.
    pieces: u64,
    /// All of it was taken.
    whole: bool,
}

/// How long a server may stand still.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// While it is sent files and takes nothing of them.
    taking: Duration,
    /// When it has everything and has not answered.
    answering: Duration,
}

/// Ends, with what to tell, when nothing more is taken for too long.
async fn stalled(mut sent: watch::Receiver<Sent>, patience: Patience) -> String {
    loop {
        let whole = sent.borrow_and_update().whole;
        let (what, patience) = match whole {
            true => ("did not answer", patience.answering),
            false => ("has taken nothing", patience.taking),
        };
        if timeout(patience, changed(&mut sent)).await.is_err() {
            return format!("the server {what} for {} s", patience.as_secs());
        }
    }
}

/// Ends when more was taken; never when no more can be.
async fn changed(sent: &mut watch::Receiver<Sent>) {
    if sent.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The record and its files, and how far they have come.
async fn form(parcel: &Parcel) -> Result<(Form, watch::Receiver<Sent>), NotTaken> {
    let text = String::from_utf8(parcel.text.clone()).map_err(|e| NotTaken::Never(e.to_string()))?;
    let mut form = Form::new().text("calllog.json", text);
    // A record without files is one piece, of which nothing can be held back.
    let (count, sent) = watch::channel(Sent { pieces: 0, whole: parcel.files.is_empty() });
    for (at, file) in parcel.files.iter().enumerate() {
        let name = match &file.track {
            Some(track) => format!("media_{track}"),
            None => format!("dump_events_{}", file.name),
        };
        let last = at + 1 == parcel.files.len();
        form = form.part(name, part(file, last, count.clone()).await.map_err(NotTaken::Refused)?);
    }
    Ok((form, sent))
}

async fn part(file: &Attached, last: bool, count: watch::Sender<Sent>) -> Result<Part, String> {
    let unreadable = |e: io::Error| format!("{}: {e}", file.path.display());
    let open = File::open(&file.path).await.map_err(unreadable)?;
    let length = open.metadata().await.map_err(unreadable)?.len();
    let pieces = Pieces { file: open.take(length), last, count };
    Part::stream_with_length(Body::wrap_stream(pieces.stream()), length)
        .file_name(file.name.clone())
        .mime_str("application/octet-stream")
        .map_err(|e| e.to_string())
}

/// A file as it is sent.
struct Pieces {
    file: Take<File>,
    /// No other comes after it.
    last: bool,
    count: watch::Sender<Sent>,
}

impl Pieces {
    fn stream(self) -> impl Stream<Item = io::Result<Bytes>> {
        stream::unfold(self, |mut pieces| async move {
            let piece = pieces.next().await?;
            Some((piece, pieces))
        })
    }

    #[allow(clippy::disallowed_methods, reason = "a sink is a driver: it waits in real time")]
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let mut piece = BytesMut::with_capacity(PIECE);
        match self.file.read_buf(&mut piece).await {
            Ok(0) => {
                if self.last {
                    tokio::time::sleep(HELD_BACK).await;
                    self.count.send_modify(|sent| sent.whole = true);
                }
                None
            }
            Ok(_) => {
                self.count.send_modify(|sent| sent.pieces = sent.pieces.saturating_add(1));
                Some(Ok(piece.freeze()))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_stands_still_is_given_up() {
        const NEVER: Duration = Duration::from_secs(1_000_000);
        let (count, sent) = watch::channel(Sent::default());
        let no_file = Patience { taking: Duration::ZERO, answering: NEVER };
        assert!(stalled(sent.clone(), no_file).await.contains("has taken nothing"));
        let no_answer = Patience { taking: NEVER, answering: Duration::ZERO };
        let mut given_up = std::pin::pin!(stalled(sent, no_answer));
        assert!(futures::poll!(given_up.as_mut()).is_pending(), "it takes piece after piece");
        count.send_replace(Sent { pieces: 3, whole: false });
        assert!(futures::poll!(given_up.as_mut()).is_pending());
        count.send_replace(Sent { pieces: 3, whole: true });
        assert!(given_up.await.contains("did not answer"));
    }

    #[test]
    fn only_a_success_that_comes_after_everything_confirms() {
        assert_eq!(confirmed(StatusCode::CREATED, true), Ok(()));
        assert!(matches!(confirmed(StatusCode::OK, false), Err(NotTaken::Away(_))));
        assert!(matches!(confirmed(StatusCode::PAYLOAD_TOO_LARGE, false), Err(NotTaken::Refused(_))));
    }
}
