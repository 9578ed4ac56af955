//! The recordings of a call: begun, ended, and what is told of one that failed.

use protocol::Extra;
use protocol::option::RecorderOption;
use protocol::record::Recording;

use super::Task;
use crate::core::Input;
use crate::failure::Failure;
use crate::media::order::ToMedia;
use crate::media_thread::Order;
use crate::setup::Tape;

/// Recordings of one call that its record names as failed; further ones are only told.
const MOST_FAILED: usize = 16;

impl Task {
    pub(super) async fn record(&mut self, rate: u32, option: &RecorderOption) -> Input {
        match self.services.studio.open(&self.id, rate, option) {
            Ok(tape) => {
                let pieces = tape.pieces.clone();
                self.tell_thread(|seat| Order::Tape(seat, Some(pieces))).await;
                self.tell_media(ToMedia::Record).await;
                self.info.send_modify(|info| info.recordings.push(tape.path.clone()));
                self.tape = Some(tape);
                Input::Taped
            }
            Err(failure) => {
                if self.written.len() < MOST_FAILED {
                    let extra = Extra::from([("error".to_owned(), failure.why.clone().into())]);
                    let track_id = self.id.clone();
                    self.written.push(Recording { track_id, extra: Some(extra), ..Recording::default() });
                }
                Input::NoTape(failure)
            }
        }
    }

    /// Ends the recording; its writer closes it while the call goes on.
    pub(super) async fn end_record(&mut self) {
        self.tell_media(ToMedia::StopRecording).await;
        self.tell_thread(|seat| Order::Tape(seat, None)).await;
        self.closing.extend(self.tape.take().map(|tape| tape.done));
    }

    /// A recording has ended while its call goes on: its disk has failed.
    pub(super) fn tape_torn(&mut self, written: Option<Recording>) -> Input {
        self.tape = None;
        let told = written.as_ref().and_then(|written| written.extra.as_ref()?.get("error")?.as_str());
        let failure = Failure::from(told.unwrap_or("its writer has ended"));
        self.written.extend(written);
        Input::NoTape(failure)
    }
}

/// What was written of a recording that ends by itself; `None` when its writer has died.
pub(super) async fn torn(tape: &mut Option<Tape>) -> Option<Recording> {
    match tape {
        Some(tape) => (&mut tape.done).await.ok(),
        None => std::future::pending().await,
    }
}
