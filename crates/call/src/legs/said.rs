//! What a far end says of an end in header lines: why (RFC 3326), what is wrong with our description, and when to try
//! again (RFC 3261 sections 20.33 and 20.43).

use protocol::reason::Particulars;
use protocol::redact;

/// Longest text that is kept of all lines of one name, in characters.
const MOST: usize = 512;

/// What the header lines of a refusal say, and where it leads. No secret of an address is in the texts, and no control
/// character.
pub(super) fn particulars(headers: &[(String, String)], contacts: Vec<String>) -> Particulars {
    let retry_after = lines(headers, "retry-after").next().and_then(seconds);
    Particulars { contacts, cause: reason(headers), warning: joined(headers, "warning"), retry_after }
}

/// Why the far end has ended a call: every `Reason`, in at most 512 characters.
pub(super) fn reason(headers: &[(String, String)]) -> Option<String> {
    joined(headers, "reason")
}

fn lines<'a>(headers: &'a [(String, String)], name: &'static str) -> impl Iterator<Item = &'a str> {
    let named = headers.iter().filter(move |(given, _)| given.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.as_str())
}

/// All lines of one name as one.
fn joined(headers: &[(String, String)], name: &'static str) -> Option<String> {
    let mut text = String::new();
    for line in lines(headers, name).filter(|line| !line.trim().is_empty()) {
        let room = MOST.saturating_sub(text.chars().count());
        if room == 0 {
            break;
        }
        let comma = if text.is_empty() { "" } else { ", " };
        // A password is known by what stands behind it, so that it is hidden before the line is cut.
        let line = redact::text(line);
        let plain = comma.chars().chain(line.chars()).map(|c| if c.is_control() { '\u{fffd}' } else { c });
        text.extend(plain.take(room));
    }
    (!text.is_empty()).then_some(text)
}

/// The number that a `Retry-After` begins with; a comment or a parameter may follow.
fn seconds(line: &str) -> Option<u32> {
    let line = line.trim();
    line.split_at(line.find(|c: char| !c.is_ascii_digit()).unwrap_or(line.len())).0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[(&str, &str)]) -> Vec<(String, String)> {
        rows.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_reason_of_an_end_is_told() {
        let two = rows(&[("Reason", "Q.850;cause=16"), ("X", "1"), ("reason", "SIP;cause=200")]);
        assert_eq!(reason(&two).as_deref(), Some("Q.850;cause=16, SIP;cause=200"));
        assert_eq!(reason(&rows(&[("X", "1"), ("Reason", " ")])), None);
    }

    #[test]
    fn a_refusal_says_why_what_is_wrong_and_when_to_try_again() {
        let told = rows(&[
            ("Retry-After", "120 (at lunch);duration=60"),
            ("Warning", "370 pbx \"Bandwidth\""),
            ("Warning", "399 pbx \"See log\""),
            ("Reason", "Q.850;cause=17;text=\"User busy\""),
        ]);
        let expected = Particulars {
            contacts: vec!["sip:carol@example.com".into()],
            cause: Some("Q.850;cause=17;text=\"User busy\"".into()),
            warning: Some("370 pbx \"Bandwidth\", 399 pbx \"See log\"".into()),
            retry_after: Some(120),
        };
        assert_eq!(particulars(&told, vec!["sip:carol@example.com".into()]), expected);
        assert_eq!(particulars(&rows(&[("Retry-After", "soon")]), Vec::new()), Particulars::default());
        assert_eq!(particulars(&rows(&[("Retry-After", "99999999999")]), Vec::new()).retry_after, None);
    }

    #[test]
    fn what_a_far_end_says_is_bounded_and_shows_no_control_character_and_no_password() {
        let long = rows(&[("Reason", &"a".repeat(10_000)), ("Reason", &"b".repeat(10_000))]);
        assert_eq!(reason(&long).unwrap().chars().count(), MOST);
        let many: Vec<_> = (0..10_000).map(|_| ("Warning".to_owned(), "x".to_owned())).collect();
        assert_eq!(particulars(&many, Vec::new()).warning.unwrap().len(), MOST);
        let hostile = rows(&[("Reason", "a\u{1b}[2Jb sip:eve:hunter2@example.com")]);
        let told = reason(&hostile).unwrap();
        assert!(!told.chars().any(char::is_control) && !told.contains("hunter2"), "{told}");
        let cut = format!("{} sip:desk:hunter2secret@pbx", "a".repeat(MOST - 12));
        let told = reason(&rows(&[("Reason", &cut)])).unwrap();
        assert!(told.chars().count() == MOST && !told.contains("hun"), "{told}");
    }
}
