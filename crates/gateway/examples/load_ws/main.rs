//! Loads a running server with WebSocket calls and says how late its sound and its events are. `scripts/load-ws` starts
//! both; docs/performance.md has the figures.
//!
//! `calls` holds many calls with PCM both ways and the voice detector on, and sends commands to one more; `events` makes
//! one call tell thousands of events a second to an observer. Each prints a line of JSON.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a tool that measures a server from outside"
)]

mod calls;
mod client;
mod events;

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;

/// What stops a measurement.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
struct Cli {
    /// Process of the server.
    #[arg(long)]
    pid: u32,
    /// Where it takes calls.
    #[arg(long)]
    http: SocketAddr,
    #[command(subcommand)]
    mode: Mode,
}

#[derive(clap::Subcommand)]
enum Mode {
    /// Many calls at once, with sound both ways.
    Calls(calls::Plan),
    /// Many events of one call.
    Events(events::Plan),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let Cli { pid, http, mode } = Cli::parse();
    match mode {
        Mode::Calls(plan) => calls::run(pid, http, &plan).await,
        Mode::Events(plan) => events::run(pid, http, &plan).await,
    }
}

/// CPU time that a process has used.
fn cpu(pid: u32) -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // utime and stime are fields 14 and 15 of proc(5), counted in hundredths of a second.
    let ticks = |at: usize| fields.get(at).unwrap_or(&"").parse::<u64>();
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}

/// Median, 99th and 99.9th of a hundred, and the largest, in milliseconds.
fn spread(mut spans: Vec<Duration>) -> serde_json::Value {
    spans.sort_unstable();
    let below = |share: f64| {
        let at = (spans.len() as f64 * share) as usize;
        let span = spans.get(at.min(spans.len().saturating_sub(1))).copied().unwrap_or_default();
        (span.as_secs_f64() * 1e5).round() / 100.0
    };
    serde_json::json!({"of": spans.len(), "p50": below(0.5), "p99": below(0.99), "p999": below(0.999), "max": below(1.0)})
}
