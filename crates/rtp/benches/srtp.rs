//! What encryption costs a packet of 20 ms of G.711.
#![allow(clippy::unwrap_used, reason = "a bench that cannot set up is of no use")]

use divan::Bencher;
use rtp::srtp::{Master, SUITES, Suite};
use rtp::{Header, Keys, Srtp};

fn main() {
    divan::main();
}

fn end(suite: &'static Suite) -> Srtp {
    let master = Master::new(suite, &vec![7; suite.master_len()]).unwrap();
    Srtp::new(&Keys { suite, ours: master, theirs: master }).unwrap()
}

fn plain(sequence: u16, out: &mut Vec<u8>) {
    out.clear();
    let header = Header { marker: false, payload_type: 0, sequence, timestamp: 0, ssrc: 7 };
    rtp::packet::write(&header, &[0x55; 160], out);
}

#[divan::bench(args = SUITES.iter().map(|suite| suite.name))]
fn protect(bencher: Bencher, name: &str) {
    let mut srtp = end(Suite::by_name(name).unwrap());
    let (mut sequence, mut packet) = (0u16, Vec::with_capacity(200));
    bencher.bench_local(|| {
        plain(sequence, &mut packet);
        sequence = sequence.wrapping_add(1);
        srtp.protect(&mut packet).unwrap();
    });
}

/// Both ways, for each packet can be opened only once; the sending half is measured above.
#[divan::bench(args = SUITES.iter().map(|suite| suite.name))]
fn protect_and_unprotect(bencher: Bencher, name: &str) {
    let suite = Suite::by_name(name).unwrap();
    let (mut sender, mut receiver) = (end(suite), end(suite));
    let (mut sequence, mut packet) = (0u16, Vec::with_capacity(200));
    bencher.bench_local(|| {
        plain(sequence, &mut packet);
        sequence = sequence.wrapping_add(1);
        sender.protect(&mut packet).unwrap();
        receiver.unprotect(&mut packet).unwrap()
    });
}

/// A packet of a stranger, as a flood brings them.
#[divan::bench(args = SUITES.iter().map(|suite| suite.name))]
fn refuse(bencher: Bencher, name: &str) {
    let mut srtp = end(Suite::by_name(name).unwrap());
    let mut packet = Vec::new();
    plain(1, &mut packet);
    packet.extend([0; 16]);
    bencher.bench_local(|| srtp.unprotect(&mut packet).unwrap_err());
}

/// Setting up a leg: the session keys of both directions.
#[divan::bench(args = SUITES.iter().map(|suite| suite.name))]
fn set_up(bencher: Bencher, name: &str) {
    let suite = Suite::by_name(name).unwrap();
    bencher.bench(|| end(suite));
}
