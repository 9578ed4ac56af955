//! The silence around a run of a program: each begins and ends as if it stood alone, with silence that belongs to the end
//! of a text and not into its middle, and with a quarter of a second before its first word, in which a caller waits.

/// Samples below this are silence.
const QUIET: u16 = 60;
/// Silence that is left before the words of a run, in ms.
const LEAD_MS: u32 = 20;
/// What is left of the silence behind a run, in ms, by what its text ends with; behind a sentence all of it is.
const TAILS_MS: &[(&[char], u32)] =
    &[(&['.', '!', '?', '…', '。', '！', '？'], u32::MAX), (&[',', ';', ':', '，', '；', '：', '、'], 150)];
/// The same in the middle of a clause.
const TAIL_MS: u32 = 30;
/// The same where nothing follows, in ms.
const END_MS: u32 = 200;

/// Takes the silence off one run. It holds back silence until it knows whether words follow.
#[derive(Debug)]
pub(super) struct Seam {
    /// Samples of silence to be left before the first words; absent once they have come.
    lead: Option<usize>,
    /// Samples of silence to be left at the end where another run follows.
    tail: usize,
    /// The same where none does.
    end: usize,
    held: Vec<i16>,
}

impl Seam {
    /// For a run over `text` at `rate` Hz.
    pub(super) fn new(text: &str, rate: u32) -> Self {
        let samples = |ms: u32| (u64::from(ms) * u64::from(rate) / 1000) as usize;
        let row = TAILS_MS.iter().find(|(signs, _)| text.trim_end().ends_with(*signs));
        let tail = samples(row.map_or(TAIL_MS, |(_, ms)| *ms));
        Seam { lead: Some(samples(LEAD_MS)), tail, end: samples(END_MS), held: Vec::new() }
    }

    /// Takes the next samples, and appends to `out` what is certain to be heard.
    pub(super) fn push(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        let loud = samples.iter().rposition(|sample| sample.unsigned_abs() > QUIET);
        let (words, silence) = samples.split_at(loud.map_or(0, |at| at + 1));
        if !words.is_empty() {
            let begin = words.iter().position(|sample| sample.unsigned_abs() > QUIET).unwrap_or(0);
            let (before, words) = words.split_at(begin);
            self.held.extend_from_slice(before);
            let kept = self.lead.take().unwrap_or(usize::MAX).min(self.held.len());
            out.extend(self.held.drain(..).rev().take(kept).collect::<Vec<_>>().iter().rev());
            out.extend_from_slice(words);
        }
        self.held.extend_from_slice(silence);
    }

    /// The run is over: appends what is left of the silence behind it; another `follows`, or none.
    pub(super) fn end(&mut self, follows: bool, out: &mut Vec<i16>) {
        let kept = if follows { self.tail } else { self.end };
        out.extend(self.held.drain(..).take(kept));
    }
}

#[cfg(test)]
mod tests {
    use super::Seam;

    /// A run of a program: silence, words with a pause, silence.
    fn run() -> Vec<i16> {
        [vec![0; 3000], vec![900; 1000], vec![5; 2000], vec![-900; 1000], vec![0; 4800]].concat()
    }

    fn through(text: &str, followed: bool) -> Vec<i16> {
        let (mut seam, mut out) = (Seam::new(text, 16_000), Vec::new());
        for piece in run().chunks(333) {
            seam.push(piece, &mut out);
        }
        seam.end(followed, &mut out);
        out
    }

    #[test]
    fn words_begin_at_once_and_the_last_pause_is_short() {
        let out = through("hello", false);
        assert_eq!(out.len(), 320 + 4000 + 3200);
        assert_eq!(out[..320 + 4000], run()[3000 - 320..7000]);
    }

    #[test]
    fn between_runs_little_silence_is_left_and_pauses_within_them_stay() {
        let words = 1000 + 2000 + 1000;
        assert_eq!(through("hello", true).len(), 320 + words + 480);
        assert_eq!(through("hello, ", true).len(), 320 + words + 2400);
        assert_eq!(through("Hello.", true).len(), 320 + words + 4800);
        assert_eq!(through("hello", true)[320..320 + words], run()[3000..3000 + words]);
    }
}
