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
    /// For the callee, or the account by which the call comes.
    pub callee: Option<Pattern>,
    /// For the Request-URI.
    pub request_uri: Option<Pattern>,
    /// Name of the playbook.
    pub playbook: String,
}

/// Whom a call is from and for, as rules see it: URIs, empty where they are not known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parties<'a> {
    /// From.
    pub caller: &'a str,
    /// To.
    pub callee: &'a str,
    /// Where it was sent.
    pub request_uri: &'a str,
    /// The address of the account of ours by which it comes: a registrar sends what was called elsewhere (`To`) to the
    /// contact of the account.
    pub account: Option<&'a str>,
}

impl<'a> Parties<'a> {
    /// Those of an INVITE.
    pub fn of(invite: &'a sip::Invite) -> Self {
        Parties {
            caller: &invite.from_uri,
            callee: &invite.to_uri,
            request_uri: &invite.request_uri,
            account: invite.account.as_deref(),
        }
    }
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
                    request_uri: rule.request_uri.clone(),
                    playbook: rule.playbook.clone(),
                };
                Routes::Playbooks {
                    rules: table.rules.iter().map(rule).collect(),
                    default: table.default.clone(),
                }
            }
        }
    }

    /// Where a call goes.
    pub fn route(&self, parties: &Parties<'_>) -> Route {
        match self {
            Routes::Nobody => Route::Refuse("No invite handler configured"),
            Routes::Webhook => Route::Webhook,
            Routes::Playbooks { rules, default } => rules
                .iter()
                .find(|rule| rule.fits(parties))
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

impl PlaybookRule {
    fn fits(&self, parties: &Parties<'_>) -> bool {
        let callee = self.callee.as_ref();
        fits(self.caller.as_ref(), parties.caller)
            && fits(self.request_uri.as_ref(), parties.request_uri)
            && (fits(callee, parties.callee) || parties.account.is_some_and(|account| fits(callee, account)))
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
        let (caller, callee) = (caller.map(pattern), callee.map(pattern));
        PlaybookRule { caller, callee, request_uri: None, playbook: playbook.into() }
    }

    fn route(routes: &Routes, caller: &str, callee: &str) -> Route {
        routes.route(&Parties { caller, callee, ..Parties::default() })
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
        assert_eq!(route(&routes, "sip:+15551234567@h;user=phone", "sip:support@h"), playbook("us.md"));
        assert_eq!(route(&routes, "sip:anna@h", "sip:support@h"), playbook("support.md"));
        assert_eq!(route(&routes, "sip:anna@h", "sip:sales@h"), playbook("hello.md"));
        assert_eq!(route(&routes, "tel:+15551234567", "sip:x@h"), playbook("us.md"));
    }

    #[test]
    fn a_call_by_an_account_is_for_the_account_too_and_every_call_for_where_it_was_sent() {
        let account = rule(None, Some("^1001$"), "desk.md");
        let line = PlaybookRule {
            request_uri: Some(Pattern(Regex::new("^line7$").unwrap())),
            ..rule(None, None, "line.md")
        };
        let routes = Routes::Playbooks { rules: vec![account, line], default: None };
        let sent = Parties {
            caller: "sip:anna@h",
            callee: "sip:+4930@pbx",
            request_uri: "sip:1001@192.0.2.1",
            account: Some("sip:1001@pbx"),
        };
        assert_eq!(routes.route(&sent), playbook("desk.md"));
        assert!(matches!(routes.route(&Parties { account: None, ..sent }), Route::Refuse(_)), "a stranger");
        let elsewhere = Parties { request_uri: "sip:line7@192.0.2.1", account: None, ..sent };
        assert_eq!(routes.route(&elsewhere), playbook("line.md"));
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
        assert_eq!(route(&routes, "sip:%2B15551234567@h", "sip:x@h"), playbook("us.md"));
        assert_eq!(route(&routes, "sip:%2b1555123456%37@h", "sip:x@h"), playbook("us.md"));
        assert_eq!(route(&routes, "sip:a@h", "sip:j%C3%BCrgen@h"), playbook("names.md"));
        assert_eq!(route(&routes, "sip:a@h", "sip:100%@h"), playbook("written.md"));
        assert!(matches!(route(&routes, "sip:%2", "sip:%ff%zz%@h"), Route::Refuse(_)));
    }

    #[test]
    fn a_call_that_nothing_fits_is_refused() {
        let routes = Routes::Playbooks { rules: vec![rule(Some("^7$"), None, "a.md")], default: None };
        assert!(matches!(route(&routes, "sip:8@h", "sip:9@h"), Route::Refuse(_)));
        assert!(matches!(route(&Routes::Nobody, "sip:8@h", "sip:9@h"), Route::Refuse(_)));
        assert_eq!(route(&Routes::Webhook, "", ""), Route::Webhook);
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
