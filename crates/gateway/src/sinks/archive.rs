//! Where the record of a call goes when it has ended: into a file, into the database, and on its way.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use protocol::Secret;
use protocol::record::CallRecord;
use tokio::sync::Notify;

use super::delivery::{Delivery, Policy, SETTLED, Sink};
use super::objects::Objects;
use super::post::Post;
use super::records::Local;
use super::store::Store;
use super::store::embedded::Embedded;
use super::store::postgres::Rows;
use crate::config::words::{Database, RecordSink};
use crate::config::{Config, RecordTable};
use crate::egress::Egress;

/// A record that is refused goes again after these pauses; then it is set aside.
const PAUSES: &[Duration] = &[Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(300)];

/// The records of this server. Clones share it.
#[derive(Clone, Debug)]
pub struct Archive {
    /// The files: what is kept, or what waits to be delivered.
    pub local: Local,
    /// The same for questions; absent when the database cannot be opened.
    pub store: Option<Store>,
    /// Records that a receiver or the database has refused for good since the start.
    pub refused: Arc<AtomicU64>,
    /// Something new waits for the receiver of records.
    news: Arc<Notify>,
    /// And for a database that takes them from a spool.
    news_of_rows: Arc<Notify>,
}

impl Archive {
    /// The archive that `config` describes; `None` where no records are wanted.
    pub fn open(config: &Config) -> Option<Self> {
        let table = config.callrecord.as_ref().filter(|table| table.r#type.is_some())?;
        let store = store(table);
        if let Err(error) = &store {
            tracing::error!(%error, "the database of records cannot be opened; /api/records is empty");
        }
        let outbox = matches!(table.database, Database::Postgres(_)).then(|| table.database_spool.clone());
        Some(Archive {
            local: Local::open(folder(table)).with_outbox(outbox),
            store: store.ok(),
            refused: Arc::default(),
            news: Arc::default(),
            news_of_rows: Arc::default(),
        })
    }

    /// Writes `record`. The file is what counts; the database follows.
    ///
    /// # Errors
    /// Those of the file.
    pub fn write(&self, record: &CallRecord) -> io::Result<PathBuf> {
        let path = self.local.write(record)?;
        self.know(record);
        self.news.notify_one();
        self.news_of_rows.notify_one();
        Ok(path)
    }

    /// Writes a record for every call that a crash cut off, and gives their number.
    pub fn recover(&self, now: &str) -> usize {
        let recovered = self.local.recover(now);
        for record in &recovered {
            self.know(record);
        }
        recovered.len()
    }

    fn know(&self, record: &CallRecord) {
        if let Some(Store::Embedded(file)) = &self.store
            && let Err(error) = file.add(record)
        {
            tracing::error!(call = ?record.call_id, %error, "the database does not take a record; its file is there");
        }
    }

    /// What carries records on: to their receiver, and to a database that is elsewhere.
    pub fn deliveries(&self, config: &Config, egress: &Egress) -> Vec<Delivery> {
        let Some(table) = &config.callrecord else { return Vec::new() };
        let media = config.recording.path.clone();
        let rows = match &self.store {
            Some(Store::Postgres(rows)) => Some(rows.apart()),
            Some(Store::Embedded(_)) | None => None,
        };
        let rows = rows.map(|rows| {
            let settled = Duration::ZERO;
            let (with_media, keep_media_copy, pauses) = (false, true, PAUSES);
            let policy = Policy { with_media, keep_media_copy, settled, pauses, media: media.clone() };
            Delivery::new(table.database_spool.clone(), Arc::new(rows), policy, self.news_of_rows.clone())
        });
        let receiver = receiver(table, egress).map(|sink| {
            let (with_media, keep_media_copy) = (table.with_media, table.keep_media_copy);
            let policy = Policy { with_media, keep_media_copy, settled: SETTLED, pauses: PAUSES, media };
            Delivery::new(folder(table), sink, policy, self.news.clone())
        });
        receiver.into_iter().chain(rows).map(|delivery| delivery.counting(self.refused.clone())).collect()
    }
}

/// The database that `table` names.
fn store(table: &RecordTable) -> Result<Store, String> {
    match &table.database {
        Database::Postgres(address) => rows(table, address).map(Store::Postgres),
        Database::File(path) => {
            let named = |error| format!("{}: {error}", path.display());
            Embedded::open(path).map(Store::Embedded).map_err(named)
        }
    }
}

/// The Postgres database at `address`. Nothing is connected to.
///
/// # Errors
/// A text for the log, when the address or the certificates that `table` names cannot be read.
pub(crate) fn rows(table: &RecordTable, address: &Secret) -> Result<Rows, String> {
    let read = |file: &PathBuf| std::fs::read(file).map_err(|e| format!("{}: {e}", file.display()));
    let roots = table.database_ca.as_ref().map(read).transpose()?;
    Rows::new(address, roots.as_deref())
}

/// Where records are delivered to; `None` where they stay.
fn receiver(table: &RecordTable, egress: &Egress) -> Option<Arc<dyn Sink>> {
    match table.r#type? {
        RecordSink::Local => None,
        RecordSink::Http => Some(Arc::new(Post {
            client: egress.trusted().clone(),
            url: table.url.clone().unwrap_or_default(),
            headers: table.headers.clone(),
        })),
        RecordSink::S3 => match Objects::new(table) {
            Ok(objects) => Some(Arc::new(objects)),
            Err(error) => {
                tracing::error!(%error, "the object store cannot be used; records wait in the spool");
                None
            }
        },
    }
}

fn folder(table: &RecordTable) -> PathBuf {
    match table.r#type {
        Some(RecordSink::S3 | RecordSink::Http) => table.spool.clone(),
        Some(RecordSink::Local) | None => table.root.clone(),
    }
}
