//! JSON bodies of requests, read as commands are: in either spelling, naming the field that is wrong.

use axum::body::{self, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::Response;
use futures::StreamExt;
use protocol::read::{self, MAX_MESSAGE};
use serde::de::DeserializeOwned;

use super::{problem, problem_at};

/// A body that is too large is read so far before it is refused: a client that is still sending when the connection is
/// closed loses the answer (RFC 9112 section 9.6). One that announces more is refused at once.
const MOST_READ: usize = 3 * MAX_MESSAGE;

/// A JSON body, and the keys in it that are unknown; an empty one is an empty object.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T, pub(super) Vec<String>);

/// A body as text.
#[derive(Debug)]
pub(super) struct Text(pub(super) String);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        let text = String::from_utf8(whole(request.into_body()).await?);
        text.map(Text).map_err(|_| problem(StatusCode::BAD_REQUEST, "the body is no UTF-8 text"))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let Text(text) = Text::from_request(request, state).await?;
        let value = if text.trim().is_empty() {
            serde_json::Value::Object(serde_json::Map::new())
        } else {
            read::json(&text).map_err(|e| wrong_field(&e))?
        };
        read::value(value).map(|read| Body(read.value, read.unknown)).map_err(|e| wrong_field(&e))
    }
}

/// The bytes of a body of at most [`MAX_MESSAGE`].
async fn whole(body: body::Body) -> Result<Vec<u8>, Response> {
    let told = || {
        let told = format!("the body is larger than {MAX_MESSAGE} bytes");
        problem(StatusCode::PAYLOAD_TOO_LARGE, told)
    };
    if body.size_hint().lower() > MOST_READ as u64 {
        return Err(told());
    }
    let mut pieces = body.into_data_stream();
    let (mut whole, mut read) = (Vec::new(), 0_usize);
    while let Some(piece) = pieces.next().await {
        let broken = |error| problem(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}"));
        let piece = piece.map_err(broken)?;
        read = read.saturating_add(piece.len());
        if read <= MAX_MESSAGE {
            whole.extend_from_slice(&piece);
        } else {
            whole = Vec::new();
        }
        if read > MOST_READ {
            break;
        }
    }
    if read > MAX_MESSAGE { Err(told()) } else { Ok(whole) }
}

/// 400 with the field that is wrong.
pub(super) fn wrong_field(error: &read::ReadError) -> Response {
    let field = (!error.field.is_empty()).then(|| error.field.clone());
    problem_at(StatusCode::BAD_REQUEST, error.to_string(), field)
}
