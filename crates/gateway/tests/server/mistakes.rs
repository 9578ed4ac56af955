//! What clients name that cannot be had: the code says whose fault it is, the field what to mend, and the call goes on.

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::command::Running;
use crate::egress::Server;
use crate::rig::{Client, PATIENCE, Rig};

async fn refused(client: &mut Client, command: Value) -> (u64, String, String) {
    client.send(command).await;
    told(client).await
}

async fn told(client: &mut Client) -> (u64, String, String) {
    let error = client.event("error").await;
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    (error["code"].as_u64().unwrap(), text("field"), text("error"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_played_is_told_by_the_key_that_names_it_and_by_kind() {
    let rig = Rig::start_with(|config| config.egress.allow = vec!["127.0.0.1".into()]).await;
    std::fs::write(rig.path("sounds/text.wav"), "no sound at all").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", rig.path("sounds/link.wav")).unwrap();
    let files = [
        ("nothing.wav".to_owned(), 404),
        ("/etc/passwd".to_owned(), 403),
        ("/etc/nothing".to_owned(), 403),
        ("../x.wav".to_owned(), 403),
        ("link.wav".to_owned(), 403),
        ("http://10.0.0.1/x.wav".to_owned(), 403),
        ("ftp://example.com/x.wav".to_owned(), 400),
        ("text.wav".to_owned(), 415),
    ];
    for (file, code) in &files {
        let mut client = rig.connect("/call").await;
        let option = json!({"ambiance": {"path": file}});
        client.send(json!({"command": "invite", "option": option})).await;
        let (came, field, error) = told(&mut client).await;
        assert_eq!((came, field.as_str()), (*code, "ambiance.path"), "{file}: {error}");
        let (came, field, error) = refused(&mut client, json!({"command": "play", "url": file})).await;
        assert_eq!((came, field.as_str()), (*code, "url"), "{file}: {error}");
        assert!(error.starts_with("url: "), "{error}");
        assert!(error.matches(file).count() <= 1, "it is named once: {error}");
        client.event("trackEnd").await;
        client.send(json!({"command": "hangup"})).await;
        client.event("hangup").await;
    }
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_leads_to_a_private_address_or_has_no_such_file_is_told_by_its_kind() {
    let rig = Rig::start_with(|config| config.egress.allow = vec!["127.0.0.1".into()]).await;
    let mut client = rig.connect("/call").await;
    client.send(json!({"command": "invite", "option": {}})).await;
    client.event("answer").await;
    let gone = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec();
    let broken = b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n".to_vec();
    let servers = [
        (Server::redirecting("http://10.0.0.1/private.wav").await, 403),
        (Server::answering(gone).await, 404),
        (Server::answering(broken).await, 502),
    ];
    for (server, code) in &servers {
        let play = json!({"command": "play", "url": format!("http://{}/x.wav", server.address)});
        let (came, field, error) = refused(&mut client, play).await;
        assert_eq!((came, field.as_str()), (*code, "url"), "{error}");
    }
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recordings_of_others_are_not_played_unless_a_root_opens_them() {
    for opened in [false, true] {
        let rig = Rig::start_with(|config| {
            let folder = config.recording.path.parent().unwrap().to_owned();
            std::fs::create_dir_all(&config.recording.path).unwrap();
            let mut wav = audio::wav::header(16_000, 1, 6400).to_vec();
            wav.resize(wav.len() + 6400, 1);
            std::fs::write(config.recording.path.join("other.wav"), wav).unwrap();
            let recordings = config.recording.path.clone();
            config.media_roots = if opened { vec![recordings] } else { vec![folder] };
        })
        .await;
        let name = rig.path("recorders/other.wav").display().to_string();
        let mut client = rig.connect("/call").await;
        client.send(json!({"command": "invite", "option": {}})).await;
        client.event("answer").await;
        client.send(json!({"command": "play", "url": name})).await;
        let end = client.event("trackEnd").await;
        assert_eq!(end["duration"].as_u64().unwrap() > 0, opened, "{end}");
        let refused = client.events.iter().any(|event| event["event"] == "error" && event["code"] == 403);
        assert_eq!(refused, !opened);
        rig.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_goes_under_the_folder_of_recordings_and_nowhere_else() {
    let rig = Rig::start().await;
    let long = "x".repeat(300);
    for (file, code) in [("/path/to/recording.wav", 403), ("../x.wav", 403), ("a\0.wav", 400), (&long, 400)] {
        let mut client = rig.connect("/call").await;
        let option = json!({"recorder": {"recorderFile": file}});
        client.send(json!({"command": "invite", "option": option})).await;
        let (came, field, error) = told(&mut client).await;
        assert_eq!((came, field.as_str()), (code, "option.recorder.recorderFile"), "{error}");
        let again = json!({"command": "record", "action": "start", "recorder": {"recorderFile": file}});
        let (came, field, error) = refused(&mut client, again).await;
        assert_eq!((came, field.as_str()), (code, "recorder.recorderFile"), "{error}");
        client.send(json!({"command": "hangup"})).await;
        client.event("hangup").await;
    }
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voice_that_there_is_not_is_the_clients_mistake() {
    let rig = Rig::start_speaking(|_| {}).await;
    let mut client = rig.connect("/call").await;
    client.send(json!({"command": "invite", "option": {}})).await;
    client.event("answer").await;
    for (option, field) in [
        (json!({"provider": "nobody"}), "tts.provider"),
        (json!({"provider": "flite", "speaker": "nobody"}), "tts.speaker"),
        (json!({"provider": "espeak", "speaker": "../x"}), "tts.speaker"),
        (json!({"provider": "espeak", "speed": 9}), "option.speed"),
        (json!({}), "tts.provider"),
    ] {
        let command = json!({"command": "tts", "text": "Hello", "option": option});
        let (code, came, error) = refused(&mut client, command).await;
        assert_eq!((code, came.as_str()), (400, field), "{error}");
    }
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    rig.server.stop().await;
}

/// Three calls at once fail in the same way: each line says whose provider it was.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_logs_has_the_id_of_its_call() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Running::start_with(folder.path(), "").await;
    let ids = ["first-call", "second-call", "third-call"];
    for id in ids {
        let mut client = Client::connect(&format!("ws://{}/call?id={id}", server.http)).await.unwrap();
        client.send(json!({"command": "invite", "option": {}})).await;
        client.event("answer").await;
        let option = json!({"provider": "espeak", "speaker": "nobody"});
        client.send(json!({"command": "tts", "text": "Hello", "option": option})).await;
        client.event("error").await;
        client.send(json!({"command": "hangup"})).await;
        client.event("hangup").await;
    }
    for id in ids {
        let line = timeout(PATIENCE, async {
            loop {
                let line = server.lines.next_line().await.unwrap().expect("the log goes on");
                if line.contains("provider failed") && !line.contains("trying again") {
                    return line;
                }
            }
        });
        let line = line.await.unwrap();
        assert!(line.contains(id), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_playbook_that_cannot_be_had_is_told_by_its_key_and_by_kind_and_another_may_be_named() {
    let rig = Rig::start().await;
    std::fs::write(rig.path("playbook/broken.md"), "---\nasr: 7\n---\n").unwrap();
    std::fs::write(rig.path("playbook/good.md"), crate::inbound_sip::PLAYBOOK).unwrap();
    let mut client = rig.connect("/call").await;
    let invite = |name: &str| json!({"command": "invite", "option": {"playbook": name}});
    for (name, code) in [("none.md", 404), ("../playbook/good.md", 403), ("", 403), ("broken.md", 500)] {
        client.send(invite(name)).await;
        let error = client.event("error").await;
        let told = (&error["sender"], &error["code"], &error["field"]);
        assert_eq!(told, (&json!("playbook"), &json!(code), &json!("option.playbook")), "{name}: {error}");
        assert!(error["error"].as_str().unwrap().starts_with("option.playbook: "), "{error}");
    }
    client.send(invite("good.md")).await;
    client.event("answer").await;
    rig.server.stop().await;
}
