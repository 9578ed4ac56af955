//! What can be asked and done over HTTP without a WebSocket.

use std::collections::HashMap;

use active_call::config::IceServerTable;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::rig::{PATIENCE, Rig};

const SECRET: &str = "hunter2hunter2";

#[tokio::test(flavor = "multi_thread")]
async fn lists_show_calls_in_both_forms_without_their_secrets() {
    let rig = Rig::start().await;
    let mut client = rig.connect("/call?id=listed").await;
    let option = json!({"tts": {"provider": "fake", "apiKey": SECRET}, "sip": {"password": SECRET}});
    client.send(json!({"command": "invite", "option": option})).await;
    client.event("answer").await;
    let (status, documented) = rig.get("/call/lists").await;
    let (_, deployed) = rig.get("/list").await;
    assert_eq!(status, 200);
    assert!(!documented.contains(SECRET) && !deployed.contains(SECRET));
    let documented: Value = serde_json::from_str(&documented).unwrap();
    assert_eq!(documented["calls"][0]["id"], "listed");
    assert_eq!(documented["calls"][0]["call_type"], "websocket");
    assert!(documented["calls"][0]["created_at"].as_str().unwrap().ends_with('Z'));
    let deployed: Value = serde_json::from_str(&deployed).unwrap();
    let call = &deployed["active_calls"][0];
    assert_eq!((call["id"].as_str(), call["callType"].as_str()), (Some("listed"), Some("webSocket")));
    assert_eq!(call["cs.option"]["tts"]["provider"], "fake");
    assert_eq!(call["ringTime"], Value::Null);
    assert!(call["startTime"].is_string());
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_killed_in_both_forms() {
    let rig = Rig::start().await;
    for form in ["documented", "deployed"] {
        let mut client = rig.connect("/call?id=victim").await;
        client.send(json!({"command": "invite", "option": {}})).await;
        client.event("answer").await;
        if form == "documented" {
            let answer = reqwest::Client::new().post(rig.url("/call/kill/victim")).send().await.unwrap();
            assert_eq!(answer.text().await.unwrap(), "true");
        } else {
            let (_, body) = rig.get("/kill/victim").await;
            assert_eq!(
                serde_json::from_str::<Value>(&body).unwrap(),
                json!({"status": "killed", "id": "victim"})
            );
        }
        client.event("hangup").await;
        rig.until("no call", |rig| (rig.server.app().calls.counts().now == 0).then_some(())).await;
    }
    let metrics = rig.get("/metrics").await.1;
    assert!(metrics.contains("\nactive_call_calls_ended_total{reason=\"system\"} 2\n"), "{metrics}");
    assert!(metrics.contains("\nactive_call_errors_total{sender=\"asr\"} 0\n"), "{metrics}");
    assert!(metrics.contains("\nactive_call_response_seconds_bucket{le=\"0.3\"} 0\n"), "{metrics}");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_what_is_not_there_is_told() {
    let rig = Rig::start().await;
    let answer = reqwest::Client::new().post(rig.url("/call/kill/nobody")).send().await.unwrap();
    assert_eq!(answer.status(), 404);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert_eq!(rig.get("/kill/nobody").await, (200, r#"{"status":"not_found","id":"nobody"}"#.into()));
    rig.server.stop().await;
}

/// The status of an answer that has to be a problem.
async fn problem(request: RequestBuilder, what: &str) -> u16 {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    let body = answer.text().await.unwrap();
    assert_eq!(kind.as_deref(), Some("application/problem+json"), "{what}: {status} {body}");
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(told["status"], status, "{what}");
    assert!(!told["detail"].as_str().unwrap().is_empty(), "{what}");
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_tells_what_is_wrong_with_a_request_as_a_problem() {
    let rig = Rig::start().await;
    let client = Client::new();
    let described = active_call::http::describe();
    for (method, path, _) in active_call::http::paths() {
        let what = format!("{method} {path}");
        let plain = path.replace("{*", "{");
        let takes = &described["paths"][&plain][method.to_ascii_lowercase()]["requestBody"];
        let filled = |with: &str| {
            rig.url(
                &["{id}", "{name}", "{path}"]
                    .iter()
                    .fold(plain.clone(), |path, open| path.replace(open, with)),
            )
        };
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let ask = |with: &str| client.request(method.clone(), filled(with));
        assert_eq!(problem(client.delete(filled("x")), &what).await, 405, "{what}");
        if plain.contains('{') {
            assert_eq!(problem(ask("%ff"), &what).await, 400, "{what}");
        }
        if plain.starts_with("/call") && method == Method::GET && plain != "/call/lists" {
            assert_eq!(problem(ask("x"), &what).await, 400, "no WebSocket: {what}");
        }
        if !takes.is_null() {
            assert_eq!(problem(ask("x").body(vec![0xff]), &what).await, 400, "{what}");
            let large = vec![b' '; protocol::read::MAX_MESSAGE + 1];
            assert_eq!(problem(ask("x").body(large), &what).await, 413, "{what}");
            if takes["content"].get("application/json").is_some() {
                assert_eq!(
                    problem(ask("x").body("["), &what).await,
                    if plain.contains('{') { 404 } else { 400 }
                );
            }
        }
    }
    for path in ["/nothing", "/api/v2/calls", "/call/x/y/z", "//"] {
        assert_eq!(problem(client.get(rig.url(path)), path).await, 404, "{path}");
    }
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_server_s_shared_secret_stays_here_and_passwords_are_told() {
    let rig = Rig::start_with(|config| {
        config.ice_servers = vec![IceServerTable {
            urls: vec!["turn:turn.example:3478".into()],
            secret: Some(protocol::Secret::new("northern lights")),
            ..IceServerTable::default()
        }];
    })
    .await;
    let (status, text) = rig.get("/iceservers").await;
    assert_eq!((status, text.contains("northern lights")), (200, false), "{text}");
    let ice: Value = serde_json::from_str(&text).unwrap();
    let until: u64 = ice[0]["username"].as_str().unwrap().parse().unwrap();
    let now = active_call::app::now_ms() / 1000;
    assert!((now + 86_000..now + 86_500).contains(&until), "{until} at {now}");
    // 20 bytes in base64.
    assert_eq!(ice[0]["credential"].as_str().unwrap().len(), 28);
    rig.server.stop().await;
}

/// Sees that a page is as its format wants it: every value stands once, behind the help and the type of its metric,
/// and a histogram has limits that rise, counts that do not fall, a sum, and a count that is that of its last limit.
fn is_prometheus(page: &str) {
    let (mut kinds, mut seen) = (HashMap::new(), HashMap::new());
    let mut helped = "";
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            helped = help.split_once(' ').expect("a help has a text").0;
            continue;
        }
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(name == helped && kinds.insert(name, kind).is_none(), "{line}");
            assert!((kind == "counter") == name.ends_with("_total"), "{line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect(line);
        let family = series.split('{').next().unwrap();
        let own = match kinds[helped] {
            "histogram" => ["_bucket", "_sum", "_count"].iter().any(|end| family == format!("{helped}{end}")),
            _ => family == helped,
        };
        assert!(own, "{line} stands behind {helped}");
        assert!(seen.insert(series, value.parse::<f64>().expect(line)).is_none(), "{line} stands twice");
    }
    let histograms: Vec<&str> =
        kinds.iter().filter(|(_, kind)| **kind == "histogram").map(|(name, _)| *name).collect();
    assert!(histograms.len() > 3, "{histograms:?}");
    for name in histograms {
        let begin = format!("{name}_bucket{{le=\"");
        let limits = page.lines().filter_map(|line| line.strip_prefix(&begin)?.split_once("\"} "));
        let limits: Vec<(f64, f64)> =
            limits.map(|(limit, count)| (limit.parse().unwrap(), count.parse().unwrap())).collect();
        assert!(limits.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name}: {limits:?}");
        let count = seen[format!("{name}_count").as_str()];
        assert_eq!(limits.last(), Some(&(f64::INFINITY, count)), "{name}");
        assert!(seen.contains_key(format!("{name}_sum").as_str()), "{name} has no sum");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_ice_servers_and_metrics_answer() {
    let rig = Rig::start().await;
    let (status, health) = rig.get("/health").await;
    assert_eq!(
        (status, serde_json::from_str::<Value>(&health).unwrap()["status"].as_str()),
        (200, Some("ok"))
    );
    let ice: Value = serde_json::from_str(&rig.get("/iceservers").await.1).unwrap();
    assert_eq!(ice[0]["urls"][0], "stun:stun.l.google.com:19302");
    assert_eq!(ice[0]["username"], Value::Null);
    let _client = rig.connect("/call").await;
    rig.until("the call is counted", |rig| (rig.server.app().calls.counts().total == 1).then_some(())).await;
    let answer = reqwest::get(rig.url("/metrics")).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let metrics = answer.text().await.unwrap();
    assert!(metrics.contains("\nactive_call_calls 1\n"), "{metrics}");
    assert!(metrics.contains("# TYPE active_call_sip_received_total counter"));
    is_prometheus(&metrics);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_and_plain_requests_are_refused() {
    let rig = Rig::start().await;
    assert_eq!(rig.get("/nothing").await.0, 404);
    assert_eq!(rig.get("/../etc/passwd").await.0, 404);
    for path in ["/call", "/call/", "/call/sip", "/call/webrtc"] {
        let answer = reqwest::get(rig.url(path)).await.unwrap();
        assert!(answer.status().is_client_error(), "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
    }
    assert_eq!(rig.get("/call/kill/x").await.0, 405);
    rig.server.stop().await;
}

/// What comes for `bytes` on a connection of their own until the server closes it: the status and the body of each answer.
async fn answers(rig: &Rig, bytes: &[u8]) -> Vec<(u16, Value)> {
    let mut stream = TcpStream::connect(rig.server.http_addr()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut text = String::new();
    let mut answers = Vec::new();
    timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (head, after) = rest.split_once("\r\n\r\n").unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let (body, after) = after.split_at(length.parse().unwrap());
        answers.push((head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or_default()));
        assert!(body.is_empty() || head.contains("content-type: application/"), "{head}");
        rest = after;
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_told_as_a_problem_too() {
    let rig = Rig::start().await;
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    let health = "GET /health HTTP/1.1\r\nhost: h\r\n\r\n";
    for (what, bytes, status, part) in [
        ("no HTTP", "\x16\x03\x01\x02 hello\r\n\r\n".to_owned(), 400, "no request"),
        ("a header without a colon", "GET / HTTP/1.1\r\nnonsense\r\n\r\n".into(), 400, "no request"),
        ("headers", format!("GET / HTTP/1.1\r\n{many}\r\n"), 431, "too many"),
        ("a long address", format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(70_000)), 414, "too long"),
    ] {
        let told = answers(&rig, bytes.as_bytes()).await;
        let [(code, problem)] = &told[..] else { panic!("{what}: {told:?}") };
        assert_eq!((*code, &problem["status"]), (status, &json!(status)), "{what}: {told:?}");
        assert!(problem["detail"].as_str().unwrap().contains(part), "{what}: {problem}");
    }
    let told = answers(&rig, format!("{health}nonsense\r\n\r\n").as_bytes()).await;
    assert_eq!(told.iter().map(|(code, _)| *code).collect::<Vec<_>>(), [200, 400], "{told:?}");
    rig.server.stop().await;
}
