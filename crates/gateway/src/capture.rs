//! A capture of all SIP messages as a pcap file, for Wireshark and its like: each as an IP and UDP packet, whatever it went
//! by, and without the secrets that a ladder leaves out too.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use sip::Passage;

use crate::ladder::without_secrets;

/// Messages that wait to be written. When full a further one is left out.
const WAITING: usize = 1_024;
/// Magic number, version 2.4, no time zone, packets of any length, link type "raw IP" (libpcap's `LINKTYPE_RAW`, 101).
const HEAD: [u32; 6] = [0xa1b2_c3d4, 0x0002_0004, 0, 0, 65_535, 101];
/// Bytes of an IPv6 and a UDP header, and of what stands before a packet.
const OVERHEAD: u64 = 40 + 8 + 16;

/// Where messages go to be written.
#[derive(Debug)]
pub struct Capture {
    packets: SyncSender<Vec<u8>>,
    local: SocketAddr,
}

impl Capture {
    /// Begins the file at `path` anew. A thread writes it until it has `limit` bytes; then nothing more is taken.
    ///
    /// # Errors
    /// Those of the file and of the thread.
    pub fn begin(path: &Path, limit: u64, local: SocketAddr) -> io::Result<Self> {
        #[allow(clippy::disallowed_methods, reason = "a capture is a file, made once at the start")]
        let mut file = BufWriter::new(File::create(path)?);
        let head: Vec<u8> = HEAD.iter().flat_map(|word| word.to_be_bytes()).collect();
        file.write_all(&head)?;
        file.flush()?;
        let (packets, waiting) = sync_channel(WAITING);
        let written = head.len() as u64;
        std::thread::Builder::new()
            .name("sip-capture".into())
            .spawn(move || write(&mut file, &waiting, limit.saturating_sub(written)))?;
        Ok(Capture { packets, local })
    }

    /// A message has passed at `at`, Unix ms.
    pub fn pass(&self, at: u64, passage: &Passage<'_>) {
        let text = readable(passage.bytes);
        // A capture never holds up a call.
        let _ = self.packets.try_send(packet(at, self.local, passage, text.as_bytes()));
    }
}

/// The message without its secrets, as readers of captures take it. They hold it for broken where a key is no base64: one
/// of zeros stands in its place.
fn readable(message: &[u8]) -> String {
    let zeros = format!("inline:{}", "A".repeat(40));
    let text = without_secrets(message, usize::MAX).replace('\n', "\r\n");
    with_true_length(&text.replace("inline:***", &zeros))
}

/// The message with the `Content-Length` that its body has without its secrets: readers take a shorter one for broken.
fn with_true_length(text: &str) -> String {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return text.to_owned() };
    let told =
        |name: &str| ["content-length", "l"].iter().any(|known| name.trim().eq_ignore_ascii_case(known));
    let lines = head.split("\r\n").map(|line| match line.split_once(':') {
        Some((name, _)) if told(name) => format!("{name}: {}", body.len()),
        _ => line.to_owned(),
    });
    [lines.collect::<Vec<_>>().join("\r\n").as_str(), body].join("\r\n\r\n")
}

/// Writes what comes, each at once, so that the file can be looked at meanwhile.
fn write(file: &mut BufWriter<File>, waiting: &Receiver<Vec<u8>>, limit: u64) {
    let mut left = limit;
    while let Ok(packet) = waiting.recv() {
        let Some(rest) = left.checked_sub(packet.len() as u64) else {
            return tracing::warn!("the capture of SIP is as long as it may be; it ends");
        };
        left = rest;
        if let Err(error) = file.write_all(&packet).and_then(|()| file.flush()) {
            return tracing::error!(%error, "the capture of SIP cannot be written; it ends");
        }
    }
}

/// A record of the file: time, lengths, IP header, UDP header, message. Checksums are left zero, which readers take for
/// computed by the network card.
fn packet(at: u64, local: SocketAddr, passage: &Passage<'_>, message: &[u8]) -> Vec<u8> {
    let message = message.get(..message.len().min(65_000)).unwrap_or_default();
    let (from, to) = if passage.sent { (local, passage.peer) } else { (passage.peer, local) };
    let udp = u16::try_from(message.len() + 8).unwrap_or(u16::MAX);
    let mut ip = Vec::with_capacity(message.len() + OVERHEAD as usize);
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            ip.extend([0x45, 0]);
            ip.extend((udp + 20).to_be_bytes());
            ip.extend([0, 0, 0, 0, 64, 17, 0, 0]);
            ip.extend(from.octets());
            ip.extend(to.octets());
        }
        (from, to) => {
            ip.extend([0x60, 0, 0, 0]);
            ip.extend(udp.to_be_bytes());
            ip.extend([17, 64]);
            ip.extend(v6(from));
            ip.extend(v6(to));
        }
    }
    ip.extend(from.port().to_be_bytes());
    ip.extend(to.port().to_be_bytes());
    ip.extend(udp.to_be_bytes());
    ip.extend([0, 0]);
    ip.extend(message);
    let seconds = u32::try_from(at / 1000).unwrap_or(u32::MAX);
    let micros = u32::try_from(at % 1000 * 1000).unwrap_or_default();
    let length = u32::try_from(ip.len()).unwrap_or(u32::MAX);
    let mut record: Vec<u8> =
        [seconds, micros, length, length].iter().flat_map(|word| word.to_be_bytes()).collect();
    record.append(&mut ip);
    record
}

fn v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_body_without_its_keys_has_a_length_that_is_true() {
        let told = "INVITE sip:a@b SIP/2.0\r\nl : 99\r\nTo: <sip:l:1@b>\r\n\r\nv=0\r\na=crypto:1 x\r\n\r\n";
        let (head, body) = told.split_once("\r\n\r\n").unwrap();
        let expected = format!("{}\r\n\r\n{body}", head.replace("l : 99", &format!("l : {}", body.len())));
        assert_eq!(with_true_length(told), expected);
        assert_eq!(with_true_length("OPTIONS"), "OPTIONS");
    }

    #[test]
    fn a_key_is_replaced_by_one_that_readers_take() {
        let line = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:";
        let body = format!("v=0\r\n{line}WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4\r\n");
        let told = readable(format!("INVITE sip:a@b SIP/2.0\r\nContent-Length: 9\r\n\r\n{body}").as_bytes());
        let (head, body) = told.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, format!("v=0\r\n{line}{}\r\n", "A".repeat(40)));
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a file of another thread is waited for in real time")]
    fn a_capture_is_a_pcap_file_of_bounded_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sip.pcap");
        let capture = Capture::begin(&path, 2_000, "192.0.2.1:5060".parse().unwrap()).unwrap();
        let bytes = b"INVITE sip:a@b SIP/2.0\r\nAuthorization: Digest hunter2\r\n\r\n";
        let peer = "198.51.100.7:5062".parse().unwrap();
        let passage = Passage { sent: false, peer, transport: sip::Transport::Udp, bytes };
        for _ in 0..100 {
            capture.pass(1_760_000_000_123, &passage);
        }
        drop(capture);
        let until = Instant::now() + Duration::from_secs(10);
        let mut file = Vec::new();
        while file.len() < 1_900 && Instant::now() < until {
            file = std::fs::read(&path).unwrap();
        }
        assert!((1_900..=2_000).contains(&file.len()), "{}", file.len());
        assert_eq!(file[..4], [0xa1, 0xb2, 0xc3, 0xd4]);
        let first = &file[24 + 16..];
        assert_eq!((first[0], first[9], &first[12..16]), (0x45, 17, &[198, 51, 100, 7][..]));
        assert_eq!(&first[28..34], b"INVITE");
        assert!(!String::from_utf8_lossy(&file).contains("hunter2"));
    }
}
