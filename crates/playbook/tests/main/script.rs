//! `scripts/*.talk`: what happens in the upper half, what the conversation does in the lower half.
//!
//! `UPDATE=1 cargo test -p active-call-playbook` rewrites the lower halves.

use std::fs;
use std::path::{Path, PathBuf};

use crate::world::World;

const RULE: &str = "\n---- then ----\n";

#[test]
fn conversations_go_as_written() {
    let mut scripts: Vec<PathBuf> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "talk"))
        .collect();
    scripts.sort();
    assert!(scripts.len() >= 60, "the scripts are missing");
    let wrong: Vec<String> = scripts.iter().filter_map(|path| check(path).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What callers complain of, and what deployed playbooks suffer from elsewhere, with the script that rules it out.
const GUARDS: &[(&str, &str)] = &[
    // Callers.
    ("the agent speaks over the caller's hello", "hello_over_the_greeting"),
    ("replies get slower with every turn", "a_long_call_is_summarised_beside_the_talk"),
    ("a legal notice is cut off", "legal_notice_is_heard_to_its_end"),
    ("a greeting that must be heard is cut off", "uninterruptible"),
    ("mm-hm stops the agent", "filler_is_ignored"),
    ("okay is taken for a turn", "okay_is_no_turn"),
    ("two short words that mean stop do not stop it", "wait_listen_interrupts"),
    ("after a false interruption the agent stays silent", "noise_then_resume"),
    ("noise between question and answer swallows the answer", "noise_between_question_and_answer"),
    ("whether to stop is decided by volume alone", "ducked_mm_hm_comes_back"),
    ("a television holds the turn open for ever", "a_television_does_not_hold_the_turn_open"),
    ("a slammed door interrupts", "ducked_noise_comes_back"),
    ("the agent talks on after it was interrupted", "the_agent_stays_silent_after_the_caller_took_the_word"),
    ("the agent goes silent in mid-answer", "a_model_stalls_within_its_answer"),
    ("the history holds words that were not heard", "barge_in_by_voice"),
    ("words heard before the line broke are lost", "the_caller_hangs_up_within_an_answer"),
    ("a slow model leaves the caller in silence", "a_slow_model_gets_a_filler"),
    ("who asks again while the model is slow is never answered", "an_impatient_caller_is_answered"),
    ("words are kept twice", "late_final_after_interruption"),
    ("speech to speech breaks when it is cut short", "a_realtime_playbook_needs_no_chat_model"),
    // Files.
    ("three dashes in a text end the settings", "three_dashes_in_a_text_end_no_settings"),
    ("templates stay as written until the scene changes", "variables_are_rendered_again_at_each_scene"),
    ("what no rule fits is answered with braces", "what_no_rule_fits_is_rendered"),
    ("a playbook without a chat model is refused", "no_model"),
    ("taking headers removes built-in variables", "built_ins_stay_beside_extracted_headers"),
    ("a strategy must be named", "an_interruption_without_strategy_is_both"),
    ("minSpeechMs is not used", "a_short_noise_is_less_than_speech"),
    ("followup in another spelling is ignored", "follow_up_and_goodbye"),
    ("a scene's own keys and follow-up are ignored", "a_scene_has_its_own_keys_file_and_follow_up"),
    ("a collector waits for sound to run out of time", "a_collector_is_timed_without_any_sound"),
    // Answers.
    ("after goto by the model no file plays and nothing follows", "the_model_goes_to_a_scene_with_a_file"),
    ("what was fetched is told a turn late", "http_beside_speech"),
    ("a body in single quotes is read aloud", "a_json_body_in_single_quotes"),
    ("fields of a fetched value cannot be used", "fields_of_what_was_fetched_are_variables"),
    ("a fetch holds up the call", "a_tool_that_never_answers"),
    ("numbers, titles and addresses are cut", "numbers_titles_and_addresses_are_not_cut"),
    ("half a tag is spoken", "half_tags"),
    ("a tag in a code fence acts", "a_tag_in_a_code_fence_does_nothing"),
    ("a model's thoughts are read aloud", "a_thought_is_not_spoken"),
    ("links and tables are read aloud", "links_and_tables_are_spoken"),
    ("a scene that there is not ends in silence", "a_scene_that_there_is_not"),
    ("emotion marks are read aloud", "emotion_marks_are_removed_without_the_feature"),
    ("allow_interrupt of JSON answers is not read", "json_answer_with_its_own_rules"),
    ("JSON tools end the turn without an answer", "an_answer_in_json_goes_on_after_a_fetch"),
];

#[test]
fn every_known_fault_has_its_script() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let lost = GUARDS.iter().filter(|(_, script)| !folder.join(format!("{script}.talk")).exists());
    assert_eq!(lost.collect::<Vec<_>>(), Vec::<&(&str, &str)>::new());
}

/// Plays one script and compares what came out.
fn check(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).unwrap();
    let (script, expected) = text.split_once(RULE).unwrap_or((text.trim_end(), ""));
    let found = World::play(script);
    if found.trim() == expected.trim() {
        return Ok(());
    }
    #[allow(clippy::disallowed_methods, reason = "a test asks its user here")]
    if std::env::var("UPDATE").is_ok() {
        fs::write(path, format!("{}\n{RULE}{}\n", script.trim_end(), found.trim_end())).unwrap();
        return Ok(());
    }
    Err(format!("{}\n--- expected\n{expected}\n--- found\n{found}", path.display()))
}
