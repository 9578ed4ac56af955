//! Requests of ours inside an answered call whose answer matters only to its owner: INFO, MESSAGE.

use sipx_sip::TuEvent;

use super::{Endpoint, wrong};
use crate::config::Time;
use crate::dialog::State;
use crate::event::{DialogId, EndCause, SipEvent};
use crate::message::check_extra;
use crate::order::{InDialog, SipError};
use crate::transactions::{Errand, Happening, Job};

impl Endpoint {
    /// Sends a request inside an answered call. `Responded` follows.
    ///
    /// # Errors
    /// [`SipError::WrongState`] before the answer and after the end; [`SipError::BadHeader`],
    /// [`SipError::TooLarge`].
    pub fn request_inside(
        &mut self,
        now: Time,
        dialog: DialogId,
        request: &InDialog,
    ) -> Result<(), SipError> {
        check_extra(&request.headers)?;
        let branch = self.random.branch();
        let found = self.dialogs.by_id.get_mut(&dialog).ok_or(SipError::NoSuchDialog(dialog))?;
        if !matches!(found.state, State::Up { bye: None }) {
            return Err(wrong(found, "send a request"));
        }
        let method = request.method.name();
        let (mut draft, way) = found.path.request(method, &self.identity, &branch);
        self.authorize(&mut draft, dialog, (method, &way));
        draft.extra(&request.headers);
        let bytes = match request.body.is_empty() {
            true => draft.finish(),
            false => draft.finish_body(&request.content_type, &request.body)?,
        };
        self.send_inside(now, (bytes, way), Job::of(dialog, Errand::Request));
        Ok(())
    }

    pub(super) fn request_happened(&mut self, now: Time, happening: &Happening) {
        let Some(dialog) = self.owner(happening.job) else { return };
        let id = dialog.id;
        let code = match &happening.event {
            TuEvent::Response(response) if !response.status.is_final() => return,
            TuEvent::Response(response) => response.status.code(),
            TuEvent::Timeout => 408,
            _ => 503,
        };
        self.wire.tell(SipEvent::Responded { dialog: id, code });
        self.lost_if(now, id, code == 481);
    }

    /// Ends a call of which the peer has shown that it knows it no more (RFC 3261 section 12.2.1.2).
    pub(super) fn lost_if(&mut self, now: Time, id: DialogId, lost: bool) {
        let up = self.dialogs.by_id.get(&id).is_some_and(|dialog| matches!(dialog.state, State::Up { .. }));
        if lost && up {
            self.send_bye(now, id, &[], EndCause::Lost);
        }
    }
}
