//! One WebSocket of a call: commands and sound in, events and sound out.

use std::collections::HashSet;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::Bytes;
use call::handle::{CallOver, Phase, ToCall};
use call::{CallHandle, Failure, StopReason};
use futures::stream::{SplitSink, SplitStream};
use futures::{Sink, SinkExt, StreamExt};
use protocol::read::ReadError;
use protocol::{Command, Event};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite;
use tungstenite::error::{CapacityError, ProtocolError};

use super::inlet::{Inlet, JOINING};
use crate::app;
use crate::egress::guard::Guard;
use crate::egress::vet;

/// A client that does not take a message for so long is dropped.
const SLOW: Duration = Duration::from_secs(5);
/// How long a client that was too slow may take to read that it was.
const TELLING: Duration = Duration::from_secs(10);
/// How long a client may take to answer our close.
const FAREWELL: Duration = Duration::from_secs(2);

/// Largest message of sound: at 48 kHz ten seconds, of which the call holds three.
const MAX_SOUND: usize = 1024 * 1024;
/// Most unknown keys that one client is told of.
const MAX_TOLD: usize = 100;

/// The call has ended.
pub(super) const CLOSE_NORMAL: u16 = 1000;
/// The server stops.
pub(super) const CLOSE_GOING_AWAY: u16 = 1001;
/// The client was silent for too long.
pub(super) const CLOSE_SILENT: u16 = 1008;
/// The client broke the rules of WebSocket.
const CLOSE_PROTOCOL: u16 = 1002;
/// A text was none.
const CLOSE_NO_TEXT: u16 = 1007;
/// A message was too large.
const CLOSE_TOO_LARGE: u16 = 1009;
/// The client did not read its events.
const CLOSE_TOO_SLOW: u16 = 1013;

/// The ends of a call that a client holds.
pub(super) struct Pipes {
    /// Where commands go.
    pub(super) call: CallHandle,
    /// Judges the addresses in them.
    pub(super) guard: Guard,
    /// Its events; closed after `hangup`, or without one when the client is too slow.
    pub(super) events: mpsc::Receiver<Event>,
    /// Sound of the client, where the call has its sound over this socket. When half full small messages are joined; when
    /// full the reader waits a little, if the call is up, and drops the message then.
    pub(super) heard: Option<mpsc::Sender<Bytes>>,
    /// Sound for the client, in batches of 20 ms messages.
    pub(super) spoken: Option<mpsc::Receiver<Vec<Bytes>>>,
    /// Time between pings. A client of whom nothing comes for twice as long, not even an answer to a ping, is
    /// gone.
    pub(super) ping: Option<Duration>,
    /// How long the call may wait for its `invite`, where it begins with one.
    pub(super) invite_within: Option<Duration>,
}

/// Why one direction ended.
enum Stopped {
    /// The call is over and the client has its `hangup`.
    HungUp,
    /// The call closed the events because the client did not read them.
    TooSlow,
    /// The client has closed, or cannot be reached.
    Gone,
    /// The client sent what cannot be read.
    Faulty(Fault),
    /// Nothing came for two pings.
    Silent,
    /// No `invite` came in time.
    NoInvite,
}

/// Carries messages both ways until the call or the client ends.
pub(super) async fn run(socket: WebSocket, pipes: Pipes) {
    let Pipes { call, guard, events, heard, spoken, ping, invite_within } = pipes;
    let (mut sink, mut stream) = socket.split();
    let stopped = tokio::select! {
        stopped = read(&mut stream, Incoming::new(&call, &guard, heard, ping)) => stopped,
        () = no_invite(&call, invite_within) => Stopped::NoInvite,
        stopped = write(&mut sink, Outgoing { events, spoken, ping }) => stopped,
    };
    match stopped {
        Stopped::HungUp => close(&mut sink, CLOSE_NORMAL, "the call has ended").await,
        Stopped::TooSlow => {
            call.stop(StopReason::ClientGone).await;
            let told = "too slow: events are not read; the connection is closed";
            let told = complaint(call.id(), "socket", 503, told.into());
            let text = serde_json::to_string(&told).unwrap_or_default();
            let goodbye = CloseFrame { code: CLOSE_TOO_SLOW, reason: "too slow".into() };
            let telling = async {
                sink.feed(Message::Text(text.into())).await?;
                sink.feed(Message::Close(Some(goodbye))).await?;
                sink.flush().await
            };
            // A client that never reads again cannot be told.
            let _ = timeout(TELLING, telling).await;
        }
        Stopped::Faulty(fault) => refuse(&mut sink, call.id(), fault).await,
        Stopped::Silent => close(&mut sink, CLOSE_SILENT, "nothing came for two pings").await,
        Stopped::NoInvite => {
            let told = "no invite came in time; the connection is closed";
            // The close says it too.
            let _ = send_event(&mut sink, &complaint(call.id(), "invite", 408, told.into())).await;
            close(&mut sink, CLOSE_SILENT, "no invite").await;
        }
        Stopped::Gone => {}
    }
    call.stop(StopReason::ClientGone).await;
    // What the client still sends is taken, since closing over unread data would throw away what it has not
    // read yet.
    let rest = async { while let Some(Ok(_)) = stream.next().await {} };
    let _ = timeout(FAREWELL, rest).await;
}

/// Where what comes from the client goes.
struct Incoming<'a> {
    call: &'a CallHandle,
    guard: &'a Guard,
    heard: Option<Inlet>,
    ping: Option<Duration>,
    /// It has asked for the call to begin.
    invited: bool,
    /// It has been told that its sound goes nowhere.
    stray: bool,
    /// Unknown keys the client has been told of.
    told: HashSet<String>,
}

async fn read(stream: &mut SplitStream<WebSocket>, mut to: Incoming<'_>) -> Stopped {
    loop {
        let joining = to.heard.as_ref().is_some_and(Inlet::waits).then_some(JOINING);
        let message = match joining.or(to.ping.map(|ping| ping * 2)) {
            Some(limit) => match timeout(limit, stream.next()).await {
                Ok(message) => message,
                Err(_) if joining.is_some() => {
                    to.flush().await;
                    continue;
                }
                Err(_) => return Stopped::Silent,
            },
            None => stream.next().await,
        };
        match message {
            Some(Ok(Message::Text(text))) => {
                if let Err(CallOver) = to.order(&text).await {
                    // The events say so, and then the other direction ends.
                    return std::future::pending().await;
                }
            }
            Some(Ok(Message::Binary(bytes))) if bytes.len() > MAX_SOUND => {
                return Stopped::Faulty(Fault::TooLarge { most: MAX_SOUND });
            }
            Some(Ok(Message::Binary(bytes))) => {
                if let Err(CallOver) = to.sound(bytes).await {
                    return std::future::pending().await;
                }
            }
            Some(Ok(Message::Close(_))) | None => return Stopped::Gone,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Err(error)) => {
                tracing::debug!(call = ?to.call.id(), %error, "a client's message cannot be read");
                return Fault::of(error).map_or(Stopped::Gone, Stopped::Faulty);
            }
        }
    }
}

/// What is wrong with what a client sent, so that nothing after it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A text that is no UTF-8 (RFC 6455 section 8.1).
    NoText,
    /// Frames that may not be so: not masked, with reserved bits, in the wrong order.
    Frames,
    /// A message that is larger than this.
    TooLarge {
        /// In bytes.
        most: usize,
    },
}

impl Fault {
    /// The fault that an error of a socket tells of; none where the client is gone.
    pub(super) fn of(error: axum::Error) -> Option<Self> {
        match error.into_inner().downcast_ref::<tungstenite::Error>()? {
            tungstenite::Error::Utf8(_) => Some(Fault::NoText),
            tungstenite::Error::Capacity(CapacityError::MessageTooLong { max_size: most, .. }) => {
                Some(Fault::TooLarge { most: *most })
            }
            tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
            tungstenite::Error::Protocol(_) => Some(Fault::Frames),
            _ => None,
        }
    }
}

/// Tells a client what was wrong, and says goodbye.
pub(super) async fn refuse(sink: &mut (impl Sink<Message> + Unpin), id: &str, fault: Fault) {
    let too_large;
    let (status, code, reason, told) = match fault {
        Fault::NoText => (400, CLOSE_NO_TEXT, "a text is not UTF-8", "a text is not UTF-8"),
        Fault::Frames => {
            (400, CLOSE_PROTOCOL, "a frame breaks the rules", "a frame breaks the rules of WebSocket")
        }
        Fault::TooLarge { most } => {
            too_large = format!("a message is larger than {most} bytes");
            (413, CLOSE_TOO_LARGE, "a message is too large", too_large.as_str())
        }
    };
    let told = format!("{told}; the connection is closed");
    // The close says it too.
    let _ = send_event(sink, &complaint(id, "socket", status, told)).await;
    close(sink, code, reason).await;
}

impl<'a> Incoming<'a> {
    fn new(
        call: &'a CallHandle,
        guard: &'a Guard,
        heard: Option<mpsc::Sender<Bytes>>,
        ping: Option<Duration>,
    ) -> Self {
        let heard = heard.map(Inlet::new);
        Incoming { call, guard, heard, ping, invited: false, stray: false, told: HashSet::new() }
    }

    /// Hands sound to the call, or tells once that it goes nowhere.
    async fn sound(&mut self, bytes: Bytes) -> Result<(), CallOver> {
        let why = match &mut self.heard {
            // Another socket may have sent the `invite`.
            Some(heard) if self.invited || self.call.phase() != Phase::Idle => {
                heard.take(bytes, || self.call.phase() == Phase::Up).await;
                return Ok(());
            }
            Some(_) => "binary before `invite`: the sound is dropped; send `invite` first",
            None => "binary: the sound of this call does not go over its WebSocket and is dropped; send text",
        };
        if std::mem::replace(&mut self.stray, true) {
            return Ok(());
        }
        self.call.send(ToCall::Refused("media", Failure::new(409, why))).await
    }

    async fn flush(&mut self) {
        if let Some(heard) = &mut self.heard {
            heard.flush(|| self.call.phase() == Phase::Up).await;
        }
    }

    /// Hands a command to the call, or what is wrong with it.
    async fn order(&mut self, text: &str) -> Result<(), CallOver> {
        match Command::parse(text) {
            Ok(read) => {
                for field in read.unknown {
                    // A client that sends a key with every command is told of it once.
                    if self.told.len() < MAX_TOLD && self.told.insert(field.clone()) {
                        self.call.send(ToCall::UnknownKey(field)).await?;
                    }
                }
                match vet::command(self.guard, &read.value).await {
                    Ok(()) => {
                        self.invited |= matches!(read.value, Command::Invite(_));
                        self.call.send(ToCall::Command(Box::new(read.value))).await
                    }
                    Err(error) => self.refuse(error).await,
                }
            }
            Err(error) => self.refuse(error).await,
        }
    }

    async fn refuse(&self, error: ReadError) -> Result<(), CallOver> {
        self.call.send(ToCall::Refused("command", error.into())).await
    }
}

/// Ends when the call still waits for its `invite` after `within`.
#[allow(clippy::disallowed_methods, reason = "a socket is a driver: it waits in real time")]
async fn no_invite(call: &CallHandle, within: Option<Duration>) {
    if let Some(within) = within {
        tokio::time::sleep(within).await;
        if call.info().phase == Phase::Idle {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// What goes to the client.
struct Outgoing {
    events: mpsc::Receiver<Event>,
    spoken: Option<mpsc::Receiver<Vec<Bytes>>>,
    ping: Option<Duration>,
}

async fn write(sink: &mut SplitSink<WebSocket, Message>, mut out: Outgoing) -> Stopped {
    let mut pings = out.ping.map(interval);
    if let Some(pings) = &mut pings {
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.reset();
    }
    let mut hung_up = false;
    loop {
        let sent = tokio::select! {
            biased;
            event = out.events.recv() => match event {
                Some(event) => {
                    let rest = match event {
                        Event::TrackEnd { .. } => send_rest(sink, &mut out.spoken).await,
                        _ => Ok(()),
                    };
                    hung_up |= matches!(&event, Event::Hangup(hangup) if hangup.refer != Some(true));
                    match rest {
                        Ok(()) => send_event(sink, &event).await,
                        Err(why) => Err(why),
                    }
                }
                None => return if hung_up { Stopped::HungUp } else { Stopped::TooSlow },
            },
            batch = next(&mut out.spoken) => send_all(sink, batch).await,
            () = tick(&mut pings) => send_ping(sink).await,
        };
        match sent {
            Ok(()) => {}
            Err(NotSent::Late) => return Stopped::TooSlow,
            Err(NotSent::Gone) => return Stopped::Gone,
        }
    }
}

/// Sends the sound that is there already: a track ends after its sound.
async fn send_rest(
    sink: &mut SplitSink<WebSocket, Message>,
    spoken: &mut Option<mpsc::Receiver<Vec<Bytes>>>,
) -> Result<(), NotSent> {
    while let Some(Ok(batch)) = spoken.as_mut().map(mpsc::Receiver::try_recv) {
        send_all(sink, batch).await?;
    }
    Ok(())
}

/// The next batch of sound; pending for ever when none can come.
async fn next(spoken: &mut Option<mpsc::Receiver<Vec<Bytes>>>) -> Vec<Bytes> {
    if let Some(receiver) = spoken {
        match receiver.recv().await {
            Some(batch) => return batch,
            None => *spoken = None,
        }
    }
    std::future::pending().await
}

async fn tick(pings: &mut Option<tokio::time::Interval>) {
    match pings {
        Some(pings) => {
            pings.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// The client did not take a message.
pub(super) enum NotSent {
    /// In time.
    Late,
    /// Its end of the connection is closed.
    Gone,
}

async fn send(sink: &mut (impl Sink<Message> + Unpin), message: Message) -> Result<(), NotSent> {
    match timeout(SLOW, sink.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(NotSent::Gone),
        Err(_) => Err(NotSent::Late),
    }
}

async fn send_all(sink: &mut SplitSink<WebSocket, Message>, batch: Vec<Bytes>) -> Result<(), NotSent> {
    for bytes in batch {
        send(sink, Message::Binary(bytes)).await?;
    }
    Ok(())
}

/// Clients differ in what they understand: the event is sent, and the control frame.
async fn send_ping(sink: &mut SplitSink<WebSocket, Message>) -> Result<(), NotSent> {
    let payload = app::now();
    send_event(sink, &Event::Ping { timestamp: app::now_ms(), payload: Some(payload.clone()) }).await?;
    send(sink, Message::Ping(Bytes::from(payload))).await
}

/// Sends an event as text.
pub(super) async fn send_event(
    sink: &mut (impl Sink<Message> + Unpin),
    event: &Event,
) -> Result<(), NotSent> {
    match serde_json::to_string(event) {
        Ok(text) => send(sink, Message::Text(text.into())).await,
        Err(error) => {
            tracing::error!(%error, "an event cannot be written");
            Ok(())
        }
    }
}

/// Says goodbye with a code.
pub(super) async fn close(sink: &mut (impl Sink<Message> + Unpin), code: u16, reason: &'static str) {
    // A client that is gone needs no goodbye.
    let _ = send(sink, Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
}

/// An `error` event.
pub(super) fn complaint(id: &str, sender: &str, code: u16, error: String) -> Event {
    Event::Error {
        track_id: id.into(),
        timestamp: app::now_ms(),
        sender: sender.into(),
        error,
        code: Some(code),
        field: None,
    }
}
