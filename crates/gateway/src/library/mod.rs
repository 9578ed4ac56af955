//! Sound files that clients and playbooks name: from allowed folders and over http(s).
//!
//! `incoming` is a file that is still being fetched, `local` one on this machine, `decode` turns files into sound, `coded`
//! those of any container and codec, `rate` brings odd sample rates to one that calls compute in.

mod coded;
mod decode;
mod incoming;
mod local;
mod rate;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use call::Failure;
use call::setup::{Library, Sound};
use tokio::sync::mpsc;

use crate::egress::Egress;
use crate::files;
use crate::inbound::PathError;
use decode::{Decoding, Origin};
use incoming::Incoming;
use local::Local;

/// Largest sound file, on disk and over the network: an hour of 16 kHz mono.
const MAX_FILE: u64 = 128 * 1024 * 1024;
/// Pieces of a file that wait for the decoder, which waits for the call; of some 8 to 16 KB each. When full the
/// network waits.
const PIECES: usize = 256;

/// Opens sound files.
#[derive(Clone, Debug)]
pub struct Sounds {
    roots: Vec<PathBuf>,
    /// Folders of this server's own: what lies there was not put there to be played.
    own: Vec<PathBuf>,
    egress: Egress,
}

impl Sounds {
    /// Files under `roots`, and addresses through `egress`.
    pub fn new(roots: Vec<PathBuf>, egress: Egress) -> Self {
        Sounds { roots, own: Vec::new(), egress }
    }

    /// The same, but for the files in `folders` which this server writes itself: the voices of other callers are nobody's
    /// to play, unless a root is one of these folders or lies in it.
    #[must_use]
    pub fn without(self, folders: Vec<PathBuf>) -> Self {
        Sounds { own: folders, ..self }
    }

    /// Decoding begins with the first bytes; the rest is fetched meanwhile.
    async fn fetched(&self, url: &str, sound: mpsc::Sender<Sound>) -> Result<(), Failure> {
        let mut download = self.egress.open(url).await?;
        let path = Path::new(download.url.path());
        let extension = path.extension().and_then(|e| e.to_str()).map(str::to_owned);
        let (pieces_in, pieces) = mpsc::channel(PIECES);
        let fetching = async move {
            while let Some(piece) = download.piece().await? {
                if pieces_in.send(piece).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        let playing = async {
            let source = Origin::Arriving(Incoming::new(pieces));
            let decoding =
                apart(move || Decoding::open(source, extension.as_deref()).map_err(unsound)).await?;
            send(decoding, &sound).await
        };
        let (fetched, played) = tokio::join!(fetching, playing);
        // Why a file broke off says more than what the decoder makes of it.
        fetched.and(played)
    }

    async fn file(&self, name: &str, sound: mpsc::Sender<Sound>) -> Result<(), Failure> {
        let shown = format!("{:?}", protocol::read::shown(name));
        let (roots, own, name) = (self.roots.clone(), self.own.clone(), name.to_owned());
        let open = move || {
            let path = files::find_under(&roots, &name).map_err(|e| path_failure(&e))?;
            if is_own(&path, &own, &roots) {
                let why = "lies in a folder that the server writes itself; add that folder to media_roots to play it";
                return Err(Failure::new(403, why));
            }
            let file = std::fs::File::open(&path).and_then(Local::new).map_err(|e| file_failure(&e))?;
            let size = file.size();
            if size > MAX_FILE {
                let why = format!("{size} bytes are more than a sound file's {MAX_FILE}");
                return Err(Failure::new(413, why));
            }
            let extension = path.extension().and_then(|e| e.to_str());
            Decoding::open(Origin::Local(file), extension).map_err(unsound)
        };
        let played = async { send(apart(open).await?, &sound).await };
        played.await.map_err(|failure: Failure| {
            // What is wrong with the name itself names it already.
            let why = Some(failure.why.clone()).filter(|why| why.starts_with(&shown));
            Failure { why: why.unwrap_or_else(|| format!("{shown}: {}", failure.why)), ..failure }
        })
    }
}

/// Sends the file's sound, piece by piece. A receiver that is gone ends it without an error.
async fn send(mut decoding: Decoding, sound: &mpsc::Sender<Sound>) -> Result<(), Failure> {
    loop {
        // Room first: a piece is read when it is wanted.
        let Ok(place) = sound.reserve().await else { return Ok(()) };
        if let Some(piece) = decoding.at_hand().map_err(unsound)? {
            place.send(piece);
            continue;
        }
        let read = apart(move || {
            let piece = decoding.piece().map_err(unsound)?;
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
    async fn open(&self, url: &str, sound: mpsc::Sender<Sound>) -> Result<(), Failure> {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("http" | "https") => self.fetched(url, sound).await,
            Some("file") => self.file(url.get("file://".len()..).unwrap_or_default(), sound).await,
            Some(other) => {
                let other = protocol::read::shown(other);
                let why = format!("{other:?} addresses are not played; use http, https or a file");
                Err(Failure::new(400, why))
            }
            None => self.file(url, sound).await,
        }
    }
}

/// Whether the file at `path`, which is real, lies in a folder of our `own` that none of `roots` opens.
fn is_own(path: &Path, own: &[PathBuf], roots: &[PathBuf]) -> bool {
    let real = |folders: &[PathBuf]| -> Vec<PathBuf> {
        folders.iter().filter_map(|folder| folder.canonicalize().ok()).collect()
    };
    let roots = real(roots);
    real(own)
        .iter()
        .filter(|folder| path.starts_with(folder))
        .any(|folder| !roots.iter().any(|root| root.starts_with(folder) && path.starts_with(root)))
}

/// What is no sound file, or a damaged one.
fn unsound(why: String) -> Failure {
    Failure::new(415, why)
}

fn path_failure(error: &PathError) -> Failure {
    Failure::new(error.code(), error.to_string())
}

fn file_failure(error: &std::io::Error) -> Failure {
    let code = if error.kind() == std::io::ErrorKind::PermissionDenied { 403 } else { 500 };
    Failure::new(code, error.to_string())
}

/// Reading and decoding would hold up whoever awaits beside it, so it is done on a thread for such work.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    // A decoder that panics does so because of the file.
    let broken = |_| Err(Failure::new(415, "the file broke the decoder"));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(broken)
}
