//! The wrapper around every provider: retries with back-off, time limits, times measured, safe logging.
//!
//! A failed attempt is repeated only while nothing was delivered, and is then given again what the failed one
//! was given. No text of a caller, an agent or a model is logged, only names, times and errors.
//!
//! Cancelling is dropping the future. Closing the output channel ends it with [`ProviderError::Gone`].

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use protocol::chat::{Ask, ModelOutput};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;

use crate::error::WORDS;
use crate::{ChatModel, Heard, Hearing, ProviderError, Recognizer, Spoken, Synthesizer, Text};

/// Between the wrapper and the provider, both ways; whoever writes waits when it is full.
const INNER_QUEUE: usize = 8;
/// Longest wait that a vendor may ask for before another attempt.
const LONGEST_AGAIN: Duration = Duration::from_secs(5);
/// Inputs kept for another attempt: 20 s of sound in chunks of 100 ms. The oldest are forgotten.
const REPLAY: usize = 200;

/// How long and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Attempts in all; at least one is made.
    pub attempts: u32,
    /// Wait before the second attempt; doubled for each further one, and half to all of it is waited.
    pub backoff: Duration,
    /// Longest wait for the first output of what was asked, for which all attempts together have so much.
    pub first: Duration,
    /// Longest wait for each further output while some is due.
    pub idle: Duration,
    /// Longest time that a provider may leave its input lying.
    pub stall: Duration,
}

impl Limits {
    /// Two retries; 8 s to the first token and 6 s between tokens, since a caller who hears nothing hangs up.
    pub const CHAT: Limits = Limits {
        attempts: 3,
        backoff: Duration::from_millis(250),
        first: Duration::from_secs(8),
        idle: Duration::from_secs(6),
        stall: Duration::from_secs(20),
    };
    /// Questions that no caller waits for: 30 s to the first token and 20 s between tokens.
    pub const ASIDE: Limits =
        Limits { first: Duration::from_secs(30), idle: Duration::from_secs(20), ..Limits::CHAT };
    /// Two retries; 4 s to the first sound and 6 s between sounds.
    pub const SPEAK: Limits = Limits {
        attempts: 3,
        backoff: Duration::from_millis(100),
        first: Duration::from_secs(4),
        idle: Duration::from_secs(6),
        stall: Duration::from_secs(20),
    };
    /// Two retries; silence is no failure, but sound left lying for 5 s is.
    pub const HEAR: Limits = Limits {
        attempts: 3,
        backoff: Duration::from_millis(250),
        first: Duration::from_secs(15),
        idle: Duration::from_secs(20),
        stall: Duration::from_secs(5),
    };
}

/// How long it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// From the first input (of a question: from the begin) to the first output; absent without output.
    pub first: Option<Duration>,
    /// From begin to end.
    pub total: Duration,
    /// Attempts made.
    pub attempts: u32,
}

/// Runs a recognizer. `name` is the provider's, for the log.
///
/// # Errors
/// Those of the last attempt.
pub async fn recognize(
    name: &str,
    recognizer: &dyn Recognizer,
    limits: &Limits,
    audio: Receiver<Hearing>,
    heard: Sender<Heard>,
) -> Result<Measured, ProviderError> {
    let relay = Relay { name, limits, due: Due::never(), input: Some(audio), output: heard };
    relay.run(|audio, heard| recognizer.run(audio, heard)).await
}

/// Runs a synthesizer over one utterance. Otherwise as [`recognize`].
///
/// # Errors
/// Those of the last attempt.
pub async fn synthesize(
    name: &str,
    synthesizer: &dyn Synthesizer,
    limits: &Limits,
    text: Receiver<Text>,
    spoken: Sender<Spoken>,
) -> Result<Measured, ProviderError> {
    let due = Due {
        given: |_: &Text| 1,
        settled: |spoken: &Spoken| usize::from(matches!(spoken, Spoken::Done { .. })),
        ever: true,
        ..Due::never()
    };
    let relay = Relay { name, limits, due, input: Some(text), output: spoken };
    relay.run(|text, spoken| synthesizer.run(text, spoken)).await
}

/// Asks a chat model one question. A failure is the returned error; no [`ModelOutput::Failed`] is sent.
///
/// # Errors
/// Those of the last attempt.
pub async fn chat(
    name: &str,
    model: &dyn ChatModel,
    limits: &Limits,
    ask: Ask,
    answer: Sender<ModelOutput>,
) -> Result<Measured, ProviderError> {
    let due = Due {
        at_start: 1,
        settled: |output: &ModelOutput| usize::from(matches!(output, ModelOutput::Done(_))),
        ever: true,
        ..Due::never()
    };
    let relay: Relay<'_, (), ModelOutput> = Relay { name, limits, due, input: None, output: answer };
    relay.run(|_, answer| model.run(ask.clone(), answer)).await
}

/// When output is due: what is given makes it so, what comes settles it.
struct Due<I, O> {
    at_start: usize,
    given: fn(&I) -> usize,
    settled: fn(&O) -> usize,
    /// Whether output is due at any time: of a recognizer it never is, for it is silent as long as its caller.
    ever: bool,
}

impl<I, O> Due<I, O> {
    fn never() -> Self {
        Due { at_start: 0, given: |_| 0, settled: |_| 0, ever: false }
    }
}

/// Stands between the caller's channels and those of one attempt.
struct Relay<'a, I, O> {
    name: &'a str,
    limits: &'a Limits,
    due: Due<I, O>,
    input: Option<Receiver<I>>,
    output: Sender<O>,
}

/// What an attempt leaves behind.
struct Progress<I> {
    /// Inputs given so far, for another attempt.
    given: VecDeque<I>,
    /// When the first input was given.
    asked: Option<Instant>,
    /// When the first output came.
    first: Option<Instant>,
}

impl<I: Clone, O> Relay<'_, I, O> {
    async fn run<F, R>(mut self, provider: F) -> Result<Measured, ProviderError>
    where
        F: Fn(Receiver<I>, Sender<O>) -> R,
        R: Future<Output = Result<(), ProviderError>>,
    {
        let begin = Instant::now();
        let asked = self.input.is_none().then_some(begin);
        let mut progress = Progress { given: VecDeque::new(), asked, first: None };
        let mut attempts = 0;
        loop {
            attempts += 1;
            let result = self.attempt(&provider, &mut progress).await;
            let first = progress.first.zip(progress.asked).map(|(first, asked)| first - asked);
            let measured = Measured { first, total: begin.elapsed(), attempts };
            let name = self.name;
            match result {
                Ok(()) => {
                    tracing::debug!(provider = name, ?first, total = ?measured.total, attempts, "provider done");
                    return Ok(measured);
                }
                Err(ProviderError::Gone) => {
                    tracing::debug!(provider = name, ?first, attempts, "provider cancelled");
                    return Err(ProviderError::Gone);
                }
                Err(error) => {
                    let again = self.again(&error, attempts, &progress);
                    let Some(wait) = again else {
                        tracing::warn!(provider = name, %error, ?first, attempts, "provider failed");
                        return Err(error);
                    };
                    tracing::warn!(provider = name, %error, attempts, "provider failed, trying again");
                    self.wait(wait).await?;
                }
            }
        }
    }

    /// How long to wait before another attempt, if there is to be one: not when something was delivered, and not of a
    /// question whose time would be over by then.
    fn again(&self, error: &ProviderError, attempts: u32, progress: &Progress<I>) -> Option<Duration> {
        let awaited = matches!(error, ProviderError::Timeout { what: WORDS, .. });
        if !error.retryable() || awaited || progress.first.is_some() || attempts >= self.limits.attempts {
            return None;
        }
        let full = self.limits.backoff.saturating_mul(1 << attempts.saturating_sub(1).min(6));
        let mut wait = full.mul_f64(rand::random_range(0.5..1.0));
        if let ProviderError::Busy { again, .. } = error {
            if *again > LONGEST_AGAIN {
                return None;
            }
            wait = wait.max(*again);
        }
        let spent = progress.asked.filter(|_| self.due.ever).map(|asked| asked.elapsed());
        let in_time = spent.is_none_or(|spent| spent + wait < self.limits.first);
        in_time.then_some(wait)
    }

    /// Waits before another attempt, unless the caller goes away.
    async fn wait(&self, wait: Duration) -> Result<(), ProviderError> {
        tokio::select! {
            () = tokio::time::sleep_until(Instant::now() + wait) => Ok(()),
            () = self.output.closed() => Err(ProviderError::Gone),
        }
    }

    /// One run of the provider.
    async fn attempt<F, R>(&mut self, provider: &F, progress: &mut Progress<I>) -> Result<(), ProviderError>
    where
        F: Fn(Receiver<I>, Sender<O>) -> R,
        R: Future<Output = Result<(), ProviderError>>,
    {
        let (to_provider, input) = channel(INNER_QUEUE);
        let (output, mut from_provider) = channel(INNER_QUEUE);
        let mut work = pin!(provider(input, output));
        let mut to_provider = Some(to_provider);
        let mut replay: VecDeque<I> = progress.given.clone();
        let since = progress.asked.unwrap_or_else(Instant::now);
        let mut due = Clock { due: self.due.at_start, since, any: false };
        let mut waiting: Option<(I, Instant)> = None;
        let mut ended: Option<Result<(), ProviderError>> = None;
        let mut deaf = false;
        loop {
            if deaf {
                // The provider reads no more; what it returns says why.
                to_provider = None;
            }
            if waiting.is_none() {
                waiting = replay.pop_front().map(|input| (input, Instant::now()));
            }
            if waiting.is_none() && self.input.is_none() {
                // Nothing more comes: the provider learns it by its closed channel.
                to_provider = None;
            }
            let deadline = due.deadline(self.limits, waiting.as_ref().map(|(_, since)| *since));
            tokio::select! {
                biased;
                () = self.output.closed() => return Err(ProviderError::Gone),
                output = from_provider.recv() => match output {
                    Some(output) => {
                        progress.first.get_or_insert_with(Instant::now);
                        // What was delivered is never asked for again.
                        progress.given.clear();
                        let settled = (self.due.settled)(&output);
                        self.output.send(output).await.map_err(|_| ProviderError::Gone)?;
                        due.settle(settled);
                    }
                    None => return match ended {
                        Some(result) => result,
                        None => work.await,
                    },
                },
                result = &mut work, if ended.is_none() => ended = Some(result),
                permit = reserve(to_provider.as_ref()), if waiting.is_some() && ended.is_none() && !deaf => {
                    match (permit, waiting.take()) {
                        (Ok(permit), Some((input, _))) => {
                            let asked = *progress.asked.get_or_insert_with(Instant::now);
                            // Of the first output all attempts together have their time.
                            let since = if progress.first.is_none() { asked } else { Instant::now() };
                            due.give((self.due.given)(&input), since);
                            permit.send(input);
                        }
                        _ => deaf = true,
                    }
                }
                input = receive(&mut self.input), if waiting.is_none() && ended.is_none() && !deaf => match input {
                    Some(input) => {
                        if progress.first.is_none() {
                            progress.given.push_back(input.clone());
                            while progress.given.len() > REPLAY {
                                progress.given.pop_front();
                            }
                        }
                        waiting = Some((input, Instant::now()));
                    }
                    None => self.input = None,
                },
                error = deadline.passed() => return Err(error),
            }
        }
    }
}

/// A place in the provider's input; never ready without a channel.
async fn reserve<I>(
    sender: Option<&Sender<I>>,
) -> Result<tokio::sync::mpsc::Permit<'_, I>, tokio::sync::mpsc::error::SendError<()>> {
    match sender {
        Some(sender) => sender.reserve().await,
        None => std::future::pending().await,
    }
}

/// The caller's next input; never ready once its channel is closed.
async fn receive<I>(input: &mut Option<Receiver<I>>) -> Option<I> {
    match input {
        Some(input) => input.recv().await,
        None => std::future::pending().await,
    }
}

/// How long output has been due. Time in which the caller does not take output is not counted.
struct Clock {
    due: usize,
    since: Instant,
    any: bool,
}

impl Clock {
    fn give(&mut self, count: usize, since: Instant) {
        if self.due == 0 && count > 0 {
            self.since = since;
            self.any = false;
        }
        self.due = self.due.saturating_add(count);
    }

    fn settle(&mut self, count: usize) {
        self.due = self.due.saturating_sub(count);
        self.since = Instant::now();
        self.any = true;
    }

    fn deadline(&self, limits: &Limits, waiting: Option<Instant>) -> Deadline {
        let (what, after) =
            if self.any { ("further output", limits.idle) } else { ("first output", limits.first) };
        let output = (self.due > 0).then_some(Deadline { at: Some(self.since + after), what, after });
        let stall = waiting.map(|since| Deadline {
            at: Some(since + limits.stall),
            what: "attention to its input",
            after: limits.stall,
        });
        match (output, stall) {
            (Some(output), Some(stall)) => {
                if output.at <= stall.at {
                    output
                } else {
                    stall
                }
            }
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => Deadline { at: None, what: "", after: Duration::ZERO },
        }
    }
}

struct Deadline {
    at: Option<Instant>,
    what: &'static str,
    after: Duration,
}

impl Deadline {
    /// The error, when the time has come.
    async fn passed(&self) -> ProviderError {
        match self.at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
        ProviderError::Timeout { what: self.what, after: self.after }
    }
}
