//! Speech to send, packets of it for SIPp, and what a recording holds.

use std::path::Path;

use audio::codec::g711;
use audio::resample::Resampler;
use audio::wav::Wav;
pub(crate) use testkit::likeness::find;

use crate::programs;

/// Judgements are made at this rate.
const RATE: u32 = 8000;

/// `text` as flite says it, mono at 8 kHz, behind three seconds of silence: the first packets of a call reach
/// many phones before they listen, and a jitter buffer learns in silence how long packets need to wait.
pub(crate) async fn speech(folder: &Path, text: &str) -> Vec<i16> {
    let file = folder.join("speech.wav");
    programs::run("flite", &["-t", text, "-o", file.to_str().unwrap()], folder).await;
    let wav = Wav::parse(&std::fs::read(&file).unwrap()).unwrap();
    let mut samples = vec![0; 3 * RATE as usize];
    samples.extend(at_8k(&wav.mono(), wav.rate));
    samples
}

/// Writes mono samples.
pub(crate) fn write_wav(path: &Path, rate: u32, samples: &[i16]) {
    let mut bytes = audio::wav::header(rate, 1, samples.len() as u64 * 2).to_vec();
    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    std::fs::write(path, bytes).unwrap();
}

/// One channel of a recording, at 8 kHz.
pub(crate) fn channel(path: &Path, index: usize) -> Vec<i16> {
    let wav = Wav::parse(&std::fs::read(path).unwrap()).unwrap();
    let channels = usize::from(wav.channels);
    let one: Vec<i16> =
        wav.samples.chunks_exact(channels).map(|frame| frame[index.min(channels - 1)]).collect();
    at_8k(&one, wav.rate)
}

pub(crate) fn at_8k(samples: &[i16], rate: u32) -> Vec<i16> {
    resampled(samples, rate, RATE)
}

pub(crate) fn resampled(samples: &[i16], from: u32, to: u32) -> Vec<i16> {
    if from == to {
        return samples.to_vec();
    }
    let mut out = Vec::new();
    Resampler::new(from, to).process(samples, &mut out);
    out
}

/// The packets of a G.711 call for SIPp: `said`, then `digits` (RFC 4733) of 120 ms each with pauses between.
/// Numbers and timestamps wrap on the way.
pub(crate) fn write_pcap(path: &Path, said: &[i16], digits: &str) {
    let mut pcap = Pcap { file: Vec::new(), at_us: 0, sequence: 65_500, timestamp: 0xffff_f000 };
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1_u32] {
        pcap.file.extend(word.to_le_bytes());
    }
    for frame in said.chunks_exact(160) {
        let sound: Vec<u8> = frame.iter().map(|sample| g711::ulaw_from_linear(*sample)).collect();
        pcap.packet(0, false, &sound);
        pcap.timestamp = pcap.timestamp.wrapping_add(160);
    }
    for digit in digits.chars() {
        let event = "0123456789*#ABCD".find(digit).unwrap() as u8;
        for update in 1..=8_u16 {
            // The end is sent three times, with the duration of the last update.
            let end = if update > 5 { 0x80 } else { 0 };
            let [high, low] = (update.min(6) * 160).to_be_bytes();
            pcap.packet(101, update == 1, &[event, end | 10, high, low]);
        }
        pcap.timestamp = pcap.timestamp.wrapping_add(8 * 160);
        for _ in 0..8 {
            pcap.packet(0, false, &[0xff; 160]);
            pcap.timestamp = pcap.timestamp.wrapping_add(160);
        }
    }
    std::fs::write(path, pcap.file).unwrap();
}

struct Pcap {
    file: Vec<u8>,
    at_us: u32,
    sequence: u16,
    timestamp: u32,
}

impl Pcap {
    /// One packet in Ethernet, IP and UDP headers, whose addresses SIPp replaces.
    fn packet(&mut self, payload_type: u8, marker: bool, payload: &[u8]) {
        let header = rtp::Header {
            marker,
            payload_type,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: 0x1234_5678,
        };
        let mut rtp = Vec::new();
        rtp::packet::write(&header, payload, &mut rtp);
        self.sequence = self.sequence.wrapping_add(1);
        let udp = rtp.len() as u16 + 8;
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0]);
        frame.extend((udp + 20).to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1, 0x17, 0x70, 0x17, 0x72]);
        frame.extend(udp.to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(rtp);
        let length = frame.len() as u32;
        for word in [self.at_us / 1_000_000, self.at_us % 1_000_000, length, length] {
            self.file.extend(word.to_le_bytes());
        }
        self.file.extend(frame);
        self.at_us += 20_000;
    }
}
