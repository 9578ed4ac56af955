//! Provisional responses that are acknowledged (RFC 3262).

use sipx_sip::rel::{self, RSeq, Received};
use sipx_sip::{HeaderName, Headers, Response};

use super::Endpoint;
use crate::config::Time;
use crate::dialog::State;
use crate::event::DialogId;
use crate::message::{cseq, text, to_tag};
use crate::transactions::{Errand, Job};

impl Endpoint {
    /// Acknowledges a provisional response to our INVITE if it wants that; whether it is to be told:
    /// a copy is not, nor one that has overtaken another.
    pub(super) fn confirm(&mut self, now: Time, id: DialogId, response: &Response) -> bool {
        let number = response.headers.typed::<RSeq>().and_then(Result::ok);
        let Some(RSeq(number)) = number.filter(|_| requires(&response.headers, rel::OPTION_TAG)) else {
            return true;
        };
        let branch = self.random.branch();
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return false };
        let State::Calling(calling) = &mut dialog.state else { return false };
        let Some(fork) = calling.fork(&to_tag(&response.headers)) else { return true };
        if fork.reliable.accept(number) != Received::Acknowledge {
            return false;
        }
        let (mut draft, to) = fork.path.request("PRACK", &self.identity, &branch);
        let invited = cseq(&response.headers).unwrap_or(1);
        draft.line("RAck", format!("{number} {invited} INVITE"));
        if let Some(auth) = dialog.auth.as_mut() {
            let uri = text(&fork.path.request_uri());
            for (name, value) in auth.lines("PRACK", &uri, &branch) {
                draft.line(&text(name.canonical()), value);
            }
        }
        self.dispatch(now, (draft.finish(), to), Job::of(id, Errand::Prack));
        true
    }
}

/// Whether `Require` names this extension.
pub(super) fn requires(headers: &Headers, tag: &str) -> bool {
    names(headers, &HeaderName::Require, tag)
}

/// Whether a header that lists option tags names this one.
pub(super) fn names(headers: &Headers, list: &HeaderName, tag: &str) -> bool {
    let rows = headers.get_all(list).map(|header| text(&header.value()));
    rows.into_iter().any(|row| row.split(',').any(|named| named.trim().eq_ignore_ascii_case(tag)))
}
