//! Values of a playbook that can be read and that no call can use.

use std::time::Duration;

use protocol::limits::{self, Allowed, Outside};
use protocol::option::ExtractHeader;
use regex::RegexBuilder;

use super::yaml::Yaml;
use crate::error::{Warning, nearest};
use crate::hosts;
use crate::playbook::{FollowUp, Named, Playbook, Summary};
use crate::template;

/// What is said of something that nobody can be called by.
pub(super) const NO_TARGET: &str = "is neither a SIP or tel address nor a number";
/// What is said of something that nothing can be fetched from.
pub(super) const NO_ADDRESS: &str = "is no http or https address";
/// Largest compiled pattern for a header, in bytes: as large as a call compiles.
const MAX_PATTERN: usize = 1024 * 1024;

/// Keys that say what a playbook wants of the world, which a configuration may forbid.
pub(super) const WISHES: [&str; 4] = ["mcp", "posthook.url", "tools", "transfers"];
/// The agent asks no one sooner: a shorter span was meant in seconds.
const SHORTEST_SILENCE: Duration = Duration::from_millis(500);
/// No tool takes longer while a caller waits, and no call either: longer spans were meant in milliseconds.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
const LONGEST_CALL: Duration = Duration::from_secs(24 * 3600);

/// What may be written for how free a model's words are.
const TEMPERATURE: Allowed = Allowed::Between(0.0, 2.0);

/// An address of the settings: its key, where it stands, and what it may begin with.
struct Address {
    key: &'static str,
    of: fn(&Playbook) -> Option<&String>,
    schemes: &'static [&'static str],
}

const fn address(
    key: &'static str,
    schemes: &'static [&'static str],
    of: fn(&Playbook) -> Option<&String>,
) -> Address {
    Address { key, of, schemes }
}

const WEB: &[&str] = &["http", "https"];
const SOCKET: &[&str] = &["ws", "wss"];
const EITHER: &[&str] = &["http", "https", "ws", "wss"];

const ADDRESSES: &[Address] = &[
    address("posthook.url", WEB, |own| Some(&own.posthook.as_ref()?.url)),
    address("llm.baseUrl", WEB, |own| own.llm.as_ref()?.base_url.as_ref()),
    address("eou.endpoint", WEB, |own| own.option.eou.as_ref()?.endpoint.as_ref()),
    address("asr.endpoint", EITHER, |own| own.option.asr.as_ref()?.endpoint.as_ref()),
    address("tts.endpoint", EITHER, |own| own.option.tts.as_ref()?.endpoint.as_ref()),
    address("realtime.endpoint", EITHER, |own| own.option.realtime.as_ref()?.endpoint.as_ref()),
    address("mediaPass.url", SOCKET, |own| own.option.media_pass.as_ref()?.url.as_ref()),
];

/// Where a name of something outside stands.
type NameOf = fn(&Playbook) -> Option<String>;

const NAMES: &[(&str, NameOf)] = &[
    ("asr.provider", |own| own.option.asr.as_ref()?.provider.clone()),
    ("tts.provider", |own| own.option.tts.as_ref()?.provider.clone()),
    ("llm.provider", |own| own.llm.as_ref()?.provider.clone()),
    ("realtime.provider", |own| {
        own.option.realtime.as_ref()?.provider.clone().filter(|name| !name.contains("://"))
    }),
    ("vad.type", |own| Some(own.option.vad.as_ref()?.kind.as_ref()?.0.clone())),
];

/// The names of providers and of a detector that the settings give, with their lines.
pub(super) fn named(playbook: &Playbook, yaml: &Yaml) -> Vec<Named> {
    let given = NAMES.iter().filter_map(|(key, of)| Some((*key, of(playbook)?)));
    let known_now = given.filter(|(_, name)| !is_filled_in_later(name));
    known_now.map(|(key, name)| Named { line: yaml.line_of(key), key, name }).collect()
}

/// Warns of numbers out of their range, addresses that are none, patterns that do not compile, and counts of nothing.
pub(super) fn check(playbook: &Playbook, yaml: &Yaml, found: &mut Vec<Warning>) {
    let mut warn = |key: &str, message: String, nearest: Option<String>| {
        found.push(Warning { line: yaml.line_of(key), message: format!("`{key}`: {message}"), nearest });
    };
    for outside in limits::outside(&playbook.option) {
        warn(outside.key, outside.to_string(), None);
    }
    if let Some(number) = playbook.llm.as_ref().and_then(|llm| llm.temperature).map(f64::from)
        && !TEMPERATURE.holds(number)
    {
        let outside = Outside { key: "llm.temperature", number, allowed: TEMPERATURE };
        warn(outside.key, outside.to_string(), None);
    }
    for Address { key, of, schemes } in ADDRESSES {
        if let Some(text) = of(playbook).filter(|text| !text.is_empty() && !is_address(text, schemes)) {
            warn(
                key,
                format!("`{text}` is no address that begins with {}://", schemes.join(":// or ")),
                None,
            );
        }
    }
    let tools = playbook.tools.http.iter().map(|own| (own.spec.name.as_str(), own.url.as_str()));
    let servers = playbook.tools.mcp.iter().filter_map(|own| Some((own.name.as_str(), own.url.as_deref()?)));
    for (key, (name, url)) in tools.map(|own| ("tools", own)).chain(servers.map(|own| ("mcp", own))) {
        if !is_web_address(url) {
            warn(key, format!("`{url}`, the url of `{name}`, {NO_ADDRESS}"), None);
        }
    }
    if let Some(Summary::Custom(text)) = playbook.posthook.as_ref().and_then(|own| own.summary.as_ref())
        && !text.trim().contains(char::is_whitespace)
    {
        let message = format!("`{text}` is no kind of summary; known: {}", Summary::KINDS.join(", "));
        warn("posthook.summary", message, nearest(text, Summary::KINDS.iter().copied()));
    }
    headers(playbook, &mut warn);
    spans(playbook, &mut warn);
    if let Some(rule) = &playbook.follow_up {
        follow_up(rule, |key, message| warn(&format!("followUp.{key}"), message, None));
    }
    for scene in &playbook.scenes {
        if let Some(rule) = &scene.follow_up {
            let line = scene.places.follow_up.unwrap_or(scene.line);
            follow_up(rule, |key, message| {
                found.push(Warning {
                    line,
                    message: format!("<followup> `{key}`: {message}"),
                    nearest: None,
                });
            });
        }
    }
}

fn headers(playbook: &Playbook, warn: &mut impl FnMut(&str, String, Option<String>)) {
    let wanted = playbook.option.sip.iter().filter_map(|sip| sip.extract_headers.as_ref());
    for (index, header) in wanted.flat_map(|own| own.0.iter()).enumerate() {
        if let ExtractHeader::Pattern { pattern, .. } = header
            && let Err(error) = RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build()
        {
            let why = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
            let message = format!("`{pattern}` is not a regular expression: {why}");
            warn(&format!("sip.extract_headers.{index}.pattern"), message, None);
        }
    }
}

/// Spans in seconds that are probably meant in milliseconds.
fn spans(playbook: &Playbook, warn: &mut impl FnMut(&str, String, Option<String>)) {
    let told = |span: Duration| {
        format!("{} s is longer than {} s; the unit is seconds", span.as_secs(), LONGEST_WAIT.as_secs())
    };
    if let Some(span) = playbook.max_duration.filter(|span| *span > LONGEST_CALL) {
        let hours = span.as_secs() / 3600;
        warn(
            "maxDuration",
            format!("{hours} hours are no limit; the unit is seconds, write 600 for ten minutes"),
            None,
        );
    }
    for tool in playbook.tools.http.iter().filter(|tool| tool.timeout > LONGEST_WAIT) {
        warn(
            "tools",
            format!("`timeout` of `{}`: {}, write 10 for ten seconds", tool.spec.name, told(tool.timeout)),
            None,
        );
    }
}

fn follow_up(rule: &FollowUp, mut warn: impl FnMut(&str, String)) {
    if rule.timeout.is_zero() {
        warn("timeout", "after no silence at all the agent would never stop asking".to_owned());
    } else if rule.timeout < SHORTEST_SILENCE {
        let ms = rule.timeout.as_millis();
        warn(
            "timeout",
            format!("{ms} ms leaves nobody time to answer; the unit is ms, write 10000 for 10 s"),
        );
    }
    if rule.max == 0 {
        warn("maxCount", "0 ends the call at the first silence, unasked".to_owned());
    }
}

/// Whether `text` is, or may become, something that can be called.
pub(super) fn can_be_called(text: &str) -> bool {
    let text = text.trim();
    if is_filled_in_later(text) {
        return true;
    }
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return false;
    }
    match text.split_once(':') {
        Some((scheme, rest)) if ["sip", "sips", "tel"].iter().any(|own| own.eq_ignore_ascii_case(scheme)) => {
            !rest.trim_end_matches('@').is_empty()
        }
        _ => {
            let number = text.chars().all(|c| c.is_ascii_digit() || "+*#-.()".contains(c));
            let named = text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
            named || number && text.contains(|c: char| c.is_ascii_digit())
        }
    }
}

/// Whether `text` is, or may become, something that can be fetched.
pub(super) fn is_web_address(text: &str) -> bool {
    is_address(text, WEB)
}

fn is_address(text: &str, schemes: &[&str]) -> bool {
    let text = text.trim();
    if is_filled_in_later(text) {
        return true;
    }
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let known = schemes.iter().any(|own| own.eq_ignore_ascii_case(scheme));
    known && hosts::host_of(&format!("http://{rest}")).is_some()
}

/// A template, or a variable that the environment lacks now.
fn is_filled_in_later(text: &str) -> bool {
    template::is_template(text) || text.contains("${")
}
