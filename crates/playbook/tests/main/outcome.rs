//! What is reported of a call when it is over.

use std::sync::Arc;

use playbook::{BuiltIns, Conversation, Ended, Input, Playbook, Vars};
use protocol::chat::Role;
use protocol::event::{HangupEvent, Transcript};
use protocol::{CallTime, Event};
use serde_json::json;

fn after_a_call(posthook: &str) -> Conversation {
    let text =
        format!("---\nllm: {{ provider: openai }}\ngreeting: Hello.\nposthook: {posthook}\n---\nHelp.");
    let playbook = Playbook::parse(&text, &|_| None).unwrap();
    assert_eq!(playbook.warnings, Vec::new());
    let vars = Vars::new(BuiltIns { session_id: "s1".into(), ..BuiltIns::default() });
    let mut conversation = Conversation::new(Arc::new(playbook), vars);
    let words = Transcript { text: "My order, please.".into(), ..Transcript::default() };
    let heard = |ended| Input::Heard { play_id: "turn-1".into(), text: "Hello.".into(), ended };
    for input in [
        Input::Answered,
        heard(Ended::Finished),
        Input::Call(Event::AsrFinal(words)),
        Input::Call(Event::Hangup(Box::<HangupEvent>::default())),
    ] {
        conversation.handle(CallTime::ms(1000), input, &mut Vec::new());
    }
    conversation
}

#[test]
fn the_report_has_history_and_asks_for_every_kind_of_summary() {
    for (kind, instruction) in [
        ("short", "one or two sentences"),
        ("detailed", "what was agreed"),
        ("intent", "what the caller wanted"),
        ("json", "JSON object"),
        ("Was the caller angry?", "Was the caller angry?"),
    ] {
        let hook = format!(
            "{{ url: 'https://h/{{{{ session_id }}}}', summary: '{kind}', headers: {{ X-Call: '{{{{ session_id }}}}' }} }}"
        );
        let outcome = after_a_call(&hook).outcome();
        let report = outcome.report.clone().unwrap();
        assert_eq!((report.url.as_str(), report.method.as_str()), ("https://h/s1", "POST"));
        assert_eq!(report.headers["X-Call"], "s1");
        let ask = report.summary.unwrap();
        assert!(ask.messages[0].content.contains(instruction), "{kind}");
        assert_eq!(ask.messages[1].content, "agent: Hello.\ncaller: My order, please.\n");
        let body = outcome.body("s1", Some("An order."), "2026-01-01T00:00:00Z");
        let history = json!([{"role": "assistant", "content": "Hello."}, {"role": "user", "content": "My order, please."}]);
        let expected = json!({
            "sessionId": "s1", "summary": "An order.", "history": history, "timestamp": "2026-01-01T00:00:00Z"
        });
        assert_eq!(body, expected);
    }
}

#[test]
fn a_report_without_history_or_summary_says_null() {
    let outcome = after_a_call("{ url: 'https://h', includeHistory: false }").outcome();
    assert_eq!(outcome.report.as_ref().unwrap().summary, None);
    let body = outcome.body("s1", None, "t");
    assert_eq!(body, json!({ "sessionId": "s1", "summary": null, "history": null, "timestamp": "t" }));
    assert!(outcome.history.iter().any(|message| message.role == Role::User));
}
