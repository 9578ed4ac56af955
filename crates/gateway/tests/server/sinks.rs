//! Records on their way: to an HTTP server, to an object store, through failures and a restart.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use active_call::config::words::{RecordSink, Vendor};
use active_call::config::{Config, RecordTable};
use active_call::sinks::delivery::{Delivery, Policy, SETTLED, Sink};
use active_call::sinks::objects::Objects;
use active_call::sinks::parcel::Parcel;
use active_call::sinks::post::Post;
use active_call::sinks::refused::{NotTaken, REFUSED};
use async_trait::async_trait;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};
use protocol::Secret;
use protocol::record::CallRecord;
use protocol::value::Headers;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::programs;
use crate::rig::{PATIENCE, Rig, until};

/// A server that answers what `status` says to the number of a request, from 0, and its `Idempotency-Key`, and passes on
/// what it took.
async fn server(
    status: impl Fn(u64, &str) -> StatusCode + Send + Sync + 'static,
) -> (String, mpsc::Receiver<(HeaderMap, String)>, JoinSet<()>) {
    let (took_in, took) = mpsc::channel(64);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/records", listener.local_addr().unwrap());
    let (status, number) = (Arc::new(status), Arc::new(AtomicU64::new(0)));
    let take = move |headers: HeaderMap, body: Bytes| async move {
        let key = headers["idempotency-key"].to_str().unwrap().to_owned();
        took_in.send((headers, String::from_utf8_lossy(&body).into_owned())).await.unwrap();
        status(number.fetch_add(1, Ordering::Relaxed), &key)
    };
    let router = Router::new().route("/records", post(take));
    let router = router.layer(axum::extract::DefaultBodyLimit::disable());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, took, tasks)
}

fn to(url: &str) -> impl FnOnce(&mut Config) {
    let url = Some(url.to_owned());
    |config| {
        let table = config.callrecord.as_mut().unwrap();
        table.r#type = Some(RecordSink::Http);
        table.url = url;
        table.headers = [("X-Key".to_owned(), "k".to_owned())].into();
        table.keep_media_copy = false;
    }
}

async fn recorded_call(rig: &Rig, id: &str) {
    let mut client = rig.connect(&format!("/call?id={id}")).await;
    client.send(json!({"command": "invite", "option": {"recorder": {}}})).await;
    client.event("answer").await;
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
}

fn waiting(rig: &Rig) -> usize {
    crate::rig::records_under(&rig.path("spool/records")).len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_and_its_files_are_posted_and_removed_when_that_is_confirmed() {
    let (url, mut took, _tasks) = server(|number, _| match number {
        0 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    })
    .await;
    let rig = Rig::start_with(to(&url)).await;
    recorded_call(&rig, "posted").await;
    let (first, _) = timeout(PATIENCE, took.recv()).await.unwrap().unwrap();
    assert!(rig.path("recorders/posted.wav").exists(), "nothing is removed before it is confirmed");
    let (again, form) = timeout(PATIENCE, took.recv()).await.unwrap().unwrap();
    assert_eq!(first["idempotency-key"], again["idempotency-key"]);
    assert_eq!(again["x-key"], "k");
    for part in
        ["calllog.json", "media_posted", "dump_events_posted.events.jsonl", "\"callId\": \"posted\"", "RIFF"]
    {
        assert!(form.contains(part), "{part}");
    }
    assert!(form.contains("hangup"), "the event log is whole");
    rig.until("an empty spool", |rig| (waiting(rig) == 0).then_some(())).await;
    rig.until("no local copy", |rig| (!rig.path("recorders/posted.wav").exists()).then_some(())).await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_does_not_take_waits_for_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start_with(|config| {
        to("http://127.0.0.1:9/nobody")(config);
        config.callrecord.as_mut().unwrap().spool = folder.path().join("spool");
    })
    .await;
    recorded_call(&rig, "waits").await;
    let spool = folder.path().join("spool");
    until("a record in the spool", || crate::rig::records_under(&spool).pop()).await;
    rig.server.stop().await;
    assert_eq!(crate::rig::records_under(&spool).len(), 1);
    let (url, mut took, _tasks) = server(|_, _| StatusCode::OK).await;
    let again = Rig::start_with(|config| {
        to(&url)(config);
        config.callrecord.as_mut().unwrap().spool = spool.clone();
    })
    .await;
    let (_, form) = timeout(PATIENCE, took.recv()).await.unwrap().unwrap();
    assert!(form.contains("\"callId\": \"waits\""));
    until("an empty spool", || crate::rig::records_under(&spool).is_empty().then_some(())).await;
    again.server.stop().await;
}

/// The text of a record, with a file that is said to belong to it.
fn record(id: &str, sound: Option<&str>) -> String {
    let sound: Vec<Value> =
        sound.iter().map(|path| json!({"trackId": "a", "path": path, "size": 1})).collect();
    let record = json!({"callType": "sip", "callId": id, "startTime": "2025-10-09T08:53:20Z",
        "endTime": "2025-10-09T08:54:20Z", "caller": "a", "callee": "b", "statusCode": 200, "recorder": sound});
    record.to_string()
}

/// Everything goes, and what is refused goes three times in all.
fn policy(media: &Path) -> Policy {
    const PAUSES: &[Duration] = &[Duration::from_millis(20), Duration::from_millis(40)];
    let (with_media, keep_media_copy) = (true, false);
    Policy { with_media, keep_media_copy, settled: SETTLED, pauses: PAUSES, media: media.into() }
}

/// Takes nothing, or lies in wait for ever.
struct Stubborn {
    hangs: bool,
    tried: mpsc::Sender<String>,
}

#[async_trait]
impl Sink for Stubborn {
    async fn deliver(&self, parcel: &Parcel) -> Result<(), NotTaken> {
        self.tried.send(parcel.name.clone()).await.unwrap();
        if self.hangs { std::future::pending().await } else { Err(NotTaken::Away("no".into())) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_fails_or_hangs_loses_nothing_and_holds_up_no_stop() {
    for hangs in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let day = folder.path().join("20251009");
        std::fs::create_dir(&day).unwrap();
        std::fs::write(day.join("a.json"), record("a", Some("/etc/hostname"))).unwrap();
        std::fs::write(day.join("broken.json"), "{").unwrap();
        let (tried_in, mut tried) = mpsc::channel(64);
        let sink = Arc::new(Stubborn { hangs, tried: tried_in });
        let delivery =
            Delivery::new(folder.path().into(), sink, policy(folder.path()), Arc::new(Notify::new()));
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(delivery.run(stop.clone()));
        assert_eq!(timeout(PATIENCE, tried.recv()).await.unwrap().unwrap(), "a");
        stop.cancel();
        timeout(PATIENCE, tasks.join_next()).await.unwrap().unwrap().unwrap();
        let broken = [day.clone(), folder.path().join(REFUSED).join("20251009")];
        let broken = broken.iter().any(|folder| folder.join("broken.json").exists());
        assert!(day.join("a.json").exists() && broken, "nothing is lost");
        assert!(Path::new("/etc/hostname").exists(), "what lies elsewhere is neither sent nor removed");
    }
}

/// Carries the records `bad` and `good` to `sink`, which does not take the first; `good` is there before `bad` is given
/// up, and `bad` is set aside with its sound where it was.
async fn sets_aside(spool: &Path, sink: Arc<dyn Sink>) {
    let day = spool.join("20251009");
    std::fs::create_dir(&day).unwrap();
    let sound = spool.join("sound.wav");
    std::fs::write(&sound, "RIFF").unwrap();
    std::fs::write(day.join("bad.json"), record("bad", sound.to_str())).unwrap();
    std::fs::write(day.join("good.json"), record("good", None)).unwrap();
    let aside = Arc::new(AtomicU64::new(0));
    let settled = Policy { settled: Duration::ZERO, ..policy(spool) };
    let delivery = Delivery::new(spool.into(), sink, settled, Arc::new(Notify::new()));
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(delivery.counting(aside.clone()).run(stop.clone()));
    let refused = spool.join(REFUSED).join("20251009").join("bad.json");
    until("the refused record", || refused.exists().then_some(())).await;
    until("the other's delivery", || (!day.exists()).then_some(())).await;
    until("the count", || (aside.load(Ordering::Relaxed) == 1).then_some(())).await;
    assert!(sound.exists(), "what was not delivered is not removed");
    stop.cancel();
    timeout(PATIENCE, tasks.join_next()).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_a_server_refuses_is_set_aside_and_holds_up_no_other() {
    let (url, mut took, _tasks) = server(|_, key| match key {
        "bad" => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::OK,
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let post = Post { client: reqwest::Client::new(), url, headers: Headers::new() };
    sets_aside(folder.path(), Arc::new(post)).await;
    let mut sent = Vec::new();
    while let Ok((headers, _)) = took.try_recv() {
        sent.push(headers["idempotency-key"].to_str().unwrap().to_owned());
    }
    sent.sort();
    assert_eq!(sent, ["bad", "bad", "bad", "good"]);
}

/// Lies in wait for ever with the records whose name begins with `hangs`, takes the others and tells which.
struct Partial {
    took: mpsc::Sender<String>,
}

#[async_trait]
impl Sink for Partial {
    async fn deliver(&self, parcel: &Parcel) -> Result<(), NotTaken> {
        if parcel.name.starts_with("hangs") {
            std::future::pending::<()>().await;
        }
        self.took.send(parcel.name.clone()).await.unwrap();
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_hangs_holds_up_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let day = folder.path().join("20251009");
    std::fs::create_dir(&day).unwrap();
    let names = ["hangs-1", "hangs-2", "later-1", "later-2", "later-3", "later-4", "later-5"];
    for name in names {
        std::fs::write(day.join(format!("{name}.json")), record(name, None)).unwrap();
    }
    let (took, mut taken) = mpsc::channel(64);
    let settled = Policy { settled: Duration::ZERO, ..policy(folder.path()) };
    let news = Arc::new(Notify::new());
    let delivery = Delivery::new(folder.path().into(), Arc::new(Partial { took }), settled, news.clone());
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(delivery.run(stop.clone()));
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(timeout(PATIENCE, taken.recv()).await.unwrap().unwrap());
    }
    seen.sort();
    assert_eq!(seen, names[2..]);
    std::fs::write(day.join("new.json"), record("new", None)).unwrap();
    news.notify_one();
    assert_eq!(timeout(PATIENCE, taken.recv()).await.unwrap().as_deref(), Some("new"));
    stop.cancel();
    timeout(PATIENCE, tasks.join_next()).await.unwrap().unwrap().unwrap();
    assert!(day.join("hangs-1.json").exists(), "nothing is lost");
}

/// A server whose first answer comes when it has read the head of a request alone; it passes on how many bytes of each
/// request it read.
async fn hasty() -> (String, mpsc::Receiver<usize>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/records", listener.local_addr().unwrap());
    let (read_in, read) = mpsc::channel(64);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        // A connection that is closed over unread data is reset, and then nobody hears the answer.
        let (mut lies, mut open) = (true, Vec::new());
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut got, mut wanted) = (Vec::new(), None);
            while wanted.is_none_or(|wanted| got.len() < wanted && !lies) {
                if stream.read_buf(&mut got).await.unwrap_or(0) == 0 {
                    break;
                }
                let text = String::from_utf8_lossy(&got).to_lowercase();
                wanted = text.split_once("\r\n\r\n").map(|(head, _)| {
                    let length = head.split_once("content-length: ").unwrap().1.lines().next().unwrap();
                    head.len() + 4 + length.parse::<usize>().unwrap()
                });
            }
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
                .await;
            read_in.send(if lies { 0 } else { got.len() }).await.unwrap();
            lies = false;
            open.push(stream);
        }
    });
    (url, read, tasks)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_confirms_a_recording_before_having_it_confirms_nothing() {
    let (url, mut read, _tasks) = hasty().await;
    let rig = Rig::start_with(to(&url)).await;
    recorded_call(&rig, "posted").await;
    assert_eq!(timeout(PATIENCE, read.recv()).await.unwrap(), Some(0));
    assert!(rig.path("recorders/posted.wav").exists(), "the answer came before the recording went");
    assert!(timeout(PATIENCE, read.recv()).await.unwrap().unwrap() > 1_000, "it is sent again");
    rig.until("no local copy", |rig| (!rig.path("recorders/posted.wav").exists()).then_some(())).await;
    assert_eq!(waiting(&rig), 0);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_store_that_keeps_less_than_it_says_has_confirmed_nothing() {
    let take = async |request: axum::extract::Request| {
        let put = request.method() == axum::http::Method::PUT;
        let _ = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        ([("etag", "\"1\"")], if put { "" } else { "x" })
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let objects = Objects::new(&store_at(&listener)).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, Router::new().fallback(take)).await.unwrap() });
    let (day, name, stem) = ("20251009".into(), "a".into(), "a".into());
    let parcel = Parcel { day, name, stem, text: b"{}".to_vec(), files: Vec::new() };
    let told = objects.deliver(&parcel).await.unwrap_err();
    assert!(matches!(&told, NotTaken::Away(told) if told.contains("1 bytes are there of 2")), "{told:?}");
}

/// The table of an object store at `listener`.
fn store_at(listener: &TcpListener) -> RecordTable {
    RecordTable {
        r#type: Some(RecordSink::S3),
        vendor: Some(Vendor::Minio),
        bucket: Some("calls".into()),
        endpoint: Some(format!("http://{}", listener.local_addr().unwrap())),
        access_key: Some(Secret::new("a")),
        secret_key: Some(Secret::new("b")),
        ..RecordTable::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_an_object_store_refuses_is_set_aside_and_holds_up_no_other() {
    type Kept = Arc<tokio::sync::Mutex<std::collections::HashMap<String, usize>>>;
    let take = |State(kept): State<Kept>, request: axum::extract::Request| async move {
        let (path, put) = (request.uri().path().to_owned(), request.method() == axum::http::Method::PUT);
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        if path.contains("bad") {
            return (
                StatusCode::BAD_REQUEST,
                [("etag", "\"1\"")],
                "<Error><Code>KeyTooLongError</Code></Error>".into(),
            );
        }
        if put {
            kept.lock().await.insert(path.clone(), body.len());
        }
        let there = vec![b'x'; kept.lock().await.get(&path).copied().unwrap_or(0)];
        (StatusCode::OK, [("etag", "\"1\"")], String::from_utf8(there).unwrap())
    };
    let router = Router::new().fallback(take).with_state(Kept::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let table = store_at(&listener);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    let folder = tempfile::tempdir().unwrap();
    sets_aside(folder.path(), Arc::new(Objects::new(&table).unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_and_sound_come_whole_into_an_s3_store() {
    if !programs::has_tool("moto_server") {
        eprintln!("moto_server could not be installed: not tested with a real S3 server");
        return;
    }
    let [port] = programs::free_ports();
    let folder = tempfile::tempdir().unwrap();
    let _moto = programs::start("moto_server", &["-H", "127.0.0.1", "-p", &port.to_string()], folder.path());
    let endpoint = format!("http://127.0.0.1:{port}");
    let client = reqwest::Client::new();
    let bucket = format!("{endpoint}/calls");
    loop {
        match client.put(&bucket).timeout(Duration::from_secs(5)).send().await {
            Ok(made) if made.status().is_success() => break,
            _ => until("the next try", || std::net::TcpStream::connect(("127.0.0.1", port)).ok()).await,
        };
    }
    let rig = Rig::start_with(|config| {
        let table = config.callrecord.as_mut().unwrap();
        *table = RecordTable {
            r#type: Some(RecordSink::S3),
            vendor: Some(Vendor::Minio),
            bucket: Some("calls".into()),
            endpoint: Some(endpoint.clone()),
            access_key: Some(Secret::new("a")),
            secret_key: Some(Secret::new("b")),
            root: "cdr".into(),
            keep_media_copy: false,
            ..table.clone()
        };
        assert!(Objects::new(table).is_ok());
    })
    .await;
    recorded_call(&rig, "stored").await;
    rig.until("no local copy", |rig| (!rig.path("recorders/stored.wav").exists()).then_some(())).await;
    let (_, found) = rig.get("/api/v1/records/stored").await;
    let record: CallRecord = serde_json::from_str(&found).unwrap();
    let store = AmazonS3Builder::new()
        .with_bucket_name("calls")
        .with_endpoint(&endpoint)
        .with_allow_http(true)
        .with_access_key_id("a")
        .with_secret_access_key("b")
        .with_region("us-east-1")
        .build()
        .unwrap();
    let day = chrono::DateTime::parse_from_rfc3339(&record.start_time).unwrap();
    let day = day.with_timezone(&chrono::Local).format("%Y%m%d");
    let sound = store.head(&Key::from(format!("cdr/{day}/stored_stored_stored.wav"))).await.unwrap();
    assert_eq!(sound.size, record.recorder[0].size);
    assert!(store.head(&Key::from(format!("cdr/{day}/stored.jsonl"))).await.unwrap().size > 0);
    // Nothing is left here of the first call with this id, and nothing of it may be written over there.
    recorded_call(&rig, "stored").await;
    let of_second = |rig: &Rig| rig.path("recorders/stored.wav").exists() || waiting(rig) > 0;
    rig.until("no local copy", |rig| (!of_second(rig)).then_some(())).await;
    let all: Vec<_> = store.list(Some(&Key::from(format!("cdr/{day}")))).try_collect().await.unwrap();
    let ending = |end: &str| all.iter().filter(|object| object.location.as_ref().ends_with(end)).count();
    assert_eq!([".wav", ".jsonl", ".json"].map(ending), [2, 2, 2], "{all:?}");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_id_was_used_before_has_a_log_of_its_own() {
    let rig = Rig::start().await;
    for count in 1..=3 {
        recorded_call(&rig, "again").await;
        rig.until("its record", |rig| (rig.records().len() == count).then_some(())).await;
    }
    let logs: std::collections::BTreeSet<String> =
        rig.records().iter().filter_map(|record| record.dump_event_file.clone()).collect();
    assert_eq!(logs.len(), 3, "{logs:?}");
    for log in &logs {
        let text = std::fs::read_to_string(log).unwrap();
        assert_eq!(text.matches("\\\"event\\\":\\\"answer\\\"").count(), 1, "{log}: {text}");
    }
    let names =
        ["again", "again~1", "again~2"].map(|name| rig.path(&format!("recorders/{name}.events.jsonl")));
    assert!(names.iter().all(|name| logs.contains(name.to_str().unwrap())), "{logs:?}");
    std::fs::write(&names[0], "").unwrap();
    let mut told = Vec::new();
    let fault = active_call::explain::print(&rig.path("recorders"), "again", &mut told).unwrap_err();
    assert!(fault.contains("again.events.jsonl: no line of it can be read"), "{fault}");
    let told = String::from_utf8(told).unwrap();
    assert_eq!(told.matches("  event    answer ").count(), 2, "the others are told all the same: {told}");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_asked_for_with_filters_and_in_pages() {
    let rig = Rig::start().await;
    assert_eq!(rig.get("/api/records").await, (200, "[]".into()));
    for id in ["one", "two", "three"] {
        recorded_call(&rig, id).await;
    }
    rig.until("the records", |rig| (rig.records().len() == 3).then_some(())).await;
    let ask = async |query: &str| -> Value {
        let (status, body) = rig.get(&format!("/api/v1/records{query}")).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    };
    let page = ask("?limit=2").await;
    assert_eq!((page["total"].as_u64(), page["next"].as_u64()), (Some(3), Some(2)));
    let last = ask("?limit=2&offset=2").await;
    assert_eq!((last["records"][0]["callId"].as_str(), last.get("next")), (Some("one"), None));
    assert_eq!(ask("?id=two&type=websocket&status=200").await["total"], 1);
    assert_eq!(ask("?status=486").await["total"], 0);
    assert_eq!(ask("?status=completed&limit=1000").await["total"], 3, "as lists tell it");
    assert_eq!(ask("?status=Aborted").await["total"], 0);
    assert_eq!(ask("?from=2999-01-01T00:00:00Z").await["total"], 0);
    let answer = reqwest::get(rig.url("/api/records?limit=1")).await.unwrap();
    assert_eq!(answer.headers()["x-total-count"], "3");
    let list: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!((list[0]["id"].as_str(), list[0]["status"].as_str()), (Some("three"), Some("completed")));
    assert!(list[0]["duration"].as_str().unwrap().ends_with('s'));
    assert_eq!(ask("?reason=bySystem&type=WEBSOCKET").await["total"], 3, "either spelling");
    for (wrong, told) in [
        ("limit=x", "1 to 1000"),
        ("limit=0", "1 to 1000"),
        ("limit=1001", "1 to 1000"),
        ("status=ok", "aborted"),
        ("status=7", "100 to 699"),
        ("from=yesterday", "2025-10-09"),
        ("offset=-1", "number"),
        ("type=fax", "webSocket"),
        ("reason=boredom", "inactivityTimeout"),
    ] {
        let (status, body) = rig.get(&format!("/api/records?{wrong}")).await;
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, problem["field"].as_str()), (400, wrong.split('=').next()), "{body}");
        assert!(problem["detail"].as_str().unwrap().contains(told), "{body}");
    }
    assert_eq!(rig.get("/api/v1/records/nobody").await.0, 404);
    rig.server.stop().await;
}
