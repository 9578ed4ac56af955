//! A queue between those who log and where the log goes.
//!
//! Whoever reads standard output may stop reading. Without the queue the next line would stop the thread that
//! writes it, and with it the calls of that thread.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Lines waiting to be written. When full, a line is dropped and counted, and the count is logged when there is
/// room again.
const LINES: usize = 10_000;
/// How long the last lines may take when the process ends.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Time between two looks for room in a full queue at the end.
const PAUSE: Duration = Duration::from_millis(10);

enum Entry {
    Line(Vec<u8>),
    End,
}

/// The end of the queue that takes lines. Clones share it.
#[derive(Clone)]
pub(super) struct Queue {
    entries: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

/// Writes the lines that wait when it is dropped, as far as that is done within seconds.
#[must_use = "the log ends with it"]
#[derive(Debug)]
pub struct Flush {
    entries: SyncSender<Entry>,
    ended: Receiver<()>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry")
    }
}

impl Queue {
    /// A queue whose lines a thread of its own writes to `out`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<(Queue, Flush)> {
        let (entries, waiting) = sync_channel(LINES);
        let (end, ended) = sync_channel(1);
        let dropped = Arc::<AtomicU64>::default();
        let count = dropped.clone();
        thread::Builder::new().name("log".into()).spawn(move || {
            write(out, &waiting, &count);
            // Whoever waited for the end may have given up.
            let _ = end.try_send(());
        })?;
        Ok((Queue { entries: entries.clone(), dropped }, Flush { entries, ended }))
    }
}

/// Writes lines until [`Entry::End`] or until nobody can log any more.
fn write(mut out: impl Write, waiting: &Receiver<Entry>, dropped: &AtomicU64) {
    while let Ok(Entry::Line(line)) = waiting.recv() {
        // A log that cannot be written can be told of nowhere.
        let _ = out.write_all(&line);
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(out, "{lost} lines of the log were dropped because it is not read fast enough");
        }
    }
    let _ = out.flush();
}

impl Write for Queue {
    /// Takes one line; the formatter gives each as a whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.entries.try_send(Entry::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Queue;

    fn make_writer(&'a self) -> Queue {
        self.clone()
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        for _ in 0..LAST_LINES.as_millis() / PAUSE.as_millis() {
            match self.entries.try_send(Entry::End) {
                Ok(()) => {
                    // What is not written by then is lost.
                    let _ = self.ended.recv_timeout(LAST_LINES);
                    return;
                }
                // Nothing comes before the end is asked for, so this only waits for room.
                Err(TrySendError::Full(_)) => drop(self.ended.recv_timeout(PAUSE)),
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a line only when it is told to, and hands it on.
    struct Slow {
        go: Receiver<()>,
        lines: SyncSender<String>,
    }

    impl Write for Slow {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.go.recv();
            let _ = self.lines.send(String::from_utf8_lossy(line).into_owned());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_that_nobody_reads_stops_nobody_and_says_what_it_lost() {
        let (go, gate) = sync_channel(0);
        let (lines, written) = sync_channel(3 * LINES);
        let (mut queue, flush) = Queue::start(Slow { go: gate, lines }).unwrap();
        for _ in 0..2 * LINES {
            queue.write_all(b"line\n").unwrap();
        }
        drop(go);
        drop(flush);
        let written: Vec<String> = written.try_iter().collect();
        assert!(written.concat().contains("lines of the log were dropped"), "{} lines", written.len());
    }

    #[test]
    fn the_last_lines_are_written_at_the_end() {
        let (lines, written) = sync_channel(100);
        let (go, gate) = sync_channel(100);
        drop(go);
        let (mut queue, flush) = Queue::start(Slow { go: gate, lines }).unwrap();
        for _ in 0..50 {
            queue.write_all(b"line\n").unwrap();
        }
        drop(flush);
        assert_eq!(written.try_iter().count(), 50);
    }
}
