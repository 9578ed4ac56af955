//! SIP over TCP and TLS: with baresip in both directions, and a certificate that changes while the server runs. Over
//! WebSockets, which it does not speak, with another server.

use std::path::{Path, PathBuf};

use active_call::config::Config;
use axum::http::StatusCode;
use serde_json::json;

use crate::baresip::{Baresip, connect_to, hear_out_and_hang_up, heard_each_other, rig_with_agent_and};
use crate::between::hear_each_other;
use crate::hold::taken;
use crate::inbound_sip::{hook, webhooks};
use crate::rig::{Client, PATIENCE, Rig};
use crate::{programs, sound};

/// Writes a certificate for loopback, by address and by name, and its key, and gives their paths.
fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let (chain, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::write(&chain, made.cert.pem()).unwrap();
    (chain, key)
}

pub(crate) fn with_tls(config: &mut Config, folder: &Path) {
    let (chain, key) = certificate(folder);
    config.tls_port = Some(0);
    config.tls_cert_file = Some(chain.clone());
    config.tls_key_file = Some(key);
    config.tls_ca_file = Some(chain);
}

/// A call of baresip by this transport: both are heard, and the hang-up of the agent reaches the phone.
async fn a_call_comes_in_by(transport: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (rig, mut told, caller, agent) = rig_with_agent_and(|config| with_tls(config, folder.path())).await;
    let trusts = format!("sip_cafile {}\nsip_verify_server yes", folder.path().join("cert.pem").display());
    let says = [caller.as_slice(), &[0; 20 * 8000]].concat();
    let mut phone = Baresip::start_as(&rig.path("phone"), "audio_codecs=PCMU/8000/1", &says, &trusts).await;
    let bound = rig.server.sip_streams();
    let address = if transport == "tls" { bound.tls } else { bound.tcp }.unwrap();
    let uri = format!("sip:agent@{address};transport={transport}");
    let mut client = connect_to(&rig, &mut told, &mut phone, &uri).await;
    hear_out_and_hang_up(&rig, &mut client, &mut phone).await;
    heard_each_other(&rig, &phone, [&caller, &agent]).await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_baresip_over_tcp_is_heard_on_both_sides() {
    a_call_comes_in_by("tcp").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_baresip_over_tls_is_heard_on_both_sides() {
    a_call_comes_in_by("tls").await;
}

/// A call of ours to baresip.
struct Called {
    rig: Rig,
    phone: Baresip,
    client: Client,
    /// What baresip says.
    callee: Vec<i16>,
}

/// Calls baresip at the URI that `uri` makes of its port; `believe`: its certificate is one of our roots.
async fn called(believe: bool, uri: impl Fn(u16) -> String) -> Called {
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = certificate(folder.path());
    let both = [std::fs::read(&key).unwrap(), std::fs::read(&chain).unwrap()].concat();
    std::fs::write(folder.path().join("phone.pem"), both).unwrap();
    let rig = Rig::start_with(|config| config.tls_ca_file = believe.then_some(chain)).await;
    let shows = format!("sip_certificate {}", folder.path().join("phone.pem").display());
    let callee = sound::speech(rig.folder.path(), "You have reached the front desk of the museum").await;
    let says = [callee.as_slice(), &[0; 20 * 8000]].concat();
    let phone = Baresip::start_as(&rig.path("phone"), "audio_codecs=PCMU/8000/1", &says, &shows).await;
    let mut client = rig.connect("/call/sip").await;
    let option = json!({"callee": uri(phone.sip), "recorder": {}});
    client.send(json!({"command": "invite", "option": option})).await;
    Called { rig, phone, client, callee }
}

/// A call of ours to such a URI is heard on both sides, and our hang-up reaches the phone.
async fn is_heard(uri: impl Fn(u16) -> String) {
    let Called { rig, mut phone, mut client, callee } = called(true, uri).await;
    client.event("answer").await;
    let agent = sound::speech(rig.folder.path(), "Good morning, this is a call about your visit").await;
    sound::write_wav(&rig.path("sounds/agent.wav"), 8000, &agent);
    client.send(json!({"command": "play", "url": "agent.wav"})).await;
    hear_out_and_hang_up(&rig, &mut client, &mut phone).await;
    heard_each_other(&rig, &phone, [&callee, &agent]).await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_ours_goes_by_the_transport_that_its_uri_says() {
    is_heard(|port| format!("sip:phone@127.0.0.1:{port};transport=tcp")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_ours_over_tls_reaches_a_peer_whose_certificate_is_believed() {
    is_heard(|port| format!("sip:phone@127.0.0.1:{};transport=tls", port + 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_whose_certificate_is_not_believed_is_not_called() {
    let Called { rig, phone: _phone, mut client, .. } =
        called(false, |port| format!("sip:phone@127.0.0.1:{};transport=tls", port + 1)).await;
    let reject = client.event("reject").await;
    assert_eq!(reject["code"], 503);
    let reason = reject["reason"].as_str().unwrap();
    assert!(reason.contains("certificate"), "{reason}");
    rig.server.stop().await;
}

/// A call between two servers over WebSockets, of which the one that calls has no door for them: whatever the other one
/// sends comes back by the connection. Both are heard.
async fn servers_hear_each_other_over(transport: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (url, mut told) = hook(StatusCode::OK).await;
    let desk = Rig::start_with(|config| {
        webhooks(config, &[url]);
        with_tls(config, folder.path());
        (config.ws_port, config.wss_port) = (Some(0), Some(0));
    })
    .await;
    let rig = Rig::start_with(|config| config.tls_ca_file = Some(folder.path().join("cert.pem"))).await;
    let bound = desk.server.sip_streams();
    let address = if transport == "wss" { bound.wss } else { bound.ws }.unwrap();
    let callee = format!("sip:desk@{address};transport={transport}");
    let mut client = rig.connect("/call/sip?id=out").await;
    client.send(json!({"command": "invite", "option": {"callee": callee, "recorder": {}}})).await;
    let mut there = taken(&desk, &mut told).await;
    client.event("answer").await;
    let hangup = hear_each_other([(&rig, &mut client), (&desk, &mut there)]).await;
    assert_eq!(hangup["reason"], "callee", "{hangup}");
    rig.server.stop().await;
    desk.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_websockets_is_heard_on_both_sides() {
    servers_hear_each_other_over("ws").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_websockets_and_tls_is_heard_on_both_sides() {
    servers_hear_each_other_over("wss").await;
}

/// The certificate that the server shows to `openssl s_client`.
async fn shown(rig: &Rig) -> String {
    let address = rig.server.sip_streams().tls.unwrap().to_string();
    let output = programs::run("openssl", &["s_client", "-connect", &address], rig.folder.path()).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let begin = text.find("-----BEGIN CERTIFICATE").unwrap();
    let end = text.find("-----END CERTIFICATE").unwrap();
    text[begin..end].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_without_a_new_start() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start_with(|config| with_tls(config, folder.path())).await;
    let first = shown(&rig).await;
    std::fs::write(folder.path().join("cert.pem"), "half a file").unwrap();
    assert_eq!(shown(&rig).await, first, "a certificate that cannot be used changes nothing");
    certificate(folder.path());
    let changed = async { while shown(&rig).await == first {} };
    tokio::time::timeout(PATIENCE, changed).await.expect("the new certificate is shown");
    rig.server.stop().await;
}
