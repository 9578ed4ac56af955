//! What a server answers with, seen by its first byte: kinds of content are often labelled wrongly, but no stream of events
//! begins like JSON or like a page.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use reqwest::header::{CONTENT_TYPE, HeaderMap};

use crate::ProviderError;

/// Kind of content of a stream of events.
pub(super) const EVENTS: &str = "text/event-stream";
/// Longest kind of content that is repeated, in characters.
const LONGEST_KIND: usize = 60;

/// The bytes of an answer as they come.
pub(super) type Bytestream = BoxStream<'static, Result<Bytes, ProviderError>>;

/// What the bytes are.
pub(super) enum Shape {
    /// Events, or nothing.
    Events(Bytestream),
    /// The whole answer of a server that does not stream.
    Json(String),
    /// A page.
    Foreign,
}

/// Waits for the first byte that is no blank, and for all of them where they are JSON. Errors: those of the connection.
pub(super) async fn of(mut bytes: Bytestream) -> Result<Shape, ProviderError> {
    let mut head = Vec::new();
    let first = loop {
        if let Some(first) = head.iter().find(|byte: &&u8| !byte.is_ascii_whitespace()) {
            break Some(*first);
        }
        match bytes.next().await {
            Some(more) => head.extend_from_slice(&more?),
            None => break None,
        }
    };
    match first {
        Some(b'{') => {
            while let Some(more) = bytes.next().await {
                head.extend_from_slice(&more?);
            }
            Ok(Shape::Json(String::from_utf8_lossy(&head).into_owned()))
        }
        Some(b'<') => Ok(Shape::Foreign),
        Some(_) | None => Ok(Shape::Events(stream::iter([Ok(Bytes::from(head))]).chain(bytes).boxed())),
    }
}

/// The kind of content as the server labels it.
pub(super) fn kind(headers: &HeaderMap) -> String {
    let label =
        headers.get(CONTENT_TYPE).and_then(|label| label.to_str().ok()).unwrap_or("no kind of content");
    label.chars().take(LONGEST_KIND).collect::<String>().trim().to_ascii_lowercase()
}

/// The error for an answer that is none of a chat model.
pub(super) fn foreign(kind: &str) -> ProviderError {
    ProviderError::Foreign(format!(
        "chat model: status 200 and {kind} instead of an answer; is baseUrl right?"
    ))
}
