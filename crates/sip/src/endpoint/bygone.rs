//! What the credentials of a call of ours are good for after its end: the BYE of another callee, whose answer came too
//! late to be wanted, may be challenged when the call is over.

use std::collections::BTreeMap;

use super::Endpoint;
use crate::config::Time;
use crate::dialog::Dialog;
use crate::digest::Authentication;
use crate::event::DialogId;
use crate::hop::Hop;
use crate::schedule::Due;

/// Calls that are over whose credentials are kept. When full the one that began first is forgotten.
const MOST: usize = 2_048;

/// The credentials of calls of ours that are over while others of their callees may still answer.
#[derive(Debug, Default)]
pub(super) struct Bygone(BTreeMap<DialogId, Authentication>);

impl Bygone {
    /// Takes them from a call that is forgotten, if it was answered lately.
    pub(super) fn keep(&mut self, dialog: &mut Dialog) {
        let Some(auth) = dialog.auth.take().filter(|_| dialog.may_fork) else { return };
        if self.0.len() >= MOST {
            self.0.pop_first();
        }
        self.0.insert(dialog.id, auth);
    }

    pub(super) fn holds(&self, id: DialogId) -> bool {
        self.0.contains_key(&id)
    }

    /// What answers a challenge to the BYE of another callee of this call that went there.
    pub(super) fn auth_at(&mut self, id: DialogId, to: &Hop) -> Option<&mut Authentication> {
        self.0.get_mut(&id).filter(|auth| auth.is_for(to.address.ip()))
    }
}

impl Endpoint {
    /// A call with credentials is answered: the others may answer until its INVITE is over (RFC 6026 section 8.4), and the
    /// BYE to one of them may be challenged for as long again.
    pub(super) fn expect_others(&mut self, now: Time, id: DialogId) {
        let Some(dialog) = self.dialogs.by_id.get_mut(&id).filter(|dialog| dialog.auth.is_some()) else {
            return;
        };
        dialog.may_fork = true;
        let span = self.config.patience().saturating_mul(2);
        self.wire.schedule.set(now.saturating_add(span), Due::Others(id));
    }

    /// No other callee of this call can ask any more.
    pub(super) fn no_others(&mut self, id: DialogId) {
        self.bygone.0.remove(&id);
        if let Some(dialog) = self.dialogs.by_id.get_mut(&id) {
            dialog.may_fork = false;
        }
    }
}
