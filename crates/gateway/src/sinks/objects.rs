//! Records to an object store: S3 and what speaks like it, Google's and Azure's.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::buffered::BufWriter;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig};
use protocol::Secret;
use tokio::io::AsyncWriteExt;

use super::delivery::Sink;
use super::events;
use super::parcel::{Attached, Parcel};
use super::refused::NotTaken;
use crate::config::RecordTable;
use crate::config::words::Vendor;

/// Tries inside one delivery; the spool tries again later.
const TRIES: usize = 2;
/// After so long a request that has failed is not tried again inside the delivery: a store that hangs is left to the
/// spool.
const TRY_AGAIN_WITHIN: Duration = Duration::from_secs(20);
/// Time for one request, which sends at most [`PIECE`].
const TIMEOUT: Duration = Duration::from_secs(60);
/// Time to reach the store.
const CONNECT: Duration = Duration::from_secs(10);
/// Larger files are sent in parts of so many bytes, one after the other; the smallest that S3 has.
const PIECE: usize = 5 * 1024 * 1024;

/// Puts records into a bucket.
#[derive(Clone, Debug)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    root: String,
}

impl Objects {
    /// The bucket that `table` describes.
    ///
    /// # Errors
    /// What is missing or wrong, as a text.
    pub fn new(table: &RecordTable) -> Result<Self, String> {
        let store = store(table).map_err(|e| e.to_string())?;
        let root = table.root.to_string_lossy();
        Ok(Objects { store, root: root.trim_start_matches("./").trim_matches('/').to_owned() })
    }

    fn key(&self, day: &str, name: &str) -> Path {
        // Empty steps are left out, and what a key cannot hold is escaped.
        Path::from_iter(self.root.split('/').chain([day, name]).filter(|step| !step.is_empty()))
    }

    /// Where a file of `parcel` goes that is called `name`. An id may be used again on the same day: what lies there already
    /// may be of an earlier call and have no other copy, so the name of the record, which no other has, goes before it then.
    async fn place(&self, parcel: &Parcel, name: &str) -> Result<Path, NotTaken> {
        let key = self.key(&parcel.day, name);
        match self.store.head(&key).await {
            Err(object_store::Error::NotFound { .. }) => Ok(key),
            Ok(_) => Ok(self.key(&parcel.day, &format!("{}_{name}", parcel.name))),
            Err(error) => Err(not_taken(&key, &error)),
        }
    }

    /// Writes a file, and looks whether all of it is there.
    async fn file(&self, key: &Path, file: &Attached) -> Result<(), NotTaken> {
        let unreadable = |e: std::io::Error| NotTaken::Refused(format!("{}: {e}", file.path.display()));
        let mut from = tokio::fs::File::open(&file.path).await.map_err(unreadable)?;
        let mut to = BufWriter::with_capacity(self.store.clone(), key.clone(), PIECE).with_max_concurrency(1);
        let sent = tokio::io::copy(&mut from, &mut to).await.map_err(|e| not_taken(key, &e))?;
        to.shutdown().await.map_err(|e| not_taken(key, &e))?;
        self.confirm(key, sent).await
    }

    async fn confirm(&self, key: &Path, bytes: u64) -> Result<(), NotTaken> {
        let there = self.store.head(key).await.map_err(|e| not_taken(key, &e))?.size;
        if there == bytes {
            return Ok(());
        }
        Err(NotTaken::Away(format!("{key}: {there} bytes are there of {bytes}")))
    }
}

/// What an error of the store says of a record. The library tells the status of an answer in its text alone.
fn not_taken(key: &Path, error: &dyn std::error::Error) -> NotTaken {
    let told = format!("{key}: {error}");
    let status = told.rsplit_once("status code: ").and_then(|(_, rest)| rest.get(..3)?.parse().ok());
    match status {
        Some(status) => NotTaken::of_status(status, told),
        None => NotTaken::Away(told),
    }
}

#[async_trait]
impl Sink for Objects {
    /// The record comes last: where it is, its files are too.
    async fn deliver(&self, parcel: &Parcel) -> Result<(), NotTaken> {
        for file in &parcel.files {
            let name = match &file.track {
                Some(track) => format!("{}_{}_{}", parcel.stem, crate::files::stem(track), file.name),
                None => format!("{}.jsonl", file.name.strip_suffix(events::ENDING).unwrap_or(&parcel.stem)),
            };
            self.file(&self.place(parcel, &name).await?, file).await?;
        }
        let key = self.key(&parcel.day, &format!("{}.json", parcel.name));
        self.store.put(&key, parcel.text.clone().into()).await.map_err(|e| not_taken(&key, &e))?;
        self.confirm(&key, parcel.text.len() as u64).await
    }
}

fn store(table: &RecordTable) -> object_store::Result<Arc<dyn ObjectStore>> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let secret = |secret: &Option<Secret>| secret.as_ref().map_or("", Secret::expose).to_owned();
    let retry = RetryConfig { max_retries: TRIES, retry_timeout: TRY_AGAIN_WITHIN, ..RetryConfig::default() };
    // The endpoint stands in the configuration, so whoever writes it may choose one without TLS.
    let options =
        ClientOptions::new().with_timeout(TIMEOUT).with_connect_timeout(CONNECT).with_allow_http(true);
    let bucket = text(&table.bucket);
    match table.vendor.unwrap_or(Vendor::Aws) {
        Vendor::Gcp => Ok(Arc::new(
            GoogleCloudStorageBuilder::new()
                .with_bucket_name(bucket)
                .with_service_account_key(secret(&table.secret_key))
                .with_client_options(options)
                .with_retry(retry)
                .build()?,
        )),
        Vendor::Azure => {
            let mut builder = MicrosoftAzureBuilder::new()
                .with_account(secret(&table.access_key))
                .with_access_key(secret(&table.secret_key))
                .with_container_name(bucket)
                .with_client_options(options)
                .with_retry(retry);
            if let Some(endpoint) = &table.endpoint {
                builder = builder.with_endpoint(endpoint.clone());
            }
            Ok(Arc::new(builder.build()?))
        }
        vendor => {
            let mut builder = AmazonS3Builder::new()
                .with_bucket_name(&bucket)
                .with_region(table.region.as_deref().unwrap_or("us-east-1"))
                .with_access_key_id(secret(&table.access_key))
                .with_secret_access_key(secret(&table.secret_key))
                .with_client_options(options)
                .with_retry(retry);
            let hosted = matches!(vendor, Vendor::Aliyun | Vendor::Tencent);
            if let Some(endpoint) = &table.endpoint {
                let endpoint = if hosted { hosted_at(endpoint, &bucket) } else { endpoint.clone() };
                builder = builder.with_endpoint(endpoint).with_virtual_hosted_style_request(hosted);
            }
            Ok(Arc::new(builder.build()?))
        }
    }
}

/// The endpoint with the bucket in its name, for those vendors who take it nowhere else.
fn hosted_at(endpoint: &str, bucket: &str) -> String {
    let (scheme, host) = endpoint.split_once("://").unwrap_or(("https", endpoint));
    if host.starts_with(&format!("{bucket}.")) {
        endpoint.to_owned()
    } else {
        format!("{scheme}://{bucket}.{host}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_stands_in_the_name_once() {
        assert_eq!(hosted_at("https://oss.example", "b"), "https://b.oss.example");
        assert_eq!(hosted_at("https://b.oss.example", "b"), "https://b.oss.example");
        assert_eq!(hosted_at("oss.example", "b"), "https://b.oss.example");
    }

    #[test]
    fn every_vendor_can_be_made() {
        for vendor in Vendor::ALL.iter().copied().filter(|vendor| *vendor != Vendor::Gcp) {
            let table = RecordTable {
                vendor: Some(vendor),
                bucket: Some("calls".into()),
                access_key: Some(Secret::new("a")),
                secret_key: Some(Secret::new("c2VjcmV0")),
                endpoint: Some("http://127.0.0.1:9".into()),
                root: "./cdr/".into(),
                ..RecordTable::default()
            };
            let objects = Objects::new(&table).unwrap();
            assert_eq!(objects.key("20251009", "a b.json").as_ref(), "cdr/20251009/a b.json");
        }
    }
}
