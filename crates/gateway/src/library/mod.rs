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
use decode::Decoding;

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
        let decoding = apart(move || Decoding::open(Box::new(bytes), extension.as_deref())).await?;
        send(decoding, &sound).await
    }

    async fn file(&self, name: &str, sound: mpsc::Sender<Sound>) -> Result<(), String> {
        let shown = protocol::read::shown(name);
        let (roots, name) = (self.roots.clone(), name.to_owned());
        let open = move || {
            let path = files::find_under(&roots, &name).map_err(|e| e.to_string())?;
            let file = std::fs::File::open(&path).map_err(|e| e.to_string())?;
            let size = file.metadata().map_err(|e| e.to_string())?.len();
            if size > MAX_FILE {
                return Err(format!("{size} bytes are more than a sound file's {MAX_FILE}"));
            }
            let extension = path.extension().and_then(|e| e.to_str());
            Decoding::open(Box::new(file), extension)
        };
        let played = async { send(apart(open).await?, &sound).await };
        played.await.map_err(|e| format!("{shown:?}: {e}"))
    }
}

/// Sends the file's sound, piece by piece. A receiver that is gone ends it without an error.
async fn send(mut decoding: Decoding, sound: &mpsc::Sender<Sound>) -> Result<(), String> {
    loop {
        // Room first: a piece is read when it is wanted.
        let Ok(place) = sound.reserve().await else { return Ok(()) };
        let read = apart(move || {
            let piece = decoding.piece()?;
            Ok((decoding, piece))
        });
        let (rest, piece) = read.await?;
        let Some(piece) = piece else { return Ok(()) };
        place.send(piece);
        decoding = rest;
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

/// Reading and decoding would hold up whoever awaits beside it, so it is done on a thread for such work.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err("the file broke the decoder".into()))
}
