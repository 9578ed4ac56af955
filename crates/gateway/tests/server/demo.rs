//! The demonstration, as the README's first command runs it: a spoken conversation that ends as it should.

use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// The conversation takes half a minute.
const WHOLE: Duration = Duration::from_secs(150);

#[tokio::test(flavor = "multi_thread")]
async fn every_sentence_of_the_caller_is_understood_and_the_agent_says_goodbye() {
    let folder = tempfile::tempdir().unwrap();
    let playbooks = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/playbook");
    let playbook = folder.path().join("config/playbook");
    std::fs::create_dir_all(&playbook).unwrap();
    std::fs::copy(format!("{playbooks}/demo.md"), playbook.join("demo.md")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_active-call"));
    command.args(["demo", "--exit", "--http", "127.0.0.1:0", "--sip", "127.0.0.1:0"]);
    command.current_dir(folder.path()).kill_on_drop(true);
    let done = timeout(WHOLE, command.output()).await.expect("the demonstration ends").unwrap();
    let (told, errors) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{}\n{told}\n{errors}", done.status);
    for line in
        ["caller     no that is everything", "agent      Thank you for calling Riverside Library. Goodbye."]
    {
        assert!(told.contains(line), "no {line:?} in\n{told}\n{errors}");
    }
}
