//! One dialog: what the call in it is doing, and what waits in it for an answer.

use std::collections::VecDeque;
use std::net::IpAddr;

use sipx_sip::session::Accepted;
use sipx_sip::{HeaderName, Headers, Request, TransactionKey, rel};

use crate::config::Time;
use crate::digest::Authentication;
use crate::endpoint::{Refreshing, Waiting};
use crate::event::{DialogId, EndCause, HeaderList, OfferMethod};
use crate::hop::{Hop, Way};
use crate::message::{cseq, from_tag, value};
use crate::path::Path;
use crate::schedule::Chore;
use crate::transactions::TxId;

/// Lines that answer challenges.
pub(crate) type Shown = Vec<(HeaderName, Vec<u8>)>;

/// A dialog with its call.
#[derive(Debug)]
pub(crate) struct Dialog {
    pub(crate) id: DialogId,
    pub(crate) path: Path,
    pub(crate) remote_seq: Option<u32>,
    /// `CSeq` of the INVITE that began it, if the peer did.
    pub(crate) invited_seq: Option<u32>,
    pub(crate) state: State,
    /// The offer of the peer that waits for our answer.
    pub(crate) reoffer: Option<Reoffer>,
    /// The 200 of ours that waits for its ACK.
    pub(crate) unacked: Option<Unacked>,
    /// What answers challenges to our requests in it; [`auth_at`](Self::auth_at) says where.
    pub(crate) auth: Option<Authentication>,
    /// Whether another callee of the call may still answer and ask for credentials.
    pub(crate) may_fork: bool,
    /// Whether our INVITE made no offer.
    pub(crate) offerless: bool,
    /// `CSeq` of the peer's 200 whose offer our ACK is to answer.
    pub(crate) owed_ack: Option<u32>,
    /// The credentials of our last INVITE that was answered, which its ACK repeats (RFC 3261 section 22.1), with its
    /// `CSeq`.
    pub(crate) shown: Option<(u32, Shown)>,
    /// The last ACK with a body, sent again for a copy of its 200.
    pub(crate) last_ack: Option<(u32, Vec<u8>, Way)>,
    /// What is known of acknowledged provisional responses, for a caller that takes them.
    pub(crate) early: Option<Box<Early>>,
    /// The session timer's terms that our 200 will tell.
    pub(crate) terms: Option<Accepted>,
    pub(crate) refreshing: Refreshing,
    /// The offer of ours that is open.
    pub(crate) own: Option<OwnOffer>,
    /// An offer of ours that waits until it can be made.
    pub(crate) wanted: Option<Offering>,
    /// The transfer that we have asked the peer for.
    pub(crate) referral: Option<Referral>,
    /// The transfer that the peer asks us for.
    pub(crate) referred: Option<Box<Waiting>>,
    /// `CSeq` of the REFER whose progress we tell the peer.
    pub(crate) subscription: Option<u32>,
    /// The call that this one takes the place of when it is answered.
    pub(crate) replaces: Option<DialogId>,
    /// Our last offer or answer.
    pub(crate) local_sdp: Option<String>,
    /// The INVITEs of ours that were given up for another target; at most one for each.
    pub(crate) given_up: Vec<TransactionKey>,
}

/// What the call in a dialog is doing.
#[derive(Debug)]
pub(crate) enum State {
    /// A caller waits for our answer.
    Invited {
        tx: TxId,
        /// Whether the INVITE brought an offer.
        offered: bool,
    },
    /// We wait for the callee's answer.
    Calling(Calling),
    /// Answered.
    Up {
        /// Headers of the BYE that goes out when the ACK of our 200 has come.
        bye: Option<HeaderList>,
    },
    /// Our BYE is out; the cause is told when it is answered or given up, if the end has not been told before.
    Ending { cause: Option<EndCause> },
    /// The peer has hung up; a transfer is not over yet, of which one side tells the other (RFC 5057 section 4.2).
    Left {
        /// Whether the owner of the call has heard the end.
        told: bool,
    },
}

/// An INVITE of ours without final answer.
#[derive(Debug)]
pub(crate) struct Calling {
    pub(crate) tx: TxId,
    /// Whether the callee has responded at all; before that CANCEL may not be sent.
    pub(crate) responded: bool,
    pub(crate) cancel: Cancel,
    /// Whether it was not the owner of the call who gave it up.
    pub(crate) late: bool,
    /// Header lines of its end: `Reason` goes into the CANCEL (RFC 3326), all of them into a BYE in its place.
    pub(crate) farewell: HeaderList,
    /// The callees that have shown themselves, by tag.
    pub(crate) forks: Vec<Fork>,
    /// Where the INVITE goes if this target fails.
    pub(crate) targets: VecDeque<Hop>,
}

/// An early dialog: one of the callees that a proxy rings.
#[derive(Debug)]
pub(crate) struct Fork {
    pub(crate) path: Path,
    /// `CSeq` of its last request to us.
    pub(crate) remote_seq: Option<u32>,
    pub(crate) reliable: rel::Sequence,
    /// Whether our offer is answered and we have acknowledged that: either end may make another one.
    pub(crate) agreed: bool,
}

impl Calling {
    pub(crate) fn new(tx: TxId, targets: VecDeque<Hop>) -> Self {
        let (cancel, farewell, forks) = (Cancel::No, Vec::new(), Vec::new());
        Self { tx, responded: false, cancel, late: false, farewell, forks, targets }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel != Cancel::No
    }

    /// Whether the callee with this tag rings, and is still wanted to.
    pub(crate) fn rings_at(&self, tag: &[u8]) -> bool {
        !self.is_cancelled() && self.forks.iter().any(|fork| fork.path.remote_tag == tag)
    }

    /// Whether our offer is answered by the callee with this tag, which is still wanted.
    pub(crate) fn agreed_with(&self, tag: &[u8]) -> bool {
        !self.is_cancelled() && self.forks.iter().any(|fork| fork.agreed && fork.path.remote_tag == tag)
    }

    pub(crate) fn fork(&mut self, tag: &[u8]) -> Option<&mut Fork> {
        self.forks.iter_mut().find(|fork| fork.path.remote_tag == tag)
    }
}

/// How far giving up an INVITE of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancel {
    No,
    /// Wanted, but the callee has not responded yet.
    Wanted,
    Sent,
}

/// An offer of the peer inside the dialog.
#[derive(Debug)]
pub(crate) struct Reoffer {
    pub(crate) tx: TxId,
    pub(crate) method: OfferMethod,
    pub(crate) seq: u32,
    /// Whether it brought SDP.
    pub(crate) offered: bool,
}

/// A transfer that we have asked for.
#[derive(Debug)]
pub(crate) struct Referral {
    pub(crate) seq: u32,
    /// What answers challenges to the REFER, if not what answers those of the call.
    pub(crate) auth: Option<Authentication>,
}

/// What a re-INVITE of ours brings.
#[derive(Debug, Clone)]
pub(crate) enum Offering {
    /// Our offer.
    Ours(String),
    /// Nothing: the peer makes one in its 200, and our ACK answers it.
    Theirs,
}

/// A new offer of ours.
#[derive(Debug)]
pub(crate) struct OwnOffer {
    pub(crate) what: Offering,
    /// Whether the owner of the call hears what becomes of it.
    pub(crate) told: bool,
    pub(crate) collisions: u8,
    /// While it waits after a collision: which alarm.
    pub(crate) waits: Option<u32>,
    /// `CSeq` under which it was made first: after a challenge it has a later one.
    pub(crate) seq: u32,
}

/// Provisional responses that the caller acknowledges (RFC 3262).
#[derive(Debug)]
pub(crate) struct Early {
    /// Whether the caller takes no others.
    pub(crate) required: bool,
    pub(crate) numbering: rel::Numbering,
    /// Whether the caller has acknowledged our answer to its offer: either end may make another one.
    pub(crate) agreed: bool,
    pub(crate) waiting: Option<Reliably>,
    /// Once the call is answered: until when the PRACK of what waited then may come.
    pub(crate) late_until: Option<Time>,
    /// What is sent when that one is acknowledged.
    pub(crate) next: Option<Next>,
}

/// A provisional response that waits for its PRACK.
#[derive(Debug)]
pub(crate) struct Reliably {
    pub(crate) number: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) interval: Time,
    pub(crate) until: Time,
    /// Whether it answers the caller's offer, so that the 200 may not overtake it.
    pub(crate) answers: bool,
}

/// What waits behind a provisional response.
#[derive(Debug)]
pub(crate) enum Next {
    Ring(Option<String>),
    Answer(String, HeaderList),
}

/// A 200 to an INVITE, sent again until its ACK comes (RFC 3261 section 13.3.1.4).
#[derive(Debug)]
pub(crate) struct Unacked {
    pub(crate) seq: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) to: Hop,
    pub(crate) interval: Time,
    pub(crate) until: Time,
    /// Whether this was the first INVITE of the dialog.
    pub(crate) first: bool,
    /// Whether our 200 made an offer that the ACK answers.
    pub(crate) offers: bool,
}

impl State {
    /// For messages to people.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Invited { .. } => "not answered yet",
            Self::Calling(Calling { cancel: Cancel::No, .. }) => "calling",
            Self::Calling(_) => "being cancelled",
            Self::Up { .. } => "answered",
            Self::Ending { .. } => "ending",
            Self::Left { .. } => "over",
        }
    }
}

impl Dialog {
    /// The dialog that an INVITE to us begins.
    pub(crate) fn from_invite(id: DialogId, invite: &Request, peer: Hop, tag: String) -> Self {
        let seq = cseq(&invite.headers);
        Self { remote_seq: seq, invited_seq: seq, ..Self::bare(id, Path::from_invite(invite, peer, tag)) }
    }

    /// The dialog that an INVITE of ours asks for, before any response.
    pub(crate) fn from_call(id: DialogId, invite: &Request, peer: Hop) -> Self {
        Self::bare(id, Path::from_call(invite, peer))
    }

    /// The state is entered when its transaction has begun.
    fn bare(id: DialogId, path: Path) -> Self {
        Self {
            id,
            path,
            remote_seq: None,
            invited_seq: None,
            state: State::Up { bye: None },
            reoffer: None,
            unacked: None,
            auth: None,
            may_fork: false,
            offerless: false,
            owed_ack: None,
            shown: None,
            last_ack: None,
            early: None,
            terms: None,
            refreshing: Refreshing::default(),
            own: None,
            wanted: None,
            referral: None,
            referred: None,
            subscription: None,
            replaces: None,
            local_sdp: None,
            given_up: Vec::new(),
        }
    }

    /// One request of ours has taken the place of another.
    pub(crate) fn replace(&mut self, old: TxId, new: TxId) {
        if let State::Calling(calling) = &mut self.state
            && calling.tx == old
        {
            calling.tx = new;
            calling.responded = false;
        }
    }

    /// What answers challenges to a request of ours that goes there.
    pub(crate) fn auth_at(&mut self, to: &Hop) -> Option<&mut Authentication> {
        self.auth.as_mut().filter(|auth| auth.is_for(to.address.ip()))
    }

    /// Whether the transfer that we ask for has credentials of its own.
    pub(crate) fn refers_by_itself(&self) -> bool {
        self.referral.as_ref().is_some_and(|referral| referral.auth.is_some())
    }

    /// What is answered ahead in a request of ours that goes to one of these addresses; to none if it is not known where.
    pub(crate) fn auth_towards(&mut self, addresses: &[IpAddr]) -> Option<&mut Authentication> {
        self.auth.as_mut().filter(|auth| auth.is_for_all(addresses))
    }

    /// Whether no offer is open in either direction, so that we may make one.
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(self.state, State::Up { bye: None })
            && self.own.is_none()
            && self.reoffer.is_none()
            && self.unacked.is_none()
            && self.owed_ack.is_none()
    }

    /// Whether a NOTIFY with this `Event` is of a transfer that we have asked for: an `id` is the number of its REFER,
    /// which is a later one where that was challenged (RFC 3515 section 2.4.6).
    pub(crate) fn has_asked(&self, event: &str) -> bool {
        let id = event.split(';').find_map(|parameter| parameter.trim().strip_prefix("id="));
        let numbers = self.referral.as_ref().map(|referral| referral.seq..=self.path.local_seq);
        numbers.is_some_and(|numbers| {
            id.is_none_or(|id| id.trim().parse().is_ok_and(|id| numbers.contains(&id)))
        })
    }

    /// Whether an offer of ours waits for its answer.
    pub(crate) fn offers(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.waits.is_none()) || self.owed_ack.is_some()
    }

    /// Whether a request is from the other end of this dialog.
    pub(crate) fn is_peer(&self, headers: &Headers) -> bool {
        let unfixed = matches!(self.state, State::Calling(_));
        value(headers, &HeaderName::CallId) == self.path.call_id
            && (unfixed || from_tag(headers) == self.path.remote_tag)
    }

    /// Whether an alarm still means anything.
    pub(crate) fn awaits(&self, chore: Chore) -> bool {
        match chore {
            Chore::RepeatAnswer(seq) => self.unacked.as_ref().is_some_and(|unacked| unacked.seq == seq),
            Chore::GiveUpReoffer(seq) => self.reoffer.as_ref().is_some_and(|reoffer| reoffer.seq == seq),
            Chore::GiveUpRinging => matches!(self.state, State::Invited { .. } | State::Calling(_)),
            Chore::TryNext(tx) => {
                matches!(&self.state, State::Calling(calling) if calling.tx == tx && !calling.responded)
            }
            Chore::Expire => matches!(self.state, State::Invited { .. }),
            Chore::GiveUpCancel => matches!(self.state, State::Calling(_)),
            Chore::RepeatEarly(number) => {
                let waiting = self.early.as_ref().and_then(|early| early.waiting.as_ref());
                waiting.is_some_and(|waiting| waiting.number == number)
            }
            Chore::Session(alarm) => self.refreshing.awaits(alarm),
            Chore::OfferAgain(number) => self.own.as_ref().is_some_and(|own| own.waits == Some(number)),
            Chore::GiveUpOffer(seq) => self.own.as_ref().is_some_and(|own| own.seq == seq),
            Chore::GiveUpTransfer(seq) => self.referral.as_ref().is_some_and(|referral| referral.seq == seq),
            Chore::GiveUpLeft => matches!(self.state, State::Left { .. }),
            Chore::GiveUpReferred(seq) => self.referred.as_ref().is_some_and(|waiting| waiting.seq == seq),
        }
    }
}
