//! Media timeouts.

use std::time::Duration;

use protocol::CallTime;
use rtp::watch::{Missing, Patience, Watch};

const PATIENCE: Patience =
    Patience { first: Some(Duration::from_secs(10)), gap: Some(Duration::from_secs(60)) };

#[test]
fn a_first_packet_that_never_comes_is_missed() {
    let watch = Watch::new(CallTime::ms(500), PATIENCE);
    assert_eq!(watch.timeout(), Some(CallTime::ms(10_500)));
    assert_eq!(watch.missing(CallTime::ms(10_499)), None);
    assert_eq!(watch.missing(CallTime::ms(10_500)), Some(Missing::First));
}

#[test]
fn an_outage_is_survived_up_to_its_limit() {
    let mut watch = Watch::new(CallTime::ZERO, PATIENCE);
    watch.heard(CallTime::ms(20));
    assert_eq!(watch.missing(CallTime::ms(60_019)), None);
    assert_eq!(watch.missing(CallTime::ms(60_020)), Some(Missing::Next));
    watch.heard(CallTime::ms(60_020));
    assert_eq!(watch.missing(CallTime::ms(60_020)), None);
}

#[test]
fn nothing_is_missed_on_hold_and_time_begins_anew_after_it() {
    let mut watch = Watch::new(CallTime::ZERO, PATIENCE);
    watch.pause(CallTime::ms(1_000), true);
    assert_eq!((watch.timeout(), watch.missing(CallTime::ms(900_000))), (None, None));
    watch.pause(CallTime::ms(900_000), false);
    watch.pause(CallTime::ms(905_000), false);
    assert_eq!(watch.timeout(), Some(CallTime::ms(910_000)));
}

#[test]
fn without_limits_nothing_is_missed() {
    let mut watch = Watch::new(CallTime::ZERO, Patience::default());
    assert_eq!(watch.timeout(), None);
    watch.heard(CallTime::ms(5));
    assert_eq!(watch.missing(CallTime::ms(9_000_000)), None);
}
