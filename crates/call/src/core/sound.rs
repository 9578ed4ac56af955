//! How the sound of a leg is to be: where its stream begins, whether it is encrypted.

use protocol::option::SipOption;

use super::Core;
use crate::legs::sip_media::Encryption;
use crate::media::order::Start;

impl Core {
    /// Where the stream of the main leg begins.
    pub(crate) fn start(&self) -> Start {
        let (ssrc, sequence, timestamp) = self.facts.random;
        Start { ssrc, sequence, timestamp, began_unix_ms: self.facts.clock.began_unix_ms }
    }

    /// Whether a leg's sound may go in clear: by the leg's own option, else the call's, else the configuration.
    pub(crate) fn encryption(&self, own: Option<&SipOption>) -> Encryption {
        let said = [own, self.option.sip.as_ref()].into_iter().flatten().find_map(|sip| sip.enable_srtp);
        if said.unwrap_or(self.facts.rules.encrypt) { Encryption::Required } else { Encryption::Answered }
    }
}
