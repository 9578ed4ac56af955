//! A synthesizer around a program that turns one text into one WAV on its output.

use std::collections::VecDeque;
use std::path::PathBuf;

use async_trait::async_trait;
use audio::resample::Resampler;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc::{Receiver, Sender};

use super::seam::Seam;
use super::wav::WavStream;
use crate::{ProviderError, Spoken, Synthesizer, Text};

/// Rate of what is given, in Hz, whatever the voice's own.
const RATE: u32 = 16_000;
/// 100 ms.
const CHUNK: usize = 1600;
/// Programs at work at once: the one that is heard and the next.
const AHEAD: usize = 2;
/// Longest text of one piece, in characters; what is longer is not spoken.
const LONGEST: usize = 4000;
/// Parts of a long piece are cut at the end of a clause from this many bytes on, so that the first of it is
/// heard soon.
const CLAUSE: usize = 120;
/// No part is longer, in bytes.
const PART: usize = 400;

/// How the program gets its text.
pub(super) enum Input {
    /// On its standard input.
    Stdin,
    /// As an argument after this option, which takes it even if it begins with a dash.
    Argument(&'static str),
}

/// A program with all that does not change from text to text.
pub(super) struct SpeechProgram {
    pub(super) name: &'static str,
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) input: Input,
    /// Factor on the samples.
    pub(super) gain: f32,
}

#[async_trait]
impl Synthesizer for SpeechProgram {
    fn rate(&self) -> u32 {
        RATE
    }

    async fn run(&self, text: Receiver<Text>, spoken: Sender<Spoken>) -> Result<(), ProviderError> {
        let mut text = Some(text);
        let mut waiting: VecDeque<Part> = VecDeque::new();
        let mut working: VecDeque<Work> = VecDeque::new();
        loop {
            while working.len() < AHEAD
                && let Some(part) = waiting.pop_front()
            {
                working.push_back(self.start(part).await?);
            }
            if text.is_none() && waiting.is_empty() && working.is_empty() {
                return Ok(());
            }
            let wants = waiting.is_empty();
            tokio::select! {
                () = spoken.closed() => return Err(ProviderError::Gone),
                piece = next(&mut text), if wants => match piece {
                    Some(piece) => waiting.extend(parts(&piece)),
                    None => text = None,
                },
                step = step(&mut working), if !working.is_empty() => {
                    let more = text.is_some() || !waiting.is_empty() || working.len() > 1;
                    self.deliver(step?, more, &mut working, &spoken).await?;
                }
            }
        }
    }
}

impl SpeechProgram {
    /// Starts the program on a part.
    async fn start(&self, part: Part) -> Result<Work, ProviderError> {
        let sound = Sound::new(Seam::new(&part.text, RATE));
        let silent = !part.text.chars().any(char::is_alphanumeric);
        if silent {
            return Ok(Work { part, program: None, sound });
        }
        let mut command = Command::new(&self.path);
        command.args(&self.arguments);
        if let Input::Argument(option) = self.input {
            command.arg(option).arg(&part.text);
        }
        let mut child = super::start(&mut command)?;
        if let (Some(mut stdin), Input::Stdin) = (child.stdin.take(), &self.input) {
            // A part is far smaller than a pipe, so this does not wait.
            // A program that does not read has ended, and its status says why.
            let _ = stdin.write_all(part.text.as_bytes()).await;
        }
        let output = child.stdout.take();
        Ok(Work { part, program: output.map(|output| (child, output)), sound })
    }

    /// Sends on what a step gave; at the end of a program, takes it off the list. `more` may come after it.
    async fn deliver(
        &self,
        step: Step,
        more: bool,
        working: &mut VecDeque<Work>,
        spoken: &Sender<Spoken>,
    ) -> Result<(), ProviderError> {
        let Some(work) = working.front_mut() else { return Ok(()) };
        let piece = work.part.piece;
        let last = match &step {
            Step::Bytes(bytes) => {
                work.sound.push(bytes, self.gain)?;
                false
            }
            Step::End => {
                work.sound.end(more);
                true
            }
        };
        for samples in work.sound.chunks(last) {
            spoken.send(Spoken::Audio { piece, samples }).await.map_err(|_| ProviderError::Gone)?;
        }
        if last && let Some(Work { part, program, .. }) = working.pop_front() {
            if let Some((child, _)) = program {
                super::ended(child, self.name).await?;
            }
            if part.last {
                spoken.send(Spoken::Done { piece }).await.map_err(|_| ProviderError::Gone)?;
            }
        }
        Ok(())
    }
}

/// Text for one run of the program.
struct Part {
    piece: u32,
    text: String,
    /// Whether the piece ends with it.
    last: bool,
}

/// A program at work; none where there is nothing to say.
struct Work {
    part: Part,
    program: Option<(Child, ChildStdout)>,
    sound: Sound,
}

enum Step {
    Bytes(Vec<u8>),
    End,
}

/// The next output of the first program. Dropping it loses nothing.
async fn step(working: &mut VecDeque<Work>) -> Result<Step, ProviderError> {
    let Some(Work { program: Some((_, output)), .. }) = working.front_mut() else { return Ok(Step::End) };
    let mut bytes = vec![0; 8192];
    let count =
        output.read(&mut bytes).await.map_err(|error| super::failed("the program", &error.to_string()))?;
    bytes.truncate(count);
    Ok(if count == 0 { Step::End } else { Step::Bytes(bytes) })
}

async fn next(text: &mut Option<Receiver<Text>>) -> Option<Text> {
    match text {
        Some(text) => text.recv().await,
        None => std::future::pending().await,
    }
}

/// Sound on its way from bytes to chunks.
struct Sound {
    wav: WavStream,
    native: Vec<i16>,
    resampler: Option<Resampler>,
    converted: Vec<i16>,
    seam: Seam,
    ready: Vec<i16>,
}

impl Sound {
    fn new(seam: Seam) -> Self {
        Sound {
            wav: WavStream::default(),
            native: Vec::new(),
            resampler: None,
            converted: Vec::new(),
            seam,
            ready: Vec::new(),
        }
    }

    fn push(&mut self, bytes: &[u8], gain: f32) -> Result<(), ProviderError> {
        self.wav.push(bytes, &mut self.native)?;
        let Some(rate) = self.wav.rate() else { return Ok(()) };
        let resampler = self.resampler.get_or_insert_with(|| Resampler::new(rate, RATE));
        self.converted.clear();
        resampler.process(&self.native, &mut self.converted);
        self.native.clear();
        if (gain - 1.0).abs() > f32::EPSILON {
            for sample in &mut self.converted {
                // A cast from float to integer saturates.
                *sample = (f32::from(*sample) * gain) as i16;
            }
        }
        self.seam.push(&self.converted, &mut self.ready);
        Ok(())
    }

    /// All has come; `more` may come of another run.
    fn end(&mut self, more: bool) {
        self.seam.end(more, &mut self.ready);
    }

    /// Whole chunks, and at the end the rest.
    fn chunks(&mut self, last: bool) -> Vec<Box<[i16]>> {
        let whole = if last { self.ready.len() } else { self.ready.len() / CHUNK * CHUNK };
        let chunks = self.ready.chunks(CHUNK).take(whole.div_ceil(CHUNK)).map(Box::from).collect();
        self.ready.drain(..whole);
        chunks
    }
}

/// A piece in parts: cut at sentences and clauses once a part is long enough.
fn parts(piece: &Text) -> Vec<Part> {
    let text: String =
        piece.text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut parts = Vec::new();
    let mut part = String::new();
    for word in text.split_whitespace() {
        if !part.is_empty() && part.len() + word.len() >= PART {
            parts.push(std::mem::take(&mut part));
        }
        if !part.is_empty() {
            part.push(' ');
        }
        part.extend(word.chars().take(PART / 4));
        if part.len() >= CLAUSE && word.ends_with(['.', '!', '?', ';', ':', ',']) {
            parts.push(std::mem::take(&mut part));
        }
    }
    if !part.is_empty() || parts.is_empty() {
        parts.push(part);
    }
    let last = parts.len() - 1;
    let number = |(i, text)| Part { piece: piece.piece, text, last: i == last };
    parts.into_iter().enumerate().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::{PART, parts};
    use crate::Text;

    #[test]
    fn a_long_piece_is_cut_where_a_clause_ends() {
        let clause = "This is a clause of the usual length that goes on for a while, ";
        let text = Text { piece: 7, text: clause.repeat(6) };
        let parts = parts(&text);
        assert!(parts.len() >= 2);
        assert!(parts.iter().all(|part| part.piece == 7 && part.text.ends_with(',')));
        assert_eq!(parts.iter().map(|part| part.last).filter(|last| *last).count(), 1);
    }

    proptest::proptest! {
        #[test]
        fn parts_are_short_and_exactly_the_last_is_last(text in "\\PC{0,600}") {
            let parts = parts(&Text { piece: 0, text });
            proptest::prop_assert!(parts.iter().all(|part| part.text.len() <= PART + 410));
            proptest::prop_assert!(parts.last().is_some_and(|part| part.last));
        }
    }
}
