//! The connections of a call's legs.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::legs::LegId;
use crate::media::Took;

/// A leg's connection as the media thread uses it.
#[derive(Debug)]
pub enum Wire {
    /// Bound, non-blocking sockets.
    Udp {
        /// RTP.
        sound: UdpSocket,
        /// RTCP, for peers that do not send it to the port of the sound; absent where that port was not free.
        reports: Option<UdpSocket>,
    },
    /// Messages of a WebSocket. `outbound` takes batches of 20 ms messages; when it is full they are dropped.
    Socket {
        /// Binary messages as they come.
        inbound: mpsc::Receiver<Bytes>,
        /// What to send.
        outbound: mpsc::Sender<Vec<Bytes>>,
    },
    /// No connection: sound is computed and goes nowhere.
    None,
}

/// Lets the wire of `leg`, if it has one, and that of `place` change places.
pub(super) fn exchange(wires: &mut [(LegId, Wire)], leg: LegId, place: LegId) {
    if wires.iter().all(|(wired, _)| *wired != leg) {
        return;
    }
    for (wired, _) in wires {
        *wired = wired.swapped(leg, place);
    }
}

/// Datagrams of strangers that are read in one tick, beside those of the far end: what a socket holds, so that nobody
/// fills it faster than it is emptied.
const MOST_FOREIGN: usize = 256;

/// Reads what a socket has: `most` datagrams of the far end and [`MOST_FOREIGN`] others, or until `take` has its last.
pub(super) fn read(
    socket: &UdpSocket,
    most: usize,
    buffer: &mut [u8],
    mut take: impl FnMut(SocketAddr, &mut [u8]) -> Took,
) {
    let (mut own, mut foreign) = (most, MOST_FOREIGN);
    while own > 0 && foreign > 0 {
        match socket.recv_from(buffer) {
            Ok((length, from)) => match take(from, &mut buffer[..length]) {
                Took::Own => own -= 1,
                Took::Foreign => foreign -= 1,
                Took::Last => break,
            },
            // A refused port shows as an error of the next call and says nothing about it.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => foreign -= 1,
            Err(_) => break,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(sent: &[u8]) -> usize {
        let (near, far) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        near.set_nonblocking(true).unwrap();
        // Over loopback a datagram is there when it has been sent.
        sent.iter()
            .for_each(|byte| assert_eq!(far.send_to(&[*byte], near.local_addr().unwrap()).unwrap(), 1));
        let mut count = 0;
        read(&near, 8, &mut [0; 16], |_, bytes| {
            count += 1;
            match &*bytes {
                b"o" => Took::Own,
                b"l" => Took::Last,
                _ => Took::Foreign,
            }
        });
        count
    }

    #[test]
    fn strangers_do_not_use_up_what_the_far_end_is_read_of() {
        assert_eq!(reads(&[b"x".repeat(100), b"ooo".to_vec()].concat()), 103);
        assert_eq!(reads(&b"o".repeat(10)), 8, "a burst of its own waits");
        assert_eq!(reads(b"olo"), 2);
    }
}
