//! Who has answered: a person says a word and waits, a machine goes on and beeps.

use std::time::Duration;

use protocol::CallTime;

use super::line::{Line, Pulse};

/// A pause that ends a greeting.
const PAUSE: Duration = Duration::from_millis(800);
/// A greeting of a person is at most so long.
const PERSON: Duration = Duration::from_millis(2_600);
/// Shorter sounds of voice are a click or a breath.
const WORD: Duration = Duration::from_millis(120);
/// Without a voice for so long nobody is known to be there.
const NOBODY: Duration = Duration::from_secs(5);
/// A verdict is given after so long, sure or not.
const DEADLINE: Duration = Duration::from_secs(8);
/// A beep is waited for so long.
const BEEP_WITHIN: Duration = Duration::from_secs(90);
/// Length and height of a beep, in Hz.
const BEEP: std::ops::RangeInclusive<Duration> = Duration::from_millis(140)..=Duration::from_millis(2_000);
const BEEP_HZ: std::ops::RangeInclusive<f32> = 380.0..=2200.0;
/// A beep is over when so much of its pause was heard: the cadence of a line would go on.
const AFTER_BEEP: Duration = Duration::from_millis(100);
/// A greeting that may end with a beep.
const GREETING: Duration = Duration::from_millis(700);

/// Who answered a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A person.
    Human,
    /// A machine that takes messages.
    Machine,
    /// Its signal to speak: what is said from now on is recorded.
    Beep,
    /// A fax.
    Fax,
    /// Nobody spoke.
    Silence,
}

impl Who {
    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            Who::Human => "human",
            Who::Machine => "machine",
            Who::Beep => "beep",
            Who::Fax => "fax",
            Who::Silence => "silence",
        }
    }
}

/// What is known of who answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// Who it is.
    pub who: Who,
    /// How sure that is, 0 to 1.
    pub confidence: f32,
    /// Where in the call the greeting or the beep began.
    pub start: CallTime,
    /// Where it ended, or was when the verdict was given.
    pub end: CallTime,
}

/// Listens to an answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// Since when someone may be there.
    since: CallTime,
    /// Beginning and end of the greeting.
    greeting: Option<(CallTime, CallTime)>,
    /// Beginning and end of what may become its first word.
    word: Option<(CallTime, CallTime)>,
    told: Option<Who>,
    /// Confidence from which a verdict is given before its deadline.
    sure: f32,
}

impl Answer {
    pub(super) fn new(now: CallTime, sure: f32) -> Self {
        Answer { since: now, greeting: None, word: None, told: None, sure }
    }

    /// Whether the last word is spoken.
    pub(super) fn is_over(&self, now: CallTime) -> bool {
        match self.told {
            None => false,
            Some(Who::Machine) => now.since(self.since) > BEEP_WITHIN,
            Some(_) => true,
        }
    }

    /// Takes what the 20 ms before `now` were: the line, since when there is a voice, and the last tone with whether it has ended.
    pub(super) fn hear(
        &mut self,
        now: CallTime,
        line: Line,
        voice: Option<CallTime>,
        pulse: Option<(Pulse, bool)>,
    ) -> Option<Verdict> {
        if self.is_over(now) {
            return None;
        }
        if line.of_network() && self.told.is_none() {
            // An exchange that answers for a telephone still rings.
            *self = Answer::new(now, self.sure);
            return None;
        }
        if let Some(begun) = voice {
            self.voice(now, begun.max(self.since));
        }
        let verdict = match line {
            Line::Fax => pulse.map(|(pulse, _)| verdict(Who::Fax, 0.9, (pulse.from, pulse.to))),
            _ => self.beep(now, pulse).or_else(|| self.judge(now)),
        };
        let verdict = verdict.filter(|verdict| self.told != Some(verdict.who))?;
        self.told = Some(verdict.who);
        Some(verdict)
    }

    fn voice(&mut self, now: CallTime, begun: CallTime) {
        if let Some((_, end)) = &mut self.greeting {
            *end = now;
            return;
        }
        let (start, _) = self.word.filter(|(_, end)| now.since(*end) < PAUSE).unwrap_or((begun, now));
        self.word = Some((start, now));
        if now.since(start) >= WORD {
            self.greeting = self.word;
        }
    }

    /// A tone alone behind a greeting.
    fn beep(&self, now: CallTime, pulse: Option<(Pulse, bool)>) -> Option<Verdict> {
        let (start, end) = self.greeting?;
        let (pulse, ended) = pulse?;
        let fits = BEEP.contains(&pulse.length()) && BEEP_HZ.contains(&pulse.hz) && !pulse.double();
        let behind = pulse.from.since(start) >= GREETING && pulse.to >= end && pulse.from >= self.since;
        let sure = if self.told == Some(Who::Machine) { 0.95 } else { 0.85 };
        (ended && fits && behind && now.since(pulse.to) >= AFTER_BEEP)
            .then(|| verdict(Who::Beep, sure, (pulse.from, pulse.to)))
    }

    fn judge(&self, now: CallTime) -> Option<Verdict> {
        if self.told.is_some() {
            return None;
        }
        let late = now.since(self.since) >= DEADLINE;
        let Some((start, end)) = self.greeting else {
            let nobody = now.since(self.since) >= NOBODY;
            return nobody.then(|| verdict(Who::Silence, 0.6, (self.since, now)));
        };
        let (length, pause) = (end.since(start), now.since(end));
        let seconds = length.as_secs_f32();
        let (who, confidence) = if length > PERSON {
            (Who::Machine, 0.6 + 0.1 * (seconds - PERSON.as_secs_f32()))
        } else if pause >= PAUSE {
            // Who waits for an answer is a person, the more so the longer.
            (Who::Human, 0.9 - 0.14 * seconds + (0.1 * (pause - PAUSE).as_secs_f32()).min(0.25))
        } else {
            return None;
        };
        let confidence = confidence.clamp(0.0, 0.95);
        (late || confidence >= self.sure).then(|| verdict(who, confidence, (start, end)))
    }
}

fn verdict(who: Who, confidence: f32, (start, end): (CallTime, CallTime)) -> Verdict {
    Verdict { who, confidence, start, end }
}
