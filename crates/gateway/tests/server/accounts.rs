//! Accounts at one registrar: by which of them calls of ours go, and what comes for each.

use std::net::UdpSocket;

use active_call::config::words::Pattern;
use active_call::config::{RegisterUser, Rule, UserCredential};
use protocol::Secret;
use serde_json::json;

use crate::inbound_sip::playbooks;
use crate::raw_phone::{RawPhone, sdp, value};
use crate::rig::{PATIENCE, Rig};

/// A server with the accounts 1001 and 1002 at one registrar, and that registrar.
async fn with_two_accounts() -> (Rig, RawPhone, String) {
    let registrar = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = registrar.local_addr().unwrap().to_string();
    let account = |name: &str, shown: Option<&str>| RegisterUser {
        server: server.clone(),
        username: name.into(),
        display_name: shown.map(str::to_owned),
        credential: Some(UserCredential { password: Secret::new(name), ..UserCredential::default() }),
        ..RegisterUser::default()
    };
    let rig = Rig::start_with(|config| {
        let desk = Pattern(regex::Regex::new("^1002$").unwrap());
        let rule = Rule { callee: Some(desk), playbook: "desk.md".into(), ..Rule::default() };
        playbooks(config, vec![rule], None);
        config.register_users = vec![account("1001", Some("The \"desk\"")), account("1002", None)];
    })
    .await;
    let registrar = RawPhone::at(registrar, rig.server.sip_addr());
    let until = tokio::time::Instant::now() + PATIENCE;
    while rig.get("/api/v1/registrations").await.1.matches("\"registered\"").count() < 2 {
        assert!(tokio::time::Instant::now() < until, "the accounts are not registered");
        if let Ok(register) = tokio::time::timeout(PATIENCE / 100, registrar.asked("REGISTER")).await {
            let contact = value(&register, "Contact").to_owned();
            registrar.answer(&register, &format!("200 OK\r\nContact: {contact};expires=600"), "").await;
        }
    }
    (rig, registrar, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_account_calls_under_its_own_name_with_its_own_password() {
    let (rig, registrar, server) = with_two_accounts().await;
    let shown = r#""The \"desk\"" <sip:1001@127.0.0.1>"#;
    for (caller, callee, from, to, user) in [
        ("\"Bob B\" <sip:1002@127.0.0.1>", "+49 30-12", "\"Bob B\" <sip:1002@127.0.0.1>", "+493012", "1002"),
        ("1002", "100", "<sip:1002@127.0.0.1>", "100", "1002"),
        ("", "sip:5@", shown, "5", "1001"),
    ] {
        let callee = if callee.ends_with('@') { format!("{callee}{server}") } else { callee.into() };
        let mut client = rig.connect("/call/sip").await;
        let option = json!({"caller": caller, "callee": callee});
        client.send(json!({"command": "invite", "option": option})).await;
        let invite = registrar.asked("INVITE").await;
        assert!(invite.starts_with(&format!("INVITE sip:{to}@{server} SIP/2.0\r\n")), "{invite}");
        assert!(value(&invite, "From").starts_with(&format!("{from};tag=")), "{invite}");
        let challenge = "401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n\"";
        registrar.answer(&invite, challenge, "").await;
        let again =
            registrar.heard(|text| text.starts_with("INVITE") && text.contains("\nAuthorization")).await;
        assert!(value(&again, "Authorization").contains(&format!("username=\"{user}\"")), "{again}");
        registrar.answer(&again, "486 Busy Here", "").await;
        assert_eq!(client.event("reject").await["code"], 486);
    }
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_an_account_is_routed_by_it_though_another_number_was_called() {
    let (rig, registrar, _) = with_two_accounts().await;
    let playbook = "---\ntts: { provider: fake }\ngreeting: 'This is {{ request_uri }}.'\n---\n";
    std::fs::write(rig.path("playbook/desk.md"), playbook).unwrap();
    let (here, there) = (registrar.socket.local_addr().unwrap(), rig.server.sip_addr());
    let sdp = sdp(([127, 0, 0, 1], 4000).into());
    let request = |method: &str, user: &str, to: &str, body: &str| {
        format!(
            "{method} sip:{user}@{there} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{method}{user}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:anna@pbx.example>;tag=a\r\nTo: {to}\r\nCall-ID: {user}\r\n\
             CSeq: {} {method}\r\nContact: <sip:anna@{here}>\r\nContent-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{body}",
            if method == "BYE" { 2 } else { 1 },
            body.len()
        )
    };
    let number = "<sip:+4930@pbx.example>";
    for (user, status) in [("1001", "SIP/2.0 503 "), ("1002", "SIP/2.0 200 ")] {
        let invite = request("INVITE", user, number, &sdp);
        registrar.socket.send_to(invite.as_bytes(), there).await.unwrap();
        let answer = registrar
            .heard(|text| text.contains(&format!("Call-ID: {user}\r\n")) && !text.starts_with("SIP/2.0 1"))
            .await;
        assert!(answer.starts_with(status), "{answer}");
        let to = value(&answer, "To").to_owned();
        assert!(to.starts_with(number), "{answer}");
        let bye = request("BYE", user, &to, "");
        registrar.socket.send_to(bye.as_bytes(), there).await.unwrap();
    }
    let answered = |rig: &Rig| rig.records().into_iter().find(|record| record.status_code == 200);
    let record = rig.until("a record", answered).await;
    let extras = record.extras.unwrap();
    assert_eq!(extras["request_uri"], format!("sip:1002@{there}"));
    rig.server.stop().await;
}
