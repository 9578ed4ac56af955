//! Where an inbound call goes: pure rules by caller and callee.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use crate::config::words::{HandlerKind, Pattern};
use crate::config::{Config, HandlerTable};

/// The rules for inbound calls.
#[derive(Clone, Debug, Default)]
pub enum Routes {
    /// Nobody takes calls.
    #[default]
    Nobody,
    /// A server is asked, and a client takes the call.
    Webhook,
    /// Playbooks answer.
    Playbooks {
        /// First fitting rule wins.
        rules: Vec<PlaybookRule>,
        /// For calls that no rule fits.
        default: Option<String>,
    },
}

/// One rule of [`Routes::Playbooks`]. An absent pattern fits every call.
#[derive(Clone, Debug)]
pub struct PlaybookRule {
    /// For the caller.
    pub caller: Option<Pattern>,
    /// For the callee.
    pub callee: Option<Pattern>,
    /// Name of the playbook.
    pub playbook: String,
}

/// What becomes of one inbound call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// This playbook answers.
    Playbook(String),
    /// The webhook is asked.
    Webhook,
    /// 503, for this reason.
    Refuse(&'static str),
}

impl Routes {
    /// The rules that `config` describes.
    pub fn from_config(config: &Config) -> Self {
        config.handler.as_ref().map_or(Routes::Nobody, Self::from_table)
    }

    fn from_table(table: &HandlerTable) -> Self {
        match table.r#type {
            None => Routes::Nobody,
            Some(HandlerKind::Webhook) => Routes::Webhook,
            Some(HandlerKind::Playbook) => {
                let rule = |rule: &crate::config::Rule| PlaybookRule {
                    caller: rule.caller.clone(),
                    callee: rule.callee.clone(),
                    playbook: rule.playbook.clone(),
                };
                Routes::Playbooks {
                    rules: table.rules.iter().map(rule).collect(),
                    default: table.default.clone(),
                }
            }
        }
    }

    /// Where a call from `caller` to `callee`, both URIs, goes.
    pub fn route(&self, caller: &str, callee: &str) -> Route {
        match self {
            Routes::Nobody => Route::Refuse("No invite handler configured"),
            Routes::Webhook => Route::Webhook,
            Routes::Playbooks { rules, default } => rules
                .iter()
                .find(|rule| fits(rule.caller.as_ref(), caller) && fits(rule.callee.as_ref(), callee))
                .map(|rule| &rule.playbook)
                .or(default.as_ref())
                .map_or(Route::Refuse("No playbook for this call"), |name| Route::Playbook(name.clone())),
        }
    }

    /// The playbooks that calls may be sent to.
    pub fn playbooks(&self) -> Vec<&str> {
        match self {
            Routes::Nobody | Routes::Webhook => Vec::new(),
            Routes::Playbooks { rules, default } => {
                rules.iter().map(|rule| rule.playbook.as_str()).chain(default.as_deref()).collect()
            }
        }
    }
}

/// Whether the pattern is found in the URI or in its user part: `^\+1` is meant for the number, and
/// `^sip:support@` for the URI. Both are looked at without escapes too, since `%2B1` is `+1` (RFC 3261 section 19.1.4).
fn fits(pattern: Option<&Pattern>, uri: &str) -> bool {
    let found = |Pattern(regex): &Pattern| {
        let written = [uri, user_part(uri)];
        written.iter().any(|part| regex.is_match(part) || regex.is_match(&unescaped(part)))
    };
    pattern.is_none_or(found)
}

/// `text` with the characters that its escapes stand for.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((byte, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        let escaped = digit(0).zip(digit(1)).filter(|_| *byte == b'%');
        bytes.push(escaped.map_or(*byte, |(high, low)| (high * 16 + low) as u8));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// User part of a SIP URI without parameters and password; the number of a `tel:` URI.
fn user_part(uri: &str) -> &str {
    let bare = match uri.split_once(':') {
        Some((scheme, rest)) if ["sip", "sips", "tel"].iter().any(|s| scheme.eq_ignore_ascii_case(s)) => rest,
        _ => uri,
    };
    let user = bare.rsplit_once('@').map_or(bare, |(user, _)| user);
    user.split([';', ':', '?']).next().unwrap_or_default()
}

/// Why a name does not lead to a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The name could lead out of the folder.
    #[error("{0:?} leads out of its folder: write a name under it, without \"..\" and not absolute")]
    Outside(String),
    /// There is no such file.
    #[error("{0:?} is not there")]
    Missing(String),
}

impl PathError {
    /// As in HTTP.
    pub fn code(&self) -> u16 {
        if matches!(self, PathError::Outside(_)) { 403 } else { 404 }
    }
}

/// The relative path that `name` means under the folder `folder`: a name may repeat the folder's own path, as
/// `config/playbook/hello.md` does.
///
/// # Errors
/// [`PathError::Outside`] for absolute names, `..`, and names with NUL; [`PathError::Missing`] for the folder itself.
pub fn relative(folder: &Path, name: &str) -> Result<PathBuf, PathError> {
    let outside = || PathError::Outside(protocol::read::shown(name));
    if name.is_empty() || name.contains('\0') || name.contains('\\') {
        return Err(outside());
    }
    let plain = |path: &Path| -> Option<PathBuf> {
        let steps = path.components().filter(|step| *step != Component::CurDir);
        steps.map(|step| if let Component::Normal(name) = step { Some(name) } else { None }).collect()
    };
    let asked = plain(Path::new(name)).ok_or_else(outside)?;
    let own = plain(folder).and_then(|own| asked.strip_prefix(own).map(Path::to_path_buf).ok());
    let relative = own.unwrap_or(asked);
    // The folder itself is no file in it.
    if relative.as_os_str().is_empty() {
        return Err(PathError::Missing(protocol::read::shown(name)));
    }
    Ok(relative)
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    fn rule(caller: Option<&str>, callee: Option<&str>, playbook: &str) -> PlaybookRule {
        let pattern = |text: &str| Pattern(Regex::new(text).unwrap());
        PlaybookRule { caller: caller.map(pattern), callee: callee.map(pattern), playbook: playbook.into() }
    }

    fn playbook(name: &str) -> Route {
        Route::Playbook(name.into())
    }

    #[test]
    fn the_first_rule_that_fits_wins() {
        let routes = Routes::Playbooks {
            rules: vec![
                rule(Some(r"^\+1\d{10}$"), None, "us.md"),
                rule(None, Some("^sip:support@"), "support.md"),
                rule(Some(r"^\+1"), Some("^100$"), "never.md"),
            ],
            default: Some("hello.md".into()),
        };
        assert_eq!(routes.route("sip:+15551234567@h;user=phone", "sip:support@h"), playbook("us.md"));
        assert_eq!(routes.route("sip:anna@h", "sip:support@h"), playbook("support.md"));
        assert_eq!(routes.route("sip:anna@h", "sip:sales@h"), playbook("hello.md"));
        assert_eq!(routes.route("tel:+15551234567", "sip:x@h"), playbook("us.md"));
    }

    #[test]
    fn an_escaped_character_is_the_character() {
        let routes = Routes::Playbooks {
            rules: vec![
                rule(Some(r"^\+1\d{10}$"), None, "us.md"),
                rule(None, Some("^sip:jürgen@"), "names.md"),
                rule(None, Some("^100%$"), "written.md"),
            ],
            default: None,
        };
        assert_eq!(routes.route("sip:%2B15551234567@h", "sip:x@h"), playbook("us.md"));
        assert_eq!(routes.route("sip:%2b1555123456%37@h", "sip:x@h"), playbook("us.md"));
        assert_eq!(routes.route("sip:a@h", "sip:j%C3%BCrgen@h"), playbook("names.md"));
        assert_eq!(routes.route("sip:a@h", "sip:100%@h"), playbook("written.md"));
        assert!(matches!(routes.route("sip:%2", "sip:%ff%zz%@h"), Route::Refuse(_)));
    }

    #[test]
    fn a_call_that_nothing_fits_is_refused() {
        let routes = Routes::Playbooks { rules: vec![rule(Some("^7$"), None, "a.md")], default: None };
        assert!(matches!(routes.route("sip:8@h", "sip:9@h"), Route::Refuse(_)));
        assert!(matches!(Routes::Nobody.route("sip:8@h", "sip:9@h"), Route::Refuse(_)));
        assert_eq!(Routes::Webhook.route("", ""), Route::Webhook);
    }

    #[test]
    fn the_user_part_is_the_number_alone() {
        assert_eq!(user_part("sip:+1555;isub=2:pw@h:5060;transport=udp"), "+1555");
        assert_eq!(user_part("SIPS:a@h"), "a");
        assert_eq!(user_part("tel:+1-555;phone-context=x"), "+1-555");
        assert_eq!(user_part(""), "");
    }

    #[test]
    fn a_name_may_repeat_the_folder() {
        let folder = Path::new("./config/playbook");
        for name in ["hello.md", "config/playbook/hello.md", "./config/playbook/./hello.md", "./hello.md"] {
            assert_eq!(relative(folder, name).unwrap(), Path::new("hello.md"), "{name}");
        }
        assert_eq!(relative(folder, "sub/a.md").unwrap(), Path::new("sub/a.md"));
    }

    #[test]
    fn a_name_does_not_lead_out_of_the_folder() {
        let folder = Path::new("config/playbook");
        for name in
            ["/etc/passwd", "../a.md", "a/../../b.md", "config/playbook/../../x", "", ".", "a\0b", "..\\a"]
        {
            assert!(relative(folder, name).is_err(), "{name:?}");
        }
    }
}
