//! How well a recording holds what was said. It is made for speech and tones of other programs, whose packets come when
//! they come: a jitter buffer may slip by a packet, and in silence by more.

use std::time::Duration;

/// Samples of an envelope frame: 10 ms.
const FRAME: usize = 80;
/// Samples of a piece: 100 ms.
const PIECE: usize = 800;
/// A piece that is so much like what is where it should be is looked for nowhere else.
const EXACT: f64 = 0.99;
/// A piece that is so much like what is there is found.
const ALIKE: f64 = 0.7;
/// A piece that is so much like what is there tells for sure where it is: one that is torn, or of which a part was made
/// up, may be like a place that is a period of the voice away.
const SURE: f64 = 0.9;
/// How far a piece may lie from where the one before it has it. Whoever stalls is that far behind.
const FARTHEST: usize = 2400;
/// A slip of so many milliseconds in the middle of speech is heard. A packet may come too late for its time, and where
/// nobody speaks a jitter buffer may leave out or put in as much as it wants.
const HEARD_MS: f64 = 40.0;
/// A machine that keeps no thread waiting for longer than this is at ease.
const FELT_MS: f64 = 10.0;
/// What speaks has several threads and what hears it has more, which wait one after the other.
const STALLS: f64 = 3.0;
/// Share of the pieces that a listener is to hear as they were said.
const MOST: f64 = 0.95;
/// The pieces that went through a codec which keeps the form of the wave are so much like what was said, on average.
const SAME_FORM: f64 = 0.95;
/// Share of the pieces that holes may tear.
const MOST_TORN: f64 = 0.2;
/// No louder is what a jitter buffer takes for silence.
const QUIET: u16 = 200;

/// How well `said` is found in `heard`.
#[derive(Debug, Default)]
pub struct Found {
    /// Correlation of the whole, at the best place.
    pub whole: f64,
    /// Share of the loud pieces of 100 ms that are found near where the whole is.
    pub pieces: f64,
    /// Correlation of each of these pieces where it is most alike.
    pub likes: Vec<f64>,
    /// Milliseconds that are missing (below zero) or too many between two pieces, beyond what was silent there; of each
    /// place where that is so.
    pub slips: Vec<f64>,
}

impl Found {
    /// Whether a listener hears it as it was said: all but a twentieth of it, and in one piece.
    pub fn is_heard(&self) -> bool {
        self.is_heard_but_for(Duration::ZERO)
    }

    /// The same where the machine has kept threads waiting for as long as `stall`. Whoever speaks is late then, and
    /// what waits for it has a hole of some stalls, which tears two pieces; but nothing is missing.
    pub fn is_heard_but_for(&self, stall: Duration) -> bool {
        let stall_ms = stall.as_secs_f64() * 1000.0;
        let widest = if stall_ms >= FELT_MS { HEARD_MS + STALLS * stall_ms } else { HEARD_MS };
        let excused = self.torn(stall) as f64 / self.likes.len() as f64;
        self.pieces + excused.min(MOST_TORN) >= MOST
            && self.slips.iter().all(|slip| *slip > -HEARD_MS && *slip < widest)
    }

    /// Whether it is heard, and went through nothing but codecs that keep the form of the wave (G.711 and G.722, not
    /// Opus): what was said and what is heard correlate. Piece by piece, since a jitter buffer slips between them.
    pub fn is_same(&self) -> bool {
        self.is_same_but_for(Duration::ZERO)
    }

    /// The same where the machine has kept threads waiting for as long as `stall`.
    pub fn is_same_but_for(&self, stall: Duration) -> bool {
        let mut likes = self.likes.clone();
        likes.sort_by(f64::total_cmp);
        let most = (MOST_TORN * likes.len() as f64) as usize;
        let whole = &likes[self.torn(stall).min(most)..];
        let mean = whole.iter().sum::<f64>() / whole.len() as f64;
        mean >= SAME_FORM && self.is_heard_but_for(stall)
    }

    /// How many pieces are torn by the holes that such a stall explains.
    fn torn(&self, stall: Duration) -> usize {
        let felt = stall.as_secs_f64() * 1000.0 >= FELT_MS;
        2 * self.slips.iter().filter(|slip| **slip > 0.0 && felt).count()
    }
}

/// Looks for `said`, without its silence around, in `heard`. Both at 8 kHz. Where nothing was said nothing is found.
pub fn find(said: &[i16], heard: &[i16]) -> Found {
    let loud = |sample: &i16| sample.unsigned_abs() > QUIET;
    let ends = said.iter().position(loud).zip(said.iter().rposition(loud));
    let Some((first, last)) = ends else { return Found::default() };
    let said = &said[first..=last];
    let (shape, shapes) = (envelope(said), Sums::new(envelope(heard)));
    let coarse = best(shapes.samples.len(), shapes.alike(&shape, 0)).0 * FRAME;
    let from = coarse.saturating_sub(3 * FRAME);
    let (voice, heard) = (floats(said), Sums::new(floats(heard)));
    let (offset, whole) = best(6 * FRAME, heard.alike(&voice, from));
    let pieces = places(&voice, &heard, from + offset);
    let good = pieces.iter().filter(|piece| piece.like >= ALIKE).count();
    let mut sure: Vec<&Piece> = pieces.iter().filter(|piece| piece.like >= SURE).collect();
    // It fades. Where a jitter buffer has left out some of that, the rest is like several places.
    sure.pop_if(|last| last.like < EXACT && pieces.last().is_some_and(|end| end.said == last.said));
    let slips = sure.windows(2).map(|pair| slip(said, pair[0], pair[1])).filter(|slip| *slip != 0.0);
    Found {
        whole,
        pieces: good as f64 / pieces.len() as f64,
        likes: pieces.iter().map(|piece| piece.like).collect(),
        slips: slips.collect(),
    }
}

/// A loud piece of what was said.
struct Piece {
    /// Its first sample in what was said, and in what was heard.
    said: usize,
    heard: usize,
    like: f64,
}

/// Where the loud pieces of `said` are in `heard`, in which the whole of it begins at `start`.
fn places(said: &[f64], heard: &Sums, start: usize) -> Vec<Piece> {
    let loudness = energy(said) / said.len() as f64;
    let mut pieces: Vec<Piece> = Vec::new();
    for (index, piece) in said.chunks_exact(PIECE).enumerate() {
        if energy(piece) / PIECE as f64 <= loudness / 16.0 {
            continue;
        }
        let said = index * PIECE;
        let from = (start + said).saturating_sub(FARTHEST);
        let alike = heard.alike(piece, from);
        let behind =
            pieces.iter().rfind(|piece| piece.like >= SURE).map(|last| last.heard + said - last.said);
        let expected = [behind.unwrap_or(start + said), start + said].map(|place| place.saturating_sub(from));
        let there = expected.map(|at| (at, alike(at))).into_iter().find(|(_, like)| *like >= EXACT);
        let (at, like) = there.unwrap_or_else(|| best(2 * FARTHEST, alike));
        pieces.push(Piece { said, heard: from + at, like });
    }
    pieces
}

/// Milliseconds by which two pieces are nearer to each other than they were said, or, above zero, farther; nothing
/// where there was as much silence between them.
fn slip(said: &[i16], one: &Piece, next: &Piece) -> f64 {
    let by = (next.heard as f64 - one.heard as f64) - (next.said - one.said) as f64;
    // Both ends may be quiet as well.
    let between = &said[one.said..next.said + PIECE];
    let silent = |frame: &&[i16]| frame.iter().all(|sample| sample.unsigned_abs() <= QUIET);
    let silence = between.chunks_exact(FRAME).filter(silent).count() * FRAME;
    let excused = if by < 0.0 { by.abs() <= silence as f64 } else { silence > 0 };
    if excused { 0.0 } else { by / 8.0 }
}

fn envelope(samples: &[i16]) -> Vec<f64> {
    samples.chunks_exact(FRAME).map(|frame| energy(&floats(frame)).sqrt()).collect()
}

fn floats(samples: &[i16]) -> Vec<f64> {
    samples.iter().map(|sample| f64::from(*sample)).collect()
}

fn energy(samples: &[f64]) -> f64 {
    samples.iter().map(|sample| sample * sample).sum()
}

fn best(count: usize, score: impl Fn(usize) -> f64) -> (usize, f64) {
    (0..count).map(|at| (at, score(at))).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0))
}

/// Sound to look for other sound in.
struct Sums {
    samples: Vec<f64>,
    /// Energy of all before each of them, and of all.
    energy: Vec<f64>,
}

impl Sums {
    fn new(samples: Vec<f64>) -> Sums {
        let sums = samples.iter().scan(0.0, |sum, sample| {
            *sum += sample * sample;
            Some(*sum)
        });
        Sums { energy: std::iter::once(0.0).chain(sums).collect(), samples }
    }

    /// Correlation of `piece` with what begins so many samples behind `from`; beyond the end there is silence.
    fn alike(&self, piece: &[f64], from: usize) -> impl Fn(usize) -> f64 {
        let own = energy(piece);
        move |at| {
            let begin = (from + at).min(self.samples.len());
            let end = (begin + piece.len()).min(self.samples.len());
            let product: f64 = piece.iter().zip(&self.samples[begin..end]).map(|(a, b)| a * b).sum();
            product / ((own * (self.energy[end] - self.energy[begin])).sqrt() + 1e-9)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A voice without words: pulses of changing pitch, with pauses between them.
    fn babble() -> Vec<i16> {
        let mut phase = 0.0_f64;
        let sample = |n: usize| {
            let at = n as f64 / 8000.0;
            phase += (140.0 + 50.0 * (3.1 * at).sin() + 20.0 * (7.3 * at).sin()) / 8000.0;
            let pulse =
                (phase.fract() * 40.0 * (1.0 + 0.5 * (5.0 * at).sin())).sin() / (1.0 + 8.0 * phase.fract());
            let spoken = n % 9600 < 8000;
            if spoken { (pulse * 8000.0) as i16 } else { 0 }
        };
        (0..24_000).map(sample).collect()
    }

    #[test]
    fn speech_of_which_a_packet_is_late_is_heard_and_where_more_is_missing_added_or_other_it_is_not() {
        let said = babble();
        let inside = 12_000;
        let cut = |at: usize, ms: usize| [&said[..at], &said[at + 8 * ms..]].concat();
        let hole = |at: usize, ms: usize| [&said[..at], &vec![0; 8 * ms], &said[at..]].concat();
        let is_heard = |heard: &[i16]| {
            let found = find(&said, &[&[0; 4000], heard, &[0; 4000]].concat());
            (found.is_heard(), found)
        };
        let pause = 8_000;
        for (what, heard) in [
            ("as it was said", said.clone()),
            ("a packet less", cut(inside, 20)),
            ("a packet late", hole(inside, 20)),
            ("twice a packet late", [&hole(5_000, 20)[..inside], &hole(inside, 20)[inside - 160..]].concat()),
            ("a shorter pause", cut(pause, 120)),
            ("a longer pause", hole(pause + 400, 150)),
            ("an end that fades earlier", cut(said.len() - 400, 45)),
        ] {
            let (heard, found) = is_heard(&heard);
            assert!(heard && found.is_same(), "{what}: {found:?}");
        }
        let backwards: Vec<i16> = said.iter().rev().copied().collect();
        let torn =
            said.iter().enumerate().map(|(n, sample)| if n / 160 % 2 == 0 { *sample } else { 0 }).collect();
        for (what, heard) in [
            ("two packets less", cut(inside, 40)),
            ("two packets late", hole(inside, 40)),
            ("five packets less", cut(inside, 100)),
            ("a packet more than the pause", cut(pause - 200, 260)),
            ("every other packet", torn),
            ("half of it", [&said[..12_000], &vec![0; 12_000][..]].concat()),
            ("something else", backwards),
            ("silence", vec![0; 24_000]),
        ] {
            let (heard, found) = is_heard(&heard);
            assert!(!heard, "{what}: {found:?}");
        }
    }

    #[test]
    fn speech_that_is_like_what_was_said_and_not_of_its_form_is_heard_and_is_not_the_same() {
        let said = babble();
        // Another one talks in the background, at half the loudness.
        let other = said.iter().rev().map(|sample| sample / 2);
        let mixed: Vec<i16> = said.iter().zip(other).map(|(sample, other)| sample + other).collect();
        let found = find(&said, &mixed);
        assert!(found.is_heard() && !found.is_same(), "{found:?}");
    }

    #[test]
    fn a_machine_that_stalls_excuses_what_comes_late_and_nothing_that_is_missing() {
        let said = babble();
        let hole = [&said[..12_000], &[0; 640], &said[12_000..]].concat();
        let cut = [&said[..12_000], &said[12_640..]].concat();
        let excused = |heard: &[i16], ms| find(&said, heard).is_heard_but_for(Duration::from_millis(ms));
        assert_eq!([0, 5, 14, 30].map(|ms| excused(&hole, ms)), [false, false, true, true]);
        assert_eq!([0, 5, 14, 30].map(|ms| excused(&cut, ms)), [false; 4]);
        assert_eq!([0, 30].map(|ms| excused(&said, ms)), [true; 2]);
        assert_eq!([0, 30].map(|ms| excused(&[0; 24_000], ms)), [false; 2]);
    }
}
