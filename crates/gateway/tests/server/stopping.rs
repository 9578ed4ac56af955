//! A signal to stop: new calls are refused, those that are up end well, nothing is lost.

use std::path::Path;
use std::time::Duration;

use active_call::demo::phone::{Line, Phone};
use protocol::value::Seconds;
use serde_json::json;
use tokio::time::timeout;

use crate::command::{CONF, Running, until_draining};
use crate::raw_phone::{RawPhone, sdp, value};
use crate::rig::{PATIENCE, Rig, records_under};

/// Calls that are up when the server stops.
const CALLS: usize = 20;
/// Samples of a second of a phone's recording, of both sides.
const SECOND: usize = 2 * 16_000;

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_do_not_end_are_said_goodbye_and_their_records_are_written() {
    let rig = Rig::start().await;
    let mut clients = Vec::new();
    for index in 0..CALLS {
        let mut client = rig.connect(&format!("/call?id=up{index}")).await;
        client.send(json!({"command": "invite", "option": {"recorder": {}}})).await;
        client.event("answer").await;
        clients.push(client);
    }
    let Rig { server, folder } = rig;
    assert_eq!(server.stop().await, CALLS);
    for mut client in clients {
        assert_eq!(client.event("hangup").await["reason"], "serverUnavailable");
        assert_eq!(client.closed().await, 1000);
    }
    let days: Vec<_> = std::fs::read_dir(folder.path().join("cdr")).unwrap().flatten().collect();
    let records = days.iter().filter(|day| day.file_name() != ".up");
    assert_eq!(records.map(|day| std::fs::read_dir(day.path()).unwrap().count()).sum::<usize>(), CALLS);
    for index in 0..CALLS {
        let wav = std::fs::read(folder.path().join(format!("recorders/up{index}.wav"))).unwrap();
        assert!(audio::wav::Wav::parse(&wav).is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_may_end_by_themselves_and_new_ones_are_refused_meanwhile() {
    let rig = Rig::start_with(|config| config.shutdown_timeout = Seconds(Duration::from_secs(15))).await;
    let mut client = rig.connect("/call?id=last").await;
    client.send(json!({"command": "invite", "option": {}})).await;
    client.event("answer").await;
    let app = rig.server.app().clone();
    let address = rig.server.http_addr();
    let stop = rig.server.stop();
    let meanwhile = async {
        while !app.calls.draining() {
            tokio::task::yield_now().await;
        }
        let health = reqwest::get(format!("http://{address}/health")).await.unwrap();
        assert_eq!(health.status(), 503);
        let refused = tokio_tungstenite::connect_async(format!("ws://{address}/call")).await;
        assert!(refused.is_err());
        client.send(json!({"command": "hangup"})).await;
        client.event("hangup").await;
        drop(app);
    };
    let (hung_up, ()) = tokio::join!(stop, meanwhile);
    assert_eq!(hung_up, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_server_stops_at_once() {
    let rig = Rig::start_with(|config| config.shutdown_timeout = Seconds(Duration::from_secs(600))).await;
    tokio::time::timeout(Duration::from_secs(10), rig.server.stop()).await.unwrap();
}

/// A server with calls of up to ten minutes left at its end, whose agent talks and talks to a phone.
async fn talking(folder: &Path, keys: &str) -> (Running, Phone, Line) {
    std::fs::create_dir_all(folder.join("config/playbook")).unwrap();
    let greeting = "Thank you for your patience, someone will be with you in a moment. ".repeat(8);
    let playbook = format!("---\ntts: {{ provider: espeak }}\ngreeting: {greeting}\n---\nHello.\n");
    std::fs::write(folder.join("config/playbook/talks.md"), playbook).unwrap();
    let text = CONF.replace("shutdown_timeout = 1\n", &format!("shutdown_timeout = 600\n{keys}"));
    let handler = "[handler]\ntype = \"playbook\"\ndefault = \"talks.md\"\n";
    let running = Running::start_as_said(folder, &format!("{text}{handler}"), &[]).await;
    let phone = Phone::open().await.unwrap();
    let mut line = timeout(PATIENCE, phone.dial(running.sip, "agent")).await.unwrap().unwrap();
    let heard = async {
        while loud(line.recording()) <= 4000 {
            line.listen_for(Duration::from_millis(100)).await.unwrap();
        }
    };
    timeout(PATIENCE, heard).await.expect("the agent is heard");
    (running, phone, line)
}

fn loud(recording: &[i16]) -> usize {
    recording.iter().step_by(2).filter(|sample| sample.unsigned_abs() > 1000).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_signal_an_invite_gets_503_with_a_time_to_try_again_and_the_call_that_is_up_goes_on() {
    for signal in ["-TERM", "-INT"] {
        let folder = tempfile::tempdir().unwrap();
        let (mut running, phone, mut line) = talking(folder.path(), "").await;
        running.signal(signal);
        until_draining(&format!("http://{}/health", running.http)).await;
        let late = RawPhone::towards(running.sip, "late").await;
        late.invite_with("", &sdp(([127, 0, 0, 1], 4000).into())).await;
        let refused = late.answered().await;
        assert!(refused.starts_with("SIP/2.0 503 "), "{signal}: {refused}");
        assert!(value(&refused, "Retry-After").parse::<u32>().unwrap() > 0, "{signal}: {refused}");
        let before = line.recording().len();
        line.listen_for(Duration::from_secs(2)).await.unwrap();
        assert!(!line.is_over(), "{signal}");
        let since = &line.recording()[before..];
        assert!(since.len() > SECOND && loud(since) > 4000, "{signal}: {} of {}", loud(since), since.len());
        line.hang_up().await;
        let status = timeout(PATIENCE, running.child.wait()).await.unwrap().unwrap();
        assert_eq!(status.code(), Some(0), "{signal}");
        let records = records_under(&folder.path().join("config/cdr"));
        let mut answered = records.iter().filter(|record| record.status_code == 200);
        let reason = answered.next().unwrap().hangup_reason.as_ref().unwrap().wire().to_owned();
        assert_eq!((reason.as_str(), answered.count()), ("caller", 0), "{signal}");
        phone.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_graceful_shutdown_calls_are_hung_up_at_once_however_long_they_might_have_gone_on() {
    for signal in ["-TERM", "-INT"] {
        let folder = tempfile::tempdir().unwrap();
        let (mut running, phone, mut line) = talking(folder.path(), "graceful_shutdown = false\n").await;
        let mut client = running.recorded_call(folder.path(), "over-http").await;
        running.signal(signal);
        assert_eq!(client.event("hangup").await["reason"], "serverUnavailable");
        timeout(PATIENCE, line.wait_for_end()).await.expect("the phone is hung up");
        let status = timeout(PATIENCE, running.child.wait()).await.expect("it ends").unwrap();
        assert_eq!(status.code(), Some(0), "{signal}");
        let records = records_under(&folder.path().join("config/cdr"));
        let ends: Vec<_> =
            records.iter().map(|record| record.hangup_reason.as_ref().unwrap().wire()).collect();
        assert_eq!(ends, ["serverUnavailable", "serverUnavailable"], "{signal}");
        phone.close().await;
    }
}
