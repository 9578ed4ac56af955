//! One run of `pocketsphinx_continuous`: sound in on its standard input, words out when that closes.

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use crate::ProviderError;

/// The program.
pub(super) const PROGRAM: &str = "pocketsphinx_continuous";
/// Debian package of the program.
pub(super) const PACKAGE: &str = "pocketsphinx";
const ACOUSTICS: &str = "/usr/share/pocketsphinx/model/en-us/en-us";
/// Sound that the program does not take for this long means that it hangs.
const STALL: Duration = Duration::from_secs(5);
/// Silence given after speech, so that the last word has an end: 250 ms.
const TAIL: usize = 4000;
/// Longest output that is read.
const LONGEST: u64 = 64 << 10;

/// A program that waits for sound or hears it.
pub(super) struct Decoder {
    child: Child,
    sound: ChildStdin,
}

/// What was heard.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Found {
    pub(super) text: String,
    /// 0 to 1, where the vocabulary allows to tell.
    pub(super) confidence: Option<f32>,
}

impl Decoder {
    /// Starts the program; it loads its model while sound is collected.
    pub(super) fn start(path: &PathBuf, vocabulary: &[String]) -> Result<Self, ProviderError> {
        let mut command = Command::new(path);
        command.args(["-infile", "/dev/stdin", "-logfn", "/dev/null", "-time", "yes"]);
        // Where speech begins and ends is known already: the program must not cut it into pieces of its own.
        command.args(["-remove_silence", "no", "-hmm", ACOUSTICS]);
        // Its noise removal learns from the sound before speech; digital silence, which a phone sends, misleads it.
        command.args(["-remove_noise", "no"]);
        // It takes logarithms of the sound, and misunderstands speech with stretches of zeros in it, which calls
        // without noise have. The noise it adds itself is below half a bit, and the same in every run.
        command.args(["-dither", "yes", "-seed", "1"]);
        command.args(vocabulary);
        let mut child = super::super::start(&mut command)?;
        let sound = child.stdin.take().ok_or_else(|| failed("it has no input"))?;
        Ok(Decoder { child, sound })
    }

    /// Gives it sound. Errors: it has ended, or takes nothing for seconds.
    pub(super) async fn give(&mut self, samples: &[i16]) -> Result<(), ProviderError> {
        let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        match timeout(STALL, self.sound.write_all(&bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.early().await),
            Err(_) => Err(ProviderError::Timeout { what: "attention to its input", after: STALL }),
        }
    }

    /// Why it takes no more sound.
    async fn early(&mut self) -> ProviderError {
        match timeout(STALL, self.child.wait()).await {
            Ok(Ok(status)) if status.code().is_none() => {
                failed(&format!("it was ended from outside, {status}"))
            }
            Ok(Ok(status)) => failed(&format!("it ended early, {status}; a grammar must be valid JSGF")),
            Ok(Err(_)) | Err(_) => failed("it takes no more sound"),
        }
    }

    /// Ends the sound and waits for the words.
    pub(super) async fn finish(mut self) -> Result<Found, ProviderError> {
        self.give(&[0; TAIL]).await?;
        let Decoder { mut child, sound } = self;
        drop(sound);
        let mut output = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout
                .take(LONGEST)
                .read_to_end(&mut output)
                .await
                .map_err(|error| failed(&error.to_string()))?;
        }
        super::super::ended(child, PROGRAM).await?;
        let output = String::from_utf8(output).map_err(|_| failed("what it tells is no text"))?;
        Ok(found(&output))
    }
}

fn failed(why: &str) -> ProviderError {
    super::super::failed(PROGRAM, why)
}

/// The program's output: lines of text, each followed by lines of `word begin end probability`.
fn found(output: &str) -> Found {
    let mut text = String::new();
    let (mut sum, mut count, mut certain) = (0.0, 0u16, true);
    for line in output.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match word_line(line) {
            Some((word, probability)) => {
                if !word.starts_with(['<', '[']) {
                    sum += probability;
                    count = count.saturating_add(1);
                    certain &= probability >= 0.9999;
                }
            }
            None => {
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(line);
            }
        }
    }
    // Of a grammar every word is told to be certain, which says nothing.
    let confidence = (count > 0 && !certain).then(|| (sum / f32::from(count)).clamp(0.0, 1.0));
    Found { text, confidence }
}

fn word_line(line: &str) -> Option<(&str, f32)> {
    let mut fields = line.split(' ');
    let word = fields.next()?;
    let numbers: Vec<f32> = fields.map(|field| field.parse().ok()).collect::<Option<_>>()?;
    match numbers[..] {
        [_, _, probability] => Some((word, probability)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::process::Command;

    use super::{Decoder, found};

    /// What is told when a program that is over is given sound.
    async fn told(command: &mut Command, kill: bool) -> String {
        let mut child = crate::offline::start(command).unwrap();
        let sound = child.stdin.take().unwrap();
        if kill {
            child.start_kill().unwrap();
        }
        child.wait().await.unwrap();
        let mut decoder = Decoder { child, sound };
        // A program that another test starts just now holds the pipe open, too, until it runs.
        loop {
            if let Err(error) = decoder.give(&[0; 160]).await {
                return error.to_string();
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_program_that_was_killed_is_told_apart_from_one_that_refused_its_grammar() {
        let killed = told(Command::new("sleep").arg("60"), true).await;
        assert!(killed.contains("signal: 9") && !killed.contains("grammar"), "{killed}");
        let refused = told(&mut Command::new("false"), false).await;
        assert!(refused.contains("exit status: 1; a grammar must be"), "{refused}");
    }

    #[test]
    fn words_with_times_are_not_part_of_the_text() {
        let output = "what are your hours\n<s> 0.0 0.17 0.99\nwhat 0.18 0.40 0.5\nhours(2) 1.0 1.1 0.7\n";
        let found = found(output);
        assert_eq!(found.text, "what are your hours");
        assert!((found.confidence.unwrap() - 0.6).abs() < 1e-3);
    }

    #[test]
    fn a_grammar_tells_no_confidence() {
        assert_eq!(found("yes\nyes 0.1 0.2 1.000000\n").confidence, None);
        assert_eq!(found("").text, "");
    }
}
