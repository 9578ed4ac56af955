//! Many calls at once with sound both ways: CPU and memory of the server for each.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rtp::{Datagram, Outgoing, Srtp};
use serde_json::json;

use crate::client::Client;
use crate::line::{Dialled, Line};
use crate::server::{Server, Usage};
use crate::{Failure, below, spread};

/// Time between two INVITEs while the load is built up.
const STEP: Duration = Duration::from_millis(20);
/// Time for the last calls to settle before the measurement.
const SETTLE: Duration = Duration::from_secs(3);
/// A packet later than this after its predecessor is counted.
const LATE: Duration = Duration::from_millis(60);
/// Bytes of 20 ms of G.711.
const FRAME: usize = 160;
/// A frame is sent by each phone once in so many milliseconds.
const SLOTS: u64 = 20;

/// How many calls, and what they do.
#[derive(clap::Args)]
pub(crate) struct Plan {
    #[arg(long)]
    calls: usize,
    /// How long they are measured.
    #[arg(long)]
    seconds: u64,
    /// What the callers say: a WAV file, 8 kHz.
    #[arg(long)]
    speech: PathBuf,
    /// The sound is encrypted.
    #[arg(long)]
    srtp: bool,
    /// The calls are recorded and watched by the voice detector.
    #[arg(long)]
    pub(crate) recorded: bool,
    /// Port of the webhook, whose client takes the calls.
    #[arg(long)]
    pub(crate) webhook: u16,
    /// The file that the client plays.
    #[arg(long, default_value = "play.wav")]
    pub(crate) play: String,
}

/// Holds the calls and prints what they cost.
pub(crate) async fn run(server: &Server, plan: &Plan) -> Result<(), Failure> {
    let speech = speech(plan)?;
    let client = Client::listen(plan, server.http).await?;
    let line = Line::open(server.sip).await?;
    let before = server.usage()?;
    let (mut phones, mut up) = (Vec::new(), Vec::new());
    for _ in 0..plan.calls {
        let began = Instant::now();
        let (phone, dialled) = call(&line, plan.srtp).await?;
        phones.push(phone);
        up.push(dialled);
        tokio::time::sleep(STEP.saturating_sub(began.elapsed())).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let sound = std::thread::spawn(move || talk_all(phones, &speech, &flag));
    tokio::time::sleep(SETTLE).await;
    let (start, began) = (server.usage()?, Instant::now());
    tokio::time::sleep(Duration::from_secs(plan.seconds)).await;
    let (end, span) = (server.usage()?, began.elapsed());
    stop.store(true, Ordering::Relaxed);
    let phones = sound.join().map_err(|_| "the sound thread died")?;
    let setup: Vec<Duration> = up.iter().map(|call| call.took).collect();
    let mut unended = 0;
    for call in up {
        unended += usize::from(line.hang_up(call).await.is_err());
    }
    let (taken, failed) = client.counts();
    let control = json!({"taken": taken, "failed": failed, "ended_before": unended});
    report(plan, &phones, setup, (before, start, end, span, control));
    Ok(())
}

fn speech(plan: &Plan) -> Result<Vec<u8>, Failure> {
    let wav = audio::wav::Wav::parse(&std::fs::read(&plan.speech)?)?;
    let mono = wav.mono();
    if wav.rate != 8000 || mono.len() < FRAME {
        return Err("the speech must be at 8 kHz and last 20 ms".into());
    }
    let mut payload = Vec::new();
    (audio::codec::g711::PCMU.encoder)().encode(&mono[..mono.len() / FRAME * FRAME], &mut payload);
    Ok(payload)
}

async fn call(line: &Line, secure: bool) -> Result<(Phone, Dialled), Failure> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    let dialled = line.dial(socket.local_addr()?.port(), secure).await?;
    let phone = Phone {
        socket,
        remote: dialled.media.remote.ok_or("the answer has no address")?,
        cipher: dialled.media.keys.as_ref().map(Srtp::new).transpose()?,
        stream: Outgoing::new(rand::random(), rand::random(), rand::random()),
        at: rand::random::<u16>().into(),
        received: 0,
        undecryptable: 0,
        last: None,
        gaps: Vec::new(),
        late: 0,
    };
    Ok((phone, dialled))
}

/// One phone: its socket and where the server wants its sound.
struct Phone {
    socket: UdpSocket,
    remote: SocketAddr,
    cipher: Option<Srtp>,
    stream: Outgoing,
    at: usize,
    received: u64,
    undecryptable: u64,
    last: Option<Instant>,
    gaps: Vec<u32>,
    late: u64,
}

/// Sends and receives the sound of all phones, each in its own millisecond of the 20.
fn talk_all(mut phones: Vec<Phone>, speech: &[u8], stop: &AtomicBool) -> Vec<Phone> {
    let origin = Instant::now();
    let mut datagram = Vec::new();
    for tick in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let due = origin + Duration::from_millis(tick);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        for phone in phones.iter_mut().skip((tick % SLOTS) as usize).step_by(SLOTS as usize) {
            phone.hear();
            phone.speak(speech, &mut datagram);
        }
    }
    phones
}

impl Phone {
    fn hear(&mut self) {
        let mut buffer = [0; 512];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let packet = &mut buffer[..length];
            // A report for the phone whose port is the one below.
            if Datagram::classify(packet) != Datagram::Rtp {
                continue;
            }
            if let Some(cipher) = &mut self.cipher
                && cipher.unprotect(packet).is_err()
            {
                self.undecryptable += 1;
                continue;
            }
            self.received += 1;
            let now = Instant::now();
            if let Some(last) = self.last.replace(now) {
                let gap = now - last;
                self.late += u64::from(gap > LATE);
                self.gaps.push(gap.as_micros().min(u128::from(u32::MAX)) as u32);
            }
        }
    }

    fn speak(&mut self, speech: &[u8], datagram: &mut Vec<u8>) {
        let start = self.at % (speech.len() / FRAME) * FRAME;
        datagram.clear();
        self.stream.sound(0, FRAME as u32, &speech[start..start + FRAME], datagram);
        self.at += 1;
        let closed = self.cipher.as_mut().is_none_or(|cipher| cipher.protect(datagram).is_ok());
        if closed {
            // A packet that is not sent is heard as lost.
            let _ = self.socket.send_to(datagram, self.remote);
        }
    }
}

type Figures = (Usage, Usage, Usage, Duration, serde_json::Value);

fn report(plan: &Plan, phones: &[Phone], setup: Vec<Duration>, figures: Figures) {
    let (before, start, end, span, control) = figures;
    let mut gaps: Vec<u32> = phones.iter().flat_map(|phone| phone.gaps.iter().copied()).collect();
    gaps.sort_unstable();
    let cpu = (end.cpu - start.cpu).as_secs_f64() * 1000.0 / span.as_secs_f64() / plan.calls as f64;
    let sum = |count: fn(&Phone) -> u64| phones.iter().map(count).sum::<u64>();
    let line = json!({
        "calls": plan.calls, "seconds": plan.seconds, "srtp": plan.srtp, "control": control,
        "cpu_ms_per_call_second": (cpu * 1000.0).round() / 1000.0,
        "kb_per_call": end.rss_kb.saturating_sub(before.rss_kb) / plan.calls as u64,
        "rss_kb": end.rss_kb,
        "invite_to_200_ms": spread(setup),
        "packets": sum(|phone| phone.received),
        "undecryptable": sum(|phone| phone.undecryptable),
        "gap_us": {"p50": below(&gaps, 0.5), "p99": below(&gaps, 0.99), "p999": below(&gaps, 0.999), "max": below(&gaps, 1.0)},
        "gaps_over_60_ms": sum(|phone| phone.late),
        "silent_phones": phones.iter().filter(|phone| phone.received == 0).count(),
    });
    println!("{line}");
}
