//! A SIP phone in a few lines: places a call, speaks, listens for the other side's voice, hears it hang up.
//!
//! It is made of the same parts as a call's leg: the SIP endpoint as a caller, and one [`Media`] ticked by
//! this task.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use audio::vad::{VadEvent, VadSettings};
use call::legs::LegId;
use call::media::order::{Dialled, FromMedia, LegPlan, Manner, RtpPlan, Start, ToMedia, UtteranceId};
use call::media::{Media, Transmit};
use protocol::CallTime;
use rtp::sdp::{self, Direction, Local};
use rtp::stream::Learning;
use sip::driver::Driver;
use sip::{DialogId, Outbound, SipEvent, SipHandle};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};

/// Wideband, so that a recognizer of 16 kHz speech understands the caller.
const RATE: u32 = 16_000;
/// Silence after which the other side is taken to have finished.
const FINISHED: Duration = Duration::from_millis(900);
/// Longest wait for the other side to begin.
const PATIENCE: Duration = Duration::from_secs(8);
/// Longest wait for an answer to the call, and for its end.
const CALL_PATIENCE: Duration = Duration::from_secs(20);

/// What the phone cannot do.
#[derive(Debug, thiserror::Error)]
pub enum PhoneError {
    /// A socket.
    #[error("network: {0}")]
    Network(#[from] std::io::Error),
    /// The call could not be placed.
    #[error(transparent)]
    Sip(#[from] sip::SipError),
    /// The call was refused.
    #[error("the call was refused: {0} {1}")]
    Refused(u16, String),
    /// Nobody answered.
    #[error("the call was not answered within {} s", CALL_PATIENCE.as_secs())]
    NoAnswer,
    /// The answer's media do not fit.
    #[error("the answer cannot be used: {0}")]
    Media(#[from] rtp::SdpError),
}

/// A phone on the loopback interface.
pub struct Phone {
    sip: SipHandle,
    driver: JoinHandle<()>,
}

/// A call that the phone is in.
pub struct Line {
    sip: SipHandle,
    dialog: DialogId,
    events: mpsc::Receiver<SipEvent>,
    socket: UdpSocket,
    media: Media,
    clock: Interval,
    started: Instant,
    spoken: u64,
    over: bool,
    /// What was heard, at 16 kHz.
    heard: Vec<i16>,
    /// Since when the other side speaks or has been silent.
    voice: Option<CallTime>,
    quiet_since: CallTime,
    last_word: CallTime,
}

/// What came of listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The other side spoke, so long after we had finished.
    Answer {
        /// From our last sample to its first.
        after: Duration,
    },
    /// The other side said nothing.
    Nothing,
    /// The other side hung up.
    HungUp,
}

impl Phone {
    /// Opens a phone on a free port.
    ///
    /// # Errors
    /// [`PhoneError::Network`].
    #[expect(clippy::disallowed_methods, reason = "the phone owns its driver and ends it in `close`")]
    pub async fn open() -> Result<Phone, PhoneError> {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut config = sip::Config::new(here, rand::random());
        config.user_agent = "active-call-demo".into();
        let (driver, sip, _incoming) = Driver::bind(here, config).await?;
        let driver = tokio::spawn(driver.run());
        Ok(Phone { sip, driver })
    }

    /// Calls `user` at `server` and waits for the answer.
    ///
    /// # Errors
    /// [`PhoneError`].
    #[expect(clippy::disallowed_methods, reason = "the phone is the clock of its own sound")]
    pub async fn dial(&self, server: SocketAddr, user: &str) -> Result<Line, PhoneError> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let local = Local {
            address: Ipv4Addr::LOCALHOST.into(),
            port: socket.local_addr()?.port(),
            origin_id: u64::from(rand::random::<u32>()),
            previous: None,
            codecs: &[&audio::codec::g722::G722, &audio::codec::g711::PCMU],
            telephone_event: true,
            comfort_noise: false,
            rtcp_mux: false,
            security: sdp::Security::Off,
            direction: Direction::SendRecv,
            ptime_ms: 20,
            name: "phone",
        };
        let call = Outbound {
            sdp: Some(sdp::offer(&local)),
            ..Outbound::new(
                format!("sip:{user}@{server}"),
                format!("sip:caller@{}", self.sip.local_addr()),
                server,
            )
        };
        let (dialog, mut events) = self.sip.invite(call).await?;
        let answer = tokio::time::timeout(CALL_PATIENCE, answer(&mut events)).await;
        let media = sdp::read_answer(&local, &answer.map_err(|_| PhoneError::NoAnswer)??)?;
        let mut clock = tokio::time::interval(Duration::from_millis(20));
        clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut line = Line {
            sip: self.sip.clone(),
            dialog,
            events,
            socket,
            media: Media::new(RATE),
            clock,
            started: Instant::now(),
            spoken: 0,
            over: false,
            heard: Vec::new(),
            voice: None,
            quiet_since: CallTime::ZERO,
            last_word: CallTime::ZERO,
        };
        let start = Start { ssrc: rand::random(), sequence: rand::random(), ..Start::default() };
        let plan = RtpPlan { media, learning: Learning::Off, signalling: None, start };
        let settings = VadSettings { speech_padding: Duration::from_millis(90), ..VadSettings::default() };
        line.media.handle(CallTime::ZERO, ToMedia::Leg(LegId::MAIN, LegPlan::Rtp(Box::new(plan))));
        line.media.handle(CallTime::ZERO, ToMedia::Vad(LegId::MAIN, "silero", settings));
        line.media.handle(CallTime::ZERO, ToMedia::Record);
        Ok(line)
    }

    /// Ends the phone.
    pub async fn close(self) {
        self.sip.stop().await;
        let _ = tokio::time::timeout(Duration::from_secs(1), self.driver).await;
    }
}

async fn answer(events: &mut mpsc::Receiver<SipEvent>) -> Result<String, PhoneError> {
    while let Some(event) = events.recv().await {
        match event {
            SipEvent::Answered { sdp, .. } => return Ok(sdp.unwrap_or_default()),
            SipEvent::Rejected { code, reason, .. } => return Err(PhoneError::Refused(code, reason)),
            SipEvent::Failed { .. } | SipEvent::Ended { .. } => return Err(PhoneError::NoAnswer),
            _ => {}
        }
    }
    Err(PhoneError::NoAnswer)
}

impl Line {
    /// Says `sound` (16 kHz) to its end.
    ///
    /// # Errors
    /// [`PhoneError::Network`].
    pub async fn say(&mut self, sound: &[i16]) -> Result<(), PhoneError> {
        self.spoken += 1;
        let utterance = UtteranceId(self.spoken);
        let now = self.now();
        self.media.handle(now, ToMedia::Play(utterance, RATE, sound.into()));
        self.media.handle(now, ToMedia::End(utterance));
        while !self.over {
            let events = self.tick().await?;
            if events.iter().any(|event| matches!(event, FromMedia::Ended(id, _) if *id == utterance)) {
                break;
            }
        }
        self.last_word = self.now();
        Ok(())
    }

    /// Presses keys.
    pub fn press(&mut self, digits: &str) {
        let now = self.now();
        let length = Duration::from_millis(160);
        let dialled = Dialled { digits: digits.into(), length, manner: Manner::Events };
        self.media.handle(now, ToMedia::Digits(LegId::MAIN, dialled));
    }

    /// Listens until the other side has spoken and finished.
    ///
    /// # Errors
    /// [`PhoneError::Network`].
    pub async fn hear_out(&mut self) -> Result<Heard, PhoneError> {
        let (begin, asked) = (self.now(), self.last_word);
        let mut answered: Option<CallTime> = None;
        loop {
            if self.over {
                return Ok(Heard::HungUp);
            }
            self.tick().await?;
            let now = self.now();
            if let Some(voice) = self.voice {
                answered.get_or_insert(voice);
            }
            match answered {
                Some(voice) if self.voice.is_none() && now.since(self.quiet_since) >= FINISHED => {
                    return Ok(Heard::Answer { after: voice.since(asked) });
                }
                None if now.since(begin) >= PATIENCE => return Ok(Heard::Nothing),
                _ => {}
            }
        }
    }

    /// Listens for so long, whatever is heard.
    ///
    /// # Errors
    /// [`PhoneError::Network`].
    pub async fn listen_for(&mut self, span: Duration) -> Result<(), PhoneError> {
        let begin = self.now();
        while !self.over && self.now().since(begin) < span {
            self.tick().await?;
        }
        Ok(())
    }

    /// Waits for the other side to hang up; hangs up when it does not.
    pub async fn wait_for_end(&mut self) {
        let begin = self.now();
        while !self.over && self.now().since(begin) < CALL_PATIENCE {
            if self.tick().await.is_err() {
                break;
            }
        }
        self.hang_up().await;
    }

    /// Hangs up.
    pub async fn hang_up(&mut self) {
        if !self.over {
            // A dialog that ends at this moment needs no BYE.
            let _ = self.sip.hangup(self.dialog, Vec::new()).await;
            self.over = true;
        }
    }

    /// Whether the other side has hung up.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// What was said on the line so far: stereo at 16 kHz, the other side left, this phone right.
    pub fn recording(&self) -> &[i16] {
        &self.heard
    }

    /// One tick of 20 ms: hears, speaks, sends.
    async fn tick(&mut self) -> Result<Vec<FromMedia>, PhoneError> {
        self.clock.tick().await;
        while let Ok(event) = self.events.try_recv() {
            self.over |= event.is_last();
        }
        let now = self.now();
        let mut datagram = [0; 2048];
        while let Ok((length, from)) = self.socket.recv_from(&mut datagram) {
            self.media.datagram(now, LegId::MAIN, from, &mut datagram[..length]);
        }
        self.media.tick(now);
        while let Some(transmit) = self.media.transmit() {
            if let Transmit::Datagram(_, to, bytes) = transmit {
                // A full socket loses a packet, as a network does.
                let _ = self.socket.send_to(&bytes, to);
            }
        }
        while let Some(second) = self.media.poll_recording() {
            self.heard.extend(second);
        }
        let events: Vec<FromMedia> = std::iter::from_fn(|| self.media.poll()).collect();
        for event in &events {
            match event {
                FromMedia::Speech(VadEvent::Speaking { start, .. }) => self.voice = Some(*start),
                FromMedia::Speech(VadEvent::Silence { start, duration }) => {
                    self.voice = None;
                    self.quiet_since = *start + *duration;
                }
                _ => {}
            }
        }
        Ok(events)
    }

    #[expect(clippy::disallowed_methods, reason = "the phone is the clock of its own sound")]
    fn now(&self) -> CallTime {
        CallTime(Instant::now().saturating_duration_since(self.started))
    }
}
