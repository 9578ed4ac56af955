//! RFC 5118: what messages of IPv6 look like, right and wrong.

use std::time::Duration;

use crate::desk::{Desk, header, status};

/// A peer on IPv6.
const PEER: &str = "[2001:db8::9]:5060";

/// OPTIONS to this URI, with this address in `Via`.
fn options(number: usize, uri: &str, via: &str) -> String {
    format!(
        "OPTIONS {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {via};branch=z9hG4bKv6{number}\r\n\
         From: <sip:user@example.com>;tag=81x2\r\nTo: <sip:user@example.com>\r\nCall-ID: SSG{number}@[2001:db8::9]\r\n\
         CSeq: 8612 OPTIONS\r\nMax-Forwards: 70\r\nContact: <sip:caller@[2001:db8::1]>\r\nContent-Length: 0\r\n\r\n"
    )
}

#[test]
fn addresses_of_ipv6_are_read_in_brackets_and_refused_without() {
    let mut desk = Desk::new();
    let plain = "[2001:db8::9]";
    for (number, (uri, via, expected)) in [
        // Section 4.1, 4.3 and 4.4: a reference, one whose last group looks like a port, and one with a port.
        ("sip:[2001:db8::10]", plain, 200),
        ("sip:[2001:db8::10:5070]", plain, 200),
        ("sip:[2001:db8::10]:5070", plain, 200),
        // Section 4.2: without brackets nobody knows where the port begins.
        ("sip:2001:db8::10", plain, 400),
        // Section 4.5: both spellings of what a proxy has received from; it is written anew.
        ("sip:[2001:db8::10]", "[2001:db8::9:1];received=[2001:db8::9:255]", 200),
        ("sip:[2001:db8::10]", "[2001:db8::9:1];received=2001:db8::9:255", 200),
        // Section 4.9: an address of IPv4 within one of IPv6.
        ("sip:user@[::ffff:192.0.2.10]", plain, 200),
        ("sip:user@[::ffff:192.0.2.10]:19823", plain, 200),
    ]
    .into_iter()
    .enumerate()
    {
        let sent = desk.give(PEER, options(number, uri, via));
        assert_eq!(status(&sent), expected, "{uri} {via}");
        if expected == 200 {
            let stamped = header(&sent[0], "Via").unwrap();
            assert!(!stamped.contains("255"), "it goes to who has asked: {stamped}");
        }
    }
    // Section 4.10: three colons, which the grammar of RFC 3261 lets pass by mistake, may be read or refused.
    let odd = desk.give(PEER, options(99, "sip:user@[2001:db8:::192.0.2.1]", plain));
    assert!(matches!(status(&odd), 200 | 400), "{odd:?}");
    assert_eq!(desk.endpoint.counters().dialogs, 0);
}

#[test]
fn a_call_over_ipv6_goes_back_where_its_contact_says() {
    let mut desk = Desk::new();
    let sdp = "v=0\r\no=assistant 971731711378798081 0 IN IP6 2001:db8::20\r\ns=Live video feed\r\n\
        c=IN IP6 2001:db8::20\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n";
    // Sections 4.6 and 4.7: a description of IPv6, and proxies of both kinds on the way.
    let message = |method: &str, to_tag: &str, body: &str| {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} sip:user@[2001:db8::10] SIP/2.0\r\n\
             Via: SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bKas3{method}\r\n\
             Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKjh5;received=[2001:db8::9:255]\r\n\
             From: <sip:user@example.com>;tag=81x2\r\nTo: <sip:user@example.com>{to_tag}\r\nCall-ID: v6\r\n\
             CSeq: 1 {method}\r\nMax-Forwards: 68\r\nContact: <sip:user@[2001:db8::20]:5070>\r\n\
             {kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    desk.give(PEER, message("INVITE", "", sdp));
    let dialog = desk.dialog();
    desk.endpoint.answer(desk.now, dialog, sdp, &[]).unwrap();
    let (to, answer) = desk.sent().remove(0);
    assert_eq!(
        to.to_string(),
        "[2001:db8::9]:6050",
        "to the host that has asked, at the port that its Via says"
    );
    assert!(answer.contains("Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKjh5;received=[2001:db8::9:255]\r\n"));
    let tag =
        header(&answer, "To").unwrap().split_once(";tag=").map(|(_, tag)| format!(";tag={tag}")).unwrap();
    desk.give(PEER, message("ACK", &tag, ""));
    desk.endpoint.bye(desk.now, dialog, &[]).unwrap();
    let (to, bye) = desk.sent().remove(0);
    assert_eq!(to.to_string(), "[2001:db8::20]:5070");
    assert!(bye.starts_with("BYE sip:user@[2001:db8::20]:5070 SIP/2.0\r\n"), "{bye}");
    desk.wait(Duration::from_secs(40));
    assert_eq!(desk.endpoint.counters().dialogs, 0);
}
