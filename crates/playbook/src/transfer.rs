//! Whom a model may call in.
//!
//! What a caller dictates can never dial: a target that a model names is called only if the author of the
//! playbook wrote it down, in `transfers` or anywhere in the file.

use std::collections::BTreeSet;

/// Targets a model may name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed(BTreeSet<String>);

/// Schemes of addresses that can be called.
const SCHEMES: &[&str] = &["sip:", "sips:", "tel:"];

impl Allowed {
    /// The targets listed in `transfers` and every address written in `source`, the text of the playbook.
    pub fn new<'a>(transfers: impl IntoIterator<Item = &'a str>, source: &str) -> Self {
        let listed = transfers.into_iter().map(str::to_owned);
        let written = source
            .split(ends_address)
            .filter(|word| has_scheme(word))
            .map(|word| word.trim_end_matches(['.', ':', '!', '?']).to_owned());
        Allowed(listed.chain(written).map(|target| normal(&target)).collect())
    }

    /// Allows these targets too, such as those of a configuration.
    pub fn also<'a>(&mut self, targets: impl IntoIterator<Item = &'a str>) {
        self.0.extend(targets.into_iter().map(normal));
    }

    /// Every target, with scheme and host in lower case.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether `target` may be called.
    pub fn permits(&self, target: &str) -> bool {
        self.0.contains(&normal(target))
    }
}

fn has_scheme(word: &str) -> bool {
    SCHEMES
        .iter()
        .any(|scheme| word.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme)))
}

/// A character that cannot be part of an address in running text. Braces end it, so that a template is never
/// taken for the address it would render to.
fn ends_address(c: char) -> bool {
    c.is_whitespace() || "\"'`<>()[]{},|".contains(c)
}

/// Scheme and host are the same in any case (RFC 3261 section 19.1.4); the user is not.
fn normal(target: &str) -> String {
    let target = target.trim();
    match target.rsplit_once('@') {
        Some((user, host)) => {
            let (scheme, user) = user.split_once(':').unwrap_or(("sip", user));
            format!("{}:{user}@{}", scheme.to_ascii_lowercase(), host.to_ascii_lowercase())
        }
        None => target.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> Allowed {
        Allowed::new(["sip:desk@pbx.example"], "Offer <refer to=\"sip:100@pbx.example\"/> or tel:+4930.\n")
    }

    #[test]
    fn what_the_author_wrote_may_be_called() {
        assert!(allowed().permits("sip:100@pbx.example"));
        assert!(allowed().permits("SIP:100@PBX.example"));
        assert!(allowed().permits("sip:desk@pbx.example"));
        assert!(allowed().permits("tel:+4930"));
    }

    #[test]
    fn parts_and_variations_may_not() {
        for target in ["sip:1", "sip:100@pbx.example;x=1", "sip:1000@pbx.example", "sip:Desk@pbx.example", ""]
        {
            assert!(!allowed().permits(target), "{target}");
        }
    }

    #[test]
    fn a_template_allows_nothing() {
        let allowed = Allowed::new([], "<refer to=\"sip:{{ number }}@pbx.example\"/>");
        assert!(!allowed.permits("sip:900@pbx.example"));
    }
}
