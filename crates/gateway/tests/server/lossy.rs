//! A network of a sort between us and a phone: it has addresses of its own, and one packet in twenty is lost on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::UdpSocket;

use crate::programs;

/// One in so many packets is lost, whichever it is.
const ONE_IN: u64 = 20;

/// What is in front of the phone at `phone` for us: the port at which it is called. Of SIP only INFO is lost: requests and,
/// where the phone knows one that is repeated, `answers`. Also gives how many messages are lost.
pub(crate) async fn in_front_of(phone: u16, answers: bool) -> (u16, Arc<AtomicUsize>) {
    let [sip, front, back] = programs::free_ports::<3>();
    let bound = [sip, front, back].map(|port| UdpSocket::bind(("127.0.0.1", port)));
    let [signalling, front, back] = futures::future::try_join_all(bound).await.unwrap().try_into().unwrap();
    let dice = [1, 2, 3].map(|way| Dice::new(u64::from(sip) * way));
    let losses = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&losses);
    let network = Network { phone, sip, answers, server: 0, media: [0; 2], dice, losses: counted };
    #[expect(clippy::disallowed_methods, reason = "the network lives as long as its test")]
    tokio::spawn(network.carry(signalling, [front, back]));
    (sip, losses)
}

/// Which packets of one direction are lost: no more than two of five, for a key of which most is lost is gone.
struct Dice {
    state: u64,
    /// Of the last packets, a bit each.
    last: u8,
}

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice { state: seed << 16 | 1, last: 0 }
    }

    fn lost(&mut self) -> bool {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let lost = self.state.is_multiple_of(ONE_IN) && (self.last & 0b1111).count_ones() < 2;
        self.last = self.last << 1 | u8::from(lost);
        lost
    }
}

struct Network {
    phone: u16,
    sip: u16,
    answers: bool,
    /// Where our SIP comes from.
    server: u16,
    /// Where our sound and that of the phone is wanted.
    media: [u16; 2],
    /// Of the sound to us, of that to the phone, and of INFO.
    dice: [Dice; 3],
    losses: Arc<AtomicUsize>,
}

impl Network {
    async fn carry(mut self, signalling: UdpSocket, [front, back]: [UdpSocket; 2]) {
        let (mut text, mut ours, mut its) = (vec![0; 65_536], [0; 2048], [0; 2048]);
        loop {
            tokio::select! {
                Ok((length, from)) = signalling.recv_from(&mut text) => {
                    let message = str::from_utf8(&text[..length]).unwrap();
                    let may_be_lost = self.answers || message.starts_with("INFO ");
                    if may_be_lost && message.contains(" INFO\r\n") && self.loses(2) {
                        continue;
                    }
                    let to_phone = from.port() != self.phone;
                    if to_phone {
                        self.server = from.port();
                    }
                    let own = [&front, &back].map(|socket| socket.local_addr().unwrap().port());
                    let message = self.translated(message, to_phone, own);
                    let to = if to_phone { self.phone } else { self.server };
                    signalling.send_to(message.as_bytes(), ("127.0.0.1", to)).await.unwrap();
                }
                Ok((length, _)) = front.recv_from(&mut ours) => self.pass(&back, &ours[..length], 1).await,
                Ok((length, _)) = back.recv_from(&mut its) => self.pass(&front, &its[..length], 0).await,
            }
        }
    }

    fn loses(&mut self, way: usize) -> bool {
        let lost = self.dice[way].lost();
        self.losses.fetch_add(usize::from(lost), Ordering::Relaxed);
        lost
    }

    async fn pass(&mut self, by: &UdpSocket, packet: &[u8], side: usize) {
        if self.media[side] != 0 && !self.loses(side) {
            // Who is gone does not end the network.
            let _ = by.send_to(packet, ("127.0.0.1", self.media[side])).await;
        }
    }

    /// A message as the other side sees it: this network is all that it knows.
    fn translated(&mut self, message: &str, to_phone: bool, [front, back]: [u16; 2]) -> String {
        let host = |port: u16| format!("127.0.0.1:{port}");
        let [own, phone, server] = [self.sip, self.phone, self.server].map(host);
        let (head, body) = message.split_once("\r\n\r\n").unwrap();
        let head = if to_phone {
            head.replace(&own, &phone).replace(&server, &own)
        } else {
            head.replace(&own, &server).replace(&phone, &own)
        };
        let body: String =
            body.split_inclusive('\n').map(|line| self.described(line, to_phone, [front, back])).collect();
        let length = |line: &str| {
            let is_length = line.starts_with("Content-Length:");
            if is_length { format!("Content-Length: {}", body.len()) } else { line.to_owned() }
        };
        let head: Vec<String> = head.split("\r\n").map(length).collect();
        format!("{}\r\n\r\n{body}", head.join("\r\n"))
    }

    /// A line of a description, or of anything else.
    fn described(&mut self, line: &str, to_phone: bool, [front, back]: [u16; 2]) -> String {
        let Some((port, rest)) = line.strip_prefix("m=audio ").and_then(|line| line.split_once(' ')) else {
            return line.to_owned();
        };
        self.media[usize::from(!to_phone)] = port.parse().unwrap();
        format!("m=audio {} {rest}", if to_phone { back } else { front })
    }
}
