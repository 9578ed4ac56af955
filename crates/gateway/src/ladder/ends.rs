//! To whose dialog a message belongs: by its `Call-ID` and by the tags of both ends (RFC 3261 section 12), for a
//! `Call-ID` alone is no secret and anyone may write it into a message.

use std::net::SocketAddr;

use sip::Passage;

/// Bytes of a message in which its header is looked for.
const HEADER: usize = 16_384;

/// What a message says about the dialog that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) call_id: String,
    /// Tag of our end; empty where the message has none yet.
    ours: String,
    /// Tag of the far end.
    theirs: String,
    /// It begins a dialog of ours.
    begins: bool,
    /// Where the far end is.
    peer: SocketAddr,
}

/// A dialog of ours, as far as it is known.
#[derive(Clone, Debug)]
pub(super) struct Dialog {
    /// The id of its call.
    pub(super) call: String,
    /// Our tag; absent until our INVITE has gone out.
    pub(super) ours: Option<String>,
    /// Who has begun it, where it was not us: its tag and where its INVITE came from.
    pub(super) caller: Option<(String, SocketAddr)>,
}

impl Ends {
    /// What the message says; `None` for what is no message of a dialog.
    pub(super) fn of(passage: &Passage<'_>) -> Option<Ends> {
        let head = passage.bytes.get(..HEADER.min(passage.bytes.len()))?;
        let text = String::from_utf8_lossy(head);
        let (mut call_id, mut from, mut to) = (None, None, None);
        let mut lines = text.lines();
        let first = lines.next()?;
        for line in lines.take_while(|line| !line.is_empty()) {
            let Some((name, value)) = line.split_once(':') else { continue };
            // The first line of each name counts, as for the endpoint.
            match name.trim_end().to_ascii_lowercase().as_str() {
                "call-id" | "i" => _ = call_id.get_or_insert(value.trim()),
                "from" | "f" => _ = from.get_or_insert(tag(value)),
                "to" | "t" => _ = to.get_or_insert(tag(value)),
                _ => {}
            }
        }
        let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
        let response = first.starts_with("SIP/2.0 ");
        // A request is from its sender, a response to the sender of its request.
        let (ours, theirs) = if passage.sent == response { (to, from) } else { (from, to) };
        Some(Ends {
            call_id: call_id?.to_owned(),
            begins: passage.sent && first.starts_with("INVITE ") && theirs.is_empty(),
            ours,
            theirs,
            peer: passage.peer,
        })
    }
}

impl Dialog {
    /// Whether a message is one of this dialog. The first INVITE that we send makes our tag known.
    pub(super) fn takes(&mut self, ends: &Ends) -> bool {
        if self.ours.is_none() && ends.begins {
            self.ours = Some(ends.ours.clone());
            return true;
        }
        if self.ours.as_ref().is_some_and(|ours| !ours.is_empty() && *ours == ends.ours) {
            return self.caller.as_ref().is_none_or(|(tag, _)| *tag == ends.theirs);
        }
        // INVITE and CANCEL of the caller have no tag of ours yet, nor has our 100.
        let begun = |(tag, source): &(String, SocketAddr)| *tag == ends.theirs && *source == ends.peer;
        ends.ours.is_empty() && self.caller.as_ref().is_some_and(begun)
    }
}

/// The tag in the value of `From` or `To`; empty where there is none.
fn tag(value: &str) -> String {
    let parameters = value.rsplit_once('>').map_or(value, |(_, behind)| behind);
    let named = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    let mut tags = named.filter(|(name, _)| name.trim().eq_ignore_ascii_case("tag"));
    tags.next().map(|(_, tag)| tag.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(sent: bool, text: &str) -> Ends {
        let peer = "192.0.2.9:5060".parse().unwrap();
        Ends::of(&Passage { sent, peer, transport: sip::Transport::Udp, bytes: text.as_bytes() }).unwrap()
    }

    #[test]
    fn the_tags_of_both_ends_are_found_in_requests_and_responses_of_both_directions() {
        let lines = "f: \"a;tag=no\" <sip:a@b;tag=no>; tag = a1\r\nTo: sip:b@c;TAG=b2\r\ni: x\r\n\r\nFrom: <sip:z>;tag=z";
        for (sent, first, ours, theirs) in [
            (false, "BYE sip:a SIP/2.0", "b2", "a1"),
            (true, "BYE sip:a SIP/2.0", "a1", "b2"),
            (false, "SIP/2.0 200 OK", "a1", "b2"),
            (true, "SIP/2.0 200 OK", "b2", "a1"),
        ] {
            let ends = ends(sent, &format!("{first}\r\n{lines}"));
            assert_eq!(
                (ends.ours.as_str(), ends.theirs.as_str(), ends.call_id.as_str()),
                (ours, theirs, "x")
            );
        }
    }

    #[test]
    fn a_dialog_of_ours_takes_what_has_our_tag_and_begins_with_our_invite() {
        let mut dialog = Dialog { call: "c".into(), ours: None, caller: None };
        let message = |first: &str, from: &str, to: &str| {
            format!("{first}\r\nFrom: <a>{from}\r\nTo: <b>{to}\r\ni: x\r\n\r\n")
        };
        assert!(!dialog.takes(&ends(false, &message("INVITE a SIP/2.0", ";tag=z", ""))));
        assert!(dialog.takes(&ends(true, &message("INVITE a SIP/2.0", ";tag=o", ""))));
        assert!(dialog.takes(&ends(false, &message("SIP/2.0 100 Trying", ";tag=o", ""))));
        assert!(dialog.takes(&ends(false, &message("BYE a SIP/2.0", ";tag=t", ";tag=o"))));
        assert!(!dialog.takes(&ends(false, &message("BYE a SIP/2.0", ";tag=o", ";tag=t"))));
        assert!(!dialog.takes(&ends(false, &message("INVITE a SIP/2.0", ";tag=z", ""))));
    }
}
