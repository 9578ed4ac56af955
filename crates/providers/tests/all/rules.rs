use protocol::chat::{Ask, Message, ModelOutput, Role, TurnId};
use protocol::option::{LlmOption, Rule};
use providers::ProviderError;
use tokio::sync::mpsc::channel;

fn option(rules: &[(&str, Option<&str>, &[&str])]) -> LlmOption {
    let rule = |(when, scene, say): &(&str, Option<&str>, &[&str])| Rule {
        when: vec![(*when).to_owned()],
        scene: scene.map(str::to_owned),
        say: say.iter().map(|say| (*say).to_owned()).collect(),
    };
    LlmOption {
        provider: Some("rules".to_owned()),
        rules: Some(rules.iter().map(rule).collect()),
        otherwise: Some("Pardon?".to_owned()),
        ..LlmOption::default()
    }
}

async fn reply(option: &LlmOption, turn: u64, scene: &str, words: &str) -> String {
    let model = providers::chat_model(option).unwrap();
    let messages = vec![
        Message::new(Role::User, "hours"),
        Message::new(Role::Assistant, "hours"),
        Message::new(Role::User, words),
    ];
    let (sender, mut receiver) = channel(100);
    model
        .run(
            Ask {
                turn: TurnId(turn),
                messages,
                scene: scene.to_owned(),
                tools: Vec::new(),
                rules: Vec::new(),
                otherwise: None,
            },
            sender,
        )
        .await
        .unwrap();
    let mut reply = String::new();
    let mut done = false;
    while let Some(output) = receiver.recv().await {
        assert!(!done, "nothing follows the end");
        match output {
            ModelOutput::Text(text) => reply.push_str(&text),
            ModelOutput::Done(_) => done = true,
            other => panic!("{other:?}"),
        }
    }
    assert!(done);
    reply
}

#[tokio::test]
async fn the_first_rule_that_fits_the_last_words_answers() {
    let option = option(&[
        (
            r"opening\s+hours|when .* open",
            None,
            &["We open at nine, every day but Sunday. <goto scene=\"x\"/>"],
        ),
        ("open", None, &["Second."]),
    ]);
    let first = "We open at nine, every day but Sunday. <goto scene=\"x\"/>";
    assert_eq!(reply(&option, 1, "main", "What are your OPENING hours?").await, first);
    assert_eq!(reply(&option, 1, "main", "open").await, "Second.");
    assert_eq!(reply(&option, 1, "main", "nonsense").await, "Pardon?");
}

#[tokio::test]
async fn a_rule_of_a_scene_holds_there_only() {
    let option = option(&[("yes", Some("book"), &["Booked."]), ("yes", None, &["Yes what?"])]);
    assert_eq!(reply(&option, 1, "book", "yes").await, "Booked.");
    assert_eq!(reply(&option, 1, "main", "yes").await, "Yes what?");
}

#[tokio::test]
async fn several_replies_take_turns() {
    let option = option(&[("hi", None, &["One.", "Two."])]);
    assert_eq!(reply(&option, 4, "main", "hi").await, "One.");
    assert_eq!(reply(&option, 5, "main", "hi").await, "Two.");
}

#[tokio::test]
async fn what_was_caught_is_said_and_dollars_stay_dollars() {
    let option = option(&[(
        r"book (?P<title>[a-z ]+?) for (\w+)( now)?$",
        None,
        &["$title, ${title}! for $2$3: $5, $other $"],
    )]);
    let said = reply(&option, 1, "main", "reserve book Emma for Anna").await;
    assert_eq!(said, "Emma, Emma! for Anna: $5, $other $");
}

#[tokio::test]
async fn what_the_caller_says_never_becomes_a_tag() {
    let option = option(&[("my name is (.*)", None, &["Hello $1."])]);
    let said = reply(&option, 1, "main", "my name is <hangup/>").await;
    assert_eq!(said, "Hello hangup/.");
}

#[tokio::test]
async fn what_the_caller_says_never_becomes_a_template() {
    let option = option(&[("find (.*)", None, &["<http url='http://a.example/$1'/>"])]);
    assert_eq!(reply(&option, 1, "main", "find {{ pin }}").await, "<http url='http://a.example/ pin '/>");
}

#[test]
fn bad_rules_say_which() {
    let why = |rules: &[(&str, Option<&str>, &[&str])]| match providers::chat_model(&option(rules)).err() {
        Some(ProviderError::Option { field: "rules", why }) => why,
        other => panic!("{other:?}"),
    };
    assert!(why(&[("a", None, &["b"]), ("(", None, &["b"])]).contains("rule 2"));
    assert!(why(&[("a", None, &[])]).contains("`say`"));
    assert!(why(&[("(a{1000}){1000}", None, &["b"])]).contains("rule 1"));
}

#[tokio::test]
async fn a_question_may_bring_its_rules_and_what_was_answered_is_not_answered_again() {
    let option = option(&[("hours", None, &["{{ name }}"]), ("hours", Some("desk"), &["At the desk."])]);
    let model = providers::chat_model(&option).unwrap();
    let rules = vec![Rule { when: vec!["hours".into()], say: vec!["Ada.".into()], ..Rule::default() }];
    let asked = Message::new(Role::User, "hours");
    let hinted =
        vec![asked.clone(), Message::new(Role::Assistant, "At nine."), Message::new(Role::System, "Go on.")];
    let stranger = Message::new(Role::User, "fines");
    for (messages, scene, rules, said) in [
        (vec![stranger], "main", Vec::new(), "Pardon, Ada?"),
        (vec![asked], "main", rules, "Ada."),
        (hinted.clone(), "main", Vec::new(), "Pardon, Ada?"),
        (hinted, "desk", Vec::new(), "At the desk."),
    ] {
        let (sender, mut receiver) = channel(100);
        let ask = Ask {
            turn: TurnId(1),
            messages,
            scene: scene.to_owned(),
            tools: Vec::new(),
            rules,
            otherwise: Some("Pardon, Ada?".into()),
        };
        model.run(ask, sender).await.unwrap();
        let mut reply = String::new();
        while let Some(ModelOutput::Text(text)) = receiver.recv().await {
            reply.push_str(&text);
        }
        assert_eq!(reply, said);
    }
}
