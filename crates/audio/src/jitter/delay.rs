//! How long packets have to wait, learnt from how long they did.

use std::time::Duration;

use protocol::CallTime;

/// The shortest wait, which a stream begins with: packets are often told to have come when the tick looks for them, and
/// whatever they had to wait for then would cost a whole tick, in every reply. Where the network jitters the first late
/// packet makes it longer by what it was late.
const SHORTEST: Duration = Duration::ZERO;
/// What must be left of all waits at most when a packet is left out: a stream whose jitter has shown gets no shorter than
/// it needs.
const MARGIN: Duration = Duration::from_millis(10);
/// What must be left as a multiple of the mean jitter: of a line that delivers on the tick nothing has to be.
const MARGIN_IN_JITTERS: u32 = 4;
/// The longest wait asked for. With the tick it takes to be noticed it stays within 200 ms.
const LONGEST: Duration = Duration::from_millis(180);
/// If even the fastest packet waits longer, the delay is shortened at once, heard or not and at the price of
/// the slowest packets.
const TOO_LONG: Duration = Duration::from_millis(220);
/// Waits are remembered in spans of this length.
const SPAN: Duration = Duration::from_millis(500);
/// As many spans are remembered.
const SPANS: usize = 10;
/// Spans that must agree before a packet is left out in silence.
const SPANS_IN_SILENCE: usize = 4;
/// A stream this young has often begun with a burst that says nothing of its jitter; in its first silence one
/// span is enough, so that speech comes after the cut and not around it.
const YOUNG: Duration = Duration::from_millis(1000);
/// Spans that must agree while the stream is [`YOUNG`].
const SPANS_WHEN_YOUNG: usize = 1;
/// Time between two packets left out of speech.
const PAUSE_IN_SPEECH: Duration = Duration::from_secs(1);
/// Time between two packets left out because of [`TOO_LONG`].
const PAUSE_TOO_LONG: Duration = Duration::from_millis(80);

/// What the buffer knows when it asks whether to shorten the delay.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// Duration of a packet, which is the least that can be saved.
    pub(super) ptime: Duration,
    /// Whether silence is being played.
    pub(super) quiet: bool,
    /// Mean jitter of late.
    pub(super) jitter: Duration,
}

/// Whether the next packet may be left out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spare {
    No,
    /// If it holds silence.
    InSilence,
    /// Whatever it holds.
    Anyway,
}

/// The waits of the last seconds and what follows from them.
pub(super) struct Delay {
    wanted: Duration,
    /// Shortest and longest wait of each span, the present one first.
    spans: [Option<(Duration, Duration)>; SPANS],
    present: u64,
    shortened: Option<CallTime>,
    /// When the first packet was played.
    began: Option<CallTime>,
}

impl Default for Delay {
    fn default() -> Self {
        Delay { wanted: SHORTEST, spans: [None; SPANS], present: 0, shortened: None, began: None }
    }
}

impl Delay {
    /// How long the first packet after a pause has to wait.
    pub(super) fn wanted(&self) -> Duration {
        self.wanted
    }

    /// The longest wait of the last second: that of the packet which the network delayed least.
    pub(super) fn present(&self) -> Duration {
        self.spans.iter().take(2).flatten().map(|(_, most)| *most).max().unwrap_or(Duration::ZERO)
    }

    /// A packet was played at `now` after it had waited for `wait`.
    pub(super) fn waited(&mut self, now: CallTime, wait: Duration) {
        self.turn(now);
        self.began.get_or_insert(now);
        let span = &mut self.spans[0];
        let (least, most) = span.unwrap_or((wait, wait));
        *span = Some((least.min(wait), most.max(wait)));
    }

    /// A packet came `late` after its turn. Answers how much longer packets have to wait from now on.
    pub(super) fn grow(&mut self, late: Duration) -> Duration {
        let present = self.present();
        self.wanted = self.wanted.max(present + late).min(LONGEST);
        late.min(LONGEST.saturating_sub(present))
    }

    /// Playing stood still for `by`, so all waits are longer.
    pub(super) fn lengthen(&mut self, by: Duration) {
        for (least, most) in self.spans.iter_mut().flatten() {
            *least += by;
            *most += by;
        }
    }

    /// A packet of duration `by` was left out, so all waits are shorter.
    pub(super) fn shorten(&mut self, now: CallTime, by: Duration) {
        for (least, most) in self.spans.iter_mut().flatten() {
            *least = least.saturating_sub(by);
            *most = most.saturating_sub(by);
        }
        self.wanted = self.wanted.saturating_sub(by).max(SHORTEST);
        self.shortened = Some(now);
    }

    /// Whether a packet may be left out at `now`, because none of late needed that much time.
    pub(super) fn spare(&mut self, now: CallTime, room: Room) -> Spare {
        self.turn(now);
        let enough = room.ptime + MARGIN.min(room.jitter * MARGIN_IN_JITTERS);
        let rested = |pause: Duration| self.shortened.is_none_or(|at| now.since(at) >= pause);
        // The present span is not over: it may object, but not vouch.
        let unneeded = |spans: usize| {
            self.spans[0].is_none_or(|(least, _)| least >= enough)
                && self.spans[1..=spans].iter().all(|s| s.is_some_and(|(least, _)| least >= enough))
        };
        let young = self.began.is_some_and(|began| now.since(began) <= YOUNG);
        if (rested(PAUSE_IN_SPEECH) && unneeded(SPANS - 1))
            || (rested(PAUSE_TOO_LONG) && self.spans[1].is_some_and(|(_, most)| most >= TOO_LONG))
        {
            Spare::Anyway
        } else if room.quiet && unneeded(if young { SPANS_WHEN_YOUNG } else { SPANS_IN_SILENCE }) {
            Spare::InSilence
        } else {
            Spare::No
        }
    }

    /// Begins new spans if `now` is past the present one.
    fn turn(&mut self, now: CallTime) {
        let present = now.as_ms() / SPAN.as_millis() as u64;
        let passed = present.saturating_sub(self.present).min(SPANS as u64) as usize;
        self.spans.rotate_right(passed);
        self.spans.iter_mut().take(passed).for_each(|s| *s = None);
        self.present = self.present.max(present);
    }
}
