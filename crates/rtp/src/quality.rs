//! How good a leg sounds, in figures that a log, a metric and a record can hold.

use std::time::Duration;

/// The quality of one leg, both directions, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// What we hear of the peer.
    pub heard: Heard,
    /// What the peer says that it hears of us; `None` before its first report.
    pub told: Option<Told>,
    /// From us to the peer and back; `None` before the peer has answered a report of ours.
    pub round_trip: Option<Duration>,
    /// Mean opinion score of what we hear, 1.0 to 4.5 (see [`mos`]); `None` before the first packet.
    pub mos: Option<f64>,
    /// What came to the leg's port and was not heard. Whoever has reports alone does not know of it.
    pub dropped: Dropped,
}

/// Datagrams that came and were dropped, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// From another address than the peer's; the first ones of a peer whose address had to be learned too.
    pub foreign: u64,
    /// Not protected with the key that was agreed on: in clear, with another one, changed on the way, cut short.
    pub unauthentic: u64,
    /// Protected, and heard before or too old to tell.
    pub replayed: u64,
    /// Neither sound that was agreed on nor a report.
    pub unreadable: u64,
}

/// What has arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Heard {
    /// Packets that arrived, through all changes of SSRC.
    pub packets: u64,
    /// Packets that should have arrived.
    pub expected: u64,
    /// Mean deviation of the time between arrivals.
    pub jitter: Duration,
}

impl Heard {
    /// Share of packets lost, 0.0 to 1.0. Packets that came twice count for one that was lost.
    pub fn loss(&self) -> f64 {
        let lost = self.expected.saturating_sub(self.packets);
        lost as f64 / self.expected.max(1) as f64
    }
}

/// The peer's last report about us. Its figures are its own.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Told {
    /// Packets lost since our stream began, never negative.
    pub lost: u32,
    /// Share lost since its report before, 0.0 to 1.0.
    pub recent_loss: f64,
    /// Mean deviation of the time between arrivals.
    pub jitter: Duration,
}

/// Rating of a connection without any fault (ITU-T G.107 with all its default values).
const BEST_RATING: f64 = 93.2;
/// Impairment and robustness against loss of G.711 with concealment (ITU-T G.113 appendix I).
const IMPAIRMENT: f64 = 0.0;
const ROBUSTNESS: f64 = 25.1;
/// Where delay begins to disturb the turns of a talk, in milliseconds.
const DISTURBING_MS: f64 = 177.3;

/// Mean opinion score, 1.0 to 4.5, estimated by the E-model of ITU-T G.107 from the share of packets lost
/// (0.0 to 1.0) and the delay from mouth to ear.
///
/// It takes the form that is usual where only packets are known: the delay's impairment by its two linear
/// pieces (Cole and Rosenbluth, "Voice over IP performance monitoring", 2001), loss taken as random, every
/// codec as robust as G.711 with concealment. An estimate for comparing calls, no measurement.
pub fn mos(loss: f64, delay: Duration) -> f64 {
    let percent = loss.clamp(0.0, 1.0) * 100.0;
    let by_loss = IMPAIRMENT + (95.0 - IMPAIRMENT) * percent / (percent + ROBUSTNESS);
    let delay = delay.as_secs_f64() * 1000.0;
    let by_delay = 0.024 * delay + 0.11 * (delay - DISTURBING_MS).max(0.0);
    let rating = (BEST_RATING - by_loss - by_delay).clamp(0.0, 100.0);
    (1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6).clamp(1.0, 4.5)
}
