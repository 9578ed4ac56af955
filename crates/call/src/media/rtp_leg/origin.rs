//! Which of the sound that is heard was said, and which is made up in place of what was lost.

use std::collections::VecDeque;

/// So many samples of one kind, one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) samples: usize,
    /// Nobody said them.
    pub(crate) made_up: bool,
}

/// What is known of the sound of a leg.
#[derive(Debug, Default)]
pub(super) struct Origin {
    /// Of sound that no frame has taken yet, neighbours being of different kinds.
    waiting: VecDeque<Run>,
    /// Of the last frame.
    frame: Vec<Run>,
}

impl Origin {
    /// Of so many samples that were said.
    pub(super) fn of_said(samples: usize) -> Self {
        let mut origin = Origin::default();
        origin.add(samples, false);
        origin
    }

    /// Sound has been decoded, or made up.
    pub(super) fn add(&mut self, samples: usize, made_up: bool) {
        match self.waiting.back_mut() {
            _ if samples == 0 => {}
            Some(last) if last.made_up == made_up => last.samples += samples,
            _ => self.waiting.push_back(Run { samples, made_up }),
        }
    }

    /// A frame takes the first `samples`; those that there are not are made up.
    pub(super) fn take(&mut self, mut samples: usize) {
        self.frame.clear();
        while samples > 0 {
            let Some(first) = self.waiting.front_mut() else {
                return self.frame.push(Run { samples, made_up: true });
            };
            let part = first.samples.min(samples);
            self.frame.push(Run { samples: part, ..*first });
            (first.samples, samples) = (first.samples - part, samples - part);
            if first.samples == 0 {
                self.waiting.pop_front();
            }
        }
    }

    /// The last frame.
    pub(super) fn of_frame(&self) -> &[Run] {
        &self.frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_know_what_of_them_is_made_up_wherever_packets_end() {
        let mut origin = Origin::default();
        let mut frames = Vec::new();
        for (samples, made_up) in [(158, false), (160, false), (160, true), (160, false), (0, true)] {
            origin.add(samples, made_up);
        }
        for _ in 0..5 {
            origin.take(160);
            frames.push(origin.of_frame().iter().map(|run| (run.samples, run.made_up)).collect::<Vec<_>>());
        }
        let expected: [&[(usize, bool)]; 5] = [
            &[(160, false)],
            &[(158, false), (2, true)],
            &[(158, true), (2, false)],
            &[(158, false), (2, true)],
            &[(160, true)],
        ];
        assert_eq!(frames, expected);
    }
}
