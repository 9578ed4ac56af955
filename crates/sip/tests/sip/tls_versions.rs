//! Versions of TLS that are known to be weak (RFC 8996) are refused, whichever side a peer is on.

use sip::{Hop, Streams, Transport, Trust};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::streams::{LOCAL, call_by, hop, listening, next, station, within};

/// The versions as the wire has them.
const SSL_3: [u8; 2] = [3, 0];
const TLS_1_0: [u8; 2] = [3, 1];
const TLS_1_1: [u8; 2] = [3, 2];
const TLS_1_2: [u8; 2] = [3, 3];

/// Kinds of records, and of the message in one.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const SERVER_HELLO: u8 = 2;
/// An alert that ends a connection because of its version.
const PROTOCOL_VERSION: [u8; 2] = [2, 70];

/// One record with one handshake message.
fn record(version: [u8; 2], kind: u8, body: &[u8]) -> Vec<u8> {
    let length = |bytes: usize| u16::try_from(bytes).unwrap().to_be_bytes();
    let mut bytes =
        [&[HANDSHAKE], &version[..], &length(body.len() + 4), &[kind, 0], &length(body.len())].concat();
    bytes.extend_from_slice(body);
    bytes
}

/// A ClientHello of a peer that speaks no later version, with what our certificate can be used with.
fn client_hello(latest: [u8; 2]) -> Vec<u8> {
    let extensions: &[&[u8]] = &[
        // supported_groups: x25519, secp256r1.
        &[0, 10, 0, 6, 0, 4, 0, 29, 0, 23],
        // ec_point_formats: uncompressed.
        &[0, 11, 0, 2, 1, 0],
        // signature_algorithms: ecdsa_secp256r1_sha256.
        &[0, 13, 0, 4, 0, 2, 4, 3],
    ];
    let extensions = extensions.concat();
    let length = u16::try_from(extensions.len()).unwrap().to_be_bytes();
    // Suites: ECDHE-ECDSA with AES-128 in GCM, and in CBC with SHA-1 for the old versions.
    let suites = [0, 4, 0xc0, 0x2b, 0xc0, 0x09];
    let body = [&latest[..], &[7; 32], &[0], &suites, &[1, 0], &length, &extensions].concat();
    record(TLS_1_0.min(latest), 1, &body)
}

/// A ServerHello that chooses this version.
fn server_hello(version: [u8; 2]) -> Vec<u8> {
    record(version, SERVER_HELLO, &[&version[..], &[7; 32], &[0, 0xc0, 0x09, 0]].concat())
}

/// The kind of the next record, and its first two bytes.
async fn heard(stream: &mut TcpStream) -> (u8, [u8; 2]) {
    let (mut head, mut begin) = ([0; 5], [0; 2]);
    within(stream.read_exact(&mut head)).await.unwrap();
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    within(stream.read_exact(&mut body)).await.unwrap();
    begin.copy_from_slice(&body[..2]);
    (head[0], begin)
}

#[tokio::test]
async fn a_client_that_offers_no_tls_1_2_is_refused_by_its_version() {
    let (streams, _) = listening();
    let bob = station(2, streams).await;
    for transport in [Transport::Tls, Transport::Wss] {
        let address = hop(&bob, transport).address;
        for version in [SSL_3, TLS_1_0, TLS_1_1] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&client_hello(version)).await.unwrap();
            assert_eq!(heard(&mut stream).await, (ALERT, PROTOCOL_VERSION), "{transport} {version:?}");
            let mut rest = Vec::new();
            // Whether it is closed or reset, nothing more is said.
            let _ = within(stream.read_to_end(&mut rest)).await;
            assert!(rest.is_empty(), "{transport} {version:?}");
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&client_hello(TLS_1_2)).await.unwrap();
        assert_eq!(heard(&mut stream).await, (HANDSHAKE, [SERVER_HELLO, 0]), "it is the version that counts");
    }
}

#[tokio::test]
async fn a_server_that_chooses_an_older_version_than_tls_1_2_gets_no_call() {
    // Even where every certificate is believed.
    let alice = station(1, Streams { trust: Trust::Anyone, ..Streams::default() }).await;
    for transport in [Transport::Tls, Transport::Wss] {
        for version in [TLS_1_0, TLS_1_1] {
            let listener = TcpListener::bind(LOCAL).await.unwrap();
            let to = Hop::new(transport, listener.local_addr().unwrap());
            let (_, mut events) = alice.handle.invite(call_by(to)).await.unwrap();
            let (mut stream, _) = within(listener.accept()).await.unwrap();
            assert_eq!(heard(&mut stream).await.0, HANDSHAKE);
            stream.write_all(&server_hello(version)).await.unwrap();
            assert_eq!(heard(&mut stream).await, (ALERT, PROTOCOL_VERSION), "{transport} {version:?}");
            assert_eq!(next(&mut events).await, "Failed Unreachable(Handshake)", "{transport} {version:?}");
        }
    }
}
