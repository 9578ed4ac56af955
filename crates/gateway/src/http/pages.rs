//! Pages for people: `/` and the files under `/static/`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};

use super::address::Path;
use super::{Door, problem};
use crate::files;
use crate::gate::Gate;

/// What `/` says where there is no `index.html`.
const INDEX: &str = include_str!("index.html");
/// Largest file that is served.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Files that are read at once.
static READS: Gate = Gate::new(4);

/// What a browser takes a file for, by what its name ends in.
const TYPES: &[(&str, &str)] = &[
    ("css", "text/css; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("md", "text/markdown; charset=utf-8"),
    ("mp3", "audio/mpeg"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("wav", "audio/wav"),
];

/// `GET /`.
pub(super) async fn index(State(door): State<Door>) -> Response {
    file(door, "index.html".into()).await.unwrap_or_else(|| answer("index.html", INDEX.into()))
}

/// `GET /static/{path}`.
pub(super) async fn under(State(door): State<Door>, Path(path): Path<String>) -> Response {
    file(door, path).await.unwrap_or_else(|| problem(StatusCode::NOT_FOUND, "there is no such file"))
}

async fn file(door: Door, name: String) -> Option<Response> {
    let read = move || {
        let path = files::find_in(&door.app.config.static_path, &name).ok()?;
        let size = std::fs::metadata(&path).ok()?.len();
        let bytes = (size <= MAX_FILE).then(|| std::fs::read(&path).ok()).flatten()?;
        Some(answer(&name, bytes))
    };
    READS.pass(read).await.ok().flatten()
}

fn answer(name: &str, bytes: Vec<u8>) -> Response {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default();
    let kind = TYPES.iter().find(|(known, _)| *known == ending).map(|(_, kind)| *kind);
    let kind = kind.unwrap_or("application/octet-stream");
    ([(CONTENT_TYPE, kind), (X_CONTENT_TYPE_OPTIONS, "nosniff")], bytes).into_response()
}
