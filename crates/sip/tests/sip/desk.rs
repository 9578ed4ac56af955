//! One endpoint against messages written by hand.

use std::net::SocketAddr;
use std::time::Duration;

use sip::{Config, DialogId, Endpoint, Output, SipEvent, Time};

pub(crate) use crate::world::SDP;

/// The endpoint under test, at 192.0.2.2:5060.
pub(crate) struct Desk {
    pub(crate) now: Time,
    pub(crate) endpoint: Endpoint,
    pub(crate) events: Vec<SipEvent>,
    pub(crate) registrations: Vec<sip::RegistrationState>,
    /// The hosts that were asked for.
    pub(crate) asked: Vec<String>,
    /// What was sent since it was last looked at.
    sent: Vec<(SocketAddr, String)>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new("192.0.2.2:5060".parse().unwrap(), [7; 32]);
        change(&mut config);
        Self {
            now: Time::ZERO,
            endpoint: Endpoint::new(config),
            events: Vec::new(),
            registrations: Vec::new(),
            asked: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// Gives a datagram to the endpoint; what it sends at once.
    pub(crate) fn give(&mut self, from: &str, datagram: impl AsRef<[u8]>) -> Vec<String> {
        self.endpoint.receive(self.now, from.parse::<SocketAddr>().unwrap(), datagram.as_ref());
        self.sent().into_iter().map(|(_, text)| text).collect()
    }

    /// The same from the usual phone.
    pub(crate) fn hear(&mut self, datagram: impl AsRef<[u8]>) -> Vec<String> {
        self.give(PHONE, datagram)
    }

    /// Status of the one response to this datagram; 0 if there is none.
    pub(crate) fn status(&mut self, datagram: impl AsRef<[u8]>) -> u16 {
        status(&self.hear(datagram))
    }

    /// What was sent since it was last looked at.
    pub(crate) fn sent(&mut self) -> Vec<(SocketAddr, String)> {
        self.drain();
        std::mem::take(&mut self.sent)
    }

    /// Lets time pass; what is sent meanwhile, with milliseconds.
    pub(crate) fn wait(&mut self, span: Duration) -> Vec<(u128, String)> {
        let (end, mut sent) = (self.now + span, Vec::new());
        while let Some(at) = self.endpoint.timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.endpoint.handle_timeout(self.now);
            sent.extend(self.sent().into_iter().map(|(_, text)| (self.now.as_millis(), text)));
        }
        self.now = end;
        sent
    }

    pub(crate) fn story(&self) -> Vec<String> {
        self.events.iter().map(crate::world::name).collect()
    }

    /// The dialog of the last event.
    pub(crate) fn dialog(&self) -> DialogId {
        self.events.last().expect("an event").dialog()
    }

    /// A phone whose call is answered and acknowledged.
    pub(crate) fn call(&mut self) -> (Phone, DialogId) {
        let mut phone = Phone::new("c1");
        let (dialog, _) = self.call_of(&mut phone);
        (phone, dialog)
    }

    /// The same with a phone that has lines of its own in its INVITE; the 200 too.
    pub(crate) fn call_of(&mut self, phone: &mut Phone) -> (DialogId, String) {
        let invite = phone.request("INVITE", SDP);
        self.hear(invite);
        let dialog = self.dialog();
        self.endpoint.answer(self.now, dialog, SDP, &[]).unwrap();
        let answer = self.sent().remove(0).1;
        phone.learn(&answer);
        phone.extra = String::new();
        let ack = phone.ack("");
        self.hear(ack);
        (dialog, answer)
    }

    fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll() {
            match output {
                Output::Event(event) => self.events.push(event),
                Output::Registration { state, .. } => self.registrations.push(state),
                Output::Locate { uri } => self.asked.push(uri),
                Output::Send { to, bytes } => {
                    self.sent.push((to.address, String::from_utf8_lossy(&bytes).into_owned()));
                }
            }
        }
    }
}

/// Where the usual phone is.
pub(crate) const PHONE: &str = "192.0.2.1:5060";

/// Status of the one response; 0 if there is none.
pub(crate) fn status(sent: &[String]) -> u16 {
    assert!(sent.len() <= 1, "{sent:#?}");
    sent.first().map_or(0, |text| text.split(' ').nth(1).unwrap().parse().unwrap())
}

/// Value of a header in a message as text.
pub(crate) fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let prefix = format!("{name}: ");
    message.lines().find_map(|line| line.strip_prefix(prefix.as_str()))
}

/// A phone that writes the messages of one call.
#[derive(Clone)]
pub(crate) struct Phone {
    pub(crate) call_id: String,
    pub(crate) seq: u32,
    pub(crate) to_tag: String,
    /// Further header lines of each request, with line ends.
    pub(crate) extra: String,
    pub(crate) contact: String,
    branches: u32,
}

impl Phone {
    pub(crate) fn new(call_id: &str) -> Self {
        Self {
            call_id: call_id.into(),
            seq: 0,
            to_tag: String::new(),
            extra: String::new(),
            contact: "<sip:alice@192.0.2.1:5060>".into(),
            branches: 0,
        }
    }

    /// A new request with its own branch and number.
    pub(crate) fn request(&mut self, method: &str, sdp: &str) -> String {
        self.seq += 1;
        self.branches += 1;
        self.write(method, self.branches, sdp)
    }

    /// The ACK of the last INVITE's 200.
    pub(crate) fn ack(&mut self, sdp: &str) -> String {
        self.branches += 1;
        self.write("ACK", self.branches, sdp)
    }

    /// ACK or CANCEL with the branch of the last request.
    pub(crate) fn same_branch(&self, method: &str) -> String {
        self.write(method, self.branches, "")
    }

    /// Takes the tag of a response.
    pub(crate) fn learn(&mut self, response: &str) {
        let to = header(response, "To").expect("a To");
        self.to_tag = to.split(";tag=").nth(1).unwrap_or_default().to_owned();
    }

    fn write(&self, method: &str, branch: u32, sdp: &str) -> String {
        let Self { call_id, seq, extra, contact, .. } = self;
        let name = call_id.replace('@', "-");
        let tag = if self.to_tag.is_empty() { String::new() } else { format!(";tag={}", self.to_tag) };
        let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} sip:bob@192.0.2.2 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-{name}-{branch};rport\r\n\
             From: \"Alice\" <sip:alice@192.0.2.1>;tag=alice\r\n\
             To: <sip:bob@192.0.2.2>{tag}\r\n\
             Call-ID: {call_id}\r\nCSeq: {seq} {method}\r\nContact: {contact}\r\n\
             Max-Forwards: 70\r\n{extra}{kind}Content-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        )
    }
}
