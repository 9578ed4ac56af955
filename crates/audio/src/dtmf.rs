//! Telephone digits as tones in the sound. Digits as RTP events (RFC 4733) live in the `rtp` crate.

use std::f32::consts::TAU;
use std::time::Duration;

/// Low tones in Hz, one per row of the key pad.
const ROWS: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
/// High tones in Hz, one per column.
const COLUMNS: [f32; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
/// The key pad.
const KEYS: [[char; 4]; 4] =
    [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];

/// Sound is judged in blocks of 12.75 ms: long enough to tell 697 from 770 Hz, short enough that a tone
/// 1.5 % beside its nominal frequency (ITU-T Q.24) is still within the block's bandwidth.
const BLOCK_US: usize = 12_750;
/// Each tone has at least this amplitude, 42 dB below full scale.
const FAINTEST: f32 = 260.0;

/// How a block with a digit looks.
struct Looks {
    /// How many times louder than the low tone the high one is at most, in power.
    twist: f32,
    /// The same the other way round.
    reverse_twist: f32,
    /// A tone has this many times the power of the others in its group.
    peak: f32,
    /// Share of the block's power that the two tones make up. A voice spreads over its harmonics.
    purity: f32,
}

/// As it was said: 8 dB and 6 dB.
const CLEAN: Looks = Looks { twist: 6.3, reverse_twist: 4.0, peak: 6.3, purity: 0.7 };
/// Behind lost sound, where a decoder that has lost its way bends what goes through it: 16 dB.
const SPOILED: Looks = Looks { twist: 40.0, reverse_twist: 40.0, peak: 2.0, purity: 0.35 };
/// Share from which on a block counts as [`CLEAR`].
const CLEAR_PURITY: f32 = 0.85;
/// Weight of a block in which there is little but the two tones.
const CLEAR: u8 = 2;
/// Weight of a block with noise or with tones beside their frequencies, as a voice may also have it.
const DIM: u8 = 1;
/// Weight of neighbouring blocks that makes a digit: 40 ms of clear tone always fill two blocks, 65 ms of
/// any tone four.
const CERTAIN: u8 = 4;
/// Blocks without it that end it: a pause of 40 ms always spoils three, a hole of 20 ms two.
const MISSES: usize = 3;
/// A tone that goes on behind lost sound of this length is the same digit: three packets of 20 ms. The more is lost the
/// likelier the pause between two was in it.
const LONGEST_HOLE: Duration = Duration::from_millis(60);
/// Behind lost sound what was made up is blended with what is real for 4 ms, and later by the delay of a resampler.
const SETTLING: Duration = Duration::from_millis(6);
/// A decoder that predicts each sound from the last finds its way again within this time behind lost sound.
const ASTRAY: Duration = Duration::from_millis(120);
/// So many blocks in a row may be spoiled and stand for the tone that goes on; further ones are a voice.
const MOST_SPOILED: u8 = 3;
/// What is left of the power of a tone when it is over, at most.
const REST_OF_POWER: f32 = 0.03;

/// Hears digits in a stream of mono sound.
pub struct Detector {
    /// 2 cos of each tone's step per sample, rows before columns.
    steps: [f32; 8],
    bank: Bank,
    rate: u32,
    /// Samples in a block.
    block: usize,
    /// The digit heard at present, which is reported already.
    digit: Option<char>,
    /// Blocks since it was heard last that are something else.
    misses: usize,
    /// Samples since then that were lost.
    lost: usize,
    /// Samples to come that are partly made up.
    settling: usize,
    /// Samples to come that a decoder which has lost its way may have spoiled.
    astray: usize,
    /// Blocks in a row that a lost decoder may have spoiled.
    spoiled: u8,
    /// Power of the last block that a digit was heard in.
    power: f32,
    candidate: Option<char>,
    weight: u8,
}

/// The state of eight Goertzel filters within a block.
#[derive(Clone, Copy, Default)]
struct Bank {
    last: [f32; 8],
    before: [f32; 8],
    energy: f32,
    filled: usize,
}

impl Detector {
    /// A detector for sound of `rate` Hz, 8000 or more.
    pub fn new(rate: u32) -> Self {
        let rate = rate.max(8000);
        let mut steps = [0.0; 8];
        for (step, hz) in steps.iter_mut().zip(ROWS.iter().chain(&COLUMNS)) {
            *step = 2.0 * (TAU * hz / rate as f32).cos();
        }
        Detector {
            steps,
            bank: Bank::default(),
            rate,
            block: rate as usize * BLOCK_US / 1_000_000,
            digit: None,
            misses: 0,
            lost: 0,
            settling: 0,
            astray: 0,
            spoiled: 0,
            power: 0.0,
            candidate: None,
            weight: 0,
        }
    }

    /// Hears `pcm` and appends every digit that begins in it to `digits`, each once however long it lasts.
    pub fn push(&mut self, pcm: &[i16], digits: &mut String) {
        let settled = self.settling.min(pcm.len());
        self.settling -= settled;
        let mut rest = pcm.get(settled..).unwrap_or_default();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(self.block - self.bank.filled));
            self.bank.run(&self.steps, now);
            rest = later;
            if self.bank.filled == self.block {
                let bank = std::mem::take(&mut self.bank);
                let heard = match self.astray {
                    0 => bank.digit(&self.steps, &CLEAN),
                    _ => self.digit_astray(&bank),
                };
                // What sounds like a tone that goes on may have been a clear one, but not for long.
                let may_be = self.astray > 0 && heard.is_none() && self.spoiled < MOST_SPOILED;
                let is_spoiled = may_be && self.goes_on(&bank);
                self.spoiled = if is_spoiled { self.spoiled + 1 } else { 0 };
                self.astray = self.astray.saturating_sub(self.block);
                if heard.is_some() {
                    self.power = bank.energy;
                }
                if !is_spoiled {
                    digits.extend(self.judge(heard));
                }
            }
        }
    }

    /// Passes over as many samples that were lost on their way: nobody knows what they were. Up to 60 ms of a digit are
    /// neither part of a tone nor a pause: what is heard on both sides of them counts together.
    pub fn pass_over(&mut self, samples: usize) {
        self.bank = Bank::default();
        self.settling = samples_in(SETTLING, self.rate);
        self.astray = samples_in(ASTRAY, self.rate);
        self.lost = self.lost.saturating_add(samples);
        if self.lost > samples_in(LONGEST_HOLE, self.rate) {
            self.digit = None;
            self.candidate = None;
        }
        self.end_after_pause();
    }

    /// The digit is over when a pause was heard, which may have gone on, or begun, while sound was lost.
    fn end_after_pause(&mut self) {
        if self.misses > 0 && self.misses + self.lost.div_ceil(self.block) >= MISSES {
            self.digit = None;
        }
    }

    /// The digit in a block behind lost sound, and its weight. What is not clear may be that which was heard before, and no
    /// echo of it; but it makes no digit certain, since voices look like that too.
    fn digit_astray(&self, bank: &Bank) -> Option<(char, u8)> {
        let known = self.candidate.filter(|_| self.weight >= CLEAR).or(self.digit);
        let like = |digit: &char| self.goes_on(bank) && known == Some(*digit);
        let clean = bank.digit(&self.steps, &CLEAN);
        let clean = clean.filter(|(digit, weight)| *weight == CLEAR || known.is_none() || like(digit));
        let spoiled = || bank.digit(&self.steps, &SPOILED).filter(|(digit, _)| like(digit));
        clean.or_else(|| spoiled().map(|(digit, _)| (digit, 0)))
    }

    /// Whether a block is about as loud as the last one with a digit.
    fn goes_on(&self, bank: &Bank) -> bool {
        self.power > 0.0 && bank.energy > self.power * REST_OF_POWER
    }

    /// Takes what was heard in one block and answers with the digit that now is certain.
    fn judge(&mut self, heard: Option<(char, u8)>) -> Option<char> {
        let (heard, weight) = heard.unzip();
        let before = if heard == self.candidate { self.weight } else { 0 };
        self.weight = before.saturating_add(weight.unwrap_or(0));
        self.candidate = heard;
        if heard == self.digit {
            (self.misses, self.lost) = (0, 0);
            return None;
        }
        self.misses = self.misses.saturating_add(1);
        self.end_after_pause();
        let certain = heard.filter(|_| self.weight >= CERTAIN)?;
        self.digit = Some(certain);
        (self.misses, self.lost) = (0, 0);
        Some(certain)
    }
}

impl Bank {
    fn run(&mut self, steps: &[f32; 8], pcm: &[i16]) {
        for sample in pcm {
            let sample = f32::from(*sample);
            self.energy += sample * sample;
            for ((step, last), before) in steps.iter().zip(&mut self.last).zip(&mut self.before) {
                let next = sample + step * *last - *before;
                *before = *last;
                *last = next;
            }
        }
        self.filled += pcm.len();
    }

    /// The digit that fills the block, if one does, and the weight of this judgement.
    fn digit(&self, steps: &[f32; 8], looks: &Looks) -> Option<(char, u8)> {
        let power = |n: usize| {
            self.last[n] * self.last[n] + self.before[n] * self.before[n]
                - steps[n] * self.last[n] * self.before[n]
        };
        let (row, low) = peak([power(0), power(1), power(2), power(3)], looks.peak)?;
        let (column, high) = peak([power(4), power(5), power(6), power(7)], looks.peak)?;
        // A tone of amplitude a over n samples has power (a n / 2)^2 here and energy n a^2 / 2.
        let samples = self.filled as f32;
        let faintest = (FAINTEST * samples / 2.0).powi(2);
        let purity = (low + high) * 2.0 / samples / self.energy.max(1.0);
        let weight = if purity >= CLEAR_PURITY { CLEAR } else { DIM };
        let balanced = high <= low * looks.twist && low <= high * looks.reverse_twist;
        (low.min(high) >= faintest && balanced && purity >= looks.purity).then(|| (KEYS[row][column], weight))
    }
}

/// The strongest of a group and its power, if it stands out.
fn peak(powers: [f32; 4], times: f32) -> Option<(usize, f32)> {
    let (at, most) = powers.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let alone = powers.iter().enumerate().all(|(n, p)| n == at || p * times < most);
    alone.then_some((at, most))
}

/// Amplitude of each tone: 12 dB below full scale, so that both together are far from clipping.
const AMPLITUDE: f32 = 8000.0;
/// A tone that starts or stops at once is heard as a click.
const RAMP: Duration = Duration::from_millis(2);

/// Samples in `time` at `rate` Hz.
fn samples_in(time: Duration, rate: u32) -> usize {
    (time.as_secs_f64() * f64::from(rate)) as usize
}

/// The sound of one digit, made piece by piece.
#[derive(Clone, Debug)]
pub struct Tone {
    /// Radians per sample of both tones.
    steps: [f32; 2],
    at: usize,
    length: usize,
    ramp: usize,
}

impl Tone {
    /// The tone of `digit` (`0`-`9`, `*`, `#`, `A`-`D` in any case) at `rate` Hz; none for anything else.
    pub fn new(digit: char, rate: u32, duration: Duration) -> Option<Tone> {
        let digit = digit.to_ascii_uppercase();
        let (row, column) = (0..16).map(|n| (n / 4, n % 4)).find(|(r, c)| KEYS[*r][*c] == digit)?;
        let samples = |time: Duration| samples_in(time, rate);
        let step = |hz: f32| TAU * hz / rate.max(1) as f32;
        Some(Tone {
            steps: [step(ROWS[row]), step(COLUMNS[column])],
            at: 0,
            length: samples(duration),
            ramp: samples(RAMP).max(1),
        })
    }

    /// Writes the next samples to `out` and answers how many there were: fewer than `out` has room for
    /// when the tone ends.
    pub fn read(&mut self, out: &mut [i16]) -> usize {
        let count = out.len().min(self.length - self.at);
        for (n, sample) in (self.at..).zip(out.iter_mut().take(count)) {
            let edge = (n + 1).min(self.length - n).min(self.ramp) as f32 / self.ramp as f32;
            let tone = |step: f32| ((f64::from(step) * n as f64) % f64::from(TAU)).sin() as f32;
            *sample = (AMPLITUDE * edge * (tone(self.steps[0]) + tone(self.steps[1]))) as i16;
        }
        self.at += count;
        count
    }
}
