//! JSON bodies of requests, read as commands are: in either spelling, naming the field that is wrong.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::Response;
use protocol::read;
use serde::de::DeserializeOwned;

use super::{problem, problem_at};

/// A JSON body; an empty one is an empty object. Unknown keys are passed over.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

/// A body as text.
#[derive(Debug)]
pub(super) struct Text(pub(super) String);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| problem(rejection.status(), rejection.body_text()))?;
        let text = String::from_utf8(bytes.into());
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
        read::value(value).map(|read| Body(read.value)).map_err(|e| wrong_field(&e))
    }
}

/// 400 with the field that is wrong.
pub(super) fn wrong_field(error: &read::ReadError) -> Response {
    let field = (!error.field.is_empty()).then(|| error.field.clone());
    problem_at(StatusCode::BAD_REQUEST, error.to_string(), field)
}
