//! Short calls at a fixed rate: how long their set-up takes, whether any fails, and what stays behind in the server.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::line::Line;
use crate::server::Server;
use crate::strangers::{self, Strangers};
use crate::{Failure, spread};

/// Calls that are up when no more are begun; a server that answers none must not fill our memory.
const MOST_AT_ONCE: usize = 20_000;
/// How long a server remembers answers that may be asked for again, 64 T1, and a little.
const FORGETTING: Duration = Duration::from_secs(36);

/// How many calls, and what they do.
#[derive(clap::Args)]
pub(crate) struct Plan {
    #[arg(long)]
    calls: usize,
    /// Calls begun in a second.
    #[arg(long)]
    rate: u32,
    /// How long each is up, in milliseconds.
    #[arg(long)]
    hold: u64,
    /// What the server uses is printed after so many calls.
    #[arg(long, default_value_t = 10_000)]
    every: usize,
    #[command(flatten)]
    strangers: strangers::Plan,
}

/// What came of the calls so far.
#[derive(Default)]
struct Tally {
    setup: Vec<Duration>,
    failed: usize,
    failure: Option<String>,
}

/// Makes the calls and prints what they cost.
pub(crate) async fn run(server: &Server, plan: &Plan) -> Result<(), Failure> {
    let line = Line::open(server.sip).await?;
    // Where the sound goes: nobody listens, and what does not fit is dropped.
    let deaf = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = deaf.local_addr()?.port();
    let hold = Duration::from_millis(plan.hold);
    let strangers = Strangers::begin(server.sip, &plan.strangers)?;
    let (start, began) = (server.usage()?, Instant::now());
    print_sample(server, 0, began).await?;
    let mut clock = tokio::time::interval(Duration::from_secs(1) / plan.rate.max(1));
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut calls, mut tally) = (JoinSet::new(), Tally::default());
    for number in 1..=plan.calls {
        clock.tick().await;
        while calls.len() >= MOST_AT_ONCE {
            tally.note(calls.join_next().await);
        }
        while let Some(done) = calls.try_join_next() {
            tally.note(Some(done));
        }
        let line = line.clone();
        calls.spawn(async move {
            let call = line.dial(port, false).await?;
            let took = call.took;
            tokio::time::sleep(hold).await;
            line.hang_up(call).await?;
            Ok(took)
        });
        if number % plan.every == 0 {
            print_sample(server, number, began).await?;
        }
    }
    let beginning = began.elapsed();
    while let Some(done) = calls.join_next().await {
        tally.note(Some(done));
    }
    let (end, span) = (server.usage()?, began.elapsed());
    let cpu = (end.cpu - start.cpu).as_secs_f64();
    let mut line = json!({
        "calls": plan.calls, "failed": tally.failed, "failure": tally.failure,
        "calls_per_second": (plan.calls as f64 / beginning.as_secs_f64() * 10.0).round() / 10.0,
        "invite_to_200_ms": spread(tally.setup),
        "cpu_ms_per_call": (cpu * 1e5 / plan.calls as f64).round() / 100.0,
        "cpu_share": (cpu / span.as_secs_f64() * 100.0).round() / 100.0,
    });
    if let Some(strangers) = strangers {
        line["strangers"] = strangers.end()?;
    }
    println!("{line}");
    tokio::time::sleep(FORGETTING).await;
    print_sample(server, plan.calls, began).await
}

async fn print_sample(server: &Server, calls: usize, began: Instant) -> Result<(), Failure> {
    let mut sample = server.sample().await?;
    sample.insert("after_calls".into(), calls.into());
    sample.insert("after_seconds".into(), began.elapsed().as_secs().into());
    println!("{}", Value::from(sample));
    Ok(())
}

type Done = Option<Result<Result<Duration, Failure>, tokio::task::JoinError>>;

impl Tally {
    fn note(&mut self, done: Done) {
        match done {
            Some(Ok(Ok(took))) => self.setup.push(took),
            Some(Ok(Err(failure))) => self.fail(failure.to_string()),
            Some(Err(failure)) => self.fail(failure.to_string()),
            None => {}
        }
    }

    fn fail(&mut self, failure: String) {
        self.failed += 1;
        self.failure.get_or_insert(failure);
    }
}
