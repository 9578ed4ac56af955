//! Playbooks without a phone: `active-call test`, `chat` and `check` as processes, and what a folder of playbooks keeps.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use active_call::playbooks::Folder;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs `active-call` in `folder`, with `input` to read.
fn active_call(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_active-call"));
    command.current_dir(folder).args(arguments).env("RUST_LOG", "off");
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    // A command that does not read closes its end.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn shipped_scenarios_pass_through_the_command() {
    let folder = root().join("config/playbook");
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path().display().to_string());
    let files: Vec<String> = files.filter(|path| path.ends_with(".test.yaml")).collect();
    let arguments: Vec<&str> = ["test"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let output = active_call(&root(), &arguments, "");
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains(" passed, 0 failed"), "{}", said(&output));
}

#[test]
fn shipped_configuration_and_playbooks_pass_the_check() {
    let entries = fs::read_dir(root().join("config/playbook")).unwrap().map(|entry| entry.unwrap().path());
    let playbooks = entries.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let playbooks: Vec<String> = playbooks.map(|path| path.display().to_string()).collect();
    let mut arguments = vec!["check", "config/active-call.example.toml"];
    arguments.extend(playbooks.iter().map(String::as_str));
    let output = active_call(&root(), &arguments, "");
    assert!(output.status.success(), "{}", said(&output));
}

const RULES: &str = "---\nllm:\n  provider: rules\n  rules:\n    - when: open\n      say: We are open from nine. <goto \
    scene=\"late\"/>\n    - when: bye\n      say: Goodbye. <hangup/>\n  otherwise: Pardon?\ngreeting: Hello there.\n\
    ---\n# Scene: main\nHelp.\n# Scene: late\nHelp.\n";

#[test]
fn a_failing_scenario_is_told_with_place_and_course_and_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.md"), RULES).unwrap();
    let steps = "      - agent: hello\n      - caller: When are you open?\n      - agent:";
    let scenario = format!(
        "playbook: a.md\nscenarios:\n  - name: good\n    steps:\n{steps} from nine\n  - name: bad\n    steps:\n\
         {steps} from ten\n        within: 3s\n"
    );
    fs::write(folder.path().join("a.test.yaml"), scenario).unwrap();
    let output = active_call(folder.path(), &["test", "a.test.yaml", "--junit", "out.xml"], "");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("ok      a.test.yaml: good") && text.contains("FAILED  a.test.yaml:12: bad"),
        "{text}"
    );
    assert!(text.contains("from ten") && text.contains("  agent: We are open from nine."), "{text}");
    assert!(text.contains("1 passed, 1 failed"), "{text}");
    let xml = fs::read_to_string(folder.path().join("out.xml")).unwrap();
    assert!(xml.contains("tests=\"2\" failures=\"1\""), "{xml}");

    let only = active_call(folder.path(), &["test", "a.test.yaml", "--filter", "GOOD"], "");
    assert!(only.status.success(), "{}", said(&only));
    let nothing = active_call(folder.path(), &["test", "a.test.yaml", "--filter", "other"], "");
    let unreadable = active_call(folder.path(), &["test", "none.yaml"], "");
    assert_eq!((nothing.status.code(), unreadable.status.code()), (Some(1), Some(1)));
}

#[test]
fn a_talk_by_text_shows_words_scenes_and_the_end() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.md"), RULES).unwrap();
    let input = "When are you open?\n/silence 1s\n/dtmf 1\n/vars\n/nonsense\nbye\nnever read\n";
    let output = active_call(folder.path(), &["chat", "a.md"], input);
    let text = said(&output);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let mut rest = text.as_str();
    for expected in [
        "agent: Hello there.",
        "agent: We are open from nine.",
        "scene late",
        "session_id",
        "agent: Goodbye.",
        "hangs up",
    ] {
        rest = rest.split_once(expected).unwrap_or_else(|| panic!("no {expected:?} in {text}")).1;
    }
}

#[test]
fn a_talk_that_is_not_ended_ends_with_its_input() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.md"), RULES).unwrap();
    let output = active_call(folder.path(), &["chat", "a.md"], "hm\n");
    assert!(output.status.success() && said(&output).contains("agent: Pardon?"), "{}", said(&output));
}

#[test]
fn check_tells_slips_with_file_line_and_nearest_name() {
    let folder = tempfile::tempdir().unwrap();
    let playbook = "---\ngreting: Hi.\nllm:\n  provider: rules\n  rules:\n    - when: a\n      say: A <refer \
        to=\"{{ x }}\"/> <goto scene=\"mian\"/>\n---\n# Scene: main\n<play file=\"config/none.wav\"/>\nHi {{ nobdy }}.\n";
    fs::write(folder.path().join("a.md"), playbook).unwrap();
    let output = active_call(folder.path(), &["check", "a.md"], "");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for expected in [
        "a.md: line 2: ",
        "did you mean `greeting`?",
        "did you mean `main`?",
        "there is no file `config/none.wav`",
        "nobdy",
    ] {
        assert!(text.contains(expected), "no {expected:?} in {text}");
    }
}

/// A model of the OpenAI API that takes one connection for each of `answers` and streams it.
fn model_that_says(answers: &'static [&str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for answer in answers {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = BufReader::new(socket.try_clone().unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while request.read_line(&mut line).unwrap() > 2 {
                let lower = line.to_lowercase();
                length = lower.strip_prefix("content-length:").map_or(length, |n| n.trim().parse().unwrap());
                line.clear();
            }
            request.read_exact(&mut vec![0; length]).unwrap();
            let piece = serde_json::json!({ "choices": [{ "delta": { "content": answer }, "finish_reason": "stop" }] });
            let body = format!("data: {piece}\n\ndata: [DONE]\n\n");
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close";
            write!(socket, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        }
    });
    url
}

#[test]
fn with_live_the_playbooks_model_answers_and_judges() {
    let folder = tempfile::tempdir().unwrap();
    let steps = "      - agent: hello\n      - caller: Where are you?\n      - agent: Mill Street\n        judge: Is it short?\n";
    let scenario = format!("playbook: a.md\nscenarios:\n  - name: one\n    steps:\n{steps}");
    fs::write(folder.path().join("a.test.yaml"), scenario).unwrap();
    let play = |url: &str, arguments: &[&str]| {
        let llm = format!("llm: {{ provider: openai, model: m, apiKey: k, baseUrl: \"{url}\" }}");
        fs::write(folder.path().join("a.md"), format!("---\n{llm}\ngreeting: Hello.\n---\nHelp.\n")).unwrap();
        active_call(folder.path(), &[&["test", "a.test.yaml"], arguments].concat(), "")
    };
    let good = play(&model_that_says(&["At twelve Mill Street.", "Yes"]), &["--live"]);
    assert!(good.status.success(), "{}", said(&good));
    let bad = play(&model_that_says(&["At twelve Mill Street.", "No, it rambles."]), &["--live"]);
    assert_eq!(bad.status.code(), Some(1), "{}", said(&bad));
    assert!(said(&bad).contains("a.test.yaml:7"), "{}", said(&bad));
    let alone = play("http://127.0.0.1:9/v1", &[]);
    assert_eq!(alone.status.code(), Some(1), "nobody answers without --live: {}", said(&alone));
}

fn greeting(folder: &Folder) -> Option<String> {
    folder.load("a.md").unwrap().greeting.clone()
}

#[test]
fn a_changed_playbook_serves_new_calls_and_a_broken_one_does_not() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("a.md");
    let folder = Folder::new(place.path().to_owned(), Vec::new());
    fs::write(&file, "---\ngreeting: One.\n---\n").unwrap();
    let running = folder.load("a.md").unwrap();
    assert!(Arc::ptr_eq(&running, &folder.load("a.md").unwrap()), "an unchanged file is not read again");
    fs::write(&file, "---\ngreeting: Second.\n---\n").unwrap();
    assert_eq!(greeting(&folder).as_deref(), Some("Second."));
    assert_eq!(running.greeting.as_deref(), Some("One."), "a running call keeps its own");
    fs::write(&file, "---\ngreeting: [\n---\n").unwrap();
    assert_eq!(greeting(&folder).as_deref(), Some("Second."));
    assert_eq!(greeting(&folder).as_deref(), Some("Second."));
    fs::write(&file, "---\ngreeting: The third.\n---\n").unwrap();
    assert_eq!(greeting(&folder).as_deref(), Some("The third."));
    fs::remove_file(&file).unwrap();
    assert!(folder.load("a.md").is_err());
}

#[test]
fn filler_words_come_from_the_playbooks_file_or_the_common_one() {
    let place = tempfile::tempdir().unwrap();
    let (books, sounds) = (place.path().join("playbook"), place.path().to_owned());
    fs::create_dir(&books).unwrap();
    let front = |more: &str| format!("---\ngreeting: Hi.\n{more}---\n");
    fs::write(books.join("own.md"), front("interruption: { fillerFile: words.txt }\n")).unwrap();
    fs::write(books.join("list.md"), front("interruption: { fillerWords: [lah] }\n")).unwrap();
    fs::write(books.join("plain.md"), front("")).unwrap();
    fs::write(books.join("words.txt"), "hoy\n").unwrap();
    let folder = Folder::new(books.clone(), vec![sounds.clone()]);
    let filler = |name: &str, word: &str| folder.load(name).unwrap().fillers.are_all_of(word);
    assert!(filler("own.md", "hoy") && filler("plain.md", "um"));
    fs::write(sounds.join("fillers.txt"), "zut\n").unwrap();
    assert!(filler("plain.md", "zut") && !filler("plain.md", "um"));
    assert!(filler("list.md", "lah") && !filler("list.md", "zut"));
    fs::write(books.join("words.txt"), "ahoy\n").unwrap();
    assert!(filler("own.md", "ahoy") && !filler("own.md", "hoy"));
}
