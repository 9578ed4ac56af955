//! Digits to be sent one after the other, in step with the packets of sound.

use std::collections::VecDeque;
use std::time::Duration;

use thiserror::Error;

use crate::telephone_event::{DigitSender, ENDS, EventPacket, INTERVAL_MS, SHORTEST, is_digit};

/// Digits that may wait. When they are full, further ones are refused as a whole.
pub const MAX_DIGITS: usize = 256;
/// A comma among digits: wait so long.
const COMMA: Duration = Duration::from_millis(500);
/// Q.24 asks for a pause of 40 ms between digits; far ends that make tones of them need a little more.
const SHORTEST_GAP: Duration = Duration::from_millis(60);

/// Sends digits by RFC 4733. Asked once for each 20 ms, it says what goes out in place of sound.
#[derive(Clone, Debug, Default)]
pub struct Dialer {
    waiting: VecDeque<Press>,
    current: Option<(DigitSender, u32)>,
    rest: u32,
}

/// One character to be sent.
#[derive(Clone, Copy, Debug)]
struct Press {
    digit: char,
    length: Duration,
    gap: Duration,
}

/// What to send in one tick of 20 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// Sound, as ever.
    Sound,
    /// Nothing: the pause behind a digit.
    Quiet,
    /// This packet ([`crate::Outgoing::event`]) and no sound.
    Event(EventPacket),
}

impl Dialer {
    /// Queues `digits` (`0` to `9`, `*`, `#`, `A` to `D`, and a comma for half a second's wait), each held for
    /// `length` with a pause of `gap` behind it; both are brought up to what receivers need (40 and 60 ms).
    ///
    /// # Errors
    /// For another character or too many digits; none is then sent, for half a number is a wrong one.
    pub fn dial(&mut self, digits: &str, length: Duration, gap: Duration) -> Result<(), DialError> {
        if let Some(character) = digits.chars().find(|&c| c != ',' && !is_digit(c)) {
            return Err(DialError::NoDigit { character });
        }
        if self.waiting.len() + digits.chars().count() > MAX_DIGITS {
            return Err(DialError::TooMany);
        }
        let (length, gap) = (length.max(SHORTEST), gap.max(SHORTEST_GAP));
        self.waiting.extend(digits.chars().map(|digit| Press { digit, length, gap }));
        Ok(())
    }

    /// What to send in this tick, for a telephone-event with a clock of `clock` Hz, when the stream stands at
    /// `timestamp` ([`crate::Outgoing::timestamp`]). Whatever is not [`Tick::Sound`] wants
    /// [`crate::Outgoing::skip`] too.
    pub fn tick(&mut self, clock: u32, timestamp: u32) -> Tick {
        if let Some((sender, gap)) = &mut self.current {
            if let Some(packet) = sender.next() {
                return Tick::Event(packet);
            }
            self.rest = *gap;
            self.current = None;
        }
        if self.rest > 0 {
            self.rest -= 1;
            return Tick::Quiet;
        }
        let Some(Press { digit, length, gap }) = self.waiting.pop_front() else { return Tick::Sound };
        let sender = DigitSender::new(digit, length, clock, timestamp);
        let Some(mut sender) = sender else {
            self.rest = ticks(COMMA);
            return Tick::Quiet;
        };
        let first = sender.next();
        // The repeated ends fall into the pause.
        let gap = ticks(gap).saturating_sub(u32::from(ENDS) - 1);
        self.current = Some((sender, gap));
        first.map_or(Tick::Quiet, Tick::Event)
    }

    /// Forgets what has not begun; a digit under way is finished.
    pub fn stop(&mut self) {
        self.waiting.clear();
    }

    /// Digits and commas that have not begun.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing is under way or waiting.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.current.is_none() && self.rest == 0
    }
}

fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_millis().div_ceil(u128::from(INTERVAL_MS))).unwrap_or(u32::MAX)
}

/// Why digits are not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DialError {
    /// A character that is no digit.
    #[error("{character:?} is no digit: use 0 to 9, *, #, A to D, and a comma for a pause")]
    NoDigit {
        /// The first of them.
        character: char,
    },
    /// More than wait at a time.
    #[error("too many digits: at most {MAX_DIGITS} wait to be sent")]
    TooMany,
}
