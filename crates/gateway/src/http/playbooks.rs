//! Playbooks over HTTP: listed, read, looked over, saved and started.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Json, Response};
use call::setup::Playbooks as _;
use chrono::{DateTime, SecondsFormat, Utc};
use protocol::CallOption;
use protocol::rest::{ListedPlaybook, PlaybookStarted, PlaybookVerdict, RunPlaybook};

use super::address::Path;
use super::body::{Body, Text};
use super::calls::not_placed;
use super::query::new_id;
use super::{Door, problem, problem_at};
use crate::app;
use crate::gate::Gate;
use crate::originate::{self, Order};
use crate::parked::Held;
use crate::playbooks::{self, Folder, MAX_FILE};

/// Looks into the folder of playbooks for clients.
static READS: Gate = Gate::new(4);

/// `GET /api/playbooks`.
pub(super) async fn list(State(door): State<Door>) -> Response {
    let listed = apart(&door, |folder| folder.list().map_err(|e| e.to_string())).await;
    let entry = |(name, changed)| {
        let updated = DateTime::<Utc>::from(changed).to_rfc3339_opts(SecondsFormat::Secs, true);
        ListedPlaybook { name, updated }
    };
    match listed {
        Ok(list) => Json(list.into_iter().map(entry).collect::<Vec<_>>()).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

/// `GET /api/playbooks/{name}`.
pub(super) async fn read(State(door): State<Door>, Path(name): Path<String>) -> Response {
    if let Some(refused) = wrong_name(&name) {
        return refused;
    }
    match apart(&door, move |folder| folder.text(&name)).await {
        Ok(text) => ([(CONTENT_TYPE, "text/markdown; charset=utf-8")], text).into_response(),
        Err(error) => problem(StatusCode::NOT_FOUND, error),
    }
}

/// `POST /api/playbooks/{name}`: one that cannot be used is not saved.
pub(super) async fn save(State(door): State<Door>, Path(name): Path<String>, Text(text): Text) -> Response {
    if let Some(refused) = wrong_name(&name) {
        return refused;
    }
    let verdict = verdict(&text);
    if let Some(error) = verdict.error {
        return problem(StatusCode::BAD_REQUEST, error);
    }
    match apart(&door, move |folder| folder.save(&name, &text)).await {
        Ok(()) => Json(verdict).into_response(),
        Err(error) => problem(StatusCode::BAD_REQUEST, error),
    }
}

/// `POST /api/v1/playbooks/validate`.
pub(super) async fn validate(Text(text): Text) -> Json<PlaybookVerdict> {
    Json(verdict(&text))
}

fn verdict(text: &str) -> PlaybookVerdict {
    if let Some(error) = too_large(text) {
        return PlaybookVerdict { valid: false, error: Some(error), warnings: Vec::new() };
    }
    match playbooks::parse(text) {
        Ok(playbook) => PlaybookVerdict {
            valid: true,
            error: None,
            warnings: playbooks::odd_text(&playbook).iter().map(ToString::to_string).collect(),
        },
        Err(error) => PlaybookVerdict { valid: false, error: Some(error.to_string()), warnings: Vec::new() },
    }
}

/// What is wrong with a text that is no playbook by its size alone.
fn too_large(text: &str) -> Option<String> {
    let length = text.len();
    (length as u64 > MAX_FILE).then(|| format!("{length} bytes are more than a playbook's {MAX_FILE}"))
}

/// `POST /api/playbook/run`: places a call to `to`, or has the playbook wait for a client who opens a call with the
/// answered id.
pub(super) async fn run(State(door): State<Door>, Body(asked, unknown): Body<RunPlaybook>) -> Response {
    let held = match asked_playbook(&door, asked.playbook, asked.content).await {
        Ok(held) => held,
        Err(refused) => return *refused,
    };
    let id = match new_id(None) {
        Ok(id) => id,
        Err(why) => return problem(StatusCode::INTERNAL_SERVER_ERROR, why),
    };
    if let Some(to) = asked.to.filter(|to| !to.is_empty()) {
        let option = CallOption { callee: Some(to), ..CallOption::default() };
        let order = Order { id: id.clone(), option, playbook: Some(held.playbook), unknown };
        if let Err(why) = originate::place(&door.app, order).await {
            return not_placed(&why);
        }
    } else if !door.app.parked.park(&id, held, app::now_ms()) {
        return problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many or too large playbooks wait for their call",
        );
    }
    Json(PlaybookStarted { session_id: id }).into_response()
}

/// The playbook that a request names or holds. What it holds itself comes from a client, so its providers lead only to
/// where clients' may.
pub(super) async fn asked_playbook(
    door: &Door,
    name: Option<String>,
    content: Option<String>,
) -> Result<Held, Box<Response>> {
    let refused = |field: &str, why: String| {
        Box::new(problem_at(StatusCode::BAD_REQUEST, format!("{field}: {why}"), Some(field.to_owned())))
    };
    match (name, content) {
        (Some(name), None) => {
            let playbook = door.app.playbooks.find(&name).await;
            playbook.map(|playbook| Held { playbook, bytes: 0 }).map_err(|e| refused("playbook", e.why))
        }
        (None, Some(text)) => {
            if let Some(why) = too_large(&text) {
                return Err(refused("content", why));
            }
            let playbook = playbooks::parse(&text).map_err(|e| refused("content", e.to_string()))?;
            let option = serde_json::to_value(playbook.option()).unwrap_or_default();
            let model = serde_json::to_value(&playbook.llm).unwrap_or_default();
            for value in [option, model] {
                let judged = crate::egress::vet::addresses(door.app.egress.guard(), &value).await;
                judged.map_err(|e| refused("content", e.to_string()))?;
            }
            Ok(Held { playbook: Arc::new(playbook), bytes: text.len() })
        }
        _ => Err(refused("playbook", "write either \"playbook\" or \"content\"".into())),
    }
}

/// A name that could lead elsewhere is 400 and not 404, so that a mistake is not taken for a missing file.
fn wrong_name(name: &str) -> Option<Response> {
    let wrong = name.contains(['/', '\\', '\0']) || name.contains("..");
    wrong.then(|| problem(StatusCode::BAD_REQUEST, "a playbook is named by its file alone, such as hello.md"))
}

/// Files are read on a thread for such work.
async fn apart<T: Send + 'static>(
    door: &Door,
    work: impl FnOnce(&Folder) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let folder = door.app.playbooks.clone();
    READS.pass(move || work(&folder)).await.unwrap_or_else(|e| Err(e.to_string()))
}
