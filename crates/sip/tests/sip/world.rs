//! Two endpoints and a link between them. Time jumps from one thing that is due to the next.

use std::time::Duration;

use sip::{Config, DialogId, Endpoint, Outbound, Output, SipEvent, Time};

pub(crate) const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

/// Who sends: 0 is the caller, 1 the callee.
pub(crate) type Side = usize;
pub(crate) const CALLER: Side = 0;
pub(crate) const CALLEE: Side = 1;

/// Decides for each datagram (side, start line and head) whether it is lost.
type Lose = Box<dyn FnMut(Side, &str) -> bool>;

/// What arrives in place of a datagram of this side.
type Alter = Box<dyn Fn(Side, String) -> String>;

pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) ends: [Endpoint; 2],
    pub(crate) events: [Vec<SipEvent>; 2],
    /// Every datagram sent, lost ones included: time, side, text.
    pub(crate) log: Vec<(Time, Side, String)>,
    pub(crate) delay: Duration,
    /// The hosts that were asked for, and when.
    pub(crate) asked: Vec<(Time, String)>,
    /// Further addresses at which the callee is.
    pub(crate) also: Vec<std::net::SocketAddr>,
    pub(crate) alter: Alter,
    flight: Vec<(Time, Side, Vec<u8>)>,
    lose: Lose,
}

pub(crate) fn address(side: Side) -> std::net::SocketAddr {
    format!("192.0.2.{}:5060", side + 1).parse().unwrap()
}

impl World {
    pub(crate) fn new() -> Self {
        Self::losing(|_, _| false)
    }

    pub(crate) fn losing(lose: impl FnMut(Side, &str) -> bool + 'static) -> Self {
        let end = |side| Endpoint::new(Config::new(address(side), [side as u8 + 1; 32]));
        Self {
            now: Time::ZERO,
            ends: [end(CALLER), end(CALLEE)],
            events: [Vec::new(), Vec::new()],
            log: Vec::new(),
            delay: Duration::from_millis(20),
            asked: Vec::new(),
            also: Vec::new(),
            alter: Box::new(|_, text| text),
            flight: Vec::new(),
            lose: Box::new(lose),
        }
    }

    /// The caller calls; its dialog.
    pub(crate) fn call(&mut self) -> DialogId {
        let call = Outbound {
            sdp: Some(SDP.into()),
            headers: vec![("X-Account".into(), "7".into())],
            ..Outbound::new("sip:bob@192.0.2.2", "sip:alice@192.0.2.1", address(CALLEE))
        };
        let dialog = self.ends[CALLER].invite(self.now, &call).unwrap();
        self.drain();
        dialog
    }

    /// A call that is answered and acknowledged: the dialogs of both sides.
    pub(crate) fn answered_call(&mut self) -> (DialogId, DialogId) {
        let caller = self.call();
        self.run(Duration::from_millis(50));
        let callee = self.invited();
        self.ends[CALLEE].answer(self.now, callee, SDP, &[]).unwrap();
        self.run(Duration::from_millis(100));
        (caller, callee)
    }

    /// The dialog of the last `Invited` at the callee.
    pub(crate) fn invited(&self) -> DialogId {
        let invited = self.events[CALLEE].iter().rev().find(|e| matches!(e, SipEvent::Invited { .. }));
        invited.expect("the callee was invited").dialog()
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        self.drain();
        loop {
            let arrival = self.flight.iter().map(|(at, ..)| *at).min();
            let due = [arrival, self.ends[0].timeout(), self.ends[1].timeout()].into_iter().flatten().min();
            match due.filter(|at| *at <= end) {
                Some(at) => self.now = self.now.max(at),
                None => break,
            }
            self.step();
        }
        self.now = end;
    }

    fn step(&mut self) {
        let (now, mut arrived) = (self.now, Vec::new());
        self.flight.retain(|flight| {
            let there = flight.0 <= now;
            if there {
                arrived.push(flight.clone());
            }
            !there
        });
        for (_, side, bytes) in arrived {
            self.ends[1 - side].receive(now, address(side), &bytes);
            self.drain();
        }
        for side in [CALLER, CALLEE] {
            if self.ends[side].timeout().is_some_and(|at| at <= now) {
                self.ends[side].handle_timeout(now);
                self.drain();
            }
        }
    }

    pub(crate) fn drain(&mut self) {
        for side in [CALLER, CALLEE] {
            while let Some(output) = self.ends[side].poll() {
                match output {
                    Output::Event(event) => self.events[side].push(event),
                    Output::Registration { .. } => {}
                    Output::Locate { uri } => self.asked.push((self.now, uri)),
                    Output::Send { to, bytes } => {
                        let text = (self.alter)(side, String::from_utf8(bytes).unwrap());
                        let bytes = text.clone().into_bytes();
                        let right = to.address == address(1 - side) || self.also.contains(&to.address);
                        assert!(right, "{to}: {text}");
                        let lost = (self.lose)(side, &text);
                        self.log.push((self.now, side, text));
                        if !lost {
                            self.flight.push((self.now + self.delay, side, bytes));
                        }
                    }
                }
            }
        }
    }

    /// Times in milliseconds at which a side sent a message whose start line begins so.
    pub(crate) fn sent_ms(&self, side: Side, start: &str) -> Vec<u128> {
        let sent = self.log.iter().filter(|(_, s, text)| *s == side && text.starts_with(start));
        sent.map(|(at, ..)| at.as_millis()).collect()
    }

    /// Start lines with sides, copies included: the ladder of the call.
    pub(crate) fn ladder(&self) -> Vec<String> {
        let arrow = |side: Side| if side == CALLER { "->" } else { "<-" };
        let start = |text: &str| {
            let line = text.lines().next().unwrap_or_default();
            let words: Vec<&str> = line.split(' ').collect();
            if words[0] == "SIP/2.0" { words[1].to_owned() } else { words[0].to_owned() }
        };
        self.log.iter().map(|(_, side, text)| format!("{} {}", arrow(*side), start(text))).collect()
    }

    /// Names of the events of a side, in order.
    pub(crate) fn story(&self, side: Side) -> Vec<String> {
        self.events[side].iter().map(crate::world::name).collect()
    }

    pub(crate) fn dialogs(&self) -> (usize, usize) {
        (self.ends[0].counters().dialogs, self.ends[1].counters().dialogs)
    }
}

/// Name of an event with what tells it from others of its kind.
pub(crate) fn name(event: &SipEvent) -> String {
    match event {
        SipEvent::Ended { cause, .. } => format!("Ended {cause:?}"),
        SipEvent::Provisional { code, .. } => format!("Provisional {code}"),
        SipEvent::Rejected { code, .. } => format!("Rejected {code}"),
        SipEvent::Transfer { progress, .. } => format!("Transfer {progress:?}"),
        SipEvent::Failed { why, .. } => format!("Failed {why:?}"),
        SipEvent::Reoffered { method, .. } => format!("Reoffered {method:?}"),
        other => format!("{other:?}").split([' ', '{']).next().unwrap_or_default().to_owned(),
    }
}
