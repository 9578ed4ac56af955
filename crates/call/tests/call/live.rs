//! The real task of a call with its media thread and async providers, over the wire of a `/call` socket.
//! Everything is waited for with a deadline.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use call::handle::{EVENTS, ToCall};
use call::legs::unsignalled::NoSignalling;
use call::setup::{Providers, Rules};
use call::{CallHandle, Client, MediaThreads, Services, Setup, StopReason};
use playbook::Playbook;
use protocol::option::{CallOption, LlmOption, RealtimeOption, SynthesisOption, TranscriptionOption};
use protocol::record::CallRecord;
use protocol::rest::CallKind;
use protocol::{Command, Event, HangupReason};
use providers::{ChatModel, ProviderError, Realtime, Recognizer, Synthesizer};
use testkit::cast::{Cast, Fault, Reply};
use testkit::fake_providers::{FakeProviders, FakeSocket, services, socket};
use tokio::sync::mpsc::{self, Receiver};

/// Longest that anything here may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);
const OPTION: &str = r#"{"asr":{"provider":"fake"},"tts":{"provider":"fake"},"recorder":{}}"#;

/// A running call as its client sees it.
pub(crate) struct Live {
    handle: CallHandle,
    events: Receiver<Event>,
    pub(crate) socket: FakeSocket,
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("{what} did not happen in time"))
}

pub(crate) fn world(cast: Cast, words: &[&str]) -> (Services, Receiver<CallRecord>, FakeProviders) {
    let providers = FakeProviders::new(cast, words);
    let (services, records) = services(MediaThreads::start(1).unwrap(), &providers);
    (services, records, providers)
}

impl Live {
    pub(crate) fn begin(id: &str, services: &Services, playbook: Option<&str>, events: usize) -> Live {
        let (wire, socket) = socket();
        let (client, events) = mpsc::channel(events);
        let setup = Setup {
            id: id.into(),
            kind: CallKind::WebSocket,
            caller: String::new(),
            callee: String::new(),
            leg: Box::new(NoSignalling),
            wire,
            sip: None,
            vars: protocol::Extra::new(),
            playbook: playbook.map(|text| Arc::new(Playbook::parse(text, &|_| None).unwrap())),
            client: Some(Client { events: client, sound: None }),
            log: None,
            defaults: serde_json::from_str::<CallOption>(OPTION).unwrap(),
            rules: Rules::default(),
        };
        Live { handle: call::spawn(setup, services), events, socket }
    }

    pub(crate) async fn up(id: &str, services: &Services) -> Live {
        let mut live = Live::begin(id, services, None, EVENTS);
        live.send(r#"{"command":"invite","option":{}}"#).await;
        live.wait("answer", |event| matches!(event, Event::Answer { .. })).await;
        live
    }

    pub(crate) async fn send(&self, command: &str) {
        let command = Command::parse(command).unwrap().value;
        self.handle.send(ToCall::Command(Box::new(command))).await.unwrap();
    }

    pub(crate) async fn wait(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        within(what, async {
            loop {
                let event = self.events.recv().await.unwrap_or_else(|| panic!("no {what} before the end"));
                if wanted(&event) {
                    return event;
                }
            }
        })
        .await
    }

    /// The client's events up to the end of the call.
    async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        within("the end of the events", async {
            while let Some(event) = self.events.recv().await {
                events.push(event);
            }
        })
        .await;
        events
    }

    pub(crate) async fn over(&self) {
        within("the end of the call", self.handle.over()).await;
    }
}

/// Waits for the record of one call and sees that there is no second.
pub(crate) async fn only(records: &mut Receiver<CallRecord>) -> CallRecord {
    let record = within("the record", records.recv()).await.unwrap();
    assert!(records.try_recv().is_err(), "a second record");
    record
}

/// Waits until nothing of what `count` counts is left: what a call ends is told to end, and ends soon after.
async fn idle(count: impl Fn() -> usize) {
    within("the end of what belongs to the call", async {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        while count() > 0 {
            tick.tick().await;
        }
    })
    .await;
}

fn is_server_end(event: &Event) -> bool {
    matches!(event, Event::TrackEnd { play_id: Some(_), .. })
}

/// Speech in messages of 20 ms, as fast as a microphone gives them, then silence for as long as it is read.
pub(crate) async fn talk(to_call: mpsc::Sender<Bytes>) {
    let speech = testkit::caller::speech(Duration::from_secs(1));
    let silence = vec![0; 320];
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    for frame in speech.chunks(320).chain(std::iter::repeat(&silence[..])) {
        tick.tick().await;
        let bytes: Vec<u8> = frame.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        if to_call.send(bytes.into()).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_is_heard_and_answered() {
    let cast = Cast { replies: vec![Reply::Says("We open at nine.".into())], ..Cast::default() };
    let (services, mut records, providers) = world(cast, &["when are you open"]);
    let playbook = "---\nllm: { provider: fake }\ngreeting: Hi.\n---\nYou are the receptionist.\n";
    let mut live = Live::begin("whole", &services, Some(playbook), EVENTS);
    live.send(r#"{"command":"invite","option":{}}"#).await;
    live.wait("end of the greeting", is_server_end).await;
    let speaking = talk(live.socket.to_call.clone());
    let answered = live.wait("end of the answer", is_server_end);
    tokio::select! {
        () = speaking => panic!("the call does not listen"),
        _ = answered => {}
    }
    live.send(r#"{"command":"hangup"}"#).await;
    let events = live.rest().await;
    assert!(matches!(events.last(), Some(Event::Hangup(_))), "{events:?}");
    let record = only(&mut records).await;
    let said: Vec<&str> = record.transcript.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(said, ["Hi.", "when are you open", "We open at nine."]);
    assert!(record.recorder[0].size > 16_000 * 4, "{:?}", record.recorder);
    let mut loud = false;
    while let Ok(batch) = live.socket.from_call.try_recv() {
        loud |= batch.iter().any(|message| message.iter().any(|byte| *byte != 0));
    }
    assert!(loud);
    live.over().await;
    idle(|| providers.running()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rush_of_commands_makes_no_client_too_slow() {
    const COMMANDS: usize = 1000;
    let (services, _records, _) = world(Cast::default(), &[]);
    let mut live = Live::up("rush", &services).await;
    let handle = live.handle.clone();
    let sending = async move {
        for n in 0..COMMANDS {
            let text = format!(r#"{{"command":"history","speaker":"user","text":"{n}"}}"#);
            let command = Command::parse(&text).unwrap().value;
            handle.send(ToCall::Command(Box::new(command))).await.unwrap();
        }
    };
    let mut sending = std::pin::pin!(sending);
    let unread = tokio::time::timeout(Duration::from_millis(300), &mut sending).await;
    assert!(unread.is_err(), "commands are taken whose events find no room");
    let reading = async {
        for n in 0..COMMANDS {
            let event =
                live.wait("an event for each", |event| matches!(event, Event::AddHistory { .. })).await;
            let Event::AddHistory { text, .. } = event else { unreachable!() };
            assert_eq!(text, n.to_string());
        }
    };
    tokio::join!(sending, reading);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_a_provider_ends_its_utterance_and_not_the_call() {
    let mut cast = Cast::default();
    cast.synthesizer.fault = Some(Fault::Panics);
    let (services, mut records, _) = world(cast, &[]);
    let mut live = Live::up("panic", &services).await;
    live.send(r#"{"command":"tts","text":"Hello.","playId":"p"}"#).await;
    live.wait("error", |event| matches!(event, Event::Error { sender, .. } if sender == "tts")).await;
    live.wait("end of the utterance", is_server_end).await;
    live.send(r#"{"command":"hangup"}"#).await;
    assert_eq!(only(&mut records).await.status_code, 200);
}

/// Panics in the call's own task.
struct Rotten;

impl Providers for Rotten {
    fn recognizer(&self, _: &TranscriptionOption) -> Result<Box<dyn Recognizer>, ProviderError> {
        panic!("a table of providers panics")
    }
    fn synthesizer(&self, _: &SynthesisOption) -> Result<Box<dyn Synthesizer>, ProviderError> {
        panic!("a table of providers panics")
    }
    fn chat_model(&self, _: &LlmOption) -> Result<Box<dyn ChatModel>, ProviderError> {
        panic!("a table of providers panics")
    }
    fn realtime(&self, _: &RealtimeOption) -> Result<Box<dyn Realtime>, ProviderError> {
        panic!("a table of providers panics")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_the_call_itself_ends_it_with_a_record() {
    let (mut services, mut records, _) = world(Cast::default(), &[]);
    services.providers = Arc::new(Rotten);
    let mut live = Live::begin("rotten", &services, None, EVENTS);
    live.send(r#"{"command":"invite","option":{}}"#).await;
    let record = only(&mut records).await;
    assert_eq!((record.status_code, record.hangup_reason), (500, Some(HangupReason::Failed)));
    assert!(matches!(live.rest().await.last(), Some(Event::Hangup(_))));
    live.over().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_dropped_and_the_call_ends_once() {
    let (services, mut records, _) = world(Cast::default(), &[]);
    let live = Live::begin("slow", &services, None, 1);
    live.send(r#"{"command":"invite","option":{}}"#).await;
    let record = only(&mut records).await;
    assert_eq!(record.hangup_messages[0].reason.as_deref(), Some("client disconnected"));
    live.over().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_stopped_once_and_by_the_first_reason() {
    for (reason, status, word) in [
        (StopReason::Killed, 200, HangupReason::System),
        (StopReason::Shutdown, 200, HangupReason::ServerUnavailable),
    ] {
        let (services, mut records, providers) = world(Cast::default(), &[]);
        let mut live = Live::up("stopped", &services).await;
        live.send(
            r#"{"command":"tts","text":"This sentence is too long to be heard to its end.","playId":"p"}"#,
        )
        .await;
        live.wait("start", |event| matches!(event, Event::TrackStart { play_id: Some(_), .. })).await;
        within("stop", live.handle.stop(reason)).await;
        within("stop", live.handle.stop(StopReason::ClientGone)).await;
        live.over().await;
        let record = only(&mut records).await;
        assert_eq!((record.status_code, record.hangup_reason), (status, Some(word)));
        let ends = live.rest().await.iter().filter(|event| matches!(event, Event::Hangup(_))).count();
        assert_eq!(ends, 1);
        idle(|| providers.running()).await;
        assert!(live.handle.send(ToCall::Stop(StopReason::Killed)).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_begins_leaves_no_record() {
    let (services, mut records, _) = world(Cast::default(), &[]);
    let live = Live::begin("idle", &services, None, EVENTS);
    live.handle.stop(StopReason::ClientGone).await;
    live.over().await;
    assert!(records.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_calls_at_once_lose_nothing() {
    let (services, mut records, providers) = world(Cast::default(), &[]);
    let calls = (0..50).map(|n| {
        let services = services.clone();
        async move {
            let mut live = Live::up(&format!("call-{n}"), &services).await;
            live.send(r#"{"command":"tts","text":"Hello.","playId":"p","autoHangup":true}"#).await;
            live.wait("end of the greeting", is_server_end).await;
            live.over().await;
        }
    });
    futures::future::join_all(calls).await;
    let mut ids = std::collections::BTreeSet::new();
    while let Ok(record) = records.try_recv() {
        assert_eq!(record.transcript[0].text, "Hello.");
        assert!(ids.insert(record.call_id), "two records of a call");
    }
    assert_eq!(ids.len(), 50);
    idle(|| providers.running()).await;
    idle(|| services.media.counters().calls.load(std::sync::atomic::Ordering::Relaxed)).await;
}
