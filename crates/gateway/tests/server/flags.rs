//! The flags of the command line: each wins over what the file says of the same thing, and over nothing else.

use std::net::{SocketAddr, UdpSocket};

use axum::http::StatusCode;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::command::Running;
use crate::inbound_sip::{PLAYBOOK, hook};
use crate::programs;
use crate::raw_phone::{RawPhone, value};
use crate::rig::PATIENCE;

/// An offer of three codecs, in an order of its own.
const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                     m=audio 4000 RTP/AVP 8 9 0\r\n";

/// What the file says: where everything listens, what is told and agreed on, and who answers.
struct Said {
    folder: TempDir,
    text: String,
    /// Ports that nobody uses: for HTTP and SIP of the file, and for those of the flags.
    ports: [u16; 4],
}

impl Said {
    fn new() -> Said {
        let ports = programs::free_ports::<4>();
        let [http, sip, ..] = ports;
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("config/playbook")).unwrap();
        let playbook = PLAYBOOK.replace("fake", "espeak");
        std::fs::write(folder.path().join("config/playbook/hello.md"), playbook).unwrap();
        let text = format!(
            "http_addr = \"127.0.0.1:{http}\"\naddr = \"127.0.0.1\"\nudp_port = {sip}\nshutdown_timeout = 1\n\
             media_threads = 1\nexternal_ip = \"203.0.113.1\"\ncodecs = [\"pcmu\", \"pcma\"]\n\
             [handler]\ntype = \"playbook\"\ndefault = \"hello.md\"\n"
        );
        Said { folder, text, ports }
    }

    /// What is seen of a server that is started by these flags.
    async fn seen(&self, flags: &[&str]) -> Seen {
        let mut running = Running::start_as_said(self.folder.path(), &self.text, flags).await;
        let phone = RawPhone::towards(running.sip, "flags").await;
        phone.invite_with("", OFFER).await;
        let answer = phone.answered().await;
        let status = answer.lines().next().unwrap_or_default().to_owned();
        let answered = status.ends_with("200 OK");
        let told = |name: &str| if answered { value(&answer, name) } else { "" };
        let contact = told("Contact");
        let outside = contact.split_once('@').and_then(|(_, there)| there.split_once(':'));
        let codecs = told("m=audio").split_once("AVP").map(|(_, codecs)| codecs.trim().to_owned());
        if answered {
            phone.hang_up(&answer).await;
        }
        // The next one may listen at the same ports.
        running.child.kill().await.unwrap();
        Seen {
            http: running.http.clone(),
            sip: running.sip,
            outside: outside.map_or("", |(host, _)| host).to_owned(),
            codecs: codecs.unwrap_or_default(),
            status,
        }
    }
}

/// What a server shows of its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    http: String,
    sip: SocketAddr,
    outside: String,
    codecs: String,
    status: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn each_flag_wins_over_the_file_and_changes_nothing_else() {
    let said = Said::new();
    let [http, sip, other_http, other_sip] = said.ports;
    let file = Seen {
        http: format!("127.0.0.1:{http}"),
        sip: SocketAddr::from(([127, 0, 0, 1], sip)),
        outside: "203.0.113.1".into(),
        codecs: "0".into(),
        status: "SIP/2.0 200 OK".into(),
    };
    let elsewhere = |host: [u8; 4], port| Seen { sip: (host, port).into(), ..file.clone() };
    let nobody = Seen {
        status: "SIP/2.0 503 Service Unavailable".into(),
        outside: String::new(),
        codecs: String::new(),
        ..file.clone()
    };
    let (http, sip) = (format!("127.0.0.1:{other_http}"), other_sip.to_string());
    let both = format!("127.0.0.5:{other_sip}");
    for (name, word, another) in
        [("other.toml", "203.0.113.1", "203.0.113.3"), ("gone.toml", "hello.md", "gone.md")]
    {
        std::fs::write(said.folder.path().join(name), said.text.replace(word, another)).unwrap();
    }
    let flagged = said.folder.path().join("elsewhere");
    std::fs::create_dir(&flagged).unwrap();
    std::fs::write(flagged.join("there.md"), PLAYBOOK.replace("fake", "espeak")).unwrap();
    let rows: [(&[&str], Seen); 10] = [
        (&[], file.clone()),
        (&["--http", &http], Seen { http: http.clone(), ..file.clone() }),
        (&["--sip", &sip], elsewhere([127, 0, 0, 1], other_sip)),
        (&["--sip", "127.0.0.5"], elsewhere([127, 0, 0, 5], file.sip.port())),
        (&["--sip", &both], elsewhere([127, 0, 0, 5], other_sip)),
        (&["--external-ip", "203.0.113.2"], Seen { outside: "203.0.113.2".into(), ..file.clone() }),
        (&["--codecs", "g722,pcma"], Seen { codecs: "9".into(), ..file.clone() }),
        (&["--handler", "gone.md"], nobody),
        (&["--conf", "gone.toml", "--handler", "elsewhere/there.md"], file.clone()),
        (&["--conf", "other.toml"], Seen { outside: "203.0.113.3".into(), ..file.clone() }),
    ];
    for (flags, wanted) in rows {
        assert_eq!(said.seen(flags).await, wanted, "{flags:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handler_of_the_command_line_may_be_a_webhook() {
    let (url, mut told) = hook(StatusCode::INTERNAL_SERVER_ERROR).await;
    let said = Said::new();
    assert!(
        said.seen(&["--handler", &url]).await.status.contains("503"),
        "a webhook that fails takes no call"
    );
    assert_eq!(told.recv().await.unwrap().1["event"], "invite");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_call_of_the_command_line_goes_out_by_what_the_file_says() {
    let said = Said::new();
    let callee = UdpSocket::bind("127.0.0.1:0").unwrap();
    callee.set_nonblocking(true).unwrap();
    let callee = tokio::net::UdpSocket::from_std(callee).unwrap();
    let uri = format!("sip:desk@{}", callee.local_addr().unwrap());
    let running = Running::start_as_said(said.folder.path(), &said.text, &["--call", &uri]).await;
    let mut invite = vec![0; 65_536];
    let received = timeout(PATIENCE, callee.recv_from(&mut invite)).await.expect("an INVITE").unwrap();
    let text = String::from_utf8_lossy(&invite[..received.0]).into_owned();
    assert!(text.starts_with(&format!("INVITE {uri} SIP/2.0\r\n")), "{text}");
    assert_eq!((received.1, value(&text, "c=")), (running.sip, "IN IP4 203.0.113.1"));
}
