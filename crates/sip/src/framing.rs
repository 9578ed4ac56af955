//! Cutting a stream into messages (RFC 3261 section 18.3).

use crate::message::{MAX_MESSAGE, is_sip};

/// The bytes of a connection that are not a whole message yet.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// How much of the buffer has been looked through for the end of a head.
    searched: usize,
    pings: usize,
}

/// The stream cannot be cut any further; what can be shown of the broken message.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken(pub Vec<u8>);

impl Framer {
    /// Takes in what has come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether a message has begun and not ended.
    pub fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Keep-alives since it was last asked: two line ends each (RFC 5626 section 3.5.1).
    pub fn take_pings(&mut self) -> usize {
        std::mem::take(&mut self.pings)
    }

    /// The next whole message.
    ///
    /// # Errors
    /// [`Broken`] if the length of the next message cannot be known or is too much. Call it no more.
    pub fn poll(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        self.drop_line_ends();
        let from = self.searched.saturating_sub(3);
        let found = self.buffer.get(from..).and_then(|rest| rest.windows(4).position(|w| w == b"\r\n\r\n"));
        let Some(head) = found.map(|at| from + at + 4) else {
            self.searched = self.buffer.len();
            return if self.searched > MAX_MESSAGE { Err(self.broken()) } else { Ok(None) };
        };
        let body = self.buffer.get(..head).filter(|head| is_sip(head)).and_then(body_length);
        let Some(length) = body.map(|body| head.saturating_add(body)).filter(|l| *l <= MAX_MESSAGE) else {
            return Err(self.broken());
        };
        if self.buffer.len() < length {
            return Ok(None);
        }
        let rest = self.buffer.split_off(length);
        self.searched = 0;
        Ok(Some(std::mem::replace(&mut self.buffer, rest)))
    }

    fn drop_line_ends(&mut self) {
        let ends = self.buffer.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        // The last of them may be half a keep-alive whose rest is still on its way.
        let whole = if ends < self.buffer.len() { ends } else { ends / 4 * 4 };
        if whole > 0 {
            self.pings += whole / 4;
            self.buffer.drain(..whole);
            self.searched = 0;
        }
    }

    fn broken(&mut self) -> Broken {
        let mut shown = std::mem::take(&mut self.buffer);
        shown.truncate(MAX_MESSAGE);
        Broken(shown)
    }
}

/// The length of the body behind a head; `None` if it says two things or none that can be read. A
/// head that says nothing has no body: peers that forget it send none, mostly.
fn body_length(head: &[u8]) -> Option<usize> {
    let mut length = None;
    for line in head.split(|b| *b == b'\n') {
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let name = name.trim_ascii();
        if !name.eq_ignore_ascii_case(b"content-length") && !name.eq_ignore_ascii_case(b"l") {
            continue;
        }
        let digits = value.strip_prefix(b":")?.trim_ascii();
        let digits = std::str::from_utf8(digits).ok().filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
        let value: usize = digits.parse().ok()?;
        if length.is_some_and(|other| other != value) {
            return None;
        }
        length = Some(value);
    }
    Some(length.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(chunks: &[&[u8]]) -> (Vec<String>, bool) {
        let (mut framer, mut messages) = (Framer::default(), Vec::new());
        for chunk in chunks {
            framer.push(chunk);
            loop {
                match framer.poll() {
                    Ok(Some(message)) => messages.push(String::from_utf8(message).unwrap()),
                    Ok(None) => break,
                    Err(_) => return (messages, true),
                }
            }
        }
        (messages, false)
    }

    const TWO: &str = "A SIP/2.0\r\nContent-Length: 3\r\n\r\nxyz\r\n\r\nB SIP/2.0\r\nl : 0\r\n\r\n";

    #[test]
    fn messages_are_cut_wherever_the_chunks_end() {
        for at in 0..TWO.len() {
            let (a, b) = TWO.as_bytes().split_at(at);
            let (messages, broken) = cut(&[a, b]);
            assert!(!broken && messages.len() == 2, "{at}: {messages:?}");
            assert!(messages[0].ends_with("xyz") && messages[1].starts_with('B'));
        }
    }

    #[test]
    fn what_was_whole_before_the_fault_is_kept() {
        for fault in [
            "SIP/C\r\nContent-Length: x\r\n\r\n",
            "SIP/C\r\nl: 1\r\nl: 2\r\n\r\n",
            "SIP/C\r\nl: 99999999999\r\n\r\n",
            "C\r\n\r\n",
        ] {
            let (messages, broken) = cut(&[format!("{TWO}{fault}").as_bytes()]);
            assert!(broken && messages.len() == 2);
        }
        let (messages, broken) = cut(&[TWO.as_bytes(), &[b'x'; 2 * MAX_MESSAGE]]);
        assert!(broken && messages.len() == 2, "a head without end");
    }

    #[test]
    fn keep_alives_are_counted_and_leave_nothing() {
        let mut framer = Framer::default();
        framer.push(b"\r\n\r\n\r\n\r\n");
        assert_eq!(framer.poll(), Ok(None));
        assert_eq!((framer.take_pings(), framer.take_pings(), framer.is_partial()), (2, 0, false));
    }

    #[test]
    fn a_keep_alive_and_a_half_is_no_broken_message() {
        let (messages, broken) = cut(&[b"SIP/\r\n\r\n\r\n\r\n\r\n", b"SIP/x\r\n\r\n"]);
        assert!(!broken && messages.len() == 2, "{messages:?}");
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_chunks_are_cut_alike(
            bytes in "(SIP/|\r\n|[ABl: 0-9x]){0,40}",
            at in 0usize..80,
        ) {
            let bytes = bytes.as_bytes();
            let (a, b) = bytes.split_at(at.min(bytes.len()));
            prop_assert_eq!(cut(&[a, b]).0, cut(&[bytes]).0);
        }
    }
}
