//! Loads a running server with calls and says what they cost. `scripts/load` starts both; docs/performance.md has the
//! figures.
//!
//! `talk` holds many calls at once with G.711 both ways, `short` sets calls up and tears them down at a fixed rate,
//! with strangers knocking meanwhile where that is asked for. Each prints lines of JSON.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a tool that measures a server from outside"
)]

mod client;
mod line;
mod server;
mod short;
mod strangers;
mod talk;

use std::net::SocketAddr;

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
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let Cli { pid, sip, http, mode } = Cli::parse();
    let server = server::Server { pid, sip, http };
    match mode {
        Mode::Talk(plan) => talk::run(&server, &plan).await,
        Mode::Short(plan) => short::run(&server, &plan).await,
    }
}

/// The value below which `share` of a sorted list lies; the default of an empty one.
fn below<T: Copy + Default>(sorted: &[T], share: f64) -> T {
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Milliseconds with two places.
fn ms(span: std::time::Duration) -> f64 {
    (span.as_secs_f64() * 1e5).round() / 100.0
}
