//! Our digest against SIPp, which checks it with its own code. `scripts/setup test` installs it.

use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sip::{Account, Config, Credentials, Driver, Outbound, RegistrationState, SipHandle};

use crate::desk::SDP;
use crate::world::name;

/// A scenario that challenges a request of this method, checks the answer, and goes on with `rest`.
fn scenario(method: &str, rest: &str) -> String {
    let copied = "[last_Via:]\n[last_From:]\n[last_To:];tag=[call_number]\n[last_Call-ID:]\n[last_CSeq:]";
    let ack = if method == "INVITE" { "<recv request=\"ACK\"/>" } else { "" };
    format!(
        r#"<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="challenge">
<recv request="{method}"/>
<send><![CDATA[
SIP/2.0 401 Unauthorized
{copied}
WWW-Authenticate: Digest realm="pbx.example", nonce="47ebe028cda119c35d4877b383027d28da013815", algorithm=MD5
Content-Length: 0

]]></send>
{ack}
<recv request="{method}"><action>
<verifyauth assign_to="right" username="alice" password="open sesame"/>
</action></recv>
<nop condexec="right"><action><assignstr assign_to="shown" value="right"/></action></nop>
<nop condexec="right" condexec_inverse="true"><action><exec int_cmd="stop_now"/></action></nop>
<send><![CDATA[
SIP/2.0 200 OK
{copied}
Contact: <sip:alice@[local_ip]:[local_port]>;expires=120
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=audio 6000 RTP/AVP 0
]]></send>
{rest}
<Reference variables="shown"/>
</scenario>
"#
    )
}

/// SIPp on a free port.
fn sipp(text: &str, title: &str) -> (Child, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let file = std::env::temp_dir().join(format!("{title}-{}.xml", address.port()));
    std::fs::write(&file, text).unwrap();
    let port = address.port().to_string();
    let mut command = Command::new("sipp");
    command.arg("-sf").arg(&file).args([
        "-i",
        "127.0.0.1",
        "-p",
        &port,
        "-m",
        "1",
        "-nostdin",
        "-timeout",
        "20",
    ]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    (child.expect("SIPp is not installed; scripts/setup test installs it"), address)
}

/// Waits until SIPp has taken its port.
async fn listens(address: SocketAddr) {
    let mut again = tokio::time::interval(Duration::from_millis(20));
    let taken = async {
        while UdpSocket::bind(address).is_ok() {
            again.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), taken).await.expect("SIPp listens in time");
}

async fn driver(tasks: &mut tokio::task::JoinSet<()>) -> SipHandle {
    let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let (driver, handle, calls) = Driver::bind(local, Config::new(local, [9; 32])).await.unwrap();
    tasks.spawn(async move {
        let _calls = calls;
        driver.run().await;
    });
    handle
}

fn succeeded(mut sipp: Child) -> bool {
    sipp.wait().unwrap().success()
}

#[tokio::test]
async fn a_registrar_takes_our_answer() {
    let (sipp, address) = sipp(&scenario("REGISTER", ""), "registrar");
    listens(address).await;
    let mut tasks = tokio::task::JoinSet::new();
    let handle = driver(&mut tasks).await;
    let account = Account {
        registrar: format!("sip:{address}"),
        address: format!("sip:alice@{address}"),
        display_name: None,
        contact_user: "alice".into(),
        targets: vec![address.into()],
        proxy: None,
        credentials: Some(Credentials::new("alice", "open sesame")),
        expires: Duration::from_secs(600),
    };
    let (_, mut state) = handle.register(account).await.unwrap();
    let registered = state.wait_for(|state| matches!(state, RegistrationState::Registered { .. }));
    let in_time =
        tokio::time::timeout(Duration::from_secs(15), registered).await.expect("in time").unwrap().clone();
    let RegistrationState::Registered { until, next, .. } = in_time else { panic!() };
    assert_eq!((until - next).as_secs(), 30, "a quarter of the 120 s that were granted");
    assert!(succeeded(sipp));
}

#[tokio::test]
async fn a_callee_takes_our_answer() {
    let rest = "<recv request=\"ACK\"/>\n<recv request=\"BYE\"/>\n<send><![CDATA[\nSIP/2.0 200 OK\n[last_Via:]\n\
        [last_From:]\n[last_To:]\n[last_Call-ID:]\n[last_CSeq:]\nContent-Length: 0\n\n]]></send>";
    let (sipp, address) = sipp(&scenario("INVITE", rest), "callee");
    listens(address).await;
    let mut tasks = tokio::task::JoinSet::new();
    let handle = driver(&mut tasks).await;
    let call = Outbound {
        sdp: Some(SDP.into()),
        credentials: Some(Credentials::new("alice", "open sesame")),
        ..Outbound::new(format!("sip:bob@{address}"), "sip:alice@127.0.0.1", address)
    };
    let (dialog, mut events) = handle.invite(call).await.unwrap();
    let answered = tokio::time::timeout(Duration::from_secs(15), events.recv()).await.unwrap().unwrap();
    assert_eq!(name(&answered), "Answered");
    handle.hangup(dialog, vec![]).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(15), events.recv()).await.unwrap().unwrap();
    assert_eq!(name(&ended), "Ended LocalBye");
    assert!(succeeded(sipp));
}
