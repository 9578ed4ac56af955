//! The configuration file: what it may hold, and how mistakes in it are told.

use std::path::Path;

use active_call::check;
use active_call::config::problem::Source;
use active_call::config::read::{self, Loaded};
use active_call::config::words::{AuthMode, CodecName, HandlerKind, RecordSink};
use active_call::config::{Config, RecordTable};
use active_call::playbooks::Folder;
use protocol::option::Encryption;

fn environment(name: &str) -> Option<String> {
    (name == "KEY").then(|| "hunter2".to_owned())
}

fn read(text: &str) -> Result<Loaded, String> {
    let source = Source { name: "a.toml".into(), text: text.into() };
    read::text(&source, &environment).map_err(|error| error.problem().to_string())
}

fn good(text: &str) -> Loaded {
    let loaded = read(text).unwrap();
    assert_eq!(loaded.warnings, [], "{text}");
    loaded
}

/// The place and a part of what is told.
fn wrong(text: &str, place: &str, part: &str) {
    let told = read(text).map(|loaded| loaded.config).expect_err(text);
    assert!(told.starts_with(&format!("a.toml:{place}: ")) && told.contains(part), "{told}");
}

#[test]
fn a_value_of_another_kind_is_told_with_its_key_and_what_to_write() {
    for (text, place, told) in [
        ("\nudp_port = \"x\"", "2:12", "\"udp_port\" is a text; write a whole number from 0 to 65535"),
        ("udp_port = 70000", "1:12", "\"udp_port\" is 70000; write a whole number from 0 to 65535"),
        ("max_calls = -1", "1:13", "\"max_calls\" is -1; write a whole number from 0"),
        ("max_calls = 1.5", "1:13", "\"max_calls\" is 1.5; write a whole number from 0"),
        ("http_addr = 5", "1:13", "\"http_addr\" is a number; write an address with a port, such as"),
        ("graceful_shutdown = \"no\"", "1:21", "\"graceful_shutdown\" is a text; write true or false"),
        ("register_users = true", "1:18", "\"register_users\" is true; write a list in [ ]"),
        (
            "[sip]\nusers = [{ username = \"a\", password = 5 }]",
            "2:39",
            "\"password\" is a number; write a text in quotes",
        ),
        ("codecs = [\"pcmu\", 7]", "1:19", "\"codecs\" is a number; write a text in quotes"),
        ("[recording]\nenabled = []", "2:11", "\"enabled\" is a list; write true or false"),
        ("recording = 3", "1:13", "\"recording\" is a number; write a table"),
    ] {
        wrong(text, place, told);
    }
    assert!(!read("udp_port = \"hunter2\"").map(|_| ()).expect_err("a text").contains("hunter2"));
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let config = good("").config;
    assert_eq!(config.http_addr.to_string(), "0.0.0.0:8080");
    assert_eq!((config.addr, config.udp_port), ("0.0.0.0".parse().ok(), 25060));
    assert_eq!((config.rtp_start_port, config.rtp_end_port), (12000, None));
    assert_eq!(config.accept_timeout.0.as_secs(), 50);
    assert_eq!(config.codecs.first(), Some(&CodecName::Pcmu));
    assert!(config.enable_rtp_latching && config.graceful_shutdown && config.callrecord.is_none());
}

#[test]
fn the_example_is_good_and_says_the_defaults() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/active-call.example.toml");
    let loaded = good(&std::fs::read_to_string(path).unwrap());
    let default = active_call::config::Config::default();
    let RecordTable { root, database, .. } = loaded.config.callrecord.clone().unwrap();
    let record = RecordTable { root, database, ..RecordTable::local() };
    assert_eq!(format!("{record:?}"), format!("{:?}", RecordTable::local()));
    // The two tables that are absent by default are examples, and the file says so.
    let said = active_call::config::Config { handler: None, callrecord: None, ..loaded.config };
    assert_eq!(format!("{said:#?}"), format!("{default:#?}"));
}

#[test]
fn a_level_of_the_log_that_is_none_is_told_with_its_line() {
    for (level, help) in [("debgu", "debug"), ("WARNING", "warn"), ("loud", "trace, debug"), ("", "info")] {
        wrong(&format!("\nlog_level = \"{level}\"\n"), "2:1", help);
    }
    good("log_level = \"Info,sip=DEBUG\"");
}

/// What files for the original hold.
const CONTRACT: &str = include_str!("fixtures/contract.toml");
/// Records to an object store.
const TO_S3: &str = "[callrecord]\ntype = \"s3\"\nvendor = \"tencent\"\nbucket = \"b\"\nregion = \"r\"\n\
    access_key = \"a\"\nsecret_key = \"s\"\nendpoint = \"http://h:9000\"\nroot = \"x\"\n\
    with_media = false\nkeep_media_copy = false\n";
/// Records to a server.
const TO_HTTP: &str = "[callrecord]\ntype = \"http\"\nurl = \"http://h/x\"\nheaders = { X-A = \"1\" }\n\
    with_media = false\nkeep_media_copy = false\n";
/// Playbooks for inbound calls.
const PLAYBOOKS: &str = "[handler]\ntype = \"playbook\"\ndefault = \"a.md\"\n[[handler.rules]]\ncaller = \"^1\"\n\
    callee = \"^2\"\nplaybook = \"b.md\"\n";

#[test]
fn every_key_of_the_contract_is_known() {
    for contract in [CONTRACT, TO_S3, TO_HTTP, PLAYBOOKS] {
        let whole = format!("{:?}", good(contract).config);
        let keys = contract.lines().filter(|line| line.contains(" = ") && !line.starts_with('#'));
        // Passwords that are always there are never printed.
        for key in keys.filter(|line| !line.starts_with("password")) {
            // Each stands for something: without it the configuration is another one, or refused.
            let without = contract.replacen(&format!("{key}\n"), "", 1);
            let other = read(&without).map(|loaded| format!("{:?}", loaded.config));
            assert!(other.is_err() || other.is_ok_and(|other| other != whole), "{key} stands for nothing");
        }
    }
    let config = good(CONTRACT).config;
    let handler = config.handler.unwrap();
    assert_eq!(handler.r#type, Some(HandlerKind::Webhook));
    assert_eq!(handler.headers["X-Key"], "hunter2");
    assert_eq!(config.callrecord.unwrap().r#type, Some(RecordSink::Local));
    assert_eq!(config.ambiance.unwrap().duck_level, Some(0.2));
    let [desk, other] = config.register_users.as_slice() else { panic!("two accounts") };
    assert_eq!(desk.credential.as_ref().unwrap().password.expose(), "hunter2");
    assert!(desk.disabled && !other.disabled && other.credential.is_none());
}

#[test]
fn every_vendor_of_the_contract_is_known_in_both_spellings() {
    // What some of them say of keys that are none is the same for both too.
    let named = |vendor: &str| {
        let read = read(&TO_S3.replace("tencent", vendor));
        read.map(|loaded| loaded.config.callrecord.unwrap().vendor)
    };
    for vendor in ["aliyun", "tencent", "minio", "a_w_s", "g_c_p", "azure", "digital_ocean"] {
        let found = named(vendor);
        assert_eq!(found, named(&vendor.replace('_', "")));
        assert!(
            found.as_ref().is_ok_and(Option::is_some) || found.as_ref().is_err_and(|why| is_of_keys(why)),
            "{found:?}"
        );
    }
    assert!(named("nobody").is_err_and(|why| !is_of_keys(&why)));
}

/// Whether a store was found, and only its keys are wrong.
fn is_of_keys(why: &str) -> bool {
    why.starts_with("a.toml:1:2: the object store: ")
}

#[test]
fn encryption_is_on_or_off_or_optional() {
    let said = |text: &str| good(text).config.enable_srtp;
    assert_eq!((said(""), said("enable_srtp = false")), (Encryption::Answered, Encryption::Answered));
    assert_eq!(said("enable_srtp = true"), Encryption::Required);
    assert_eq!(said("enable_srtp = \"optional\""), Encryption::Offered);
}

#[test]
fn older_layouts_and_spellings_are_read() {
    let config = good(
        "[ua]\nudp_port = 13050\naddr = \"127.0.0.1\"\n[ua.handler]\ntype = \"playbook\"\ndefault = \"a.md\"",
    )
    .config;
    assert_eq!((config.udp_port, config.addr), (13050, "127.0.0.1".parse().ok()));
    assert_eq!(good("addr = \"\"").config.addr, None);
    assert_eq!(config.handler.unwrap().default.as_deref(), Some("a.md"));
    assert_eq!(good("rtpStartPort = 13000\nacceptTimeout = 7").config.accept_timeout.0.as_secs(), 7);
    let table = good("handler = { type = \"webhook\", url = \"http://h\", headers = { \"X-A\" = \"1\" } }");
    assert_eq!(table.config.handler.unwrap().headers["X-A"], "1");
}

#[test]
fn a_wrong_value_is_told_with_its_line_and_column() {
    wrong("addr = \"here\"", "1:8", "no IP address");
    wrong("http_addr = \"here\"", "1:13", "\"http_addr\" is no address with a port; write an address");
    wrong("a = [1, 2", "1:10", "]");
    wrong("accept_timeout = \"soon\"", "1:18", "soon");
    wrong("[handler]\ntype = \"play\"", "2:8", "playbook");
    wrong("enable_srtp = \"true\"", "1:15", "true, false or \"optional\"");
    wrong("enable_srtp = 1", "1:15", "true, false or \"optional\"");
    wrong("[[handler.rules]]\ncaller = \"(\"\nplaybook = \"a.md\"", "2:10", "no regular expression");
}

#[test]
fn what_does_not_fit_together_is_told_at_its_key() {
    wrong("rtp_start_port = 12001", "1:1", "write 12002");
    wrong("udp_port = 1\nrtp_end_port = 9000", "2:1", "not above rtp_start_port");
    wrong("external_ip = \"0.0.0.0\"", "1:1", "no peer");
    wrong("ws_pcm_out_rate = 11025", "1:1", "16000");
    wrong("max_calls = 0", "1:1", "every call");
    wrong("[handler]\ntype = \"webhook\"", "1:2", "url");
    wrong("[handler]\ntype = \"webhook\"\nurl = \"ftp://h\"", "3:1", "no http");
    wrong("[handler]\ntype = \"playbook\"", "1:2", "refuses every call");
    wrong("[callrecord]\ntype = \"s3\"", "1:2", "bucket");
    wrong(
        "[callrecord]\ntype = \"s3\"\nbucket = \"b\"\nendpoint = \"minio:9000\"",
        "4:1",
        "begins with http://",
    );
    wrong("[callrecord]\ntype = \"s3\"\nbucket = \"b\"\nvendor = \"amazon\"", "4:10", "aws");
    wrong("[callrecord]\ntype = \"http\"\nurl = \"h\"", "1:2", "https address");
    wrong("codecs = [\"g729\"]", "1:1", "no codec");
    for pattern in ["../x", "/tmp/{id}", "a/../../{id}"] {
        wrong(&format!("[recording]\nfilename_pattern = \"{pattern}\""), "2:1", "leads out of its folder");
    }
    let turn = "[[ice_servers]]\nurls = [\"turn:h\"]\nsecret = \"s\"\n";
    wrong(&format!("{turn}credential = \"c\""), "1:3", "a fixed one");
    wrong(&format!("{turn}ttl = 5"), "1:3", "longer");
    wrong("udpPort = 1\nudp_port = 2", "2:1", "twice");
    wrong("useragent = \"a\\r\\nX: y\"", "1:1", "no header");
    wrong("[[rewrites]]\nmatch = \"a\"", "1:1", "without \"rewrite\"");
    wrong("[[rewrites]]\nrewrite = \"sip:a\"", "1:1", "without \"match\"");
    wrong("udp_port = 5060\nws_port = 5060", "2:1", "TCP port of \"udp_port\"");
    wrong("tls_cert_file = \"a\"\ntls_key_file = \"a\"\ntls_port = 1\nwss_port = 1", "4:1", "\"tls_port\"");
    wrong("[callrecord]\ntype = \"s3\"\nbucket = \"b\"\naccess_key = \"a\"", "1:2", "\"secret_key\"");
}

#[test]
fn numbers_of_options_have_the_limits_that_commands_have() {
    for key in ["duckLevel", "duck_level"] {
        wrong(&format!("[ambiance]\npath = \"a.wav\"\n{key} = 7"), "3:1", "expected 0 to 1, got 7");
    }
    wrong("[ambiance]\npath = \"a.wav\"\ntransitionSpeed = -1", "3:1", "got -1");
    wrong("[ambiance]\npath = \"a.wav\"\ntransitionSpeed = 0", "3:1", "0.0001 to 1, got 0");
}

#[test]
fn what_has_no_effect_is_warned_about() {
    for (text, place, part) in [
        ("[recording]\nauto_start = true", "2:1", "enabled = true"),
        ("[recording]\nenabled = true", "2:1", "auto_start = true"),
        ("accept_timeout = 50000", "1:1", "write a span such as \"50s\""),
        ("webhook_timeout = 5000", "1:1", "5000 s is longer than any caller waits"),
        ("http_addr = \"127.0.0.1:5060\"\nudp_port = 5060", "1:1", "udp_port"),
    ] {
        let told: Vec<String> = read(text).unwrap().warnings.iter().map(ToString::to_string).collect();
        let [own] = told.as_slice() else { panic!("{told:?}") };
        assert!(own.starts_with(&format!("a.toml:{place}: ")) && own.contains(part), "{own}");
    }
}

#[test]
fn addresses_and_files_that_are_not_there_are_told_before_a_call_needs_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    let told = |text: &str| {
        std::fs::write(&path, text).unwrap();
        read::file(&path, &environment).map_err(|error| error.problem().to_string())
    };
    let pair =
        |kind: &str, file: &str| format!("{kind}_cert_file = \"{file}\"\n{kind}_key_file = \"{file}\"\n");
    let no_pem = folder.path().join("a.toml").display().to_string();
    for (text, place, part) in [
        ("rtp_bind_ip = \"192.0.2.77\"".to_owned(), "1:1", "no address of this machine"),
        (pair("http_tls", "/nowhere.pem"), "1:1", "/nowhere.pem"),
        (pair("http_tls", &no_pem), "1:1", "cannot be used"),
        (pair("tls", "/nowhere.pem") + "tls_port = 1", "1:1", "cannot be read"),
        (pair("tls", &no_pem) + "tls_port = 1", "1:1", "cannot be used"),
        ("tls_ca_file = \"/nowhere.pem\"".to_owned(), "1:1", "cannot be read"),
        ("log_file = \"/proc/nowhere/a.log\"".to_owned(), "1:1", "cannot be written"),
        ("log_file = \"/proc\"".to_owned(), "1:1", "cannot be written"),
    ] {
        let why = told(&text).map(|loaded| loaded.warnings).expect_err(&text);
        assert!(why.contains(&format!("a.toml:{place}: ")) && why.contains(part), "{why}");
        assert!(read::of_any_machine(&path, &environment).is_ok(), "{text} may be right elsewhere");
    }
    let later = told("addr = \"192.0.2.77\"\n[ambiance]\npath = \"nowhere.wav\"").unwrap().warnings;
    let later: Vec<String> = later.iter().map(ToString::to_string).collect();
    for begin in ["a.toml:1:1: 192.0.2.77 is no address", "a.toml:3:1: "] {
        assert!(later.iter().any(|own| own.contains(begin)), "{later:?}");
    }
}

#[test]
fn who_may_is_a_word_or_a_table_and_a_key_has_a_hash_and_scopes() {
    assert_eq!(good("auth = \"none\"").config.auth.mode, AuthMode::None);
    assert!(good("").config.auth.loopback);
    let hash = format!("sha256:{}", "0a".repeat(32));
    let key = |more: &str| format!("[[auth.keys]]\nname = \"a\"\nhash = \"{hash}\"\n{more}");
    assert_eq!(good(&key("scopes = [\"READ\"]")).config.auth.keys.len(), 1);
    wrong("auth = \"open\"", "1:8", "none");
    wrong(&key(""), "1:1", "scopes");
    wrong(&key("scopes = [\"read\"]\nexpires = \"soon\""), "1:1", "expires");
    wrong("[[auth.keys]]\nhash = \"secret\"\nscopes = [\"read\"]", "1:1", "active-call key");
    wrong("[auth]\norigins = [\"app\"]", "2:1", "https://app.example");
    wrong("http_tls_key_file = \"x\"", "1:1", "http_tls_cert_file");
    let loaded = read("[auth]\nloopbck = false\n[[auth.keys]]\nhsh = \"x\"");
    assert!(loaded.is_err(), "a key without a hash");
    let told = read("[auth]\nloopbck = false").unwrap().warnings;
    assert!(told[0].to_string().contains("loopback"), "{told:?}");
}

#[test]
fn half_a_certificate_and_a_proxy_that_is_none_stop_the_start() {
    wrong("tls_port = 5061", "1:1", "needs \"tls_cert_file\"");
    wrong("tls_cert_file = \"x\"", "1:1", "tls_key_file");
    wrong("outbound_proxy = \"sip:a b\"", "1:1", "no SIP URI");
}

#[test]
fn following_every_transfer_needs_a_list_of_destinations() {
    wrong("[sip]\ntransfer_requests = \"accept\"", "2:1", "sip.destinations");
    good("[sip]\ntransfer_requests = \"accept\"\ndestinations = [\"^sip:desk@\"]");
}

#[test]
fn unknown_keys_are_warned_about_with_the_nearest_name() {
    let loaded = read(
        "udp_prot = 1\n[[handler.rules]]\ncaler = \"x\"\nplaybook = \"a.md\"\n[handler]\ntype = \"playbook\"",
    );
    let told: Vec<String> = loaded.unwrap().warnings.iter().map(ToString::to_string).collect();
    assert!(
        told.contains(&"a.toml:1:1: unknown key \"udp_prot\"; did you mean \"udp_port\"?".to_owned()),
        "{told:?}"
    );
    assert!(
        told.contains(&"a.toml:3:1: unknown key \"caler\"; did you mean \"caller\"?".to_owned()),
        "{told:?}"
    );
}

#[test]
fn a_variable_that_is_not_set_is_told_and_a_default_takes_its_place() {
    wrong("useragent = \"${NOPE}\"", "1:13", "NOPE");
    assert_eq!(good("useragent = \"a-${NOPE:-b}-${KEY}\"").config.useragent, "a-b-hunter2");
    wrong("useragent = \"${KEY\"", "1:13", "}");
}

#[test]
fn secrets_are_neither_printed_nor_shown_in_mistakes() {
    let text = "[[register_users]]\nserver = \"h\"\nusername = \"u\"\ndisabled = true\n\
                credential = { username = \"u\", password = \"${KEY}\" }\n";
    assert!(!format!("{:?}", good(text).config).contains("hunter2"));
    let source = Source { name: "a.toml".into(), text: "password = \"hunter2\"\nudp_port = 0x".into() };
    let error = read::text(&source, &environment).unwrap_err();
    let mut shown = String::new();
    miette::GraphicalReportHandler::new().render_report(&mut shown, &*error).unwrap();
    assert!(!shown.contains("hunter2") && shown.contains("udp_port"), "{shown}");
}

#[test]
fn check_counts_faults_with_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let good_conf = write("good.toml", "udp_port = 0");
    let bad_conf = write("bad.toml", "udp_prot = 0");
    let bad_playbook = write("bad.md", "---\ninterruption:\n  strategy: loud\n---\nhi\n");
    let mut out = Vec::new();
    assert_eq!(check::run(&[&good_conf], &mut out).unwrap(), 0);
    let faults = check::run(&[&bad_conf, &bad_playbook], &mut out).unwrap();
    let told = String::from_utf8(out).unwrap();
    assert_eq!(faults, 2, "{told}");
    assert!(told.contains("bad.toml:1:1") && told.contains("line 3"), "{told}");
    assert_eq!(check::run(&[Path::new("/nowhere.toml")], &mut Vec::new()).unwrap(), 1);
}

#[test]
fn what_counts_for_nothing_or_is_not_there_is_told_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    let given = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let first: u16 = given.split_whitespace().next().unwrap().parse().unwrap();
    let shared = format!("rtp_start_port = {}\nrtp_end_port = {}\n", first / 2 * 2, first / 2 * 2 + 20);
    let told_shared = format!(":2:1: the system gives ports from {first} on to any program");
    for (text, told) in [
        (shared.as_str(), told_shared.as_str()),
        (
            "[sip]\ndestinations = ['@pbx\\.example\\.com']\n",
            ":2:1: \"@pbx\\.example\\.com\" fits sip:1@pbx.example.com.evil.example too; say where the host",
        ),
        (
            "rtp_start_port = 12000\nrtp_end_port = 12100\nudp_port = 12040\n",
            ":3:1: 12040 is SIP's, and lies among the ports of RTP, 12000 to 12100",
        ),
        ("playbook_path = \"/nowhere\"\n", ":1:1: there is no folder \"/nowhere\"; write one that is there"),
        ("media_roots = [\"./config\", \"/nowhere\"]\n", ":1:1: there is no folder \"/nowhere\""),
        (
            "[handler]\ntype = \"webhook\"\nurl = \"http://127.0.0.1:1/\"\ndefault = \"a.md\"\n",
            ":4:1: counts for nothing: the webhook takes every call; write type = \"playbook\"",
        ),
        (
            "[[ice_servers]]\nurls = [\"http://x\"]\n",
            "\"http://x\" is no address of such a server; write one such as",
        ),
        ("\n[handlr]\ntype = \"playbook\"\n", ":2:2: unknown key \"handlr\"; did you mean \"handler\"?"),
    ] {
        std::fs::write(&path, text).unwrap();
        let mut out = Vec::new();
        assert_eq!(check::run(&[&path], &mut out).unwrap(), 1, "{text}");
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains(told), "{text}{out}");
    }
}

#[test]
fn a_playbook_that_nobody_could_hear_or_that_could_hear_nobody_is_no_good_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.md");
    let grammar = |rules: &str| {
        format!(
            "tts: {{ provider: flite }}\nasr: {{ provider: pocketsphinx, extra: {{ grammar: \"{rules}\" }} }}\n"
        )
    };
    for (front, told) in [
        (
            "tts: { provider: espeak, language: xx }\n".to_owned(),
            "line 3: `tts.language`: espeak-ng has no voice `xx`",
        ),
        (
            "tts: { provider: espeak, speaker: nobody }\n".to_owned(),
            "line 3: `tts.speaker`: espeak-ng has no voice `nobody`",
        ),
        (
            "tts: { provider: flite, speaker: nobody }\n".to_owned(),
            "line 3: `tts.speaker`: flite has no such voice",
        ),
        (grammar("public <a> = yes | ( no ;"), "`asr.extra.grammar`: in the rule <a>: `(` is not closed"),
        (grammar("public <a> = <b> | no ;"), "`asr.extra.grammar`: there is no rule <b>"),
        ("tts: { provider: flite }\nmaxDuration: 0\n".to_owned(), "line 4: `maxDuration: 0` sets no limit"),
        (
            "tts: { provider: flite }\nllm: { provider: rules, rules: [] }\n".to_owned(),
            "line 4: `llm.rules` holds no rule",
        ),
    ] {
        std::fs::write(&path, format!("---\ngreeting: Hello.\n{front}---\nHi.\n")).unwrap();
        let mut out = Vec::new();
        assert_eq!(check::run(&[&path], &mut out).unwrap(), 1, "{front}");
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains(told), "{front}{out}");
    }
}

#[test]
fn a_playbook_that_calls_things_by_names_there_are_not_is_no_good_one_but_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.md");
    let text = "---\nasr: { provider: pocketsfinx }\ntts: { provider: flit }\nllm: { provider: opnai }\n\
        vad: { type: tenn }\nrealtime: { provider: opnai }\ngreeting: Hello {{ caller }}.\n---\nHello.\n";
    std::fs::write(&path, text).unwrap();
    let mut out = Vec::new();
    assert_eq!(check::run(&[&path], &mut out).unwrap(), 5);
    let told = String::from_utf8(out).unwrap();
    for (line, key, name, near) in [
        (2, "asr.provider", "pocketsfinx", "; did you mean `pocketsphinx`?"),
        (3, "tts.provider", "flit", "; did you mean `flite`?"),
        (4, "llm.provider", "opnai", "; did you mean `openai`?"),
        (5, "vad.type", "tenn", ""),
        (6, "realtime.provider", "opnai", "; did you mean `openai`?"),
    ] {
        let begin = format!("line {line}: `{key}`: there is no `{name}`; known: ");
        assert!(told.lines().any(|own| own.contains(&begin) && own.ends_with(near)), "{told}");
    }
    let served = Folder::new(folder.path().to_owned(), Vec::new());
    assert!(served.load("odd.md").is_ok());
    let findings = served.validate(&["odd.md"], &Config::default());
    assert_eq!(findings.iter().filter(|finding| !finding.refused).count(), 5, "{findings:?}");
}

#[test]
fn a_playbook_whose_calls_would_be_mute_or_deaf_is_told_with_the_line() {
    let folder = tempfile::tempdir().unwrap();
    for (front, line, told) in [
        ("greeting: Hi.", 1, "`tts.provider`: missing"),
        (
            "greeting: Hi.\ntts: { provider: flite, voice: nosuch }",
            3,
            "`tts.speaker`: flite has no such voice",
        ),
        (
            "greeting: Hi.\ntts: { provider: flite }\nasr: { provider: pocketsphinx, extra: { words: [xyzzyfoo] } }",
            4,
            "`asr.extra.words`: ",
        ),
    ] {
        let path = folder.path().join("odd.md");
        std::fs::write(&path, format!("---\n{front}\n---\nHello.\n")).unwrap();
        let mut out = Vec::new();
        let faults = check::run(&[&path], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(faults >= 1 && text.contains(&format!("line {line}: {told}")), "{front}: {text}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_told_with_its_place_before_a_call_loses_anything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    let free = folder.path().join("made/later").display().to_string();
    let text = format!(
        "spool_path = \"{free}\"\nmedia_cache_bytes = 0\n[recording]\nformat = \"wav\"\npath = \"/proc/recorders\"\n\
         [callrecord]\ntype = \"local\"\nroot = \"/proc/a/cdr\"\ndatabase = \"/proc/b/records.db\"\n"
    );
    std::fs::write(&path, text).unwrap();
    let told: Vec<String> =
        read::file(&path, &environment).unwrap().warnings.iter().map(ToString::to_string).collect();
    for (place, folder) in [("5:1", "/proc/recorders"), ("8:1", "/proc/a/cdr"), ("9:1", "/proc/b")] {
        let begin = format!("a.toml:{place}: \"{folder}\" cannot be written");
        assert!(told.iter().any(|own| own.contains(&begin)), "{told:?}");
    }
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(check::run(&[&path], &mut Vec::new()).unwrap(), 3);
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["a.toml"], "the try leaves nothing behind");
}
