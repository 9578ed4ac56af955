//! The clock of the machine is set while calls are up: by an hour, by a day back, by half a second either way. The
//! clock that runs without steps is left alone, as it is by who sets a clock.

use std::path::{Path, PathBuf};

use chrono::DateTime;
use protocol::record::CallRecord;
use serde_json::json;
use tokio::net::UdpSocket;
use tokio::time::Instant;

use crate::command::{ACTIVE_CALL, Running};
use crate::raw_phone::{RawPhone, sdp};
use crate::rig::{Client, records_under, until};

/// Where the clock stands beside the right time, in seconds, one after the other.
const STEPS: [f64; 6] = [3_600.0, -86_400.0, 0.0, 0.5, 0.0, -0.5];
/// How long each stands, in seconds of sound of a client and in bytes of it.
const STANDS: (f64, usize) = (1.5, 48_000);
/// How much sooner or later that may be heard on a busy machine; a step that counted would be all of it, or nothing.
const ASTRAY_S: f64 = 0.8;

/// The library that Debian's `libfaketime` has.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let mut there = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    there.find(|path| path.exists()).expect("libfaketime is not installed; scripts/setup test installs it")
}

fn set(folder: &Path, seconds: f64) {
    // A file that is read while it is written would be half a time.
    std::fs::write(folder.join("clock.new"), format!("{seconds:+}\n")).unwrap();
    std::fs::rename(folder.join("clock.new"), folder.join("clock")).unwrap();
}

/// Begin and end of a call in seconds of its record's times.
fn span(record: &CallRecord) -> (f64, f64) {
    let at = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis() as f64 / 1_000.0;
    (at(&record.start_time), at(&record.end_time))
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_their_sound_go_on_when_the_clock_is_set_and_their_records_last_as_long_as_they_did() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir_all(folder.join("config/playbook")).unwrap();
    let playbook = "---\ntts: { provider: espeak }\n---\n# Scene: main\n<play file=\"tone.wav\"/>\n";
    std::fs::write(folder.join("config/playbook/tone.md"), playbook).unwrap();
    set(folder, 0.0);
    let mut command = tokio::process::Command::new(ACTIVE_CALL);
    command.env("LD_PRELOAD", library()).env("FAKETIME_TIMESTAMP_FILE", folder.join("clock"));
    command
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
    let handler = "[handler]\ntype = \"playbook\"\ndefault = \"tone.md\"\n";
    let running = Running::run(command, folder, handler).await;
    let begun = Instant::now();
    let mut client = running.recorded_call(folder, "up").await;
    let rtp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let phone = RawPhone::towards(running.sip, "phone").await;
    phone.invite_with("", &sdp(rtp.local_addr().unwrap())).await;
    let answer = phone.answered().await;
    let (answered, mut packets) = (Instant::now(), 0_u32);
    for seconds in STEPS {
        set(folder, seconds);
        let (since, before) = (Instant::now(), client.sound.len());
        client.heard(before + STANDS.1).await;
        let lasted = since.elapsed().as_secs_f64();
        println!("the clock at {seconds:+}: {} s of sound in {lasted:.2} s", STANDS.0);
        assert!((lasted - STANDS.0).abs() < ASTRAY_S, "{lasted} s at {seconds:+}");
        while rtp.try_recv(&mut [0; 2_000]).is_ok() {
            packets += 1;
        }
    }
    let heard = f64::from(packets) / (answered.elapsed().as_secs_f64() * 50.0);
    assert!((0.85..1.1).contains(&heard), "{packets} packets, {heard} of those that there should be");
    set(folder, -86_400.0);
    let mut later = Client::connect(&format!("ws://{}/call?id=later", running.http)).await.unwrap();
    later.send(json!({"command": "invite", "option": {}})).await;
    later.event("answer").await;
    set(folder, -90_000.0);
    for client in [&mut client, &mut later] {
        client.send(json!({"command": "hangup"})).await;
        client.event("hangup").await;
    }
    phone.hang_up(&answer).await;
    let lasted = begun.elapsed().as_secs_f64();
    let records = until("three records", || {
        let records = records_under(&folder.join("config/cdr"));
        (records.len() == 3).then_some(records)
    });
    let records = records.await;
    for record in &records {
        let (begun, ended) = span(record);
        assert!((0.0..=lasted).contains(&(ended - begun)), "{}: {} s", record.call_id, ended - begun);
    }
    let of = |id: &str| span(records.iter().find(|record| record.call_id == id).unwrap());
    assert!(of("up").1 - of("up").0 > STANDS.0 * STEPS.len() as f64 - ASTRAY_S, "{:?}", of("up"));
    assert!(of("later").0 < of("up").0 - 80_000.0, "the clock was not set for the server");
}
