//! Fixed sentences and filler words, by language.

use crate::playbook::Phrases;

/// What a language brings along.
struct Language {
    tag: &'static str,
    apology: &'static str,
    goodbye: &'static str,
    refusal: &'static str,
    unreachable: &'static str,
    fillers: &'static [&'static str],
}

/// The first is used for languages that are not listed.
const LANGUAGES: &[Language] = &[
    Language {
        tag: "en",
        apology: "I am sorry, something went wrong. Please say that again.",
        goodbye: "Thank you for calling. Goodbye.",
        refusal: "I am sorry, I cannot connect you there.",
        unreachable: "I am sorry, I could not reach anyone there.",
        fillers: &[
            "uh", "uhh", "um", "umm", "ah", "er", "erm", "hm", "hmm", "mhm", "mm", "mmm", "mm-hm", "mmhm",
            "mm-hmm", "uh-huh", "aha", "oh",
        ],
    },
    Language {
        tag: "zh",
        apology: "抱歉，出了点问题，请您再说一遍。",
        goodbye: "感谢您的来电，再见。",
        refusal: "抱歉，我无法为您转接到那里。",
        unreachable: "抱歉，暂时无人接听。",
        fillers: &["嗯", "嗯嗯", "啊", "哦", "呃", "额", "那个", "唔"],
    },
    Language {
        tag: "de",
        apology: "Entschuldigung, da ist etwas schiefgegangen. Bitte sagen Sie das noch einmal.",
        goodbye: "Danke für Ihren Anruf. Auf Wiederhören.",
        refusal: "Es tut mir leid, dorthin kann ich Sie nicht verbinden.",
        unreachable: "Es tut mir leid, dort war niemand zu erreichen.",
        fillers: &["äh", "ähm", "öh", "hm", "hmm", "mhm", "aha", "ach"],
    },
    Language {
        tag: "es",
        apology: "Lo siento, algo ha fallado. Repítalo, por favor.",
        goodbye: "Gracias por su llamada. Adiós.",
        refusal: "Lo siento, no puedo conectarle con ese número.",
        unreachable: "Lo siento, no he podido localizar a nadie.",
        fillers: &["eh", "em", "este", "ajá", "mhm", "mm", "hm", "ah"],
    },
    Language {
        tag: "fr",
        apology: "Désolé, un problème est survenu. Pouvez-vous répéter ?",
        goodbye: "Merci de votre appel. Au revoir.",
        refusal: "Désolé, je ne peux pas vous y transférer.",
        unreachable: "Désolé, je n'ai pu joindre personne.",
        fillers: &["euh", "heu", "hum", "mhm", "mm", "ah", "bah", "ben"],
    },
];

/// The language of a tag such as `en`, `en-GB` or `zh_CN`.
fn language(tag: &str) -> &'static Language {
    const ENGLISH: &Language = &LANGUAGES[0];
    let primary = tag.split(['-', '_']).next().unwrap_or_default();
    LANGUAGES.iter().find(|row| row.tag.eq_ignore_ascii_case(primary)).unwrap_or(ENGLISH)
}

/// The fixed sentences of a language.
pub fn defaults(tag: &str) -> Phrases {
    let row = language(tag);
    Phrases {
        apology: row.apology.to_owned(),
        goodbye: row.goodbye.to_owned(),
        refusal: row.refusal.to_owned(),
        unreachable: row.unreachable.to_owned(),
    }
}

/// Whether `text` consists of filler words of the language or of English only.
pub fn is_filler(text: &str, tag: &str) -> bool {
    const LONGEST: usize = 60;
    if text.len() > LONGEST {
        return false;
    }
    let text = text.to_lowercase();
    let own = language(tag).fillers;
    let common = language("en").fillers;
    let mut words = text
        .split(|c: char| c.is_whitespace() || ",.!?…，。！？、".contains(c))
        .filter(|word| !word.is_empty())
        .peekable();
    words.peek().is_some() && words.all(|word| own.contains(&word) || common.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fillers_are_known_by_language() {
        assert!(is_filler("Mm-hm.", "en") && is_filler("uh, um", "de") && is_filler("嗯，", "zh-CN"));
        assert!(!is_filler("stop", "en") && !is_filler("um stop", "en") && !is_filler("", "en"));
    }

    #[test]
    fn an_unknown_language_speaks_english() {
        assert_eq!(defaults("tlh"), defaults("en"));
        assert_ne!(defaults("zh-CN"), defaults("en"));
    }
}
