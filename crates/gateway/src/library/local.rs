//! A sound file on this machine.

use std::fs::File;
use std::io::{self, IoSliceMut, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;

use rustix::io::{ReadWriteFlags, preadv2};
use symphonia::core::io::MediaSource;

/// An open file and where in it the next byte is read.
#[derive(Debug)]
pub(super) struct Local {
    file: File,
    at: u64,
    /// Bytes, when it was opened.
    size: u64,
}

impl Local {
    /// At the beginning of `file`.
    ///
    /// # Errors
    /// When its size cannot be had.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Local { file, at: 0, size })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Whole units of `unit` bytes, at most `most` bytes, when the kernel has some in memory: most prompts are played so
    /// often that it has. `None` when a disk would have to be waited for, at the end, and where the file system cannot
    /// tell.
    pub(super) fn at_hand(&mut self, most: usize, unit: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; most];
        let read = preadv2(&self.file, &mut [IoSliceMut::new(&mut bytes)], self.at, ReadWriteFlags::NOWAIT);
        let whole = read.ok()? / unit * unit;
        bytes.truncate(whole);
        self.at += whole as u64;
        (whole > 0).then_some(bytes)
    }
}

impl Read for Local {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Local {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

impl MediaSource for Local {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.size)
    }
}
