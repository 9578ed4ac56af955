//! Sound files that clients and playbooks name: from allowed folders and over http(s).
//!
//! `decode` turns files into sound, `rate` brings odd sample rates to one that calls compute in.

mod decode;
mod rate;

use std::io::Cursor;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use call::setup::{Library, Sound};
use tokio::sync::mpsc;

use crate::egress::Egress;
use crate::files;

/// Largest sound file, on disk and over the network: an hour of 16 kHz mono.
const MAX_FILE: u64 = 128 * 1024 * 1024;
/// Largest sound file that is fetched; it is held in memory.
const MAX_FETCH: usize = 32 * 1024 * 1024;

/// Opens sound files.
#[derive(Clone, Debug)]
pub struct Sounds {
    roots: Vec<PathBuf>,
    egress: Egress,
}

impl Sounds {
    /// Files under `roots`, and addresses through `egress`.
    pub fn new(roots: Vec<PathBuf>, egress: Egress) -> Self {
        Sounds { roots, egress }
    }

    async fn fetched(&self, url: &str, sound: mpsc::Sender<Sound>) -> Result<(), String> {
        let answer = self.egress.get(url, MAX_FETCH).await?;
        let extension = Path::new(answer.url.path()).extension().and_then(|e| e.to_str()).map(str::to_owned);
        let bytes = Cursor::new(answer.body);
        run(move || decode::decode(Box::new(bytes), extension.as_deref(), &sound)).await
    }

    async fn file(&self, name: &str, sound: mpsc::Sender<Sound>) -> Result<(), String> {
        let (roots, name) = (self.roots.clone(), name.to_owned());
        run(move || {
            let path = files::find_under(&roots, &name).map_err(|e| e.to_string())?;
            let shown = protocol::read::shown(&name);
            let file = std::fs::File::open(&path).map_err(|e| format!("{shown:?}: {e}"))?;
            let size = file.metadata().map_err(|e| format!("{shown:?}: {e}"))?.len();
            if size > MAX_FILE {
                return Err(format!("{shown:?}: {size} bytes are more than a sound file's {MAX_FILE}"));
            }
            let extension = path.extension().and_then(|e| e.to_str());
            decode::decode(Box::new(file), extension, &sound).map_err(|e| format!("{shown:?}: {e}"))
        })
        .await
    }
}

#[async_trait]
impl Library for Sounds {
    async fn open(&self, url: &str, sound: mpsc::Sender<Sound>) -> Result<(), String> {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("http" | "https") => self.fetched(url, sound).await,
            Some("file") => self.file(url.get("file://".len()..).unwrap_or_default(), sound).await,
            Some(other) => {
                let other = protocol::read::shown(other);
                Err(format!("{other:?} addresses are not played; use http, https or a file"))
            }
            None => self.file(url, sound).await,
        }
    }
}

/// Decoding computes and waits for the receiver, so it has a thread of its own.
async fn run(work: impl FnOnce() -> Result<(), String> + Send + 'static) -> Result<(), String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err("the file broke the decoder".into()))
}
