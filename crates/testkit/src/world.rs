//! A whole call without a thread, a task or a clock: one `Core` and one `Media`, ticked by hand, with caller,
//! client and providers played by a [`Cast`].

mod parties;
mod players;
mod speech_model;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use call::StopReason;
use call::core::clock::Clock;
use call::core::voice::VoiceId;
use call::core::{Core, Effect, Facts, Input};
use call::legs::sip_media::{LocalMedia, SipMedia};
use call::legs::{Failed, LegEvent, LegId, LegRequest};
use call::media::order::{DoorId, ToMedia, Way};
use call::media::{Media, Transmit};
use call::setup::{Rules, Undialled};
use playbook::Playbook;
use protocol::chat::TurnId;
use protocol::option::{CallOption, Over};
use protocol::record::CallRecord;
use protocol::rest::CallKind;
use protocol::{CallTime, Command};
use providers::{Heard, Words};
use rtp::sdp::{KeyRing, RING_BYTES};

use crate::caller::{ADDRESS, Caller, DIGIT_PAYLOAD, Line as Wire, Said, codec_named};
use crate::cast::{Cast, RATE};
use crate::report;
use crate::terms::{Manner, Terms};
use parties::Fate;
pub use parties::Party;
use players::Ears;
pub use speech_model::Doing;
use speech_model::SpeechModel;

const FRAME: Duration = Duration::from_millis(20);
/// Steps without time passing; more are a rule that calls itself for ever.
const MOST_AT_ONCE: u32 = 10_000;
/// From our answer to the far end's confirmation of it.
const ACK: Duration = Duration::from_millis(20);

/// How a simulated call begins.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// A codec of SDP for an inbound SIP call that offers it; `None` for a `/call` client with PCM at 16 kHz.
    pub sip: Option<String>,
    /// How the far end's media are beside that.
    pub manner: Manner,
    /// The call is one that we place, with this codec, once `invite` says to whom.
    pub dials: bool,
    /// What the dialer refuses with.
    pub undialled: Option<Undialled>,
    /// What the configuration gives: options below those of commands and playbook.
    pub option: CallOption,
    /// The playbook that answers.
    pub playbook: Option<Arc<Playbook>>,
    /// Providers and files.
    pub cast: Cast,
    /// The call's first tick; less than 20 ms. The caller's packets arrive at whole multiples of 20 ms.
    pub phase: Duration,
    /// Times and switches of the configuration.
    pub rules: Rules,
    /// The far end never confirms our answer.
    pub silent_ack: bool,
}

/// What someone outside does.
#[derive(Debug)]
pub enum Act {
    /// The client sends this text.
    Command(String),
    /// A client takes command.
    Attach,
    /// The client is gone, a client or operator kills the call, the server stops.
    Stop(StopReason),
    /// The caller's signalling.
    Leg(LegEvent),
    /// What a party that was dialled does: the callee, or the second party.
    Party(LegId, Party),
    /// The caller presses a key, which travels so.
    Press(char, Way),
    /// Somebody else calls to take the place of the party on this leg, or gives up while it does.
    TakeOver(LegId, bool),
    /// The caller gives up in the moment in which it is answered.
    GiveUp,
    /// The caller does not acknowledge our early media, so that our answer has to wait.
    HoldBack,
    /// The caller holds us, or takes us back.
    Hold(bool),
    /// The session is refreshed, and the caller's answer holds us or takes us back.
    Refresh(bool),
    /// The caller's network dies, or comes back.
    Network(bool),
    /// What the speech-to-speech model does.
    Model(Doing),
}

/// A line of what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub at: CallTime,
    /// What.
    pub text: String,
}

/// A simulated call.
pub struct World {
    core: Core,
    media: Option<Media>,
    now: CallTime,
    next_tick: CallTime,
    next_packet: CallTime,
    agenda: Vec<Due>,
    caller: Caller,
    terms: Terms,
    /// The far end's sound is RTP.
    sip: bool,
    /// The last description that we sent.
    ours: String,
    cast: Cast,
    silent_ack: bool,
    /// What becomes of our next answer.
    fate: Fate,
    undialled: Option<Undialled>,
    asked: usize,
    fetched: usize,
    spoken: usize,
    /// What each tone says, for the report of what the caller hears.
    tones: BTreeMap<u32, String>,
    voices: BTreeMap<VoiceId, Voice>,
    ears: Vec<Ears>,
    model: SpeechModel,
    lines: Vec<Line>,
    records: Vec<CallRecord>,
    /// Keys that other parties are sent.
    keys: rtp::Digits,
    /// Stereo samples of the recording.
    recorded: u64,
}

/// What a fake has to say.
struct Due {
    at: CallTime,
    from: From,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Script,
    Voice(VoiceId),
    Turn(TurnId),
    Door(DoorId),
    Fetch(u32),
}

enum What {
    Input(Input),
    Act(Act),
    Partial(DoorId),
    Final(DoorId, String),
}

/// A synthesizer at work.
struct Voice {
    /// When it has said all it was given.
    busy: CallTime,
    broken: bool,
    /// What waits while its sound is not read.
    held: Option<Vec<Input>>,
}

impl World {
    /// A call that begins now.
    pub fn new(opening: Opening) -> Self {
        let Opening { sip, manner, dials, undialled, option, playbook, cast, phase, rules, silent_ack } =
            opening;
        let called = sip.as_ref().filter(|_| !dials);
        let name = sip.clone().unwrap_or_default();
        let (codec, payload_type) = codec_named(&name).unwrap_or((&audio::codec::pcm::PCM_16000, 18));
        let wire = match &sip {
            Some(_) => Wire::Rtp { payload_type, stream: rtp::Outgoing::new(0xca11, 1_000, 0), digit: None },
            None => Wire::Raw,
        };
        let facts = Facts {
            id: "test-call".into(),
            reference: "test-reference".into(),
            kind: if sip.is_some() { CallKind::Sip } else { CallKind::WebSocket },
            caller: called.map_or_else(String::new, |_| "sip:alice@example.com".into()),
            callee: called.map_or_else(String::new, |_| "sip:agent@example.com".into()),
            clock: Clock { began_unix_ms: 0 },
            rules,
            vars: protocol::Extra::default(),
            random: (0x5eed, 1, 0),
            dump: None,
        };
        let option = match &playbook {
            Some(playbook) => playbook.option().over(&option),
            None => option,
        };
        let terms = Terms::new(&name, manner);
        let offer = (!terms.manner.offerless).then(|| terms.offer("sendrecv", 1));
        let media = called.map(|_| SipMedia::inbound(offer, local()));
        let mut world = World {
            core: Core::new(facts, option, media, playbook),
            media: None,
            now: CallTime::ZERO,
            next_tick: CallTime(phase),
            next_packet: CallTime::ZERO,
            agenda: Vec::new(),
            caller: Caller::new(wire, codec),
            terms,
            sip: sip.is_some(),
            ours: String::new(),
            cast,
            silent_ack,
            fate: Fate::Taken,
            undialled,
            asked: 0,
            fetched: 0,
            spoken: 0,
            tones: BTreeMap::from([(crate::cast::tone_of(0), "a ringback tone".to_owned())]),
            voices: BTreeMap::new(),
            ears: Vec::new(),
            model: SpeechModel::default(),
            lines: Vec::new(),
            records: Vec::new(),
            keys: rtp::Digits::new(8_000),
            recorded: 0,
        };
        world.feed(Input::Begin);
        world
    }

    /// Lets someone do something at a time that has not passed.
    pub fn plan(&mut self, at: CallTime, act: Act) {
        self.due(at, From::Script, What::Act(act));
    }

    /// Lets the caller say `text`, so that the recognizer understands it, in real speech.
    pub fn speak(&mut self, from: CallTime, to: CallTime, text: &str) {
        self.speak_from(from, to, text, Duration::ZERO);
    }

    /// The same with the sound that lies `place` behind the beginning of the recorded speech.
    pub fn speak_from(&mut self, from: CallTime, to: CallTime, text: &str, place: Duration) {
        let place = (place.as_micros() * u128::from(RATE) / 1_000_000) as usize;
        self.caller.said.push(Said { from, to, text: text.to_owned(), place });
    }

    /// Lets time pass until `end` or the end of the call.
    pub fn run(&mut self, end: CallTime) {
        let mut at_once = 0;
        while self.records.is_empty() {
            let due = self.agenda.iter().map(|due| due.at).min();
            let sound = self.media.as_ref().map(|_| self.next_packet.min(self.next_tick));
            let next = [due, self.core.timeout(), sound].into_iter().flatten().min();
            match next {
                Some(at) if at <= end => {
                    at_once = if at > self.now { 0 } else { at_once + 1 };
                    assert!(at_once < MOST_AT_ONCE, "time stands still at {}", self.now);
                    self.step(at.max(self.now));
                }
                _ => break,
            }
        }
        self.now = if self.records.is_empty() { end } else { self.now };
    }

    /// What has happened.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// When something like `text` happened first at or after `since`.
    pub fn when(&self, since: CallTime, text: &str) -> Option<CallTime> {
        self.lines.iter().find(|line| line.at >= since && line.text.contains(text)).map(|line| line.at)
    }

    /// The records of the call: none while it goes on, then one.
    pub fn records(&self) -> &[CallRecord] {
        &self.records
    }

    /// Stereo samples of the recording so far.
    pub fn recorded(&self) -> u64 {
        self.recorded
    }

    fn step(&mut self, now: CallTime) {
        self.now = now;
        if self.media.is_none() {
            self.next_tick = after(self.next_tick, now);
            self.next_packet = after(self.next_packet, now);
        } else if self.next_packet <= now {
            self.next_packet += FRAME;
            self.packet();
        }
        while let Some(at) = self.agenda.iter().position(|due| due.at <= now) {
            let due = self.agenda.remove(at);
            self.happen(due);
        }
        if self.core.timeout().is_some_and(|at| at <= now) {
            self.feed(Input::Timeout);
        }
        if self.media.is_some() && self.next_tick <= now {
            self.next_tick += FRAME;
            self.tick();
        }
    }

    fn packet(&mut self) {
        let Some(mut packet) = self.caller.packet(self.now) else { return };
        match &mut self.media {
            Some(media) if !self.sip => media.message(self.now, LegId::MAIN, &packet),
            Some(media) => {
                media.datagram(self.now, LegId::MAIN, ADDRESS, &mut packet);
            }
            None => {}
        }
    }

    fn tick(&mut self) {
        let Some(media) = &mut self.media else { return };
        media.tick(self.now);
        let sent: Vec<Transmit> = std::iter::from_fn(|| media.transmit()).collect();
        let events: Vec<_> = std::iter::from_fn(|| media.poll()).collect();
        let hearing: Vec<_> = std::iter::from_fn(|| media.poll_hearing()).collect();
        self.recorded +=
            std::iter::from_fn(|| media.poll_recording()).map(|s| s.len() as u64 / 2).sum::<u64>();
        let (mut heard, mut keys) = (Vec::new(), String::new());
        let mut any = false;
        for transmit in &sent {
            let (Transmit::Datagram(leg, _, bytes) | Transmit::Message(leg, bytes)) = transmit else {
                continue;
            };
            if *leg == LegId::MAIN {
                any = true;
                heard.extend(self.caller.hear(bytes, &mut keys));
            } else if let Some(key) = pressed(&mut self.keys, bytes) {
                self.lines.push(Line { at: self.now, text: format!("leg {} hears key {key}", leg.0) });
            }
        }
        for key in keys.chars() {
            self.note(format!("caller hears key {key}"));
        }
        if !any {
            heard.extend(self.caller.hear_nothing());
        }
        for tone in heard {
            let text = match tone {
                // Keys are tones too, and told as keys.
                Some(tone) => match self.tones.get(&tone.hz) {
                    Some(text) => text.as_str(),
                    None => continue,
                },
                None => "nothing",
            };
            let low = if tone.is_some_and(|tone| tone.low) { " low" } else { "" };
            let text = format!("caller hears {text}{low}");
            self.note(text);
        }
        for (door, hearing) in hearing {
            self.recognize(door, &hearing);
        }
        for event in events {
            self.feed(Input::Media(event));
        }
    }

    fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.core.handle(self.now, input);
            while let Some(effect) = self.core.poll() {
                inputs.extend(self.carry_out(effect));
            }
        }
    }

    fn happen(&mut self, due: Due) {
        match due.what {
            What::Input(input) => match due.from {
                From::Voice(voice) => {
                    match self.voices.get_mut(&voice).and_then(|voice| voice.held.as_mut()) {
                        Some(held) => held.push(input),
                        None => self.feed(input),
                    }
                }
                _ => self.feed(input),
            },
            What::Act(act) => self.act(act),
            What::Partial(door) => self.partial(door),
            What::Final(door, text) => {
                self.feed(Input::Heard(door, Heard::Final(Words { text, ..Words::default() })));
            }
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Command(text) => match Command::parse(&text) {
                Ok(read) => {
                    self.feed(Input::Command(read.value));
                    if !read.unknown.is_empty() {
                        self.feed(Input::UnknownKey(read.unknown.join(", ")));
                    }
                }
                Err(error) => self.feed(Input::Refused("command", error.into())),
            },
            Act::Attach => self.feed(Input::Attached),
            Act::Stop(reason) => self.feed(Input::Stop(reason)),
            Act::Leg(event) => self.feed(Input::Leg(LegId::MAIN, event)),
            Act::Party(leg, party) => self.party(leg, party),
            Act::Press(digit, Way::Signalling) => {
                self.feed(Input::Leg(LegId::MAIN, LegEvent::Digit(digit)));
            }
            Act::Press(digit, way) => self.caller.press(digit, way),
            Act::TakeOver(place, gives_up) => {
                self.fate = if gives_up { Fate::GivenUp } else { Fate::Taken };
                let (caller, offer) = ("sip:bob@example.com".into(), Some(self.terms.offer("sendrecv", 9)));
                let source = ADDRESS.ip();
                self.feed(Input::Leg(place, LegEvent::TakenOver { caller, offer, source }));
            }
            Act::GiveUp => self.fate = Fate::GivenUp,
            Act::HoldBack => self.fate = Fate::Waits,
            Act::Hold(on) => {
                self.terms.holds = on;
                let direction = if on { "sendonly" } else { "sendrecv" };
                let sdp = Some(self.terms.offer(direction, self.now.as_ms() + 2));
                self.feed(Input::Leg(LegId::MAIN, LegEvent::Reoffered { sdp, refusable: true }));
            }
            Act::Refresh(on) => {
                self.terms.holds = on;
                let sdp = self.terms.answer(&self.ours);
                self.feed(Input::Leg(LegId::MAIN, LegEvent::Refreshed { sdp }));
            }
            Act::Network(up) => self.caller.dead = !up,
            Act::Model(doing) => self.speech_model(doing),
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Input> {
        if let Some(text) = report::effect(&effect) {
            self.note(text);
        }
        match effect {
            Effect::Request(leg, request) => return self.request(leg, &request),
            Effect::Seat(rate) => self.media = Some(Media::new(rate)),
            Effect::Media(order) => self.order(order),
            Effect::Listen { leg, door, .. } => return self.listen(leg, door),
            Effect::OpenModel(door, _) => self.open_model(door),
            Effect::CloseModel(_) => self.model = SpeechModel::default(),
            Effect::ToModel(_) => {}
            Effect::Unlisten(door) => self.forget(From::Door(door)),
            Effect::OpenVoice(voice, _) => return self.open(voice),
            Effect::Speak(voice, piece, text) => self.say(voice, piece, &text),
            Effect::CloseVoice(voice) => self.close(voice),
            Effect::OpenFile(voice, url) => return self.open_file(voice, &url),
            Effect::DropVoice(voice) => self.forget(From::Voice(voice)),
            Effect::Flow(voice, on) => self.flow(voice, on),
            Effect::Ask(_, ask) => return self.ask(&ask),
            Effect::Abandon(turn) => self.forget(From::Turn(turn)),
            Effect::Fetch(id, _) => return self.fetch(id),
            Effect::CancelFetch(id) => self.forget(From::Fetch(id)),
            Effect::Dial(leg, _) => {
                let line =
                    self.undialled.clone().map_or_else(|| Ok(Box::new(SipMedia::outbound(local()))), Err);
                return Some(Input::Line(leg, line));
            }
            Effect::Adopt(_, leg) => {
                return Some(Input::Adopted(leg, Some(Box::new(KeyRing::of_all(&[8; RING_BYTES])))));
            }
            Effect::ListTools(server) => {
                return Some(Input::Tools(server.name, Err("no network".into())));
            }
            Effect::CallTool(call) => return Some(Input::Fetched(call.id, Err("no network".into()))),
            Effect::MediaPass(..)
            | Effect::Subscribe
            | Effect::Drop(_)
            | Effect::Exchange(..)
            | Effect::Emit(_)
            | Effect::Report(_) => {}
            Effect::Music(number, path, rate) => return self.music(number, &path, rate),
            Effect::Ambience(path, ..) => return self.ambience(&path),
            Effect::Record(..) => {
                self.order(ToMedia::Record);
                return Some(Input::Taped);
            }
            Effect::EndRecord => self.order(ToMedia::StopRecording),
            Effect::Finish(record) => self.finish(*record),
        }
        None
    }

    fn finish(&mut self, record: CallRecord) {
        for line in report::record(&record) {
            self.note(line);
        }
        self.records.push(record);
    }

    fn request(&mut self, leg: LegId, request: &LegRequest) -> Option<Input> {
        if let Some(sdp) = described(request) {
            self.ours = sdp.to_owned();
            if let Some(keys) = self.terms.keys(sdp).filter(|_| leg == LegId::MAIN) {
                self.caller.agree(&keys);
            }
        }
        if matches!(request, LegRequest::Digit { .. }) {
            let code = if self.terms.manner.infoless { 405 } else { 200 };
            self.due(self.now + ACK, From::Script, What::Act(Act::Leg(LegEvent::DigitAnswered { code })));
        }
        if let LegRequest::Offer { sdp } = request {
            self.offered(sdp);
        }
        let answers = matches!(request, LegRequest::Answer { .. });
        if answers && self.fate == Fate::GivenUp {
            return Some(Input::LegFailed(leg, Failed::Gone, "the leg is over".into()));
        }
        let answers = answers && self.fate == Fate::Taken;
        if answers && !self.silent_ack {
            let sdp = self.terms.manner.offerless.then(|| self.terms.answer(&self.ours));
            let event = LegEvent::Established { sdp };
            self.due(self.now + ACK, From::Script, What::Act(Act::Leg(event)));
        }
        answers.then_some(Input::AnswerSent(leg))
    }

    fn order(&mut self, order: ToMedia) {
        if let Some(media) = &mut self.media {
            media.handle(self.now, order);
        }
    }

    fn due(&mut self, at: CallTime, from: From, what: What) {
        // Kept in order of time, and of arrival within the same time.
        let place = self.agenda.partition_point(|due| due.at <= at);
        self.agenda.insert(place, Due { at, from, what });
    }

    fn note(&mut self, text: String) {
        self.lines.push(Line { at: self.now, text });
    }
}

/// The key that a packet is the first of.
fn pressed(keys: &mut rtp::Digits, packet: &[u8]) -> Option<char> {
    let rtp = rtp::Rtp::parse(packet).ok().filter(|rtp| rtp.header.payload_type == DIGIT_PAYLOAD)?;
    keys.push(&rtp.header, rtp.payload)
}

/// The description that a request carries.
fn described(request: &LegRequest) -> Option<&str> {
    match request {
        LegRequest::Invite(call) => Some(&call.sdp),
        LegRequest::Ring { sdp } => sdp.as_deref(),
        LegRequest::Answer { sdp } | LegRequest::AnswerReoffer(Ok(sdp)) | LegRequest::Offer { sdp } => {
            Some(sdp)
        }
        LegRequest::Reject { .. }
        | LegRequest::AnswerReoffer(Err(_))
        | LegRequest::Digit { .. }
        | LegRequest::Transfer(_)
        | LegRequest::AnswerTransfer(_)
        | LegRequest::TransferProgress { .. }
        | LegRequest::Hangup { .. } => None,
    }
}

/// The first of a row of times, 20 ms apart, that is not before `now`.
fn after(mut next: CallTime, now: CallTime) -> CallTime {
    while next < now {
        next += FRAME;
    }
    next
}

fn local() -> LocalMedia {
    LocalMedia {
        address: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
        other: None,
        port: 20_000,
        codecs: audio::CODECS.to_vec(),
        telephone_event: true,
        latching: false,
        name: "active-call".into(),
        origin_id: 1,
        signalling: None,
        keys: KeyRing::of_all(&[7; RING_BYTES]),
    }
}
