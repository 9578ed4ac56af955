//! Fixed sentences and filler words, by language.

use crate::playbook::Phrases;

/// What a language brings along.
struct Language {
    tag: &'static str,
    apology: &'static str,
    goodbye: &'static str,
    refusal: &'static str,
    unreachable: &'static str,
    /// Said while something is looked up and takes long.
    wait: &'static str,
    /// Sounds of thinking, which say nothing.
    fillers: &'static [&'static str],
    /// Words of a listener, which are also what a short "yes" is.
    assents: &'static [&'static str],
    /// With these a caller takes back what is being looked up.
    take_backs: &'static [&'static str],
}

/// The first is used for languages that are not listed.
const LANGUAGES: &[Language] = &[
    Language {
        tag: "en",
        apology: "I am sorry, something went wrong. Please say that again.",
        goodbye: "Thank you for calling. Goodbye.",
        refusal: "I am sorry, I cannot connect you there.",
        unreachable: "I am sorry, I could not reach anyone there.",
        wait: "One moment, please.",
        fillers: &[
            "uh", "uhh", "um", "umm", "ah", "er", "erm", "hm", "hmm", "mm", "mmm", "oh", "huh", "well",
        ],
        assents: &[
            "mhm",
            "mm-hm",
            "mmhm",
            "mm-hmm",
            "uh-huh",
            "aha",
            "ok",
            "okay",
            "yes",
            "yeah",
            "yep",
            "right",
            "sure",
            "alright",
            "i see",
            "got it",
            "all right",
        ],
        take_backs: &["cancel", "never mind", "forget it", "stop that", "leave it", "don't bother"],
    },
    Language {
        tag: "zh",
        apology: "抱歉，出了点问题，请您再说一遍。",
        goodbye: "感谢您的来电，再见。",
        refusal: "抱歉，我无法为您转接到那里。",
        unreachable: "抱歉，暂时无人接听。",
        wait: "请稍等。",
        fillers: &["啊", "哦", "呃", "额", "那个", "唔"],
        assents: &["嗯", "嗯嗯", "好", "好的", "是", "是的", "对", "对的", "行"],
        take_backs: &["取消", "算了", "不用了"],
    },
    Language {
        tag: "de",
        apology: "Entschuldigung, da ist etwas schiefgegangen. Bitte sagen Sie das noch einmal.",
        goodbye: "Danke für Ihren Anruf. Auf Wiederhören.",
        refusal: "Es tut mir leid, dorthin kann ich Sie nicht verbinden.",
        unreachable: "Es tut mir leid, dort war niemand zu erreichen.",
        wait: "Einen Moment, bitte.",
        fillers: &["äh", "ähm", "öh", "hm", "hmm", "ach", "oh"],
        assents: &["mhm", "aha", "ja", "okay", "ok", "genau", "gut", "alles klar", "stimmt"],
        take_backs: &["abbrechen", "vergiss es", "vergessen sie es", "schon gut", "lass es"],
    },
    Language {
        tag: "es",
        apology: "Lo siento, algo ha fallado. Repítalo, por favor.",
        goodbye: "Gracias por su llamada. Adiós.",
        refusal: "Lo siento, no puedo conectarle con ese número.",
        unreachable: "Lo siento, no he podido localizar a nadie.",
        wait: "Un momento, por favor.",
        fillers: &["eh", "em", "este", "mm", "hm", "ah"],
        assents: &["ajá", "mhm", "sí", "vale", "ok", "bueno", "claro", "ya"],
        take_backs: &["cancela", "cancelar", "olvídalo", "déjalo"],
    },
    Language {
        tag: "fr",
        apology: "Désolé, un problème est survenu. Pouvez-vous répéter ?",
        goodbye: "Merci de votre appel. Au revoir.",
        refusal: "Désolé, je ne peux pas vous y transférer.",
        unreachable: "Désolé, je n'ai pu joindre personne.",
        wait: "Un instant, s'il vous plaît.",
        fillers: &["euh", "heu", "hum", "mm", "ah", "bah", "ben"],
        assents: &["mhm", "oui", "ouais", "d'accord", "ok", "bien", "voilà"],
        take_backs: &["annule", "annulez", "laissez tomber", "oubliez"],
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
        wait: row.wait.to_owned(),
    }
}

/// Longest text that may be nothing but fillers, in bytes.
const LONGEST: usize = 60;
/// Most words of a list of fillers.
const MAX_FILLERS: usize = 500;

/// Words that are heard while somebody listens: they neither interrupt nor are they answered while the agent
/// speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fillers {
    /// Words in place of those of the language.
    own: Option<Vec<String>>,
    language: String,
}

impl Fillers {
    /// Those of a language, with those of English.
    pub fn of(language: &str) -> Self {
        Fillers { own: None, language: language.to_owned() }
    }

    /// These words and no others. Of more than 500 the first count.
    pub fn listed<'a>(words: impl IntoIterator<Item = &'a str>, language: &str) -> Self {
        let own = words.into_iter().map(|word| normal(word).join(" ")).filter(|word| !word.is_empty());
        Fillers { own: Some(own.take(MAX_FILLERS).collect()), language: language.to_owned() }
    }

    /// The words of a file: one on each line, `#` begins a remark.
    pub fn from_file(text: &str, language: &str) -> Self {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        Fillers::listed(lines.filter(|line| !line.is_empty()), language)
    }

    /// Whether `text` consists of fillers and words of assent only.
    pub fn are_all_of(&self, text: &str) -> bool {
        covers(text, |word| self.is_filler(word) || self.is_assent(word))
    }

    /// Whether `text` is such and says yes: after a question it is an answer.
    pub fn assent(&self, text: &str) -> bool {
        let words = normal(text);
        let pair = |pair: &[String]| self.is_assent(&pair.join(" "));
        self.are_all_of(text) && (words.iter().any(|word| self.is_assent(word)) || words.windows(2).any(pair))
    }

    fn is_filler(&self, word: &str) -> bool {
        match &self.own {
            Some(own) => own.iter().any(|own| own == word),
            None => [language(&self.language), language("en")].iter().any(|row| row.fillers.contains(&word)),
        }
    }

    fn is_assent(&self, word: &str) -> bool {
        let rows = [language(&self.language), language("en")];
        let known = rows.iter().any(|row| row.assents.contains(&word));
        known && self.own.as_ref().is_none_or(|own| own.iter().any(|own| own == word))
    }
}

/// Whether `text` takes back what is being looked up.
pub fn takes_back(text: &str, tag: &str) -> bool {
    let words = format!(" {} ", normal(text).join(" "));
    let said = |phrase: &&str| {
        let wide = !phrase.is_ascii() && phrase.chars().all(|c| ('\u{3040}'..='\u{9fff}').contains(&c));
        if wide { words.contains(*phrase) } else { words.contains(&format!(" {phrase} ")) }
    };
    text.len() <= 10 * LONGEST
        && [language(tag), language("en")].iter().any(|row| row.take_backs.iter().any(&said))
}

/// How many words `text` has; each Chinese or Japanese character counts as one.
pub fn count_words(text: &str) -> usize {
    let wide = |c: char| ('\u{3040}'..='\u{9fff}').contains(&c);
    text.split(|c: char| c.is_whitespace() || wide(c))
        .filter(|word| word.chars().any(char::is_alphanumeric))
        .count()
        + text.chars().filter(|c| wide(*c)).count()
}

/// Whether single words, or pairs such as "i see", make up all of `text`.
fn covers(text: &str, known: impl Fn(&str) -> bool) -> bool {
    if text.len() > LONGEST {
        return false;
    }
    let words = normal(text);
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let pair = words.get(at + 1).map(|next| format!("{word} {next}"));
        at += match pair {
            _ if known(word) => 1,
            Some(pair) if known(&pair) => 2,
            _ => return false,
        };
    }
    !words.is_empty()
}

/// The words of a text in lower case, without signs.
fn normal(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|c: char| c.is_whitespace() || ",.!?…，。！？、;:\"".contains(c))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fillers_are_known_by_language() {
        let is = |text: &str, language: &str| Fillers::of(language).are_all_of(text);
        assert!(is("Mm-hm.", "en") && is("uh, um", "de") && is("嗯，", "zh-CN") && is("Okay, I see.", "en"));
        assert!(!is("stop", "en") && !is("um stop", "en") && !is("", "en") && !is("okay stop", "en"));
        assert!(!is("no", "en") && !is(&"um ".repeat(100), "en"));
    }

    #[test]
    fn assent_is_more_than_a_sound_of_thinking() {
        let fillers = Fillers::of("en");
        assert!(fillers.assent("Yes, okay.") && fillers.assent("um, all right") && !fillers.assent("um"));
    }

    #[test]
    fn a_list_of_ones_own_replaces_the_language() {
        let fillers = Fillers::from_file("# ours\nlah\n uh # a sound\n\nokay\n", "en");
        assert!(fillers.are_all_of("uh lah") && !fillers.are_all_of("um") && fillers.assent("okay"));
    }

    #[test]
    fn words_are_counted_in_every_script() {
        assert_eq!([count_words("wait, listen"), count_words("等一下"), count_words(" ... ")], [2, 3, 0]);
    }

    #[test]
    fn an_unknown_language_speaks_english() {
        assert_eq!(defaults("tlh"), defaults("en"));
        assert_ne!(defaults("zh-CN"), defaults("en"));
    }
}
