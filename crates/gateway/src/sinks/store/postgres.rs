//! Call records in a Postgres database. The server may be away at any time: records wait in a spool until it has
//! confirmed them (see [`crate::sinks::delivery`]), and questions fail.

use std::error::Error as _;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use protocol::Secret;
use protocol::record::CallRecord;
use rustls_native_certs::load_native_certs;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{Found, Query, Question, Row, Value};
use crate::sinks::delivery::Sink;
use crate::sinks::parcel::Parcel;
use crate::sinks::refused::NotTaken;

/// How long a connection may take until it can be used.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the server may take to take a record.
const INSERT: Duration = Duration::from_secs(30);
/// A connection on which nothing goes is looked after so often.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Times are Unix milliseconds. A call is known by its id and when it began; its key is of one length, since ids that
/// phones make may be longer than an index takes. Servers that start at once make the table one after the other.
const SCHEMA: &str = "
    SELECT pg_advisory_xact_lock(4218807531);
    CREATE TABLE IF NOT EXISTS call_records (
        number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        call_id TEXT NOT NULL,
        call_type TEXT NOT NULL,
        start_ms BIGINT NOT NULL,
        end_ms BIGINT NOT NULL,
        caller TEXT NOT NULL,
        callee TEXT NOT NULL,
        status BIGINT NOT NULL,
        reason TEXT NOT NULL,
        record JSON NOT NULL
    );
    CREATE INDEX IF NOT EXISTS call_records_by_start ON call_records (start_ms);
    CREATE INDEX IF NOT EXISTS call_records_by_id ON call_records USING hash (call_id);
";
/// Classes of SQLSTATE (appendix A of the manual) that speak of the row: a value that does not fit, a rule of the table
/// that it breaks, a limit of the server, a trigger that raises. The others, such as 42 for a table that is not as it
/// should be, speak of every row.
const OF_THE_ROW: [&str; 4] = ["22", "23", "54", "P0"];
/// Whoever may write into a table need not be allowed to make one.
const THERE: &str = "SELECT to_regclass('call_records') IS NOT NULL";
const ADD: &str = "INSERT INTO call_records
    (key, call_id, call_type, start_ms, end_ms, caller, callee, status, reason, record)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::json) ON CONFLICT (key) DO NOTHING";

/// The table of records, over one connection that is opened when it is needed. Clones share it.
#[derive(Clone)]
pub struct Rows {
    config: Arc<Config>,
    encryption: Option<MakeRustlsConnect>,
    line: Arc<Mutex<Option<Line>>>,
}

/// An open connection.
struct Line {
    client: Arc<Client>,
    /// Moves its bytes; ends with it.
    _driver: JoinSet<()>,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("hosts", &self.config.get_hosts()).finish_non_exhaustive()
    }
}

impl Rows {
    /// The database at `address` (`postgres://user:password@host/name`). Beyond this machine the connection is
    /// encrypted and the server's certificate checked, against `roots` (PEM) or what the system believes, unless
    /// the address says `sslmode=disable`.
    ///
    /// # Errors
    /// When the address or the certificates cannot be read; the text repeats neither.
    pub fn new(address: &Secret, roots: Option<&[u8]>) -> Result<Self, String> {
        let mut config: Config =
            address.expose().parse().map_err(|_| "is no address of a Postgres database".to_owned())?;
        let near = config.get_hosts().iter().all(is_near);
        let encrypted = match config.get_ssl_mode() {
            SslMode::Disable => false,
            SslMode::Prefer => !near,
            _ => true,
        };
        config.ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable });
        config.connect_timeout(CONNECT).keepalives_idle(KEEPALIVE).tcp_user_timeout(INSERT);
        if config.get_application_name().is_none() {
            config.application_name("active-call");
        }
        let encryption = encrypted.then(|| encryption(roots)).transpose()?;
        Ok(Rows { config: Arc::new(config), encryption, line: Arc::default() })
    }

    /// The same table over a connection of its own, so that questions do not hold up records.
    #[must_use]
    pub fn apart(&self) -> Self {
        Rows { line: Arc::default(), ..self.clone() }
    }

    /// Takes a record in; one that is there already stays as it is.
    ///
    /// # Errors
    /// Whether the row is at fault or the database, with a text for the log; the record may be there all the same.
    pub async fn add(&self, record: &CallRecord) -> Result<(), NotTaken> {
        let row = Row::of(record).map_err(NotTaken::Never)?;
        let key = format!("{}-{}", crate::files::hex(&Sha256::digest(&record.call_id)), row.start_ms);
        let (call_id, caller, callee, reason) =
            (legal(&record.call_id), legal(&record.caller), legal(&record.callee), legal(row.reason));
        let status = i64::from(record.status_code);
        let values: [(&(dyn ToSql + Sync), Type); 10] = [
            (&key, Type::TEXT),
            (&call_id, Type::TEXT),
            (&row.call_type, Type::TEXT),
            (&row.start_ms, Type::INT8),
            (&row.end_ms, Type::INT8),
            (&caller, Type::TEXT),
            (&callee, Type::TEXT),
            (&status, Type::INT8),
            (&reason, Type::TEXT),
            (&row.text, Type::TEXT),
        ];
        self.limited(INSERT, async |client: &Client| client.query_typed(ADD, &values).await).await.map(drop)
    }

    /// What fits the question.
    ///
    /// # Errors
    /// A text for whoever asks.
    pub async fn ask(&self, question: &Question) -> Result<Found, String> {
        let Query { count, select, values } = question.query("call_records", "strpos", "record::text");
        let values: Vec<(&(dyn ToSql + Sync), Type)> = values
            .iter()
            .map(|value| match value {
                Value::Text(text) => (text as &(dyn ToSql + Sync), Type::TEXT),
                Value::Number(number) => (number as &(dyn ToSql + Sync), Type::INT8),
            })
            .collect();
        let (total, rows) = self
            .limited(super::PATIENCE, async |client: &Client| {
                tokio::try_join!(client.query_typed(&count, &values), client.query_typed(&select, &values))
            })
            .await
            .map_err(|error| error.to_string())?;
        let total = total.first().and_then(|row| row.try_get(0).ok()).unwrap_or(0);
        let texts: Vec<String> = rows.iter().filter_map(|row| row.try_get(0).ok()).collect();
        Ok(Found::new(&texts, total))
    }

    /// Asks the server something. A connection on which it takes longer than `limit` is given up.
    async fn limited<T>(
        &self,
        limit: Duration,
        ask: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, NotTaken> {
        let client = self.client().await.map_err(NotTaken::Away)?;
        match timeout(limit, ask(&client)).await {
            Ok(answer) => answer.map_err(|error| match of_the_row(&error) {
                true => NotTaken::Never(told(&error)),
                false => NotTaken::Away(told(&error)),
            }),
            Err(_) => {
                *self.line.lock().await = None;
                Err(NotTaken::Away("the database takes too long".into()))
            }
        }
    }

    /// The connection, opened where there is none any more.
    async fn client(&self) -> Result<Arc<Client>, String> {
        let mut line = self.line.lock().await;
        if let Some(open) = line.as_ref().filter(|open| !open.client.is_closed()) {
            return Ok(open.client.clone());
        }
        *line = None;
        let opened = timeout(CONNECT, self.open()).await;
        let opened = opened.unwrap_or_else(|_| Err("the database does not answer".into()))?;
        Ok(line.insert(opened).client.clone())
    }

    async fn open(&self) -> Result<Line, String> {
        let mut driver = JoinSet::new();
        let client = match &self.encryption {
            Some(encryption) => {
                let connected = self.config.connect(encryption.clone()).await;
                let (client, connection) = connected.map_err(|error| told(&error))?;
                // Its end is seen in the client.
                driver.spawn(async { drop(connection.await) });
                client
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await.map_err(|error| told(&error))?;
                driver.spawn(async { drop(connection.await) });
                client
            }
        };
        let there = client.query_typed(THERE, &[]).await.map_err(|error| told(&error))?;
        if !there.first().is_some_and(|row| row.try_get(0).unwrap_or(false)) {
            client.batch_execute(SCHEMA).await.map_err(|error| told(&error))?;
        }
        Ok(Line { client: Arc::new(client), _driver: driver })
    }
}

#[async_trait]
impl Sink for Rows {
    /// The row is there, from this time or an earlier one.
    async fn deliver(&self, parcel: &Parcel) -> Result<(), NotTaken> {
        self.add(&serde_json::from_slice(&parcel.text).map_err(|e| NotTaken::Never(e.to_string()))?).await
    }
}

/// Whether a server is on this machine.
fn is_near(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

fn encryption(roots: Option<&[u8]>) -> Result<MakeRustlsConnect, String> {
    let mut believed = RootCertStore::empty();
    let certificates = match roots {
        Some(pem) => CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>(),
        None => Ok(load_native_certs().certs),
    };
    believed.add_parsable_certificates(certificates.map_err(|error| error.to_string())?);
    if believed.is_empty() {
        return Err("there is no certificate that could vouch for the database".into());
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(MakeRustlsConnect::new(config.with_root_certificates(believed).with_no_client_auth()))
}

/// Postgres holds every text but one with a zero in it.
fn legal(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Whether the server says that a row is at fault.
fn of_the_row(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|state| OF_THE_ROW.iter().any(|class| state.code().starts_with(class)))
}

/// What went wrong, with what the server says of it. Neither names a password.
fn told(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("{} ({})", said.message(), said.code().code());
    }
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}
