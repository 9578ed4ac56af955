//! `completeness`: a sentence that is clearly not at its end gives the caller more time.

use super::Wait;
use super::end::Said;

/// What a text says of its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// It ends as sentences do.
    Complete,
    /// More must follow: a comma, "and", "to the", a number that is being dictated.
    Open,
    /// It may go on or not; recognizers often write no signs.
    Unknown,
}

/// Words after which more follows, by language.
const OPEN_ENDS: &[(&str, &[&str])] = &[
    (
        "en",
        &[
            "and", "or", "but", "because", "so", "the", "a", "an", "to", "of", "for", "with", "at", "in",
            "on", "from", "my", "your", "is", "are", "that", "which", "if", "when", "um", "uh", "er", "like",
            "then", "about", "i", "we", "i'm", "it's", "would", "want", "by",
        ],
    ),
    (
        "de",
        &[
            "und", "oder", "aber", "weil", "dass", "der", "die", "das", "den", "dem", "ein", "eine", "einen",
            "zu", "von", "für", "mit", "am", "im", "in", "auf", "mein", "meine", "ich", "wenn", "äh", "ähm",
            "also", "um", "bei",
        ],
    ),
    (
        "es",
        &[
            "y", "o", "pero", "porque", "que", "el", "la", "los", "las", "un", "una", "de", "a", "para",
            "con", "en", "mi", "si", "eh", "por", "del", "al",
        ],
    ),
    (
        "fr",
        &[
            "et", "ou", "mais", "parce", "que", "le", "la", "les", "un", "une", "de", "à", "pour", "avec",
            "dans", "mon", "ma", "si", "euh", "je", "du", "au",
        ],
    ),
];

/// Ends of Chinese sentences after which more follows.
const OPEN_ENDS_ZH: &[&str] =
    &["和", "但是", "因为", "然后", "还有", "那个", "就是", "的话", "嗯", "呃", "跟", "或者"];

/// What `text` says of its own end, by its last sign and its last word.
pub fn of(text: &str, language: &str) -> Completeness {
    let text = text.trim_end();
    if text.ends_with("...") || text.ends_with(['…', ',', '，', '、', ':', ';', '-', '–']) {
        return Completeness::Open;
    }
    let bare = text.trim_end_matches(['.', '!', '?', '。', '！', '？', ' ']);
    let primary = language.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
    if primary == "zh" && OPEN_ENDS_ZH.iter().any(|end| bare.ends_with(end)) {
        return Completeness::Open;
    }
    let last = bare.rsplit(char::is_whitespace).next().unwrap_or_default().to_lowercase();
    let list = OPEN_ENDS.iter().find(|(own, _)| *own == primary).or(OPEN_ENDS.first());
    if list.is_some_and(|(_, words)| words.contains(&last.as_str())) {
        return Completeness::Open;
    }
    if bare.len() < text.len() && !text.ends_with(' ') {
        Completeness::Complete
    } else {
        Completeness::Unknown
    }
}

/// The shortest pause after a complete sentence, the longest after an open one, the middle in doubt.
pub fn judge(said: &Said<'_>) -> Wait {
    Wait::For(match of(said.text, said.language) {
        Completeness::Complete => said.bounds.min,
        Completeness::Unknown => said.bounds.middle(),
        Completeness::Open => said.bounds.max,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_sentences_are_told_from_openings() {
        for (text, language, expected) in [
            ("I want a table.", "en", Completeness::Complete),
            ("I want a table and", "en", Completeness::Open),
            ("My number is 555,", "en-US", Completeness::Open),
            ("I would like to.", "en", Completeness::Open),
            ("a table for two", "en", Completeness::Unknown),
            ("Ich möchte einen Tisch für", "de-DE", Completeness::Open),
            ("我想订一张桌子，然后", "zh-CN", Completeness::Open),
            ("我想订一张桌子。", "zh", Completeness::Complete),
            ("", "en", Completeness::Unknown),
        ] {
            assert_eq!(of(text, language), expected, "{text}");
        }
    }
}
