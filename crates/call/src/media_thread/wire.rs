//! The connections of a call's legs.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::legs::LegId;

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

/// Reads what a socket has, `most` datagrams of it, or until `take` says that it has enough.
pub(super) fn read(
    socket: &UdpSocket,
    most: usize,
    buffer: &mut [u8],
    mut take: impl FnMut(SocketAddr, &mut [u8]) -> bool,
) {
    for _ in 0..most {
        match socket.recv_from(buffer) {
            Ok((length, from)) => {
                if take(from, &mut buffer[..length]) {
                    break;
                }
            }
            // A refused port shows as an error of the next call and says nothing about it.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(_) => break,
        }
    }
}
