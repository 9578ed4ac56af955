//! The active-call server as a library, so that tests can start it.
//!
//! Must not: hold rules of a call, of SIP or of sound; it joins the crates that do to sockets, files and the
//! command line.
//!
//! Rooms in reading order: [`cli`] and [`config`] say what is wanted, [`check`] whether it makes sense, `beyond`
//! whether it allows what a playbook wants; [`server`] starts and stops everything; [`app`] is what the doors share,
//! with [`calls`] and [`ports`]; [`sip_io`] is the SIP door, with [`inbound`] and [`webhook`] to decide where a call
//! goes, [`outbound`] to dial, [`originate`] to begin calls of our own, `media_names` for hosts in descriptions,
//! [`accounts`] at registrars, [`policy`] for who may call, [`hourly`] for how often we do, and `sip_tls` for its
//! certificate; [`http`] is the other door, with [`access`] for who may; [`playbooks`], [`parked`], [`library`],
//! [`speech_cache`], [`egress`], [`mcp`], [`media_pass`] and [`sinks`] are what calls need of the world; [`files`]
//! confines names; [`logging`] is the log. [`demo`] is a caller that phones the server, [`rehearse`] plays and talks
//! with playbooks without a phone.
#![forbid(unsafe_code)]

pub mod access;
pub mod accounts;
pub mod app;
mod beyond;
pub mod calls;
pub mod capture;
pub mod check;
pub mod cli;
pub mod config;
pub mod demo;
pub mod egress;
pub mod explain;
pub mod files;
mod gate;
pub mod hourly;
pub mod http;
pub mod inbound;
pub mod ladder;
pub mod library;
pub mod logging;
pub mod mcp;
mod media_names;
pub mod media_pass;
pub mod originate;
pub mod outbound;
pub mod parked;
pub mod playbooks;
pub mod policy;
pub mod ports;
pub mod rehearse;
pub mod server;
pub mod sinks;
pub mod sip_io;
mod sip_tls;
pub mod speech_cache;
mod turn;
pub mod webhook;

/// Waits until the process is told to stop, by SIGTERM or SIGINT. Each call waits for a further signal.
///
/// A process that cannot hear signals is ended by them, so the wait is for ever then.
pub async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
