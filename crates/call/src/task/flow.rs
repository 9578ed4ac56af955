//! How sound that is made goes to the rules: no faster than they want it.

use tokio::sync::{mpsc, watch};

use crate::core::Input;
use crate::core::voice::VoiceId;

/// The rules' hold on a voice. They say that they have enough only after they were given sound, so that one piece at a
/// time is on its way to them: of a file that is read at once there would be a queue full.
pub(super) struct Flow(watch::Sender<Held>);

/// The other end, with the voice.
pub(super) struct Flowing {
    held: watch::Receiver<Held>,
    sent: u64,
}

struct Held {
    wanted: bool,
    /// Pieces the rules have dealt with.
    taken: u64,
}

impl Flow {
    /// One that flows, with its other end.
    pub(super) fn new() -> (Self, Flowing) {
        let (flow, held) = watch::channel(Held { wanted: true, taken: 0 });
        (Flow(flow), Flowing { held, sent: 0 })
    }

    /// Whether sound is wanted.
    pub(super) fn set(&self, wanted: bool) {
        self.0.send_modify(|held| held.wanted = wanted);
    }

    /// The rules have dealt with a piece. A voice that is not wanted is not woken for it.
    pub(super) fn taken(&self) {
        self.0.send_if_modified(|held| {
            held.taken += 1;
            held.wanted
        });
    }
}

impl Flowing {
    /// Brings what is made to the rules, until it ends or nobody wants it any more.
    pub(super) async fn forward<T>(
        mut self,
        mut made: mpsc::Receiver<T>,
        input: mpsc::Sender<Input>,
        named: impl Fn(T) -> Input,
    ) {
        loop {
            // A piece is taken from whoever makes it only when it can go on: until then it holds one of the next.
            let sent = self.sent;
            if self.held.wait_for(|held| held.wanted && held.taken == sent).await.is_err() {
                return;
            }
            let Some(piece) = made.recv().await else { return };
            if input.send(named(piece)).await.is_err() {
                return;
            }
            self.sent += 1;
        }
    }
}

/// Whose piece this is.
pub(super) fn voice_of(input: &Input) -> Option<VoiceId> {
    match input {
        Input::Sound(voice, _) | Input::Spoken(voice, ..) => Some(*voice),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;

    use super::*;
    use crate::setup::Sound;

    #[tokio::test]
    async fn one_piece_at_a_time_is_on_its_way_and_none_while_none_is_wanted() {
        let (made_in, made) = mpsc::channel(10);
        let piece = Sound { rate: 8000, samples: Box::new([0; 160]) };
        (0..10).for_each(|_| made_in.try_send(piece.clone()).unwrap());
        let (input, mut inputs) = mpsc::channel(64);
        let (flow, flowing) = Flow::new();
        let mut forward = pin!(flowing.forward(made, input, |sound| Input::Sound(VoiceId(1), sound)));
        let mut come = || inputs.try_recv().ok().as_ref().and_then(voice_of);
        assert!(poll!(&mut forward).is_pending());
        assert_eq!((come(), come()), (Some(VoiceId(1)), None));
        assert!(poll!(&mut forward).is_pending());
        assert_eq!(come(), None, "the first has not been dealt with");
        flow.set(false);
        flow.taken();
        assert!(poll!(&mut forward).is_pending());
        assert_eq!(come(), None);
        flow.set(true);
        assert!(poll!(&mut forward).is_pending());
        assert_eq!((come(), come()), (Some(VoiceId(1)), None));
    }
}
