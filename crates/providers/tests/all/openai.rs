use std::sync::atomic::Ordering;
use std::time::Duration;

use protocol::chat::{Ask, Message, ModelOutput, Role, TurnId, Usage};
use protocol::option::{LlmOption, Rule};
use protocol::value::Secret;
use providers::ProviderError;
use providers::run::{self, Limits, Measured};
use serde_json::json;
use tokio::sync::mpsc::channel;

use crate::chat_server::{KEY, Manner, Server, server};

const QUICK: Limits = Limits {
    backoff: Duration::from_millis(5),
    first: Duration::from_secs(2),
    idle: Duration::from_millis(500),
    ..Limits::CHAT
};

fn ask(words: &str) -> Ask {
    let messages = vec![Message::new(Role::System, "You are short."), Message::new(Role::User, words)];
    Ask {
        turn: TurnId(1),
        messages,
        scene: "main".to_owned(),
        tools: Vec::new(),
        rules: Vec::new(),
        otherwise: None,
    }
}

async fn answered(option: &LlmOption) -> (Vec<ModelOutput>, Result<Measured, ProviderError>) {
    let model = providers::chat_model(option).unwrap();
    let (sender, mut receiver) = channel(4);
    let work = run::chat("openai", &*model, &QUICK, ask("Hello"), sender);
    let mut outputs = Vec::new();
    let collect = async {
        while let Some(output) = receiver.recv().await {
            outputs.push(output);
        }
    };
    let (result, ()) = tokio::join!(work, collect);
    (outputs, result)
}

async fn outcome(manner: Manner) -> (Server, Vec<ModelOutput>, Result<Measured, ProviderError>) {
    let server = server(manner).await;
    let (outputs, result) = answered(&server.option()).await;
    (server, outputs, result)
}

fn text(outputs: &[ModelOutput]) -> String {
    let text = |output: &ModelOutput| match output {
        ModelOutput::Text(text) => Some(text.clone()),
        _ => None,
    };
    outputs.iter().filter_map(text).collect()
}

#[tokio::test]
async fn the_request_is_as_documented_and_the_answer_streams() {
    let (mut server, outputs, result) = outcome(Manner::Answer).await;
    assert_eq!(
        server.requests.recv().await.unwrap(),
        json!({
            "model": "gpt-test",
            "messages": [
                {"role": "system", "content": "You are short."},
                {"role": "user", "content": "Hello"},
            ],
            "stream": true,
            "stream_options": {"include_usage": true},
            "temperature": 0.5,
            "max_tokens": 99,
        })
    );
    assert_eq!(
        outputs,
        [
            ModelOutput::Reasoning("hm".to_owned()),
            ModelOutput::Text("Guten ".to_owned()),
            ModelOutput::Text("Morgen, schön.".to_owned()),
            ModelOutput::Done(Usage { prompt: 11, completion: 4 }),
        ]
    );
    let measured = result.unwrap();
    assert!(measured.first.unwrap() <= measured.total && measured.attempts == 1);
}

#[tokio::test]
async fn bytes_one_at_a_time_and_a_missing_end_mark_give_the_same_answer() {
    let (_server, whole, _) = outcome(Manner::Answer).await;
    for manner in [Manner::ByteByByte, Manner::WithoutDone] {
        let (_server, outputs, result) = outcome(manner).await;
        assert_eq!(outputs, whole, "{manner:?}");
        result.unwrap();
    }
}

#[tokio::test]
async fn function_calls_are_put_together() {
    let (_server, outputs, _) = outcome(Manner::Tools).await;
    let call = |id: &str, name: &str, arguments| ModelOutput::ToolCall {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments,
    };
    assert_eq!(
        outputs,
        [
            call("t1", "book", json!({"title": "Emma"})),
            call("t2", "end", json!({})),
            ModelOutput::Done(Usage::default()),
        ]
    );
}

#[tokio::test]
async fn a_server_error_is_tried_again_and_no_more_than_allowed() {
    let (_server, outputs, result) = outcome(Manner::FailFirst(2)).await;
    assert_eq!((text(&outputs).as_str(), result.unwrap().attempts), ("Guten Morgen, schön.", 3));

    let (server, outputs, result) = outcome(Manner::FailFirst(9)).await;
    assert_eq!(outputs, []);
    let error = ProviderError::Status { code: 500, body: "The server had an error".to_owned() };
    assert_eq!(result, Err(error));
    assert_eq!(server.count.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_wrong_key_is_not_tried_again_and_not_repeated() {
    let server = server(Manner::Answer).await;
    let wrong = "sk-wrong-key-987";
    let option = LlmOption { api_key: Some(Secret::new(wrong)), ..server.option() };
    let (_, result) = answered(&option).await;
    let error = result.unwrap_err();
    assert!(matches!(error, ProviderError::Status { code: 401, .. }));
    assert!(error.to_string().contains("Incorrect API key"), "{error}");
    assert!(!error.to_string().contains(wrong) && !error.to_string().contains(KEY), "{error}");
    assert_eq!(server.count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_server_that_hangs_is_left_in_time() {
    let (server, outputs, result) = outcome(Manner::Hang).await;
    assert_eq!(outputs, []);
    assert_eq!(result, Err(ProviderError::Timeout { what: "first output", after: QUICK.first }));
    assert_eq!(server.count.load(Ordering::SeqCst), 1, "its time was all that the question had");

    let (server, outputs, result) = outcome(Manner::HangInAnswer).await;
    assert_eq!(text(&outputs), "Guten ");
    assert_eq!(result, Err(ProviderError::Timeout { what: "further output", after: QUICK.idle }));
    assert_eq!(server.count.load(Ordering::SeqCst), 1, "what was begun is not asked again");
}

#[tokio::test]
async fn a_busy_server_is_left_alone_for_as_long_as_it_says_and_no_longer_than_a_caller_waits() {
    let begin = tokio::time::Instant::now();
    let (_server, outputs, result) = outcome(Manner::Busy("0.3")).await;
    assert_eq!((text(&outputs).as_str(), result.unwrap().attempts), ("Guten Morgen, schön.", 2));
    assert!(begin.elapsed() >= Duration::from_millis(300));

    let (server, outputs, result) = outcome(Manner::Busy("30")).await;
    assert_eq!(outputs, []);
    let again = Duration::from_secs(30);
    assert_eq!(result, Err(ProviderError::Busy { code: 429, body: "slow down".to_owned(), again }));
    assert_eq!(server.count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_answer_of_a_server_that_does_not_stream_is_taken() {
    let (server, outputs, result) = outcome(Manner::Whole).await;
    let call = ModelOutput::ToolCall { id: "t1".to_owned(), name: "end".to_owned(), arguments: json!({}) };
    let usage = Usage { prompt: 11, completion: 4 };
    assert_eq!(
        outputs,
        [ModelOutput::Text("Guten Morgen, schön.".to_owned()), call, ModelOutput::Done(usage)]
    );
    result.unwrap();
    assert_eq!(server.count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_page_is_told_as_what_it_is_and_not_asked_for_again() {
    let (server, outputs, result) = outcome(Manner::Page).await;
    assert_eq!(outputs, []);
    let told = result.unwrap_err().to_string();
    assert!(told.contains("status 200 and text/html"), "{told}");
    assert_eq!(server.count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_breaks_off_is_an_error_after_what_came() {
    let (server, outputs, result) = outcome(Manner::Reset).await;
    assert_eq!(text(&outputs), "Guten ");
    assert!(matches!(result, Err(ProviderError::Connect(_))), "{result:?}");
    assert_eq!(server.count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn garbage_and_errors_within_the_stream_are_errors() {
    let (_server, _, result) = outcome(Manner::Garbage).await;
    assert!(matches!(result, Err(ProviderError::Protocol(_))), "{result:?}");
    let (_server, _, result) = outcome(Manner::ErrorInStream).await;
    assert_eq!(result, Err(ProviderError::Status { code: 503, body: "overloaded".to_owned() }));
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let (_server, outputs, result) = outcome(Manner::Endless).await;
    assert!(matches!(result, Err(ProviderError::Protocol(_))), "{result:?}");
    assert!(text(&outputs).len() < 1 << 20);
}

#[tokio::test]
async fn nobody_there_is_an_error() {
    let option = LlmOption {
        provider: Some("openai".to_owned()),
        base_url: Some("http://127.0.0.1:9/v1".to_owned()),
        api_key: Some(Secret::new(KEY)),
        ..LlmOption::default()
    };
    let (_, result) = answered(&option).await;
    assert!(matches!(result, Err(ProviderError::Connect(_))), "{result:?}");
}

#[tokio::test]
async fn who_stops_listening_cancels() {
    let server = server(Manner::Hang).await;
    let model = providers::chat_model(&server.option()).unwrap();
    let (sender, receiver) = channel(1);
    drop(receiver);
    let result = run::chat("openai", &*model, &Limits::CHAT, ask("Hello"), sender).await;
    assert_eq!(result, Err(ProviderError::Gone));
}

#[tokio::test]
async fn rules_answer_before_the_model_is_asked() {
    let server = server(Manner::Answer).await;
    let rule =
        |when: &str| Rule { when: vec![when.to_owned()], say: vec!["At nine.".to_owned()], scene: None };
    let fits = LlmOption { rules: Some(vec![rule("hello")]), ..server.option() };
    let (outputs, _) = answered(&fits).await;
    assert_eq!(text(&outputs), "At nine.");
    assert_eq!(server.count.load(Ordering::SeqCst), 0);

    let fits_not = LlmOption { rules: Some(vec![rule("hours")]), ..server.option() };
    let (outputs, _) = answered(&fits_not).await;
    assert_eq!(text(&outputs), "Guten Morgen, schön.");
    assert_eq!(server.count.load(Ordering::SeqCst), 1);
}
