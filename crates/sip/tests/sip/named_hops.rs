//! RFC 3261 sections 8.1.2 and 12.2.1.1, RFC 3263: hosts that `Contact` and `Record-Route` name.

use std::net::SocketAddr;
use std::time::Duration;

use sip::{Hop, Outbound, Transport};

use crate::cancel::respond;
use crate::desk::{Desk, PHONE, Phone, SDP, header};
use crate::world::{CALLEE, CALLER, World};

/// Where the name leads.
const FOUND: &str = "192.0.2.77:5070";

fn to_phone() -> Outbound {
    let target = PHONE.parse::<SocketAddr>().unwrap();
    Outbound { sdp: Some(SDP.into()), ..Outbound::new("sip:bob@192.0.2.1", "sip:us@192.0.2.2", target) }
}

fn found(address: &str) -> Vec<Hop> {
    vec![Hop::from(address.parse::<SocketAddr>().unwrap())]
}

/// The response with another `Contact` and further lines.
fn naming(response: &str, contact: &str, lines: &str) -> String {
    let (head, tail) = response.split_once("Contact: ").unwrap();
    let (_, tail) = tail.split_once("\r\n").unwrap();
    format!("{head}Contact: {contact}\r\n{lines}{tail}")
}

/// A call of ours; its dialog and its INVITE.
fn placed(desk: &mut Desk) -> (sip::DialogId, String) {
    let dialog = desk.endpoint.invite(desk.now, &to_phone()).unwrap();
    (dialog, desk.sent().remove(0).1)
}

/// Start words and addresses of what was sent.
fn ways(sent: &[(SocketAddr, String)]) -> Vec<String> {
    let way = |(to, text): &(SocketAddr, String)| format!("{} {to}", text.split(' ').next().unwrap());
    sent.iter().map(way).collect()
}

#[test]
fn the_ack_waits_for_the_address_of_a_named_contact_and_what_follows_goes_there_too() {
    let mut desk = Desk::new();
    let (dialog, invite) = placed(&mut desk);
    let answer = naming(&respond(&invite, 200), "<sip:desk@Phone.example>", "");
    assert!(desk.hear(&answer).is_empty(), "where it leads is not known yet");
    assert!(desk.hear(&answer).is_empty(), "nor when the 200 comes again");
    assert_eq!(desk.asked, ["sip:phone.example"], "it is asked for once");
    desk.endpoint.located(desk.now, "sip:phone.example", found(FOUND));
    let sent = desk.sent();
    assert_eq!(ways(&sent), [format!("ACK {FOUND}")]);
    assert!(sent[0].1.starts_with("ACK sip:desk@Phone.example SIP/2.0\r\n"), "{}", sent[0].1);
    desk.hear(&answer);
    desk.endpoint.bye(desk.now, dialog, &[]).unwrap();
    let bye = desk.sent().remove(0);
    assert_eq!(ways(std::slice::from_ref(&bye)), [format!("BYE {FOUND}")]);
    desk.give(FOUND, respond(&bye.1, 200));
    assert_eq!(desk.story(), ["Answered", "Ended LocalBye"]);
    assert_eq!(desk.asked.len(), 1);
}

#[test]
fn a_named_proxy_next_to_us_gets_the_requests_of_its_call() {
    for (named_first, asked) in [(false, true), (true, false)] {
        let mut desk = Desk::new();
        let (_, invite) = placed(&mut desk);
        // The proxy next to us stands last.
        let mut proxies =
            ["Record-Route: <sip:192.0.2.1;lr>\r\n", "Record-Route: <sip:edge.example:5080;lr>\r\n"];
        if named_first {
            proxies.reverse();
        }
        let answer = naming(&respond(&invite, 200), "<sip:desk@host.invalid>", &proxies.concat());
        let sent = desk.hear(&answer);
        assert_eq!((desk.asked.len(), sent.len()), if asked { (1, 0) } else { (0, 1) });
        if asked {
            assert_eq!(desk.asked, ["sip:edge.example:5080"]);
            desk.endpoint.located(desk.now, "sip:edge.example:5080", found(FOUND));
            assert_eq!(ways(&desk.sent()), [format!("ACK {FOUND}")]);
        }
    }
}

#[test]
fn where_a_host_is_not_found_requests_go_where_the_call_went() {
    // It is said that there is none, or nobody says anything for two seconds.
    for told in [true, false] {
        let mut desk = Desk::new();
        let (dialog, invite) = placed(&mut desk);
        let answer = naming(&respond(&invite, 200), "<sip:desk@phone.example>", "");
        assert!(desk.hear(&answer).is_empty());
        if told {
            desk.endpoint.located(desk.now, "sip:phone.example", Vec::new());
        } else {
            assert!(desk.wait(Duration::from_millis(1_990)).is_empty());
            desk.now += Duration::from_millis(10);
            desk.endpoint.handle_timeout(desk.now);
        }
        assert_eq!(ways(&desk.sent()), [format!("ACK {PHONE}")], "told: {told}");
        desk.endpoint.reoffer(desk.now, dialog, SDP).unwrap();
        let sent = desk.sent();
        assert_eq!(ways(&sent), [format!("INVITE {PHONE}")], "it does not wait again");
        desk.hear(naming(&respond(&sent[0].1, 200), "<sip:desk@phone.example>", ""));
        // A late answer counts from then on, as one counts that comes by a later question.
        desk.endpoint.located(desk.now, "sip:phone.example", found(FOUND));
        desk.endpoint.bye(desk.now, dialog, &[]).unwrap();
        assert_eq!(ways(&desk.sent()), [format!("BYE {FOUND}")]);
    }
}

#[test]
fn a_host_is_looked_up_again_after_a_minute_and_what_was_found_counts_meanwhile() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    phone.contact = "<sip:alice@phone.example>".into();
    desk.hear(phone.request("INVITE", SDP));
    let dialog = desk.dialog();
    desk.endpoint.answer(desk.now, dialog, SDP, &[]).unwrap();
    phone.learn(&desk.sent().remove(0).1);
    desk.hear(phone.ack(""));
    let info = |desk: &mut Desk| {
        let digit = sip::InDialog {
            method: sip::InDialogMethod::Info,
            content_type: String::new(),
            body: Vec::new(),
            headers: Vec::new(),
        };
        desk.endpoint.request_inside(desk.now, dialog, &digit).unwrap();
        let sent = desk.sent();
        if let Some((to, text)) = sent.first() {
            desk.give(&to.to_string(), respond(text, 200));
        }
        ways(&sent)
    };
    assert!(info(&mut desk).is_empty());
    desk.endpoint.located(desk.now, "sip:phone.example", found(FOUND));
    let sent = desk.sent().remove(0);
    desk.give(FOUND, respond(&sent.1, 200));
    desk.wait(Duration::from_secs(59));
    assert_eq!((info(&mut desk), desk.asked.len()), (vec![format!("INFO {FOUND}")], 1));
    desk.wait(Duration::from_secs(2));
    assert_eq!((info(&mut desk), desk.asked.len()), (vec![format!("INFO {FOUND}")], 2));
    let both = [found("192.0.2.78:5070"), found(FOUND)].concat();
    desk.endpoint.located(desk.now, "sip:phone.example", both);
    assert_eq!(info(&mut desk), [format!("INFO {FOUND}")], "a dialog stays where it is");
    desk.endpoint.located(desk.now, "sip:phone.example", found("192.0.2.78:5070"));
    assert_eq!(info(&mut desk), ["INFO 192.0.2.78:5070"], "unless the host has moved");
}

#[test]
fn a_request_is_written_for_the_transport_that_the_name_leads_to() {
    let mut desk = Desk::new();
    let (dialog, invite) = placed(&mut desk);
    desk.hear(respond(&invite, 200));
    desk.endpoint.reoffer(desk.now, dialog, SDP).unwrap();
    let offer = desk.sent().remove(0).1;
    desk.hear(naming(&respond(&offer, 200), "<sip:desk@phone.example>", ""));
    let tcp = Hop::new(Transport::Tcp, FOUND.parse().unwrap());
    desk.endpoint.located(desk.now, "sip:phone.example", vec![tcp]);
    desk.sent();
    desk.endpoint.reoffer(desk.now, dialog, SDP).unwrap();
    let (to, offer) = desk.sent().remove(0);
    assert_eq!(to.to_string(), FOUND);
    assert!(
        header(&offer, "Via").unwrap().starts_with("SIP/2.0/TCP 192.0.2.2:5060;branch=z9hG4bK"),
        "{offer}"
    );
    assert!(header(&offer, "Contact").unwrap().ends_with(";transport=tcp>"), "{offer}");
    assert!(offer.ends_with(&format!("\r\n\r\n{SDP}")), "{offer}");
    assert!(desk.wait(Duration::from_secs(20)).is_empty(), "a connection repeats nothing");
}

#[test]
fn an_answer_that_is_not_wanted_is_ended_where_its_contact_leads() {
    let mut desk = Desk::new();
    let (_, invite) = placed(&mut desk);
    desk.hear(crate::cancel::tagged(&invite, 200, "first"));
    let second = naming(&crate::cancel::tagged(&invite, 200, "second"), "<sip:second@phone.example>", "");
    assert!(desk.hear(second).is_empty());
    desk.endpoint.located(desk.now, "sip:phone.example", found(FOUND));
    assert_eq!(ways(&desk.sent()), [format!("ACK {FOUND}"), format!("BYE {FOUND}")]);
}

#[test]
fn a_call_between_two_ends_stands_while_the_name_server_thinks() {
    let mut world = World::new();
    world.also.push(FOUND.parse().unwrap());
    world.alter = Box::new(|side, text| {
        let own = "Contact: <sip:active-call@192.0.2.2:5060>";
        if side == CALLEE { text.replace(own, "Contact: <sip:desk@phone.example>") } else { text }
    });
    let caller = world.call();
    world.run(Duration::from_millis(50));
    let callee = world.invited();
    world.ends[CALLEE].answer(world.now, callee, SDP, &[]).unwrap();
    world.run(Duration::from_millis(1_200));
    assert_eq!(world.sent_ms(CALLEE, "SIP/2.0 200"), [50, 550], "the 200 is repeated");
    assert!(world.sent_ms(CALLER, "ACK").is_empty());
    world.ends[CALLER].located(world.now, "sip:phone.example", found(FOUND));
    world.run(Duration::from_secs(40));
    assert_eq!(world.sent_ms(CALLER, "ACK"), [1_250], "one ACK, and no 200 after it");
    assert_eq!(world.sent_ms(CALLEE, "SIP/2.0 200").len(), 2);
    world.ends[CALLER].bye(world.now, caller, &[]).unwrap();
    world.run(Duration::from_secs(40));
    assert_eq!(world.story(CALLEE), ["Invited", "Established", "Ended Bye"]);
    assert_eq!(world.story(CALLER), ["Answered", "Ended LocalBye"]);
    assert_eq!(world.asked.len(), 1, "{:?}", world.asked);
    assert_eq!(world.ends[CALLER].timeout(), None);
}

#[test]
fn names_that_calls_bring_are_bounded() {
    let mut desk = Desk::new();
    let mut at_once = 0;
    for number in 0..1_100 {
        let mut phone = Phone::new(&format!("c{number}"));
        phone.contact = format!("<sip:alice@n{number}.example>");
        desk.hear(phone.request("INVITE", SDP));
        let dialog = desk.dialog();
        desk.endpoint.answer(desk.now, dialog, SDP, &[]).unwrap();
        phone.learn(&desk.sent().remove(0).1);
        desk.hear(phone.ack(""));
        desk.endpoint.bye(desk.now, dialog, &[]).unwrap();
        at_once += desk.sent().len();
    }
    assert_eq!(
        (desk.asked.len(), at_once),
        (1_024, 76),
        "the others go where the caller's messages come from"
    );
    let sent = desk.wait(Duration::from_secs(3));
    let byes = sent.iter().filter(|(_, text)| text.starts_with("BYE ")).count();
    assert!(byes >= 1_024, "nothing waits for ever: {byes}");
}
