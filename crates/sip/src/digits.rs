//! Digits in the body of INFO, in both forms that are in use.

use std::time::Duration;

/// Longest tone that is believed.
const MAX_TONE: Duration = Duration::from_secs(10);

/// The body of an INFO of type `application/dtmf-relay` that presses one key.
pub fn dtmf_relay(digit: char, length: Duration) -> String {
    format!("Signal={digit}\r\nDuration={}\r\n", length.as_millis())
}

/// The key that an INFO presses, and for how long: `application/dtmf-relay` says both, of
/// `application/dtmf` the first character counts. `None` if the body is of another kind, or presses
/// no key of a telephone (`0` to `9`, `*`, `#`, `A` to `D`).
pub fn info_digit(content_type: &str, body: &[u8]) -> Option<(char, Duration)> {
    let text = std::str::from_utf8(body).ok()?;
    let usual = Duration::from_millis(160);
    match content_type {
        "application/dtmf-relay" => {
            let value = |wanted: &str| {
                let pairs = text.lines().filter_map(|line| line.split_once('='));
                pairs
                    .into_iter()
                    .find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted))
                    .map(|(_, v)| v.trim())
            };
            let length =
                value("Duration").and_then(|ms| ms.parse().ok()).map_or(usual, Duration::from_millis);
            Some((key(value("Signal")?)?, length.min(MAX_TONE)))
        }
        "application/dtmf" => Some((key(text)?, usual)),
        _ => None,
    }
}

/// A key by its sign, or by its number in RFC 4733 for those that have no single digit.
fn key(text: &str) -> Option<char> {
    let text = text.trim();
    match text {
        "10" => return Some('*'),
        "11" => return Some('#'),
        _ => {}
    }
    let mut chars = text.chars();
    let key = chars.next()?.to_ascii_uppercase();
    let known = key.is_ascii_digit() || matches!(key, '*' | '#' | 'A'..='D');
    (known && chars.next().is_none()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_body_are_read() {
        let ms = Duration::from_millis;
        let relay = |body: &str| info_digit("application/dtmf-relay", body.as_bytes());
        assert_eq!(relay("Signal=5\r\nDuration=100\r\n"), Some(('5', ms(100))));
        assert_eq!(relay("signal = *\nduration = 999999"), Some(('*', MAX_TONE)));
        assert_eq!(relay("Signal=11"), Some(('#', ms(160))));
        assert_eq!(relay("Signal=Z"), None);
        assert_eq!(relay("Signal="), None);
        assert_eq!(info_digit("application/dtmf", b"d\r\n"), Some(('D', ms(160))));
        assert_eq!(info_digit("application/dtmf", b"12"), None);
        assert_eq!(info_digit("text/plain", b"1"), None);
        assert_eq!(relay(&dtmf_relay('#', ms(250))), Some(('#', ms(250))));
    }
}
