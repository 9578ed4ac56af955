//! How the sound of a leg is to be: where its stream begins, whether it is encrypted; and how good it is.

use std::time::Duration;

use protocol::event::Event;
use protocol::option::{Encryption, SipOption};
use protocol::record::{Dropped, Quality, RemoteQuality};
use protocol::{CallTime, HangupReason};
use rtp::watch::{Missing, Patience};

use super::Core;
use crate::end::End;
use crate::legs::LegId;
use crate::media::order::Start;

impl Core {
    /// Where the stream of the main leg begins.
    pub(crate) fn start(&self) -> Start {
        let (ssrc, sequence, timestamp) = self.facts.random;
        Start { ssrc, sequence, timestamp, began_unix_ms: self.facts.clock.began_unix_ms }
    }

    /// Whether a leg's sound is encrypted: by the leg's own option, else the call's, else the configuration.
    pub(crate) fn encryption(&self, own: Option<&SipOption>) -> Encryption {
        let said = [own, self.option.sip.as_ref()].into_iter().flatten().find_map(|sip| sip.enable_srtp);
        said.unwrap_or(self.facts.rules.encryption)
    }

    /// How good a leg's sound has been so far.
    pub(crate) fn quality(&mut self, now: CallTime, leg: LegId, quality: &rtp::Quality) {
        let told = figures(quality);
        let main = leg == LegId::MAIN;
        self.info_changed |= main;
        *if main { &mut self.draft.quality } else { &mut self.draft.second_quality } = Some(told);
        let mut data = serde_json::to_value(told).unwrap_or_default();
        if let Some(data) = data.as_object_mut() {
            data.insert("refer".into(), (!main).into());
        }
        self.metric(now, "rtp.quality", quality.round_trip.unwrap_or_default(), data);
    }

    /// How long the far end may be silent on the wire: as the call's option says, else the configuration. A client of
    /// `/call` need not send at once.
    pub(crate) fn media_patience(&self) -> Patience {
        let limit = |limit: Duration| Some(limit).filter(|limit| !limit.is_zero());
        let rules = &self.facts.rules;
        let said = self.option.inactivity_timeout.map(|said| said.0);
        let gap = limit(said.unwrap_or(rules.media_timeout));
        let first = if self.sip.is_some() { limit(said.unwrap_or(rules.first_media_timeout)) } else { gap };
        Patience { first, gap }
    }

    /// Nothing comes from the far end: the call ends.
    pub(crate) fn inactive(&mut self, now: CallTime, missing: Missing) {
        self.emit(Event::Inactivity { track_id: self.facts.id.clone(), timestamp: self.unix_ms(now) });
        let why = match missing {
            Missing::First => "no packet of sound has come since the answer",
            Missing::Next => "no packet of sound comes any more",
        };
        self.end(now, End::new(HangupReason::InactivityTimeout, 200).because(why));
    }

    /// Whether an ending call has to wait for its sound to tell how good it was.
    pub(crate) fn sound_settles(&self) -> bool {
        self.sip.is_some() && self.rate.is_some() && !self.draft.sound_settled
    }
}

/// The figures as they are shown.
fn figures(quality: &rtp::Quality) -> Quality {
    let ms = |span: std::time::Duration| rounded(span.as_secs_f64() * 1000.0, 10.0);
    let heard = quality.heard;
    let rtp::quality::Dropped { foreign, unauthentic, replayed, unreadable } = quality.dropped;
    Quality {
        packets: heard.packets,
        lost: heard.expected.saturating_sub(heard.packets),
        loss: rounded(heard.loss(), 10_000.0),
        jitter_ms: ms(heard.jitter),
        round_trip_ms: quality.round_trip.map(ms),
        mos: quality.mos.map(|mos| rounded(mos, 100.0)),
        dropped: Dropped { foreign, unauthentic, replayed, unreadable },
        remote: quality.told.map(|told| RemoteQuality {
            lost: told.lost,
            loss: rounded(told.recent_loss, 10_000.0),
            jitter_ms: ms(told.jitter),
        }),
    }
}

/// `value` to the nearest part of one.
fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}
