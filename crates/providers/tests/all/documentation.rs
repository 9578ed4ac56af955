use std::collections::BTreeSet;

use protocol::option::{LlmOption, RealtimeOption, TranscriptionOption};
use providers::{CHAT_MODELS, ProviderError, REALTIMES, RECOGNIZERS, Row, SYNTHESIZERS};

const DOCUMENT: &str = include_str!("../../../../docs/providers.md");

fn line<T: ?Sized, O>(kind: &str, row: &Row<T, O>) -> String {
    let code = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    format!("| {kind} | `{}` | {} | {} | {} |", row.name, row.about, code(row.options), code(row.environment))
}

#[test]
fn the_document_lists_every_provider_with_its_options() {
    let lines: BTreeSet<String> = RECOGNIZERS
        .iter()
        .map(|row| line("asr", row))
        .chain(SYNTHESIZERS.iter().map(|row| line("tts", row)))
        .chain(CHAT_MODELS.iter().map(|row| line("llm", row)))
        .chain(REALTIMES.iter().map(|row| line("realtime", row)))
        .collect();
    let documented: BTreeSet<String> = DOCUMENT
        .lines()
        .filter(|line| {
            ["| asr |", "| tts |", "| llm |", "| realtime |"].iter().any(|kind| line.starts_with(kind))
        })
        .map(str::to_owned)
        .collect();
    assert_eq!(documented, lines);
}

#[test]
fn an_unknown_name_is_an_error_that_lists_the_known_ones() {
    let llm = LlmOption { provider: Some("openia".to_owned()), ..LlmOption::default() };
    let error = providers::chat_model(&llm).err().unwrap();
    assert_eq!(error.to_string(), "unknown llm provider \"openia\": expected one of openai, rules");
    let asr = TranscriptionOption { provider: Some("x".repeat(5000)), ..TranscriptionOption::default() };
    let error = providers::recognizer(&asr).err().unwrap();
    assert!(error.to_string().len() < 200 && error.to_string().contains("pocketsphinx"));
    let realtime = RealtimeOption { provider: Some("nobody".to_owned()), ..RealtimeOption::default() };
    assert!(matches!(providers::realtime(&realtime).err(), Some(ProviderError::UnknownProvider { .. })));
}

#[test]
fn names_are_found_in_any_case() {
    for name in ["rules", "Rules", " RULES "] {
        let option = LlmOption { provider: Some(name.to_owned()), ..LlmOption::default() };
        assert!(providers::chat_model(&option).is_ok());
    }
}
