//! The shipped playbooks do what their scenario files say, and rehearsals tell what does not happen.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use playbook::Playbook;
use playbook::rehearsal::{Models, Step, Suite, junit, run};
use protocol::chat::{ModelOutput, Usage};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/playbook")
}

#[test]
fn shipped_playbooks_do_what_their_scenarios_say() {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.to_string_lossy().ends_with(".test.yaml")).collect();
    files.sort();
    assert!(files.len() >= 10, "the scenario files are missing");
    let mut wrong = String::new();
    for path in files {
        let suite = Suite::parse(&fs::read_to_string(&path).unwrap()).unwrap();
        let text = fs::read_to_string(folder().join(&suite.playbook)).unwrap();
        let playbook = Playbook::parse(&text, &|name| Some(format!("key of {name}"))).unwrap();
        assert_eq!(playbook.warnings, Vec::new(), "{}", suite.playbook);
        let playbook = Arc::new(playbook);
        for scenario in &suite.scenarios {
            // Rules are a provider's work: the command plays what they answer.
            let by_rules = playbook.llm.as_ref().is_some_and(|llm| llm.provider.as_deref() == Some("rules"));
            if by_rules && !scenario.steps.iter().any(|play| matches!(play.step, Step::Model { .. })) {
                continue;
            }
            let report = run(&playbook, scenario, Models::default());
            if let Some((line, why)) = report.failure {
                let place = path.file_name().unwrap().to_string_lossy();
                wrong.push_str(&format!("{place}:{line}: {}: {why}\n{}\n", report.name, report.transcript));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn playbook() -> Arc<Playbook> {
    Arc::new(
        Playbook::parse("---\nllm: {provider: openai}\ngreeting: Hello.\n---\nHelp.", &|_| None).unwrap(),
    )
}

fn suite(steps: &str) -> Suite {
    Suite::parse(&format!("playbook: x.md\nscenarios:\n  - name: one\n    steps:\n{steps}")).unwrap()
}

#[test]
fn what_does_not_happen_is_told_with_its_line() {
    let suite = suite(
        "      - agent: Hello\n      - caller: hi\n      - model: Good day.\n      - agent: Good night\n        within: 2s\n",
    );
    let report = run(&playbook(), &suite.scenarios[0], Models::default());
    let (line, why) = report.failure.clone().unwrap();
    assert_eq!((line, why.contains("Good day.")), (8, true), "{why}");
    assert!(junit(&[("x.test.yaml".into(), vec![report])]).contains("line 8"));
}

#[test]
fn a_model_answers_and_judges_what_the_scenario_leaves_open() {
    let suite = suite("      - caller: hi\n      - agent: nice to\n        judge: Is it polite?\n");
    let asked = std::cell::Cell::new(0);
    let answer = |text: &str| {
        asked.set(asked.get() + 1);
        vec![ModelOutput::Text(text.to_owned()), ModelOutput::Done(Usage::default())]
    };
    let mut answers = |_: &protocol::chat::Ask| answer("Nice to hear you. How are you?");
    let mut judges = |_: &protocol::chat::Ask| answer("Yes.");
    let models = Models { answers: Some(&mut answers), judges: Some(&mut judges) };
    let report = run(&playbook(), &suite.scenarios[0], models);
    assert_eq!((report.failure, report.unjudged, asked.get()), (None, 0, 2));
    let mut answers = |_: &protocol::chat::Ask| answer("Nice to hear you. How are you?");
    let models = Models { answers: Some(&mut answers), judges: None };
    let report = run(&playbook(), &suite.scenarios[0], models);
    assert_eq!((report.failure, report.unjudged), (None, 1));
}

#[test]
fn a_judge_who_fails_or_mumbles_fails_the_scenario_and_words_count_beside_it() {
    let verdict = |output: ModelOutput, part: &str| {
        let suite =
            suite(&format!("      - agent: {part}\n        judge: Is it polite?\n        within: 2s\n"));
        let mut judges = |_: &protocol::chat::Ask| vec![output.clone()];
        run(&playbook(), &suite.scenarios[0], Models { answers: None, judges: Some(&mut judges) }).failure
    };
    let says = |text: &str| ModelOutput::Text(text.to_owned());
    assert_eq!(verdict(says("Yes."), "hello"), None);
    assert!(verdict(says("No."), "hello").is_some() && verdict(says("Yes."), "goodbye").is_some());
    let failed = verdict(ModelOutput::Failed { error: "no key".into() }, "hello").unwrap().1;
    assert!(failed.contains("the judge gives no answer: no key"), "{failed}");
    assert!(verdict(says("Perhaps"), "hello").unwrap().1.contains("neither yes nor no: perhaps"));
}

#[test]
fn slips_in_scenario_files_are_told_with_line_and_nearest_name() {
    let wrong = |steps: &str| {
        Suite::parse(&format!("playbook: x.md\nscenarios:\n  - name: one\n    steps:\n{steps}"))
            .unwrap_err()
            .to_string()
    };
    assert!(
        wrong("      - calller: hi\n").contains("line 4")
            || wrong("      - calller: hi\n").contains("line 5")
    );
    assert!(wrong("      - calller: hi\n").ends_with("did you mean `caller`?"));
    assert!(wrong("      - agent: hi\n        withn: 3\n").ends_with("did you mean `within`?"));
}
