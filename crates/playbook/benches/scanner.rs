//! The tag scanner on 100 kB: in one-character chunks, as a model streams, and at once. The time per character
//! must not depend on the length.

use divan::Bencher;
use divan::counter::BytesCount;
use playbook::scanner::Scanner;

const PART: &str = "We open at nine, [happy]good news[/happy], and <b>close</b> at 5 < 6. \
    <set_var key=\"time\" value='nine'/> See <http url=\"https://h/?a=1\" body='{\"q\": 1}'/>. ```code <hangup/>``` ";

fn main() {
    divan::main();
}

fn text(bytes: usize) -> String {
    PART.chars().cycle().take(bytes).collect()
}

#[divan::bench(args = [10_000, 100_000, 1_000_000])]
fn one_character_at_a_time(bencher: Bencher<'_, '_>, bytes: usize) {
    let text = text(bytes);
    bencher.counter(BytesCount::new(bytes)).bench(|| {
        let (mut scanner, mut out) = (Scanner::default(), Vec::new());
        let mut piece = [0; 4];
        for c in text.chars() {
            scanner.push(c.encode_utf8(&mut piece), &mut out);
        }
        scanner.finish(&mut out);
        out
    });
}

#[divan::bench(args = [100_000])]
fn at_once(bencher: Bencher<'_, '_>, bytes: usize) {
    let text = text(bytes);
    bencher.counter(BytesCount::new(bytes)).bench(|| {
        let (mut scanner, mut out) = (Scanner::default(), Vec::new());
        scanner.push(&text, &mut out);
        scanner.finish(&mut out);
        out
    });
}

/// One quote that is never closed, and one `<` after the other: the worst a model can stream.
#[divan::bench(args = ["<", "<set_var value=\"", "<b x=", "[a", "<h"])]
fn garbage(bencher: Bencher<'_, '_>, piece: &str) {
    let text: String = piece.chars().cycle().take(100_000).collect();
    bencher.counter(BytesCount::new(text.len())).bench(|| {
        let (mut scanner, mut out) = (Scanner::default(), Vec::new());
        scanner.push(&text, &mut out);
        scanner.finish(&mut out);
        out
    });
}
