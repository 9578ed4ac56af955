//! What the network says of datagrams of ours that did not arrive: ICMP errors, as the kernel keeps them in the
//! socket's error queue (RFC 3261 section 18.4, RFC 1122 section 4.1.3.3).

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use nix::libc::sock_extended_err;
use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv6RecvErr};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use socket2::Socket;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::event::Obstacle;

/// How much of the lost datagram is looked at: whether it was a response.
const QUOTED: usize = 16;
/// Room for what the kernel says of one error: 16 bytes and an address.
const CONTROL: usize = 64;
/// `ee_origin` of `linux/errqueue.h`: who tells.
const ICMP: u8 = 2;
const ICMP6: u8 = 3;

/// One datagram that did not arrive.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Undelivered {
    /// Where it was sent to.
    pub(super) to: SocketAddr,
    /// What stands between; `None` for what is to be ignored: hop limits, fragments, and whatever becomes of a response.
    pub(super) obstacle: Option<Obstacle>,
}

/// Has the kernel keep what it hears. Where it does not, datagrams are lost as ever.
pub(super) fn keep(socket: &Socket, v6: bool) {
    // A socket for both families hears of both.
    let _ = setsockopt(socket, Ipv4RecvErr, &true);
    if v6 {
        let _ = setsockopt(socket, Ipv6RecvErr, &true);
    }
}

/// The oldest that has not been read.
pub(super) fn next(socket: &UdpSocket) -> Option<Undelivered> {
    // What is there may not have woken the task yet; when nothing is there, it is woken by the next.
    let first = read(socket).or_else(|_| socket.try_io(Interest::ERROR, || read(socket)));
    first.ok()
}

/// Fails with `WouldBlock` only, so that a readiness that was in vain is always taken back.
fn read(socket: &UdpSocket) -> io::Result<Undelivered> {
    let (mut quoted, mut control) = ([0; QUOTED], nix::cmsg_space!([u8; CONTROL]));
    let mut parts = [IoSliceMut::new(&mut quoted)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)
        .map_err(|_| io::ErrorKind::WouldBlock)?;
    let to = message.address.as_ref().and_then(address).ok_or(io::ErrorKind::WouldBlock)?;
    let mut obstacle = None;
    for said in message.cmsgs().into_iter().flatten() {
        if let ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) = said
        {
            obstacle = verdict(&error, to);
        }
    }
    let length = message.bytes.min(QUOTED);
    let response = quoted.get(..length).is_some_and(|quoted| quoted.starts_with(b"SIP/2.0"));
    Ok(Undelivered { to, obstacle: obstacle.filter(|_| !response) })
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|v4| SocketAddr::from((v4.ip(), v4.port())));
    v4.or_else(|| storage.as_sockaddr_in6().map(|v6| SocketAddr::from((v6.ip(), v6.port()))))
}

/// What an error means for who sent the datagram: that host, network, port or protocol are unreachable, or that the
/// header is not understood.
fn verdict(error: &sock_extended_err, to: SocketAddr) -> Option<Obstacle> {
    match (error.ee_origin, error.ee_type, error.ee_code) {
        // Too large for the way; the kernel sends the next one in pieces.
        (ICMP, 3, 4) => None,
        (ICMP, 3, 2 | 3) | (ICMP6, 1, 4) => Some(Obstacle::NobodyListens(to)),
        (ICMP, 3 | 12, _) | (ICMP6, 1 | 4, _) => Some(Obstacle::Barred(to)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreachable_ports_and_hosts_count_and_hop_limits_and_fragments_do_not() {
        let to: SocketAddr = "192.0.2.1:5060".parse().unwrap();
        let says = |ee_origin, ee_type, ee_code| {
            let (ee_errno, ee_pad, ee_info, ee_data) = (0, 0, 0, 0);
            verdict(
                &sock_extended_err { ee_errno, ee_origin, ee_type, ee_code, ee_pad, ee_info, ee_data },
                to,
            )
        };
        let (closed, barred) = (Some(Obstacle::NobodyListens(to)), Some(Obstacle::Barred(to)));
        assert_eq!([says(ICMP, 3, 3), says(ICMP, 3, 2), says(ICMP6, 1, 4)], [closed; 3]);
        assert_eq!([says(ICMP, 3, 1), says(ICMP, 3, 13), says(ICMP6, 1, 0), says(ICMP, 12, 0)], [barred; 4]);
        // Fragments, source quench, hop limits, too large, and what this host says itself.
        let ignored = [says(ICMP, 3, 4), says(ICMP, 4, 0), says(ICMP, 11, 0), says(ICMP6, 3, 0)];
        assert_eq!(ignored, [None; 4]);
        assert_eq!([says(ICMP6, 2, 0), says(1, 3, 3)], [None; 2]);
    }
}
