//! RFC 3261 sections 8.1.1.8 and 12.1.1: our `Contact` is a `sips` URI where what it belongs to went by one.

use std::net::SocketAddr;

use sip::{Account, Hop, Outbound, Refer, Transport};

use crate::cancel::respond;
use crate::desk::{Desk, PHONE, Phone, SDP, header};

const TLS: &str = "<sips:active-call@192.0.2.2:5061>";
const PLAIN: &str = "<sip:active-call@192.0.2.2:5060>";

fn desk() -> Desk {
    Desk::with(|config| {
        config.advertised_tls = Some("192.0.2.2:5061".parse().unwrap());
        config.advertised_wss = Some("192.0.2.2:443".parse().unwrap());
    })
}

fn secure(transport: Transport) -> Hop {
    Hop::new(transport, PHONE.parse::<SocketAddr>().unwrap())
}

fn call(to: &str, hop: Hop) -> Outbound {
    Outbound { sdp: Some(SDP.into()), ..Outbound::new(to, "sip:us@192.0.2.2", hop) }
}

#[test]
fn a_call_of_ours_to_a_sips_uri_or_by_one_first_has_a_contact_of_that_kind() {
    let sip = "sip:bob@192.0.2.1";
    let via = |proxy: &str| Outbound { proxy: Some(proxy.into()), ..call(sip, secure(Transport::Tls)) };
    let route = |first: &str| Outbound { route: vec![first.into()], ..call(sip, secure(Transport::Tls)) };
    for (call, contact) in [
        (call("sips:bob@192.0.2.1", secure(Transport::Tls)), TLS),
        (call("SIPS:bob@192.0.2.1", secure(Transport::Wss)), "<sips:active-call@192.0.2.2:443;transport=ws>"),
        (via("sips:192.0.2.1"), TLS),
        (route("sips:192.0.2.1;lr"), TLS),
        (call(sip, secure(Transport::Tls)), "<sip:active-call@192.0.2.2:5061;transport=tls>"),
        (call(sip, secure(Transport::Udp)), PLAIN),
    ] {
        let mut desk = desk();
        desk.endpoint.invite(desk.now, &call).unwrap();
        let invite = desk.sent().remove(0).1;
        assert_eq!(header(&invite, "Contact"), Some(contact), "{invite}");
    }
}

#[test]
fn who_listens_for_no_tls_has_a_contact_that_leads_to_it() {
    let mut desk = Desk::with(|config| config.advertised_tls = None);
    let udp = secure(Transport::Udp);
    desk.endpoint.invite(desk.now, &call("sips:bob@192.0.2.1", udp)).unwrap();
    assert_eq!(header(&desk.sent()[0].1, "Contact"), Some(PLAIN));
}

#[test]
fn the_next_target_and_what_follows_in_the_call_keep_it() {
    let mut desk = desk();
    let mut call = call("sips:bob@192.0.2.1", secure(Transport::Tls));
    call.targets.push(Hop::new(Transport::Tls, "192.0.2.9:5061".parse().unwrap()));
    let dialog = desk.endpoint.invite(desk.now, &call).unwrap();
    let first = desk.sent().remove(0).1;
    let second =
        desk.hear(respond(&first, 503)).into_iter().find(|sent| sent.starts_with("INVITE ")).unwrap();
    assert_eq!(header(&second, "Contact"), Some(TLS));
    desk.hear(respond(&second, 200).replace("<sip:", "<sips:"));
    desk.sent();
    desk.endpoint.reoffer(desk.now, dialog, SDP).unwrap();
    let again = desk.sent().remove(0).1;
    assert!(again.starts_with("INVITE sips:"), "{again}");
    assert_eq!(header(&again, "Contact"), Some(TLS));
    desk.hear(respond(&again, 200).replace("<sip:", "<sips:"));
    desk.sent();
    let refer =
        Refer { to: "sip:carol@192.0.2.3".into(), replaces: None, headers: vec![], credentials: None };
    desk.endpoint.refer(desk.now, dialog, &refer).unwrap();
    assert_eq!(header(&desk.sent()[0].1, "Contact"), Some(TLS));
}

#[test]
fn what_came_by_a_sips_uri_is_answered_with_one() {
    let to = |uri: &'static str, contact: &'static str, lines: &'static str| (uri, contact, lines);
    for ((uri, contact, lines), expected) in [
        (to("sips:bob@192.0.2.2", "<sip:alice@192.0.2.1:5060>", ""), TLS),
        (to("sip:bob@192.0.2.2", "<sips:alice@192.0.2.1:5061>", ""), TLS),
        (to("sip:bob@192.0.2.2", "<sip:alice@192.0.2.1:5060>", "Record-Route: <sips:192.0.2.1;lr>\r\n"), TLS),
        (
            to("sip:bob@192.0.2.2", "<sips:alice@192.0.2.1:5061>", "Record-Route: <sip:192.0.2.1;lr>\r\n"),
            PLAIN,
        ),
        (to("sip:bob@192.0.2.2", "<sip:alice@192.0.2.1:5060>", ""), PLAIN),
    ] {
        let mut desk = desk();
        let mut phone = Phone::new("c1");
        (phone.contact, phone.extra) = (contact.into(), lines.into());
        let invite =
            phone.request("INVITE", SDP).replace("INVITE sip:bob@192.0.2.2", &format!("INVITE {uri}"));
        desk.hear(&invite);
        let dialog = desk.dialog();
        desk.endpoint.ring(desk.now, dialog, None).unwrap();
        desk.endpoint.answer(desk.now, dialog, SDP, &[]).unwrap();
        for (_, answer) in desk.sent() {
            assert_eq!(header(&answer, "Contact"), Some(expected), "{invite}\n{answer}");
        }
        phone.to_tag = String::new();
        let options =
            phone.request("OPTIONS", "").replace("OPTIONS sip:bob@192.0.2.2", &format!("OPTIONS {uri}"));
        assert_eq!(header(&desk.hear(options)[0], "Contact"), Some(expected));
    }
}

#[test]
fn an_account_at_a_sips_registrar_registers_a_contact_of_that_kind() {
    let mut desk = desk();
    let account = |registrar: &str, proxy: Option<&str>| Account {
        registrar: registrar.into(),
        address: "sip:alice@192.0.2.1".into(),
        display_name: None,
        contact_user: "alice".into(),
        targets: vec![secure(Transport::Tls)],
        proxy: proxy.map(str::to_owned),
        credentials: None,
        expires: std::time::Duration::from_secs(600),
    };
    for (account, contact) in [
        (account("sips:192.0.2.1", None), "<sips:alice@192.0.2.2:5061>"),
        (account("sip:192.0.2.1", Some("sips:192.0.2.1")), "<sips:alice@192.0.2.2:5061>"),
        (account("sip:192.0.2.1", None), "<sip:alice@192.0.2.2:5061;transport=tls>"),
    ] {
        desk.endpoint.register(desk.now, &account).unwrap();
        let register = desk.sent().remove(0).1;
        assert_eq!(header(&register, "Contact"), Some(contact));
        let ours = format!("Contact: {contact};expires=600\r\nContent-Length");
        let granted = respond(&register, 200);
        let at = granted.lines().filter(|line| !line.starts_with("Contact"));
        let granted = at.collect::<Vec<_>>().join("\r\n").replace("Content-Length", &ours) + "\r\n\r\n";
        desk.hear(granted);
        let state = desk.registrations.last();
        assert!(matches!(state, Some(sip::RegistrationState::Registered { .. })), "{state:?}");
    }
}
