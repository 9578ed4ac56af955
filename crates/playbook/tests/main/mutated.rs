//! Playbooks that someone has damaged: read, or refused with the line.

use playbook::Playbook;
use proptest::prelude::*;

const FILES: [&str; 5] = [
    include_str!("../../../../config/playbook/demo.md"),
    include_str!("../../../../config/playbook/appointment.md"),
    include_str!("../../../../config/playbook/menu.md"),
    include_str!("../../../../config/playbook/realtime.md"),
    include_str!("../../../../config/playbook/survey.md"),
];

/// What slips of a keyboard and of a merge put into a file.
const SLIPS: [&str; 18] = [
    "",
    ":",
    " ",
    "\n",
    "---\n",
    "- ",
    "[",
    "}",
    "{{",
    "{%",
    "\"",
    "'",
    "<goto ",
    "# Scene: x\n",
    "\t",
    "\u{0}",
    "é😀",
    "null",
];

/// One of the files with `edits`: where, in parts of 10,000, how many characters go, and which slip comes.
fn damaged(file: usize, edits: &[(usize, usize, usize)]) -> String {
    let mut text: Vec<char> = FILES[file].chars().collect();
    for (place, gone, slip) in edits {
        let at = text.len() * place / 10_000;
        let end = (at + gone).min(text.len());
        text.splice(at..end, SLIPS[*slip].chars());
    }
    text.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn a_damaged_playbook_is_read_or_refused_with_its_line(
        file in 0..FILES.len(),
        edits in prop::collection::vec((0_usize..10_000, 0_usize..40, 0..SLIPS.len()), 1..4),
    ) {
        let text = damaged(file, &edits);
        if let Err(error) = Playbook::parse(&text, &|_| None) {
            let told = error.to_string();
            let line = told.strip_prefix("line ").and_then(|rest| rest.split([',', ':', ' ']).next()?.parse::<usize>().ok());
            prop_assert!(line.is_some_and(|line| (1..=text.lines().count() + 1).contains(&line)), "{}", told);
        }
    }
}
