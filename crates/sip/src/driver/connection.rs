//! One connection: opened or accepted, encrypted and upgraded as its transport asks, then carrying
//! messages both ways until one side ends it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::tls::server_name;
use super::web;
use crate::framing::Framer;
use crate::hop::{ConnectionId, Hop, Transport};

/// Longest time for connecting, and for each handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Longest silence of one that has.
pub(super) const IDLE: Duration = Duration::from_secs(3_600);
/// How often a connection of ours shows that it lives (RFC 5626 section 4.4.1).
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Bytes that wait for the peer from which on its outbox is not emptied.
const MOST: usize = 4 << 20;
/// How long a connection whose stream is broken stays for the answer to that.
const LAST_WORD: Duration = Duration::from_millis(500);
/// Bytes that wait for the peer from which on nothing of it is read: who does not hear is not heard.
const PAUSE: usize = 256 << 10;

/// What a connection tells the loop.
#[derive(Debug)]
pub(super) enum Heard {
    /// A message, as it was cut from the stream.
    Message(Hop, Vec<u8>),
}

/// A connection's two ends towards the loop.
#[derive(Debug)]
pub(super) struct Ends {
    /// The peer, with the connection's id.
    pub(super) hop: Hop,
    /// Messages to the loop. When full, the connection is not read.
    pub(super) inbox: mpsc::Sender<Heard>,
    /// Messages from the loop; it closes when the connection is to end.
    pub(super) outbox: mpsc::Receiver<Vec<u8>>,
    /// Whether we have opened it.
    pub(super) ours: bool,
    pub(super) limits: Limits,
}

/// How long a peer may be silent or deaf; see [`Streams`](super::Streams).
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) stalled: Duration,
    pub(super) silent: Duration,
}

/// How a connection ended.
#[derive(Debug)]
pub(super) struct Over {
    pub(super) id: Option<ConnectionId>,
    pub(super) result: io::Result<()>,
}

/// Serves a connection that a peer has opened; `origins` are those of pages that may open a WebSocket.
pub(super) async fn accepted(
    stream: TcpStream,
    mut ends: Ends,
    (tls, origins): (TlsAcceptor, Arc<[String]>),
) -> Over {
    let id = ends.hop.connection;
    let served = async {
        match ends.hop.transport {
            Transport::Udp | Transport::Tcp => carry(stream, &mut ends).await,
            Transport::Tls => carry(within(tls.accept(stream)).await?, &mut ends).await,
            Transport::Ws => web::serve(stream, &mut ends, &origins).await,
            Transport::Wss => web::serve(within(tls.accept(stream)).await?, &mut ends, &origins).await,
        }
    };
    Over { id, result: served.await }
}

/// Opens a connection and serves it.
pub(super) async fn opened(mut ends: Ends, tls: TlsConnector) -> Over {
    let id = ends.hop.connection;
    let served = async {
        let stream = within(TcpStream::connect(ends.hop.address)).await?;
        stream.set_nodelay(true)?;
        match ends.hop.transport {
            Transport::Udp | Transport::Tcp => carry(stream, &mut ends).await,
            Transport::Tls => {
                let name = server_name(&ends.hop)?;
                carry(within(tls.connect(name, stream)).await?, &mut ends).await
            }
            Transport::Ws => web::connect(stream, &mut ends).await,
            Transport::Wss => {
                let name = server_name(&ends.hop)?;
                web::connect(within(tls.connect(name, stream)).await?, &mut ends).await
            }
        }
    };
    Over { id, result: served.await }
}

/// The future's result, or an error when it takes too long.
pub(super) async fn within<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(HANDSHAKE, future).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// What a stream has said and what waits for it.
#[derive(Debug)]
struct Talk {
    framer: Framer,
    pending: Vec<u8>,
    /// When the peer last said something, or a message began.
    heard: Instant,
    /// When it last took something, or something began to wait for it.
    taken: Instant,
    spoken: bool,
    limits: Limits,
    closing: bool,
    /// After a fault: until when the answer to it is waited for.
    last: Option<Instant>,
}

async fn carry(stream: impl AsyncRead + AsyncWrite, ends: &mut Ends) -> io::Result<()> {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut buffer = vec![0; 16 << 10];
    let now = Instant::now();
    let mut talk = Talk {
        framer: Framer::default(),
        pending: Vec::new(),
        heard: now,
        taken: now,
        spoken: ends.ours,
        limits: ends.limits,
        closing: false,
        last: None,
    };
    let mut keep_alive = now + KEEP_ALIVE;
    loop {
        if talk.closing && talk.pending.is_empty() {
            return write.shutdown().await;
        }
        let due = talk.deadline().min(keep_alive);
        tokio::select! {
            biased;
            message = ends.outbox.recv(), if !talk.closing && talk.pending.len() < MOST => match message {
                Some(message) => talk.queue(&message),
                None => talk.closing = true,
            },
            written = write.write(&talk.pending), if !talk.pending.is_empty() => talk.wrote(written?)?,
            count = read.read(&mut buffer), if talk.is_listening() => {
                let Some(chunk) = buffer.get(..count?).filter(|chunk| !chunk.is_empty()) else { return Ok(()) };
                talk.hear(chunk, ends).await?;
            }
            () = tokio::time::sleep_until(due) => {
                let over = talk.deadline() <= Instant::now();
                if over && talk.last.is_some() {
                    return write.shutdown().await;
                }
                if over {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                keep_alive = Instant::now() + KEEP_ALIVE;
                if ends.ours && !talk.closing {
                    talk.queue(b"\r\n\r\n");
                }
            }
        }
        // A TLS stream keeps what it has encrypted until it is asked.
        write.flush().await?;
    }
}

impl Talk {
    fn is_listening(&self) -> bool {
        self.pending.len() < PAUSE && !self.closing && self.last.is_none()
    }

    /// When the peer has been silent or deaf for too long.
    fn deadline(&self) -> Instant {
        let silent = match (self.framer.is_partial(), self.spoken) {
            (true, _) => self.limits.stalled,
            (false, true) => IDLE,
            (false, false) => self.limits.silent,
        };
        let silence = match self.last {
            Some(last) => Some(last),
            None => self.is_listening().then(|| self.heard + silent),
        };
        let deafness = (!self.pending.is_empty()).then(|| self.taken + self.limits.stalled);
        silence.into_iter().chain(deafness).min().unwrap_or(self.heard + IDLE)
    }

    fn queue(&mut self, message: &[u8]) {
        if self.pending.is_empty() {
            self.taken = Instant::now();
        }
        self.pending.extend_from_slice(message);
    }

    fn wrote(&mut self, count: usize) -> io::Result<()> {
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.pending.drain(..count.min(self.pending.len()));
        self.taken = Instant::now();
        Ok(())
    }

    /// Cuts what the peer says. After a fault the connection ends; what can be shown of the broken
    /// message goes to the endpoint, which answers it with 400 if it can.
    async fn hear(&mut self, chunk: &[u8], ends: &Ends) -> io::Result<()> {
        if !self.framer.is_partial() {
            self.heard = Instant::now();
        }
        self.framer.push(chunk);
        loop {
            let (message, broken) = match self.framer.poll() {
                Ok(None) => break,
                Ok(Some(message)) => (message, false),
                Err(broken) => (broken.0, true),
            };
            self.spoken = true;
            self.heard = Instant::now();
            let told = ends.inbox.send(Heard::Message(ends.hop.clone(), message)).await;
            if broken {
                self.last = Some(Instant::now() + LAST_WORD);
                return Ok(());
            }
            if told.is_err() {
                self.closing = true;
                return Ok(());
            }
        }
        if self.framer.take_pings() > 0 && !ends.ours {
            self.queue(b"\r\n");
        }
        Ok(())
    }
}
