//! Spoken conversations: baresip is the caller's phone, and programs of this machine hear and speak for the agent.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use active_call::config::Config;
use axum::routing::{get, post};
use axum::{Json, Router};
use call::handle::ToCall;
use call::observers::{Observer, Told};
use protocol::Event;
use protocol::record::CallRecord;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::baresip::Baresip;
use crate::inbound_sip::playbooks;
use crate::rig::Rig;
use crate::{programs, sound};

/// What the agent hears and speaks with. Few words are listened for, which makes the small model reliable.
const VOICE: &str = "asr:
  provider: pocketsphinx
  language: en
  extra: { words: [what are your opening hours, check my order, where is my order, thank you, goodbye] }
tts: { provider: flite, voice: slt }
vad: { silencePadding: 250 }
";
/// Samples of a second.
const SECOND: usize = 8000;

/// `text` as the caller says it, between seconds of silence.
async fn caller(folder: &Path, before: usize, text: &str, after: usize) -> Vec<i16> {
    let spoken = voice(folder, "rms", text).await;
    [vec![0; before * SECOND], spoken, vec![0; after * SECOND]].concat()
}

/// `text` as flite says it with this voice, at 8 kHz.
async fn voice(folder: &Path, name: &str, text: &str) -> Vec<i16> {
    let file = folder.join(format!("{name}.wav"));
    programs::run("flite", &["-voice", name, "-t", text, "-o", file.to_str().unwrap()], folder).await;
    sound::channel(&file, 0)
}

/// A server whose one playbook has `front` and answers aloud, and records every call.
async fn rig(front: &str, change: impl FnOnce(&mut Config)) -> Rig {
    let rig = Rig::start_speaking(|config| {
        playbooks(config, Vec::new(), Some("spoken.md"));
        config.recording.enabled = true;
        config.recording.auto_start = true;
        change(config);
    })
    .await;
    let playbook = format!("---\n{VOICE}{front}\n---\nYou are the library.\n");
    std::fs::write(rig.path("playbook/spoken.md"), playbook).unwrap();
    rig
}

/// A call of a phone that plays `says`, up to its end by the agent; its record.
async fn call(rig: &Rig, phone: &mut Baresip) -> CallRecord {
    phone.command("dial", &format!("sip:agent@{}", rig.server.sip_addr())).await;
    phone.told("type", "CALL_ESTABLISHED").await;
    timed(phone.told("type", "CALL_CLOSED")).await;
    rig.until("a record", |rig| rig.records().pop()).await
}

/// Spoken calls take longer than anything else.
async fn timed<T>(future: impl Future<Output = T>) -> T {
    timeout(std::time::Duration::from_secs(60), future).await.expect("the call does not end")
}

/// The events of the one call there is.
async fn watched(rig: &Rig) -> mpsc::Receiver<Told> {
    let (sender, events) = mpsc::channel(1024);
    let call = rig.until("a call", |rig| rig.server.app().calls.all().into_iter().next()).await;
    call.send(ToCall::Observe(Observer { events: sender, after: 0 })).await.unwrap();
    events
}

/// Waits for an event; the digits that were told before it.
async fn until(events: &mut mpsc::Receiver<Told>, wanted: impl Fn(&Event) -> bool) -> usize {
    let mut digits = 0;
    loop {
        let Told { event, .. } = timed(events.recv()).await.expect("the call goes on");
        if wanted(&event) {
            return digits;
        }
        digits += usize::from(matches!(event, Event::Dtmf { .. }));
    }
}

fn said(record: &CallRecord) -> Vec<(String, String, bool)> {
    record.transcript.iter().map(|line| (line.speaker.clone(), line.text.clone(), line.interrupted)).collect()
}

fn line(speaker: &str, text: &str) -> (String, String, bool) {
    (speaker.into(), text.into(), false)
}

/// How well the phone heard the agent say `text`.
async fn heard(rig: &Rig, phone: &Baresip, text: &str) -> f64 {
    let found = sound::find(&voice(rig.folder.path(), "slt", text).await, &phone.heard());
    println!("the phone hears {text:?}: {found:?}");
    found.pieces
}

/// Milliseconds from the onset of the caller's speech in `from` to the last loud sample of the agent's voice in `to`.
fn silenced_after(from: &[i16], to: &[i16]) -> i64 {
    let peak = from.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0);
    // 25 dB below the peak: what is softer is no speech to the detector.
    let onset = from.iter().position(|sample| sample.unsigned_abs() > peak / 18).expect("the caller speaks");
    let pause = SECOND / 2;
    let loud = |sample: &i16| sample.unsigned_abs() > 300;
    let voice = &to[onset.saturating_sub(pause)..];
    let mut last = voice.iter().position(loud).expect("the agent speaks when it is cut off");
    for (at, sample) in voice.iter().enumerate().skip(last) {
        if at - last > pause {
            break;
        }
        if loud(sample) {
            last = at;
        }
    }
    (last as i64 - pause as i64) / 8
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_on_a_phone_cuts_the_agent_off_and_is_answered() {
    const GREETING: &str = "Welcome to Riverside Library where you can ask me about our opening hours and our address \
                            and about books and about maps and about everything else that one can read";
    const ANSWER: &str = "We are open from Monday to Saturday.";
    let front = format!(
        "greeting: {GREETING}\nllm: {{ provider: rules, rules: [{{ when: opening hours, say: \"{ANSWER} <hangup/>\" }}] }}"
    );
    let rig = rig(&front, |_| {}).await;
    let speech = caller(rig.folder.path(), 4, "what are your opening hours", 20).await;
    let mut phone = Baresip::start(&rig.path("phone"), "PCMU/8000/1", &speech).await;
    let record = call(&rig, &mut phone).await;
    let lines = said(&record);
    println!("{lines:?}");
    assert!(
        lines[0].2 && GREETING.starts_with(&lines[0].1) && lines[0].1.len() < GREETING.len(),
        "{lines:?}"
    );
    assert_eq!(lines[1..], [line("caller", "what are your opening hours"), line("agent", ANSWER)]);
    let recording = PathBuf::from(&record.recorder[0].path);
    let at_the_server = silenced_after(&sound::channel(&recording, 0), &sound::channel(&recording, 1));
    let at_the_phone = silenced_after(&phone.said(), &phone.heard());
    println!("silent {at_the_server} ms after the onset at the server, {at_the_phone} ms at the phone");
    assert!((-100..=120).contains(&at_the_server), "{at_the_server} ms");
    assert!(at_the_phone <= 400, "{at_the_phone} ms, of which a phone waits up to 200 for its packets");
    assert!(heard(&rig, &phone, ANSWER).await >= 0.95);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_on_a_phone_keys_a_number_in() {
    const QUESTION: &str = "Please key in your order number and press hash.";
    const ANSWER: &str = "Your order is on its way.";
    let front = format!(
        "greeting: Hello.\n\
         dtmfCollectors: {{ order: {{ description: order, minDigits: 4, maxDigits: 8, finishKey: \"#\" }} }}\n\
         llm:\n  provider: rules\n  rules:\n\
         \x20   - {{ when: check my order, say: '<collect type=\"order\" var=\"order\" prompt=\"{QUESTION}\"/>' }}\n\
         \x20   - {{ when: entered 4711 for order, say: '{ANSWER} <hangup/>' }}"
    );
    let rig = rig(&front, |_| {}).await;
    let speech = caller(rig.folder.path(), 4, "check my order", 30).await;
    let mut phone = Baresip::start(&rig.path("phone"), "PCMU/8000/1", &speech).await;
    phone.command("dial", &format!("sip:agent@{}", rig.server.sip_addr())).await;
    phone.told("type", "CALL_ESTABLISHED").await;
    let mut events = watched(&rig).await;
    let asked = |event: &Event| matches!(event, Event::AddHistory { text, .. } if text == QUESTION);
    until(&mut events, asked).await;
    for key in ["4", "7", "1", "1", "#"] {
        phone.command("sndcode", key).await;
        let pressed = |event: &Event| matches!(event, Event::Dtmf { digit, .. } if digit == key);
        assert_eq!(until(&mut events, pressed).await, 0, "a digit more");
    }
    let hung_up = |event: &Event| matches!(event, Event::Hangup(_));
    assert_eq!(until(&mut events, hung_up).await, 0, "a digit more");
    timed(phone.told("type", "CALL_CLOSED")).await;
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    let lines = said(&record);
    println!("{lines:?}");
    assert_eq!(lines.last(), Some(&line("agent", ANSWER)), "{lines:?}");
    assert!(lines.contains(&line("agent", QUESTION)) && lines.contains(&line("caller", "check my order")));
    assert!(heard(&rig, &phone, QUESTION).await >= 0.95 && heard(&rig, &phone, ANSWER).await >= 0.95);
    rig.server.stop().await;
}

/// A shop that knows one order, and a model with the OpenAI API that asks it; how often the model was asked.
async fn shop() -> (String, Arc<AtomicUsize>) {
    let asked: Arc<AtomicUsize> = Arc::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::clone(&asked);
    let answer = move |Json(body): Json<Value>| async move {
        let messages = body["messages"].as_array().unwrap();
        let told = messages
            .iter()
            .rfind(|message| message["role"] == "tool")
            .map(|message| message["content"].to_string());
        let delta = match &told {
            Some(told) if told.contains("Friday") => json!({"content": "Your order comes on Friday."}),
            Some(_) => json!({"content": "I cannot find it."}),
            None => json!({"tool_calls": [{"index": 0, "id": "c1", "type": "function",
                "function": {"name": "order_status", "arguments": "{\"number\":\"4711\"}"}}]}),
        };
        let finished = if told.is_some() { "stop" } else { "tool_calls" };
        seen.fetch_add(1, Ordering::Relaxed);
        let chunk = json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finished}]});
        ([("content-type", "text/event-stream")], format!("data: {chunk}\n\ndata: [DONE]\n\n"))
    };
    let router = Router::new()
        .route("/v1/chat/completions", post(answer))
        .route("/orders/4711", get(|| async { "{\"arrives\":\"Friday\"}" }));
    #[expect(clippy::disallowed_methods, reason = "the stand-in server lives as long as its test")]
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_on_a_phone_is_told_what_a_tool_has_found() {
    const ANSWER: &str = "Your order comes on Friday.";
    let (url, asked) = shop().await;
    let front = format!(
        "greeting: Hello.\n\
         llm:\n  provider: openai\n  baseUrl: {url}/v1\n  apiKey: none\n  model: m\n\
         \x20 rules: [{{ when: goodbye, say: \"Goodbye. <hangup/>\" }}]\n\
         http: {{ allow: [127.0.0.1] }}\n\
         tools:\n  - name: order_status\n    description: The state of an order.\n    \
         url: \"{url}/orders/{{{{ number }}}}\"\n    parameters: {{ number: The number of the order. }}"
    );
    let rig = rig(&front, |config| config.egress.allow = vec!["127.0.0.1".into()]).await;
    let question = caller(rig.folder.path(), 4, "where is my order", 7).await;
    let goodbye = caller(rig.folder.path(), 0, "goodbye", 20).await;
    let mut phone = Baresip::start(&rig.path("phone"), "PCMU/8000/1", &[question, goodbye].concat()).await;
    let record = call(&rig, &mut phone).await;
    let lines = said(&record);
    println!("{lines:?}");
    let wanted = [
        line("agent", "Hello."),
        line("caller", "where is my order"),
        line("agent", ANSWER),
        line("caller", "goodbye"),
        line("agent", "Goodbye."),
    ];
    assert_eq!(lines, wanted);
    assert_eq!(asked.load(Ordering::Relaxed), 2, "once for the call of the tool and once for the words");
    assert!(heard(&rig, &phone, ANSWER).await >= 0.95);
    rig.server.stop().await;
}

/// Milliseconds that a client hears of pieces which it streams.
async fn streamed(rig: &Rig, voice: &str, pieces: &[String]) -> u64 {
    let mut client = rig.connect("/call").await;
    client.send(json!({"command": "invite", "option": {"tts": {"provider": voice}}})).await;
    client.event("answer").await;
    for piece in pieces {
        client.send(json!({"command": "tts", "text": piece, "playId": "s", "streaming": true})).await;
    }
    let end = json!({"command": "tts", "text": "", "playId": "s", "streaming": true, "endOfStream": true});
    client.send(end).await;
    let end = client.event("trackEnd").await;
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    end["duration"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_are_streamed_sound_as_long_as_the_whole_text() {
    let rig = Rig::start_speaking(|_| {}).await;
    let text = "This is a streamed sentence. And here is another one, spoken later.";
    let words: Vec<String> = text.split(' ').map(|word| format!("{word} ")).collect();
    for voice in ["espeak", "flite"] {
        let whole = streamed(&rig, voice, &[text.to_owned()]).await;
        let pieces = streamed(&rig, voice, &words).await;
        println!("{voice}: {whole} ms whole, {pieces} ms word by word");
        assert!((whole * 8 / 10..=whole * 12 / 10).contains(&pieces), "{voice}: {pieces} ms for {whole}");
    }
    rig.server.stop().await;
}
