//! Recordings on a disk that is read-only from the start or becomes so while a call is up.

use std::path::Path;

use protocol::record::Recording;
use serde_json::json;
use tokio::process::Command;

use crate::command::{ACTIVE_CALL, Running};
use crate::rig::{Client, records_under, until};

/// Mounts a disk of its own for the folder of recordings, and becomes the server.
const MOUNTED: &str =
    "mkdir -p config/recorders && mount -t tmpfs none config/recorders && $1 && exec \"$0\"";
const READ_ONLY: &str = "mount -o remount,ro config/recorders";

/// A server in name spaces of its own, so that nobody needs to be root to mount a disk and nobody else sees it.
async fn server(folder: &Path, then: &str) -> Running {
    let mut unshare = Command::new("unshare");
    unshare.args(["--map-root-user", "--mount", "bash", "-c", &MOUNTED.replace("$1", then), ACTIVE_CALL]);
    Running::run(unshare, folder, "").await
}

/// Whether this machine lets name spaces be made. Containers often do not.
async fn possible() -> bool {
    let tried = Command::new("unshare").args(["--map-root-user", "--mount", "true"]).status().await;
    let possible = tried.is_ok_and(|status| status.success());
    if !possible {
        println!("SKIPPED: name spaces cannot be made here");
    }
    possible
}

/// Changes how the disk of recordings is mounted. Until the last file on it is closed it cannot be made read-only.
async fn remount(running: &Running, folder: &Path, how: &str) -> bool {
    let id = running.child.id().unwrap().to_string();
    let nsenter = ["--target", &id, "--user", "--mount", "--preserve-credentials", "mount", "-o", how];
    let recorders = folder.join("config/recorders");
    let done = Command::new("nsenter").args(nsenter).arg(recorders).output().await.unwrap();
    done.status.success()
}

/// The call hears commands and sounds.
async fn goes_on(client: &mut Client) {
    client.send(json!({"command": "history", "speaker": "user", "text": "still here"})).await;
    client.event("addHistory").await;
    let length = client.sound.len() + 16_000;
    client.heard(length).await;
}

async fn hung_up(client: &mut Client) {
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    assert_eq!(client.closed().await, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_is_told_and_in_the_record_and_the_call_goes_on() {
    if !possible().await {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let running = server(folder.path(), READ_ONLY).await;
    let mut client = running.recorded_call(folder.path(), "kept").await;
    goes_on(&mut client).await;
    hung_up(&mut client).await;
    let errors: Vec<_> = client.events.iter().filter(|event| event["event"] == "error").collect();
    let [error] = errors[..] else { panic!("{errors:?}") };
    let told = error["error"].as_str().unwrap();
    assert!(told.contains("recorders/kept.wav: Read-only file system"), "{error}");
    assert_eq!((&error["sender"], &error["code"]), (&json!("media"), &json!(500)));
    let cdr = folder.path().join("config/cdr");
    let record = until("a record", || records_under(&cdr).pop()).await;
    let [recording] = record.recorder.as_slice() else { panic!("{:?}", record.recorder) };
    let noted = recording.extra.as_ref().unwrap()["error"].as_str().unwrap();
    assert!(noted.contains("Read-only") && recording.size == 0, "{recording:?}");
    assert_eq!(record.status_code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_becomes_read_only_in_a_call_fails_the_next_recording_and_serves_again_when_it_is_mended()
{
    if !possible().await {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let running = server(folder.path(), "true").await;
    let url = |id: &str| format!("ws://{}/call?dump=false&id={id}", running.http);
    let mut client = Client::connect(&url("taped")).await.unwrap();
    client.send(json!({"command": "invite", "option": {}})).await;
    client.event("answer").await;
    let record = |action: &str| json!({"command": "record", "action": action});
    let mut states = Vec::new();
    for action in ["start", "stop"] {
        client.send(record(action)).await;
        states.push(client.event("recording").await["state"].clone());
    }
    let mut tries = 0;
    while !remount(&running, folder.path(), "remount,ro").await {
        tries += 1;
        assert!(tries < 500, "the recording is not closed");
    }
    client.send(record("start")).await;
    let error = client.event("error").await;
    assert!(error["error"].as_str().unwrap().contains("Read-only file system"), "{error}");
    client.send(json!({"command": "history", "speaker": "user", "text": "still here"})).await;
    client.event("addHistory").await;
    assert!(remount(&running, folder.path(), "remount,rw").await);
    client.send(record("start")).await;
    states.push(client.event("recording").await["state"].clone());
    assert_eq!(states, ["started", "stopped", "started"]);
    hung_up(&mut client).await;
    let cdr = folder.path().join("config/cdr");
    let record = until("a record", || records_under(&cdr).pop()).await;
    let failed = |recording: &&Recording| recording.extra.as_ref().is_some_and(|e| e.contains_key("error"));
    let (failed, kept): (Vec<_>, Vec<_>) = record.recorder.iter().partition(failed);
    assert!(failed.len() == 1 && failed[0].size == 0, "{failed:?}");
    assert!(kept.len() == 2 && kept.iter().all(|recording| recording.size >= 44), "{kept:?}");
}
