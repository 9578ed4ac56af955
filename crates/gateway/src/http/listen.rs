//! The HTTP socket: plain or TLS, with a bound on how many connections wait and for how long.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::unread::{Answering, Telling};

/// Connections that may be up without having become a WebSocket. When there are as many, new ones wait.
const CONNECTIONS: usize = 4096;
/// How long a client may take to send the head of a request, the pause between two requests included.
const HEAD: Duration = Duration::from_secs(30);
/// How long the TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long requests may go on when the server stops.
const FAREWELL: Duration = Duration::from_secs(5);
/// Pause after a connection could not be taken, for want of descriptors.
const BREATH: Duration = Duration::from_millis(100);
/// Time between two looks whether the certificate has changed.
const LOOK: Duration = Duration::from_secs(5);

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// The certificate of HTTPS, which is read again when its file changes.
pub struct Tls {
    cert: PathBuf,
    key: PathBuf,
    acceptor: TlsAcceptor,
    stamps: [Option<SystemTime>; 2],
    looked: Instant,
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// When a file cannot be read or the two do not fit.
    #[allow(clippy::disallowed_methods, reason = "a socket is a driver: files are looked at in real time")]
    pub fn load(cert: &Path, key: &Path) -> io::Result<Self> {
        let stamps = [stamp(cert), stamp(key)];
        let acceptor = acceptor(cert, key)?;
        Ok(Tls { cert: cert.into(), key: key.into(), acceptor, stamps, looked: Instant::now() })
    }

    /// The acceptor of the certificate as its file is now. One that cannot be read leaves the old one in place.
    #[allow(clippy::disallowed_methods, reason = "as above")]
    fn current(&mut self) -> TlsAcceptor {
        let now = Instant::now();
        if now.duration_since(self.looked) >= LOOK {
            self.looked = now;
            let stamps = [stamp(&self.cert), stamp(&self.key)];
            if stamps != self.stamps {
                self.stamps = stamps;
                match acceptor(&self.cert, &self.key) {
                    Ok(acceptor) => {
                        self.acceptor = acceptor;
                        tracing::info!(cert = %self.cert.display(), "the certificate was read again");
                    }
                    Err(error) => {
                        tracing::error!(%error, "the new certificate cannot be used; the old one stays");
                    }
                }
            }
        }
        self.acceptor.clone()
    }
}

fn stamp(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

fn acceptor(cert: &Path, key: &Path) -> io::Result<TlsAcceptor> {
    let unreadable =
        |path: &Path, error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", path.display()));
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| unreadable(cert, &e))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable(key, &e))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|e| unreadable(cert, &e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves `router` on `listener` until `closing`; `tasks` owns the connections.
pub(super) async fn run(
    listener: TcpListener,
    mut tls: Option<Tls>,
    router: Router,
    tasks: TaskTracker,
    closing: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = closing.cancelled() => return,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let acceptor = tls.as_mut().map(Tls::current);
        let (router, closing) = (router.clone(), closing.clone());
        tasks.spawn(async move {
            match acceptor {
                None => http(stream, peer, router, closing).await,
                Some(acceptor) => match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => http(stream, peer, router, closing).await,
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS handshake"),
                    Err(_) => tracing::debug!(%peer, "the TLS handshake takes too long"),
                },
            }
            drop(place);
        });
    }
}

#[allow(clippy::disallowed_methods, reason = "a socket is a driver: it waits in real time")]
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = room.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Without it events wait for the acknowledgement of those before them.
            let _ = stream.set_nodelay(true);
            Some((stream, peer, place))
        }
        Err(error) => {
            tracing::warn!(%error, "a connection cannot be taken");
            tokio::time::sleep(BREATH).await;
            None
        }
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: SocketAddr,
    router: Router,
    closing: CancellationToken,
) {
    let router = TowerToHyperService::new(router);
    let answering = Answering::default();
    let stream = Telling::new(stream, answering.clone());
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(Peer(peer));
        answering.begin();
        let (answer, answering) = (router.call(request), answering.clone());
        async move {
            let answer = answer.await.unwrap_or_else(|never| match never {});
            Ok::<Response, Infallible>(answering.until_sent(answer))
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            timeout(FAREWELL, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "an HTTP connection broke");
    }
}
