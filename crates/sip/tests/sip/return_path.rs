//! Responses go back to where the request came from, and nowhere else (RFC 3261 section 18.2.2, RFC
//! 3581).

use crate::desk::{Desk, Phone, SDP, header};

#[test]
fn the_sender_cannot_aim_our_responses_at_another() {
    let ways = [
        (";rport", "203.0.113.7:41000"),
        ("", "203.0.113.7:5060"),
        (";received=198.51.100.9;rport=9", "203.0.113.7:41000"),
        (";received=198.51.100.9", "203.0.113.7:5060"),
        (";maddr=198.51.100.9;ttl=16", "203.0.113.7:5060"),
        (";rport=\"9\"", "203.0.113.7:41000"),
    ];
    for (parameters, expected) in ways {
        let mut desk = Desk::new();
        let request = Phone::new("c1").request("OPTIONS", "").replace(";rport", parameters);
        desk.endpoint.receive(
            desk.now,
            "203.0.113.7:41000".parse::<std::net::SocketAddr>().unwrap(),
            request.as_bytes(),
        );
        let sent = desk.sent();
        let [(to, response)] = &sent[..] else { panic!("{parameters}: {sent:?}") };
        assert_eq!(to.to_string(), expected, "{parameters}");
        let via = header(response, "Via").unwrap();
        assert!(via.contains(";received=203.0.113.7") && !via.contains("received=198"), "{via}");
    }
}

#[test]
fn a_contact_behind_a_nat_is_reached_at_its_source() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    phone.contact = "<sip:alice@10.1.2.3:5060>".into();
    desk.give("203.0.113.7:41000", phone.request("INVITE", SDP));
    let dialog = desk.dialog();
    desk.endpoint.answer(desk.now, dialog, SDP, &[]).unwrap();
    phone.learn(&desk.sent().remove(0).1);
    desk.give("203.0.113.7:41000", phone.ack(""));
    desk.endpoint.bye(desk.now, dialog, &[]).unwrap();
    let (to, bye) = desk.sent().remove(0);
    assert_eq!(to.to_string(), "203.0.113.7:41000");
    assert!(bye.starts_with("BYE sip:alice@10.1.2.3:5060 "));
    assert!(header(&bye, "Via").unwrap().starts_with("SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bK"));
}

#[test]
fn the_route_of_a_call_to_us_is_kept_in_order() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    phone.extra = "Record-Route: <sip:192.0.2.66;lr>\r\nRecord-Route: <sip:192.0.2.67:5061;lr>\r\n".into();
    desk.hear(phone.request("INVITE", SDP));
    let dialog = desk.dialog();
    desk.endpoint.answer(desk.now, dialog, SDP, &[]).unwrap();
    let answer = desk.sent().remove(0).1;
    assert!(
        answer.contains("Record-Route: <sip:192.0.2.66;lr>\r\nRecord-Route: <sip:192.0.2.67:5061;lr>\r\n")
    );
    phone.learn(&answer);
    desk.hear(phone.ack(""));
    desk.endpoint.bye(desk.now, dialog, &[]).unwrap();
    let (to, bye) = desk.sent().remove(0);
    assert_eq!(to.to_string(), "192.0.2.66:5060");
    assert!(bye.contains("Route: <sip:192.0.2.66;lr>\r\nRoute: <sip:192.0.2.67:5061;lr>\r\n"), "{bye}");
}
