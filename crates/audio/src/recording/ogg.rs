//! Pages of an Ogg file (RFC 3533) with one stream in it.

/// A page holds at most so many pieces of up to 255 bytes.
const MAX_SEGMENTS: usize = 255;
/// Names the stream among others of a file; here there is but one.
const SERIAL: u32 = 1;

/// Where a page stands in its stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    First = 2,
    Middle = 0,
    Last = 4,
}

/// Collects packets to pages.
pub(super) struct Pages {
    number: u32,
    segments: Vec<u8>,
    packets: Vec<u8>,
}

impl Pages {
    /// Pages from the number `first` on.
    pub(super) fn new(first: u32) -> Self {
        Pages { number: first, segments: Vec::new(), packets: Vec::new() }
    }

    /// Whether a packet of `length` bytes finds room on the page.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.segments.len() + length / 255 < MAX_SEGMENTS
    }

    /// Puts a whole packet on the page; one that finds no room is left out.
    pub(super) fn packet(&mut self, packet: &[u8]) {
        if !self.has_room(packet.len()) {
            return;
        }
        // A packet ends with the first piece of less than 255 bytes, be it an empty one.
        self.segments.extend(std::iter::repeat_n(255, packet.len() / 255));
        self.segments.push((packet.len() % 255) as u8);
        self.packets.extend_from_slice(packet);
    }

    /// Appends the page to `out`; `granule` is the position in the stream behind its last packet.
    pub(super) fn flush(&mut self, position: Position, granule: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(b"OggS\0");
        out.push(position as u8);
        out.extend(granule.to_le_bytes());
        out.extend(SERIAL.to_le_bytes());
        out.extend(self.number.to_le_bytes());
        let checksum_at = out.len();
        out.extend([0; 4]);
        out.push(self.segments.len() as u8);
        out.append(&mut self.segments);
        out.append(&mut self.packets);
        let checksum = out.get(start..).map_or(0, checksum);
        if let Some(place) = out.get_mut(checksum_at..checksum_at + 4) {
            place.copy_from_slice(&checksum.to_le_bytes());
        }
        self.number += 1;
    }
}

/// The CRC of RFC 3533 section 6: polynomial 0x04c11db7, no reflection, beginning with zero.
pub(crate) fn checksum(page: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| crc << 8 ^ TABLE[usize::from((crc >> 24) as u8 ^ byte)];
    page.iter().fold(0, step)
}

static TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut crc = (at as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000_0000 != 0 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
}
