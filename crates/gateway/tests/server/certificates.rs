//! HTTPS servers whose certificate nobody vouches for: none of them is told anything by us, and it is said why.

use std::sync::Arc;

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::command::Running;
use crate::raw_phone::{RawPhone, sdp};
use crate::rig::{Client, PATIENCE};

/// A server with a certificate of its own making, and what it hears in each connection; `None`: the handshake failed.
async fn of_its_own_making() -> (String, mpsc::Receiver<Option<Vec<u8>>>, JoinSet<()>) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let (tell, heard) = mpsc::channel(16);
    let mut task = JoinSet::new();
    task.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let said = match acceptor.accept(stream).await {
                Ok(mut stream) => {
                    let mut said = vec![0; 4096];
                    let length = stream.read(&mut said).await.unwrap_or(0);
                    Some(said[..length].to_vec())
                }
                Err(_) => None,
            };
            tell.send(said).await.unwrap();
        }
    });
    (address, heard, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_a_sound_and_a_model_behind_a_certificate_of_its_own_making_get_nothing() {
    let (address, mut heard, _task) = of_its_own_making().await;
    let mut hears_nothing = async |who: &str| {
        let mut said = timeout(PATIENCE, heard.recv()).await.expect("a connection");
        while let Some(one) = said {
            assert_eq!(one.map(|said| String::from_utf8_lossy(&said).into_owned()), None, "{who}");
            said = heard.try_recv().ok();
        }
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("config/playbook")).unwrap();
    let llm = format!("llm: {{ provider: openai, model: m, apiKey: k, baseUrl: \"{address}/v1\" }}");
    let agent = format!("---\n{llm}\ntts: {{ provider: espeak }}\n---\nBe kind.\n");
    std::fs::write(folder.path().join("config/playbook/agent.md"), agent).unwrap();
    let tables = format!(
        "[handler]\ntype = \"webhook\"\nurls = [\"{address}/hook\"]\n[egress]\nallow = [\"127.0.0.1\"]\n"
    );
    let mut running = Running::start_with(folder.path(), &tables).await;

    let phone = RawPhone::towards(running.sip, "distrust").await;
    phone.invite_with("", &sdp(([127, 0, 0, 1], 4000).into())).await;
    let answer = phone.answered().await;
    assert!(answer.starts_with("SIP/2.0 503 "), "{answer}");
    hears_nothing("the webhook").await;
    let told = loop {
        let line = timeout(PATIENCE, running.lines.next_line()).await.unwrap().unwrap().expect("a line");
        if line.contains("the webhook failed") {
            break line;
        }
    };
    assert!(told.contains("certificate"), "{told}");

    let option = |playbook: Option<&str>| json!({"command": "invite", "option": {"playbook": playbook}});
    for (who, command, sender) in [
        ("a sound", json!({"command": "play", "url": format!("{address}/a.wav")}), "media"),
        ("a model", option(Some("agent.md")), "llm"),
    ] {
        let mut client = Client::connect(&format!("ws://{}/call", running.http)).await.unwrap();
        if sender == "media" {
            client.send(option(None)).await;
            client.event("answer").await;
        }
        client.send(command).await;
        let error = client.event("error").await;
        let why = error["error"].as_str().unwrap();
        assert!(error["sender"] == sender && why.contains("certificate"), "{who}: {error}");
        hears_nothing(who).await;
    }
}
