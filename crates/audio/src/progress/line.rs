//! What a line sounds like, by the frequency and the cadence of its tones (ITU-T E.180 and its list of the tones of
//! countries) and by the voices on it.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::CallTime;

use super::tones::Tone;

/// Pulses that are remembered: enough for eight beats of a busy tone.
const PULSES: usize = 8;
/// A hole in a tone that is a lost packet and no pause.
const HOLE: Duration = Duration::from_millis(60);
/// A tone this far beside the one before is another one, in Hz.
const STEADY_HZ: f32 = 25.0;
/// What is shorter is no tone of a line.
const SHORTEST: Duration = Duration::from_millis(100);
/// Tones that networks ring, are busy and dial with.
const NETWORK_HZ: std::ops::RangeInclusive<f32> = 340.0..=640.0;
/// Tones that ring; those of a busy line may lie higher.
const RING_HZ: std::ops::RangeInclusive<f32> = 370.0..=520.0;
/// Length of a beat of a busy line and of the pause behind it.
const BEAT: std::ops::RangeInclusive<Duration> = Duration::from_millis(150)..=Duration::from_millis(800);
/// Length of a ring.
const RING: std::ops::RangeInclusive<Duration> = Duration::from_millis(300)..=Duration::from_secs(3);
/// Some countries ring twice, none oftener before a long pause; the quiet behind more beats is that of a busy line.
const MOST_RINGS_IN_A_ROW: usize = 2;
/// A pause that comes only between rings.
const RING_PAUSE: Duration = Duration::from_millis(1_200);
/// After so long without a ring the line no longer rings.
const RING_OVER: Duration = Duration::from_millis(6_500);
/// A tone that goes on and on is there to be dialled over.
const DIAL: Duration = Duration::from_secs(6);
/// The three tones of special information (ITU-T E.180 section 6), in Hz.
const SPECIAL_HZ: [std::ops::RangeInclusive<f32>; 3] = [850.0..=1050.0, 1300.0..=1500.0, 1650.0..=1850.0];
/// How long they are remembered: an announcement follows.
const SPECIAL_KEPT: Duration = Duration::from_secs(10);
/// What a fax answers with and calls with (ITU-T T.30), in Hz and at least.
const FAX: [(std::ops::RangeInclusive<f32>, Duration); 2] =
    [(2060.0..=2140.0, Duration::from_millis(1_000)), (1075.0..=1125.0, Duration::from_millis(420))];
const FAX_KEPT: Duration = Duration::from_secs(4);
/// Voice in the last two seconds that makes a voice on the line.
const VOICE: Duration = Duration::from_millis(400);
/// Voice that ends the memory of tones.
const VOICE_CLEARS: Duration = Duration::from_millis(300);
const FRAME: Duration = Duration::from_millis(20);
/// Frames of two seconds.
const RECENT: u32 = 100;
/// So long without anything is silence.
const SILENT: Duration = Duration::from_secs(2);

/// What a line sounds like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Nothing that is known.
    Unknown,
    /// Nothing for two seconds.
    Silence,
    /// A steady tone.
    DialTone,
    /// The other party's telephone rings.
    Ringing,
    /// Busy or congested.
    Busy,
    /// The three rising tones before an announcement: the number cannot be reached.
    Special,
    /// A fax.
    Fax,
    /// Someone speaks.
    Voice,
}

/// Wire name and number of each; those of ringing and voice are what clients know.
const NAMES: [(Line, &str, u32); 8] = [
    (Line::Unknown, "unknown", 0),
    (Line::Silence, "silence", 1),
    (Line::DialTone, "dial_tone", 2),
    (Line::Ringing, "ringing", 3),
    (Line::Busy, "busy_tone", 4),
    (Line::Special, "special_information", 5),
    (Line::Fax, "fax", 6),
    (Line::Voice, "human_voice", 9),
];

impl Line {
    /// Its name in events.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Its number in events.
    pub fn index(self) -> u32 {
        self.row().2
    }

    /// Whether the network makes this sound, and not who answers.
    pub fn of_network(self) -> bool {
        matches!(self, Line::Ringing | Line::Busy | Line::Special | Line::DialTone)
    }

    fn row(self) -> (Line, &'static str, u32) {
        NAMES.into_iter().find(|row| row.0 == self).unwrap_or((self, "unknown", 0))
    }
}

/// A stretch of one tone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pulse {
    pub(super) hz: f32,
    pub(super) from: CallTime,
    pub(super) to: CallTime,
    /// Frames of it, and those with two tones.
    frames: u32,
    doubles: u32,
}

impl Pulse {
    pub(super) fn length(&self) -> Duration {
        self.to - self.from
    }

    /// Whether it has two tones: where one follows another, a frame has both.
    pub(super) fn double(&self) -> bool {
        self.doubles * 2 > self.frames
    }
}

/// The tones and voices of the last seconds.
#[derive(Debug)]
pub(super) struct Cadence {
    began: CallTime,
    pulses: VecDeque<Pulse>,
    current: Option<Pulse>,
    /// Voice in the last frames, a bit each.
    voiced: u128,
    /// Voice since the last tone.
    voice: Duration,
    last_sound: CallTime,
}

impl Cadence {
    pub(super) fn new(now: CallTime) -> Self {
        Cadence {
            began: now,
            pulses: VecDeque::new(),
            current: None,
            voiced: 0,
            voice: Duration::ZERO,
            last_sound: now,
        }
    }

    /// Takes what was heard in the 20 ms before `now`: a tone, whether it was loud at all, and a voice.
    pub(super) fn hear(&mut self, now: CallTime, (tone, loud): (Option<Tone>, bool), voice: bool) {
        let voice = voice && tone.is_none() && self.current.is_none();
        self.voiced = (self.voiced << 1) | u128::from(voice);
        if voice || loud || tone.is_some() {
            self.last_sound = now;
        }
        match tone {
            Some(tone) => self.tone(now, tone),
            None => self.no_tone(now, voice),
        }
    }

    fn tone(&mut self, now: CallTime, tone: Tone) {
        if let Some(pulse) = self.current.as_mut().filter(|pulse| (pulse.hz - tone.hz).abs() <= STEADY_HZ) {
            pulse.to = now;
            pulse.frames += 1;
            pulse.doubles += u32::from(tone.double);
            pulse.hz += (tone.hz - pulse.hz) * 0.2;
            return;
        }
        self.finish();
        let doubles = u32::from(tone.double);
        self.current = Some(Pulse { hz: tone.hz, from: now.back(FRAME), to: now, frames: 1, doubles });
    }

    fn no_tone(&mut self, now: CallTime, voice: bool) {
        if self.current.is_some_and(|pulse| now.since(pulse.to) > HOLE) {
            self.finish();
        }
        if voice {
            self.voice += FRAME;
            if self.voice >= VOICE_CLEARS {
                self.pulses.clear();
            }
        }
    }

    fn finish(&mut self) {
        let Some(pulse) = self.current.take().filter(|pulse| pulse.length() >= SHORTEST) else { return };
        self.voice = Duration::ZERO;
        if self.pulses.len() == PULSES {
            self.pulses.pop_front();
        }
        self.pulses.push_back(pulse);
    }

    /// The tone that has just ended or sounds, with whether it has ended.
    pub(super) fn last_pulse(&self) -> Option<(Pulse, bool)> {
        self.current.map(|pulse| (pulse, false)).or_else(|| self.pulses.back().map(|pulse| (*pulse, true)))
    }

    /// What the line sounds like, and how sure that is, 0 to 1.
    pub(super) fn judge(&self, now: CallTime) -> (Line, f32) {
        let all: Vec<Pulse> = self.pulses.iter().copied().chain(self.current).collect();
        special(&all, now)
            .or_else(|| fax(&all, now))
            .or_else(|| busy(&all, now))
            .or_else(|| ringing(&all, now))
            .or_else(|| self.dial_tone())
            .or_else(|| self.voice())
            .unwrap_or(self.silence(now))
    }

    fn dial_tone(&self) -> Option<(Line, f32)> {
        let pulse = self.current.filter(|pulse| NETWORK_HZ.contains(&pulse.hz))?;
        (pulse.length() >= DIAL).then_some((Line::DialTone, 0.9))
    }

    fn voice(&self) -> Option<(Line, f32)> {
        let frames = (self.voiced & ((1 << RECENT) - 1)).count_ones();
        let share = frames as f32 / RECENT as f32;
        (FRAME * frames >= VOICE).then(|| (Line::Voice, (0.7 + 0.4 * share).min(0.99)))
    }

    fn silence(&self, now: CallTime) -> (Line, f32) {
        let quiet = now.since(self.last_sound.max(self.began));
        if quiet >= SILENT { (Line::Silence, 0.9) } else { (Line::Unknown, 0.5) }
    }
}

fn special(pulses: &[Pulse], now: CallTime) -> Option<(Line, f32)> {
    let found = pulses.windows(3).rev().find(|three| {
        let heights =
            three.iter().zip(&SPECIAL_HZ).all(|(pulse, hz)| hz.contains(&pulse.hz) && !pulse.double());
        let lengths = three.iter().all(|pulse| BEAT.contains(&pulse.length()));
        let close = three.windows(2).all(|two| two[1].from.since(two[0].to) < Duration::from_millis(120));
        heights && lengths && close
    })?;
    (now.since(found.last()?.to) < SPECIAL_KEPT).then_some((Line::Special, 0.97))
}

fn fax(pulses: &[Pulse], now: CallTime) -> Option<(Line, f32)> {
    let pulse = pulses.last().filter(|pulse| !pulse.double() && now.since(pulse.to) < FAX_KEPT)?;
    let known = FAX.iter().any(|(hz, least)| hz.contains(&pulse.hz) && pulse.length() >= *least);
    known.then_some((Line::Fax, 0.9))
}

/// Beats of one length and height with pauses of such lengths: three at least.
fn busy(pulses: &[Pulse], now: CallTime) -> Option<(Line, f32)> {
    let last = pulses.last()?;
    if now.since(last.to) > *BEAT.end() + HOLE || !NETWORK_HZ.contains(&last.hz) {
        return None;
    }
    // The beat that sounds may not have its length yet.
    let (whole, sounding) =
        if now.since(last.to) <= HOLE { (&pulses[..pulses.len() - 1], 1) } else { (pulses, 0) };
    let example = whole.last()?;
    let alike = |pulse: &Pulse| {
        let (a, b) = (pulse.length().as_secs_f32(), example.length().as_secs_f32());
        BEAT.contains(&pulse.length())
            && (a - b).abs() <= 0.3 * a.max(b)
            && (pulse.hz - last.hz).abs() <= STEADY_HZ
    };
    let mut beats = sounding;
    let mut next_from = if sounding == 1 { last.from } else { now };
    for (at, pulse) in whole.iter().enumerate().rev() {
        let pause = next_from.since(pulse.to);
        let newest = sounding == 0 && at == whole.len() - 1;
        if !alike(pulse) || !(newest || BEAT.contains(&pause)) {
            break;
        }
        beats += 1;
        next_from = pulse.from;
    }
    let sure = match beats {
        0..=2 => return None,
        3 => 0.75,
        4 => 0.9,
        _ => 0.97,
    };
    Some((Line::Busy, sure))
}

/// How many of the last pulses came as those of a busy line, one soon after the other.
fn beats(pulses: &[Pulse]) -> usize {
    let close = |two: &&[Pulse]| {
        BEAT.contains(&two[1].from.since(two[0].to))
            && BEAT.contains(&two[0].length())
            && BEAT.contains(&two[1].length())
    };
    1 + pulses.windows(2).rev().take_while(close).count()
}

/// Rings with long pauses behind them; surer with each.
fn ringing(pulses: &[Pulse], now: CallTime) -> Option<(Line, f32)> {
    let rings: Vec<&Pulse> =
        pulses.iter().filter(|pulse| RING_HZ.contains(&pulse.hz) && RING.contains(&pulse.length())).collect();
    let last = rings.last()?;
    if now.since(last.to) > RING_OVER || pulses.last().is_some_and(|pulse| !RING_HZ.contains(&pulse.hz)) {
        return None;
    }
    if beats(pulses) > MOST_RINGS_IN_A_ROW {
        return None;
    }
    let ends = rings.iter().skip(1).map(|ring| ring.from).chain([now]);
    let pauses = rings.iter().zip(ends).filter(|(ring, next)| next.since(ring.to) >= RING_PAUSE).count();
    match pauses {
        0 if last.length() >= Duration::from_millis(800) => Some((Line::Ringing, 0.6)),
        0 => None,
        1 => Some((Line::Ringing, 0.85)),
        2 => Some((Line::Ringing, 0.94)),
        _ => Some((Line::Ringing, 0.98)),
    }
}
