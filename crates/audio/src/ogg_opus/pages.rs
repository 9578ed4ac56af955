//! Pages out of the bytes of an Ogg file (RFC 3533 section 6).

use super::OggError;
use crate::recording::ogg::checksum;

/// What every page begins with, and its version.
const MARK: &[u8; 5] = b"OggS\0";
/// Bytes before the table of segments.
const HEADER: usize = 27;
/// Where the checksum stands; it is computed as if there were zeros.
const CHECKSUM: std::ops::Range<usize> = 22..26;
/// Pages that may be broken before a file is given up: each costs a checksum of up to 64 kB in vain.
const MOST_BROKEN: u32 = 100;

const CONTINUED: u8 = 1;
const FIRST: u8 = 2;
const LAST: u8 = 4;

/// One page.
#[derive(Debug)]
pub(super) struct Page {
    flags: u8,
    /// The position in the stream behind the last packet that ends here; `None` where none ends.
    pub(super) granule: Option<u64>,
    /// Names the stream that it belongs to.
    pub(super) serial: u32,
    lacing: Vec<u8>,
    body: Vec<u8>,
}

/// Part of a packet, or all of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) bytes: &'a [u8],
    /// It goes on from the page before.
    pub(super) continues: bool,
    /// The packet ends with it.
    pub(super) ends: bool,
}

impl Page {
    /// The first of its stream.
    pub(super) fn is_first(&self) -> bool {
        self.flags & FIRST != 0
    }

    /// The last of its stream.
    pub(super) fn is_last(&self) -> bool {
        self.flags & LAST != 0
    }

    /// The packets on the page, of which the first may have begun earlier and the last may end later.
    pub(super) fn parts(&self) -> Vec<Part<'_>> {
        let mut parts = Vec::new();
        let (mut at, mut length) = (0, 0);
        let mut continues = self.flags & CONTINUED != 0;
        for (number, lace) in self.lacing.iter().enumerate() {
            length += usize::from(*lace);
            let ends = *lace < 255;
            if ends || number + 1 == self.lacing.len() {
                let bytes = self.body.get(at..at + length).unwrap_or_default();
                parts.push(Part { bytes, continues, ends });
                (at, length, continues) = (at + length, 0, false);
            }
        }
        parts
    }
}

/// Finds pages in bytes that come in pieces of any size. It holds less than a page, which has at most 65,307 bytes, and
/// the last piece.
#[derive(Debug, Default)]
pub(super) struct Pages {
    bytes: Vec<u8>,
    broken: u32,
}

impl Pages {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// No page was broken so far.
    pub(super) fn is_whole(&self) -> bool {
        self.broken == 0
    }

    /// The next page that is whole; what lies between pages is passed over.
    pub(super) fn poll(&mut self) -> Result<Option<Page>, OggError> {
        loop {
            self.seek_mark();
            let Some(length) = self.length() else { return Ok(None) };
            let Some(page) = self.bytes.get(..length).and_then(whole) else {
                self.broken += 1;
                if self.broken > MOST_BROKEN {
                    return Err(OggError::Damaged);
                }
                self.bytes.drain(..MARK.len());
                continue;
            };
            self.bytes.drain(..length);
            return Ok(Some(page));
        }
    }

    /// Drops what is before the next mark.
    fn seek_mark(&mut self) {
        let found = self.bytes.windows(MARK.len()).position(|bytes| bytes == MARK);
        // The end may be the beginning of a mark.
        let useless = found.unwrap_or(self.bytes.len().saturating_sub(MARK.len() - 1));
        self.bytes.drain(..useless);
    }

    /// How long the page at the beginning is, once all of it is there.
    fn length(&self) -> Option<usize> {
        let count = usize::from(*self.bytes.get(HEADER - 1)?);
        let lacing = self.bytes.get(HEADER..HEADER + count)?;
        let length = HEADER + count + lacing.iter().map(|lace| usize::from(*lace)).sum::<usize>();
        (self.bytes.len() >= length).then_some(length)
    }
}

/// The page that `bytes` are, unless their checksum says that they are none.
fn whole(bytes: &[u8]) -> Option<Page> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    let mut plain = bytes.to_vec();
    let told = plain.get_mut(CHECKSUM)?;
    let expected = u32::from_le_bytes(told.try_into().ok()?);
    told.fill(0);
    if checksum(&plain) != expected {
        return None;
    }
    let [_, _, _, _, _, flags, numbers @ ..] = *header;
    let (granule, numbers) = numbers.split_first_chunk::<8>()?;
    let serial = u32::from_le_bytes(*numbers.first_chunk::<4>()?);
    let granule = Some(u64::from_le_bytes(*granule)).filter(|granule| *granule != u64::MAX);
    let (lacing, body) = rest.split_at_checked(usize::from(header[HEADER - 1]))?;
    Some(Page { flags, granule, serial, lacing: lacing.to_vec(), body: body.to_vec() })
}
