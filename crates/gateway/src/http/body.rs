//! JSON bodies of requests, read as commands are: in either spelling, naming the field that is wrong.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::Response;
use protocol::read;
use serde::de::DeserializeOwned;

use super::problem;

/// A JSON body; an empty one is an empty object. Unknown keys are passed over.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let bad = |error: &dyn std::fmt::Display| problem(StatusCode::BAD_REQUEST, error.to_string());
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| problem(rejection.status(), rejection.body_text()))?;
        let text = std::str::from_utf8(&bytes).map_err(|_| bad(&"the body is no UTF-8 text"))?;
        let value = if text.trim().is_empty() {
            serde_json::Value::Object(serde_json::Map::new())
        } else {
            read::json(text).map_err(|e| bad(&e))?
        };
        read::value(value).map(|read| Body(read.value)).map_err(|e| bad(&e))
    }
}
