//! Loads a running server with calls and says what they cost. `scripts/load` starts both; docs/performance.md has the
//! figures.
//!
//! `talk` holds many calls at once with G.711 both ways, `short` sets calls up and tears them down at a fixed rate,
//! with strangers knocking meanwhile where that is asked for. `ws-calls` holds calls over WebSocket with PCM both ways and
//! sends commands to one more, `reply` waits for answers, `ws-events` makes one call tell thousands of events a second to an observer. Each prints
//! lines of JSON.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a tool that measures a server from outside"
)]

mod client;
mod line;
mod reply;
mod server;
mod short;
mod strangers;
mod talk;
mod ws;

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use tokio::runtime::Builder;

/// What stops a measurement.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
struct Cli {
    /// Process of the server.
    #[arg(long)]
    pid: u32,
    /// Where it takes calls.
    #[arg(long)]
    sip: SocketAddr,
    /// Where its metrics are.
    #[arg(long)]
    http: SocketAddr,
    #[command(subcommand)]
    mode: Mode,
}

#[derive(clap::Subcommand)]
enum Mode {
    /// Many calls at once, with sound both ways.
    Talk(talk::Plan),
    /// Short calls at a fixed rate.
    Short(short::Plan),
    /// How soon a caller who has fallen silent hears the reply.
    Reply(reply::Plan),
    /// Many calls over WebSocket at once, with sound both ways.
    WsCalls(ws::calls::Plan),
    /// Many events of one call.
    WsEvents(ws::events::Plan),
}

fn main() -> Result<(), Failure> {
    let Cli { pid, sip, http, mode } = Cli::parse();
    let server = server::Server { pid, sip, http };
    // Times are taken where a message is read; threads that wake each other would be part of them.
    let mut runtime = match mode {
        Mode::Talk(_) | Mode::Short(_) => Builder::new_multi_thread(),
        Mode::Reply(_) | Mode::WsCalls(_) | Mode::WsEvents(_) => Builder::new_current_thread(),
    };
    runtime.enable_all().build()?.block_on(async {
        match mode {
            Mode::Talk(plan) => talk::run(&server, &plan).await,
            Mode::Short(plan) => short::run(&server, &plan).await,
            Mode::Reply(plan) => reply::run(&server, &plan).await,
            Mode::WsCalls(plan) => ws::calls::run(&server, &plan).await,
            Mode::WsEvents(plan) => ws::events::run(&server, &plan).await,
        }
    })
}

/// How many spans there are; their median, 99th of a hundred, 999th of a thousand and the largest, in milliseconds.
fn spread(mut spans: Vec<Duration>) -> serde_json::Value {
    spans.sort_unstable();
    let below = |share| ms(below(&spans, share));
    serde_json::json!({"of": spans.len(), "p50": below(0.5), "p99": below(0.99), "p999": below(0.999), "max": below(1.0)})
}

/// The value below which `share` of a sorted list lies; the default of an empty one.
fn below<T: Copy + Default>(sorted: &[T], share: f64) -> T {
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Milliseconds with two places.
fn ms(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e5).round() / 100.0
}
