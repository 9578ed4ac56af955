//! `tts`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocol::CallTime;
use protocol::command::Tts;
use protocol::option::{Over, Rendering, SynthesisOption};

use crate::core::Core;
use crate::media::order::UtteranceId;

/// Rate of base64 sound.
const BASE64_RATE: u32 = 16_000;
/// Bytes of sound in one command: 30 s. It goes to the media thread at once, so it must stay small there.
const MOST_SOUND: usize = BASE64_RATE as usize * 2 * 30;

impl Core {
    pub(super) fn tts(&mut self, now: CallTime, tts: Tts) {
        if !self.audible(now, "tts") {
            return;
        }
        let (streaming, base64) = (tts.streaming == Some(true), tts.base64 == Some(true));
        if streaming && base64 {
            return self.wrong(now, "tts", "base64", "does not go with streaming");
        }
        let sound = match base64.then(|| decode(&tts.text)).transpose() {
            Ok(sound) => sound,
            Err(why) => return self.wrong(now, "tts", "text", why),
        };
        let mut option = self.option.tts.clone().unwrap_or_default();
        if let Some(own) = tts.option {
            option = own.over(&option);
        }
        option.speaker = tts.speaker.or(option.speaker);
        let id = match self.joined(&tts.play_id) {
            Some(id) => id,
            None => {
                if !self.follows(&tts.play_id) {
                    self.interrupt_voice(now, false, std::time::Duration::ZERO);
                }
                self.begin_utterance(now, tts.play_id, false)
            }
        };
        let wait = tts.wait_input_timeout.or(option.wait_input_timeout).map(|t| t.0);
        let wait = wait.filter(|limit| !limit.is_zero());
        if let Some(utterance) = self.voice.utterances.iter_mut().find(|u| u.id == id) {
            utterance.streaming |= streaming;
            // A later command without it does not take it back.
            utterance.auto_hangup |= tts.auto_hangup == Some(true);
            utterance.wait_input = wait.or(utterance.wait_input);
            let named = tts.cache_key.filter(|key| !key.is_empty()).map(Rendering::Named);
            option.rendering = (!utterance.streaming).then(|| named.unwrap_or(Rendering::Derived));
        }
        match sound {
            Some(sound) => self.say_sound(now, id, BASE64_RATE, &sound),
            None => self.speak(now, id, &tts.text, option),
        }
        let whole = !streaming || tts.end_of_stream == Some(true);
        if whole && self.tell_lent(now, id) {
            // The model closes it.
        } else if tts.end_of_stream == Some(true) {
            self.close_utterance(now, id);
        }
    }

    fn speak(&mut self, now: CallTime, id: UtteranceId, text: &str, option: SynthesisOption) {
        let text = without_emoji(text);
        if text.is_empty() {
            // What else the command says takes effect now where nothing plays.
            return self.settle_utterance(now, id);
        }
        if option.provider.is_none() && self.lends() {
            return self.lend(now, id, &text);
        }
        if option.provider.is_none() {
            let why = "missing; name one in the call's or the command's option";
            self.wrong(now, "tts", "tts.provider", why);
            return self.close_utterance(now, id);
        }
        self.say(now, id, text, option);
    }

    /// The utterance this command adds to: the one with the same `playId`, or, when neither has one, the last.
    fn joined(&self, play_id: &Option<String>) -> Option<UtteranceId> {
        let last = self.voice.utterances.last()?;
        (!last.file && !last.cut && last.play_id == *play_id && (last.open || !last.streaming))
            .then_some(last.id)
    }

    /// Whether what plays has this `playId` and waits for no more text: what is said under it now comes behind.
    fn follows(&self, play_id: &Option<String>) -> bool {
        let last = self.voice.utterances.last();
        last.is_some_and(|last| !last.file && !last.cut && play_id.is_some() && last.play_id == *play_id)
    }
}

fn decode(text: &str) -> Result<Vec<i16>, String> {
    let bytes = STANDARD.decode(text.trim()).map_err(|e| format!("not valid base64: {e}"))?;
    if bytes.len() > MOST_SOUND {
        return Err(format!(
            "{} bytes of sound are more than 30 s; send it in several commands",
            bytes.len()
        ));
    }
    if bytes.len() % 2 == 1 {
        return Err("an odd number of bytes is no s16le sound".into());
    }
    Ok(bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect())
}

/// Emoji are not spoken; synthesizers would spell out their names.
fn without_emoji(text: &str) -> String {
    let spoken = |c: &char| {
        !matches!(u32::from(*c),
            0x1f000..=0x1faff | 0x2600..=0x27bf | 0xfe0f | 0x200d | 0xe0020..=0xe007f)
    };
    text.chars().filter(spoken).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emoji_are_silent_and_words_of_all_scripts_are_not() {
        assert_eq!(without_emoji("Hi 👋🏽 你好 é!"), "Hi  你好 é!");
    }

    #[test]
    fn base64_sound_is_little_endian() {
        assert_eq!(decode("AQD//w=="), Ok(vec![1, -1]));
        assert!(decode("AQ==").is_err() && decode("*").is_err());
    }
}
