//! Configurations that someone has damaged: read, or refused with the place.

use active_call::config::problem::Source;
use active_call::config::read;
use proptest::prelude::*;

const EXAMPLE: &str = include_str!("../../../../config/active-call.example.toml");

/// What slips of a keyboard and of a merge put into a file.
const SLIPS: [&str; 18] = [
    "",
    "=",
    " ",
    "\n",
    "[",
    "]]",
    "[sip]\n",
    "\"",
    "'''",
    "#",
    "-1",
    "true",
    "99999999999999999999",
    "\u{0}",
    "é😀",
    ".",
    "{ }",
    "${NAME}",
];

/// The example with `edits` (where, in parts of 10,000, how many characters go, and which slip comes), before which the keys
/// on some of its lines, `on`, are freed of their `#`.
fn damaged(on: &[usize], edits: &[(usize, usize, usize)]) -> String {
    let freed = EXAMPLE.lines().enumerate().map(|(number, line)| match line.strip_prefix("# ") {
        Some(key) if on.contains(&number) && key.contains(" = ") => key,
        _ => line,
    });
    let mut text: Vec<char> = freed.collect::<Vec<_>>().join("\n").chars().collect();
    for (place, gone, slip) in edits {
        let at = text.len() * place / 10_000;
        let end = (at + gone).min(text.len());
        text.splice(at..end, SLIPS[*slip].chars());
    }
    text.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(800) })]

    #[test]
    fn a_damaged_configuration_is_read_or_refused_with_its_place(
        on in prop::collection::vec(0_usize..200, 0..9),
        edits in prop::collection::vec((0_usize..10_000, 0_usize..40, 0..SLIPS.len()), 0..4),
    ) {
        let text = damaged(&on, &edits);
        let lines = text.lines().count() + 1;
        let read = read::text(&Source { name: "a.toml".into(), text }, &|_| Some("7".into()));
        if let Err(error) = read {
            let problem = error.problem();
            prop_assert!((1..=lines).contains(&problem.line) && problem.column > 0, "{}", problem);
            prop_assert!(!problem.message.is_empty());
        }
    }
}
