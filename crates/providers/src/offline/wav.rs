//! PCM out of a WAV stream whose sizes are not known when it begins.

use crate::ProviderError;

/// Bytes within which the sound must begin.
const LONGEST_HEADER: usize = 4096;

/// Reads a header as it comes, then samples. The sizes in the header are not looked at: programs that stream
/// write what they cannot know.
#[derive(Default)]
pub(super) struct WavStream {
    /// Bytes not taken yet: of the header, later half a sample.
    kept: Vec<u8>,
    rate: Option<u32>,
}

impl WavStream {
    /// Takes the next bytes, appends mono samples to `out`. Errors: not 16-bit mono PCM.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<i16>) -> Result<(), ProviderError> {
        self.kept.extend_from_slice(bytes);
        if self.rate.is_none() {
            match header(&self.kept)? {
                Some((rate, begin)) => {
                    self.rate = Some(rate);
                    self.kept.drain(..begin.min(self.kept.len()));
                }
                None if self.kept.len() > LONGEST_HEADER => return Err(bad("its header has no end")),
                None => return Ok(()),
            }
        }
        let pairs = self.kept.chunks_exact(2);
        out.extend(pairs.map(|pair| i16::from_le_bytes(pair.try_into().unwrap_or_default())));
        self.kept.drain(..self.kept.len() / 2 * 2);
        Ok(())
    }

    /// Hz, once the header is read.
    pub(super) fn rate(&self) -> Option<u32> {
        self.rate
    }
}

/// Rate and place of the first sample; `None` while the header is not complete.
fn header(bytes: &[u8]) -> Result<Option<(u32, usize)>, ProviderError> {
    let Some(begin) = bytes.first_chunk::<12>() else { return Ok(None) };
    if !begin.starts_with(b"RIFF") || !begin.ends_with(b"WAVE") {
        return Err(bad("it is no WAV"));
    }
    let (mut at, mut rate) = (12usize, None);
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let [a, b, c, d, size @ ..] = *chunk;
        let size = usize::try_from(u32::from_le_bytes(size)).unwrap_or(usize::MAX);
        let body = at + 8;
        match &[a, b, c, d] {
            b"data" => return rate.map(|rate| Some((rate, body))).ok_or_else(|| bad("it has no format")),
            b"fmt " => {
                let Some(format) = bytes.get(body..).and_then(|rest| rest.first_chunk::<16>()) else {
                    return Ok(None);
                };
                rate = Some(rate_of(format)?);
            }
            _ => {}
        }
        at = body.saturating_add(size).min(LONGEST_HEADER * 2);
    }
    Ok(None)
}

fn rate_of(format: &[u8; 16]) -> Result<u32, ProviderError> {
    let [1, 0, 1, 0, r0, r1, r2, r3, _, _, _, _, _, _, 16, 0] = *format else {
        return Err(bad("it is not 16-bit mono PCM"));
    };
    match u32::from_le_bytes([r0, r1, r2, r3]) {
        rate @ 4000..=96_000 => Ok(rate),
        _ => Err(bad("its rate is out of range")),
    }
}

fn bad(why: &str) -> ProviderError {
    ProviderError::Protocol(format!("the program's sound cannot be used: {why}"))
}

#[cfg(test)]
mod tests {
    use super::WavStream;

    fn header() -> Vec<u8> {
        let mut bytes = b"RIFF\xff\xff\xff\x7fWAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        bytes.extend(22050u32.to_le_bytes());
        bytes.extend(44100u32.to_le_bytes());
        bytes.extend(b"\x02\0\x10\0data\xff\xff\xff\x7f");
        bytes
    }

    #[test]
    fn bytes_one_at_a_time_give_the_same_samples() {
        let mut bytes = header();
        bytes.extend([1, 0, 2, 0, 0xff, 0xff]);
        let (mut stream, mut out) = (WavStream::default(), Vec::new());
        for byte in bytes {
            stream.push(&[byte], &mut out).unwrap();
        }
        assert_eq!((stream.rate(), out), (Some(22050), vec![1, 2, -1]));
    }

    #[test]
    fn what_is_no_wav_is_an_error() {
        for bytes in [&b"RIFX00000000"[..], b"hello, world", &[0; 5000]] {
            assert!(WavStream::default().push(bytes, &mut Vec::new()).is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let mut whole = header();
            let _ = WavStream::default().push(&bytes, &mut Vec::new());
            whole.truncate(16);
            whole.extend(bytes);
            let _ = WavStream::default().push(&whole, &mut Vec::new());
        }
    }
}
