//! A file that is still being fetched, as the decoder reads it.

use std::io::{self, Read, Seek, SeekFrom};

use bytes::Bytes;
use symphonia::core::io::MediaSource;
use tokio::sync::mpsc;

/// Most bytes that can be read again: enough to look at a header.
const REWIND: usize = 64 * 1024;

/// Reads pieces as they come; to be read on a thread that may wait. It ends where the pieces end, and can be wound
/// back as long as only its first bytes were read.
#[derive(Debug)]
pub(super) struct Incoming {
    pieces: mpsc::Receiver<Bytes>,
    current: Bytes,
    /// What was read of the beginning; dropped when more than [`REWIND`] was.
    head: Option<Vec<u8>>,
    /// What of `head` is to be read again.
    again: usize,
}

impl Incoming {
    /// What comes out of `pieces`.
    pub(super) fn new(pieces: mpsc::Receiver<Bytes>) -> Self {
        Incoming { pieces, current: Bytes::new(), head: Some(Vec::new()), again: 0 }
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(head) = self.head.as_ref().filter(|_| self.again > 0) {
            let mut rest = head.get(head.len().saturating_sub(self.again)..).unwrap_or_default();
            let count = rest.read(buffer)?;
            self.again -= count;
            return Ok(count);
        }
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        let part = self.current.split_to(count);
        if let Some(place) = buffer.get_mut(..count) {
            place.copy_from_slice(&part);
        }
        self.head = self.head.take().filter(|head| head.len() + count <= REWIND);
        if let Some(head) = &mut self.head {
            head.extend_from_slice(&part);
        }
        Ok(count)
    }
}

impl Seek for Incoming {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match (&self.head, to) {
            (Some(head), SeekFrom::Start(0)) => {
                self.again = head.len();
                Ok(0)
            }
            _ => Err(io::Error::from(io::ErrorKind::Unsupported)),
        }
    }
}

impl MediaSource for Incoming {
    fn is_seekable(&self) -> bool {
        false
    }

    fn byte_len(&self) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_can_be_read_again_and_nothing_later() {
        let (sender, pieces) = mpsc::channel(4);
        for piece in [vec![1; 10], vec![2; 10], vec![3; REWIND]] {
            sender.blocking_send(Bytes::from(piece)).unwrap();
        }
        drop(sender);
        let mut incoming = Incoming::new(pieces);
        let mut first = [0; 15];
        incoming.read_exact(&mut first).unwrap();
        incoming.seek(SeekFrom::Start(0)).unwrap();
        let mut again = [0; 15];
        incoming.read_exact(&mut again).unwrap();
        assert_eq!(first, again);
        let mut rest = Vec::new();
        incoming.read_to_end(&mut rest).unwrap();
        assert_eq!((rest.len(), rest.first()), (5 + REWIND, Some(&2)));
        assert!(incoming.seek(SeekFrom::Start(0)).is_err());
    }
}
