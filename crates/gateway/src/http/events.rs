//! `GET /api/v1/calls/{id}/events`: the events of a call for whoever wants to hear them, without a say in it.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use call::handle::ToCall;
use futures::Stream;
use futures::stream;
use protocol::{Event, redact};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Door;
use super::address::Path;
use super::calls::no_call;

/// Events waiting for an observer. When full it is told and dropped: a call waits for nobody who only listens.
const WAITING: usize = 1024;
/// Time between two signs of life while nothing happens.
const ALIVE: Duration = Duration::from_secs(15);

/// Server-sent events: `event` is the event's name, `data` the event as on the WebSocket.
pub(super) async fn stream(State(door): State<Door>, Path(id): Path<String>) -> Response {
    let Some(call) = door.app.calls.find(&id) else { return no_call() };
    let (sender, events) = mpsc::channel(WAITING);
    if call.send(ToCall::Observe(sender)).await.is_err() {
        return no_call();
    }
    let observer = Observer { events, closing: door.app.closing.clone(), number: 0, told: false };
    Sse::new(observer.messages()).keep_alive(KeepAlive::new().interval(ALIVE)).into_response()
}

/// One who listens.
struct Observer {
    events: mpsc::Receiver<Event>,
    closing: CancellationToken,
    number: u64,
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
        let event = tokio::select! {
            event = self.events.recv() => event?,
            () = self.closing.cancelled() => return None,
        };
        self.number += 1;
        let value = redact::message(&event);
        let name = value.get("event").and_then(|name| name.as_str()).unwrap_or_default();
        Some(Message::default().event(name).id(self.number.to_string()).data(value.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ping(timestamp: u64) -> Event {
        Event::Ping { timestamp, payload: None }
    }

    fn observer() -> (mpsc::Sender<Event>, Observer) {
        let (sender, events) = mpsc::channel(WAITING);
        (sender, Observer { events, closing: CancellationToken::new(), number: 0, told: false })
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
