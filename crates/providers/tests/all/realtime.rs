use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::chat::{Message as Line, Role, Usage};
use protocol::option::RealtimeOption;
use protocol::value::{Extra, Secret};
use providers::{AnswerId, Heard, ProviderError, RealtimeInput, RealtimeOutput};
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

use crate::realtime_server::{KEY, Server};

/// The model's end of a conversation.
struct Talk {
    input: Sender<RealtimeInput>,
    output: Receiver<RealtimeOutput>,
    task: JoinHandle<Result<(), ProviderError>>,
}

impl Talk {
    #[expect(clippy::disallowed_methods, reason = "the conversation ends when its channels are closed")]
    fn new(option: &RealtimeOption) -> Self {
        let model = providers::realtime(option).unwrap();
        assert_eq!(model.rate(), 24_000);
        let (input, inputs) = channel(8);
        let (outputs, output) = channel(8);
        let task = tokio::spawn(async move { model.run(inputs, outputs).await });
        Talk { input, output, task }
    }

    async fn heard(&mut self) -> RealtimeOutput {
        let waited = tokio::time::timeout(Duration::from_secs(20), self.output.recv());
        waited.await.expect("the model says something").unwrap()
    }

    async fn give(&self, input: RealtimeInput) {
        self.input.send(input).await.unwrap();
    }

    async fn error(self) -> ProviderError {
        tokio::time::timeout(Duration::from_secs(20), self.task).await.unwrap().unwrap().unwrap_err()
    }
}

async fn open() -> (Server, Talk) {
    let mut server = Server::new().await;
    let talk = Talk::new(&server.option);
    server.opened().await;
    (server, talk)
}

fn sound(item: &str, samples: &[i16]) -> Value {
    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    json!({ "type": "response.output_audio.delta", "item_id": item, "delta": STANDARD.encode(bytes) })
}

#[tokio::test]
async fn the_session_is_as_documented() {
    let mut server = Server::new().await;
    let tool = json!({ "type": "function", "name": "weather", "parameters": { "type": "object" } });
    let option = RealtimeOption {
        turn_detection: Some(json!({ "type": "semantic_vad", "eagerness": "low" })),
        tools: Some(vec![tool.clone()]),
        voice: Some("marin".to_owned()),
        extra: Some(Extra::from([("instructions".to_owned(), json!("Be short."))])),
        ..server.option.clone()
    };
    let _talk = Talk::new(&option);
    assert_eq!(server.told().await, "/v1/realtime?model=gpt-realtime");
    let format = json!({ "type": "audio/pcm", "rate": 24_000 });
    assert_eq!(
        server.told().await,
        json!({ "type": "session.update", "session": {
            "type": "realtime",
            "instructions": "Be short.",
            "output_modalities": ["audio"],
            "audio": {
                "input": {
                    "format": format,
                    "transcription": { "model": "whisper-1" },
                    "turn_detection": { "type": "semantic_vad", "eagerness": "low" },
                },
                "output": { "format": format, "voice": "marin" },
            },
            "tools": [tool],
            "tool_choice": "auto",
        }})
    );
}

#[tokio::test]
async fn sound_goes_out_and_comes_back_with_both_names_of_its_events() {
    let (mut server, mut talk) = open().await;
    talk.give(RealtimeInput::Audio([1, -2, 300].into())).await;
    assert_eq!(
        server.told().await,
        json!({ "type": "input_audio_buffer.append", "audio": STANDARD.encode([1, 0, 254, 255, 44, 1]) })
    );
    server.say(&sound("a", &[5, -6]));
    server.say(&json!({ "type": "response.output_audio_transcript.delta", "item_id": "a", "delta": "Hel" }));
    server.say(&json!({ "type": "response.audio_transcript.delta", "item_id": "a", "delta": "lo" }));
    server.say(&json!({ "type": "response.audio.delta", "item_id": "a", "delta": STANDARD.encode([7, 0]) }));
    server.say(&json!({ "type": "response.output_audio.done", "item_id": "a" }));
    server.say(&sound("b", &[9]));
    server.say(&json!({ "type": "an.event.nobody.knows", "item": 5, "item_id": "a" }));
    let (a, b) = (AnswerId(1), AnswerId(2));
    assert_eq!(talk.heard().await, RealtimeOutput::Audio { answer: a, samples: [5, -6].into() });
    assert_eq!(talk.heard().await, RealtimeOutput::Agent { answer: a, text: "Hel".into() });
    assert_eq!(talk.heard().await, RealtimeOutput::Agent { answer: a, text: "lo".into() });
    assert_eq!(talk.heard().await, RealtimeOutput::Audio { answer: a, samples: [7].into() });
    assert_eq!(talk.heard().await, RealtimeOutput::Said(a));
    assert_eq!(talk.heard().await, RealtimeOutput::Audio { answer: b, samples: [9].into() });
    let usage = json!({ "input_tokens": 10, "output_tokens": 20 });
    server.say(&json!({ "type": "response.done", "response": { "status": "completed", "usage": usage } }));
    assert_eq!(talk.heard().await, RealtimeOutput::Said(b), "a response that is done leaves nothing open");
    assert_eq!(talk.heard().await, RealtimeOutput::Done(Usage { prompt: 10, completion: 20 }));
}

#[tokio::test]
async fn the_caller_is_heard_by_the_model() {
    let (server, mut talk) = open().await;
    server
        .say(&json!({ "type": "input_audio_buffer.speech_started", "audio_start_ms": 100, "item_id": "c" }));
    server.say(&json!({ "type": "input_audio_buffer.speech_stopped", "audio_end_ms": 900, "item_id": "c" }));
    server.say(&json!({
        "type": "conversation.item.input_audio_transcription.completed", "item_id": "c", "transcript": "Hi."
    }));
    assert_eq!(talk.heard().await, RealtimeOutput::SpeechStarted);
    assert_eq!(talk.heard().await, RealtimeOutput::SpeechEnded);
    let RealtimeOutput::Caller(Heard::Final(words)) = talk.heard().await else { panic!("no words") };
    assert_eq!(words.text, "Hi.");
}

#[tokio::test]
async fn an_interrupted_answer_is_cancelled_and_cut_where_it_was_heard() {
    let (mut server, mut talk) = open().await;
    server.say(&json!({ "type": "response.created", "response": { "status": "in_progress" } }));
    server.say(&sound("a", &[0; 24_000]));
    let _ = talk.heard().await;
    talk.give(RealtimeInput::Interrupted { answer: AnswerId(1), heard: Duration::from_millis(340) }).await;
    assert_eq!(server.told().await, json!({ "type": "response.cancel" }));
    let cut = json!({
        "type": "conversation.item.truncate", "item_id": "a", "content_index": 0, "audio_end_ms": 340
    });
    assert_eq!(server.told().await, cut);
    // The server complains when more is named than there is, which must not happen by a rounding of ours.
    talk.give(RealtimeInput::Interrupted { answer: AnswerId(1), heard: Duration::from_secs(9) }).await;
    assert_eq!(server.told().await["audio_end_ms"], 1000);
}

#[tokio::test]
async fn a_function_is_called_once_and_the_model_goes_on_when_its_response_is_done() {
    let (mut server, mut talk) = open().await;
    server.say(&json!({ "type": "response.created", "response": {} }));
    server.say(&json!({
        "type": "response.function_call_arguments.done", "call_id": "c1", "name": "goto_scene",
        "arguments": r#"{"scene":"desk"}"#
    }));
    server.say(&json!({ "type": "response.output_item.done", "item": {
        "type": "function_call", "call_id": "c1", "name": "goto_scene", "arguments": r#"{"scene":"desk"}"#
    }}));
    server.say(&json!({ "type": "response.output_item.done", "item": {
        "type": "function_call", "call_id": "c2", "name": "x", "arguments": "no json"
    }}));
    let call = |id: &str, name: &str, arguments| RealtimeOutput::ToolCall {
        id: id.into(),
        name: name.into(),
        arguments,
    };
    assert_eq!(talk.heard().await, call("c1", "goto_scene", json!({ "scene": "desk" })));
    assert_eq!(talk.heard().await, call("c2", "x", Value::Null));
    for id in ["c1", "c2"] {
        talk.give(RealtimeInput::ToolResult { id: id.into(), output: "done".into() }).await;
        let item = json!({ "type": "function_call_output", "call_id": id, "output": "done" });
        assert_eq!(server.told().await, json!({ "type": "conversation.item.create", "item": item }));
    }
    server.say(&json!({ "type": "response.done", "response": { "status": "completed" } }));
    assert_eq!(server.told().await, json!({ "type": "response.create" }));
}

#[tokio::test]
async fn complaints_are_told_and_the_conversation_goes_on() {
    let (server, mut talk) = open().await;
    server
        .say(&json!({ "type": "error", "error": { "code": "response_cancel_not_active", "message": "x" } }));
    server.say(
        &json!({ "type": "error", "error": { "type": "invalid_request_error", "message": "no voice" } }),
    );
    assert_eq!(talk.heard().await, RealtimeOutput::Trouble("no voice".into()));
    server.say(&json!({ "type": "input_audio_buffer.speech_started" }));
    assert_eq!(talk.heard().await, RealtimeOutput::SpeechStarted);
}

#[tokio::test]
async fn a_wrong_key_is_a_refusal_that_does_not_repeat_it() {
    let server = Server::new().await;
    let option = RealtimeOption { secret_key: Some(Secret::new("sk-wrong-99")), ..server.option.clone() };
    let error = Talk::new(&option).error().await;
    assert!(matches!(error, ProviderError::Status { code: 401, .. }), "{error}");
    assert!(!error.to_string().contains("wrong-99") && !error.retryable(), "{error}");
}

#[tokio::test]
async fn what_is_refused_before_the_session_is_open_ends_it() {
    let mut server = Server::new().await;
    let talk = Talk::new(&server.option);
    let (_path, _update) = (server.told().await, server.told().await);
    server.say(&json!({ "type": "error", "error": { "message": format!("bad key {KEY}") } }));
    let error = talk.error().await;
    assert_eq!(error, ProviderError::Status { code: 400, body: "bad key ***".into() });
}

#[tokio::test]
async fn a_server_that_misbehaves_ends_the_conversation_with_a_reason() {
    for (message, retryable) in [
        (Message::text("garbage"), true),
        (Message::text("x".repeat(5 << 20)), true),
        (Message::text(r#"{"type":"response.output_audio.delta","item_id":"a","delta":"?"}"#), true),
        (Message::Close(None), true),
    ] {
        let (server, talk) = open().await;
        server.send(message);
        let error = talk.error().await;
        assert_eq!(error.retryable(), retryable, "{error}");
        assert!(error.to_string().len() < 200, "{error}");
    }
}

#[tokio::test]
async fn a_greeting_makes_the_model_speak_first() {
    let mut server = Server::new().await;
    let extra = Extra::from([("greeting".to_owned(), json!("Greet the caller."))]);
    let _talk = Talk::new(&RealtimeOption { extra: Some(extra), ..server.option.clone() });
    server.opened().await;
    let response = json!({ "instructions": "Greet the caller." });
    assert_eq!(server.told().await, json!({ "type": "response.create", "response": response }));
}

#[tokio::test]
async fn the_end_of_the_call_closes_the_conversation() {
    let (_server, talk) = open().await;
    drop(talk.input);
    assert_eq!(tokio::time::timeout(Duration::from_secs(20), talk.task).await.unwrap().unwrap(), Ok(()));
}

fn said(role: Role, content: &str) -> Line {
    Line { role, content: content.to_owned(), tool_calls: Vec::new(), tool_call_id: None }
}

#[tokio::test]
async fn a_model_that_comes_back_is_told_what_was_said_in_the_words_of_its_dialect() {
    for (preview, kind) in [(false, "output_text"), (true, "text")] {
        let mut server = Server::new().await;
        let mut option = server.option.clone();
        if preview {
            let endpoint = option.endpoint.as_deref().unwrap();
            option.endpoint = Some(format!("{endpoint}/realtime?api-version=2025-04-01-preview"));
        }
        let talk = Talk::new(&option);
        server.opened().await;
        let history = vec![said(Role::User, "A room, please."), said(Role::Assistant, "For how many?")];
        talk.give(RealtimeInput::History(history)).await;
        for (role, kind, text) in
            [("user", "input_text", "A room, please."), ("assistant", kind, "For how many?")]
        {
            let item =
                json!({ "type": "message", "role": role, "content": [{ "type": kind, "text": text }] });
            assert_eq!(server.told().await, json!({ "type": "conversation.item.create", "item": item }));
        }
    }
}

#[tokio::test]
async fn what_the_model_is_to_say_waits_for_the_answer_that_is_being_made() {
    let (mut server, mut talk) = open().await;
    server.say(&json!({ "type": "response.created", "response": {} }));
    server.say(&json!({ "type": "input_audio_buffer.speech_started" }));
    assert_eq!(talk.heard().await, RealtimeOutput::SpeechStarted);
    talk.give(RealtimeInput::Instructions("Be kind.".into())).await;
    talk.give(RealtimeInput::Speak("Say hello.".into())).await;
    assert_eq!(server.told().await["type"], "session.update");
    talk.give(RealtimeInput::Audio([1].into())).await;
    assert_eq!(server.told().await["type"], "input_audio_buffer.append", "nothing is asked for in between");
    server.say(&json!({ "type": "response.done", "response": { "status": "completed" } }));
    let told = server.told().await;
    assert_eq!(told["response"]["instructions"], "Be kind.\n\nSay hello.", "{told}");
}
