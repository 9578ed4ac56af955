//! What an operator reads of the packets of calls: how many were lost, and which were dropped.

use std::net::SocketAddr;
use std::time::Duration;

use rtp::srtp::{AES_CM_128_HMAC_SHA1_80, Master};
use rtp::{Header, Keys, Srtp};
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use crate::inbound_sip::{PLAYBOOK, playbooks};
use crate::raw_phone::{RawPhone, sdp, value};
use crate::rig::{PATIENCE, Rig};

/// The base64 of [`OUR_KEY`].
const OUR_KEY_TEXT: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH";
const OUR_KEY: [u8; 30] = [7; 30];
/// Packets of a call, but for [`LOST`].
const PACKETS: u16 = 60;
const LOST: std::ops::Range<u16> = 20..25;
/// A receiver report about nobody.
const REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 9];

fn sound(sequence: u16) -> Vec<u8> {
    let timestamp = u32::from(sequence) * 160;
    let header = Header { marker: false, payload_type: 0, sequence, timestamp, ssrc: 9 };
    let mut packet = Vec::new();
    rtp::packet::write(&header, &[0xff; 160], &mut packet);
    packet
}

/// A phone that sends sound, and a stranger that knows where to.
struct Senders {
    phone: UdpSocket,
    stranger: UdpSocket,
    cipher: Option<Srtp>,
    tick: Interval,
}

impl Senders {
    async fn new(encrypted: bool) -> Senders {
        let suite = &AES_CM_128_HMAC_SHA1_80;
        let master = |bytes: &[u8]| Master::new(suite, bytes).unwrap();
        let keys = Keys { suite, ours: master(&OUR_KEY), theirs: master(&[8; 30]) };
        let mut tick = interval(Duration::from_millis(20));
        // Whoever catches up sends its last packet with the end of the call.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Senders {
            phone: UdpSocket::bind("127.0.0.1:0").await.unwrap(),
            stranger: UdpSocket::bind("127.0.0.2:0").await.unwrap(),
            cipher: encrypted.then(|| Srtp::new(&keys).unwrap()),
            tick,
        }
    }

    fn offer(&self) -> String {
        let clear = sdp(self.phone.local_addr().unwrap());
        match self.cipher {
            None => clear,
            Some(_) => {
                let key = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{OUR_KEY_TEXT}\r\n");
                clear.replace("RTP/AVP", "RTP/SAVP") + &key
            }
        }
    }

    /// Sends a packet in each tick; with each tenth comes what is to be dropped.
    async fn talk(&mut self, server: SocketAddr) {
        for sequence in (0..PACKETS).filter(|sequence| !LOST.contains(sequence)) {
            self.tick.tick().await;
            let mut packet = sound(sequence);
            if let Some(cipher) = &mut self.cipher {
                cipher.protect(&mut packet).unwrap();
            }
            self.phone.send_to(&packet, server).await.unwrap();
            if sequence % 10 == 9 {
                self.send_what_is_dropped(server, sequence, &packet).await;
            }
        }
        // What was sent last is read a tick later.
        for _ in 0..5 {
            self.tick.tick().await;
        }
    }

    async fn send_what_is_dropped(&self, server: SocketAddr, sequence: u16, packet: &[u8]) {
        if self.cipher.is_some() {
            for own in [packet, &sound(sequence + 1)] {
                self.phone.send_to(own, server).await.unwrap();
            }
        }
        self.phone.send_to(b"noise", server).await.unwrap();
        for strange in [&sound(sequence + 1)[..], &REPORT] {
            self.stranger.send_to(strange, server).await.unwrap();
        }
    }
}

/// Waits for a line of the metrics; all of them.
pub(crate) async fn metrics(rig: &Rig, line: &str) -> String {
    let waiting = async {
        let mut again = interval(Duration::from_millis(20));
        loop {
            again.tick().await;
            let (_, text) = rig.get("/metrics").await;
            if text.lines().any(|there| there == line) {
                return text;
            }
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("no {line}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_that_are_lost_and_dropped_are_told_of_a_call_and_counted() {
    let rig = Rig::start_with(|config| playbooks(config, Vec::new(), Some("hello.md"))).await;
    std::fs::write(rig.path("playbook/hello.md"), PLAYBOOK).unwrap();
    for (encrypted, dropped) in [
        (false, json!({"foreign": 12, "unauthentic": 0, "replayed": 0, "unreadable": 6})),
        (true, json!({"foreign": 6, "unauthentic": 12, "replayed": 6, "unreadable": 6})),
    ] {
        let mut senders = Senders::new(encrypted).await;
        let phone = RawPhone::towards(rig.server.sip_addr(), &format!("dropped{encrypted}")).await;
        phone.invite_with("", &senders.offer()).await;
        let answer = phone.answered().await;
        let port = value(&answer, "m=audio").split(' ').next().unwrap().parse().unwrap();
        let calls: Value = serde_json::from_str(&rig.get("/api/v1/calls").await.1).unwrap();
        // Oldest first: one that is over may still be there.
        let newest = calls["calls"].as_array().and_then(|calls| calls.last()).unwrap();
        let id = newest["id"].as_str().unwrap().to_owned();
        senders.talk(([127, 0, 0, 1], port).into()).await;
        phone.hang_up(&answer).await;
        let over = 1 + usize::from(encrypted);
        rig.until("a record", |rig| (rig.records().len() == over).then_some(())).await;
        let ladder: Value =
            serde_json::from_str(&rig.get(&format!("/api/v1/calls/{id}/sip")).await.1).unwrap();
        let quality = &ladder["quality"];
        assert_eq!((&quality["packets"], &quality["lost"]), (&json!(55), &json!(5)), "{quality}");
        assert_eq!(quality["dropped"], dropped, "encrypted: {encrypted}");
    }
    let text = metrics(&rig, "active_call_rtp_jitter_seconds_count 2").await;
    for line in [
        "active_call_rtp_packets_total 110",
        "active_call_rtp_lost_total 10",
        "active_call_rtp_mos_count 2",
        "active_call_rtp_dropped_total{cause=\"foreign\"} 18",
        "active_call_rtp_dropped_total{cause=\"unauthentic\"} 12",
        "active_call_rtp_dropped_total{cause=\"replayed\"} 6",
        "active_call_rtp_dropped_total{cause=\"unreadable\"} 12",
    ] {
        assert!(text.lines().any(|there| there == line), "no {line} in {text}");
    }
    rig.server.stop().await;
}
