//! Reports of calls (`posthook`): on disk before anything else, sent until the receiver has taken them.
//!
//! A report is a file in the spool folder from the end of its call until a 2xx answer. It carries one id through all
//! tries, so that a receiver that is told twice knows it. With a secret it is signed as Standard Webhooks 1.0 says.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use call::setup::{Afterwards, Fetcher, Providers};
use playbook::{HttpRequest, Origin};
use protocol::Secret;
use protocol::chat::{Ask, ModelOutput};
use protocol::option::LlmOption;
use protocol::value::Headers;
use providers::run::{self, Limits};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{app, files, webhook};

/// Reports waiting for the disk. When full a call that is over waits.
pub const REPORTS: usize = 1000;
/// Reports that are sent at once.
const AT_ONCE: usize = 16;
/// Reports that wait in the folder; more are lost and said so, since a receiver that is gone for good must not fill the
/// disk.
const MOST_KEPT: usize = 10_000;
/// How long the model may take for a summary.
const SUMMARY: Duration = Duration::from_secs(60);
/// Characters of a summary.
const MAX_SUMMARY: usize = 20_000;
/// How long the receiver may take to answer.
const ANSWER: Duration = Duration::from_secs(15);
/// Pauses between tries; the last one repeats.
const PAUSES: [Duration; 6] = [
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
];
/// A report that nobody has taken for so long is given up.
const GIVEN_UP_MS: u64 = 3 * 24 * 3600 * 1000;

/// Sends reports.
#[derive(Clone)]
pub struct Reports {
    folder: Arc<Path>,
    fetcher: Arc<dyn Fetcher>,
    providers: Arc<dyn Providers>,
    secret: Option<Secret>,
    places: Arc<Semaphore>,
    pauses: Arc<[Duration]>,
}

/// A report as it lies in the folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    id: String,
    call: String,
    since_ms: u64,
    url: String,
    method: String,
    headers: Headers,
    body: serde_json::Value,
}

impl Reports {
    /// Reports that wait in `folder`.
    pub fn new(
        folder: PathBuf,
        fetcher: Arc<dyn Fetcher>,
        providers: Arc<dyn Providers>,
        secret: Option<Secret>,
    ) -> Self {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        Reports { folder: folder.into(), fetcher, providers, secret, places, pauses: PAUSES.into() }
    }

    /// Takes reports, after those that an earlier run has left, until the last call is gone or `stop` comes. What is
    /// not sent then stays on disk.
    pub async fn run(self, mut inbox: mpsc::Receiver<Afterwards>, stop: CancellationToken) {
        let sending = TaskTracker::new();
        for path in self.left() {
            sending.spawn(self.clone().deliver(path, stop.clone()));
        }
        loop {
            let report = tokio::select! {
                report = inbox.recv() => report,
                () = stop.cancelled() => None,
            };
            let Some(report) = report else { break };
            let (reports, stop) = (self.clone(), stop.clone());
            sending.spawn(async move {
                if let Some(path) = reports.keep(report, &stop).await {
                    reports.deliver(path, stop).await;
                }
            });
        }
        sending.close();
        sending.wait().await;
        while let Ok(report) = inbox.try_recv() {
            self.keep(report, &stop).await;
        }
    }

    fn left(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        let paths = entries.flatten().map(|entry| entry.path());
        paths.filter(|path| path.extension().is_some_and(|e| e == "json")).take(MOST_KEPT).collect()
    }

    /// Writes the report down, first without its summary, so that a crash while the model writes loses that alone.
    async fn keep(&self, report: Afterwards, stop: &CancellationToken) -> Option<PathBuf> {
        let to = report.outcome.report.clone()?;
        let id = format!("msg_{}", uuid::Uuid::new_v4().simple());
        let timestamp = app::now();
        let mut kept = Kept {
            body: report.outcome.body(&report.id, None, &timestamp),
            call: report.id,
            since_ms: app::now_ms(),
            url: to.url,
            method: to.method,
            headers: to.headers,
            id,
        };
        let path = self.folder.join(format!("{}.json", files::stem(&kept.id)));
        if let Err(error) = self.write(&path, &kept) {
            tracing::error!(call = ?kept.call, path = %path.display(), %error, "a report cannot be kept; it is sent at once or lost");
            let _ = self.send(&kept).await;
            return None;
        }
        if let (Some(ask), Some(llm)) = (to.summary, report.llm) {
            let written = tokio::select! {
                written = self.summary(&kept.call, &llm, ask) => written,
                () = stop.cancelled() => None,
            };
            if let Some(summary) = written {
                kept.body = report.outcome.body(&kept.call, Some(&summary), &timestamp);
                if let Err(error) = self.write(&path, &kept) {
                    tracing::error!(call = ?kept.call, %error, "the summary of a report cannot be kept");
                }
            }
        }
        Some(path)
    }

    fn write(&self, path: &Path, kept: &Kept) -> io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        if !path.exists() && self.left().len() >= MOST_KEPT {
            return Err(io::Error::other(format!("{MOST_KEPT} reports wait already")));
        }
        files::write_private(path, &serde_json::to_vec(kept)?)
    }

    async fn summary(&self, call: &str, llm: &LlmOption, ask: Ask) -> Option<String> {
        let model = match self.providers.chat_model(llm) {
            Ok(model) => model,
            Err(error) => {
                tracing::warn!(call = ?call, %error, "no model for the summary of a report");
                return None;
            }
        };
        let name = llm.provider.clone().unwrap_or_default();
        let (answer, mut answers) = mpsc::channel(64);
        let gather = async {
            let mut text = String::new();
            while let Some(output) = answers.recv().await {
                if let ModelOutput::Text(more) = output
                    && text.len() < MAX_SUMMARY
                {
                    text.push_str(&more);
                }
            }
            text
        };
        let asked =
            async { tokio::join!(run::chat(&name, model.as_ref(), &Limits::ASIDE, ask, answer), gather) };
        match tokio::time::timeout(SUMMARY, asked).await {
            Ok((Ok(_), text)) => {
                let text = playbook::thinking::without_thoughts(&text);
                Some(text.trim().to_owned()).filter(|text| !text.is_empty())
            }
            Ok((Err(error), _)) => {
                tracing::warn!(call = ?call, %error, "the summary of a report failed");
                None
            }
            Err(_) => {
                tracing::warn!(call = ?call, "the summary of a report took too long");
                None
            }
        }
    }

    /// Sends the report at `path` until it is taken, given up, or the server stops.
    async fn deliver(self, path: PathBuf, stop: CancellationToken) {
        let mut pauses = self.pauses.iter().copied();
        let longest = self.pauses.last().copied().unwrap_or(Duration::from_secs(60));
        loop {
            let Some(kept) = read(&path) else { return };
            let sent = {
                // The semaphore is never closed.
                let Ok(_place) = self.places.acquire().await else { return };
                tokio::select! {
                    sent = self.send(&kept) => sent,
                    () = stop.cancelled() => return,
                }
            };
            let Err(error) = sent else {
                forget(&path);
                return;
            };
            if app::now_ms().saturating_sub(kept.since_ms) > GIVEN_UP_MS {
                tracing::error!(call = ?kept.call, id = kept.id, %error, "a report is given up");
                forget(&path);
                return;
            }
            let pause = pauses.next().unwrap_or(longest);
            tracing::warn!(call = ?kept.call, id = kept.id, %error, again_in = ?pause, "a report was not taken");
            // Receivers that come back must not be met by all reports in the same moment.
            let pause = pause.mul_f64(rand::random_range(0.75..1.25));
            if tokio::time::timeout(pause, stop.cancelled()).await.is_ok() {
                return;
            }
        }
    }

    async fn send(&self, kept: &Kept) -> Result<(), String> {
        let body = kept.body.to_string();
        let mut headers = kept.headers.clone();
        let timestamp = (app::now_ms() / 1000).to_string();
        if let Some(secret) = &self.secret {
            let signature = webhook::signature(secret, &kept.id, &timestamp, body.as_bytes());
            headers.insert("webhook-signature".into(), signature);
        }
        headers.insert("webhook-id".into(), kept.id.clone());
        headers.insert("webhook-timestamp".into(), timestamp);
        let request = HttpRequest {
            url: kept.url.clone(),
            method: kept.method.clone(),
            headers,
            body: Some(body),
            origin: Origin::Playbook,
            timeout: ANSWER,
            ..HttpRequest::default()
        };
        self.fetcher.fetch(request).await.map(drop)
    }
}

fn read(path: &Path) -> Option<Kept> {
    let read = std::fs::read(path).map_err(|e| e.to_string());
    match read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|e| e.to_string())) {
        Ok(kept) => Some(kept),
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "a kept report cannot be read and is left where it is");
            None
        }
    }
}

fn forget(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::error!(path = %path.display(), %error, "a report that was sent cannot be removed and will be sent again");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use call::setup::Vendors;
    use playbook::Outcome;
    use playbook::outcome::Report;
    use protocol::chat::{Message, Role};

    /// Takes every report but the first ones.
    struct Receiver {
        refuse: usize,
        seen: AtomicUsize,
        taken: mpsc::Sender<HttpRequest>,
    }

    #[async_trait::async_trait]
    impl Fetcher for Receiver {
        async fn fetch(&self, request: HttpRequest) -> Result<String, String> {
            if self.seen.fetch_add(1, Ordering::Relaxed) < self.refuse {
                return Err("the server answers 503".into());
            }
            self.taken.send(request).await.map_err(|e| e.to_string())?;
            Ok(String::new())
        }
    }

    fn afterwards() -> Afterwards {
        let report = Report {
            url: "https://crm.example/hook".into(),
            method: "POST".into(),
            headers: Headers::from([("Authorization".to_owned(), "Bearer x".to_owned())]),
            summary: None,
            with_history: true,
        };
        let outcome = Outcome {
            history: vec![Message::new(Role::User, "Hello")],
            variables: protocol::Extra::new(),
            scene: "default".into(),
            speculations: playbook::conversation::Speculations::default(),
            tool_calls: 0,
            report: Some(report),
        };
        Afterwards { id: "call-1".into(), outcome, llm: None }
    }

    fn reports(folder: &Path, refuse: usize) -> (Reports, mpsc::Receiver<HttpRequest>) {
        let (taken, requests) = mpsc::channel(16);
        let receiver = Arc::new(Receiver { refuse, seen: AtomicUsize::new(0), taken });
        let secret = Some(Secret::new("whsec_c2VjcmV0"));
        let mut reports = Reports::new(folder.into(), receiver, Arc::new(Vendors), secret);
        reports.pauses = [Duration::from_millis(1)].into();
        (reports, requests)
    }

    #[tokio::test]
    async fn a_report_that_is_refused_is_sent_again_with_the_same_id_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (reports, mut requests) = reports(folder.path(), 3);
        let (send, inbox) = mpsc::channel(4);
        send.send(afterwards()).await.unwrap();
        drop(send);
        reports.clone().run(inbox, CancellationToken::new()).await;
        let request = requests.recv().await.unwrap();
        assert_eq!(request.url, "https://crm.example/hook");
        assert!(request.headers["webhook-signature"].starts_with("v1,"));
        assert!(request.headers["webhook-id"].starts_with("msg_"));
        assert_eq!(request.headers["Authorization"], "Bearer x");
        let body: serde_json::Value = serde_json::from_str(&request.body.unwrap()).unwrap();
        assert_eq!(body["sessionId"], "call-1");
        assert_eq!(body["history"][0]["content"], "Hello");
        assert!(reports.left().is_empty());
    }

    #[tokio::test]
    async fn what_was_not_sent_before_a_stop_is_sent_by_the_next_run() {
        let folder = tempfile::tempdir().unwrap();
        let (refused, _requests) = reports(folder.path(), usize::MAX);
        let (send, inbox) = mpsc::channel(4);
        send.send(afterwards()).await.unwrap();
        let stop = CancellationToken::new();
        let running = refused.clone().run(inbox, stop.clone());
        let stopping = async {
            while refused.left().is_empty() {
                tokio::task::yield_now().await;
            }
            stop.cancel();
            drop(send);
        };
        tokio::join!(running, stopping);
        assert_eq!(refused.left().len(), 1);
        let (taken, mut requests) = reports(folder.path(), 0);
        let (send, inbox) = mpsc::channel(1);
        drop(send);
        taken.clone().run(inbox, CancellationToken::new()).await;
        assert!(requests.recv().await.unwrap().body.unwrap().contains("call-1"));
        assert!(taken.left().is_empty());
    }
}
