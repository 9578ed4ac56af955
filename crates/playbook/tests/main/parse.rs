//! What the reader of playbooks takes, and what it says of bad ones.

use std::time::Duration;

use playbook::playbook::{DtmfAction, Summary};
use playbook::{Playbook, PlaybookError, Strategy};

fn parse(text: &str) -> Result<Playbook, PlaybookError> {
    let env = |name: &str| match name {
        "KEY" => Some("k-1".to_owned()),
        "YES" => Some("true".to_owned()),
        _ => None,
    };
    Playbook::parse(text, &env)
}

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

fn warnings(text: &str) -> Vec<String> {
    parse(text).unwrap().warnings.iter().map(ToString::to_string).collect()
}

/// Every key of the wire contract's Appendix D.
const FULL: &str = r##"---
asr: { provider: sensevoice, language: auto, modelType: "", endpoint: "", extra: { vad_silence_padding: "300" } }
tts: { provider: supertonic, speaker: F1, speed: 1.0, volume: 5, samplerate: 16000, model: "", language: en, emotion: neutral, maxConcurrentTasks: 1 }
vad: { type: silero, speechPadding: 250, silencePadding: 100, voiceThreshold: 0.5, silenceTimeout: 5000 }
llm: { provider: openai, model: "m", apiKey: "${KEY}", baseUrl: "", language: en, features: [rolling_summary], repairWindowMs: 3000, summaryLimit: 20, toolInstructions: "" }
realtime: { provider: openai, model: gpt-realtime, turnDetection: { type: server_vad }, tools: [], extra: { voice: alloy, instructions: "" } }
eou: { type: "", timeout: 800 }
denoise: ${YES}
greeting: "Hello {{ sip[\"X-Name\"] }} --- welcome"
interruption: { strategy: asr, minSpeechMs: 300, fillerWordFilter: true, volumeFadeMs: 200, ignoreFirstMs: 900 }
followUp: { timeout: 10000, maxCount: 3 }
dtmf: { "0": { action: hangup }, "1": { action: goto, scene: sales }, 2: { action: transfer, target: "sip:x@h" } }
dtmfCollectors: { phone: { description: "", digits: 11, minDigits: 11, maxDigits: 11, finishKey: "#", timeout: 15, interDigitTimeout: 5, validation: { pattern: "^1\\d{10}$", errorMessage: "No." }, retryTimes: 3, interruptible: false } }
recorder: { recorderFile: "call_{id}.wav", samplerate: 16000, ptime: 200, format: wav }
ambiance: { path: ./config/office.wav, duckLevel: 0.1, normalLevel: 0.3, transitionSpeed: 0.01 }
sip: { username: "", password: "", realm: "", headers: {}, extract_headers: [X-Name], hangup_headers: { X-Result: "{{ result }}" } }
posthook: { url: "https://h", method: post, headers: {}, summary: detailed, includeHistory: true }
extra: {}
---
# Scene: main
Say hello.
# Scene: sales
<dtmf digit='9' scene="main" action="goto"/>
<play file="sales.wav"/>
<followup timeout="5000" max="1"/>
Sell. Write `<play file="x.wav"/>` to play.
"##;

#[test]
fn every_key_of_the_contract_is_read() {
    let playbook = parse(FULL).unwrap();
    assert_eq!(playbook.warnings, Vec::new());
    let option = playbook.option();
    assert_eq!(option.asr.unwrap().secret_key.unwrap().expose(), "k-1");
    assert_eq!(option.tts.unwrap().secret_key.unwrap().expose(), "k-1");
    assert_eq!(option.realtime.unwrap().secret_key.unwrap().expose(), "k-1");
    assert_eq!(option.denoise, Some(true));
    assert_eq!(playbook.greeting.as_deref(), Some("Hello {{ sip[\"X-Name\"] }} --- welcome"));
    assert_eq!(playbook.interruption.strategy, Strategy::Asr);
    assert_eq!(playbook.interruption.ignore_first, Duration::from_millis(900));
    assert_eq!(playbook.follow_up.as_ref().unwrap().max, 3);
    assert_eq!(playbook.dtmf[&'2'], DtmfAction::Transfer("sip:x@h".into()));
    assert_eq!(playbook.dtmf_collectors["phone"].finish_key, Some('#'));
    assert_eq!(playbook.posthook.as_ref().unwrap().summary, Some(Summary::Detailed));
    let sales = playbook.scene("sales").unwrap();
    assert_eq!(sales.dtmf[&'9'], DtmfAction::Goto("main".into()));
    assert_eq!(sales.play.as_deref(), Some("sales.wav"));
    assert_eq!(sales.follow_up.as_ref().unwrap().timeout, Duration::from_secs(5));
    assert_eq!(sales.prompt, "Sell. Write `<play file=\"x.wav\"/>` to play.");
    assert_eq!(playbook.scenes[0].id, "main");
}

#[test]
fn follow_ups_are_read_in_every_spelling() {
    for key in ["followUp", "followup", "follow_up"] {
        for max in ["max", "maxCount", "max_count"] {
            let playbook =
                parse(&format!("---\ngreeting: Hi.\n{key}: {{timeout: 8000, {max}: 4}}\n---\n")).unwrap();
            let follow_up = playbook.follow_up.unwrap();
            assert_eq!((follow_up.timeout.as_millis(), follow_up.max), (8000, 4), "{key} {max}");
            assert_eq!(playbook.warnings, Vec::new());
        }
    }
}

#[test]
fn a_byte_order_mark_and_empty_lines_are_no_obstacle() {
    let playbook = parse("\u{feff}\n\n---\r\ngreeting: Hi.\r\n---\r\nBe kind.\r\n").unwrap();
    assert_eq!((playbook.greeting.as_deref(), playbook.scenes[0].prompt.as_str()), (Some("Hi."), "Be kind."));
}

#[test]
fn text_before_the_first_header_is_the_first_scene() {
    let playbook = parse("---\ngreeting: Hi.\n---\nFirst.\n# Scene: b\nSecond.\n").unwrap();
    let ids: Vec<&str> = playbook.scenes.iter().map(|scene| scene.id.as_str()).collect();
    assert_eq!(ids, ["default", "b"]);
    assert_eq!(playbook.scenes[1].line, 5);
}

#[test]
fn errors_name_line_and_key() {
    assert_eq!(
        error("---\ngreeting: Hi.\ninterruption:\n  strategy: bth\n---\n"),
        "line 4, key `interruption.strategy`: unknown word `bth`, expected one of `both`, `vad`, `asr`, `none`; \
         did you mean `both`?"
    );
    assert_eq!(
        error("---\ngreeting: Hi.\nvad:\n  voiceThreshold: loud\n---\n"),
        "line 4, key `vad.voiceThreshold`: expected a number, got a string"
    );
    assert_eq!(
        error("---\ngreeting: Hi.\nvad: silero\n---\n"),
        "line 3, key `vad`: expected an object, got a string"
    );
    assert_eq!(
        error("---\ndtmf:\n  1:\n    action: gotoo\n---\n"),
        "line 3, key `dtmf.1`: unknown action `gotoo`; there are goto, transfer and hangup; did you mean `goto`?"
    );
    assert!(
        error("---\nllm:\n  rules:\n    - when: '('\n      say: x\n---\n")
            .starts_with("line 4, key `llm.rules.0.when`")
    );
    assert!(error("---\ngreeting: [\n---\n").starts_with("line "));
    assert!(error("---\ngreeting: Hi.\n").contains("line 1"));
    assert!(error("Hello.\n").starts_with("line 1: a playbook begins with"));
}

#[test]
fn a_misspelled_key_that_has_to_be_there_is_told_and_not_only_missed() {
    for (front, told) in [
        (
            "dtmf: {\"1\": {actio: hangup}}",
            "line 3, key `dtmf.1.actio`: unknown key, and `action` is missing; did you mean `action`?",
        ),
        (
            "followUp: {timout: 3}",
            "line 3, key `followUp.timout`: unknown key, and `timeout` is missing; did you mean `timeout`?",
        ),
        (
            "posthook: {ur: x}",
            "line 3, key `posthook.ur`: unknown key, and `url` is missing; did you mean `url`?",
        ),
        ("posthook: {method: POST}", "line 3, key `posthook.url`: missing"),
    ] {
        assert_eq!(error(&format!("---\ngreeting: Hi.\n{front}\n---\n")), told);
    }
}

#[test]
fn faults_of_yaml_name_one_place_in_words_of_the_file() {
    for (front, told) in [
        ("greeting: [", "line 2, column 11: "),
        ("a: 1\na: 2", "line 3, column 1: the key `a` is given twice"),
        ("a: &x [*x]", "line 2, column 8: an alias `*name` stands within what it is the name of"),
        ("a: *x", "line 2, column 4: an alias `*name` needs its `&name` before it"),
    ] {
        let own = error(&format!("---\n{front}\n---\n"));
        assert!(own.starts_with(told), "{own}");
        assert_eq!(own.matches("line ").count(), 1, "{own}");
    }
}

#[test]
fn names_of_the_environment_need_no_quotes_in_braces() {
    let environment = |name: &str| (name == "KEY").then(|| "k-1".to_owned());
    let read = |front: &str| Playbook::parse(&format!("---\n{front}\n---\nHi.\n"), &environment);
    for front in [
        "llm: { provider: openai, apiKey: ${KEY} }",
        "llm: {provider: openai, apiKey: ${KEY}, model: m}",
        "llm:\n  provider: openai\n  apiKey: ${KEY}",
        "llm: { provider: openai, apiKey: \"${KEY}\" }",
    ] {
        let key = read(front).unwrap().llm.unwrap().api_key.unwrap();
        assert_eq!(key.expose(), "k-1", "{front}");
    }
    let allowed = read("transfers: [${KEY}, ${KEY} ]").unwrap().allowed;
    assert!(allowed.permits("k-1"));
    let told = read("llm: { provider: openai, apiKey: x-${KEY} }").unwrap_err().to_string();
    assert!(
        told.contains("line 2, column ") && told.ends_with("in braces a value with ${NAME} stands in quotes"),
        "{told}"
    );
}

#[test]
fn slips_are_warned_about_with_the_nearest_name() {
    assert_eq!(
        warnings("---\ngreeting: Hi.\ngreting: x\nvad:\n  speechPading: 3\n---\n"),
        [
            "line 3: unknown key `greting`; did you mean `greeting`?",
            "line 5: unknown key `vad.speechPading`; did you mean `speechPadding`?",
        ]
    );
    assert_eq!(
        warnings(
            "---\ngreeting: ${NAME}\n---\n<dtmf digit=\"1\" action=\"goto\" scene=\"sale\"/>\n# Scene: sales\n<dtmf digt=\"1\"/>\n"
        ),
        [
            "line 2: `greeting` names ${NAME}, which the environment does not have",
            "line 4: there is no scene `sale`; did you mean `sales`?",
            "line 5: nothing leads to scene `sales`",
            "line 6: <dtmf>: needs the attribute `digit`; did you mean `digit`?",
        ]
    );
    assert_eq!(
        warnings("---\ngreeting: Hi.\ntransfers: [\"sip:*@pbx.example\"]\n---\n"),
        ["line 3: `sip:*@pbx.example` allows nothing: an address under `transfers` stands for itself alone"]
    );
    assert_eq!(
        warnings("---\nrealtime: { provider: openai }\n---\nBe kind.\n"),
        ["line 2: no greeting and no `realtime.extra.greeting`: the caller hears silence until they speak"]
    );
    for greets in ["greeting: Hi.\nrealtime: {}", "realtime: { extra: { greeting: Greet. } }"] {
        assert_eq!(warnings(&format!("---\n{greets}\n---\nBe kind.\n")), Vec::<String>::new(), "{greets}");
    }
    assert_eq!(
        warnings("---\ngreeting: Hi.\neou: { type: oracle }\n---\n"),
        ["line 3: `eou.type` names no model of ends of turns; known: completeness; another model needs its \
             address in `eou.endpoint`"]
    );
    assert_eq!(
        warnings("---\n---\n"),
        ["line 1: no greeting, no file in the first scene and no `llm`: the caller hears silence"]
    );
}

#[test]
fn names_that_nothing_stands_behind_are_told_with_their_lines() {
    let text = "---\nllm: { provider: openai }\ngreeting: Hello {{ nmae }} {{ caller }}.\n---\n# Scene: a\n\
        Write `<set_var key=\"name\" value=\"..\"/>` and {{ name }}.\n`<gotto scene=\"b\"/>` or <b>bold</b>.\n\
        {% for x in list %}{{ x }}{% endfor %}\n# Scene: lost\n<play file=\"lost.wav\"/>\nNobody comes here.\n";
    assert_eq!(
        warnings(text),
        [
            "line 3: nothing in this playbook sets `nmae`; a call may bring it, or give it under `extra`; did you mean `name`?",
            "line 7: unknown tag `<gotto>`; did you mean `goto`?",
            "line 8: nothing in this playbook sets `list`; a call may bring it, or give it under `extra`",
            "line 9: nothing leads to scene `lost`",
        ]
    );
    let missing = parse(text).unwrap().missing_files(&|path| path != "lost.wav");
    assert_eq!(missing[0].to_string(), "line 10: there is no file `lost.wav`");
}

#[test]
fn a_scene_that_is_missing_is_told_at_the_line_that_names_it() {
    let text = "---\nllm: { provider: openai }\ngreeting: Hi.\n---\nHello {{ caller }} {{ nosuch }}\n\n\n\n\
        <dtmf digit=\"1\" action=\"goto\" scene=\"a\"/>\n# Scene: main\n<followup timeout=\"5000\"/>\n\n\nSay {{ caller }}\n\
        and go <goto scene=\"b\"/> or\n`<goto\n scene=\"{{ caller }}\"/>`.\n{% broken";
    assert_eq!(
        warnings(text),
        [
            "line 5: nothing in this playbook sets `nosuch`; a call may bring it, or give it under `extra`",
            "line 9: there is no scene `a`",
            "line 15: there is no scene `b`",
            "line 18: not a template: syntax error: unknown statement broken; it is taken as written",
        ]
    );
}

#[test]
fn templates_of_rules_are_looked_at_too() {
    let text = "---\nllm:\n  provider: rules\n  rules:\n    - when: hours\n      say: At {{ opening }}.\n  \
        otherwise: \"I heard {{ nosuch }}.\"\ngreeting: Hi.\nextra: { opening: nine }\n---\nHelp.";
    let told =
        ["line 7: nothing in this playbook sets `nosuch`; a call may bring it, or give it under `extra`"];
    assert_eq!(warnings(text), told);
}

#[test]
fn values_that_no_call_can_use_are_told_with_line_and_key() {
    for (front, told) in [
        ("vad: { voiceThreshold: 7 }", "line 2: `vad.voiceThreshold`: expected 0 to 1, got 7"),
        ("tts:\n  speed: -3", "line 3: `tts.speed`: expected 0.25 to 4, got -3"),
        ("ambiance:\n  duck_level: 2", "line 3: `ambiance.duckLevel`: expected 0 to 1, got 2"),
        (
            "posthook: { url: nourl }",
            "line 2: `posthook.url`: `nourl` is no address that begins with http:// or https://",
        ),
        (
            "posthook: { url: 'http://h', summary: shrt }",
            "line 2: `posthook.summary`: `shrt` is no kind of summary; known: short, detailed, intent, json; did you \
             mean `short`?",
        ),
        (
            "tools: [{ name: x, url: nourl }]",
            "line 2: `tools`: `nourl`, the url of `x`, is no http or https address",
        ),
        (
            "sip:\n  extract_headers:\n    - { name: X-A, pattern: '([' }",
            "line 4: `sip.extract_headers.0.pattern`: `([` is not a regular expression: error: unclosed character \
             class",
        ),
        (
            "followUp: { timeout: 0, maxCount: 2 }",
            "line 2: `followUp.timeout`: after no silence at all the agent would never stop asking",
        ),
        (
            "followUp: { timeout: 9000, maxCount: 0 }",
            "line 2: `followUp.maxCount`: 0 ends the call at the first silence, unasked",
        ),
        (
            "followUp: { timeout: 10, maxCount: 2 }",
            "line 2: `followUp.timeout`: 10 ms leaves nobody time to answer; the unit is ms, write 10000 for 10 s",
        ),
        (
            "maxDuration: 600000",
            "line 2: `maxDuration`: 166 hours are no limit; the unit is seconds, write 600 for ten minutes",
        ),
        (
            "tools: [{ name: x, url: 'http://h/', timeout: 10000 }]",
            "line 2: `tools`: `timeout` of `x`: 10000 s is longer than 300 s; the unit is seconds, write 10 for ten \
             seconds",
        ),
        (
            "dtmf:\n  1: { action: transfer, target: nonsense }",
            "line 3: `nonsense` is neither a SIP or tel address nor a number",
        ),
    ] {
        assert_eq!(warnings(&format!("---\n{front}\ngreeting: Hi.\n---\n")), [told], "{front}");
    }
    let later = "posthook: { url: '${HOOK}' }\ntools: [{ name: x, url: 'http://h/{{ a }}' }]\n\
        dtmf: { 1: { action: transfer, target: '{{ caller }}' }, 2: { action: transfer, target: '+49 30'} }\n";
    assert_eq!(warnings(&format!("---\ngreeting: Hi.\n{later}---\n")).len(), 2, "the variable and the space");
}

#[test]
fn tags_that_do_nothing_are_told_with_their_lines() {
    let text = "---\nllm: { provider: openai }\ngreeting: Hi.\ndtmfCollectors: { pin: { digits: 4 } }\n---\n\
        <goto/>\n<refer to=\"nonsense\"/>\n<refer to=\"1001\"/>\n<collect type=\"pni\"/> {{ caller }}\n\
        # Scene:\n<http url=\"h\"/>\n<followup timeout=\"0\" max=\"0\"/>\n";
    assert_eq!(
        warnings(text),
        [
            "line 6: <goto/> needs the attribute `scene`",
            "line 7: <refer to=nonsense/>: `nonsense` is neither a SIP or tel address nor a number",
            "line 8: transfer to `1001` is not allowed; list it under `transfers`",
            "line 9: `dtmfCollectors` has no `pni`; any digits are taken; did you mean `pin`?",
            "line 10: a scene needs a name: `# Scene: name`; this line begins none",
            "line 11: <http/>: `h` is no http or https address",
            "line 12: <followup> `timeout`: after no silence at all the agent would never stop asking",
            "line 12: <followup> `maxCount`: 0 ends the call at the first silence, unasked",
        ]
    );
}

#[test]
fn names_of_providers_are_compared_with_those_there_are() {
    let known = |key: &str| match key {
        "asr.provider" => vec!["pocketsphinx"],
        "tts.provider" => vec!["espeak", "flite"],
        "vad.type" => vec!["silero", "webrtc"],
        _ => vec!["openai"],
    };
    let odd = |front: &str| -> Vec<String> {
        let playbook = parse(&format!("---\n{front}\n---\n")).unwrap();
        playbook.unknown_names(&known).iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        odd(
            "asr:\n  provider: pocketsfinx\ntts: { provider: flit }\nllm: { provider: opnai }\nvad:\n  type: tenn\n\
             realtime: { provider: azur }"
        ),
        [
            "line 3: `asr.provider`: there is no `pocketsfinx`; known: pocketsphinx; did you mean `pocketsphinx`?",
            "line 4: `tts.provider`: there is no `flit`; known: espeak, flite; did you mean `flite`?",
            "line 5: `llm.provider`: there is no `opnai`; known: openai; did you mean `openai`?",
            "line 8: `realtime.provider`: there is no `azur`; known: openai",
            "line 7: `vad.type`: there is no `tenn`; known: silero, webrtc",
        ]
    );
    assert_eq!(
        odd("asr: { provider: PocketSphinx }\nrealtime: { provider: 'ws://h' }\nllm: { provider: '${P}' }"),
        Vec::<String>::new()
    );
}

#[test]
fn slips_in_tools_are_told_with_line_and_key() {
    let tools = |entry: &str| error(&format!("---\ngreeting: Hi.\ntools:\n  - {entry}\n---\n"));
    assert!(tools("hangupp").ends_with("did you mean `hangup`?"), "{}", tools("hangupp"));
    assert!(tools("{ name: a b, url: x }").contains("a name has 1 to 64 letters"));
    assert!(tools("{ name: goto, url: x }").contains("is a function of its own"));
    assert!(tools("{ name: x, url: x, method: BREW }").contains("`BREW` is none of"));
    assert!(error("---\nposthook: { url: x, method: PSOT }\n---\n").ends_with("did you mean `POST`?"));
    assert!(error("---\nmcp: [{ name: a }]\n---\n").contains("either a `command` or a `url`"));
    assert!(error("---\nendOfTurn: { strategy: adaptiv }\n---\n").ends_with("did you mean `adaptive`?"));
    assert!(error("---\nendOfTurn: { strategy: model }\n---\n").contains("its address in `eou.endpoint`"));
    assert!(error("---\ninterruption: { duckLevel: 2 }\n---\n").contains("is no gain"));
}

#[test]
fn hostile_playbooks_end_in_an_error() {
    assert!(matches!(parse(&"x".repeat(2_000_000)), Err(PlaybookError::TooLarge { .. })));
    let mut bomb = String::from("---\na: &a [x, x, x, x, x, x, x, x, x]\n");
    for (name, of) in ('b'..='i').zip('a'..) {
        bomb.push_str(&format!(
            "{name}: &{name} [*{of}, *{of}, *{of}, *{of}, *{of}, *{of}, *{of}, *{of}, *{of}]\n"
        ));
    }
    bomb.push_str("---\n");
    assert!(matches!(parse(&bomb), Err(PlaybookError::Yaml { .. })));
    let many: String = (0..10_000).map(|n| format!("# Scene: s{n}\nx\n")).collect();
    assert!(matches!(
        parse(&format!("---\ngreeting: Hi.\n---\n{many}")),
        Err(PlaybookError::TooManyScenes { .. })
    ));
    let deep = format!("---\na: {}{}\n---\n", "[".repeat(10_000), "]".repeat(10_000));
    assert!(parse(&deep).is_err());
}

#[test]
fn shipped_playbooks_are_free_of_warnings() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/playbook");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let text = std::fs::read_to_string(&path).unwrap();
            let playbook = Playbook::parse(&text, &|_| Some("set".to_owned())).unwrap();
            assert_eq!(playbook.warnings, Vec::new(), "{}", path.display());
            count += 1;
        }
    }
    assert!(count >= 3);
}
