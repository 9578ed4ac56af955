//! Many calls at once: how late their sound comes, and how soon a command is heard.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::client::{Came, Client};
use crate::server::Server;
use crate::{Failure, spread};

/// Time between two calls while the load is built up: they do not fall into the same moment of the frame.
const STEP: Duration = Duration::from_micros(20_700);
/// Time for the last calls to settle before the measurement.
const SETTLE: Duration = Duration::from_secs(3);
const FRAME: Duration = Duration::from_millis(20);
/// Bytes of 20 ms at 16 kHz.
const BYTES: usize = 640;
/// A frame is late that comes so long after its time.
const LATE: Duration = Duration::from_millis(60);
/// Commands that are timed.
const COMMANDS: usize = 60;

/// How many calls, and what they do.
#[derive(clap::Args)]
pub(crate) struct Plan {
    #[arg(long)]
    calls: usize,
    /// How long they are measured.
    #[arg(long)]
    seconds: u64,
    /// What the callers say: a WAV file, 16 kHz, mono.
    #[arg(long)]
    speech: PathBuf,
    /// The file that the server plays; it lasts longer than the measurement.
    #[arg(long)]
    play: String,
}

/// Holds the calls and prints what they saw.
pub(crate) async fn run(server: &Server, plan: &Plan) -> Result<(), Failure> {
    let http = server.http;
    let wav = audio::wav::Wav::parse(&std::fs::read(&plan.speech)?)?;
    let speech: Arc<Vec<u8>> = Arc::new(wav.mono().iter().flat_map(|sample| sample.to_le_bytes()).collect());
    if wav.rate != 16_000 || speech.len() < BYTES {
        return Err("the speech must be at 16 kHz and last 20 ms".into());
    }
    let (phase_in, phase) = watch::channel(Phase::Settling);
    let mut talks = JoinSet::new();
    for n in 0..plan.calls {
        let mut client = Client::call(http, &format!("load-{n}")).await?;
        client.send(&json!({"command": "play", "url": plan.play})).await?;
        client.until("trackStart").await?;
        talks.spawn(talk(client, speech.clone(), n * 7_919, phase.clone()));
        tokio::time::sleep(STEP).await;
    }
    tokio::time::sleep(SETTLE).await;
    let (before, began) = (server.usage()?.cpu, Instant::now());
    phase_in.send_replace(Phase::Measured);
    let asked = tokio::spawn(commands(http));
    tokio::time::sleep(Duration::from_secs(plan.seconds)).await;
    phase_in.send_replace(Phase::Over);
    let (used, span) = (server.usage()?.cpu - before, began.elapsed());
    let (starts, stops) = asked.await??;
    let (mut late, mut frames) = (Vec::new(), 0);
    while let Some(arrivals) = talks.join_next().await {
        let arrivals = arrivals??;
        frames += arrivals.len();
        late.extend(lateness(&arrivals));
    }
    let expected = plan.calls as f64 * span.as_secs_f64() / FRAME.as_secs_f64();
    let line = json!({
        "calls": plan.calls,
        "cpu_percent": (used.as_secs_f64() / span.as_secs_f64() * 1000.0).round() / 10.0,
        "frames_of_expected": (frames as f64 / expected * 10_000.0).round() / 10_000.0,
        "later_than_60_ms": late.iter().filter(|late| **late > LATE).count(),
        "late_ms": spread(late),
        "tts_to_first_sound_ms": spread(starts),
        "interrupt_to_last_sound_ms": spread(stops),
    });
    println!("{line}");
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Settling,
    Measured,
    Over,
}

/// Says 20 ms every 20 ms and notes when sound comes, while that is measured.
async fn talk(
    mut client: Client,
    speech: Arc<Vec<u8>>,
    from: usize,
    mut phase: watch::Receiver<Phase>,
) -> Result<Vec<Instant>, Failure> {
    let frames: Vec<&[u8]> = speech.chunks_exact(BYTES).collect();
    let mut said = frames.iter().cycle().skip(from % frames.len());
    let mut ticks = interval(FRAME);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut arrivals = Vec::new();
    loop {
        tokio::select! {
            came = client.next() => if let Came::Sound(at) = came? && *phase.borrow() == Phase::Measured {
                arrivals.push(at);
            },
            _ = ticks.tick() => if let Some(frame) = said.next() {
                client.say(frame.to_vec()).await?;
            },
            changed = phase.changed() => {
                changed?;
                if *phase.borrow() == Phase::Over {
                    return Ok(arrivals);
                }
            }
        }
    }
}

/// How long after its time each frame came: the frame that was earliest for its place came on time.
fn lateness(arrivals: &[Instant]) -> Vec<Duration> {
    let Some(first) = arrivals.first() else { return Vec::new() };
    let behind: Vec<f64> = arrivals
        .iter()
        .enumerate()
        .map(|(n, at)| at.duration_since(*first).as_secs_f64() - FRAME.as_secs_f64() * n as f64)
        .collect();
    let earliest = behind.iter().copied().fold(0.0, f64::min);
    behind.iter().map(|behind| Duration::from_secs_f64(behind - earliest)).collect()
}

/// From a command that speaks to its first sound, and from one that interrupts to the last sound.
async fn commands(http: SocketAddr) -> Result<(Vec<Duration>, Vec<Duration>), Failure> {
    let mut client = Client::call(http, "commanded").await?;
    let text = base64::prelude::BASE64_STANDARD.encode(vec![7; BYTES * 100]);
    let (mut starts, mut stops) = (Vec::new(), Vec::new());
    for n in 0..COMMANDS {
        let began = Instant::now();
        let speak = json!({"command": "tts", "text": text, "base64": true, "endOfStream": true, "playId": n.to_string()});
        client.send(&speak).await?;
        let mut heard = 0;
        while heard < 5 {
            if let Came::Sound(at) = client.next().await? {
                heard += 1;
                if heard == 1 {
                    starts.push(at - began);
                }
            }
        }
        // Not always at the same place within a frame.
        tokio::time::sleep(Duration::from_millis(n as u64 % 20)).await;
        let began = Instant::now();
        client.send(&json!({"command": "interrupt"})).await?;
        let mut last = began;
        loop {
            match client.next().await? {
                Came::Sound(at) => last = at,
                Came::Event(event) if event["event"] == "trackEnd" => break,
                Came::Event(_) => {}
            }
        }
        stops.push(last - began);
    }
    Ok((starts, stops))
}
