//! Speech to send, packets of it for SIPp, and how well a recording holds it.

use std::path::Path;

use audio::codec::g711;
use audio::resample::Resampler;
use audio::wav::Wav;

use crate::programs;

/// Judgements are made at this rate.
const RATE: u32 = 8000;
/// Samples of an envelope frame: 10 ms.
const FRAME: usize = 80;
/// Samples of a piece: 400 ms.
const PIECE: usize = 3200;
/// A piece that is so much like what is where it should be is looked for nowhere else.
const EXACT: f64 = 0.99;
/// How far a piece may lie from where the whole begins: a jitter buffer slips by some packets.
const SLIP: usize = 800;

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
    if rate == RATE {
        return samples.to_vec();
    }
    let mut out = Vec::new();
    Resampler::new(rate, RATE).process(samples, &mut out);
    out
}

/// How well `said` is found in `heard`.
#[derive(Debug)]
pub(crate) struct Found {
    /// Correlation of the whole, at the best place.
    pub(crate) whole: f64,
    /// Share of loud pieces of 400 ms that correlate with 0.7 or more near where the whole is.
    pub(crate) pieces: f64,
    /// Correlation of each of these pieces where it is found.
    pub(crate) likes: Vec<f64>,
    /// How far each of these pieces lies from where the whole has it, in ms.
    pub(crate) slips: Vec<f64>,
}

/// Looks for `said`, without its silence around, in `heard`. Both at 8 kHz.
pub(crate) fn find(said: &[i16], heard: &[i16]) -> Found {
    let loud = |sample: &i16| sample.unsigned_abs() > 200;
    let first = said.iter().position(loud).unwrap();
    let last = said.iter().rposition(loud).unwrap();
    let said = &said[first..=last];
    let (shape, shapes) = (envelope(said), Sums::new(envelope(heard)));
    let coarse = best(shapes.samples.len(), shapes.alike(&shape, 0)).0 * FRAME;
    let from = coarse.saturating_sub(3 * FRAME);
    let (said, heard) = (floats(said), Sums::new(floats(heard)));
    let (offset, whole) = best(6 * FRAME, heard.alike(&said, from));
    let start = from + offset;
    let loudness = energy(&said) / said.len() as f64;
    let mut loud_pieces = 0;
    let mut good = 0;
    let (mut likes, mut slips) = (Vec::new(), Vec::new());
    for (index, piece) in said.chunks_exact(PIECE).enumerate() {
        if energy(piece) / PIECE as f64 <= loudness / 16.0 {
            continue;
        }
        loud_pieces += 1;
        let place = start + index * PIECE;
        let from = place.saturating_sub(SLIP);
        let (alike, there) = (heard.alike(piece, from), place - from);
        let exact = Some((there, alike(there))).filter(|(_, likeness)| *likeness >= EXACT);
        let (at, likeness) = exact.unwrap_or_else(|| best(2 * SLIP, alike));
        slips.push((at as f64 - there as f64) / 8.0);
        good += u32::from(likeness >= 0.7);
        likes.push(likeness);
    }
    Found { whole, pieces: f64::from(good) / f64::from(loud_pieces), likes, slips }
}

fn envelope(samples: &[i16]) -> Vec<f64> {
    samples.chunks_exact(FRAME).map(|frame| energy(&floats(frame)).sqrt()).collect()
}

fn floats(samples: &[i16]) -> Vec<f64> {
    samples.iter().map(|sample| f64::from(*sample)).collect()
}

fn energy(samples: &[f64]) -> f64 {
    samples.iter().map(|sample| sample * sample).sum()
}

fn best(count: usize, score: impl Fn(usize) -> f64) -> (usize, f64) {
    (0..count).map(|at| (at, score(at))).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0))
}

/// Sound to look for other sound in.
struct Sums {
    samples: Vec<f64>,
    /// Energy of all before each of them, and of all.
    energy: Vec<f64>,
}

impl Sums {
    fn new(samples: Vec<f64>) -> Sums {
        let sums = samples.iter().scan(0.0, |sum, sample| {
            *sum += sample * sample;
            Some(*sum)
        });
        Sums { energy: std::iter::once(0.0).chain(sums).collect(), samples }
    }

    /// Correlation of `piece` with what begins so many samples behind `from`; beyond the end there is silence.
    fn alike(&self, piece: &[f64], from: usize) -> impl Fn(usize) -> f64 {
        let own = energy(piece);
        move |at| {
            let begin = (from + at).min(self.samples.len());
            let end = (begin + piece.len()).min(self.samples.len());
            let product: f64 = piece.iter().zip(&self.samples[begin..end]).map(|(a, b)| a * b).sum();
            product / ((own * (self.energy[end] - self.energy[begin])).sqrt() + 1e-9)
        }
    }
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
