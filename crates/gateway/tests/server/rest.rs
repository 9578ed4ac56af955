//! Calls and playbooks by request, and the description of the API.

use std::sync::Arc;

use active_call::parked::Held;
use playbook::Playbook;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::inbound_sip::playbooks;
use crate::rig::{PATIENCE, Rig};
use crate::schema::mismatch;

const PLAYBOOK: &str = "---\nasr: {provider: fake}\ntts: {provider: fake}\nllm: {provider: fake}\ngreeting: Good day.\n---\nBe kind.\n";

async fn post(rig: &Rig, path: &str, body: impl Into<reqwest::Body>) -> Response {
    Client::new().post(rig.url(path)).body(body).send().await.unwrap()
}

/// Status and body as JSON.
async fn posted(rig: &Rig, path: &str, body: impl ToString) -> (u16, Value) {
    let answer = post(rig, path, body.to_string()).await;
    (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

async fn got(rig: &Rig, path: &str) -> (u16, Value) {
    let (status, body) = rig.get(path).await;
    (status, serde_json::from_str(&body).unwrap())
}

#[test]
fn the_committed_description_is_that_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let committed: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let same = committed == active_call::http::describe();
    assert!(same, "docs/openapi.json is old: run `active-call openapi > docs/openapi.json`");
}

#[test]
fn the_committed_reference_is_that_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference.md");
    let same = std::fs::read_to_string(path).unwrap() == active_call::http::reference();
    assert!(same, "docs/reference.md is old: run `active-call openapi --reference > docs/reference.md`");
}

#[test]
fn the_reference_describes_every_command_event_and_type_that_it_names() {
    let page = active_call::http::reference();
    for head in ["### `tts`\n", "### `hangup`\n", "### `asrFinal`\n", "### CallRecord\n"] {
        assert!(page.contains(head), "{head}");
    }
    for link in page.split("](#").skip(1) {
        let name = link.split(')').next().unwrap();
        let mut heads =
            page.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches(['#', ' ']));
        assert!(heads.any(|head| head.to_lowercase() == name), "{name} is not described");
    }
    for (method, path, _) in active_call::http::paths() {
        assert!(page.contains(&format!("`{method} {}`", path.replace("{*", "{"))), "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_describes_itself() {
    let rig = Rig::start().await;
    let (status, api) = got(&rig, "/openapi.json").await;
    assert_eq!((status, api["openapi"].as_str()), (200, Some("3.1.0")));
    for (method, path, about) in active_call::http::paths() {
        let path = path.replace("{*", "{");
        let operation = &api["paths"][&path][method.to_ascii_lowercase()];
        assert_eq!(operation["summary"], about, "{method} {path}");
    }
    let text = api.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(api["components"]["schemas"].get(name).is_some(), "{name} is not there");
    }
    let (_, schemas) = got(&rig, "/schemas").await;
    assert!(schemas["command"].to_string().contains("\"autoHangup\""));
    assert!(schemas["event"].to_string().contains("\"trackEnd\""));
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_as_the_description_says() {
    let rig = Rig::start_with(|config| {
        config.ice_servers = vec![active_call::config::IceServerTable {
            urls: vec!["turn:h".into()],
            username: Some("u".into()),
            ..Default::default()
        }];
    })
    .await;
    std::fs::write(rig.path("playbook/hello.md"), PLAYBOOK).unwrap();
    let mut ended = rig.connect("/call?id=ended").await;
    ended.send(json!({"command": "invite", "option": {"asr": {"provider": "fake"}, "recorder": {}}})).await;
    ended.event("answer").await;
    ended.send(json!({"command": "hangup"})).await;
    ended.event("hangup").await;
    rig.until("the record", |rig| rig.records().pop()).await;
    let mut up = rig.connect("/call?id=up").await;
    up.send(json!({"command": "invite", "option": {"tts": {"provider": "fake", "speed": 1.5}}})).await;
    up.event("answer").await;
    let described = active_call::http::describe();
    let mut seen = std::collections::BTreeSet::new();
    let pause = json!({"command": "pause", "colour": 1});
    for (method, path, id, body) in [
        ("get", "/call/lists", "", Value::Null),
        ("get", "/list", "", Value::Null),
        ("get", "/api/v1/calls", "", Value::Null),
        ("get", "/api/v1/calls/{id}", "up", Value::Null),
        ("post", "/api/v1/calls", "", json!({"to": "sip:nobody@127.0.0.1:9", "id": "ours"})),
        ("get", "/api/v1/calls/{id}/sip", "ours", Value::Null),
        ("post", "/call/{id}/command", "up", pause.clone()),
        ("post", "/api/v1/calls/{id}/commands", "up", pause),
        ("post", "/api/v1/tickets", "", json!({})),
        ("get", "/api/playbooks", "", Value::Null),
        ("post", "/api/playbooks/{name}", "other.md", Value::String(PLAYBOOK.into())),
        ("post", "/api/v1/playbooks/validate", "", Value::String("---\nasr: 7\n---\n".into())),
        ("post", "/api/playbook/run", "", json!({"playbook": "hello.md"})),
        ("get", "/api/records", "", Value::Null),
        ("get", "/api/v1/records", "", Value::Null),
        ("get", "/api/v1/records/{id}", "ended", Value::Null),
        ("get", "/api/v1/registrations", "", Value::Null),
        ("get", "/iceservers", "", Value::Null),
        ("get", "/health", "", Value::Null),
        ("get", "/openapi.json", "", Value::Null),
        ("get", "/schemas", "", Value::Null),
        ("get", "/kill/{id}", "ours", Value::Null),
        ("post", "/call/kill/{id}", "up", Value::Null),
    ] {
        let url = rig.url(&path.replace("{id}", id).replace("{name}", id));
        let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        let request =
            if method == "get" { Client::new().get(url) } else { Client::new().post(url).body(body) };
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status().as_u16().to_string(), answer.text().await.unwrap());
        let promised = &described["paths"][path][method]["responses"][&status]["content"];
        let shape = promised.get("application/json").unwrap_or_else(|| panic!("{path}: {status} {text}"));
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(mismatch(&described, &shape["schema"], &value), None, "{method} {path}: {text}");
        seen.insert((method, path));
    }
    for (path, methods) in described["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let answers = operation["responses"].as_object().unwrap().values();
            let json =
                answers.filter(|answer| answer["content"].get("application/json").is_some()).count() > 0;
            assert!(
                !json || seen.contains(&(method.as_str(), path.as_str())),
                "{method} {path} was not asked"
            );
        }
    }
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_commanded_and_watched_by_those_who_do_not_own_it() {
    let rig = Rig::start().await;
    let mut owner = rig.connect("/call?id=c1").await;
    owner
        .send(json!({"command": "invite", "option": {"tts": {"provider": "fake", "apiKey": "hunter2"}}}))
        .await;
    owner.event("answer").await;
    let mut watching = reqwest::get(rig.url("/api/v1/calls/c1/events")).await.unwrap();
    assert_eq!(watching.headers()["content-type"], "text/event-stream");
    let mut past = String::new();
    while !past.contains("event: answer\n") {
        let chunk = timeout(PATIENCE, watching.chunk()).await.unwrap().unwrap().unwrap();
        past.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(
        past.contains("id: 1\nevent: trackStart\n") || past.contains("event: trackStart\nid: 1\n"),
        "{past}"
    );
    let back = Client::new().get(rig.url("/api/v1/calls/c1/events")).header("last-event-id", "1");
    let mut back = back.send().await.unwrap();
    let (status, call) = got(&rig, "/api/v1/calls/c1").await;
    assert_eq!(
        (status, call["state"].as_str(), call["callType"].as_str()),
        (200, Some("up"), Some("webSocket"))
    );
    assert!(call["duration"].is_u64() && !call.to_string().contains("hunter2"));
    assert_eq!(got(&rig, "/api/v1/calls").await.1["calls"][0]["id"], "c1");
    let history = json!({"command": "history", "speaker": "user", "text": "hi", "colour": "red"});
    let (status, taken) = posted(&rig, "/api/v1/calls/c1/commands", history).await;
    assert_eq!(
        (status, taken["command"].as_str(), &taken["unknown"]),
        (202, Some("history"), &json!(["colour"]))
    );
    assert_eq!(owner.event("addHistory").await["text"], "hi");
    assert_eq!(posted(&rig, "/call/c1/command", json!({"command": "hangup"})).await.0, 202);
    owner.event("hangup").await;
    let mut seen = String::new();
    let reading = async {
        while let Some(chunk) = watching.chunk().await.unwrap() {
            seen.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    timeout(PATIENCE, reading).await.unwrap();
    for part in ["event: addHistory\n", "event: hangup\n", "data: {"] {
        assert!(seen.contains(part), "{part} in {seen}");
    }
    let mut seen = String::new();
    let reading = async {
        while let Some(chunk) = back.chunk().await.unwrap() {
            seen.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    timeout(PATIENCE, reading).await.unwrap();
    let ids: Vec<u64> = seen.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect();
    assert!(
        ids[0] == 2 && ids.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "who comes back misses nothing: {seen}"
    );
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_wrong_is_told_with_its_field() {
    let rig = Rig::start().await;
    let mut owner = rig.connect("/call?id=c1").await;
    owner.send(json!({"command": "invite", "option": {}})).await;
    owner.event("answer").await;
    let deep = format!("{{\"command\":\"tts\",\"text\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for (body, field) in [
        (r#"{"command":"tts","text":7}"#, Some("text")),
        (r#"{"command":"play","url":"x","autoHangup":"perhaps"}"#, Some("autoHangup")),
        (r#"{"command":"tts","text":"x","option":{"endpoint":"http://127.0.0.1"}}"#, Some("option.endpoint")),
        (r#"{"command":"dance"}"#, Some("command")),
        (r#"{"command":"tts"}"#, Some("text")),
        ("nonsense", None),
        (deep.as_str(), None),
    ] {
        let (status, told) = posted(&rig, "/call/c1/command", body).await;
        let told_field = told["field"].as_str();
        assert_eq!(status, 400, "{told}");
        assert!(field.is_none_or(|field| told_field == Some(field)), "{body:.60}: {told}");
        assert!(told["detail"].as_str().unwrap().len() < 700);
    }
    assert_eq!(posted(&rig, "/call/nobody/command", r#"{"command":"pause"}"#).await.0, 404);
    assert_eq!(got(&rig, "/api/v1/calls/nobody").await.0, 404);
    assert_eq!(got(&rig, "/api/v1/calls/nobody/events").await.0, 404);
    assert_eq!(post(&rig, "/call/c1/command", vec![0xff, 0xfe]).await.status(), 400);
    let large = post(&rig, "/call/c1/command", vec![b' '; 11 << 20]).await;
    assert_eq!(
        (large.status().as_u16(), &large.headers()["content-type"]),
        (413, &"application/problem+json".parse().unwrap())
    );
    // What it was told before this has come then.
    owner.send(json!({"command": "history", "speaker": "user", "text": "after all"})).await;
    while owner.event("addHistory").await["text"] != "after all" {}
    assert!(owner.seen.iter().all(|event| event != "hangup"));
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_could_not_be_sent_is_refused_with_its_field() {
    let rig = Rig::start().await;
    for (body, field) in [
        (json!({"to": "tel:+15550100"}), "to"),
        (
            json!({"to": "sip:a@127.0.0.1", "option": {"sip": {"headers": {"X-A": "1\r\nX-B: 2"}}}}),
            "option.sip.headers",
        ),
        (
            json!({"to": "sip:a@127.0.0.1", "option": {"sip": {"headers": {"X A": "1"}}}}),
            "option.sip.headers",
        ),
        (
            json!({"to": "sip:a@127.0.0.1", "option": {"sip": {"hangup_headers": {"X-A": "1\n2"}}}}),
            "option.sip.hangupHeaders",
        ),
    ] {
        let (status, told) = posted(&rig, "/api/v1/calls", &body).await;
        assert_eq!((status, told["field"].as_str()), (400, Some(field)), "{body}: {told}");
    }
    for name in ["none.md", "../hello.md"] {
        let body = json!({"to": "sip:a@127.0.0.1", "option": {"playbook": name}});
        let (status, told) = posted(&rig, "/api/v1/calls", &body).await;
        assert_eq!((status, told["field"].as_str()), (400, Some("option.playbook")), "{told}");
    }
    assert_eq!(rig.server.app().calls.counts().total, 0);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn playbooks_are_saved_when_they_can_be_used_and_read_and_listed() {
    let rig = Rig::start().await;
    assert_eq!(got(&rig, "/api/playbooks").await, (200, json!([])));
    let (status, verdict) = posted(&rig, "/api/playbooks/hello.md", PLAYBOOK).await;
    assert_eq!((status, &verdict["valid"]), (200, &json!(true)), "{verdict}");
    assert_eq!(rig.get("/api/playbooks/hello.md").await, (200, PLAYBOOK.to_owned()));
    let (_, list) = got(&rig, "/api/playbooks").await;
    assert_eq!(list[0]["name"], "hello.md");
    assert!(list[0]["updated"].as_str().unwrap().ends_with('Z'));
    let bad = "---\ninterruption:\n  strategy: loud\n---\nhi\n";
    let (status, told) = posted(&rig, "/api/playbooks/hello.md", bad).await;
    assert!(status == 400 && told["detail"].as_str().unwrap().contains("line 3"), "{told}");
    assert_eq!(rig.get("/api/playbooks/hello.md").await.1, PLAYBOOK, "the good one stays");
    let (status, verdict) = posted(&rig, "/api/v1/playbooks/validate", bad).await;
    assert_eq!((status, &verdict["valid"]), (200, &json!(false)));
    for name in ["..%2Fx.md", "a%2Fb.md", "%2Fetc%2Fx.md", "a%5Cb.md", "hello.txt", "x%00.md"] {
        assert_eq!(posted(&rig, &format!("/api/playbooks/{name}"), PLAYBOOK).await.0, 400, "{name}");
    }
    assert_eq!(rig.get("/api/playbooks/..%2Fsecret.md").await.0, 400);
    assert_eq!(rig.get("/api/playbooks/none.md").await.0, 404);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_playbook_talks_to_who_opens_its_call() {
    let rig = Rig::start().await;
    let (status, started) = posted(&rig, "/api/playbook/run", json!({"content": PLAYBOOK})).await;
    assert_eq!(status, 200);
    let id = started["session_id"].as_str().unwrap();
    let mut client = rig.connect(&format!("/call?id={id}")).await;
    client.send(json!({"command": "invite", "option": {}})).await;
    client.event("answer").await;
    assert_eq!(client.event("trackStart").await["trackId"], "server-side-track", "the greeting");
    drop(client);
    for (body, field) in [
        (json!({}), "playbook"),
        (json!({"playbook": "none.md"}), "playbook"),
        (json!({"playbook": "../x.md"}), "playbook"),
        (json!({"content": "---\nasr: 7\n---\n"}), "content"),
        (json!({"content": PLAYBOOK.replace("llm: {", "llm: {baseUrl: \"http://10.0.0.1\", ")}), "content"),
        (json!({"content": 7}), "content"),
        (json!({"content": PLAYBOOK.replace("kind.", &"kind. ".repeat(200_000))}), "content"),
    ] {
        let (status, told) = posted(&rig, "/api/playbook/run", &body).await;
        assert_eq!((status, told["field"].as_str()), (400, Some(field)), "{body}: {told}");
    }
    assert_eq!(posted(&rig, "/api/v1/calls", json!({})).await.1["field"], "to");
    for (body, field) in [
        (json!({"to": "x"}), "to"),
        (json!({"to": "sip:x@h\r\nX: y"}), "to"),
        (json!({"to": "sip:x@127.0.0.1", "caller": "nobody"}), "caller"),
    ] {
        let (status, told) = posted(&rig, "/api/v1/calls", &body).await;
        assert_eq!((status, told["field"].as_str()), (400, Some(field)), "{body}: {told}");
    }
    let run = json!({"content": PLAYBOOK, "to": "nonsense"});
    assert_eq!(posted(&rig, "/api/playbook/run", &run).await.1["field"], "to");
    assert_eq!(rig.server.app().calls.counts().now, 0);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn playbooks_that_wait_take_no_more_memory_than_there_is_room_for() {
    let rig = Rig::start().await;
    let run = json!({"content": PLAYBOOK});
    assert_eq!(posted(&rig, "/api/playbook/run", &run).await.0, 200);
    let (parked, now) = (&rig.server.app().parked, active_call::app::now_ms());
    let held = Held { playbook: Arc::new(Playbook::parse(PLAYBOOK, &|_| None).unwrap()), bytes: 64 << 20 };
    assert!(!parked.park("large", held.clone(), now), "the one that waits takes room");
    let nearly = Held { bytes: (64 << 20) - PLAYBOOK.len() - 1, ..held };
    assert!(parked.park("large", nearly, now));
    let (status, told) = posted(&rig, "/api/playbook/run", &run).await;
    assert_eq!((status, told["title"].as_str()), (503, Some("Service Unavailable")), "{told}");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_places_a_call_and_its_playbook_talks_there() {
    let callee = Rig::start_with(|config| playbooks(config, Vec::new(), Some("hello.md"))).await;
    std::fs::write(callee.path("playbook/hello.md"), PLAYBOOK).unwrap();
    let rig = Rig::start().await;
    let to = format!("sip:desk@{}", callee.server.sip_addr());
    let (status, started) =
        posted(&rig, "/api/playbook/run", json!({"content": PLAYBOOK, "to": to, "type": "sip"})).await;
    assert_eq!(status, 200);
    let (status, placed) = posted(&rig, "/api/v1/calls", json!({"id": "mine", "to": to})).await;
    assert_eq!(
        (status, placed["id"].as_str(), placed["callType"].as_str()),
        (201, Some("mine"), Some("sip"))
    );
    assert_eq!(placed["callee"], to);
    let odd = json!({"id": "odd", "to": to, "colour": "red", "option": {"tts": {"colour": "blue"}}});
    let (status, placed) = posted(&rig, "/api/v1/calls", odd).await;
    assert_eq!((status, &placed["unknown"]), (201, &json!(["colour", "option.tts.colour"])));
    let mut watching = reqwest::get(rig.url("/api/v1/calls/odd/events")).await.unwrap();
    let mut told = String::new();
    let keys = ["\"unknownKey\":\"colour\"", "\"unknownKey\":\"option.tts.colour\""];
    let reading = async {
        while !keys.iter().all(|key| told.contains(key)) {
            told.push_str(std::str::from_utf8(&watching.chunk().await.unwrap().unwrap()).unwrap());
        }
    };
    timeout(PATIENCE, reading).await.expect("unknown keys are told");
    assert_eq!(posted(&rig, "/call/odd/command", json!({"command": "hangup"})).await.0, 202);
    assert!(placed["startedAt"].as_str().unwrap() > "2020", "{placed}");
    let ids = [started["session_id"].as_str().unwrap(), "mine"];
    for id in ids {
        let call = rig.server.app().calls.find(id).unwrap();
        rig.until("an answer", |_| call.info().answered_ms).await;
        assert_eq!(posted(&rig, &format!("/call/{id}/command"), json!({"command": "hangup"})).await.0, 202);
    }
    let records = rig.until("the records", |rig| Some(rig.records()).filter(|all| all.len() == 3)).await;
    for id in ids {
        let record = records.iter().find(|record| record.call_id == id).unwrap();
        assert_eq!((record.status_code, record.callee.as_str()), (200, to.as_str()));
    }
    assert_eq!(posted(&rig, "/api/v1/calls", json!({"id": "a/b", "to": to})).await.1["field"], "id");
    rig.server.stop().await;
    callee.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_served_from_their_folder_and_compressed_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("static");
    std::fs::create_dir(&pages).unwrap();
    std::fs::write(pages.join("app.js"), "let a = 1;\n".repeat(1000)).unwrap();
    std::fs::write(folder.path().join("secret.txt"), "x").unwrap();
    let rig = Rig::start_with(|config| {
        config.static_path = pages.clone();
        config.http_gzip = true;
    })
    .await;
    assert!(rig.get("/").await.1.contains("/openapi.json"), "a page of its own");
    std::fs::write(pages.join("index.html"), "mine").unwrap();
    assert_eq!(rig.get("/").await, (200, "mine".into()));
    for path in ["/static/..%2Fsecret.txt", "/static/%2Fetc%2Fpasswd", "/static/none.js"] {
        assert_eq!(rig.get(path).await.0, 404, "{path}");
    }
    let script = Client::new().get(rig.url("/static/app.js")).header("accept-encoding", "gzip");
    let script = script.send().await.unwrap();
    assert_eq!(script.headers()["content-encoding"], "gzip");
    assert!(script.headers()["content-type"].to_str().unwrap().starts_with("text/javascript"));
    assert!(script.bytes().await.unwrap().len() < 1000);
    rig.server.stop().await;
}
