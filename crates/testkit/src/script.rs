//! Conversations as text that a telephone person can read.
//!
//! The upper half sets the scene and says who does what and when, in seconds; the lower half, after `---`, is
//! what happened. [`check`] plays the upper half and compares.
//!
//! ```text
//! leg          websocket                    or: sip pcmu; dials pcmu, a call that we place; behind the codec:
//!                                           encrypted, for a far end that speaks SRTP alone; willing, for one that
//!                                           speaks it where that is offered; immovable, for one that refuses our
//!                                           offers once the call is up; offerless, for one that leaves the first
//!                                           offer to us
//! dialer       refuses 403 Not allowed      nobody can be dialled
//! phase        7ms                          of the call's tick against the caller's packets
//! option       {"vad":{"silencePadding":200}}
//! recognizer   final 200ms partials 300ms   or: refuses "why", breaks "why", hangs
//! synthesizer  first 100ms chars 15 pace 4  words told, when they are said; or: refuses "why", breaks "why", silent
//! model        first 300ms token 20ms       or: refuses "why"
//! reply        "We open at nine."           one for each question; or: fails "why", never
//! fetch        200ms {"completed":true}     one for each address that is fetched; or: 200ms fails "why", never
//! file         hello.wav 2s
//! bare                                      the configuration names neither recognizer nor synthesizer
//! obstinate                                 providers go on when nobody wants them
//! accept       5s                           patience for a client to accept
//! transfers    accepted                      or: refused, for what the far end asks for by itself
//! unconfirmed                               the far end never acknowledges our answer
//! playbook                                  indented lines follow
//!   0.0        client sends {"command":"invite","option":{}}
//!   0.0        client attaches              or: leaves; server stops; operator kills
//!   2.0-3.0    caller speaks "hours?"       or: presses 5 (by info, by tone), hangs up, cancels, holds, resumes,
//!                                           wants a fax, confirms and wants a fax (offers sound),
//!                                           vanishes, returns, gives up while we answer,
//!                                           lets our answer wait, lets our answer go,
//!                                           never lets our answer go, acknowledges without an answer
//!   5.0        caller sends us to sip:c@d      in place of another call; or: bob takes over (from the second; gives up while he
//!                                           takes over); caller tells succeeded 200, failed 486 Busy Here
//!   1.0        callee rings                 or: rings with sound, rings with broken sound, answers,
//!                                           hangs up, refuses 486 Busy Here (because Q.850;cause=17),
//!                                           answers without description,
//!                                           answers without sound,
//!                                           says "hello", presses 5 by info, holds, resumes,
//!                                           wants an offer, wants clear sound, sends us to sip:c@d;
//!                                           second and third: whom `refer` calls
//!   1.0        model says "At nine."             a speech-to-speech model: or says for 70s "..."; hears the caller
//!                                            begin, or end; understands "hours?"; calls goto_scene {"scene":"a"};
//!                                            breaks "gone"
//!  20.0        end                          of the simulation, when the call is still up
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use call::StopReason;
use call::legs::{LegEvent, LegId, TransferIn};
use call::media::order::Way;
use call::setup::{TransferRequests, Undialled};
use playbook::Playbook;
use protocol::CallTime;
use protocol::option::{CallOption, Over};
use protocol::reason::Particulars;

use crate::cast::{Fault, Fetch, Reply};
use crate::world::{Act, Doing, Opening, Party, World};

/// An offer of sound in clear.
const CLEAR: &str = "v=0\r\no=- 7 99 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
    m=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";
/// An offer of a fax in the place of the sound (T.38).
const FAX: &str = "v=0\r\no=- 7 99 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
    m=audio 0 RTP/AVP 0\r\nm=image 40002 udptl t38\r\n";
/// An offer of plain sound, made before the call is answered.
const SOUND: &str = "v=0\r\no=- 7 98 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
    m=audio 40000 RTP/AVP 0\r\n";
/// What is no description.
const BROKEN: &str = "v=0\r\nm=audio forty RTP/AVP 0\r\n";
/// Between the halves.
const DIVIDER: &str = "---\n";
/// What every script's configuration gives.
const USUAL_OPTION: &str = r#"{"asr":{"provider":"fake"},"tts":{"provider":"fake"}}"#;

/// A script that cannot be played.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct ScriptError {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

/// Plays the script at `path` and compares what happens with its lower half. With `UPDATE=1` in the
/// environment the lower half is written instead.
///
/// # Panics
/// When the script cannot be read or played, and, with both texts, when something else happened.
pub fn check(path: &Path) {
    let name = path.display();
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (upper, expected) = match text.starts_with(DIVIDER) {
        true => ("", text.as_str()),
        false => text.split_once(&format!("\n{DIVIDER}")).unwrap_or((text.trim_end(), "")),
    };
    let happened = play(upper).unwrap_or_else(|error| panic!("{name}: {error}"));
    if updating() {
        let whole = format!("{}\n{DIVIDER}{happened}", upper.trim_end());
        if let Err(error) = std::fs::write(path, whole) {
            panic!("{name}: {error}");
        }
        return;
    }
    assert!(
        happened == expected,
        "{name}: something else happened; UPDATE=1 writes it into the file\n--- expected\n{expected}\n+++ happened\n{happened}\n{}",
        first_difference(expected, &happened)
    );
}

/// Plays the upper half of a script; answers the lower half.
///
/// # Errors
/// Names the line that is not understood.
pub fn play(upper: &str) -> Result<String, ScriptError> {
    let mut script = Script::default();
    let mut rest = upper.lines().enumerate().peekable();
    while let Some((at, line)) = rest.next() {
        let read = match line.trim() {
            "" => Ok(()),
            "playbook" => {
                let mut text = String::new();
                while let Some((_, line)) = rest.next_if(|(_, line)| is_block(line)) {
                    text.push_str(line.strip_prefix("    ").unwrap_or(""));
                    text.push('\n');
                }
                script.playbook(&text)
            }
            comment if comment.starts_with('#') => Ok(()),
            words => script.line(words),
        };
        read.map_err(|why| ScriptError { line: at + 1, why })?;
    }
    Ok(script.run())
}

/// Lines of the playbook are indented by four; empty ones belong to it too.
fn is_block(line: &str) -> bool {
    line.is_empty() || line.starts_with("    ")
}

#[expect(clippy::disallowed_methods, reason = "the one switch of the tests that rewrites their files")]
fn updating() -> bool {
    std::env::var("UPDATE").is_ok_and(|value| value == "1")
}

fn first_difference(expected: &str, happened: &str) -> String {
    let mut pairs = expected.lines().zip(happened.lines());
    match pairs.find(|(expected, happened)| expected != happened) {
        Some((expected, happened)) => format!("first difference:\n- {expected}\n+ {happened}"),
        None => "one of them is longer".into(),
    }
}

/// A script as it is read.
#[derive(Default)]
struct Script {
    opening: Opening,
    acts: Vec<(CallTime, Act)>,
    said: Vec<(CallTime, CallTime, String)>,
    end: Option<CallTime>,
    /// Without the usual option.
    bare: bool,
}

impl Script {
    fn run(self) -> String {
        let usual: CallOption = serde_json::from_str(USUAL_OPTION).unwrap_or_default();
        let mut opening = self.opening;
        if !self.bare {
            opening.option = opening.option.over(&usual);
        }
        let mut world = World::new(opening);
        let last = self.acts.iter().map(|(at, _)| *at).max().unwrap_or_default();
        for (from, to, text) in &self.said {
            world.speak(*from, *to, text);
        }
        for (at, act) in self.acts {
            world.plan(at, act);
        }
        world.run(self.end.unwrap_or(last + Duration::from_secs(30)));
        let line = |line: &crate::world::Line| format!("{:>8}  {}\n", line.at.to_string(), line.text);
        world.lines().iter().map(line).collect()
    }

    fn playbook(&mut self, text: &str) -> Result<(), String> {
        let playbook = Playbook::parse(text, &|_| None).map_err(|error| error.to_string())?;
        self.opening.playbook = Some(Arc::new(playbook));
        Ok(())
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        if first.starts_with(|c: char| c.is_ascii_digit()) {
            return self.action(first, rest);
        }
        let cast = &mut self.opening.cast;
        match first {
            "leg" => leg(rest, &mut self.opening)?,
            "phase" => self.opening.phase = span(rest)?,
            "accept" => self.opening.rules.accept_timeout = span(rest)?,
            "transfers" => {
                self.opening.rules.transfer_requests = match rest {
                    "accepted" => TransferRequests::Accept,
                    "refused" => TransferRequests::Refuse,
                    other => return Err(unknown(other)),
                };
            }
            "option" => self.opening.option = serde_json::from_str(rest).map_err(|e| e.to_string())?,
            "bare" => self.bare = true,
            "obstinate" => cast.obstinate = true,
            "unconfirmed" => self.opening.silent_ack = true,
            "recognizer" => match fault(rest)? {
                Some(fault) => cast.recognizer.fault = Some(fault),
                None => pairs(rest, |key, value| {
                    match key {
                        "final" => cast.recognizer.last = span(value)?,
                        "partials" => cast.recognizer.partials = Some(span(value)?),
                        _ => return Err(unknown(key)),
                    }
                    Ok(())
                })?,
            },
            "synthesizer" => match fault(rest)? {
                Some(fault) => cast.synthesizer.fault = Some(fault),
                None => pairs(rest, |key, value| {
                    match key {
                        "first" => cast.synthesizer.first = span(value)?,
                        "chars" => cast.synthesizer.chars_per_second = number(value)?,
                        "pace" => cast.synthesizer.pace = number(value)?,
                        "words" if value == "told" => cast.synthesizer.tells_words = true,
                        _ => return Err(unknown(key)),
                    }
                    Ok(())
                })?,
            },
            "model" => match fault(rest)? {
                Some(fault) => cast.model.fault = Some(fault),
                None => pairs(rest, |key, value| {
                    match key {
                        "first" => cast.model.first = span(value)?,
                        "token" => cast.model.token = span(value)?,
                        _ => return Err(unknown(key)),
                    }
                    Ok(())
                })?,
            },
            "reply" => cast.replies.push(reply(rest)?),
            "fetch" => cast.fetches.push(fetch(rest)?),
            "dialer" => self.opening.undialled = Some(undialled(rest)?),
            "file" => {
                let (name, length) = rest.split_once(' ').ok_or("file: expected a name and a length")?;
                cast.files.insert(name.to_owned(), span(length.trim())?);
            }
            other => return Err(unknown(other)),
        }
        Ok(())
    }

    fn action(&mut self, when: &str, what: &str) -> Result<(), String> {
        let (from, to) = when.split_once('-').unwrap_or((when, when));
        let (from, to) = (moment(from)?, moment(to)?);
        if let Some(text) = what.strip_prefix("caller speaks ") {
            if to <= from {
                return Err("speech needs a beginning and an end: 2.0-3.0".into());
            }
            self.said.push((from, to, quoted(text)?));
            return Ok(());
        }
        if what == "end" {
            self.end = Some(from);
            return Ok(());
        }
        self.acts.push((from, act(what)?));
        Ok(())
    }
}

fn leg(words: &str, opening: &mut Opening) -> Result<(), String> {
    let mut words = words.split_whitespace();
    let kind = words.next().unwrap_or_default();
    opening.dials = kind == "dials";
    opening.sip = match (kind, words.next()) {
        ("websocket", None) => None,
        ("sip" | "dials", Some(codec)) => Some(codec.to_owned()),
        _ => return Err(format!("leg {kind}: expected websocket, or sip or dials and a codec")),
    };
    for word in words {
        match word {
            "encrypted" => opening.manner.encrypted = true,
            "willing" => opening.manner.willing = true,
            "eventless" => opening.manner.eventless = true,
            "immovable" => opening.manner.immovable = true,
            "offerless" => opening.manner.offerless = true,
            "infoless" => opening.manner.infoless = true,
            other => return Err(unknown(other)),
        }
    }
    Ok(())
}

fn act(what: &str) -> Result<Act, String> {
    if let Some(command) = what.strip_prefix("client sends ") {
        return Ok(Act::Command(command.to_owned()));
    }
    if let Some(press) = what.strip_prefix("caller presses ") {
        return key_and_way(press).map(|(key, way)| Act::Press(key, way));
    }
    if let Some(to) = what.strip_prefix("caller sends us to ") {
        return Ok(Act::Leg(sends_on("alice", to)));
    }
    if let Some(told) = what.strip_prefix("caller tells ") {
        return told_of_transfer(told).map(Act::Leg);
    }
    if let Some(doing) = what.strip_prefix("model ") {
        return model(doing).map(Act::Model);
    }
    for (name, leg) in [("callee ", LegId::MAIN), ("second ", LegId(1)), ("third ", LegId(2))] {
        if let Some(what) = what.strip_prefix(name) {
            return party(what).map(|party| Act::Party(leg, party));
        }
    }
    Ok(match what {
        "client attaches" => Act::Attach,
        "client leaves" => Act::Stop(StopReason::ClientGone),
        "server stops" => Act::Stop(StopReason::Shutdown),
        "operator kills" => Act::Stop(StopReason::Killed),
        "caller hangs up" => Act::Leg(LegEvent::Ended { remote: true, message: None }),
        "caller cancels" => Act::Leg(LegEvent::Canceled { message: None }),
        "another phone has taken the call" => Act::Leg(LegEvent::Canceled {
            message: Some("SIP;cause=200;text=\"Call completed elsewhere\"".to_owned()),
        }),
        "caller gives up while we answer" => Act::GiveUp,
        "caller lets our answer wait" => Act::HoldBack,
        "caller lets our answer go" => Act::Leg(LegEvent::AnswerSent),
        "caller never lets our answer go" => Act::Leg(LegEvent::Unreached),
        "caller never acknowledges" => Act::Leg(LegEvent::Unconfirmed),
        "caller acknowledges without an answer" => Act::Leg(LegEvent::Established { sdp: None }),
        "caller holds" => Act::Hold(true),
        "caller resumes" => Act::Hold(false),
        "caller refreshes" => Act::Refresh(false),
        "caller refreshes and holds" => Act::Refresh(true),
        "caller leaves" => {
            Act::Leg(LegEvent::Left { message: Some("SIP;cause=200;text=\"gone\"".to_owned()) })
        }
        "caller wants a fax" => Act::Leg(LegEvent::Reoffered { sdp: Some(FAX.to_owned()), refusable: true }),
        "caller confirms and wants a fax" => {
            Act::Leg(LegEvent::Reoffered { sdp: Some(FAX.to_owned()), refusable: false })
        }
        "caller confirms and offers sound" => {
            Act::Leg(LegEvent::Reoffered { sdp: Some(SOUND.to_owned()), refusable: false })
        }
        "bob takes over" => Act::TakeOver(LegId::MAIN, false),
        "bob gives up while he takes over" => Act::TakeOver(LegId::MAIN, true),
        "bob takes over from the second" => Act::TakeOver(LegId(1), false),
        "caller vanishes" => Act::Network(false),
        "caller returns" => Act::Network(true),
        other => return Err(unknown(other)),
    })
}

/// `sip:c@d`, or `sip:c@d in place of another call`
fn sends_on(who: &str, words: &str) -> LegEvent {
    let (to, replaces) = match words.strip_suffix(" in place of another call") {
        Some(to) => (to, Some("other;to-tag=1;from-tag=2".to_owned())),
        None => (words, None),
    };
    let referred_by = Some(format!("<sip:{who}@example.com>"));
    LegEvent::TransferRequested(TransferIn { to: to.to_owned(), referred_by, replaces })
}

/// `says "..."`, `says for 70s "..."`, `hears the caller begin`, `understands "..."`, `calls name {}`, `breaks "..."`
fn model(what: &str) -> Result<Doing, String> {
    let (verb, rest) = what.split_once(' ').ok_or_else(|| unknown(what))?;
    Ok(match (verb, rest) {
        ("says", rest) => match rest.strip_prefix("for ").and_then(|rest| rest.split_once(' ')) {
            Some((length, text)) => Doing::SaysFor(quoted(text)?, span(length)?),
            None => Doing::Says(quoted(rest)?),
        },
        ("hears", "the caller begin") => Doing::HearsBegin,
        ("hears", "the caller end") => Doing::HearsEnd,
        ("understands", text) => Doing::Understands(quoted(text)?),
        ("calls", call) => {
            let (name, arguments) =
                call.split_once(' ').ok_or("model calls: expected a name and an object")?;
            Doing::Calls(name.to_owned(), serde_json::from_str(arguments).map_err(|e| e.to_string())?)
        }
        ("breaks", why) => Doing::Breaks(quoted(why)?),
        _ => return Err(unknown(what)),
    })
}

/// `5`, `5 by info` or `5 by tone`
fn key_and_way(press: &str) -> Result<(char, Way), String> {
    let (key, way) = press.split_once(" by ").unwrap_or((press, "event"));
    let way = match way {
        "event" => Way::Event,
        "info" => Way::Signalling,
        "tone" => Way::Tone,
        other => return Err(unknown(other)),
    };
    key.chars().next().map(|key| (key, way)).ok_or_else(|| "which key?".to_owned())
}

/// `ringing 180`, `succeeded 200`, `failed 486 Busy Here`, `failed 486 Busy Here because Q.850;cause=17`
fn told_of_transfer(text: &str) -> Result<LegEvent, String> {
    let (state, rest) = text.split_once(' ').unwrap_or((text, ""));
    let state = serde_json::from_value(state.into()).map_err(|_| unknown(state))?;
    let (code, reason, cause) = reasoned(rest)?;
    let particulars = Particulars { cause, ..Particulars::default() };
    Ok(LegEvent::Transferred { state, code, reason, particulars })
}

fn party(what: &str) -> Result<Party, String> {
    if let Some(why) = what.strip_prefix("refuses ") {
        let (code, reason, cause) = reasoned(why)?;
        return Ok(Party::Refuses(code, reason, cause));
    }
    if let Some(to) = what.strip_prefix("sends us to ") {
        return Ok(Party::Says(sends_on("desk", to)));
    }
    if let Some(said) = what.strip_prefix("says ") {
        return quoted(said).map(Party::Speaks);
    }
    if let Some(press) = what.strip_prefix("presses ") {
        return key_and_way(press).map(|(key, way)| Party::Presses(key, way));
    }
    Ok(match what {
        "rings" => Party::Rings(false),
        "rings with sound" => Party::Rings(true),
        "rings with broken sound" => {
            Party::Says(LegEvent::Ringing { code: 183, sdp: Some(BROKEN.to_owned()) })
        }
        "answers" => Party::Answers,
        "answers without description" => Party::AnswersBare,
        "answers without sound" => Party::Says(LegEvent::Answered { sdp: Some(FAX.to_owned()) }),
        "holds" => Party::Holds(true),
        "resumes" => Party::Holds(false),
        "wants an offer" => Party::WantsAnOffer,
        "wants clear sound" => {
            Party::Says(LegEvent::Reoffered { sdp: Some(CLEAR.to_owned()), refusable: true })
        }
        "hangs up" => Party::HangsUp,
        "is forwarded" => Party::Says(LegEvent::Ringing { code: 181, sdp: None }),
        other => return Err(unknown(other)),
    })
}

fn undialled(text: &str) -> Result<Undialled, String> {
    let why = text.strip_prefix("refuses ").ok_or("dialer: expected refuses, a code and a reason")?;
    let (code, reason) = refusal(why)?;
    Ok(Undialled { code, reason })
}

/// `486 Busy Here`, or with what `Reason` says: `486 Busy Here because Q.850;cause=17`
fn reasoned(text: &str) -> Result<(u16, String, Option<String>), String> {
    let (status, cause) = text.split_once(" because ").map_or((text, None), |(a, b)| (a, Some(b.to_owned())));
    let (code, reason) = refusal(status)?;
    Ok((code, reason, cause))
}

/// `486 Busy Here`
fn refusal(text: &str) -> Result<(u16, String), String> {
    let (code, reason) = text.split_once(' ').unwrap_or((text, ""));
    let code = code.parse().map_err(|_| format!("{code}: expected a SIP status"))?;
    Ok((code, reason.to_owned()))
}

/// `key value key value ...`
fn pairs(text: &str, mut set: impl FnMut(&str, &str) -> Result<(), String>) -> Result<(), String> {
    let mut words = text.split_whitespace();
    while let Some(key) = words.next() {
        let value = words.next().ok_or_else(|| format!("{key} needs a value"))?;
        set(key, value)?;
    }
    Ok(())
}

fn fault(text: &str) -> Result<Option<Fault>, String> {
    Ok(match text.split_once(' ') {
        Some(("refuses", why)) => Some(Fault::Refuses(quoted(why)?)),
        Some(("breaks", why)) => Some(Fault::Breaks(quoted(why)?)),
        None if text == "hangs" => Some(Fault::Hangs),
        None if text == "silent" => Some(Fault::Silent),
        _ => None,
    })
}

fn reply(text: &str) -> Result<Reply, String> {
    if text == "never" {
        return Ok(Reply::Never);
    }
    match text.strip_prefix("fails ") {
        Some(why) => Ok(Reply::Fails(quoted(why)?)),
        None => Ok(Reply::Says(quoted(text)?)),
    }
}

/// `200ms {"completed":true}`, `200ms fails "why"` or `never`
fn fetch(text: &str) -> Result<Fetch, String> {
    if text == "never" {
        return Ok(Fetch { after: None, body: Err(String::new()) });
    }
    let (after, body) = text.split_once(' ').ok_or("fetch: expected a span and a body")?;
    let body = match body.trim().strip_prefix("fails ") {
        Some(why) => Err(quoted(why)?),
        None => Ok(body.trim().to_owned()),
    };
    Ok(Fetch { after: Some(span(after)?), body })
}

fn quoted(text: &str) -> Result<String, String> {
    serde_json::from_str(text.trim()).map_err(|_| format!("{text}: expected a text in quotes"))
}

fn span(text: &str) -> Result<Duration, String> {
    let (digits, unit) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(digits), _) => (digits, 1e-3),
        (None, Some(digits)) => (digits, 1.0),
        (None, None) => return Err(format!("{text}: expected a span such as 200ms or 1.5s")),
    };
    Ok(Duration::from_secs_f64(number(digits)? * unit))
}

fn moment(text: &str) -> Result<CallTime, String> {
    let ms = (number(text)? * 1000.0).round();
    Ok(CallTime::ms(ms as u64))
}

fn number(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text}: expected a number"))?;
    if number.is_finite() && (0.0..1e6).contains(&number) {
        Ok(number)
    } else {
        Err(format!("{text}: too much"))
    }
}

fn unknown(word: &str) -> String {
    format!("\"{word}\" is nothing that a script knows")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_not_understood_is_named() {
        let error = play("leg websocket\n0.0 caller juggles\n").unwrap_err();
        assert_eq!(error.line, 2);
        assert_eq!(play("synthesizer furst 1s").unwrap_err().line, 1);
        assert_eq!(play("2.0 caller speaks \"hi\"").unwrap_err().line, 1);
    }

    #[test]
    fn a_call_that_nobody_begins_does_nothing() {
        assert_eq!(play("leg websocket\n5.0 end\n"), Ok(String::new()));
    }
}
