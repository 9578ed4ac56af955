//! Connections to an endpoint where no call waits and none can be made: each command gets an answer.

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use protocol::event::{HangupEvent, RejectEvent};
use protocol::{Command, Event, HangupReason};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::socket::{
    CLOSE_GOING_AWAY, CLOSE_NORMAL, CLOSE_SILENT, Fault, close, complaint, refuse, send_event,
};
use crate::app;

/// How long such a connection may stay.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the client is told of `invite`.
const CANNOT_INVITE: &str =
    "calls from browsers are not built into this version; use /call with binary audio";

/// Answers commands until one ends the connection, the server closes, or [`PATIENCE`] is over.
pub(super) async fn run(mut socket: WebSocket, id: String, closing: CancellationToken) {
    let ended = tokio::select! {
        ended = timeout(PATIENCE, answer_all(&mut socket, &id)) => ended,
        () = closing.cancelled() => return close(&mut socket, CLOSE_GOING_AWAY, "the server stops").await,
    };
    match ended {
        Ok(Ended::Answered) => close(&mut socket, CLOSE_NORMAL, "no call").await,
        Ok(Ended::Faulty(fault)) => refuse(&mut socket, &id, fault).await,
        Ok(Ended::Gone) => {}
        Err(_) => close(&mut socket, CLOSE_SILENT, "no call").await,
    }
}

/// How a connection without a call ended.
enum Ended {
    Answered,
    /// The client sent what cannot be read.
    Faulty(Fault),
    Gone,
}

async fn answer_all(socket: &mut WebSocket, id: &str) -> Ended {
    while let Some(message) = socket.recv().await {
        let text = match message {
            Ok(Message::Text(text)) => text,
            Ok(_) => continue,
            Err(error) => return Fault::of(error).map_or(Ended::Gone, Ended::Faulty),
        };
        let (events, last) = answer(&text, id);
        for event in &events {
            if send_event(socket, event).await.is_err() {
                return Ended::Gone;
            }
        }
        if last {
            return Ended::Answered;
        }
    }
    Ended::Gone
}

/// The events a command gets, and whether the connection ends with them.
fn answer(text: &str, id: &str) -> (Vec<Event>, bool) {
    let command = match Command::parse(text) {
        Ok(read) => read.value,
        Err(error) => return (vec![failure(id, "command", 400, error.to_string())], false),
    };
    match command {
        Command::Invite(_) => {
            let told = CANNOT_INVITE;
            (vec![reject(id, 501, told), failure(id, "invite", 501, told.into()), hangup(id)], true)
        }
        Command::Accept(_) | Command::Reject(_) | Command::Ringing(_) => {
            let told = "no pending call";
            (vec![reject(id, 486, told), failure(id, command.name(), 486, told.into()), hangup(id)], true)
        }
        Command::Hangup(_) => (vec![hangup(id)], true),
        other => {
            let told = format!("\"{}\" needs a call, and there is none", other.name());
            (vec![failure(id, "command", 409, told)], false)
        }
    }
}

fn reject(id: &str, code: u16, reason: &str) -> Event {
    Event::Reject(Box::new(RejectEvent {
        track_id: id.into(),
        timestamp: app::now_ms(),
        reason: reason.into(),
        code: Some(code),
        refer: Some(false),
        ..RejectEvent::default()
    }))
}

fn hangup(id: &str) -> Event {
    let now = app::now();
    Event::Hangup(Box::new(HangupEvent {
        track_id: id.into(),
        timestamp: app::now_ms(),
        reason: Some(HangupReason::Rejected.wire().into()),
        initiator: Some("system".into()),
        start_time: now.clone(),
        hangup_time: now,
        ..HangupEvent::default()
    }))
}

fn failure(id: &str, sender: &str, code: u16, error: String) -> Event {
    complaint(id, sender, code, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> (Vec<String>, bool) {
        let (events, last) = answer(text, "s1");
        let name = |event: &Event| serde_json::to_value(event).unwrap()["event"].as_str().unwrap().to_owned();
        (events.iter().map(name).collect(), last)
    }

    #[test]
    fn accepting_what_is_not_there_is_rejected_told_and_hung_up() {
        let (events, last) = names(r#"{"command":"accept","option":{}}"#);
        assert_eq!((events, last), (vec!["reject".into(), "error".into(), "hangup".into()], true));
    }

    #[test]
    fn an_invite_says_what_is_missing() {
        let (events, _) = answer(r#"{"command":"invite","option":{}}"#, "s1");
        let told = serde_json::to_string(&events).unwrap();
        assert!(told.contains("501") && told.contains("not built"), "{told}");
    }

    #[test]
    fn other_commands_leave_the_connection_open() {
        assert_eq!(names(r#"{"command":"pause"}"#), (vec!["error".into()], false));
        assert_eq!(names("nonsense"), (vec!["error".into()], false));
    }
}
