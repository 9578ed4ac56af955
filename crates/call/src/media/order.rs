//! What is said between a call's rules and its sound.

use std::time::Duration;

use audio::mix::Ducking;
use audio::progress::{Finding, ProgressSettings};
use audio::vad::{VadEvent, VadSettings};
use audio::{Cleaning, Codec};
use protocol::CallTime;
use rtp::Quality;
use rtp::sdp::Negotiated;
use rtp::watch::{Missing, Patience};

use crate::legs::LegId;

/// Names one utterance of a call: one thing the agent says or plays. Later utterances have larger ids, so
/// that interrupting is naming the first id that is still wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtteranceId(pub u64);

/// Names one door through which a recognizer hears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DoorId(pub u64);

/// How a leg's sound travels.
#[derive(Clone, Debug)]
pub enum LegPlan {
    /// As RTP.
    Rtp(Box<RtpPlan>),
    /// As bare codec bytes in messages.
    Raw {
        /// Codec of what we hear.
        heard: &'static Codec,
        /// Codec of what we send.
        sent: &'static Codec,
    },
}

/// What an RTP leg needs to know.
#[derive(Clone, Debug)]
pub struct RtpPlan {
    /// What offer and answer agreed on.
    pub media: Negotiated,
    /// Whether the peer's address may be learned from its packets.
    pub learning: rtp::stream::Learning,
    /// The host that the peer's signalling comes from, where it is known.
    pub signalling: Option<std::net::IpAddr>,
    /// Where the stream we send begins.
    pub start: Start,
}

/// Where a stream that we send begins: random numbers (RFC 3550 section 5.1), and the wall clock of its call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Identity of the stream.
    pub ssrc: u32,
    /// First sequence number. Its highest bit is left out: a peer that misses the first packets of an encrypted
    /// stream must not mistake how often the number has wrapped (RFC 3711 section 3.3.1).
    pub sequence: u16,
    /// First timestamp.
    pub timestamp: u32,
    /// Wall time at which the call began, in milliseconds since 1970: reports carry it.
    pub began_unix_ms: u64,
}

impl Start {
    /// The numbering, from its beginning.
    pub fn outgoing(self) -> rtp::Outgoing {
        rtp::Outgoing::new(self.ssrc, self.sequence & 0x7fff, self.timestamp)
    }
}

/// When the caller's speech lowers and stops what the agent says, decided in the tick in which it is heard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BargeIn {
    /// Gain, 0 to 1, to which the voice goes down within a frame of the first sound of speech. It comes back by itself
    /// where nothing stops it; `None` leaves it as it is.
    pub duck: Option<f32>,
    /// So much speech is needed.
    pub min_speech: Duration,
    /// Not within so much of the beginning of an utterance.
    pub ignore_first: Duration,
    /// Fade out over so long, or until a word ends that ends near then; zero stops at once.
    pub fade: Duration,
}

/// Digits for the far end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialled {
    /// `0` to `9`, `*`, `#`, `A` to `D`, and a comma for a pause.
    pub digits: String,
    /// Length of each.
    pub length: Duration,
    /// How they travel.
    pub manner: Manner,
}

/// How digits travel in the sound's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As telephone-events; as tones where the leg has none.
    Events,
    /// As tones.
    Tones,
}

/// How a digit of the far end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As a telephone-event.
    Event,
    /// As a tone in the sound.
    Tone,
    /// By SIP INFO.
    Signalling,
}

/// What rules tell sound.
#[derive(Clone, Debug)]
pub enum ToMedia {
    /// A leg's sound begins, or its plan changes (re-INVITE).
    Leg(LegId, LegPlan),
    /// A leg is gone.
    Remove(LegId),
    /// Another party speaks on a leg from its next plan on: nothing that was learned of the one before holds for it,
    /// and the one before is not heard any more.
    Renew(LegId),
    /// Listen to a leg with the detector of this type (`silero`, `webrtc`). What it finds is told of the main leg only;
    /// recognizers hear of it for every leg.
    Vad(LegId, &'static str, VadSettings),
    /// Judge what the main leg sounds like while it is called. It needs a detector of it.
    Follow(ProgressSettings),
    /// The main leg has answered: judge who it is.
    Answered,
    /// Take this out of what a leg says.
    Clean(LegId, Cleaning),
    /// Give a recognizer what a leg says, at this rate.
    Listen(LegId, DoorId, u32),
    /// Give a program outside what the main leg says, at this rate, in chunks of so many frames.
    Pass {
        /// Its door.
        door: DoorId,
        /// Hz.
        rate: u32,
        /// 1 to 5.
        frames: usize,
    },
    /// Close a door.
    Deaf(DoorId),
    /// Sound of an utterance, at the given rate. The first makes the utterance wait in the queue.
    Play(UtteranceId, u32, Box<[i16]>),
    /// Words of an utterance end at these positions: a voice that fades out ends its fade there, when one is near.
    WordEnds(UtteranceId, Box<[Duration]>),
    /// All sound of an utterance has been given.
    End(UtteranceId),
    /// Drop every utterance before this id, fading out the one that plays.
    Interrupt {
        /// The first id that is still wanted.
        below: UtteranceId,
        /// Zero stops at once; a fade ends with a word that ends near its end.
        fade: Duration,
    },
    /// End the utterance at this position and drop all later ones.
    Cut {
        /// The utterance.
        utterance: UtteranceId,
        /// Its new length.
        at: Duration,
    },
    /// Hold the queue, or let it go on.
    Pause(bool),
    /// Arm or disarm barge-in.
    Arm(Option<BargeIn>),
    /// An utterance answers words that ended at this time: it does not begin while the caller, who began to speak behind
    /// them, speaks on.
    Yield(UtteranceId, CallTime),
    /// Silence what a side sends into the call.
    Mute {
        /// What the server plays, instead of what the leg says.
        server: bool,
        /// Silent or not.
        on: bool,
    },
    /// Send digits to a leg.
    Digits(LegId, Dialled),
    /// Report when nothing comes from the main leg, from now on.
    Watch(Patience),
    /// Play this under and between utterances for ever: mono at the given rate. Empty stops it.
    Ambience(u32, Box<[i16]>, Ducking),
    /// Neither hear the main leg nor let it hear what is said, and wait for music with this number; or go on where all
    /// was.
    Hold(Option<u32>),
    /// What the main leg hears, over and over, while it is held with this number: mono at the rate of the call's sound.
    Music(u32, Box<[i16]>),
    /// Give what both sides say to a client, as messages for [`LegId::OBSERVER`].
    Subscribe,
    /// Record from now on, at the rate of the call's sound.
    Record,
    /// Record silence in place of the sound, or sound again.
    PauseRecording(bool),
    /// End the recording.
    StopRecording,
    /// Tell the quality of every leg with [`FromMedia::Quality`], then [`FromMedia::Settled`].
    Settle,
}

/// What sound tells rules.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FromMedia {
    /// The detector has something new of the main leg.
    Speech(VadEvent),
    /// What the line sounds like, or who has answered.
    Found(Finding),
    /// A digit came in by RTP or as a tone.
    Digit(LegId, char, Way),
    /// The first sound of a leg has arrived.
    FirstSound(LegId),
    /// The first frame of an utterance goes out in this tick.
    Started(UtteranceId, CallTime),
    /// Less than a second and a half of an utterance is left; more is welcome.
    Low(UtteranceId),
    /// No more sound of an utterance is taken: a minute of it waits to be played. What was taken is played.
    Full(UtteranceId),
    /// An utterance was played to its end: so much of it.
    Ended(UtteranceId, Duration),
    /// An utterance was stopped after so much of it, by an order or by the armed barge-in. Utterances behind
    /// it that were dropped are reported with zero.
    Stopped {
        /// The utterance.
        utterance: UtteranceId,
        /// What went out of it.
        played: Duration,
        /// What was known of it.
        total: Duration,
        /// By the armed rule.
        barged: bool,
    },
    /// A client sent sound faster than it is heard: so much of it was dropped.
    Overrun(Duration),
    /// Nothing came from the main leg for as long as [`ToMedia::Watch`] says.
    Inactive(Missing),
    /// The quality of an RTP leg since it began; told from time to time.
    Quality(LegId, Quality),
    /// Everything that was ordered before [`ToMedia::Settle`] has been told.
    Settled,
    /// A second of the recording was lost.
    TapeLost,
    /// The call's sound has died of an error inside; nothing follows.
    Gone,
}

impl FromMedia {
    /// Whether it may be told some ticks later.
    pub(crate) fn can_wait(&self) -> bool {
        matches!(self, FromMedia::Low(_) | FromMedia::Quality(..))
    }
}
