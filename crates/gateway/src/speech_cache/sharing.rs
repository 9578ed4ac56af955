//! Renderings that are under way: a text that many want at once is made once, and all hear it while it is made.

use std::collections::HashMap;
use std::future::Future;
#[allow(
    clippy::disallowed_types,
    reason = "renderings belong to no call; the lock is held for a look into a map"
)]
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use providers::{ProviderError, Spoken, Synthesizer, Text};
use tokio::sync::mpsc::{Sender, channel};
use tokio::sync::watch;
use tracing::Instrument;

use super::SPOKEN;

/// Longest text, in bytes, that is made for many: its sound is held until the slowest has it.
pub(super) const MOST_TEXT: usize = 1024;
/// Most samples that are held of one: what such a text has at 48 kHz and a quarter of the usual speed.
const MOST_SAMPLES: usize = 16 << 20;

/// Renderings under way, by the name of their sound. Each is a task of its own that lives as long as anyone listens, so
/// that whoever asked first may leave.
#[derive(Debug, Default)]
#[allow(clippy::disallowed_types, reason = "as above")]
pub(super) struct Renderings(Mutex<HashMap<String, watch::Sender<Progress>>>);

/// What a rendering has given so far.
#[derive(Debug, Default)]
struct Progress {
    given: Vec<Spoken>,
    samples: usize,
    end: Option<Result<(), ProviderError>>,
}

/// One listener's end of a rendering.
#[derive(Debug)]
pub(super) struct Share {
    progress: watch::Receiver<Progress>,
    /// The listener has begun it, and so nobody else made it.
    pub(super) begun: bool,
}

/// A rendering ended before its sound was whole.
#[derive(Debug)]
pub(super) struct Broken {
    /// Why.
    pub(super) error: ProviderError,
    /// Some of the sound was given on.
    pub(super) heard: bool,
}

impl Renderings {
    /// Listens to the rendering of this name. Where there is none `vendor` begins one of `text`, and `keep` is given the whole
    /// sound; until that is done others find it here.
    #[allow(
        clippy::disallowed_methods,
        reason = "it ends by itself when nobody listens, and belongs to none of them"
    )]
    pub(super) fn join<F: Future<Output = ()> + Send>(
        self: &Arc<Self>,
        name: &str,
        (vendor, text): (&Arc<dyn Synthesizer>, &str),
        keep: impl FnOnce(Vec<i16>) -> F + Send + 'static,
    ) -> Share {
        let mut under_way = self.under_way();
        if let Some(progress) = under_way.get(name) {
            return Share { progress: progress.subscribe(), begun: false };
        }
        let (sender, progress) = watch::channel(Progress::default());
        under_way.insert(name.to_owned(), sender.clone());
        let place = Place { all: self.clone(), name: name.to_owned(), progress: sender };
        let (vendor, text) = (vendor.clone(), text.to_owned());
        let made = async move {
            let result = tokio::select! {
                result = make(&*vendor, text, &place.progress) => result,
                () = place.unwanted() => return,
            };
            if let Some(whole) = place.end(result) {
                keep(whole).await;
            }
        };
        tokio::spawn(made.in_current_span());
        Share { progress, begun: true }
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<Progress>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the vendor speak `text` as fast as it can.
async fn make(
    vendor: &dyn Synthesizer,
    text: String,
    progress: &watch::Sender<Progress>,
) -> Result<(), ProviderError> {
    let (out, mut sounds) = channel(SPOKEN);
    let gathered = async {
        while let Some(sound) = sounds.recv().await {
            let mut samples = 0;
            progress.send_modify(|progress| {
                progress.samples +=
                    if let Spoken::Audio { samples, .. } = &sound { samples.len() } else { 1 };
                progress.given.push(sound);
                samples = progress.samples;
            });
            if samples > MOST_SAMPLES {
                return Err(ProviderError::Protocol("it speaks without end".into()));
            }
        }
        Ok(())
    };
    tokio::try_join!(vendor.run(super::only(Text { piece: 0, text }), out), gathered)?;
    Ok(())
}

/// The place of a rendering among those under way, which it leaves however it ends.
struct Place {
    all: Arc<Renderings>,
    name: String,
    progress: watch::Sender<Progress>,
}

impl Place {
    /// Ends when nobody listens any more; then nobody can begin to.
    async fn unwanted(&self) {
        loop {
            self.progress.closed().await;
            let mut under_way = self.all.under_way();
            if self.progress.receiver_count() == 0 {
                under_way.remove(&self.name);
                return;
            }
        }
    }

    /// Tells how it ended; gives the sound when it can be kept. After a failure whoever listened may begin anew.
    fn end(&self, result: Result<(), ProviderError>) -> Option<Vec<i16>> {
        if result.is_err() {
            self.leave();
        }
        let mut whole = None;
        self.progress.send_modify(|progress| {
            whole = result.is_ok().then(|| kept(&progress.given)).flatten();
            progress.end = Some(result);
        });
        whole
    }

    fn leave(&self) {
        let mut under_way = self.all.under_way();
        if under_way.get(&self.name).is_some_and(|progress| progress.same_channel(&self.progress)) {
            under_way.remove(&self.name);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The samples of a sound that is whole. One with word times, which a file does not hold, is not kept.
fn kept(given: &[Spoken]) -> Option<Vec<i16>> {
    let mut whole = Some(Vec::new());
    given.iter().for_each(|sound| super::gather(&mut whole, sound));
    let done = given.iter().any(|sound| matches!(sound, Spoken::Done { .. }));
    whole.filter(|samples| done && !samples.is_empty())
}

impl Share {
    /// Gives what is rendered on as `piece`, from the beginning. What another call has begun is told as kept.
    pub(super) async fn hear(mut self, piece: u32, spoken: &Sender<Spoken>) -> Result<(), Broken> {
        let mut next = 0;
        let gone = |_| Broken { error: ProviderError::Gone, heard: true };
        loop {
            let (sound, end) = {
                let progress = self.progress.borrow_and_update();
                (progress.given.get(next).cloned(), progress.end.clone())
            };
            let heard = next > 0;
            match (sound, end) {
                (Some(sound), _) => {
                    if !heard && !self.begun && !matches!(sound, Spoken::Kept { .. }) {
                        spoken.send(Spoken::Kept { piece }).await.map_err(gone)?;
                    }
                    spoken.send(of(piece, sound)).await.map_err(gone)?;
                    next += 1;
                }
                (None, Some(end)) => return end.map_err(|error| Broken { error, heard }),
                (None, None) => {
                    if self.progress.changed().await.is_err() {
                        let error = ProviderError::Protocol("it broke off".into());
                        return Err(Broken { error, heard });
                    }
                }
            }
        }
    }
}

/// The same of another piece.
fn of(piece: u32, sound: Spoken) -> Spoken {
    match sound {
        Spoken::Audio { samples, .. } => Spoken::Audio { piece, samples },
        Spoken::Words { words, .. } => Spoken::Words { piece, words },
        Spoken::Kept { .. } => Spoken::Kept { piece },
        Spoken::Done { .. } => Spoken::Done { piece },
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "calls stand in for themselves")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use tokio::sync::Semaphore;
    use tokio::sync::mpsc::Receiver;

    use super::*;

    /// What the voice does in its first run; in others it speaks.
    #[derive(Clone, Copy, PartialEq)]
    enum First {
        Speaks,
        Fails,
        Panics,
    }

    /// Speaks three pieces of sound, each when it is let.
    struct Voice {
        first: First,
        runs: AtomicUsize,
        running: Arc<AtomicUsize>,
        go: Semaphore,
    }

    struct Running(Arc<AtomicUsize>);

    impl Drop for Running {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl Voice {
        fn new(first: First) -> Arc<Voice> {
            let (runs, running) = (AtomicUsize::new(0), Arc::default());
            Arc::new(Voice { first, runs, running, go: Semaphore::new(0) })
        }
    }

    #[async_trait]
    impl Synthesizer for Voice {
        fn rate(&self) -> u32 {
            16_000
        }

        async fn run(&self, mut text: Receiver<Text>, out: Sender<Spoken>) -> Result<(), ProviderError> {
            self.running.fetch_add(1, Ordering::SeqCst);
            let _running = Running(self.running.clone());
            let run = self.runs.fetch_add(1, Ordering::SeqCst);
            let piece = text.recv().await.map_or(7, |text| text.piece);
            for n in 1..=3 {
                self.go.acquire().await.unwrap().forget();
                assert!(run > 0 || self.first != First::Panics, "as a vendor's code does");
                if run == 0 && self.first == First::Fails {
                    return Err(ProviderError::Status { code: 401, body: "whose key is that?".into() });
                }
                let samples = vec![n; 3].into();
                out.send(Spoken::Audio { piece, samples }).await.map_err(|_| ProviderError::Gone)?;
            }
            out.send(Spoken::Done { piece }).await.map_err(|_| ProviderError::Gone)
        }
    }

    struct World {
        voice: Arc<Voice>,
        all: Arc<Renderings>,
        kept: Arc<Mutex<Vec<Vec<i16>>>>,
    }

    impl World {
        fn new(first: First) -> World {
            World { voice: Voice::new(first), all: Arc::default(), kept: Arc::default() }
        }

        /// A call that wants the text as its piece of this number.
        fn wants(&self, piece: u32) -> (Result<(), ()>, tokio::task::JoinHandle<Vec<Spoken>>) {
            let (voice, kept) = (self.voice.clone() as Arc<dyn Synthesizer>, self.kept.clone());
            let keep = |samples| async move { kept.lock().unwrap().push(samples) };
            let first = self.all.join("name", (&voice, "hello"), keep);
            let begun = if first.begun { Ok(()) } else { Err(()) };
            let (all, voice, kept) = (self.all.clone(), voice, self.kept.clone());
            let heard = tokio::spawn(async move {
                let (spoken, mut heard) = channel(1);
                let speaking = async move {
                    let mut share = first;
                    loop {
                        let begun = share.begun;
                        if share.hear(piece, &spoken).await.is_ok() || begun {
                            break;
                        }
                        // As a call does: what failed for another is tried with one's own voice.
                        let kept = kept.clone();
                        let keep = |samples| async move { kept.lock().unwrap().push(samples) };
                        share = all.join("name", (&voice, "hello"), keep);
                    }
                };
                let mut all = Vec::new();
                let hearing = async {
                    while let Some(sound) = heard.recv().await {
                        all.push(sound);
                    }
                };
                tokio::join!(speaking, hearing);
                all
            });
            (begun, heard)
        }
    }

    fn whole(piece: u32) -> Vec<Spoken> {
        let sounds = (1..=3).map(|n| Spoken::Audio { piece, samples: vec![n; 3].into() });
        sounds.chain([Spoken::Done { piece }]).collect()
    }

    fn kept_before(piece: u32) -> Vec<Spoken> {
        [vec![Spoken::Kept { piece }], whole(piece)].concat()
    }

    #[tokio::test]
    async fn a_text_that_many_want_is_made_once_and_kept_once() {
        let world = World::new(First::Speaks);
        let calls: Vec<_> = (0..20).map(|piece| world.wants(piece)).collect();
        assert_eq!(calls.iter().filter(|(begun, _)| begun.is_ok()).count(), 1);
        world.voice.go.add_permits(3);
        for (piece, (begun, heard)) in calls.into_iter().enumerate() {
            let piece = u32::try_from(piece).unwrap();
            let expected = if begun.is_ok() { whole(piece) } else { kept_before(piece) };
            assert_eq!(heard.await.unwrap(), expected);
        }
        assert_eq!(world.voice.runs.load(Ordering::SeqCst), 1);
        while !world.all.under_way().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(*world.kept.lock().unwrap(), [[1, 1, 1, 2, 2, 2, 3, 3, 3]]);
    }

    #[tokio::test]
    async fn who_asked_first_may_leave_and_the_others_hear_all_of_it() {
        let world = World::new(First::Speaks);
        let (first, second) = (world.wants(1).1, world.wants(2).1);
        world.voice.go.add_permits(1);
        while world.voice.go.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        world.voice.go.add_permits(2);
        assert_eq!(second.await.unwrap(), kept_before(2));
        assert_eq!(world.voice.runs.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_nobody_wants_any_more_is_made_no_further() {
        let world = World::new(First::Speaks);
        let calls = [world.wants(1).1, world.wants(2).1];
        while world.voice.running.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        calls.iter().for_each(tokio::task::JoinHandle::abort);
        while world.voice.running.load(Ordering::SeqCst) > 0 || !world.all.under_way().is_empty() {
            tokio::task::yield_now().await;
        }
        let again = world.wants(3).1;
        world.voice.go.add_permits(3);
        assert_eq!(again.await.unwrap(), whole(3), "it is begun anew");
    }

    #[tokio::test]
    async fn after_a_failure_those_who_wait_make_it_themselves_once() {
        for first in [First::Fails, First::Panics] {
            let world = World::new(first);
            let calls: Vec<_> = (0..5).map(|piece| world.wants(piece).1).collect();
            world.voice.go.add_permits(4);
            let mut heard = Vec::new();
            for call in calls {
                heard.push(call.await.unwrap());
            }
            assert_eq!(heard[0], [], "its own voice has failed");
            assert_eq!(heard[1..].iter().filter(|heard| matches!(heard[0], Spoken::Kept { .. })).count(), 3);
            assert!(heard[1..].iter().all(|heard| matches!(heard.last(), Some(Spoken::Done { .. }))));
            assert_eq!(world.voice.runs.load(Ordering::SeqCst), 2);
        }
    }
}
