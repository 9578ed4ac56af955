//! Properties of the scanner and of sentences.

use playbook::scanner::{Scan, Scanner};
use playbook::sentence::Sentences;
use playbook::thinking::{Piece, Thinking};
use proptest::prelude::*;

/// What a text gives when it comes in pieces of `size` characters, neighbouring words joined.
fn scan(text: &str, size: usize) -> Vec<Scan> {
    let (mut scanner, mut out) = (Scanner::default(), Vec::new());
    let chars: Vec<char> = text.chars().collect();
    for piece in chars.chunks(size) {
        scanner.push(&piece.iter().collect::<String>(), &mut out);
    }
    scanner.finish(&mut out);
    let mut joined: Vec<Scan> = Vec::new();
    for scan in out {
        match (joined.last_mut(), scan) {
            (Some(Scan::Text(before)), Scan::Text(text)) => before.push_str(&text),
            (_, scan) => joined.push(scan),
        }
    }
    joined
}

fn words(scans: &[Scan]) -> String {
    let text = |scan: &Scan| if let Scan::Text(text) = scan { text.clone() } else { String::new() };
    scans.iter().map(text).collect()
}

/// What is left of a text without thoughts that comes in pieces of `size` characters.
fn unthought(text: &str, size: usize, mut thinking: Thinking) -> String {
    let (mut out, mut words) = (Vec::new(), String::new());
    let chars: Vec<char> = text.chars().collect();
    for piece in chars.chunks(size) {
        thinking.push(&piece.iter().collect::<String>(), &mut out);
    }
    thinking.finish(&mut out);
    for piece in out {
        match piece {
            Piece::Words(text) => words.push_str(&text),
            Piece::Retracted => words.clear(),
        }
    }
    words
}

/// Replies made of what matters to the scanner.
fn reply() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-zA-Z .,!?é你。]{0,8}",
        "[<>/=\"'`\\[\\] \n]{0,4}",
        Just("<hangup/>".to_owned()),
        Just("<goto scene=\"b\"/>".to_owned()),
        Just("<set_var key='k' value=\"a > b\"/>".to_owned()),
        Just("<http url=\"http://h/?a=1\" body='{\"x\": \"<y>\"}'/>".to_owned()),
        Just("</goto>".to_owned()),
        Just("<b class=\"x\">".to_owned()),
        Just("[happy]".to_owned()),
        Just("[/happy]".to_owned()),
        Just("```".to_owned()),
        Just("<set_var ".to_owned()),
        Just("<ref".to_owned()),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn one_character_at_a_time_equals_all_at_once(text in reply(), size in 1_usize..7) {
        prop_assert_eq!(scan(&text, size), scan(&text, usize::MAX));
    }

    #[test]
    fn thoughts_are_the_same_in_one_piece_and_in_many(
        text in "(</?(think|thinking|Reasoning) ?>|[a-c<>/ ]{0,4}|<thi|nk>){0,12}",
        size in 1_usize..7,
    ) {
        let whole = unthought(&text, usize::MAX, Thinking::default());
        prop_assert_eq!(unthought(&text, size, Thinking::default()), whole);
        let whole = unthought(&text, usize::MAX, Thinking::veiled());
        prop_assert_eq!(unthought(&text, size, Thinking::veiled()), whole);
    }

    #[test]
    fn no_tag_is_ever_words(text in reply(), size in 1_usize..7) {
        let words = words(&scan(&text, size)).to_lowercase();
        for name in ["hangup", "goto", "refer", "play", "set_var", "http", "collect"] {
            for end in [" ", "/", ">", "\n"] {
                let (tag, closing) = (format!("<{name}{end}"), format!("</{name}{end}"));
                prop_assert!(!words.contains(&tag) && !words.contains(&closing), "{} in {:?}", tag, words);
            }
        }
    }

    #[test]
    fn any_text_is_taken(text in any::<String>()) {
        scan(&text, 1);
        let (mut sentences, mut out) = (Sentences::default(), Vec::new());
        sentences.push(&text, &mut out);
        out.extend(sentences.flush());
    }

    #[test]
    fn a_cut_off_tag_is_never_words(text in "[a-z ]{0,10}", cut in 1_usize..26) {
        let tag = "<set_var key=\"k\" value=\"v\"/>";
        let cut_off: String = tag.chars().take(cut).collect();
        let heard = words(&scan(&format!("{text}{cut_off}"), 1));
        prop_assert_eq!(heard.trim_end_matches('<'), text);
    }

    #[test]
    fn sentences_keep_every_word(text in "([a-zA-Z0-9]{1,9}[.,!?]{0,1}[ \n]{1,2}){0,30}", size in 1_usize..9) {
        let (mut sentences, mut out) = (Sentences::default(), Vec::new());
        let chars: Vec<char> = text.chars().collect();
        for piece in chars.chunks(size) {
            sentences.push(&piece.iter().collect::<String>(), &mut out);
        }
        out.extend(sentences.flush());
        let said = out.concat();
        let (said, text): (Vec<&str>, Vec<&str>) = (said.split_whitespace().collect(), text.split_whitespace().collect());
        prop_assert_eq!(said, text);
    }
}

#[test]
fn endless_garbage_stays_small() {
    let (mut scanner, mut out) = (Scanner::default(), Vec::new());
    for _ in 0..100_000 {
        scanner.push("<set_var value=\"", &mut out);
        out.clear();
    }
    assert!(format!("{scanner:?}").len() < 10_000);
}
