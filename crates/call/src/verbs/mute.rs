//! `mute` and `unmute`.

use protocol::CallTime;
use protocol::command::Mute;

use crate::core::Core;
use crate::failure::Failure;
use crate::media::order::ToMedia;

impl Core {
    pub(super) fn mute(&mut self, now: CallTime, mute: &Mute, on: bool) {
        let server_track = &self.facts.rules.server_track;
        let (server, remote) = match mute.track_id.as_deref() {
            None => (true, true),
            Some(track) if track == server_track => (true, false),
            Some(track) if track == self.facts.id => (false, true),
            Some(track) => {
                let shown: String = track.chars().take(64).collect();
                let why = format!("no track \"{shown}\"; use \"{}\" or \"{server_track}\"", self.facts.id);
                return self.fail(now, "command", &Failure::new(404, why).at("trackId"));
            }
        };
        if server {
            self.order(ToMedia::Mute { server: true, on });
        }
        if remote {
            self.order(ToMedia::Mute { server: false, on });
        }
    }
}
