//! `GET /api/v1/calls/{id}/events`: the events of a call for whoever wants to hear them, without a say in it. Who comes
//! late or comes back hears first what the call still knows of its past.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use call::handle::ToCall;
use call::observers;
use futures::Stream;
use futures::stream;
use observers::Told;
use protocol::redact;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Door;
use super::address::Path;
use super::calls::no_call;

/// Events waiting for an observer. When full it is told and dropped: a call waits for nobody who only listens.
const WAITING: usize = 1024;
/// Time between two signs of life while nothing happens.
const ALIVE: Duration = Duration::from_secs(15);

/// Number of the last event that a client has which comes back (HTML, server-sent events).
const LAST_EVENT_ID: &str = "last-event-id";

/// Server-sent events: `id` is the event's number in its call, `event` its name, `data` the event as on the WebSocket.
pub(super) async fn stream(State(door): State<Door>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let Some(call) = door.app.calls.find(&id) else { return no_call() };
    let (sender, events) = mpsc::channel(WAITING);
    let after = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()?.parse().ok()).unwrap_or(0);
    if call.send(ToCall::Observe(observers::Observer { events: sender, after })).await.is_err() {
        return no_call();
    }
    let observer =
        Observer { events, closing: door.app.closing.clone(), last: after, held: None, told: false };
    Sse::new(observer.messages()).keep_alive(KeepAlive::new().interval(ALIVE)).into_response()
}

/// One who listens.
struct Observer {
    events: mpsc::Receiver<Told>,
    closing: CancellationToken,
    /// Number of the last event that it has.
    last: u64,
    /// An event that goes behind the word that others are missing before it.
    held: Option<Told>,
    /// Nothing more comes.
    told: bool,
}

impl Observer {
    fn messages(self) -> impl Stream<Item = Result<Message, Infallible>> {
        stream::unfold(self, |mut observer| async move {
            let message = observer.next().await?;
            Some((Ok(message), observer))
        })
    }

    /// The next message; `None` when the call is over or the server stops.
    async fn next(&mut self) -> Option<Message> {
        if self.told {
            return None;
        }
        // A queue that is full has lost what came after it.
        if self.events.len() >= WAITING {
            self.told = true;
            return Some(
                Message::default().event("dropped").data("{\"reason\":\"too slow: events were lost\"}"),
            );
        }
        let told = match self.held.take() {
            Some(held) => held,
            None => tokio::select! {
                told = self.events.recv() => told?,
                () = self.closing.cancelled() => return None,
            },
        };
        let missing = told.number.saturating_sub(self.last.saturating_add(1));
        // The number is one of another call when it is still to come.
        if missing > 0 && self.last < told.number {
            self.last = told.number.saturating_sub(1);
            self.held = Some(told);
            return Some(Message::default().event("missed").data(format!("{{\"events\":{missing}}}")));
        }
        self.last = told.number;
        let value = redact::message(&told.event);
        let name = value.get("event").and_then(|name| name.as_str()).unwrap_or_default();
        Some(Message::default().event(name).id(told.number.to_string()).data(value.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ping(number: u64) -> Told {
        Told { number, event: protocol::Event::Ping { timestamp: 1, payload: None } }
    }

    fn observer() -> (mpsc::Sender<Told>, Observer) {
        let (sender, events) = mpsc::channel(WAITING);
        (sender, Observer { events, closing: CancellationToken::new(), last: 0, held: None, told: false })
    }

    #[tokio::test]
    async fn what_is_not_known_any_more_is_told() {
        let (sender, mut observer) = observer();
        sender.try_send(ping(1)).unwrap();
        sender.try_send(ping(5)).unwrap();
        sender.try_send(ping(6)).unwrap();
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(format!("{:?}", observer.next().await.unwrap()));
        }
        for (seen, part) in seen.iter().zip(["id: 1", "{\\\"events\\\":3}", "id: 5", "id: 6"]) {
            assert!(seen.contains(part), "{part} in {seen}");
        }
    }

    #[tokio::test]
    async fn who_does_not_keep_up_is_told_and_dropped() {
        let (sender, mut observer) = observer();
        while sender.try_send(ping(1)).is_ok() {}
        assert!(format!("{:?}", observer.next().await.unwrap()).contains("dropped"));
        assert!(observer.next().await.is_none());
    }

    #[tokio::test]
    async fn the_stream_ends_with_the_call_and_with_the_server() {
        let (sender, mut first) = observer();
        sender.try_send(ping(1)).unwrap();
        drop(sender);
        assert!(first.next().await.is_some());
        assert!(first.next().await.is_none());
        let (_sender, mut second) = observer();
        second.closing.cancel();
        assert!(second.next().await.is_none());
    }
}
