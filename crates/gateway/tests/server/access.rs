//! Who may: keys, one-time tickets, loopback, pages of other sites, and HTTPS.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use active_call::access::keys;
use active_call::config::words::{AuthMode, Scope};
use active_call::config::{ApiKey, Auth, Config};
use futures::{SinkExt, StreamExt};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, connect_async};

use crate::command::{CONF, Running};
use crate::rig::{self, Rig};

const KEY: &str = "a key of sixteen characters and more";

/// Loopback needs a key too, and [`KEY`] is one for `scope`.
fn locked(scope: Scope) -> impl FnOnce(&mut Config) {
    move |config| {
        let key =
            ApiKey { name: "tester".into(), hash: keys::hash(KEY), scopes: vec![scope], ..ApiKey::default() };
        config.auth = Auth { loopback: false, keys: vec![key], ..Auth::default() };
    }
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

/// The status of an upgrade with one more header.
async fn upgraded(url: &str, header: &'static str, value: &str) -> u16 {
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert(header, value.parse().unwrap());
    match connect_async(request).await {
        Ok(_) => 101,
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_but_the_open_ones_is_served_without_a_key() {
    let rig = Rig::start_with(locked(Scope::Admin)).await;
    let client = Client::new();
    let mut asked = 0;
    for (method, path, _) in active_call::http::paths().filter(|(_, path, _)| *path != "/health") {
        let path = path.replace("{*", "{").replace("{id}", "x").replace("{name}", "x").replace("{path}", "x");
        if ["/", "/static/x", "/openapi.json", "/schemas"].contains(&path.as_str()) {
            continue;
        }
        let request = || client.request(Method::from_bytes(method.as_bytes()).unwrap(), rig.url(&path));
        let answer = request().send().await.unwrap();
        assert_eq!(answer.status(), 401, "{method} {path}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        for (header, value) in [
            ("x-api-key", "wrong"),
            ("authorization", "Bearer wrong"),
            ("authorization", KEY),
            ("x-api-key", ""),
        ] {
            assert_eq!(status(request().header(header, value)).await, 401, "{method} {path} {header}");
        }
        asked += 1;
    }
    assert!(asked > 8);
    assert_eq!(rig.get("/nothing").await.0, 401, "what is not there is not told either");
    assert_eq!(rig.get("/health").await.0, 200);
    assert_eq!(status(client.get(rig.url("/list")).bearer_auth(KEY)).await, 200);
    assert_eq!(status(client.get(rig.url("/list")).header("x-api-key", KEY)).await, 200);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_does_what_its_scope_says_and_no_more() {
    let rig = Rig::start_with(locked(Scope::Read)).await;
    let client = Client::new();
    assert_eq!(status(client.get(rig.url("/list")).bearer_auth(KEY)).await, 200);
    assert_eq!(status(client.post(rig.url("/call/kill/x")).bearer_auth(KEY)).await, 403);
    assert_eq!(status(client.post(rig.url("/api/v1/tickets")).bearer_auth(KEY)).await, 403);
    let socket = format!("ws://{}/call", rig.server.http_addr());
    assert_eq!(upgraded(&socket, "authorization", &format!("Bearer {KEY}")).await, 403);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_one_call_from_a_browser_once() {
    let rig = Rig::start_with(locked(Scope::Control)).await;
    let client = Client::new();
    let ask = |body: Value| client.post(rig.url("/api/v1/tickets")).bearer_auth(KEY).body(body.to_string());
    let answer = ask(json!({"path": "/call", "id": "web-1"})).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let ticket: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let path = ticket["path"].as_str().unwrap();
    assert!(path.starts_with("/t/") && path.ends_with("/call"), "{path}");
    let mut call = rig.connect(&format!("{path}?id=web-1")).await;
    call.send(json!({"command": "invite", "option": {}})).await;
    call.event("answer").await;
    assert_eq!(rig.try_connect(&format!("{path}?id=web-1")).await.err(), Some(401), "only once");
    let answer = ask(json!({"path": "/call", "id": "web-2"})).send().await.unwrap();
    let ticket: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let other = format!("{}?id=web-3", ticket["path"].as_str().unwrap());
    assert_eq!(rig.try_connect(&other).await.err(), Some(401), "only for its call");
    let its = other.replace("web-3", "web-2");
    assert!(rig.try_connect(&its).await.is_ok(), "a try for something else leaves it as it was");
    assert_eq!(status(ask(json!({"scope": "admin"}))).await, 403, "not for more than the key");
    for (body, field) in [
        (json!({"scope": "all"}), "scope"),
        (json!({"path": "http://x"}), "path"),
        (json!({"ttl": 0}), "ttl"),
    ] {
        let refused = ask(body).send().await.unwrap();
        assert_eq!(refused.status(), 400, "{field}");
        let told: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
        assert_eq!(told["field"], field);
    }
    assert_eq!(rig.get("/t/nonsense/list").await.0, 401);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_are_refused_unless_listed() {
    let rig = Rig::start_with(|config| config.auth.origins = vec!["https://app.example".into()]).await;
    let client = Client::new();
    let from = |origin: &str| client.get(rig.url("/list")).header("origin", origin);
    assert_eq!(status(from("https://evil.example")).await, 403);
    assert_eq!(status(from("null")).await, 403);
    assert_eq!(status(from(&rig.url(""))).await, 200);
    let listed = from("https://app.example").send().await.unwrap();
    assert_eq!(
        (listed.status().as_u16(), &listed.headers()["access-control-allow-origin"]),
        (200, &"https://app.example".parse().unwrap())
    );
    assert_eq!(listed.headers()["access-control-expose-headers"], "x-total-count");
    let preflight = client
        .request(Method::OPTIONS, rig.url("/call/kill/x"))
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST");
    assert_eq!(status(preflight).await, 204);
    let socket = format!("ws://{}/call", rig.server.http_addr());
    assert_eq!(upgraded(&socket, "origin", "https://evil.example").await, 403);
    assert_eq!(upgraded(&socket, "origin", "https://app.example").await, 101);
    for (site, path, expected) in [
        ("cross-site", "/kill/x", 403),
        ("cross-site", "/list", 403),
        ("cross-site", "/", 200),
        ("same-site", "/kill/x", 403),
        ("none", "/kill/x", 403),
        ("none", "/list", 200),
        ("same-origin", "/kill/x", 200),
    ] {
        let image = client.get(rig.url(path)).header("sec-fetch-site", site);
        assert_eq!(status(image).await, expected, "{site} {path}");
    }
    for header in ["x-forwarded-for", "X-Forwarded-Proto", "via"] {
        let proxied = client.get(rig.url("/list")).header(header, "203.0.113.9");
        assert_eq!(status(proxied).await, 401, "who stands behind a proxy is not loopback");
    }
    let renamed = client.get(rig.url("/list")).header("host", "evil.example");
    assert_eq!(status(renamed).await, 401, "a name that was made to lead here");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_one_is_made_for_those_who_come_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config/the.key");
    let rig = Rig::start_with(|config| {
        config.http_addr = "0.0.0.0:0".parse().unwrap();
        config.auth.key_file = file.clone();
    })
    .await;
    let port = rig.server.http_addr().port();
    let client = Client::new();
    assert_eq!(status(client.get(format!("http://127.0.0.1:{port}/list"))).await, 200);
    let own = active_call::ports::address_towards("192.0.2.1:9".parse().unwrap());
    if own != IpAddr::from([127, 0, 0, 1]) {
        let url = format!("http://{}/list", SocketAddr::new(own, port));
        assert_eq!(status(client.get(&url)).await, 401);
        let key = std::fs::read_to_string(&file).unwrap();
        assert_eq!(status(client.get(&url).bearer_auth(key.trim())).await, 200);
    }
    assert!(file.exists());
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_open_door_takes_everyone() {
    let rig = Rig::start_with(|config| {
        config.auth = Auth { mode: AuthMode::None, loopback: false, ..Auth::default() };
    })
    .await;
    let client = Client::new();
    assert_eq!(status(client.get(rig.url("/list")).header("origin", "https://any.example")).await, 200);
    rig.server.stop().await;
}

/// A certificate for loopback in `folder`; gives its PEM.
fn certificate(folder: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    made.cert.pem()
}

#[tokio::test(flavor = "multi_thread")]
async fn https_is_served_by_certificate_files_and_nothing_in_the_clear() {
    let folder = tempfile::tempdir().unwrap();
    let pem = certificate(folder.path());
    let rig = Rig::start_with(|config| {
        config.http_tls_cert_file = Some(folder.path().join("cert.pem"));
        config.http_tls_key_file = Some(folder.path().join("key.pem"));
    })
    .await;
    let trusted = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
    let client = Client::builder().tls_certs_only([trusted]).build().unwrap();
    let url = format!("https://{}/health", rig.server.http_addr());
    assert_eq!(status(client.get(&url)).await, 200);
    assert!(Client::new().get(&url).send().await.is_err(), "a certificate that nobody vouches for");
    assert!(reqwest::get(rig.url("/health")).await.is_err(), "no plain HTTP");
    rig.server.stop().await;
}

type Secure = WebSocketStream<TlsStream<TcpStream>>;

/// A WebSocket over TLS with a key, to a server whose certificate is `pem`; else the status of its refusal.
async fn over_tls(rig: &Rig, pem: &str, path: &str, key: &str) -> Result<Secure, u16> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let address = rig.server.http_addr();
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(address.ip().into(), stream).await.unwrap();
    let mut request = format!("wss://{address}{path}").into_client_request().unwrap();
    request.headers_mut().insert("x-api-key", key.parse().unwrap());
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

/// Sends a command, and waits for the event that answers it.
async fn answers(socket: &mut Secure, command: &Value, event: &str) {
    socket.send(Message::text(command.to_string())).await.unwrap();
    let answered = async {
        loop {
            let message = socket.next().await.unwrap().unwrap();
            let text = message.to_text().unwrap_or_default();
            if serde_json::from_str::<Value>(text).is_ok_and(|told| told["event"] == event) {
                break;
            }
        }
    };
    timeout(rig::PATIENCE, answered).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn over_https_a_key_opens_a_call_and_its_id_seizes_it_for_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let pem = certificate(folder.path());
    let rig = Rig::start_with(|config| {
        locked(Scope::Control)(config);
        config.http_tls_cert_file = Some(folder.path().join("cert.pem"));
        config.http_tls_key_file = Some(folder.path().join("key.pem"));
    })
    .await;
    let mut call = over_tls(&rig, &pem, "/call?id=mine", KEY).await.unwrap();
    answers(&mut call, &json!({"command": "invite", "option": {}}), "answer").await;
    for path in ["/call?id=mine", "/call/sip?id=mine", "/call/webrtc?id=mine"] {
        assert_eq!(over_tls(&rig, &pem, path, KEY).await.err(), Some(409), "{path}");
        assert_eq!(over_tls(&rig, &pem, path, "wrong").await.err(), Some(401), "{path}");
    }
    let trusted = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
    let client = Client::builder().tls_certs_only([trusted]).build().unwrap();
    let kill = || client.post(format!("https://{}/call/kill/mine", rig.server.http_addr()));
    assert_eq!(status(kill()).await, 401);
    let history = json!({"command": "history", "speaker": "user", "text": "mine"});
    answers(&mut call, &history, "addHistory").await;
    assert_eq!(status(kill().bearer_auth(KEY)).await, 200);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_where_a_made_key_is_and_that_a_door_is_open_and_never_tells_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let everywhere = CONF.replace("127.0.0.1:0", "0.0.0.0:0");
    for part in ["one was made", "the API key is in this file"] {
        let running = Running::start_as_said(folder.path(), &everywhere, &[]).await;
        let key = std::fs::read_to_string(folder.path().join("config/active-call.key")).unwrap();
        let line = running.start.iter().find(|line| line.contains(part));
        assert!(line.is_some_and(|line| line.contains("active-call.key")), "{part}: {:?}", running.start);
        assert!(running.start.iter().all(|line| !line.contains(key.trim())));
    }
    let open = format!("auth = \"none\"\n{CONF}");
    let running = Running::start_as_said(folder.path(), &open, &[]).await;
    let loud = running.start.iter().find(|line| line.contains("WHOEVER REACHES THIS SERVER"));
    assert!(loud.is_some_and(|line| line.contains("WARN")), "{:?}", running.start);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_used_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        http_addr: "127.0.0.1:0".parse().unwrap(),
        http_tls_cert_file: Some(folder.path().join("missing.pem")),
        http_tls_key_file: Some(folder.path().join("missing.pem")),
        addr: "127.0.0.1".parse().ok(),
        udp_port: 0,
        ..Config::default()
    };
    let error = active_call::server::Server::start(config).await.err().unwrap().to_string();
    assert!(error.contains("missing.pem") && error.contains("http_tls_cert_file"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_made_key_is_let_in_by_the_lines_printed_with_it() {
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_active-call"))
        .args(["key", "--name", "the \"web\"", "--scope", "read"])
        .output()
        .unwrap();
    let printed = String::from_utf8(made.stdout).unwrap();
    let (key, lines) = printed.split_once('\n').unwrap();
    let source = active_call::config::problem::Source { name: "a.toml".into(), text: lines.into() };
    let loaded = active_call::config::read::text(&source, &|_| None).unwrap();
    let known = keys::Known::from_row(&loaded.config.auth.keys[0]).unwrap();
    assert_eq!((known.name.as_str(), known.scope), ("the \"web\"", Scope::Read));
    assert!(known.opens(key, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_says_nothing_is_no_burden_on_others() {
    let rig = Rig::start().await;
    let mut idle = Vec::new();
    for _ in 0..400 {
        idle.push(tokio::net::TcpStream::connect(rig.server.http_addr()).await.unwrap());
    }
    assert_eq!(rig.get("/health").await.0, 200);
    let stopped = tokio::time::timeout(rig::PATIENCE, rig.server.stop()).await;
    assert!(stopped.is_ok(), "they do not hold up the stop either");
}
