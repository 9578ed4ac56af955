//! A peer hangs up while a transfer is not over: what is told of the transfer outlives the call (RFC 5057 section 4.2).

use std::time::Duration;

use sipx_sip::TuEvent;

use super::Endpoint;
use crate::config::Time;
use crate::dialog::State;
use crate::event::{DialogId, EndCause, HeaderList, SipEvent, TransferProgress};
use crate::schedule::Chore;
use crate::transactions::Happening;

/// How long we may take to tell a peer that has left how its transfer has ended: as long as our NOTIFYs say.
const TELLING: Duration = Duration::from_secs(180);

impl Endpoint {
    /// Keeps the dialog of a peer that has hung up while one side tells the other of a transfer; gives the headers of
    /// the BYE back where there is none.
    pub(super) fn leave_open(&mut self, now: Time, id: DialogId, headers: HeaderList) -> Option<HeaderList> {
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return Some(headers) };
        let up = matches!(dialog.state, State::Up { .. });
        let (asked, telling) = (dialog.referral.is_some(), dialog.subscription.is_some());
        if !up || !asked && !telling {
            return Some(headers);
        }
        dialog.state = State::Left { told: !asked };
        (dialog.unacked, dialog.owed_ack, dialog.own, dialog.wanted) = (None, None, None, None);
        let patience = if telling { TELLING } else { self.config.patience() };
        self.wire.remind(now.saturating_add(patience), id, Chore::GiveUpLeft);
        self.wire.tell(match asked {
            true => SipEvent::Left { dialog: id, headers },
            false => SipEvent::Ended { dialog: id, headers, cause: EndCause::Bye },
        });
        None
    }

    /// Ends the dialog of a peer that has hung up, if nothing is open of a transfer any more.
    pub(super) fn part_if_settled(&mut self, id: DialogId) {
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        let State::Left { told } = &mut dialog.state else { return };
        if dialog.referral.is_some() {
            return;
        }
        if dialog.subscription.is_none() {
            return self.part(id);
        }
        // We still have to tell the peer something, which is not the owner's wait.
        if !std::mem::replace(told, true) {
            self.wire.tell(SipEvent::Ended { dialog: id, headers: Vec::new(), cause: EndCause::Bye });
        }
    }

    /// Forgets the dialog of a peer that has hung up.
    pub(super) fn part(&mut self, id: DialogId) {
        match self.dialogs.by_id.get(&id).map(|dialog| &dialog.state) {
            Some(State::Left { told: true }) => drop(self.forget_dialog(id)),
            Some(State::Left { told: false }) => self.end(id, Vec::new(), EndCause::Bye),
            _ => {}
        }
    }

    /// A NOTIFY of ours was answered, or the peer is silent: then it wants to hear no more (RFC 6665 section 4.2.2).
    pub(super) fn notify_over(&mut self, id: DialogId, happening: &Happening) {
        let heard = matches!(&happening.event, TuEvent::Response(response) if response.status.is_success());
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        if !heard && matches!(dialog.state, State::Left { .. }) {
            dialog.subscription = None;
        }
        self.part_if_settled(id);
    }

    /// Nobody has told anything for too long.
    pub(super) fn give_up_left(&mut self, id: DialogId) {
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        if !matches!(dialog.state, State::Left { .. }) {
            return;
        }
        if dialog.referral.take().is_some() {
            let reason = "the peer has left and never told the end of the transfer".to_owned();
            self.tell_transfer(id, TransferProgress::Failed { code: 408, reason });
        }
        self.part(id);
    }
}
