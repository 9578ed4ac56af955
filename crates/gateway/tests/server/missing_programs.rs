//! A machine without the programs that hear and speak: whoever needs one is told which package brings it.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;

use crate::command::{ACTIVE_CALL, Running};
use crate::rig::Client;

/// What a call asks for, and the package of it.
const VOICES: &[(&str, &str)] = &[("espeak", "espeak-ng"), ("flite", "flite")];
const EAR: (&str, &str) = ("pocketsphinx", "pocketsphinx");

/// What the program at the other end of `path` says of a playbook.
fn checked(folder: &Path, playbook: &str, path: Option<&Path>) -> (Option<i32>, String) {
    std::fs::write(folder.join("p.md"), playbook).unwrap();
    let mut command = Command::new(ACTIVE_CALL);
    command.args(["check", "p.md"]).current_dir(folder);
    if let Some(path) = path {
        command.env("PATH", path);
    }
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_needs_a_program_that_is_missing_is_told_its_package() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = folder.path().join("bin");
    std::fs::create_dir(&nothing).unwrap();
    let mut command = tokio::process::Command::new(ACTIVE_CALL);
    command.env("PATH", &nothing).env("RUST_LOG", "info");
    let running = Running::run_as_told(command, folder.path(), "").await;
    let asked = VOICES.iter().map(|row| ("tts", row)).chain([("asr", &EAR)]);
    for (sender, (provider, package)) in asked {
        let mut client = Client::connect(&format!("ws://{}/call", running.http)).await.unwrap();
        let option = json!({sender: {"provider": provider}});
        client.send(json!({"command": "invite", "option": option})).await;
        client.event("answer").await;
        if sender == "tts" {
            client.send(json!({"command": "tts", "text": "Good morning."})).await;
        }
        let error = match client.events.iter().find(|event| event["event"] == "error") {
            Some(early) => early.clone(),
            None => client.event("error").await,
        };
        assert_eq!(error["sender"], sender, "{error}");
        let told = error["error"].as_str().unwrap();
        assert!(told.ends_with(&format!("is not installed: apt-get install {package}")), "{error}");
        client.send(json!({"command": "hangup"})).await;
        client.event("hangup").await;
    }
}

#[test]
fn a_playbook_that_needs_a_program_that_is_missing_is_told_its_package_before_any_call() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = folder.path().join("bin");
    std::fs::create_dir(&nothing).unwrap();
    for (voice, voices_package) in VOICES {
        let (ear, ears_package) = EAR;
        let playbook = format!(
            "---\ntts: {{ provider: {voice} }}\nasr: {{ provider: {ear} }}\ngreeting: Hello.\n---\nHello.\n"
        );
        let (code, told) = checked(folder.path(), &playbook, Some(&nothing));
        assert_eq!(code, Some(1), "{told}");
        for (line, key, package) in [(2, "tts", voices_package), (3, "asr", &ears_package)] {
            let begin = format!("line {line}: `{key}.provider`: ");
            let end = format!("is not installed: apt-get install {package}");
            assert!(told.lines().any(|own| own.contains(&begin) && own.ends_with(&end)), "{told}");
        }
        let (code, told) = checked(folder.path(), &playbook, None);
        assert_eq!(code, Some(0), "{told}");
    }
}
