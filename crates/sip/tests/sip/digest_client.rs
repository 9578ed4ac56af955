//! RFC 7616, RFC 8760: what we answer a challenge with, and when we do not.

use std::time::Duration;

use sip::{Claim, Credentials, Guard, Outbound, Refer, SipEvent, Verdict};

use crate::cancel::respond;
use crate::desk::{Desk, SDP, header};

pub(crate) const REALM: &str = "pbx.example";

/// The desk calls with these credentials; its INVITE.
fn call(desk: &mut Desk, credentials: Option<Credentials>) -> String {
    let target = crate::desk::PHONE.parse::<std::net::SocketAddr>().unwrap();
    let call = Outbound {
        sdp: Some(SDP.into()),
        credentials,
        ..Outbound::new("sip:bob@192.0.2.1", "sip:us@192.0.2.2", target)
    };
    desk.endpoint.invite(desk.now, &call).unwrap();
    desk.sent().remove(0).1
}

fn login() -> Option<Credentials> {
    Some(Credentials::new("us", "secret"))
}

/// A refusal of a request with these lines.
pub(crate) fn refuse(request: &str, code: u16, lines: &str) -> String {
    respond(request, code).replace("Content-Length", &format!("{lines}\r\nContent-Length"))
}

/// Our INVITE with these lines.
fn claim(headers: &[(String, String)]) -> Claim<'_> {
    Claim { method: "INVITE", uri: "sip:bob@192.0.2.1", headers }
}

fn asks(nonce: &str) -> String {
    format!("WWW-Authenticate: Digest realm=\"{REALM}\", nonce=\"{nonce}\", qop=\"auth\"")
}

/// The request among what was sent, ACKs left out.
pub(crate) fn request(sent: Vec<String>) -> Option<String> {
    let mut requests = sent.into_iter().filter(|m| !m.starts_with("ACK ") && !m.starts_with("SIP/2.0"));
    requests.next()
}

/// A parameter of the answer to a challenge.
fn param(request: &str, name: &str) -> String {
    let line = header(request, "Authorization").or(header(request, "Proxy-Authorization")).unwrap();
    let value = line.split(&format!("{name}=")).nth(1).unwrap();
    value.split(',').next().unwrap().trim_matches('"').to_owned()
}

#[test]
fn a_challenged_invite_is_sent_again_with_an_answer_that_a_server_takes() {
    for strongest in [true, false] {
        let mut desk = Desk::new();
        let mut guard = Guard::new(REALM, [3; 32], Duration::from_secs(60));
        let password = |user: &str| (user == "us").then(|| "secret".to_owned().into());
        let first = call(&mut desk, login());
        let Verdict::Challenge { headers, .. } = guard.judge(desk.now, &claim(&[]), password) else {
            panic!()
        };
        let row = &headers[usize::from(!strongest)];
        let lines = format!("{}: {}", row.0, row.1);
        let again = request(desk.hear(refuse(&first, 401, &lines))).unwrap();
        assert_eq!(header(&again, "CSeq"), Some("2 INVITE"));
        assert_eq!(header(&again, "Call-ID"), header(&first, "Call-ID"));
        assert_eq!(header(&again, "From"), header(&first, "From"));
        assert!(again.ends_with(SDP));
        assert_eq!(param(&again, "algorithm"), if strongest { "SHA-256" } else { "MD5" });
        let answer = header(&again, "Authorization").unwrap().to_owned();
        let answer = [("Authorization".to_owned(), answer)];
        let verdict = guard.judge(desk.now, &claim(&answer), password);
        assert_eq!(verdict, Verdict::Welcome { user: "us".into() });
        desk.hear(respond(&again, 200));
        assert_eq!(desk.story(), ["Answered"]);
    }
}

#[test]
fn of_several_challenges_the_strongest_is_answered() {
    let mut desk = Desk::new();
    let first = call(&mut desk, login());
    let row = |algorithm: &str| {
        format!("Digest realm=\"{REALM}\", nonce=\"n-{algorithm}\", qop=\"auth\", algorithm={algorithm}")
    };
    let lines = format!(
        "WWW-Authenticate: {}, {}\r\nWWW-Authenticate: {}\r\nWWW-Authenticate: {}",
        row("MD5"),
        row("SHA-256"),
        row("SHA-256-sess"),
        row("NOT-KNOWN")
    );
    let again = request(desk.hear(refuse(&first, 401, &lines))).unwrap();
    assert_eq!(
        (param(&again, "algorithm"), param(&again, "nonce")),
        ("SHA-256-sess".into(), "n-SHA-256-sess".into())
    );
}

#[test]
fn a_session_that_cannot_be_checked_is_not_begun() {
    let mut desk = Desk::new();
    let first = call(&mut desk, login());
    let lines = format!(
        "WWW-Authenticate: Digest realm=\"{REALM}\", nonce=\"n1\", algorithm=SHA-256-sess\r\n{}",
        asks("n2")
    );
    let again = request(desk.hear(refuse(&first, 401, &lines))).unwrap();
    assert_eq!(param(&again, "nonce"), "n2", "the other needs the client's nonce, and no qop has it sent");
}

/// RFC 7616 section 3.4.2: with the nonce `n-sess`, the client's `0a4f113b` and the password `secret` of `us` in
/// `pbx.example`, A1 is `H(us:pbx.example:secret):n-sess:0a4f113b`, A2 is `INVITE:sip:bob@192.0.2.1`, and the response is
/// `H(H(A1):n-sess:NC:0a4f113b:auth:H(A2))`. These are of Python's hashlib, for NC 00000001 and 00000002.
#[test]
fn the_answers_of_a_session_are_those_of_the_rfc_and_keep_its_key() {
    use sipx_sip::auth::{Algorithm, Challenge, respond};
    let known = [
        ("MD5-sess", ["6871c436813767e5f1e175d0637b6878", "67461b139c148960050e3f743af2523c"]),
        (
            "SHA-256-sess",
            [
                "be803909961e6beb4d721a9966ed4f55855c7a88c162550bf7d201036ac22f30",
                "50ad8216250b40e370c4e0cdeee6fa2fa5ae6f67f6559a59b1b9cdb930384f5a",
            ],
        ),
    ];
    for (algorithm, responses) in known {
        let challenge = Challenge {
            realm: REALM.into(),
            nonce: "n-sess".into(),
            opaque: Some("o".into()),
            algorithm: Algorithm::parse(algorithm).unwrap(),
            qop_auth: true,
            stale: false,
            from_proxy: false,
        };
        let us = sipx_sip::auth::Credentials::new("us", "secret");
        for (count, response) in (1..).zip(responses) {
            let line = respond(&challenge, &us, "INVITE", "sip:bob@192.0.2.1", count, "0a4f113b");
            assert!(line.contains(&format!("response=\"{response}\"")), "{algorithm}: {line}");
        }
        let mut desk = Desk::new();
        let first = call(&mut desk, login());
        let lines = format!("{}, algorithm={algorithm}, opaque=\"o\"", asks("n-sess"));
        let invite = request(desk.hear(refuse(&first, 401, &lines))).unwrap();
        let cnonce = param(&invite, "cnonce");
        let ours = respond(&challenge, &us, "INVITE", "sip:bob@192.0.2.1", 1, &cnonce);
        assert_eq!(header(&invite, "Authorization"), Some(ours.as_str()));
        desk.hear(crate::cancel::respond(&invite, 200));
        desk.endpoint.bye(desk.now, desk.dialog(), &[]).unwrap();
        let bye = desk.sent().remove(0).1;
        let ours = respond(&challenge, &us, "BYE", &param(&bye, "uri"), 2, &cnonce);
        assert_eq!(header(&bye, "Authorization"), Some(ours.as_str()), "its key is made of the first answer");
    }
}

#[test]
fn the_ack_of_an_invite_shows_the_same_credentials() {
    let mut desk = Desk::new();
    let first = call(&mut desk, login());
    let invite = request(desk.hear(refuse(&first, 401, &asks("n1")))).unwrap();
    let answer = respond(&invite, 200);
    let ack = desk.hear(&answer).remove(0);
    assert!(ack.starts_with("ACK "));
    assert_eq!(header(&ack, "Authorization"), header(&invite, "Authorization"));
    assert_eq!(header(&desk.hear(&answer)[0], "Authorization"), header(&invite, "Authorization"), "a copy");
    let fork = answer.replace("tag=", "tag=other");
    let sent = desk.hear(&fork);
    assert!(sent[0].starts_with("ACK ") && sent[1].starts_with("BYE "), "{sent:#?}");
    assert_eq!(header(&sent[0], "Authorization"), header(&invite, "Authorization"), "to a further callee");
    let dialog = desk.dialog();
    desk.endpoint.reoffer(desk.now, dialog, SDP).unwrap();
    let again = desk.sent().remove(0).1;
    let ack = desk.hear(respond(&again, 200)).remove(0);
    assert_eq!(param(&again, "nc"), "00000002");
    assert_eq!(header(&ack, "Authorization"), header(&again, "Authorization"), "of a re-INVITE too");
}

#[test]
fn a_second_challenge_with_the_same_nonce_is_a_refusal() {
    let mut desk = Desk::new();
    let first = call(&mut desk, login());
    let second = request(desk.hear(refuse(&first, 401, &asks("n1")))).unwrap();
    assert_eq!(request(desk.hear(refuse(&second, 401, &asks("n1")))), None);
    assert_eq!(desk.story(), ["Rejected 401"]);
}

#[test]
fn a_server_that_refuses_with_ever_new_nonces_is_not_asked_for_ever() {
    let mut desk = Desk::new();
    let first = call(&mut desk, login());
    let second = request(desk.hear(refuse(&first, 401, &asks("n1")))).unwrap();
    assert_eq!(request(desk.hear(refuse(&second, 401, &asks("n2")))), None);
    assert_eq!(desk.story(), ["Rejected 401"]);
}

#[test]
fn a_stale_nonce_is_answered_again_but_not_without_end() {
    let mut desk = Desk::new();
    let mut latest = call(&mut desk, login());
    let mut rounds = 0;
    while let Some(again) =
        request(desk.hear(refuse(&latest, 401, &format!("{}, stale=true", asks(&format!("n{rounds}"))))))
    {
        (latest, rounds) = (again, rounds + 1);
        assert_eq!(param(&latest, "nc"), "00000001");
    }
    assert_eq!(rounds, 4);
    assert_eq!(desk.story(), ["Rejected 401"]);
}

#[test]
fn a_proxy_and_the_callee_of_one_realm_may_both_ask() {
    let mut desk = Desk::new();
    let first = call(&mut desk, login());
    let second = request(desk.hear(refuse(&first, 407, &asks("p1").replace("WWW", "Proxy")))).unwrap();
    assert!(header(&second, "Proxy-Authorization").is_some());
    let third = request(desk.hear(refuse(&second, 401, &asks("u1")))).unwrap();
    assert!(header(&third, "Proxy-Authorization").is_some() && header(&third, "Authorization").is_some());
}

fn of_realm(realm: &str, nonce: &str) -> String {
    asks(nonce).replace(REALM, realm)
}

#[test]
fn a_proxy_and_a_callee_of_another_realm_both_get_their_answer() {
    let mut desk = Desk::new();
    let first = call(&mut desk, login());
    let proxy = of_realm("carrier", "p1").replace("WWW", "Proxy");
    let second = request(desk.hear(refuse(&first, 407, &proxy))).unwrap();
    let third = request(desk.hear(refuse(&second, 401, &asks("u1")))).unwrap();
    let to_proxy = header(&third, "Proxy-Authorization").unwrap();
    assert!(to_proxy.contains("realm=\"carrier\"") && to_proxy.contains("nc=00000002"), "{to_proxy}");
    assert!(header(&third, "Authorization").unwrap().contains(REALM));
    desk.hear(respond(&third, 200));
    assert_eq!(desk.story(), ["Answered"]);
}

#[test]
fn challenges_of_two_realms_in_one_response_are_both_answered() {
    let mut desk = Desk::new();
    let first = call(&mut desk, login());
    let both = format!("{}\r\n{}", of_realm("a", "n1"), of_realm("b", "n2"));
    let second = request(desk.hear(refuse(&first, 401, &both))).unwrap();
    for realm in ["realm=\"a\"", "realm=\"b\""] {
        assert!(
            second.lines().any(|line| line.starts_with("Authorization: ") && line.contains(realm)),
            "{second}"
        );
    }
}

#[test]
fn no_more_than_three_realms_get_an_answer() {
    let mut desk = Desk::new();
    let mut latest = call(&mut desk, login());
    let mut answered = 0;
    while let Some(again) = request(desk.hear(refuse(&latest, 401, &of_realm(&format!("r{answered}"), "n"))))
    {
        (latest, answered) = (again, answered + 1);
    }
    assert_eq!(answered, 3);
    assert_eq!(desk.story(), ["Rejected 401"]);
}

#[test]
fn the_nonce_that_a_server_names_for_the_next_request_is_used() {
    let mut desk = Desk::new();
    let first = call(&mut desk, login());
    let second = request(desk.hear(refuse(&first, 401, &asks("n1")))).unwrap();
    let info = "Authentication-Info: nextnonce=\"n2\", qop=auth";
    desk.hear(refuse(&second, 200, info));
    desk.endpoint.bye(desk.now, desk.dialog(), &[]).unwrap();
    let bye = desk.sent().remove(0).1;
    assert_eq!(
        (param(&bye, "nonce"), param(&bye, "nc")),
        ("n2".into(), "00000001".into()),
        "the ACK repeats the INVITE's"
    );
}

#[test]
fn a_session_keeps_its_nonce() {
    let mut desk = Desk::new();
    let first = call(&mut desk, login());
    let lines = format!("{}, algorithm=MD5-sess", asks("n1"));
    let second = request(desk.hear(refuse(&first, 401, &lines))).unwrap();
    desk.hear(refuse(&second, 200, "Authentication-Info: nextnonce=\"n2\", qop=auth"));
    desk.endpoint.bye(desk.now, desk.dialog(), &[]).unwrap();
    let bye = desk.sent().remove(0).1;
    let told = (param(&bye, "nonce"), param(&bye, "nc"), param(&bye, "cnonce"));
    assert_eq!(told, ("n1".into(), "00000002".into(), param(&second, "cnonce")));
}

#[test]
fn a_realm_that_is_not_ours_gets_nothing() {
    let mut desk = Desk::new();
    let mut other = login();
    other.as_mut().unwrap().realm = Some("elsewhere".into());
    for credentials in [None, other] {
        let first = call(&mut desk, credentials);
        assert_eq!(request(desk.hear(refuse(&first, 401, &asks("n1")))), None);
        let Some(SipEvent::Rejected { code, headers, .. }) = desk.events.last() else { panic!() };
        assert!(*code == 401 && headers.iter().any(|(name, _)| name == "WWW-Authenticate"));
    }
}

#[test]
fn a_bye_answers_its_own_realm_and_no_other() {
    for (asks_in, answered) in [(REALM, true), ("thief", false)] {
        let mut desk = Desk::new();
        let first = call(&mut desk, login());
        let second = request(desk.hear(refuse(&first, 401, &asks("n1")))).unwrap();
        desk.hear(respond(&second, 200));
        desk.endpoint.bye(desk.now, desk.dialog(), &[]).unwrap();
        let bye = desk.sent().remove(0).1;
        assert_eq!(param(&bye, "nonce"), "n1", "what was asked before is answered at once");
        let challenge = asks("n2").replace(REALM, asks_in);
        let again = request(desk.hear(refuse(&bye, 401, &challenge)));
        assert_eq!(again.is_some(), answered);
        if let Some(again) = again {
            assert_eq!(param(&again, "nonce"), "n2");
            desk.hear(respond(&again, 200));
        }
        assert_eq!(desk.story().last().unwrap(), "Ended LocalBye");
    }
}

#[test]
fn a_transfer_of_a_call_of_ours_answers_with_the_credentials_of_the_call() {
    let mut desk = Desk::new();
    let first = call(&mut desk, login());
    desk.hear(respond(&first, 200));
    let refer = Refer::new("sip:c@192.0.2.3");
    desk.endpoint.refer(desk.now, desk.dialog(), &refer).unwrap();
    let sent = desk.sent().remove(0).1;
    let again = request(desk.hear(refuse(&sent, 401, &asks("n1")))).unwrap();
    assert!(again.starts_with("REFER ") && param(&again, "username") == "us", "{again}");
    assert_eq!(header(&again, "Refer-To"), header(&sent, "Refer-To"));
    desk.hear(respond(&again, 202));
    assert_eq!(desk.story(), ["Answered", "Transfer Accepted"]);
}

#[test]
fn a_transfer_with_credentials_of_its_own_answers_with_those() {
    let own = || Some(Credentials::new("clerk", "other"));
    // In a call of ours that has shown the call's credentials, and in one that came in.
    for outbound in [true, false] {
        let mut desk = Desk::new();
        if outbound {
            let first = call(&mut desk, login());
            let second = request(desk.hear(refuse(&first, 401, &asks("n1")))).unwrap();
            desk.hear(respond(&second, 200));
        } else {
            desk.call();
        }
        let dialog = desk.dialog();
        let refer = Refer { credentials: own(), ..Refer::new("sip:c@192.0.2.3") };
        desk.endpoint.refer(desk.now, dialog, &refer).unwrap();
        let sent = desk.sent().remove(0).1;
        assert_eq!(header(&sent, "Authorization"), None);
        let again = request(desk.hear(refuse(&sent, 407, &asks("n2").replace("WWW", "Proxy")))).unwrap();
        assert!(again.starts_with("REFER ") && param(&again, "username") == "clerk", "{again}");
        // Another one of the same realm: the credentials are wrong.
        assert_eq!(request(desk.hear(refuse(&again, 407, &asks("n3").replace("WWW", "Proxy")))), None);
        assert!(desk.story().last().unwrap().starts_with("Transfer Failed"), "{:?}", desk.story());
        desk.endpoint.bye(desk.now, dialog, &[]).unwrap();
        let bye = desk.sent().remove(0).1;
        assert_eq!(header(&bye, "Authorization").is_some(), outbound, "the call has its own");
        assert!(!bye.contains("clerk"));
    }
}

#[test]
fn a_caller_of_ours_is_never_given_credentials() {
    let mut desk = Desk::new();
    let (_, dialog) = desk.call();
    desk.endpoint.bye(desk.now, dialog, &[]).unwrap();
    let bye = desk.sent().remove(0).1;
    let challenge = asks("n").replace("WWW", "Proxy");
    assert_eq!(request(desk.hear(refuse(&bye, 407, &challenge))), None);
    assert_eq!(desk.story().last().unwrap(), "Ended LocalBye");
}

#[test]
fn a_challenge_to_a_call_that_is_given_up_ends_it() {
    let mut desk = Desk::new();
    let first = call(&mut desk, login());
    let dialog = desk.endpoint.dialogs().next().unwrap();
    desk.endpoint.cancel(desk.now, dialog).unwrap();
    assert_eq!(request(desk.hear(refuse(&first, 401, &asks("n1")))), None);
    assert_eq!(desk.story(), ["Rejected 401"]);
}
