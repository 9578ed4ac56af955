//! Answers every call over UDP and TCP with fixed SDP and waits for its end: a smoke tool for load generators such as
//! sipp. It sends no sound.
//!
//! Usage: `cargo run --release -p active-call-sip --features tokio --example answer -- 127.0.0.1:5060`

use std::error::Error;
use std::net::SocketAddr;

use sip::{Config, Driver, Incoming, SipEvent, SipHandle, Streams};

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
    m=audio 20000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let listen: SocketAddr = std::env::args().nth(1).as_deref().unwrap_or("127.0.0.1:5060").parse()?;
    let config = Config::new(listen, rand::random());
    let streams = Streams { tcp: Some(listen), ..Streams::default() };
    let (driver, handle, mut calls) = Driver::bind_with(listen, streams, config).await?;
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(driver.run());
    loop {
        tokio::select! {
            call = calls.recv() => match call {
                Some(call) => drop(tasks.spawn(serve(handle.clone(), call))),
                None => return Ok(()),
            },
            Some(_) = tasks.join_next() => {}
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    let counters = handle.counters().await?;
    handle.stop().await;
    while tasks.join_next().await.is_some() {}
    Err(format!("stopped with {counters:?}").into())
}

async fn serve(handle: SipHandle, mut call: Incoming) {
    // A call that was cancelled meanwhile is no fault.
    let _ = handle.ring(call.dialog, None).await;
    let _ = handle.answer(call.dialog, SDP.to_owned(), Vec::new()).await;
    while let Some(event) = call.events.recv().await {
        if let SipEvent::Reoffered { .. } = event {
            let _ = handle.answer_reoffer(call.dialog, Ok(SDP.to_owned())).await;
        }
    }
}
