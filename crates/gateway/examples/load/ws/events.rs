//! Many events of one call, to the client that commands it and to an observer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::client::{Came, Client};
use crate::server::Server;
use crate::{Failure, spread};

/// Commands go out in bundles, one for each of these.
const BUNDLE: Duration = Duration::from_millis(2);
/// Waiting for the last events.
const PATIENCE: Duration = Duration::from_secs(10);
const CALL: &str = "told";

/// How many events, and for how long.
#[derive(clap::Args)]
pub(crate) struct Plan {
    #[arg(long)]
    per_second: u64,
    #[arg(long)]
    seconds: u64,
}

/// Makes a call tell events, and prints how late the observer had them and how many were lost.
pub(crate) async fn run(server: &Server, plan: &Plan) -> Result<(), Failure> {
    let mut client = Client::call(server.http, CALL).await?;
    let began = Instant::now();
    let total = plan.per_second * plan.seconds;
    let observer = tokio::spawn(observe(server.http, began, total));
    // The observer is there when it has been told something.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = server.usage()?.cpu;
    let mut bundles = interval(BUNDLE);
    bundles.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let each = plan.per_second * BUNDLE.as_millis() as u64 / 1000;
    let (started, mut sent, mut own) = (Instant::now(), 0, 0);
    while own < total {
        tokio::select! {
            came = client.next() => if let Came::Event(event) = came? {
                own += u64::from(event["event"] == "addHistory");
            },
            _ = bundles.tick(), if sent < total => {
                for _ in 0..each {
                    let text = began.elapsed().as_micros().to_string();
                    client.send(&json!({"command": "history", "speaker": "user", "text": text})).await?;
                    sent += 1;
                }
            }
        }
    }
    let (span, used) = (started.elapsed(), server.usage()?.cpu - before);
    let late = observer.await??;
    let line = json!({
        "per_second": (own as f64 / span.as_secs_f64()).round(),
        "cpu_percent": (used.as_secs_f64() / span.as_secs_f64() * 1000.0).round() / 10.0,
        "lost_by_observer": total - late.len() as u64,
        "command_to_observer_ms": spread(late),
    });
    println!("{line}");
    Ok(())
}

/// Listens to the call, and tells how long after its command each event came.
async fn observe(http: SocketAddr, began: Instant, total: u64) -> Result<Vec<Duration>, Failure> {
    let answer = reqwest::get(format!("http://{http}/api/v1/calls/{CALL}/events")).await?;
    let (mut stream, mut rest) = (answer.bytes_stream(), Vec::new());
    let mut late = Vec::new();
    while (late.len() as u64) < total {
        let Some(piece) = tokio::time::timeout(PATIENCE, stream.next()).await.ok().flatten() else { break };
        rest.extend_from_slice(&piece?);
        let now = began.elapsed();
        let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in rest.drain(..whole).collect::<Vec<_>>().split(|byte| *byte == b'\n') {
            let Some(data) = line.strip_prefix(b"data:") else { continue };
            let event: Value = serde_json::from_slice(data)?;
            let sent = event["text"].as_str().and_then(|text| text.parse().ok());
            late.extend(sent.map(|sent| now.saturating_sub(Duration::from_micros(sent))));
        }
    }
    Ok(late)
}
