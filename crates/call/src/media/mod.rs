//! The sound of one call: pure, owned by a media thread, ticked every 20 ms.
//!
//! The path is fixed and reads from top to bottom in [`Media::hear`] and [`Media::speak`]; between the two
//! the thread scores the voice detectors of several calls of its slot in one batch.

mod background;
mod barging;
mod guard;
mod keys;
mod leg;
mod listening;
mod mixing;
pub mod order;
mod pace;
pub(crate) mod raw_leg;
mod recording;
mod rtp_leg;
mod speaking;
mod tap;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use audio::mix::Ducker;
use audio::progress::Progress;
use audio::vad::{Scorer, VadEvent};
use audio::{Frame, prefetch};
use protocol::CallTime;
use providers::Hearing;
use rtp::Quality;
use rtp::watch::{Missing, Watch};

use crate::legs::LegId;
use background::{Ambience, Held, Loop};
use barging::Barging;
use keys::Ear;
use leg::{Leg, LegSound};
pub(crate) use listening::CHUNK_FRAMES;
use listening::{Detector, Door, Listeners};
use order::{DoorId, FromMedia, LegPlan, ToMedia, Way};
pub use pace::Took;
use raw_leg::RawLeg;
use recording::Recording;
use rtp_leg::{Arrived, Report, RtpLeg};
use speaking::Speaking;
use tap::Tap;

/// Events that may wait for a call's rules; a call that does not take them for long is ended by its thread.
/// Speech and positions are few, digits are bounded by their length, so this is never reached in health.
const MOST_EVENTS: usize = 256;

/// Steps of [`Media::prefetch`].
pub(crate) const DEPTHS: usize = 4;

/// Longest hold: a call whose far end holds it and has died must not keep its place for ever.
const LONGEST_HOLD: Duration = Duration::from_secs(30 * 60);

/// How often the quality of a leg is told.
const QUALITY_EVERY: Duration = Duration::from_secs(10);

/// Samples of a frame at the highest rate that calls compute in.
const LONGEST_FRAME: usize = Frame::len_at(16_000);

/// One call's sound.
pub struct Media {
    rate: u32,
    legs: Vec<(LegId, Leg)>,
    /// Where the party was that spoke on a leg until another took its place.
    former: Option<(LegId, SocketAddr)>,
    speaking: Speaking,
    listeners: Listeners,
    progress: Option<Box<Progress>>,
    ambience: Option<Ambience>,
    /// We hold the main leg.
    held: Option<Held>,
    barging: Barging,
    recording: Option<Recording>,
    tap: Option<Tap>,
    mute_heard: bool,
    mute_server: bool,
    /// Looks whether anything comes from the main leg.
    watch: Option<Watch>,
    /// When anything came from the main leg last.
    sign: CallTime,
    /// What the main leg says in this tick.
    heard: Vec<i16>,
    events: VecDeque<FromMedia>,
    hearing: VecDeque<(DoorId, Hearing)>,
    seconds: VecDeque<Vec<i16>>,
    out: VecDeque<Transmit>,
}

/// Bytes for a leg's connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Transmit {
    /// A datagram.
    Datagram(LegId, SocketAddr, Vec<u8>),
    /// A report, by the socket that is for them.
    Report(LegId, SocketAddr, Vec<u8>),
    /// A message of 20 ms.
    Message(LegId, Vec<u8>),
}

impl Transmit {
    fn report(leg: LegId, report: Report) -> Self {
        let Report { to, shared, bytes } = report;
        if shared { Transmit::Datagram(leg, to, bytes) } else { Transmit::Report(leg, to, bytes) }
    }
}

/// Moves the oldest sound of `from` into `to`; both hold enough.
fn take(from: &mut VecDeque<i16>, to: &mut [i16]) {
    let (first, second) = from.as_slices();
    let split = first.len().min(to.len());
    let (head, tail) = to.split_at_mut(split);
    head.copy_from_slice(&first[..split]);
    let wrapped = tail.len().min(second.len());
    tail[..wrapped].copy_from_slice(&second[..wrapped]);
    from.drain(..split + wrapped);
}

impl Media {
    /// Sound at `rate` Hz: 8000 or 16000. Legs, detector and recording convert from and to it.
    pub fn new(rate: u32) -> Self {
        Media {
            rate,
            legs: Vec::new(),
            former: None,
            speaking: Speaking::new(rate),
            listeners: Listeners::default(),
            progress: None,
            ambience: None,
            held: None,
            barging: Barging::default(),
            recording: None,
            tap: None,
            mute_heard: false,
            mute_server: false,
            watch: None,
            sign: CallTime::ZERO,
            heard: vec![0; Frame::len_at(rate)],
            events: VecDeque::new(),
            hearing: VecDeque::new(),
            seconds: VecDeque::new(),
            out: VecDeque::new(),
        }
    }

    /// Takes in a datagram of an RTP leg that came from `from`; it is decrypted in place.
    pub fn datagram(&mut self, now: CallTime, leg: LegId, from: SocketAddr, bytes: &mut [u8]) -> Took {
        let Some((_, found)) = self.legs.iter_mut().find(|(id, _)| *id == leg) else { return Took::Foreign };
        let LegSound::Rtp(rtp) = &mut found.sound else { return Took::Foreign };
        let arrived = rtp.receive(now, from, bytes);
        let took = rtp.took(&arrived);
        self.arrived(now, leg, arrived);
        took
    }

    /// Takes in a message of a WebSocket leg.
    pub fn message(&mut self, now: CallTime, leg: LegId, bytes: &[u8]) {
        let Some((_, found)) = self.legs.iter_mut().find(|(id, _)| *id == leg) else { return };
        let LegSound::Raw(raw) = &mut found.sound else { return };
        let arrived = if raw.receive(bytes) { Arrived::Sound } else { Arrived::Foreign };
        self.arrived(now, leg, arrived);
    }

    fn arrived(&mut self, now: CallTime, leg: LegId, arrived: Arrived) {
        let Some((_, found)) = self.legs.iter_mut().find(|(id, _)| *id == leg) else { return };
        match arrived {
            Arrived::Foreign => return,
            Arrived::Digit(digit) => self.events.push_back(FromMedia::Digit(leg, digit, Way::Event)),
            Arrived::Sound if !found.fresh => {
                found.fresh = true;
                self.events.push_back(FromMedia::FirstSound(leg));
            }
            Arrived::Sound | Arrived::Sign => {}
        }
        if leg == LegId::MAIN {
            self.sign = now;
            if let Some(watch) = &mut self.watch {
                watch.heard(now);
            }
        }
    }

    /// Asks for the memory of the next tick: `depth` 0 of what the call points to, up to [`DEPTHS`] of what lies behind.
    pub(crate) fn prefetch(&self, depth: usize) {
        self.speaking.prefetch(depth);
        self.listeners.prefetch(depth);
        if depth == 0 {
            prefetch(&self.legs[..]);
            prefetch(&self.heard[..]);
        }
        for (_, leg) in self.legs.iter().filter(|_| depth > 0) {
            match (&leg.sound, depth) {
                (LegSound::Rtp(rtp), 1) => prefetch(&**rtp),
                (LegSound::Raw(raw), 1) => prefetch(&**raw),
                (LegSound::Rtp(rtp), _) => rtp.prefetch(depth - 2),
                (LegSound::Raw(_), _) => {}
            }
        }
    }

    /// First half of a tick: takes 20 ms of every leg, cleans it, and shows it to the detectors.
    pub fn hear(&mut self, now: CallTime) {
        let alone = self.legs.len() == 1;
        for (id, leg) in &mut self.legs {
            let main = *id == LegId::MAIN;
            // Nobody else hears a main leg that is alone: no copy of it is needed.
            let heard = if alone && main { &mut self.heard } else { &mut leg.heard };
            match &mut leg.sound {
                LegSound::Rtp(rtp) => rtp.hear(now, heard),
                LegSound::Raw(raw) => self.events.extend(raw.hear(heard).map(FromMedia::Overrun)),
            }
            if main && self.held.is_some() {
                heard.fill(0);
            }
            if let Some(ear) = &mut leg.ear {
                let tones = ear.hear(heard, leg.sound.runs());
                self.events.extend(tones.map(|digit| FromMedia::Digit(*id, digit, Way::Tone)));
            }
            if main && self.mute_heard {
                heard.fill(0);
            }
            // Before it is cleaned: the tones of a line are steady, and would be taken for noise.
            if let Some(progress) = self.progress.as_mut().filter(|_| main) {
                progress.hear(heard);
            }
            if let Some(listening) = self.listeners.known(*id) {
                listening.clean(heard);
            }
        }
        match self.legs.iter().find(|(id, _)| *id == LegId::MAIN) {
            Some(_) if alone => {}
            Some((_, main)) => self.heard.copy_from_slice(&main.heard),
            None => self.hear_nothing(),
        }
        self.show(now);
    }

    /// Nobody is there on the main leg.
    fn hear_nothing(&mut self) {
        self.heard.fill(0);
        if let Some(progress) = &mut self.progress {
            progress.hear(&self.heard);
        }
    }

    /// Shows what was heard to the detectors and recognizers.
    fn show(&mut self, now: CallTime) {
        let mut found = None;
        for listening in self.listeners.all() {
            let leg = listening.leg();
            let second = self.legs.iter().find(|(id, _)| *id == leg && leg != LegId::MAIN);
            let heard = second.map_or(&self.heard, |(_, leg)| &leg.heard);
            let event = listening.hear(now, heard, &mut self.hearing);
            found = found.or(event.filter(|_| leg == LegId::MAIN));
        }
        if let Some(event) = found {
            self.tell_speech(event);
        }
    }

    /// A detector that has a window to score. After scoring, [`Media::scored`] takes the number.
    pub fn scorer(&mut self) -> Option<&mut Scorer> {
        self.listeners.scorer()
    }

    /// Takes the score of the window that was ready.
    pub fn scored(&mut self, speech: f32) {
        if let Some((LegId::MAIN, event)) = self.listeners.scored(speech, &mut self.hearing) {
            self.tell_speech(event);
        }
    }

    /// Second half of a tick: barge-in, what the server says, the mix for every leg, the recording.
    pub fn speak(&mut self, now: CallTime) {
        let voice = self.listeners.known(LegId::MAIN).and_then(|main| main.voice());
        self.barging.tick(now, voice, &mut self.speaking);
        if let Some(progress) = &mut self.progress {
            progress.tick(now, voice);
            self.events.extend(std::iter::from_fn(|| progress.poll()).map(FromMedia::Found));
        }
        // Of no use to the next tick: on the stack they stay near the processor, where those of a thousand calls would not.
        let [mut said, mut sent] = [[0; LONGEST_FRAME]; 2];
        let length = self.heard.len().min(LONGEST_FRAME);
        let (said, sent) = (&mut said[..length], &mut sent[..length]);
        // While the call is on hold nothing is played: it would be taken for heard.
        let mut any = self.is_heard() && self.speaking.fill(now, said);
        while let Some(event) = self.speaking.poll() {
            self.events.push_back(event);
        }
        if let Some(ambience) = self.ambience.as_mut().filter(|_| self.held.is_none()) {
            ambience.add(any, said);
            any = true;
        }
        if self.mute_server {
            said.fill(0);
        }
        self.send(now, any, said, sent);
        if let Some(tap) = &mut self.tap {
            tap.tick(sent, &self.heard, &mut self.out);
        }
        self.tell_quality(now, QUALITY_EVERY);
        if let Some(recording) = &mut self.recording {
            self.seconds.extend(recording.tick(&self.heard, sent));
        }
        self.watch(now);
    }

    /// A whole tick, scoring alone. The media thread calls the halves to score many calls at once.
    pub fn tick(&mut self, now: CallTime) {
        self.hear(now);
        while let Some(scorer) = self.scorer() {
            let speech = scorer.score();
            self.scored(speech);
        }
        self.speak(now);
    }

    /// Carries out an order.
    pub fn handle(&mut self, now: CallTime, order: ToMedia) {
        match order {
            ToMedia::Leg(id, plan) => self.plan(now, id, plan),
            ToMedia::Remove(id) => {
                self.say_bye(now, |leg| leg == id);
                self.tell_quality(now, Duration::ZERO);
                self.legs.retain(|(leg, _)| *leg != id);
                if id != LegId::MAIN {
                    self.listeners.forget(id);
                }
            }
            ToMedia::Renew(id) => self.renew(id),
            ToMedia::Settle => {
                self.tell_quality(now, Duration::ZERO);
                self.events.push_back(FromMedia::Settled);
            }
            ToMedia::Vad(id, kind, settings) => {
                self.listeners.of(id).detect(Detector::new(kind, settings, self.rate, now));
            }
            ToMedia::Follow(settings) => {
                self.progress = Some(Box::new(Progress::new(settings, self.rate, now)));
            }
            ToMedia::Answered => {
                if let Some(progress) = &mut self.progress {
                    progress.answered(now);
                }
            }
            ToMedia::Clean(id, cleaning) => self.listeners.of(id).clean_of(cleaning, self.rate),
            ToMedia::Listen(id, door, rate) => self.listeners.of(id).open(Door::new(door, self.rate, rate)),
            ToMedia::Pass { door, rate, frames } => {
                let door = Door::new(door, self.rate, rate).in_chunks_of(frames);
                self.listeners.of(LegId::MAIN).open(door);
            }
            ToMedia::Deaf(door) => self.listeners.all().for_each(|listening| listening.close(door)),
            ToMedia::Play(id, rate, samples) => self.speaking.push(id, rate, &samples),
            ToMedia::WordEnds(id, ends) => self.speaking.words_end(id, &ends),
            ToMedia::End(id) => self.speaking.end(id),
            ToMedia::Interrupt { below, fade } => {
                self.speaking.interrupt(below, fade, false);
                // What was held is gone; what comes next is not held.
                self.speaking.pause(false);
            }
            ToMedia::Cut { utterance, at } => self.speaking.cut(utterance, at),
            ToMedia::Pause(on) => self.speaking.pause(on),
            ToMedia::Arm(rule) => self.barging.arm(rule),
            ToMedia::Yield(id, since) => self.barging.give_way(id, since),
            ToMedia::Mute { server: true, on } => self.mute_server = on,
            ToMedia::Mute { server: false, on } => self.mute_heard = on,
            ToMedia::Digits(id, dialled) => {
                let leg = self.legs.iter_mut().find(|(leg, _)| *leg == id);
                if let Some((_, Leg { sound: LegSound::Rtp(rtp), .. })) = leg {
                    rtp.dial(&dialled);
                }
            }
            ToMedia::Watch(patience) => {
                let mut watch = Watch::new(now, patience);
                if self.legs.iter().any(|(id, leg)| *id == LegId::MAIN && leg.fresh) {
                    watch.heard(now);
                }
                (self.watch, self.sign) = (Some(watch), now);
            }
            ToMedia::Ambience(rate, sound, ducking) => {
                self.ambience = Ambience::new(&sound, (rate, self.rate), Ducker::new(ducking));
            }
            ToMedia::Hold(number) => self.held = number.map(|number| Held { number, music: None }),
            ToMedia::Music(number, sound) => {
                if let Some(held) = self.held.as_mut().filter(|held| held.number == number) {
                    held.music = Loop::new(sound);
                }
            }
            ToMedia::Record => self.recording = Some(Recording::new(self.rate)),
            ToMedia::PauseRecording(on) => {
                self.recording.iter_mut().for_each(|recording| recording.pause(on));
            }
            ToMedia::Subscribe => self.tap = Some(Tap::new(self.rate)),
            ToMedia::StopRecording => {
                if let Some(recording) = self.recording.take() {
                    self.seconds.push_back(recording.finish());
                }
            }
        }
    }

    /// The call's sound ends: what is left of the recording and the last reports go out.
    pub fn finish(&mut self, now: CallTime) {
        self.handle(now, ToMedia::StopRecording);
        self.say_bye(now, |_| true);
    }

    /// The quality of every RTP leg since it began.
    pub fn quality(&self) -> impl Iterator<Item = (LegId, Quality)> {
        self.legs.iter().filter_map(|(id, leg)| match &leg.sound {
            LegSound::Rtp(rtp) => Some((*id, rtp.quality())),
            LegSound::Raw(_) => None,
        })
    }

    fn tell_quality(&mut self, now: CallTime, every: Duration) {
        for (id, leg) in &mut self.legs {
            if let LegSound::Rtp(rtp) = &leg.sound
                && now.since(leg.told) >= every
            {
                leg.told = now;
                self.events.push_back(FromMedia::Quality(*id, rtp.quality()));
            }
        }
    }

    fn say_bye(&mut self, now: CallTime, of: impl Fn(LegId) -> bool) {
        for (id, leg) in self.legs.iter_mut().filter(|(id, _)| of(*id)) {
            if let LegSound::Rtp(rtp) = &mut leg.sound {
                self.out.extend(rtp.bye(now).map(|report| Transmit::report(*id, report)));
            }
        }
    }

    /// The next event for the rules.
    pub fn poll(&mut self) -> Option<FromMedia> {
        self.events.pop_front()
    }

    /// Whether the rules are about to hear that an utterance is over.
    pub fn utterance_over(&self) -> bool {
        let over = |event: &FromMedia| matches!(event, FromMedia::Ended(..) | FromMedia::Stopped { .. });
        self.events.iter().any(over)
    }

    /// Whether there are events and all of them can wait.
    pub(crate) fn can_wait(&self) -> bool {
        !self.events.is_empty() && self.events.iter().all(FromMedia::can_wait)
    }

    /// Puts an event back that could not be delivered; `false` when too many wait.
    pub fn unpoll(&mut self, event: FromMedia) -> bool {
        self.events.push_front(event);
        self.events.len() <= MOST_EVENTS
    }

    /// The next sound or mark for a recognizer.
    pub fn poll_hearing(&mut self) -> Option<(DoorId, Hearing)> {
        self.hearing.pop_front()
    }

    /// The next buffer of the recording: at most a second, interleaved stereo.
    pub fn poll_recording(&mut self) -> Option<Vec<i16>> {
        self.seconds.pop_front()
    }

    /// A second of the recording could not be written.
    pub fn lost_second(&mut self) {
        self.events.push_back(FromMedia::TapeLost);
    }

    /// The next bytes for a connection.
    pub fn transmit(&mut self) -> Option<Transmit> {
        self.out.pop_front()
    }

    /// SSRC of what a leg is sent; 0 where there is none.
    pub fn ssrc(&self, leg: LegId) -> u32 {
        self.rtp(leg).map_or(0, RtpLeg::ssrc)
    }

    /// What the jitter buffer of a leg has seen.
    pub fn stats(&self, leg: LegId) -> Option<audio::jitter::Stats> {
        self.rtp(leg).map(RtpLeg::stats)
    }

    fn rtp(&self, leg: LegId) -> Option<&RtpLeg> {
        match self.legs.iter().find(|(id, _)| *id == leg) {
            Some((_, Leg { sound: LegSound::Rtp(rtp), .. })) => Some(rtp),
            _ => None,
        }
    }

    fn plan(&mut self, now: CallTime, id: LegId, plan: LegPlan) {
        if id == LegId::MAIN {
            self.sign = now;
            if let Some(watch) = &mut self.watch {
                // Other media need their time to begin; the next tick goes on waiting.
                watch.pause(now, true);
            }
        }
        let known = self.legs.iter_mut().find(|(leg, _)| *leg == id);
        let sound = match (known, plan) {
            (Some((_, Leg { sound: LegSound::Rtp(rtp), ear, .. })), LegPlan::Rtp(plan)) => {
                rtp.retarget(*plan);
                let listens = !rtp.has_events();
                if listens != ear.is_some() {
                    *ear = listens.then(|| Ear::new(self.rate));
                }
                return;
            }
            (_, LegPlan::Rtp(plan)) => {
                let rtp = RtpLeg::new(now, *plan, self.rate);
                let former = self.former.filter(|(leg, _)| *leg == id);
                LegSound::Rtp(Box::new(match former {
                    Some((_, address)) => rtp.without(address),
                    None => rtp,
                }))
            }
            (_, LegPlan::Raw { heard, sent }) => LegSound::Raw(Box::new(RawLeg::new(heard, sent, self.rate))),
        };
        self.legs.retain(|(leg, _)| *leg != id);
        self.legs.push((id, Leg::new(now, sound, self.rate)));
    }

    /// Lets go of what was learned of a party whose place another takes.
    fn renew(&mut self, id: LegId) {
        let Some(at) = self.legs.iter().position(|(leg, _)| *leg == id) else { return };
        if let (_, Leg { sound: LegSound::Rtp(rtp), .. }) = self.legs.swap_remove(at) {
            self.former = rtp.remote().map(|address| (id, address));
        }
    }

    /// Tells what the main leg's detector has found.
    fn tell_speech(&mut self, event: VadEvent) {
        self.barging.heard(&event);
        self.events.push_back(FromMedia::Speech(event));
    }

    /// Tells once that nothing comes. A far end that holds us is silent by right, but not for ever.
    fn watch(&mut self, now: CallTime) {
        let expected = self.expects_sound();
        let Some(watch) = &mut self.watch else { return };
        watch.pause(now, !expected);
        let dead = !expected && now.since(self.sign) >= LONGEST_HOLD;
        if let Some(missing) = watch.missing(now).or(dead.then_some(Missing::Next)) {
            self.watch = None;
            self.events.push_back(FromMedia::Inactive(missing));
        }
    }

    /// Whether silence of the main leg means that it is gone: not while it holds us.
    fn expects_sound(&self) -> bool {
        match self.legs.iter().find(|(id, _)| *id == LegId::MAIN) {
            Some((_, Leg { sound: LegSound::Rtp(rtp), .. })) => rtp.expects(),
            Some(_) => true,
            None => false,
        }
    }

    /// Whether the main leg hears what we say: not while it holds us, or we hold it.
    fn is_heard(&self) -> bool {
        self.held.is_none() && self.rtp(LegId::MAIN).is_none_or(RtpLeg::sends)
    }
}
