//! Whether a grammar in JSGF can be read, and where not: the program tells it only once a call is up, and only that it
//! cannot.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::vec::IntoIter;

/// Brackets within brackets; nobody writes so many.
const DEEPEST: usize = 50;
/// Rules that stand for nothing and for what nobody says (JSGF section 3.3).
const SPECIAL: &[&str] = &["NULL", "VOID"];

/// One sign of a grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sign {
    /// A word, in quotes or not.
    Word(String),
    /// `<name>`, without what stands before a dot.
    Rule(String),
    /// `(`, `)`, `[`, `]`, `|`, `*`, `+`, `=`, `;`.
    Mark(char),
    /// A weight or a tag, of which nothing is said.
    Beside,
}

/// Looks a grammar over.
///
/// # Errors
/// What is wrong in it and in which rule.
pub(super) fn check(grammar: &str) -> Result<(), String> {
    let mut rules = BTreeSet::new();
    let mut named = Vec::new();
    let mut public = false;
    for statement in statements(&signs(grammar)?) {
        let mut signs = statement.into_iter().peekable();
        match signs.peek() {
            None => continue,
            Some(Sign::Word(word)) if word.starts_with("#JSGF") || word == "grammar" => continue,
            Some(Sign::Word(word)) if word == "public" => {
                public = true;
                signs.next();
            }
            Some(_) => {}
        }
        let Some(Sign::Rule(name)) = signs.next() else {
            return Err("expected rules such as: public <any> = yes | no;".to_owned());
        };
        if signs.next() != Some(Sign::Mark('=')) {
            return Err(format!("the rule <{name}> has no `=` behind its name"));
        }
        let mut rule = Expansion { rule: &name, signs, named: &mut named };
        rule.alternatives(0)
            .and_then(|()| rule.ends())
            .map_err(|why| format!("in the rule <{name}>: {why}"))?;
        if !rules.insert(name.clone()) {
            return Err(format!("the rule <{name}> is there twice"));
        }
    }
    if !public {
        return Err("no rule is `public`, so nothing can be heard".to_owned());
    }
    let unknown = |named: &&Named| !rules.contains(&named.name) && !SPECIAL.contains(&named.name.as_str());
    if let Some(missing) = named.iter().find(unknown) {
        return Err(format!("there is no rule <{}>", missing.name));
    }
    match named.iter().find(|one| !one.last && leads_to(&one.name, &one.rule, &named)) {
        Some(Named { rule, name, .. }) => Err(format!(
            "in the rule <{rule}>: <{name}> leads back to the rule, so it must be the last of its alternative"
        )),
        None => Ok(()),
    }
}

/// Whether the rule `from` is `to` or names it, itself or through others.
fn leads_to(from: &str, to: &str, named: &[Named]) -> bool {
    let mut seen = BTreeSet::from([from]);
    let mut left = vec![from];
    while let Some(rule) = left.pop() {
        if rule == to {
            return true;
        }
        let next = named.iter().filter(|one| one.rule == rule).map(|one| one.name.as_str());
        left.extend(next.filter(|name| seen.insert(name)));
    }
    false
}

/// The signs between semicolons.
fn statements(signs: &[Sign]) -> Vec<Vec<Sign>> {
    signs.split(|sign| *sign == Sign::Mark(';')).map(<[Sign]>::to_vec).collect()
}

/// A rule that is named in another, or in itself.
struct Named {
    /// Where it is named.
    rule: String,
    name: String,
    /// Nothing follows it in its alternative, and it is not repeated.
    last: bool,
}

/// The right side of a rule.
struct Expansion<'a> {
    rule: &'a str,
    signs: Peekable<IntoIter<Sign>>,
    /// The rules that are named.
    named: &'a mut Vec<Named>,
}

impl Expansion<'_> {
    fn alternatives(&mut self, depth: usize) -> Result<(), String> {
        if depth > DEEPEST {
            return Err("brackets within brackets, too many".to_owned());
        }
        loop {
            self.sequence(depth)?;
            if self.signs.next_if_eq(&Sign::Mark('|')).is_none() {
                return Ok(());
            }
        }
    }

    fn sequence(&mut self, depth: usize) -> Result<(), String> {
        let mut items = 0;
        // The rule that is the last item so far.
        let mut last = None;
        while let Some(sign) = self.signs.next_if(|sign| !matches!(sign, Sign::Mark('|' | ')' | ']'))) {
            let before = if sign == Sign::Beside { None } else { last.take() };
            if let Some(named) = before.and_then(|at: usize| self.named.get_mut(at)) {
                named.last = false;
            }
            match sign {
                Sign::Word(_) => items += 1,
                Sign::Rule(name) => {
                    last = Some(self.named.len());
                    self.named.push(Named { rule: self.rule.to_owned(), name, last: true });
                    items += 1;
                }
                Sign::Mark(open @ ('(' | '[')) => {
                    self.alternatives(depth + 1)?;
                    let close = if open == '(' { ')' } else { ']' };
                    if self.signs.next_if_eq(&Sign::Mark(close)).is_none() {
                        return Err(format!("`{open}` is not closed"));
                    }
                    items += 1;
                }
                Sign::Mark('*' | '+') if items == 0 => {
                    return Err("nothing stands before `*` or `+`".to_owned());
                }
                Sign::Mark('=') => return Err("`=` a second time: is a `;` missing?".to_owned()),
                Sign::Mark(_) | Sign::Beside => {}
            }
        }
        if items == 0 { Err("an alternative is empty".to_owned()) } else { Ok(()) }
    }

    fn ends(&mut self) -> Result<(), String> {
        match self.signs.next() {
            Some(Sign::Mark(mark)) => Err(format!("`{mark}` closes nothing")),
            _ => Ok(()),
        }
    }
}

/// The signs of a grammar, without comments.
fn signs(grammar: &str) -> Result<Vec<Sign>, String> {
    let text = without_comments(grammar);
    let mut signs = Vec::new();
    let mut rest = text.as_str();
    while let Some(first) = rest.trim_start().chars().next() {
        rest = rest.trim_start();
        let after = &rest[first.len_utf8()..];
        let end = match first {
            '<' => Some('>'),
            '{' => Some('}'),
            '/' => Some('/'),
            '"' => Some('"'),
            _ => None,
        };
        if let Some(end) = end {
            let (inside, behind) =
                after.split_once(end).ok_or_else(|| format!("`{first}` is not closed by `{end}`"))?;
            signs.push(match first {
                '<' => Sign::Rule(inside.trim().rsplit('.').next().unwrap_or_default().to_owned()),
                '"' => Sign::Word(inside.to_owned()),
                _ => Sign::Beside,
            });
            rest = behind;
        } else if is_mark(first) {
            signs.push(Sign::Mark(first));
            rest = after;
        } else {
            let length = rest.find(|c: char| is_mark(c) || c.is_whitespace() || "<{/\"".contains(c));
            let (word, behind) = rest.split_at(length.unwrap_or(rest.len()));
            if word.contains(['>', '}']) {
                return Err(format!("`{}` closes nothing", word.chars().take(20).collect::<String>()));
            }
            signs.push(Sign::Word(word.to_owned()));
            rest = behind;
        }
    }
    Ok(signs)
}

fn is_mark(c: char) -> bool {
    "()[]|*+=;".contains(c)
}

fn without_comments(grammar: &str) -> String {
    let mut plain = String::with_capacity(grammar.len());
    let mut rest = grammar;
    while let Some(at) = rest.find("/*") {
        plain.push_str(&rest[..at]);
        plain.push(' ');
        rest = rest[at..].split_once("*/").map_or("", |(_, behind)| behind);
    }
    plain.push_str(rest);
    let line = |line: &str| line.split_once("//").map_or(line, |(before, _)| before).to_owned() + "\n";
    plain.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_reads_is_good() {
        for grammar in [
            "public <a> = yes | no;",
            "#JSGF V1.0;\ngrammar g;\n// a comment\npublic <a> = /0.5/ open [the] <b> {tag} | \"yes\";\n<b> = Door*;",
            "#JSGF V1.0 UTF-8 en;\ngrammar g;\n/* two\nlines */ public <a> = ( <g.b> | c )+ ;\n<b> = d",
            "public <a> = <NULL> | x ;",
            "<b> = b ; public <a> = (<b> [c]) {x} {y} ;",
            "public <a> = one <a> {more} | two <b> | three ; <b> = [<a>] ;",
        ] {
            assert_eq!(check(grammar), Ok(()), "{grammar}");
        }
    }

    #[test]
    fn what_it_cannot_read_is_told_with_its_rule() {
        for (grammar, told) in [
            ("public <a> = yes | ( no ;", "in the rule <a>: `(` is not closed"),
            ("public <a> = yes | ;", "in the rule <a>: an alternative is empty"),
            ("public <a> = yes ) no ;", "in the rule <a>: `)` closes nothing"),
            ("public <a> = [ yes ) ;", "in the rule <a>: `[` is not closed"),
            ("public <a> = <b> | no ;", "there is no rule <b>"),
            ("<a> = yes ;", "no rule is `public`, so nothing can be heard"),
            ("public <a> yes ;", "the rule <a> has no `=` behind its name"),
            ("public <a> = yes\n<b> = no ;", "in the rule <a>: `=` a second time: is a `;` missing?"),
            ("public <a = yes ;", "`<` is not closed by `>`"),
            ("public a> = yes ;", "`a>` closes nothing"),
            ("public <a> = * ;", "in the rule <a>: nothing stands before `*` or `+`"),
            ("public <a> = b ; <a> = c ;", "the rule <a> is there twice"),
            (
                "public <a> = one | <a> two ;",
                "in the rule <a>: <a> leads back to the rule, so it must be the last of its alternative",
            ),
            (
                "public <a> = <b>* ; <b> = c <a> ;",
                "in the rule <a>: <b> leads back to the rule, so it must be the last of its alternative",
            ),
            ("yes or no", "expected rules such as: public <any> = yes | no;"),
            ("public <a> = \"yes ;", "`\"` is not closed by `\"`"),
        ] {
            assert_eq!(check(grammar), Err(told.to_owned()), "{grammar}");
        }
        let deep = format!("public <a> = {} b {};", "(".repeat(10_000), ")".repeat(10_000));
        assert!(check(&deep).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_grammar_panics(grammar in "[a-c<>(){}/\"*+|=; \\]\\[]{0,40}") {
            let _ = check(&grammar);
        }
    }
}
