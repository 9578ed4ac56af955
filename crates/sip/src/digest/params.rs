//! The values of `WWW-Authenticate` and `Authorization`: schemes with parameters.

/// Most parameters that are read of one value; a challenge has ten.
const MAX_PARAMETERS: usize = 64;

/// One challenge or one answer: a scheme with its parameters, names in lower case, values without
/// their quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scheme {
    pub(super) name: String,
    parameters: Vec<(String, String)>,
}

impl Scheme {
    /// The first parameter of this lower-case name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Reads one header value. It may hold several challenges, one after another (RFC 9110 section
/// 11.6.1); what cannot be read is left out.
pub(super) fn parse(value: &[u8]) -> Vec<Scheme> {
    let text = String::from_utf8_lossy(value);
    let mut schemes: Vec<Scheme> = Vec::new();
    for item in items(&text).into_iter().take(MAX_PARAMETERS) {
        let (before, value) = item.split_once('=').map_or((item, None), |(n, v)| (n, Some(v)));
        let (scheme, name) = match before.trim().split_once(char::is_whitespace) {
            Some((scheme, name)) => (Some(scheme), name.trim()),
            None if value.is_none() => (Some(before.trim()), ""),
            None => (None, before.trim()),
        };
        if let Some(scheme) = scheme {
            schemes.push(Scheme { name: scheme.to_ascii_lowercase(), parameters: Vec::new() });
        }
        if let (Some(last), Some(value)) = (schemes.last_mut(), value) {
            last.parameters.push((name.to_ascii_lowercase(), unquoted(value.trim())));
        }
    }
    schemes
}

/// The parts between commas outside quotes.
fn items(text: &str) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(move |c: char| {
        let plain = !std::mem::take(&mut escaped);
        match c {
            '\\' if quoted && plain => escaped = true,
            '"' if plain => quoted = !quoted,
            _ => {}
        }
        c == ',' && !quoted
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"') else { return value.to_owned() };
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_challenges_in_one_row_stay_apart() {
        let row = br#"Digest realm="a, b", nonce="1", qop="auth,auth-int", Digest realm="c",nonce=2, Basic realm="d""#;
        let schemes = parse(row);
        let facts: Vec<_> =
            schemes.iter().map(|s| (s.name.as_str(), s.get("realm"), s.get("nonce"))).collect();
        assert_eq!(
            facts,
            [
                ("digest", Some("a, b"), Some("1")),
                ("digest", Some("c"), Some("2")),
                ("basic", Some("d"), None)
            ]
        );
        assert_eq!(schemes[0].get("qop"), Some("auth,auth-int"));
    }

    #[test]
    fn quotes_escapes_and_other_alphabets_are_kept() {
        let schemes = parse("digest REALM=\"Zähler \\\"a\\\\b\\\"\"".as_bytes());
        assert_eq!(schemes[0].get("realm"), Some("Zähler \"a\\b\""));
    }

    proptest! {
        #[test]
        fn nothing_from_the_network_breaks_it(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse(&value);
        }
    }
}
