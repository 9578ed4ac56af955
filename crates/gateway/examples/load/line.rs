//! A phone line: calls to the server by our own SIP stack.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rtp::sdp::{self, Direction, KeyRing, Local, Negotiated, RING_BYTES, Security};
use sip::driver::Driver;
use sip::{DialogId, Outbound, SipEvent, SipHandle};
use tokio::sync::mpsc;

use crate::Failure;

/// The longest that a call may take to be answered, and to be over.
const PATIENCE: Duration = Duration::from_secs(10);

/// Calls one server. Clones share the line.
#[derive(Clone)]
pub(crate) struct Line {
    handle: SipHandle,
    server: SocketAddr,
}

/// A call that is up.
pub(crate) struct Dialled {
    pub(crate) media: Negotiated,
    /// From INVITE to 200.
    pub(crate) took: Duration,
    dialog: DialogId,
    events: mpsc::Receiver<SipEvent>,
}

impl Line {
    /// A line on a free port of 127.0.0.1.
    pub(crate) async fn open(server: SocketAddr) -> Result<Self, Failure> {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = sip::Config {
            max_dialogs: 100_000,
            max_transactions: 100_000,
            ..sip::Config::new(here, rand::random())
        };
        let (driver, handle, _incoming) = Driver::bind(here, config).await?;
        tokio::spawn(driver.run());
        Ok(Line { handle, server })
    }

    /// A call whose sound comes to `port`, encrypted where `secure`.
    pub(crate) async fn dial(&self, port: u16, secure: bool) -> Result<Dialled, Failure> {
        let mut random = [0; RING_BYTES];
        rand::fill(&mut random);
        // The suite that phones use; of ours it costs most.
        let ring = KeyRing::new(&[&rtp::srtp::AES_CM_128_HMAC_SHA1_80], &random);
        let local = Local {
            address: Ipv4Addr::LOCALHOST.into(),
            port,
            origin_id: 1,
            previous: None,
            codecs: &[&audio::codec::g711::PCMU],
            telephone_event: true,
            comfort_noise: false,
            rtcp_mux: false,
            security: if secure { Security::Required(&ring) } else { Security::Off },
            direction: Direction::SendRecv,
            ptime_ms: 20,
            name: "load",
        };
        let server = self.server;
        let from = format!("sip:phone@{}", self.handle.local_addr());
        let call = Outbound {
            sdp: Some(sdp::offer(&local)),
            ..Outbound::new(format!("sip:load@{server}"), from, server)
        };
        let began = Instant::now();
        let (dialog, mut events) = self.handle.invite(call).await?;
        loop {
            match tokio::time::timeout(PATIENCE, events.recv()).await? {
                Some(SipEvent::Answered { sdp: Some(answer), .. }) => {
                    let took = began.elapsed();
                    let media = sdp::read_answer(&local, &answer)?;
                    return Ok(Dialled { media, took, dialog, events });
                }
                Some(SipEvent::Provisional { .. }) => {}
                other => return Err(format!("the call was not answered: {other:?}").into()),
            }
        }
    }

    /// Ends a call and waits for the answer to its BYE.
    pub(crate) async fn hang_up(&self, mut call: Dialled) -> Result<(), Failure> {
        self.handle.hangup(call.dialog, Vec::new()).await?;
        loop {
            match tokio::time::timeout(PATIENCE, call.events.recv()).await? {
                Some(SipEvent::Ended { cause: sip::EndCause::LocalBye, .. }) => return Ok(()),
                Some(SipEvent::Ended { cause, .. }) => {
                    return Err(format!("the call ended by {cause:?}").into());
                }
                Some(_) => {}
                None => return Err("the call ended without a word".into()),
            }
        }
    }
}
