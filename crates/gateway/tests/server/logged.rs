//! What the program writes to its log, and keys of the configuration whose effect shows there or on the wire.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio::process::Child;
use tokio::time::timeout;

use crate::command::{ACTIVE_CALL, CONF};
use crate::raw_phone::{RawPhone, sdp, value};
use crate::rig::{PATIENCE, until};

/// A playbook that real programs can speak.
const PLAYBOOK: &str = "---\ntts: { provider: espeak }\ngreeting: Good morning.\n---\nHello.\n";

/// A server that logs to a file.
struct Logging {
    child: Child,
    log: PathBuf,
    http: String,
    sip: SocketAddr,
}

impl Logging {
    /// With these keys and tables in its configuration, in a folder with a playbook `good.md`.
    async fn start(folder: &Path, keys: &str, tables: &str) -> Logging {
        std::fs::create_dir_all(folder.join("config/playbook")).unwrap();
        std::fs::write(folder.join("config/playbook/good.md"), PLAYBOOK).unwrap();
        let keys = format!("log_file = \"logs/active-call.log\"\n{keys}");
        std::fs::write(folder.join("active-call.toml"), format!("{keys}{CONF}{tables}")).unwrap();
        let child = tokio::process::Command::new(ACTIVE_CALL)
            .current_dir(folder)
            .env_remove("RUST_LOG")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = folder.join("logs/active-call.log");
        let ready = line(&log, "ready http=").await;
        let (_, rest) = ready.split_once("ready http=").unwrap();
        let (http, sip) = rest.split_once(" sip=").unwrap();
        Logging { child, http: http.into(), sip: sip.trim().parse().unwrap(), log }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    async fn get(&self, path: &str) -> u16 {
        reqwest::get(format!("http://{}{path}", self.http)).await.unwrap().status().as_u16()
    }

    /// The answer to a call of `user`, which is hung up if it was answered.
    async fn call(&self, user: &str) -> String {
        let phone = RawPhone::towards(self.sip, user).await;
        phone.invite_with("", &sdp(([127, 0, 0, 1], 4000).into())).await;
        let answer = phone.answered().await;
        if answer.starts_with("SIP/2.0 200 ") {
            phone.hang_up(&answer).await;
        }
        answer
    }

    /// Ends it; what it wrote to its standard output.
    async fn stop(self) -> String {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let output = timeout(PATIENCE, self.child.wait_with_output()).await.unwrap().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// The first whole line of the log with `part` in it.
async fn line(log: &Path, part: &str) -> String {
    until(&format!("a line with {part:?}"), || {
        let text = std::fs::read_to_string(log).ok()?;
        let (whole, _) = text.rsplit_once('\n')?;
        whole.lines().find(|line| line.contains(part)).map(str::to_owned)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn playbooks_that_are_bad_or_missing_are_told_at_the_start_and_the_others_are_served() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("config/playbook")).unwrap();
    std::fs::write(folder.path().join("config/playbook/bad.md"), "---\ngreeting: Hi.\nvad: 7\n---\n")
        .unwrap();
    let odd = PLAYBOOK.replace("greeting", "greting");
    std::fs::write(folder.path().join("config/playbook/odd.md"), odd).unwrap();
    // No call of this test fits a rule.
    let rules = ["bad", "gone", "odd"]
        .map(|name| format!("[[handler.rules]]\ncaller = \"^{name}$\"\nplaybook = \"{name}.md\"\n"));
    let tables = format!("[handler]\ntype = \"playbook\"\ndefault = \"good.md\"\n{}", rules.concat());
    let server = Logging::start(folder.path(), "", &tables).await;
    let text = server.text();
    let before: Vec<&str> = text.lines().take_while(|line| !line.contains("ready http=")).collect();
    for (level, why, parts) in [
        ("ERROR", "a playbook cannot be used; calls sent to it get 503", ["bad.md: line 3", "vad"]),
        ("ERROR", "a playbook cannot be used; calls sent to it get 503", ["gone.md\\\" is not there", ""]),
        ("WARN", "a playbook has something odd", ["odd.md: line 3", "greting"]),
    ] {
        let tells = |line: &&&str| {
            line.contains(level) && line.contains(why) && parts.iter().all(|part| line.contains(part))
        };
        assert_eq!(before.iter().filter(tells).count(), 1, "{parts:?} in\n{text}");
    }
    assert!(!before.iter().any(|line| line.contains("good.md")), "{text}");
    assert_eq!(server.get("/health").await, 200);
    assert!(server.call("any").await.starts_with("SIP/2.0 200 "));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_the_start_says_what_is_open() {
    let who = "calls are taken from everyone; calls of ours go to every destination that a client names, and from a playbook \
               to those that it names itself; far ends may send us on";
    for (tables, whither) in
        [("", "as playbook or client decide"), ("[sip]\ntransfer_requests = \"refuse\"\n", "nowhere")]
    {
        let folder = tempfile::tempdir().unwrap();
        let server = Logging::start(folder.path(), "", tables).await;
        let text = server.text();
        assert_eq!(text.matches(&format!("{who} {whither}\n")).count(), 1, "{text}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_in_its_file_and_leaves_out_requests_for_the_paths_that_it_is_told_to() {
    for (keys, left_out, written) in [
        ("", ["/health", "/metrics"], "/iceservers"),
        (
            "http_access_skip_paths = [\"/iceservers\", \"/call/l*\"]\n",
            ["/iceservers", "/call/lists"],
            "/health",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let server = Logging::start(folder.path(), keys, "").await;
        for path in left_out {
            assert_eq!(server.get(path).await, 200, "{path}");
        }
        assert_eq!(server.get(written).await, 200, "{written}");
        let access = line(&server.log, &format!("path=\"{written}\"")).await;
        assert!(access.contains("method=GET") && access.contains("status=200"), "{access}");
        let text = server.text();
        for path in left_out {
            assert!(!text.contains(path), "{path} is in\n{text}");
        }
        assert_eq!(server.stop().await, "", "what is in a file is not on standard output too");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_agent_of_the_configuration_is_in_the_answer_to_a_call() {
    let folder = tempfile::tempdir().unwrap();
    let handler = "[handler]\ntype = \"playbook\"\ndefault = \"good.md\"\n";
    let server = Logging::start(folder.path(), "useragent = \"Front desk/7\"\n", handler).await;
    let answer = server.call("any").await;
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    assert_eq!(value(&answer, "Server"), "Front desk/7", "{answer}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_no_use_are_told_with_their_first_fault_once_for_each_source() {
    let folder = tempfile::tempdir().unwrap();
    let server = Logging::start(folder.path(), "", "").await;
    let (one, other) = (RawPhone::towards(server.sip, "one").await, "127.0.0.9");
    let other =
        RawPhone::from(other.parse::<std::net::Ipv4Addr>().unwrap().octets(), server.sip, "two").await;
    for _ in 0..3 {
        one.send("OPTIONS", ("x", ""), "Require: moon\u{1b}[2J\"\r\n", "").await;
        one.heard(|text| text.starts_with("SIP/2.0 420 ")).await;
    }
    other.send("OPTIONS", ("x", ""), "Expires: soon\r\n", "").await;
    other.heard(|text| text.starts_with("SIP/2.0 400 Malformed Expires header field\r\n")).await;
    let told = line(&server.log, "Malformed Expires header field").await;
    assert!(told.contains("WARN") && told.contains("127.0.0.9:"), "{told}");
    let text = server.text();
    let told: Vec<&str> = text.lines().filter(|line| line.contains("a SIP message of no use")).collect();
    assert_eq!(told.len(), 2, "{text}");
    assert!(told[0].contains("moon") && !text.contains('\u{1b}'), "{text}");
    server.stop().await;
}

/// Scanners, those that name themselves and those that do not, are told once each and not for each packet.
#[tokio::test(flavor = "multi_thread")]
async fn a_scanner_is_one_line_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let tables = "[sip]\ntrusted = [\"127.0.0.1\"]\n[handler]\ntype = \"playbook\"\ndefault = \"good.md\"\n";
    let server = Logging::start(folder.path(), "", tables).await;
    let scanners = [("127.0.0.31", "User-Agent: friendly-scanner\r\n"), ("127.0.0.32", "")];
    for (host, agent) in scanners {
        let socket = std::net::UdpSocket::bind((host, 0)).unwrap();
        let at = socket.local_addr().unwrap();
        for number in 0..200 {
            let asks = format!(
                "REGISTER sip:x SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK{number}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:{number}@x>;tag=1\r\nTo: <sip:{number}@x>\r\n\
                 Call-ID: {number}@{at}\r\nCSeq: 1 REGISTER\r\n{agent}Content-Length: 0\r\n\r\n"
            );
            socket.send_to(asks.as_bytes(), server.sip).unwrap();
        }
    }
    for (host, _) in scanners {
        line(&server.log, &format!("from={host}:")).await;
    }
    // A call that comes behind them all is in the log behind what they have left there.
    assert!(server.call("good").await.starts_with("SIP/2.0 200 "));
    for (host, _) in scanners {
        let text = server.text();
        let told: Vec<_> = text.lines().filter(|line| line.contains(host)).collect();
        assert_eq!(told.len(), 1, "{told:#?}");
    }
}
