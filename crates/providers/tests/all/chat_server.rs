//! A server that follows OpenAI's documentation of streamed chat completions, and can misbehave.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::StreamExt;
use protocol::option::LlmOption;
use protocol::value::Secret;
use serde_json::Value;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// What the server does with a request that is in order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    Answer,
    /// 500 so many times, then an answer.
    FailFirst(usize),
    /// Never a byte.
    Hang,
    /// Headers and one word, then nothing.
    HangInAnswer,
    /// One word, then the connection breaks.
    Reset,
    Garbage,
    ByteByByte,
    WithoutDone,
    Tools,
    ErrorInStream,
    /// So many events without end.
    Endless,
    /// 429 once, with this `Retry-After`, then an answer.
    Busy(&'static str),
    /// The whole answer at once, as JSON.
    Whole,
    /// A page for people.
    Page,
}

pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) requests: Receiver<Value>,
    pub(crate) count: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Shared {
    manner: Manner,
    requests: Sender<Value>,
    count: Arc<AtomicUsize>,
}

pub(crate) const KEY: &str = "sk-test-0123456789";

pub(crate) async fn server(manner: Manner) -> Server {
    let (sender, requests) = channel(16);
    let count = Arc::new(AtomicUsize::new(0));
    let shared = Shared { manner, requests: sender, count: count.clone() };
    let router = Router::new().route("/v1/chat/completions", post(completions)).with_state(shared);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "the server ends with its owner, which aborts the task")]
    let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Server { url, requests, count, task }
}

impl Server {
    pub(crate) fn option(&self) -> LlmOption {
        LlmOption {
            provider: Some("OpenAI".to_owned()),
            base_url: Some(self.url.clone()),
            api_key: Some(Secret::new(KEY)),
            model: Some("gpt-test".to_owned()),
            temperature: Some(0.5),
            max_tokens: Some(99),
            ..LlmOption::default()
        }
    }
}

async fn completions(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let count = shared.count.fetch_add(1, Ordering::SeqCst) + 1;
    let key = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if key != Some(&format!("Bearer {KEY}")) {
        let body = format!(
            r#"{{"error":{{"message":"Incorrect API key provided: {}.","type":"invalid_request_error","code":"invalid_api_key"}}}}"#,
            key.unwrap_or_default().trim_start_matches("Bearer ")
        );
        return (StatusCode::UNAUTHORIZED, body).into_response();
    }
    let request: Value = serde_json::from_slice(&body).unwrap();
    shared.requests.send(request).await.unwrap();
    if let Manner::FailFirst(times) = shared.manner
        && count <= times
    {
        let body = r#"{"error":{"message":"The server had an error","type":"server_error"}}"#;
        return (StatusCode::INTERNAL_SERVER_ERROR, body).into_response();
    }
    match shared.manner {
        Manner::Busy(again) if count == 1 => {
            return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, again)], "slow down")
                .into_response();
        }
        Manner::Whole => return ([(header::CONTENT_TYPE, "application/json")], WHOLE).into_response(),
        Manner::Page => {
            let page = "<html><body>Please log in</body></html>";
            return ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response();
        }
        _ => {}
    }
    if matches!(shared.manner, Manner::Hang) {
        std::future::pending::<()>().await;
    }
    ([(header::CONTENT_TYPE, "text/event-stream")], streamed(shared.manner)).into_response()
}

fn event(delta: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-test\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
    )
}

const WHOLE: &str = r#"{"id":"c1","object":"chat.completion","created":1,"model":"gpt-test","choices":[{"index":0,
    "message":{"role":"assistant","content":"Guten Morgen, schön.","tool_calls":[{"id":"t1","type":"function",
    "function":{"name":"end","arguments":"{}"}}]},"finish_reason":"stop"}],
    "usage":{"prompt_tokens":11,"completion_tokens":4,"total_tokens":15}}"#;

fn answer() -> String {
    [
        event(r#"{"role":"assistant","content":""}"#, "null"),
        event(r#"{"reasoning_content":"hm"}"#, "null"),
        event(r#"{"content":"Guten "}"#, "null"),
        ": a comment\n\n".to_owned(),
        event(r#"{"content":"Morgen, schön."}"#, "null"),
        event("{}", r#""stop""#),
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":4,\"total_tokens\":15}}\n\n".to_owned(),
    ]
    .concat()
}

fn tools() -> String {
    [
        event(r#"{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"t1","type":"function","function":{"name":"book","arguments":""}}]}"#, "null"),
        event(r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"title\":"}}]}"#, "null"),
        event(r#"{"tool_calls":[{"index":1,"id":"t2","type":"function","function":{"name":"end","arguments":""}}]}"#, "null"),
        event(r#"{"tool_calls":[{"index":0,"function":{"arguments":"\"Emma\"}"}}]}"#, "null"),
        event("{}", r#""tool_calls""#),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat()
}

fn streamed(manner: Manner) -> Body {
    let done = "data: [DONE]\n\n";
    let word = event(r#"{"content":"Guten "}"#, "null");
    let whole = |text: String| Body::from(text);
    match manner {
        Manner::WithoutDone => whole(answer()),
        Manner::Tools => whole(tools()),
        Manner::Garbage => whole("data: {]\n\ndata: nonsense\n\n".to_owned()),
        Manner::ErrorInStream => {
            whole(r#"data: {"error":{"message":"overloaded","code":503}}"#.to_owned() + "\n\n")
        }
        Manner::ByteByByte => {
            let bytes: Vec<Bytes> = (answer() + done).bytes().map(|b| Bytes::from(vec![b])).collect();
            let stream = futures::stream::iter(bytes).then(|byte| async {
                tokio::task::yield_now().await;
                Ok::<_, std::io::Error>(byte)
            });
            Body::from_stream(stream)
        }
        Manner::HangInAnswer => Body::from_stream(
            futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from(word))])
                .chain(futures::stream::pending()),
        ),
        Manner::Reset => {
            let stream = futures::stream::iter([Some(Bytes::from(word)), None]).then(|bytes| async {
                match bytes {
                    Some(bytes) => Ok(bytes),
                    None => {
                        // The word must have left before the connection breaks.
                        tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_millis(50))
                            .await;
                        Err(std::io::Error::other("reset"))
                    }
                }
            });
            Body::from_stream(stream)
        }
        Manner::Endless => {
            let word = Bytes::from(word.repeat(100));
            Body::from_stream(futures::stream::repeat_with(move || Ok::<_, std::io::Error>(word.clone())))
        }
        Manner::Answer
        | Manner::FailFirst(_)
        | Manner::Hang
        | Manner::Busy(_)
        | Manner::Whole
        | Manner::Page => whole(answer() + done),
    }
}
