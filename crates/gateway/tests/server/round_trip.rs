//! How long packets are on their way there and back, as reports tell it (RFC 3550 section 6.4.1): the same wherever it is
//! shown.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};

use crate::dropped::metrics;
use crate::inbound_sip::{Hook, attach, hook, webhooks};
use crate::raw_phone::{RawPhone, sdp, value};
use crate::rig::{PATIENCE, Rig};

/// A machine that stalls adds so much at most, in milliseconds.
const STALL_MS: f64 = 200.0;

/// The sound and the reports of a phone.
struct Line {
    socket: UdpSocket,
    reports: UdpSocket,
    server: SocketAddr,
    tick: Interval,
    sequence: u16,
}

impl Line {
    async fn speak(&mut self) {
        self.tick.tick().await;
        let timestamp = u32::from(self.sequence) * 160;
        let header =
            rtp::Header { marker: false, payload_type: 0, sequence: self.sequence, timestamp, ssrc: 9 };
        self.sequence += 1;
        let mut packet = Vec::new();
        rtp::packet::write(&header, &[0xff; 160], &mut packet);
        self.socket.send_to(&packet, self.server).await.unwrap();
    }

    /// Speaks until a sender report comes.
    async fn report(&mut self) -> Vec<u8> {
        let mut datagram = [0; 2048];
        loop {
            self.speak().await;
            while let Ok(length) = self.reports.try_recv(&mut datagram) {
                if datagram[1] == 200 {
                    return datagram[..length].to_vec();
                }
            }
        }
    }

    /// Answers the next sender report after `kept`, of which it tells `told`; how long it was kept.
    async fn answer_report(&mut self, kept: Duration, told: Duration) -> Duration {
        let report = timeout(PATIENCE, self.report()).await.expect("a sender report");
        let came = Instant::now();
        while came.elapsed() < kept {
            self.speak().await;
        }
        let delay = (told.as_secs_f64() * 65_536.0) as u32;
        let mut answer = vec![0x81, 201, 0, 7, 0, 0, 0, 9];
        answer.extend(&report[4..8]);
        answer.extend([0; 12]);
        // The middle of its time, and what has passed since.
        answer.extend(&report[10..14]);
        answer.extend(delay.to_be_bytes());
        let was_kept = came.elapsed();
        let port = self.server.port() + 1;
        self.reports.send_to(&answer, (self.server.ip(), port)).await.unwrap();
        for _ in 0..5 {
            self.speak().await;
        }
        was_kept
    }
}

/// The round trip of a call in milliseconds, as the event, the ladder and the record tell it, and how long its phone kept
/// the report that it told to have kept for `told`.
async fn round_trip(rig: &Rig, told: &mut Hook, kept: Duration, said: Duration) -> (f64, f64) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let phone = RawPhone::towards(rig.server.sip_addr(), &format!("kept{}", kept.as_millis())).await;
    let reports = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let offer =
        sdp(socket.local_addr().unwrap()) + &format!("a=rtcp:{}\r\n", reports.local_addr().unwrap().port());
    phone.invite_with("", &offer).await;
    let mut client = attach(rig, told).await;
    client.send(json!({"command": "accept", "option": {}})).await;
    let answer = phone.answered().await;
    let id = client.event("answer").await["trackId"].as_str().unwrap().to_owned();
    let port: u16 = value(&answer, "m=audio").split(' ').next().unwrap().parse().unwrap();
    let mut tick = interval(Duration::from_millis(20));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut line = Line { socket, reports, server: ([127, 0, 0, 1], port).into(), tick, sequence: 0 };
    let was_kept = line.answer_report(kept, said).await;
    phone.hang_up(&answer).await;
    client.event("hangup").await;
    let is_quality = |event: &&Value| event["event"] == "metrics" && event["key"] == "rtp.quality";
    let event = client.events.iter().rfind(is_quality).expect("the quality at the end").clone();
    let shown: Value = serde_json::from_str(&rig.get(&format!("/api/v1/calls/{id}/sip")).await.1).unwrap();
    let record = rig.until("a record", |rig| rig.records().into_iter().find(|r| r.call_id == id)).await;
    let record = serde_json::to_value(record).unwrap();
    let figures =
        [&event["data"]["roundTripMs"], &shown["quality"]["roundTripMs"], &record["quality"]["roundTripMs"]];
    let figure = figures[0].as_f64().unwrap_or_else(|| panic!("no round trip in {event}"));
    assert!(figures.iter().all(|other| *other == figures[0]), "{figures:?}");
    assert!((event["duration"].as_f64().unwrap() - figure).abs() <= 1.0, "{event}");
    (figure, was_kept.as_secs_f64() * 1000.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_round_trip_that_reports_tell_is_in_the_event_the_ladder_the_record_and_the_metrics() {
    let (url, mut told) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| webhooks(config, &[url])).await;
    // A report that is answered 80 ms late has been on its way for as long; one that is said to have been kept has not.
    let (late, was_kept) = round_trip(&rig, &mut told, Duration::from_millis(80), Duration::ZERO).await;
    assert!((was_kept - 1.0..was_kept + STALL_MS).contains(&late), "{late} ms of {was_kept} ms");
    let kept = Duration::from_millis(500);
    let (near, was_kept) = round_trip(&rig, &mut told, kept, kept).await;
    assert!(near < was_kept - 500.0 + STALL_MS, "{near} ms, kept for {was_kept} ms");
    let text = metrics(&rig, "active_call_rtp_round_trip_seconds_count 2").await;
    let figure = |name: &str| -> f64 {
        let name = format!("active_call_rtp_round_trip_seconds_{name} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    };
    assert!(
        (figure("sum") * 1000.0 - late - near).abs() < 2.0,
        "{} s of {late} and {near} ms",
        figure("sum")
    );
    rig.server.stop().await;
}
