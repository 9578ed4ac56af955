//! A server in a temporary folder, and a WebSocket client.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use active_call::config::words::Database;
use active_call::config::{Config, RecordTable};
use active_call::server::Server;
use futures::{SinkExt, StreamExt};
use protocol::record::CallRecord;
use protocol::value::Seconds;
use serde_json::Value;
use tempfile::TempDir;
use testkit::Cast;
use testkit::fake_providers::FakeProviders;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::schema;

/// Nothing in these tests takes so long unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Fields that clients find in every event of a name.
const PROMISED: &[(&str, &[&str])] = &[
    ("incoming", &["trackId", "timestamp", "caller", "callee", "sdp"]),
    ("answer", &["trackId", "timestamp", "sdp"]),
    ("reject", &["trackId", "timestamp", "reason"]),
    ("ringing", &["trackId", "timestamp", "earlyMedia"]),
    ("hangup", &["trackId", "timestamp", "reason", "startTime", "hangupTime"]),
    ("speaking", &["trackId", "timestamp", "startTime"]),
    ("silence", &["trackId", "timestamp", "startTime", "duration"]),
    ("asrFinal", &["trackId", "timestamp", "index", "text"]),
    ("asrDelta", &["trackId", "timestamp", "index", "text"]),
    ("trackStart", &["trackId", "timestamp"]),
    ("trackEnd", &["trackId", "timestamp", "duration", "ssrc"]),
    ("interruption", &["trackId", "timestamp", "totalDuration", "current"]),
    ("dtmf", &["trackId", "timestamp", "digit"]),
    ("hold", &["trackId", "timestamp", "onHold"]),
    ("inactivity", &["trackId", "timestamp"]),
    ("metrics", &["timestamp", "key", "duration", "data"]),
    ("error", &["trackId", "timestamp", "sender", "error"]),
    ("addHistory", &["timestamp", "speaker", "text"]),
    ("other", &["trackId", "timestamp", "sender"]),
];

pub(crate) struct Rig {
    pub(crate) server: Server,
    pub(crate) folder: TempDir,
}

impl Rig {
    pub(crate) async fn start() -> Rig {
        Self::start_with(|_| {}).await
    }

    /// A server on free ports of loopback whose files all lie in a temporary folder.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Rig {
        let providers = FakeProviders::new(Cast::default(), &["hello there"]);
        Self::start_among(Arc::new(providers), change).await
    }

    /// The same with real providers, of which those that are programs of this machine need nothing else.
    pub(crate) async fn start_speaking(change: impl FnOnce(&mut Config)) -> Rig {
        Self::start_among(Arc::new(call::setup::Vendors), change).await
    }

    pub(crate) async fn start_among(
        providers: Arc<dyn call::setup::Providers>,
        change: impl FnOnce(&mut Config),
    ) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config {
            http_addr: "127.0.0.1:0".parse().unwrap(),
            addr: "127.0.0.1".parse().ok(),
            udp_port: 0,
            media_threads: 1,
            shutdown_timeout: Seconds(Duration::from_millis(200)),
            media_roots: vec![folder.path().join("sounds")],
            playbook_path: folder.path().join("playbook"),
            callrecord: Some(RecordTable {
                root: folder.path().join("cdr"),
                spool: folder.path().join("spool/records"),
                database: Database::File(folder.path().join("records.db")),
                database_spool: folder.path().join("spool/database"),
                ..RecordTable::local()
            }),
            ..Config::default()
        };
        config.spool_path = folder.path().join("spool");
        config.media_cache_path = folder.path().join("mediacache");
        config.recording.path = folder.path().join("recorders");
        std::fs::create_dir_all(folder.path().join("sounds")).unwrap();
        std::fs::create_dir_all(folder.path().join("playbook")).unwrap();
        change(&mut config);
        let server = Server::start_with(config, providers).await.unwrap();
        Rig { server, folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A second of a 400 Hz tone at 16 kHz under the allowed folder.
    pub(crate) fn tone(&self, name: &str) {
        let tone = testkit::cast::tone(400, Duration::from_secs(1));
        let mut bytes = audio::wav::header(16_000, 1, tone.len() as u64 * 2).to_vec();
        bytes.extend(tone.iter().flat_map(|sample| sample.to_le_bytes()));
        std::fs::write(self.path("sounds").join(name), bytes).unwrap();
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.http_addr())
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(self.url(path)).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// What is shown of the only call's signalling.
    pub(crate) async fn ladder(&self) -> Value {
        let calls: Value = serde_json::from_str(&self.get("/api/v1/calls").await.1).unwrap();
        let id = calls["calls"][0]["id"].as_str().unwrap();
        serde_json::from_str(&self.get(&format!("/api/v1/calls/{id}/sip")).await.1).unwrap()
    }

    /// Which messages of the only call begin so, whole.
    pub(crate) async fn messages(&self, begin: &str) -> Vec<String> {
        let ladder = self.ladder().await;
        let messages = ladder["messages"].as_array().unwrap().iter();
        let texts = messages.filter_map(|message| message["text"].as_str());
        texts.filter(|text| text.starts_with(begin)).map(str::to_owned).collect()
    }

    /// Waits until so many messages of the only call begin so.
    pub(crate) async fn has_messages(&self, begin: &str, count: usize) {
        let looking = async {
            let mut again = tokio::time::interval(Duration::from_millis(100));
            while self.messages(begin).await.len() < count {
                again.tick().await;
            }
        };
        timeout(PATIENCE * 3, looking).await.unwrap_or_else(|_| panic!("no {count} of {begin}"));
    }

    /// Sees what the only call has agreed on with its first party: this codec, and this suite or none.
    pub(crate) async fn has_agreed_on(&self, codec: &str, suite: Option<&str>) {
        let agreed = self.ladder().await["media"][0].clone();
        assert_eq!(
            (agreed["codec"].as_str(), agreed["encryption"].as_str()),
            (Some(codec), suite),
            "{agreed}"
        );
    }

    pub(crate) async fn connect(&self, path: &str) -> Client {
        self.try_connect(path).await.unwrap()
    }

    /// The status of a refused upgrade is the error.
    pub(crate) async fn try_connect(&self, path: &str) -> Result<Client, u16> {
        Client::connect(&format!("ws://{}{path}", self.server.http_addr())).await
    }

    /// Every call record there is.
    pub(crate) fn records(&self) -> Vec<CallRecord> {
        records_under(&self.path("cdr"))
    }

    /// Waits until `there` gives something.
    pub(crate) async fn until<T>(&self, what: &str, mut there: impl FnMut(&Rig) -> Option<T>) -> T {
        until(what, || there(self)).await
    }
}

/// Waits until `there` gives something.
pub(crate) async fn until<T>(what: &str, mut there: impl FnMut() -> Option<T>) -> T {
    let waiting = async {
        let mut again = tokio::time::interval(Duration::from_millis(20));
        loop {
            again.tick().await;
            if let Some(found) = there() {
                return found;
            }
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// Every call record under `root`. One that is not whole fails the test.
pub(crate) fn records_under(root: &Path) -> Vec<CallRecord> {
    let files = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().collect::<Vec<_>>();
    let days = files(root).into_iter().filter(|day| day.file_name() != ".up");
    days.flat_map(|day| files(&day.path()))
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "json"))
        // One that was delivered meanwhile is gone.
        .filter_map(|file| std::fs::read(file.path()).ok())
        .map(|text| serde_json::from_slice(&text).unwrap())
        .collect()
}

pub(crate) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Sound received so far.
    pub(crate) sound: Vec<u8>,
    /// How many bytes each message of it had.
    pub(crate) sizes: Vec<usize>,
    /// Names of events received so far.
    pub(crate) seen: Vec<String>,
    /// The events.
    pub(crate) events: Vec<Value>,
}

impl Client {
    pub(crate) async fn connect(url: &str) -> Result<Client, u16> {
        match connect_async(url).await {
            Ok((socket, _)) => Ok(Client {
                socket,
                sound: Vec::new(),
                sizes: Vec::new(),
                seen: Vec::new(),
                events: Vec::new(),
            }),
            Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(other) => panic!("{other}"),
        }
    }

    /// Sends without a look at what comes, as long as the server takes it.
    pub(crate) async fn pour(&mut self, text: &str) -> bool {
        matches!(timeout(PATIENCE, self.socket.send(Message::text(text))).await, Ok(Ok(())))
    }

    pub(crate) async fn send(&mut self, command: Value) {
        self.text(&command.to_string()).await;
    }

    pub(crate) async fn text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn sound(&mut self, bytes: Vec<u8>) {
        self.socket.send(Message::binary(bytes)).await.unwrap();
    }

    /// The next event of this name; others are passed over, but not for ever: some come every ten seconds.
    pub(crate) async fn event(&mut self, name: &str) -> Value {
        self.event_within(name, PATIENCE * 3).await
    }

    /// The same for one that may take so long.
    pub(crate) async fn event_within(&mut self, name: &str, patience: Duration) -> Value {
        let found = timeout(patience, self.find(name)).await.ok();
        found.unwrap_or_else(|| panic!("no {name} in time; saw {:?}", self.events))
    }

    async fn find(&mut self, name: &str) -> Value {
        loop {
            match self.next().await {
                Some(Message::Text(text)) => {
                    let event = self.note(&text);
                    if event["event"] == name {
                        return event;
                    }
                }
                Some(Message::Binary(bytes)) => self.hear(&bytes),
                Some(Message::Close(frame)) => {
                    panic!("closed by {frame:?} before {name}; saw {:?}", self.events)
                }
                Some(_) => {}
                None => panic!("no {name}; saw {:?}", self.seen),
            }
        }
    }

    /// Waits until so many bytes of sound have come in all.
    pub(crate) async fn heard(&mut self, bytes: usize) {
        while self.sound.len() < bytes {
            match self.next().await {
                Some(Message::Binary(more)) => self.hear(&more),
                Some(_) => {}
                None => panic!("no more sound; saw {:?}", self.seen),
            }
        }
    }

    fn hear(&mut self, message: &[u8]) {
        self.sizes.push(message.len());
        self.sound.extend(message);
    }

    /// The code the server closes with.
    pub(crate) async fn closed(&mut self) -> u16 {
        loop {
            match self.next().await {
                Some(Message::Close(frame)) => return frame.map_or(1005, |frame| frame.code.into()),
                Some(Message::Text(text)) => drop(self.note(&text)),
                Some(_) => {}
                None => return 1006,
            }
        }
    }

    /// Keeps an event. One without a field that its documents promise fails the test, and so does one that is not as its
    /// schema says.
    fn note(&mut self, text: &str) -> Value {
        let event: Value = serde_json::from_str(text).unwrap();
        let name = event["event"].as_str().unwrap();
        let fields =
            PROMISED.iter().find(|(event, _)| *event == name).map_or(["timestamp"].as_slice(), |row| row.1);
        let missing: Vec<_> = fields.iter().filter(|field| event[**field].is_null()).collect();
        assert!(missing.is_empty(), "{event} has no {missing:?}");
        schema::check_event(&event);
        self.seen.push(name.to_owned());
        self.events.push(event.clone());
        event
    }

    async fn next(&mut self) -> Option<Message> {
        let next = timeout(PATIENCE, self.socket.next()).await;
        next.unwrap_or_else(|_| panic!("nothing came; saw {:?}", self.seen))?.ok()
    }
}
