//! Rules of the house that a machine can check: room limits, purity of the sans-IO crates, and leftovers.
#![allow(clippy::unwrap_used, reason = "a test that cannot read the tree fails")]

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of one file; a file that outgrows this does more than its name says.
const MAX_LINES: usize = 600;
/// Which crates of ours each one may depend on.
const RIGHTS: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("sip", &[]),
    ("audio", &["protocol"]),
    ("rtp", &["audio", "protocol"]),
    ("playbook", &["protocol"]),
    ("providers", &["audio", "protocol"]),
    ("call", &["audio", "playbook", "protocol", "providers", "rtp", "sip"]),
    ("gateway", &["audio", "call", "playbook", "protocol", "providers", "rtp", "sip"]),
    ("testkit", &["audio", "call", "playbook", "protocol", "providers", "rtp", "sip"]),
];
/// A call knows neither HTTP nor files of configuration.
const NOT_FOR_A_CALL: &[&str] = &["axum", "hyper", "reqwest", "toml", "clap", "rusqlite", "object_store"];
/// Crates whose code opens nothing, starts nothing and reads no clock, each with all that it may depend on beside crates
/// of ours: what is new there is looked at before it gets its word here. Of `sip` it is what comes without the driver.
const PURE: &[(&str, &[&str])] = &[
    ("protocol", &["humantime", "schemars", "serde", "serde_ignored", "serde_json", "serde_path_to_error"]),
    ("audio", &["bytemuck", "earshot", "ezk-g722", "opusic-c", "sonora", "thiserror"]),
    ("rtp", &["aws-lc-rs", "base64", "thiserror"]),
    ("sip", &["bytes", "hmac", "rand", "secrecy", "sha2", "sipx-sip", "thiserror"]),
    ("playbook", &["minijinja", "regex", "serde", "serde-saphyr", "serde_json", "strsim", "thiserror"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "target" && name != ".git" {
                files(&path, ending, found);
            }
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    for folder in ["crates", "tests"] {
        files(&root.join(folder), "rs", &mut found);
    }
    assert!(found.len() > 50, "the sources are not where this test looks: {}", root.display());
    let relative = |path: &PathBuf| path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
    found.iter().map(|path| (relative(path), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn files_hold_no_more_than_their_name_says() {
    let long: Vec<String> = sources()
        .iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "split these files (limit {MAX_LINES}): {long:#?}");
}

/// What a manifest depends on, on any platform, but for tests: `[dependencies]`, `[dependencies.name]` and
/// `[target.'...'.dependencies]`.
fn named_in(manifest: &str) -> Vec<&str> {
    let mut named = Vec::new();
    let mut listed = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            let section = section.rsplit_once("'.").map_or(section, |(_, rest)| rest);
            listed = section == "dependencies";
            named.extend(section.strip_prefix("dependencies."));
        } else if listed && !line.starts_with('#') {
            named.extend(line.split(['.', ' ', '=']).next().filter(|name| !name.is_empty()));
        }
    }
    named
}

fn manifest(name: &str) -> String {
    fs::read_to_string(root().join(format!("crates/{name}/Cargo.toml"))).unwrap()
}

#[test]
fn every_spelling_of_a_dependency_is_seen() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\n# b = \"1\"\nc = \"1\"\n\n\
        [dependencies.d]\nversion = \"1\"\n[target.'cfg(unix)'.dependencies]\ne = { version = \"1\" }\n\
        [dev-dependencies]\nf = \"1\"\n";
    assert_eq!(named_in(manifest), ["a", "c", "d", "e"]);
}

#[test]
fn crates_depend_on_those_that_they_may_know() {
    let crates: Vec<&str> = RIGHTS.iter().map(|(name, _)| *name).collect();
    let folders = fs::read_dir(root().join("crates")).unwrap().flatten();
    for folder in folders.map(|entry| entry.file_name().into_string().unwrap()) {
        assert!(crates.contains(&folder.as_str()), "crates/{folder} has no row in RIGHTS");
    }
    for (name, rights) in RIGHTS {
        let manifest = manifest(name);
        for known in named_in(&manifest) {
            let ours = crates.contains(&known) || known.starts_with("active-call");
            assert!(!ours || rights.contains(&known), "crates/{name} must not know {known}");
            assert!(
                *name != "call" || !NOT_FOR_A_CALL.contains(&known),
                "crates/{name} must not know {known}"
            );
        }
    }
}

/// What a manifest depends on without any feature.
fn always_in(manifest: &str) -> Vec<String> {
    let lines: Vec<&str> = manifest.lines().filter(|line| !line.contains("optional = true")).collect();
    named_in(&lines.join("\n")).into_iter().map(str::to_owned).collect()
}

#[test]
fn pure_crates_depend_on_nothing_but_what_is_known_to_do_no_io() {
    for (name, known) in PURE {
        let manifest = manifest(name);
        let without_driver = always_in(&manifest);
        for dependency in named_in(&manifest) {
            let ours = RIGHTS.iter().any(|(crate_of_ours, _)| *crate_of_ours == dependency);
            let driver = *name == "sip" && !without_driver.iter().any(|always| always == dependency);
            let pure = ours || driver || known.contains(&dependency);
            assert!(
                pure,
                "crates/{name} stays without IO: does {dependency}? If not, it has its place in PURE"
            );
        }
        let default = manifest.lines().find(|line| line.starts_with("default ="));
        assert!(default.is_none_or(|line| line == "default = []"), "crates/{name}: {default:?}");
    }
    let driver = always_in("[dependencies]\ntokio = { version = \"1\", optional = true }\nmio = \"1\"\n");
    assert_eq!(driver, ["mio"]);
}

/// Rooms that open nothing, start nothing and read no clock, but for what stands in the second list.
const PURE_SOURCES: &[&str] = &[
    "crates/protocol/src/",
    "crates/audio/src/",
    "crates/rtp/src/",
    "crates/playbook/src/",
    "crates/sip/src/",
    "crates/call/src/core/",
    "crates/call/src/media/",
    "crates/call/src/verbs/",
];
const DRIVERS: &[&str] = &["crates/sip/src/driver/", "crates/sip/src/driver.rs"];

/// What a pure room may not name.
const BANNED: &[&str] = &[
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "std::{",
    "std::net::{self",
    "std::net;",
    "std::time::{self",
    "std::time;",
    "Instant",
    "SystemTime",
    "tokio::",
    "ToSocketAddrs",
    "Utc::now",
    "Local::now",
];

/// The first thing in `text` that a pure room may not name. Comments may; of `std::net` addresses are plain values.
fn impurity(text: &str) -> Option<String> {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let code = code.collect::<Vec<_>>().join("\n");
    let named = BANNED.iter().find(|word| code.contains(**word)).map(|word| (*word).to_owned());
    named.or_else(|| {
        let items = code.split("std::net::").skip(1).flat_map(|after| {
            let list = match after.strip_prefix('{') {
                Some(list) => list.split('}').next(),
                None => after.split(|c: char| !c.is_alphanumeric()).next(),
            };
            list.unwrap_or_default().split(',')
        });
        let value =
            |item: &str| item.starts_with("Ip") || item.starts_with("SocketAddr") || item == "AddrParseError";
        let mut odd = items.map(str::trim).filter(|item| !item.is_empty() && !value(item));
        odd.next().map(|item| format!("std::net::{item}"))
    })
}

#[test]
fn pure_rooms_name_no_task_socket_clock_or_file() {
    let mut seen = 0;
    for (path, text) in sources() {
        let pure = PURE_SOURCES.iter().any(|room| path.starts_with(room));
        if pure && !DRIVERS.iter().any(|driver| path.starts_with(driver)) {
            seen += 1;
            let found = impurity(&text);
            assert!(found.is_none(), "{path} is a pure room and names {found:?}");
        }
    }
    assert!(seen > 100, "{seen} files are too few: the rooms are elsewhere");
}

#[test]
fn what_is_impure_is_found_in_every_spelling() {
    for code in [
        "use std::fs::File;",
        "use std::{fs, io};",
        "let now = std::time::Instant::now();",
        "use std::time::{Duration, SystemTime};",
        "use std::time;",
        "use std::net::UdpSocket;",
        "use std::net::{IpAddr, TcpStream};",
        "std::thread::spawn(x)",
        "std::env::var(x)",
        "tokio::spawn(x);",
        "chrono::Utc::now()",
    ] {
        assert!(impurity(code).is_some(), "{code}");
    }
    for code in [
        "use std::net::{IpAddr, Ipv4Addr, SocketAddr};",
        "use std::time::Duration;",
        "fn at(place: std::net::SocketAddr) {}",
        "//! An Instant, std::fs and tokio::spawn are for drivers.",
    ] {
        assert_eq!(impurity(code), None, "{code}");
    }
}

/// Whether the function whose signature begins at `lines[0]` gives a `Result`.
fn may_fail(lines: &[&str]) -> bool {
    let signature = lines.iter().take(15).copied().collect::<Vec<_>>().join(" ");
    let signature = signature.split(" {").next().unwrap_or_default();
    let answer = signature.rsplit_once("-> ").map_or("", |(_, answer)| answer);
    ["Result<", "io::Result<", "std::io::Result<"].iter().any(|begin| answer.starts_with(begin))
}

#[test]
fn public_functions_that_may_fail_say_how() {
    let mut silent = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| path.contains("/src/")) {
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let own = line.trim_start();
            let public =
                ["pub fn ", "pub async fn ", "pub const fn "].iter().any(|begin| own.starts_with(begin));
            let (before, after) = lines.split_at(index);
            let mut docs = before.iter().rev().take_while(|line| line.trim_start().starts_with(['/', '#']));
            if public && may_fail(after) && !docs.any(|line| line.contains("# Errors")) {
                silent.push(format!("{path}:{}: {own}", index + 1));
            }
        }
    }
    assert!(silent.is_empty(), "these lack a section `# Errors`: {silent:#?}");
}

#[test]
fn every_crate_takes_the_lint_table() {
    for entry in fs::read_dir(root().join("crates")).unwrap().flatten() {
        let manifest = fs::read_to_string(entry.path().join("Cargo.toml")).unwrap();
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{} has its own lints",
            entry.path().display()
        );
    }
}

#[test]
fn unsafe_code_stands_where_the_processor_is_told_something_and_nowhere_else() {
    let rooms = ["crates/audio/src/vad/silero/", "crates/audio/src/prefetch.rs"];
    for (path, text) in sources() {
        if path.ends_with("src/lib.rs") {
            let word = if path.starts_with("crates/audio/") {
                "#![deny(unsafe_code)]"
            } else {
                "#![forbid(unsafe_code)]"
            };
            assert!(text.contains(word), "{path} lacks {word}");
        }
        let allowed =
            ["allow(", "expect("].iter().any(|attribute| text.contains(&format!("{attribute}unsafe_code")));
        let known = rooms.iter().any(|room| path.starts_with(room));
        assert!(!allowed || known, "{path} allows unsafe code");
    }
}

#[test]
fn tests_wait_for_conditions_instead_of_time() {
    // The words are put together here so that this file does not find itself.
    let sleep = ["sleep", "("].concat();
    for (path, text) in sources() {
        let is_test = path.contains("/tests/") || path.starts_with("tests/");
        assert!(!is_test || !text.contains(&sleep), "{path} sleeps; wait for a condition with a deadline");
    }
}

#[test]
fn nothing_is_left_unfinished() {
    let words =
        [["TO", "DO"], ["FIX", "ME"], ["XX", "X:"], ["todo", "!("], ["unimpl", "emented!("], ["dbg", "!("]];
    let ignored = ["#[ig", "nore"].concat();
    for (path, text) in sources() {
        for word in words.iter().map(|parts| parts.concat()).chain([ignored.clone()]) {
            assert!(!text.contains(&word), "{path} holds {word}");
        }
    }
}

#[test]
fn the_repository_knows_no_machine() {
    let root = root();
    let mut found = Vec::new();
    for ending in ["md", "toml", "rs", "py", "yaml", "sh"] {
        for folder in ["crates", "docs", "config", "scripts", "tests"] {
            files(&root.join(folder), ending, &mut found);
        }
    }
    let paths = [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"]].map(|parts| parts.concat());
    for path in found {
        let text = fs::read_to_string(&path).unwrap();
        for machine in &paths {
            assert!(!text.contains(machine.as_str()), "{} holds a machine's path {machine}", path.display());
        }
    }
}

#[test]
fn queues_are_bounded() {
    let unbounded = ["unbounded", "_channel"].concat();
    for (path, text) in sources() {
        assert!(!text.contains(&unbounded), "{path} makes a queue without a bound");
    }
}
