//! Hosts that descriptions name in place of their addresses.

use std::net::IpAddr;

use proptest::prelude::*;
use rtp::sdp::{Host, answer, hosts, located};

use crate::sdp_answer::{ALL, local};

const OFFER: &str =
    "v=0\no=- 1 1 IN IP4 pbx.test\r\nc=IN IP4 media.test\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_host_that_is_found_is_where_sound_goes() {
    assert_eq!(hosts(OFFER), [Host { name: "media.test", v6: false }]);
    let found = located(OFFER, |host| host.pick(&[ip("192.0.2.7")]));
    assert_eq!(found, OFFER.replace("media.test", "192.0.2.7"));
    assert_eq!(answer(&found, &local(ALL)).unwrap().media.remote, Some(([192, 0, 2, 7], 4000).into()));
    assert_eq!(located(OFFER, |_| None), OFFER);
    let error = answer(OFFER, &local(ALL)).unwrap_err();
    assert_eq!((error.status(), error.warning()), (488, 399));
}

#[test]
fn a_host_is_judged_as_an_address_is() {
    let host = Host { name: "media.test", v6: false };
    let found = ["::1", "224.0.0.1", "255.255.255.255", "0.0.0.0", "127.0.0.1"].map(ip);
    assert_eq!(host.pick(&found), Some(ip("127.0.0.1")), "of the kind that is said, and of one peer");
    assert_eq!(host.pick(&found[..4]), None, "a name does not hold us");
    assert_eq!(Host { v6: true, ..host }.pick(&found), Some(ip("::1")));
}

#[test]
fn what_is_no_name_is_not_looked_up_and_a_crowd_of_names_only_in_part() {
    for line in ["192.0.2.1", "192.0.2.1/127", "::1", "a b", "a_b\u{e9}.test", "%00", "", "a;b"] {
        let found = hosts(&format!("c=IN IP4 {line}\r\n")).len();
        assert_eq!(found, usize::from(line == "a b"), "{line}: only its first word is the address");
    }
    assert_eq!(hosts(&format!("c=IN IP4 {}\r\n", "a".repeat(254))), []);
    let crowd: String = (0..1_000).map(|n| format!("c=IN IP4 h{n}.test\r\n")).collect();
    assert_eq!(hosts(&crowd).len(), 4);
    assert_eq!(hosts(&format!("{OFFER}{OFFER}")).len(), 1);
}

proptest! {
    #[test]
    fn no_text_is_lost_but_the_names(text in "(c=IN IP[46] [a-z0-9.:/]{0,9}|[ -~]{0,9})?(\r?\n)?(a=[ -~]{0,9}\r\n)?") {
        prop_assert_eq!(located(&text, |_| None), text.clone());
        let named = located(&text, |host| host.pick(&[ip("192.0.2.1"), ip("2001:db8::1")]));
        prop_assert_eq!(hosts(&named), []);
    }
}
