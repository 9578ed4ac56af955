//! A signal to stop: new calls are refused, those that are up end well, nothing is lost.

use std::time::Duration;

use protocol::value::Seconds;
use serde_json::json;

use crate::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_do_not_end_are_said_goodbye_and_their_records_are_written() {
    let rig = Rig::start().await;
    let mut clients = Vec::new();
    for index in 0..5 {
        let mut client = rig.connect(&format!("/call?id=up{index}")).await;
        client.send(json!({"command": "invite", "option": {"recorder": {}}})).await;
        client.event("answer").await;
        clients.push(client);
    }
    let Rig { server, folder } = rig;
    assert_eq!(server.stop().await, 5);
    for mut client in clients {
        assert_eq!(client.event("hangup").await["reason"], "serverUnavailable");
        assert_eq!(client.closed().await, 1000);
    }
    let days: Vec<_> = std::fs::read_dir(folder.path().join("cdr")).unwrap().flatten().collect();
    let records = days.iter().filter(|day| day.file_name() != ".up");
    assert_eq!(records.map(|day| std::fs::read_dir(day.path()).unwrap().count()).sum::<usize>(), 5);
    for index in 0..5 {
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
