//! TLS: our certificate, which can be replaced while calls go on, and whose we believe.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::event::Obstacle;
use crate::hop::Hop;

/// Our certificate chain with its key.
#[derive(Clone)]
pub struct Identity(Arc<CertifiedKey>);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} certificates, key ***)", self.0.cert.len())
    }
}

impl Identity {
    /// Reads a chain, our own certificate first, and the key of it, both in PEM.
    ///
    /// # Errors
    /// `InvalidData` if one of them cannot be read, is missing, or they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> io::Result<Self> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
        let chain = chain.map_err(invalid)?;
        if chain.is_empty() {
            return Err(invalid("no certificate in the PEM of our chain"));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(invalid)?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(invalid)?;
        Ok(Self(Arc::new(key)))
    }
}

/// Whose certificates are believed when we connect to a peer.
#[derive(Debug, Clone, Default)]
pub enum Trust {
    /// Those that the system believes.
    #[default]
    System,
    /// Those signed by these, in PEM.
    Roots(Vec<u8>),
    /// Any: the call is encrypted, but perhaps for someone else. Only for a peer with a certificate of
    /// its own making in a network that is trusted.
    Anyone,
}

/// Both sides of TLS.
pub(super) struct Tls {
    identity: watch::Sender<Option<Identity>>,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("identity", &*self.identity.borrow()).finish_non_exhaustive()
    }
}

impl Tls {
    pub(super) fn new(identity: Option<Identity>, trust: &Trust) -> io::Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (identity, current) = watch::channel(identity);
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(invalid)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Current(current)));
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(invalid)?
            .dangerous()
            .with_custom_certificate_verifier(verifier(trust, provider)?)
            .with_no_client_auth();
        Ok(Self {
            identity,
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
        })
    }

    /// New connections get this certificate; old ones go on.
    pub(super) fn replace(&self, identity: Identity) {
        self.identity.send_replace(Some(identity));
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    pub(super) fn connector(&self) -> TlsConnector {
        self.connector.clone()
    }
}

/// The name that the certificate of this peer must have.
pub(super) fn server_name(hop: &Hop) -> io::Result<ServerName<'static>> {
    match &hop.name {
        Some(name) => ServerName::try_from(name.to_string()).map_err(invalid),
        None => Ok(ServerName::IpAddress(IpAddr::to_canonical(&hop.address.ip()).into())),
    }
}

fn verifier(trust: &Trust, provider: Arc<CryptoProvider>) -> io::Result<Arc<dyn ServerCertVerifier>> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::Anyone => return Ok(Arc::new(Believer(provider))),
        Trust::Roots(pem) => {
            for root in CertificateDer::pem_slice_iter(pem) {
                roots.add(root.map_err(invalid)?).map_err(invalid)?;
            }
        }
        Trust::System => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        // A system without certificates believes nobody; calls over TLS then fail, not the start.
        return Ok(Arc::new(Doubter(provider)));
    }
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    built.map(|verifier| verifier as Arc<dyn ServerCertVerifier>).map_err(invalid)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The certificate of the moment.
#[derive(Debug)]
struct Current(watch::Receiver<Option<Identity>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.borrow().as_ref().map(|identity| Arc::clone(&identity.0))
    }
}

/// Believes every certificate, though not a handshake that is signed wrongly.
#[derive(Debug)]
struct Believer(Arc<CryptoProvider>);

/// Believes none.
#[derive(Debug)]
struct Doubter(Arc<CryptoProvider>);

/// What a connection met that ended with `error`.
pub(super) fn obstacle(error: &io::Error) -> Obstacle {
    use CertificateError as Of;
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return match error.kind() {
            io::ErrorKind::ConnectionRefused => Obstacle::Refused,
            io::ErrorKind::TimedOut => Obstacle::Silent,
            _ => Obstacle::NoWay,
        };
    };
    let Error::InvalidCertificate(wrong) = error else { return Obstacle::Handshake };
    match wrong {
        // Who bears the name of an authority without its key is none.
        Of::UnknownIssuer | Of::BadSignature => Obstacle::Stranger,
        Of::NotValidForName | Of::NotValidForNameContext { .. } => Obstacle::WrongName,
        Of::Expired | Of::ExpiredContext { .. } | Of::NotValidYet | Of::NotValidYetContext { .. } => {
            Obstacle::Expired
        }
        _ => Obstacle::BadCertificate,
    }
}

macro_rules! check_signatures {
    ($verifier:ty, $verdict:expr) => {
        impl ServerCertVerifier for $verifier {
            fn verify_server_cert(
                &self,
                _: &CertificateDer<'_>,
                _: &[CertificateDer<'_>],
                _: &ServerName<'_>,
                _: &[u8],
                _: UnixTime,
            ) -> Result<ServerCertVerified, Error> {
                $verdict
            }

            fn verify_tls12_signature(
                &self,
                message: &[u8],
                certificate: &CertificateDer<'_>,
                signed: &DigitallySignedStruct,
            ) -> Result<HandshakeSignatureValid, Error> {
                let known = &self.0.signature_verification_algorithms;
                tokio_rustls::rustls::crypto::verify_tls12_signature(message, certificate, signed, known)
            }

            fn verify_tls13_signature(
                &self,
                message: &[u8],
                certificate: &CertificateDer<'_>,
                signed: &DigitallySignedStruct,
            ) -> Result<HandshakeSignatureValid, Error> {
                let known = &self.0.signature_verification_algorithms;
                tokio_rustls::rustls::crypto::verify_tls13_signature(message, certificate, signed, known)
            }

            fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
                self.0.signature_verification_algorithms.supported_schemes()
            }
        }
    };
}

check_signatures!(Believer, Ok(ServerCertVerified::assertion()));
check_signatures!(Doubter, Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)));
