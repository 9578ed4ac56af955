//! What the tags of an answer do.

use std::time::Duration;

use protocol::CallTime;
use protocol::chat::{Role, TurnId};
use serde_json::json;

use super::heard::Reason;
use super::{Action, Conversation, HttpRequest, Mode, Note};
use crate::collector::{Collector, any_digits};
use crate::tags::{Act, Tag};

/// Most requests under way at once; further ones are refused.
const MAX_FETCHES: usize = 4;

/// Longest fetched text that the model is told, in characters; the rest is cut.
const MAX_FETCHED: usize = 8000;

/// A request under way.
#[derive(Debug)]
pub(super) struct Fetch {
    id: u32,
    turn: TurnId,
    what: String,
    var: Option<String>,
}

impl Conversation {
    /// Does what a tag of the answer asks for.
    pub(super) fn act(&mut self, tag: &Tag, out: &mut Vec<Action>) {
        let Some(reply) = &mut self.reply else { return };
        let turn = reply.turn;
        let Some(act) = tag.act() else {
            out.push(Action::Note(Note::Trouble(format!("<{tag}/> lacks an attribute it needs"))));
            return;
        };
        if reply.has_ended && !matches!(act, Act::SetVar { .. }) {
            return;
        }
        reply.counts = true;
        let data =
            json!({ "tool": tag.name(), "params": tag.to_string(), "playId": format!("turn-{}", turn.0) });
        out.push(Action::Note(Note::Metric { key: "tool_invocation", duration: Duration::ZERO, data }));
        match act {
            Act::Hangup => {
                reply.has_ended = true;
                reply.after.hangup = Some(Reason { reason: Some("system".to_owned()), initiator: None });
            }
            Act::Goto(scene) => self.go_to(&scene, out),
            Act::Refer(target) if self.playbook.allowed.permits(&target) => reply.after.refer = Some(target),
            Act::Refer(target) => self.refuse(turn, &target, out),
            Act::Play(file) => {
                let file = self.render(&file, out);
                self.speech.play(turn, file, out);
            }
            Act::SetVar { key, value } => self.vars.set(key, value),
            Act::Protect(on) => self.speech.manner.protected = on,
            Act::Http { request, var } => self.fetch(turn, request, var, out),
            Act::Collect { kind, var, prompt } => {
                let rule = self.playbook.dtmf_collectors.get(&kind).cloned().unwrap_or_else(any_digits);
                self.collector = Some(Collector::new(rule, var));
                if let Some(prompt) = prompt {
                    self.speech.say(turn, &format!(" {prompt}"), out);
                }
            }
        }
    }

    /// The model goes to a scene. If it says nothing more there, it is asked again.
    fn go_to(&mut self, scene: &str, out: &mut Vec<Action>) {
        let Some(index) = self.playbook.scenes.iter().position(|own| own.id == scene) else {
            out.push(Action::Note(Note::Trouble(format!(
                "the model goes to scene {scene}, which does not exist"
            ))));
            return;
        };
        self.enter(index, out);
        self.play_scene_file(out);
        if let Some(reply) = &mut self.reply {
            reply.after.ask = true;
        }
    }

    /// Plays the file of the current scene in the turn under way.
    pub(super) fn play_scene_file(&mut self, out: &mut Vec<Action>) {
        let file = self.current_scene().and_then(|scene| scene.play.clone());
        if let Some((file, turn)) = file.zip(self.reply.as_ref().map(|reply| reply.turn)) {
            let file = self.render(&file, out);
            self.speech.play(turn, file, out);
        }
    }

    fn refuse(&mut self, turn: TurnId, target: &str, out: &mut Vec<Action>) {
        let shown = protocol::read::shown(target);
        out.push(Action::Note(Note::Trouble(format!(
            "transfer to {shown} refused: the playbook does not name it"
        ))));
        self.history.push(
            turn,
            Role::System,
            format!("The transfer to {shown} was refused: it is not allowed."),
        );
        let text = self.render(&self.phrases.refusal.clone(), out);
        self.speech.say(turn, &format!(" {}", text.trim()), out);
    }

    fn fetch(&mut self, turn: TurnId, mut request: HttpRequest, var: Option<String>, out: &mut Vec<Action>) {
        request.url = self.render(&request.url, out);
        request.body = request.body.map(|body| self.render(&body, out));
        if self.fetches.len() >= MAX_FETCHES {
            out.push(Action::Note(Note::Trouble("too many requests at once; one is dropped".into())));
            return;
        }
        self.last_fetch = self.last_fetch.wrapping_add(1);
        let id = self.last_fetch;
        let what = format!("HTTP {} {}", request.method, protocol::read::shown(&request.url));
        self.fetches.push(Fetch { id, turn, what, var });
        out.push(Action::Fetch { id, request });
    }

    /// What was fetched goes to the model, once the agent has finished speaking.
    pub(super) fn fetched(
        &mut self,
        now: CallTime,
        id: u32,
        body: Result<String, String>,
        out: &mut Vec<Action>,
    ) {
        if self.verdict == Some(id) {
            return self.judged(now, body, out);
        }
        let Some(at) = self.fetches.iter().position(|fetch| fetch.id == id) else { return };
        let Fetch { turn, what, var, .. } = self.fetches.remove(at);
        let text = match body {
            Ok(body) => {
                let body: String = body.chars().take(MAX_FETCHED).collect();
                let text = format!("{what} returned: {body}");
                if let Some(var) = var {
                    let value = serde_json::from_str(&body).unwrap_or(serde_json::Value::String(body));
                    self.vars.set(var, value);
                }
                text
            }
            Err(error) => format!("{what} failed: {}", protocol::read::shown(&error)),
        };
        self.history.push(turn, Role::System, text);
        self.news = true;
        let free = self.reply.is_none() && self.cut.is_none() && self.waiting.is_none();
        if self.mode == Mode::Talking && self.fetches.is_empty() && free {
            self.ask_unprompted(now, out);
        }
    }
}
