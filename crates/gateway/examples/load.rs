//! Loads a running server with calls and says what they cost. See docs/performance.md for how it is used.
//!
//! Plays three parts at once: many SIP phones with G.711 audio both ways, the webhook that is told of each call,
//! and the WebSocket client that accepts it, has it recorded and watched by the voice detector, and keeps a file
//! playing. Prints one line of JSON.
//!
//! `cargo run --release --example load -- SERVER_PID SIP_PORT HTTP_PORT WEBHOOK_PORT CALLS SECONDS SPEECH.wav PLAY_NAME`
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a tool that measures a server from outside"
)]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{Json, State};
use axum::routing::post;
use futures::{SinkExt, StreamExt};
use rtp::sdp::{self, Direction, Local};
use serde_json::{Value, json};
use sip::driver::Driver;
use sip::{Outbound, SipEvent, SipHandle};
use tokio_tungstenite::tungstenite::Message;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Time between two INVITEs while the load is built up.
const STEP: Duration = Duration::from_millis(20);
/// A packet later than this after its predecessor is counted.
const LATE: Duration = Duration::from_millis(60);

struct Plan {
    pid: u32,
    sip: SocketAddr,
    http: u16,
    webhook: u16,
    calls: usize,
    seconds: u64,
    speech: Vec<u8>,
    play: String,
}

/// One phone: its socket and where the server wants its sound.
struct Phone {
    socket: UdpSocket,
    remote: SocketAddr,
    sequence: u16,
    timestamp: u32,
    at: usize,
    received: u64,
    last: Option<Instant>,
    gaps: Vec<u32>,
    late: u64,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let plan = Arc::new(plan()?);
    let client = Client { http: plan.http, play: plan.play.clone(), attached: Arc::default() };
    let attached = client.attached.clone();
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, plan.webhook)).await?;
    let app = axum::Router::new().route("/", post(hook)).with_state(client);
    tokio::spawn(async move { axum::serve(listener, app).await });

    let config = sip::Config::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), rand::random());
    let (driver, handle, _incoming) =
        Driver::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), config).await?;
    tokio::spawn(driver.run());

    let before = usage(plan.pid)?;
    let mut phones = Vec::new();
    let mut setup = Vec::new();
    let mut dialogs = Vec::new();
    for _ in 0..plan.calls {
        let began = Instant::now();
        let (phone, dialog) = dial(&handle, plan.sip).await?;
        setup.push(began.elapsed());
        phones.push(phone);
        dialogs.push(dialog);
        tokio::time::sleep(STEP.saturating_sub(began.elapsed())).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (talk, flag) = (plan.clone(), stop.clone());
    let sound = std::thread::spawn(move || talk_all(phones, &talk.speech, &flag));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (start, began) = (usage(plan.pid)?, Instant::now());
    tokio::time::sleep(Duration::from_secs(plan.seconds)).await;
    let (end, span) = (usage(plan.pid)?, began.elapsed());
    stop.store(true, Ordering::Relaxed);
    let phones = sound.join().map_err(|_| "the sound thread died")?;
    for (dialog, _) in &dialogs {
        handle.hangup(*dialog, Vec::new()).await?;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    report(
        &plan,
        &phones,
        &mut setup,
        &Figures { before, start, end, span, attached: attached.load(Ordering::Relaxed) },
    );
    Ok(())
}

fn plan() -> Result<Plan, Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [pid, sip, http, webhook, calls, seconds, speech, play] = args.as_slice() else {
        return Err(
            "usage: load SERVER_PID SIP_PORT HTTP_PORT WEBHOOK_PORT CALLS SECONDS SPEECH.wav PLAY_NAME"
                .into(),
        );
    };
    let wav = audio::wav::Wav::parse(&std::fs::read(speech)?)?;
    if wav.rate != 8000 {
        return Err("SPEECH.wav must be 8 kHz mono".into());
    }
    let mono = wav.mono();
    let mut encoder = (audio::codec::g711::PCMU.encoder)();
    let mut payload = Vec::new();
    encoder.encode(&mono[..mono.len() / 160 * 160], &mut payload);
    Ok(Plan {
        pid: pid.parse()?,
        sip: SocketAddr::from((Ipv4Addr::LOCALHOST, sip.parse()?)),
        http: http.parse()?,
        webhook: webhook.parse()?,
        calls: calls.parse()?,
        seconds: seconds.parse()?,
        speech: payload,
        play: play.clone(),
    })
}

async fn dial(
    handle: &SipHandle,
    server: SocketAddr,
) -> Result<(Phone, (sip::DialogId, tokio::sync::mpsc::Receiver<SipEvent>)), Failure> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    let local = Local {
        address: Ipv4Addr::LOCALHOST.into(),
        port: socket.local_addr()?.port(),
        origin_id: 1,
        previous: None,
        codecs: &[&audio::codec::g711::PCMU],
        telephone_event: true,
        comfort_noise: false,
        rtcp_mux: false,
        security: sdp::Security::Off,
        direction: Direction::SendRecv,
        ptime_ms: 20,
        name: "load",
    };
    let call = Outbound {
        sdp: Some(sdp::offer(&local)),
        ..Outbound::new(format!("sip:load@{server}"), format!("sip:phone@{}", handle.local_addr()), server)
    };
    let (dialog, mut events) = handle.invite(call).await?;
    let answer = loop {
        match tokio::time::timeout(Duration::from_secs(10), events.recv()).await? {
            Some(SipEvent::Answered { sdp: Some(sdp), .. }) => break sdp,
            Some(SipEvent::Provisional { .. }) => {}
            other => return Err(format!("the call was not answered: {other:?}").into()),
        }
    };
    let media = sdp::read_answer(&local, &answer)?;
    let phone = Phone {
        socket,
        remote: media.remote.ok_or("the answer has no address")?,
        sequence: rand::random(),
        timestamp: rand::random(),
        at: rand::random::<u16>() as usize,
        received: 0,
        last: None,
        gaps: Vec::new(),
        late: 0,
    };
    Ok((phone, (dialog, events)))
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
        for phone in phones.iter_mut().skip((tick % 20) as usize).step_by(20) {
            phone.tick(speech, &mut datagram);
        }
    }
    phones
}

impl Phone {
    fn tick(&mut self, speech: &[u8], datagram: &mut Vec<u8>) {
        let mut buffer = [0; 512];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            if length < 12 {
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
        let pieces = speech.len() / 160;
        let piece = &speech[self.at % pieces * 160..][..160];
        let header = rtp::Header {
            marker: false,
            payload_type: 0,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: u32::from(self.remote.port()),
        };
        datagram.clear();
        rtp::packet::write(&header, piece, datagram);
        let _ = self.socket.send_to(datagram, self.remote);
        self.at += 1;
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(160);
    }
}

#[derive(Clone)]
struct Client {
    http: u16,
    play: String,
    attached: Arc<AtomicUsize>,
}

async fn hook(State(client): State<Client>, Json(body): Json<Value>) -> &'static str {
    let id = body["dialogId"].as_str().unwrap_or_default().to_owned();
    tokio::spawn(async move {
        if control(&client, &id).await.is_err() {
            eprintln_once();
        }
    });
    "ok"
}

fn eprintln_once() {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, Ordering::Relaxed) {
        println!("{{\"warning\":\"a control connection failed\"}}");
    }
}

/// Accepts one call and keeps a file playing in it.
async fn control(client: &Client, id: &str) -> Result<(), Failure> {
    let escaped: String = id.bytes().map(|b| format!("%{b:02X}")).collect();
    let url = format!("ws://127.0.0.1:{}/call/sip?id={escaped}&dump=true", client.http);
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await?;
    client.attached.fetch_add(1, Ordering::Relaxed);
    let option = json!({"vad": {"type": "silero"}, "recorder": {"samplerate": 16000}});
    socket.send(Message::text(json!({"command": "accept", "option": option}).to_string())).await?;
    let play = json!({"command": "play", "url": client.play}).to_string();
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else { continue };
        let event: Value = serde_json::from_str(&text)?;
        let ended = event["event"] == "trackEnd" && event["trackId"] == "server-side-track";
        if event["event"] == "answer" || ended {
            socket.send(Message::text(play.clone())).await?;
        }
    }
    Ok(())
}

/// CPU time and memory of a process.
#[derive(Clone, Copy)]
struct Usage {
    cpu: Duration,
    rss_kb: u64,
}

fn usage(pid: u32) -> Result<Usage, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // utime and stime are fields 14 and 15 of proc(5), counted in hundredths of a second.
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    Ok(Usage { cpu: Duration::from_millis(ticks * 10), rss_kb: rss.trim().trim_end_matches(" kB").parse()? })
}

struct Figures {
    before: Usage,
    start: Usage,
    end: Usage,
    span: Duration,
    attached: usize,
}

fn report(plan: &Plan, phones: &[Phone], setup: &mut [Duration], figures: &Figures) {
    let Figures { before, start, end, span, attached } = *figures;
    let mut gaps: Vec<u32> = phones.iter().flat_map(|phone| phone.gaps.iter().copied()).collect();
    gaps.sort_unstable();
    setup.sort_unstable();
    let part =
        |list: &[u32], share: f64| list.get((list.len() as f64 * share) as usize).copied().unwrap_or(0);
    let cpu = (end.cpu - start.cpu).as_secs_f64() * 1000.0 / span.as_secs_f64() / plan.calls as f64;
    let received: u64 = phones.iter().map(|phone| phone.received).sum();
    let line = json!({
        "calls": plan.calls, "seconds": plan.seconds, "attached": attached,
        "cpu_ms_per_call_second": (cpu * 1000.0).round() / 1000.0,
        "kb_per_call": (end.rss_kb.saturating_sub(before.rss_kb)) / plan.calls as u64,
        "rss_kb": end.rss_kb,
        "invite_to_200_ms": {"p50": setup[setup.len() / 2].as_secs_f64() * 1e3, "max": setup[setup.len() - 1].as_secs_f64() * 1e3},
        "packets": received,
        "gap_us": {"p50": part(&gaps, 0.5), "p99": part(&gaps, 0.99), "p999": part(&gaps, 0.999), "max": gaps.last()},
        "gaps_over_60_ms": phones.iter().map(|phone| phone.late).sum::<u64>(),
        "silent_phones": phones.iter().filter(|phone| phone.received == 0).count(),
    });
    println!("{line}");
}
