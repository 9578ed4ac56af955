//! Giving up a call of ours (RFC 3261 section 9.1) or ending it.

use sipx_sip::HeaderName;

use super::{Endpoint, wrong};
use crate::config::Time;
use crate::dialog::{Calling, Cancel, State};
use crate::event::{DialogId, EndCause, Failure, SipEvent};
use crate::message::{Draft, Extra, check_extra, cseq};
use crate::order::SipError;
use crate::schedule::Chore;
use crate::transactions::{Errand, Job};

impl Endpoint {
    /// Gives up a call that is not answered yet. `Rejected` with 487 follows; if the answer was on
    /// its way, it is acknowledged and ended with BYE, and `Ended` follows.
    ///
    /// # Errors
    /// [`SipError::WrongState`] after the answer, or if we were called.
    pub fn cancel(&mut self, now: Time, dialog: DialogId) -> Result<(), SipError> {
        self.cancel_because(now, dialog, &[])
    }

    /// The same; a `Reason` among the headers goes into the CANCEL.
    pub(super) fn cancel_because(
        &mut self,
        now: Time,
        dialog: DialogId,
        headers: &Extra,
    ) -> Result<(), SipError> {
        check_extra(headers)?;
        let found = self.dialog(dialog)?;
        match &mut found.state {
            State::Calling(calling) if calling.cancel == Cancel::No => {
                calling.cancel = Cancel::Wanted;
                calling.farewell = headers.to_vec();
                self.send_cancel(now, dialog);
                Ok(())
            }
            _ => Err(wrong(found, "cancel")),
        }
    }

    /// CANCEL, if it is wanted and the callee has shown that it has the INVITE.
    pub(super) fn send_cancel(&mut self, now: Time, id: DialogId) {
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        let State::Calling(calling) = &mut dialog.state else { return };
        if !calling.responded || calling.cancel != Cancel::Wanted {
            return;
        }
        calling.cancel = Cancel::Sent;
        let reasons = calling.farewell.iter().filter(|(name, _)| name.eq_ignore_ascii_case("reason"));
        let reasons: Vec<_> = reasons.cloned().collect();
        let Some((invite, to)) = self.transactions.request(calling.tx) else { return };
        let mut draft = Draft::request("CANCEL", &invite.uri.to_bytes());
        let copied =
            [HeaderName::Via, HeaderName::Route, HeaderName::From, HeaderName::To, HeaderName::CallId];
        for name in &copied {
            draft.copy(&invite.headers, name);
        }
        draft.line("CSeq", format!("{} CANCEL", cseq(&invite.headers).unwrap_or(1)));
        draft.line("Max-Forwards", "70");
        draft.extra(&reasons);
        draft.line("User-Agent", &self.identity.agent);
        // It follows its INVITE, whatever its own size.
        let job = Job::of(id, Errand::Cancel);
        self.transactions.send(now, &mut self.wire, (draft.finish(), to), job);
        self.wire.remind(now.saturating_add(self.config.patience()), id, Chore::GiveUpCancel);
    }

    pub(super) fn give_up_cancel(&mut self, id: DialogId) {
        let state = self.dialogs.by_id.get(&id).map(|dialog| &dialog.state);
        if let Some(State::Calling(Calling { tx, late, .. })) = state {
            let why = if *late { Failure::NoAnswer } else { Failure::CancelUnanswered };
            self.transactions.forget(*tx);
            self.forget_dialog(id);
            self.wire.tell(SipEvent::Failed { dialog: id, why });
        }
    }

    /// Nobody answered in time.
    pub(super) fn give_up_calling(&mut self, now: Time, id: DialogId) {
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        if let State::Calling(calling) = &mut dialog.state
            && !calling.is_cancelled()
        {
            calling.late = true;
            let _ = self.cancel(now, id);
        }
    }

    /// Our BYE is answered or given up. Whatever the answer is, the dialog is over.
    pub(super) fn bye_over(&mut self, id: DialogId) {
        if let Some(State::Ending { cause }) = self.dialogs.by_id.get(&id).map(|dialog| &dialog.state) {
            let cause = cause.unwrap_or(EndCause::LocalBye);
            self.end(id, Vec::new(), cause);
        }
    }
}
