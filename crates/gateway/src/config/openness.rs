//! Patterns of destinations that let through more than they name: a pattern is looked for anywhere in a URI, so one
//! that names a host and does not say that it ends there fits `pbx.example.com.evil.example` too.

use regex::Regex;

/// Users that patterns are tried with, beside the one that they name.
const USERS: &[&str] = &["1", "100", "1001", "+493012345678", "+15551234567", "00493012345678", "desk"];

/// A URI at another host that the pattern of one host fits.
pub(super) fn stranger(pattern: &Regex) -> Option<String> {
    let (before, host) = named(pattern.as_str())?;
    let user = before.rsplit([':', '^']).next().map(literal).filter(|user| !user.is_empty());
    let users = user.as_deref().into_iter().chain(USERS.iter().copied());
    let uris =
        |host: &str| users.clone().map(|user| format!("sip:{user}@{host}")).find(|uri| pattern.is_match(uri));
    // Where the pattern means something else than is understood here, nothing is said of it.
    uris(&host)?;
    uris(&format!("{host}.evil.example")).or_else(|| uris(&format!("evil-{host}")))
}

/// What stands before the host in a pattern that names one, and the host.
fn named(pattern: &str) -> Option<(&str, String)> {
    // One in a class, as in `[^@]`, stands before no host.
    let mut signs = pattern.rmatch_indices('@').map(|(at, _)| pattern.split_at(at));
    if let Some((before, tail)) = signs.find(|(before, _)| !before.ends_with(['^', '['])) {
        let host = literal(tail.get(1..)?);
        return host.contains(|c: char| c.is_ascii_alphanumeric()).then_some((before, host));
    }
    let begin = pattern.find(|c: char| c.is_ascii_alphanumeric())?;
    let host = literal(pattern.get(begin..)?);
    host.contains('.').then_some(("", host))
}

/// The text that a pattern begins with, as far as it is plain.
fn literal(pattern: &str) -> String {
    let (mut text, mut rest) = (String::new(), pattern.chars().peekable());
    while let Some(character) = rest.next() {
        let plain = match character {
            '\\' if rest.peek().is_some_and(|next| !next.is_ascii_alphanumeric()) => rest.next(),
            '.' if !rest.peek().is_some_and(|next| "*+?{".contains(*next)) => Some('.'),
            '-' | '_' => Some(character),
            other => other.is_ascii_alphanumeric().then_some(other),
        };
        match plain {
            Some(plain) => text.push(plain),
            None => break,
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_names_a_host_and_is_open_at_its_end_or_beginning_is_seen() {
        for (pattern, seen) in [
            (r"^sip:[^@]+@pbx\.example\.com", Some("sip:1@pbx.example.com.evil.example")),
            (r"^sip:desk7@pbx.example.com", Some("sip:desk7@pbx.example.com.evil.example")),
            (r"@pbx\.example\.com([:;][^@]*)?", Some("sip:1@pbx.example.com.evil.example")),
            (r"@pbx\.example\.com(:\d+)?", Some("sip:1@pbx.example.com.evil.example")),
            (r"^sip:\+49\d+@10\.0\.0\.1", Some("sip:+493012345678@10.0.0.1.evil.example")),
            (r"pbx\.example\.com$", Some("sip:1@evil-pbx.example.com")),
            (r"pbx\.example\.com", Some("sip:1@pbx.example.com.evil.example")),
            (r"^sip:[^@]+@pbx\.example\.com([:;][^@]*)?$", None),
            (r"^sip:(\d+@pbx\.example\.com)$", None),
            (r"@pbx\.example\.com[:;]", None),
            (r"^sip:\+49", None),
            (r"^sip:desk@", None),
            (r"^tel:\+49", None),
            (r"^sip:.*@.*\.example\.com$", None),
        ] {
            assert_eq!(stranger(&Regex::new(pattern).unwrap()).as_deref(), seen, "{pattern}");
        }
    }
}
