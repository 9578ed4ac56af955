//! Kamailio between us and our callers: as registrar, as proxy that stays in the dialog, ringing several at once, and
//! choosing us by OPTIONS. `scripts/setup test` installs it; where it is not, these tests say so and pass.

use std::net::UdpSocket;
use std::path::Path;

use active_call::config::{Config, RegisterUser};
use axum::http::StatusCode;
use serde_json::json;
use tokio::process::Child;
use tokio::time::timeout;

use crate::baresip::{Baresip, connect_to, heard_each_other, rig_with_agent_and, say_twice_and_hang_up};
use crate::inbound_sip::{hook, webhooks};
use crate::programs;
use crate::rig::{PATIENCE, Rig, until};

const PROGRAM: &str = "/usr/sbin/kamailio";

/// Whether there is a Kamailio; says it aloud when there is none.
fn missing() -> bool {
    let missing = !Path::new(PROGRAM).exists();
    if missing {
        println!("SKIPPED: {PROGRAM} is not there; scripts/setup test installs it");
    }
    missing
}

/// A running Kamailio. Its processes end with it: the first one takes the others along only when it is asked to end.
struct Kamailio(Child);

impl Drop for Kamailio {
    #[allow(clippy::disallowed_methods, reason = "the end of a process is waited for in real time")]
    fn drop(&mut self) {
        let Some(id) = self.0.id() else { return };
        let _ = std::process::Command::new("kill").args(["-TERM", &id.to_string()]).status();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while matches!(self.0.try_wait(), Ok(None)) && std::time::Instant::now() < until {
            std::thread::yield_now();
        }
    }
}

/// Starts Kamailio at `port`, with `trunk` to be reached there.
async fn start(folder: &Path, port: u16, trunk: &str) -> Kamailio {
    std::fs::create_dir_all(folder).unwrap();
    let config = include_str!("../tools/kamailio.cfg");
    let config = config.replace("PORT", &port.to_string()).replace("FOLDER", folder.to_str().unwrap());
    let path = folder.join("kamailio.cfg");
    std::fs::write(&path, config).unwrap();
    std::fs::write(folder.join("dispatcher.list"), format!("1 sip:{trunk}\n")).unwrap();
    let run = folder.to_str().unwrap();
    let arguments = ["-DD", "-E", "-m", "32", "-M", "4", "-Y", run, "-f", path.to_str().unwrap()];
    let child = programs::start(PROGRAM, &arguments, folder);
    let kamailio = Kamailio(child);
    until("kamailio listens", || UdpSocket::bind(("127.0.0.1", port)).is_err().then_some(())).await;
    kamailio
}

fn registered(config: &mut Config, port: u16) {
    let server = format!("127.0.0.1:{port}");
    config.register_users =
        vec![RegisterUser { server, username: "agent".into(), ..RegisterUser::default() }];
}

async fn is_registered(rig: &Rig) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while !rig.get("/api/v1/registrations").await.1.contains("\"registered\"") {
        assert!(tokio::time::Instant::now() < until, "the account is not registered");
    }
}

/// A call of baresip through Kamailio to `user` is heard on both sides, and the hang-up of the agent passes too.
async fn heard_through(user: &str) {
    let [port] = programs::free_ports::<1>();
    let (rig, mut told, caller, agent) = rig_with_agent_and(|config| {
        if user == "agent" {
            registered(config, port);
        }
    })
    .await;
    let _kamailio = start(&rig.path("kamailio"), port, &rig.server.sip_addr().to_string()).await;
    if user == "agent" {
        is_registered(&rig).await;
    }
    let says = [caller.as_slice(), &[0; 20 * 8000]].concat();
    let mut phone = Baresip::start(&rig.path("phone"), "PCMU/8000/1", &says).await;
    let mut client = connect_to(&rig, &mut told, &mut phone, &format!("sip:{user}@127.0.0.1:{port}")).await;
    say_twice_and_hang_up(&mut client, &mut phone).await;
    heard_each_other(&rig, &phone, [&caller, &agent]).await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_comes_through_the_registrar_that_we_are_registered_at() {
    if !missing() {
        heard_through("agent").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_comes_through_a_dispatcher_that_finds_us_alive_by_options() {
    if !missing() {
        heard_through("trunk").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_ring_at_once_one_answers_and_the_other_is_cancelled() {
    if missing() {
        return;
    }
    let [port] = programs::free_ports::<1>();
    let caller = Rig::start().await;
    let _kamailio = start(&caller.path("kamailio"), port, "127.0.0.1:9").await;
    let mut callees = Vec::new();
    for _ in 0..2 {
        let (url, told) = hook(StatusCode::OK).await;
        let rig = Rig::start_with(|config| {
            webhooks(config, &[url]);
            registered(config, port);
        })
        .await;
        is_registered(&rig).await;
        callees.push((rig, told));
    }
    let mut call = caller.connect("/call/sip?id=forked").await;
    let to = format!("sip:agent@127.0.0.1:{port}");
    call.send(json!({"command": "invite", "option": {"callee": to}})).await;
    let mut clients = Vec::new();
    for (rig, told) in &mut callees {
        let (_, body) = timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
        let mut client = rig.connect(&format!("/call/sip?id={}", body["dialogId"].as_str().unwrap())).await;
        client.send(json!({"command": "ringing"})).await;
        clients.push(client);
    }
    call.event("ringing").await;
    clients[1].send(json!({"command": "accept", "option": {}})).await;
    call.event("answer").await;
    assert_eq!(clients[0].event("hangup").await["reason"], "canceled");
    call.send(json!({"command": "hangup"})).await;
    assert_eq!(clients[1].event("hangup").await["reason"], "caller");
    for (rig, _) in callees {
        rig.server.stop().await;
    }
    caller.server.stop().await;
}
