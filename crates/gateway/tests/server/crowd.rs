//! A hundred calls at once: each phone has a tone of its own, and each recording has to hold that tone.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::Duration;

use audio::codec::g711;
use futures::future::join_all;
use protocol::record::CallRecord;
use rtp::sdp::{self, Direction, Local};
use sip::driver::Driver;
use sip::{DialogId, Outbound, SipEvent, SipHandle};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, timeout};

use crate::inbound_sip::playbooks;
use crate::rig::{PATIENCE, Rig};
use crate::sound;

const CALLS: usize = 100;
/// Packets that every phone sends: five seconds.
const PACKETS: u32 = 250;
/// Packets of these that may be on their way when the call ends.
const LAST: u64 = 25;
const PLAYBOOK: &str =
    "---\ntts: { provider: fake }\ngreeting: Good morning and welcome to the crowd.\n---\n";

/// A phone in a call: it sends its tone and counts what it hears.
struct Phone {
    number: usize,
    socket: UdpSocket,
    remote: SocketAddr,
    dialog: DialogId,
    _events: mpsc::Receiver<SipEvent>,
    loud: usize,
    /// Packets for which its socket had no room.
    unsent: u64,
}

/// The tone of a phone in Hz.
fn tone(number: usize) -> f64 {
    400.0 + 20.0 * number as f64
}

impl Phone {
    async fn dial(sip: &SipHandle, server: SocketAddr, number: usize) -> Phone {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let local = Local {
            address: Ipv4Addr::LOCALHOST.into(),
            port: socket.local_addr().unwrap().port(),
            origin_id: 1,
            previous: None,
            codecs: &[&g711::PCMU],
            telephone_event: false,
            comfort_noise: false,
            rtcp_mux: false,
            security: sdp::Security::Off,
            direction: Direction::SendRecv,
            ptime_ms: 20,
            name: "phone",
        };
        let call = Outbound {
            sdp: Some(sdp::offer(&local)),
            ..Outbound::new(
                format!("sip:crowd@{server}"),
                format!("sip:phone{number}@{}", sip.local_addr()),
                server,
            )
        };
        let (dialog, mut events) = sip.invite(call).await.unwrap();
        let answer = loop {
            match timeout(PATIENCE, events.recv()).await.unwrap() {
                Some(SipEvent::Answered { sdp: Some(sdp), .. }) => break sdp,
                Some(SipEvent::Provisional { .. }) => {}
                other => panic!("phone {number}: {other:?}"),
            }
        };
        let remote = sdp::read_answer(&local, &answer).unwrap().remote.unwrap();
        Phone { number, socket, remote, dialog, _events: events, loud: 0, unsent: 0 }
    }

    /// Sends the packet of this number and takes what has come.
    fn tick(&mut self, number: u32) {
        let mut datagram = [0; 2048];
        while let Ok(length) = self.socket.recv(&mut datagram) {
            let sound = datagram.get(12..length).unwrap_or_default();
            self.loud += sound.iter().filter(|byte| g711::ulaw(**byte).unsigned_abs() > 1000).count();
        }
        let step = std::f64::consts::TAU * tone(self.number) / 8000.0;
        let first = number * 160;
        let sample = |n: u32| g711::ulaw_from_linear((8000.0 * (step * f64::from(n)).sin()) as i16);
        let payload: Vec<u8> = (first..first + 160).map(sample).collect();
        let header = rtp::Header {
            marker: number == 0,
            payload_type: 0,
            sequence: number as u16,
            timestamp: first,
            ssrc: self.number as u32 + 1,
        };
        let mut packet = Vec::new();
        rtp::packet::write(&header, &payload, &mut packet);
        // A full socket loses a packet, as a network does.
        self.unsent += u64::from(self.socket.send_to(&packet, self.remote).is_err());
    }
}

/// The share of a tone in the energy of `samples` at 8 kHz.
pub(crate) fn share(samples: &[i16], hz: f64) -> f64 {
    let step = std::f64::consts::TAU * hz / 8000.0;
    let (mut sine, mut cosine, mut energy) = (0.0, 0.0, 1e-9);
    for (n, sample) in samples.iter().enumerate() {
        let (sample, phase) = (f64::from(*sample), step * n as f64);
        sine += sample * phase.sin();
        cosine += sample * phase.cos();
        energy += sample * sample;
    }
    2.0 * (sine * sine + cosine * cosine) / (energy * samples.len() as f64)
}

/// Tenths of a second of a tone of five seconds that the machine itself may cost. A tenth in which the buffer adapts is
/// no pure tone, and what a phone sends too late, or the server looks for too late, nobody waits for.
fn excused(phones_stood: Duration, slips: u64) -> usize {
    let away = phones_stood + Duration::from_millis(20) * slips as u32;
    10 + (away.as_millis() / 100) as usize
}

/// The recording of a record holds the caller's tone, for as long as it was sent but for some tenths, and the agent. No
/// packet was lost but those that the phone of this number could not send.
fn judge(record: &CallRecord, excused: usize, unsent: &[u64]) -> Result<(), String> {
    let from =
        record.caller.split_once("sip:phone").and_then(|(_, rest)| rest.split('@').next()?.parse().ok());
    let number: usize = from.ok_or_else(|| format!("caller {}", record.caller))?;
    let [tape] = record.recorder.as_slice() else { return Err(format!("{} tapes", record.recorder.len())) };
    // What the tenths excuse is late, and not lost. Of the last packets some may come after the end, and more of a phone
    // that had to catch up.
    let quality = record.quality.as_ref().ok_or_else(|| format!("phone {number}: no quality"))?;
    let unsent = unsent.get(number).copied().unwrap_or_default();
    if quality.lost > unsent || quality.packets + unsent + LAST + 5 * (excused as u64) < u64::from(PACKETS) {
        return Err(format!("phone {number}, which has kept {unsent} packets: {quality:?}"));
    }
    let path = std::path::Path::new(&tape.path);
    let (left, right) = (sound::channel(path, 0), sound::channel(path, 1));
    // In tenths of a second, since a buffer that adapts may leave a packet out between two of them.
    let with_tone = left.chunks_exact(800).filter(|tenth| share(tenth, tone(number)) > 0.7).count();
    let agent = right.iter().filter(|sample| sample.unsigned_abs() > 1000).count();
    if with_tone + excused < 50 || agent < 8000 {
        return Err(format!(
            "phone {number}: {with_tone} tenths with its tone, {excused} excused, {agent} loud samples of the agent"
        ));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[allow(
    clippy::disallowed_methods,
    reason = "the phones are drivers: they own their socket and speak in real time"
)]
async fn a_hundred_calls_at_once_are_all_heard_recorded_and_accounted_for() {
    let rig = Rig::start_with(|config| {
        playbooks(config, Vec::new(), Some("crowd.md"));
        (config.recording.enabled, config.recording.auto_start) = (true, true);
        config.media_threads = 2;
    })
    .await;
    std::fs::write(rig.path("playbook/crowd.md"), PLAYBOOK).unwrap();
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (driver, sip, _incoming) = Driver::bind(here, sip::Config::new(here, rand::random())).await.unwrap();
    let driver = tokio::spawn(driver.run());
    let server = rig.server.sip_addr();
    let mut phones = join_all((0..CALLS).map(|number| Phone::dial(&sip, server, number))).await;
    let mut clock = tokio::time::interval(Duration::from_millis(20));
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    // How long the phones stood still, where a jitter buffer cannot wait for them.
    let (mut stood, mut late) = (Duration::ZERO, Duration::ZERO);
    for number in 0..PACKETS {
        let now_late = clock.tick().await.elapsed();
        stood += Some(now_late.saturating_sub(late)).filter(|stop| stop.as_millis() > 40).unwrap_or_default();
        late = now_late;
        phones.iter_mut().for_each(|phone| phone.tick(number));
    }
    let slips = rig.server.app().services.media.counters().slips.load(Ordering::Relaxed);
    println!("the phones stood still for {stood:?}, the server skipped {slips} ticks");
    assert_eq!(rig.server.app().calls.counts().now, CALLS);
    join_all(phones.iter().map(|phone| sip.hangup(phone.dialog, Vec::new()))).await;
    let deaf: Vec<_> = phones.iter().filter(|phone| phone.loud < 4000).map(|phone| phone.number).collect();
    assert!(deaf.is_empty(), "{deaf:?} did not hear the agent");
    let all = |rig: &Rig| Some(rig.records()).filter(|records| records.len() >= CALLS);
    let records = rig.until("a record of each call", all).await;
    assert_eq!(records.len(), CALLS);
    let unsent: Vec<u64> = phones.iter().map(|phone| phone.unsent).collect();
    let excused = excused(stood, slips);
    let wrong: Vec<String> =
        records.iter().filter_map(|record| judge(record, excused, &unsent).err()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    sip.stop().await;
    driver.await.unwrap();
    rig.server.stop().await;
}
