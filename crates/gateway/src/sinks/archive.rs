//! Where the record of a call goes when it has ended: into a file, into the database, and on its way.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use protocol::record::CallRecord;
use tokio::sync::Notify;

use super::delivery::{Delivery, Policy, Sink};
use super::objects::Objects;
use super::post::Post;
use super::records::Local;
use super::store::Store;
use crate::config::words::RecordSink;
use crate::config::{Config, RecordTable};
use crate::egress::Egress;

/// The records of this server. Clones share it.
#[derive(Clone, Debug)]
pub struct Archive {
    /// The files: what is kept, or what waits to be delivered.
    pub local: Local,
    /// The same for questions; absent when the database cannot be opened.
    pub store: Option<Store>,
    news: Arc<Notify>,
}

impl Archive {
    /// The archive that `config` describes; `None` where no records are wanted.
    pub fn open(config: &Config) -> Option<Self> {
        let table = config.callrecord.as_ref().filter(|table| table.r#type.is_some())?;
        let store = Store::open(&table.database);
        if let Err(error) = &store {
            let path = table.database.display();
            tracing::error!(%path, %error, "the database of records cannot be opened; /api/records is empty");
        }
        Some(Archive { local: Local::open(folder(table)), store: store.ok(), news: Arc::default() })
    }

    /// Writes `record`. The file is what counts; the database follows.
    ///
    /// # Errors
    /// Those of the file.
    pub fn write(&self, record: &CallRecord) -> io::Result<PathBuf> {
        let path = self.local.write(record)?;
        self.know(record);
        self.news.notify_one();
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
        if let Some(store) = &self.store
            && let Err(error) = store.add(record)
        {
            tracing::error!(call = ?record.call_id, %error, "the database does not take a record; its file is there");
        }
    }

    /// What carries records on; `None` where they stay.
    pub fn delivery(&self, config: &Config, egress: &Egress) -> Option<Delivery> {
        let table = config.callrecord.as_ref()?;
        let sink: Arc<dyn Sink> = match table.r#type? {
            RecordSink::Local => return None,
            RecordSink::Http => Arc::new(Post {
                client: egress.trusted().clone(),
                url: table.url.clone().unwrap_or_default(),
                headers: table.headers.clone(),
            }),
            RecordSink::S3 => match Objects::new(table) {
                Ok(objects) => Arc::new(objects),
                Err(error) => {
                    tracing::error!(%error, "the object store cannot be used; records wait in the spool");
                    return None;
                }
            },
        };
        let policy = Policy {
            with_media: table.with_media,
            keep_media_copy: table.keep_media_copy,
            media: config.recording.path.clone(),
        };
        Some(Delivery::new(folder(table), sink, policy, self.news.clone()))
    }
}

fn folder(table: &RecordTable) -> PathBuf {
    match table.r#type {
        Some(RecordSink::S3 | RecordSink::Http) => table.spool.clone(),
        Some(RecordSink::Local) | None => table.root.clone(),
    }
}
