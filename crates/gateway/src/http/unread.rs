//! The answer to what is no request: the HTTP machine refuses it by itself, with a status and nothing else, before any
//! route has a say. Here that answer is given a body that says why, as all others have (RFC 9457).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::{Buf, Bytes};
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::problem_of;

/// Whether a request of a connection is being answered by a route.
#[derive(Clone, Debug, Default)]
pub(super) struct Answering(Arc<AtomicBool>);

impl Answering {
    /// A route has the request.
    pub(super) fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Its answer, with whose last byte the connection is free for the next request. One that makes something else of the
    /// connection is the last.
    pub(super) fn until_sent(&self, response: Response) -> Response {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return response;
        }
        let own = self.clone();
        response.map(|body| Body::new(Sent { body, answering: own }))
    }
}

/// The body of an answer.
struct Sent {
    body: Body,
    answering: Answering,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.answering.0.store(false, Ordering::Relaxed);
    }
}

/// The stream of a connection.
pub(super) struct Telling<S> {
    stream: S,
    answering: Answering,
    /// What is said in place of the last answer, as far as it has not gone out.
    told: Bytes,
}

impl<S> Telling<S> {
    pub(super) fn new(stream: S, answering: Answering) -> Self {
        Telling { stream, answering, told: Bytes::new() }
    }
}

impl<S: AsyncWrite + Unpin> Telling<S> {
    fn poll_told(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.told.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.told))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.told.advance(sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Telling<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Telling<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_told(cx))?;
        if !self.answering.0.load(Ordering::Relaxed)
            && let Some(told) = with_body(bytes)
        {
            self.told = told;
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_told(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_told(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The answer `bytes` with a body, where it refuses a request and has none.
fn with_body(bytes: &[u8]) -> Option<Bytes> {
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let (first, headers) = head.split_once("\r\n")?;
    let status: StatusCode = first.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let mut headers: Vec<&str> = headers.split("\r\n").collect();
    let before = headers.len();
    headers.retain(|line| !line.eq_ignore_ascii_case("content-length: 0"));
    if headers.len() == before || !status.is_client_error() {
        return None;
    }
    let why = match status {
        StatusCode::URI_TOO_LONG => "the address of the request is too long",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            "the head of the request is too large, or has too many lines"
        }
        _ => "what came is no request of HTTP/1.1",
    };
    let body = serde_json::to_string(&problem_of(status, why.into(), None)).ok()?;
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let (kind, length) = ("application/problem+json", body.len());
    let all = format!("{first}\r\n{headers}content-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}");
    Some(all.into())
}
