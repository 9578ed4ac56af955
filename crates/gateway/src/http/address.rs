//! What the address of a request holds: the parts of its path and the parameters behind it. What cannot be read is
//! told as every other error is.

use axum::extract;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::Response;
use serde::de::DeserializeOwned;

use super::problem;

/// The parts of the path that its route leaves open.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

/// The parameters of the query.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let read = extract::Path::from_request_parts(parts, state).await;
        read.map(|extract::Path(path)| Path(path))
            .map_err(|refused| problem(refused.status(), refused.body_text()))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let read = extract::Query::from_request_parts(parts, state).await;
        read.map(|extract::Query(query)| Query(query))
            .map_err(|refused| problem(refused.status(), refused.body_text()))
    }
}
