//! One party's connection as sound.

use audio::Frame;
use protocol::CallTime;

use crate::media::keys::Ear;
use crate::media::raw_leg::RawLeg;
use crate::media::rtp_leg::{RtpLeg, Run};

pub(crate) struct Leg {
    pub(crate) sound: LegSound,
    /// What it says in this tick.
    pub(crate) heard: Vec<i16>,
    /// Listens for tones, where no telephone-event is agreed on.
    pub(crate) ear: Option<Ear>,
    /// Sound has come from it.
    pub(crate) fresh: bool,
    /// When its quality was told last.
    pub(crate) told: CallTime,
}

pub(crate) enum LegSound {
    Rtp(Box<RtpLeg>),
    Raw(Box<RawLeg>),
}

impl LegSound {
    /// Of which kinds the frame is that was heard last; what is not named was said.
    pub(crate) fn runs(&self) -> &[Run] {
        match self {
            LegSound::Rtp(rtp) => rtp.runs(),
            LegSound::Raw(_) => &[],
        }
    }
}

impl Leg {
    /// A leg that begins `now`, in a call that computes at `rate` Hz.
    pub(crate) fn new(now: CallTime, sound: LegSound, rate: u32) -> Self {
        let ear = match &sound {
            LegSound::Rtp(rtp) if !rtp.has_events() => Some(Ear::new(rate)),
            LegSound::Rtp(_) | LegSound::Raw(_) => None,
        };
        Leg { sound, heard: vec![0; Frame::len_at(rate)], ear, fresh: false, told: now }
    }
}
