//! What the tags of an answer do.

use protocol::chat::{Role, TurnId};

use super::heard::Reason;
use super::reply::Reply;
use super::{Action, Conversation, Note};
use crate::collector::{Collector, any_digits};
use crate::tags::{Act, Tag};

impl Conversation {
    /// Does what a tag of the answer asks for.
    pub(super) fn act(&mut self, tag: &Tag, out: &mut Vec<Action>) {
        let Some(reply) = &mut self.reply else { return };
        let turn = reply.turn;
        let Some(act) = tag.act() else {
            out.push(Action::Note(Note::Trouble(format!("<{tag}/> lacks an attribute it needs"))));
            let lacking = tag.lacks().unwrap_or("a value that fits");
            self.history.push(turn, Role::System, format!("The tag {} lacks {lacking}.", tag.name()));
            self.mistaken();
            return;
        };
        if reply.has_ended && !matches!(act, Act::SetVar { .. }) {
            return;
        }
        self.count_tool(tag.name(), &tag.to_string(), out);
        let Some(reply) = &mut self.reply else { return };
        match act {
            Act::Hangup { reason, initiator } => {
                reply.has_ended = true;
                let reason = Some(reason.unwrap_or_else(|| "system".to_owned()));
                reply.after.hangup = Some(Reason { reason, initiator });
            }
            Act::Dtmf(keys) => reply.after.digits.push_str(&keys),
            Act::Goto(scene) => self.go_to(&scene, out),
            Act::Refer(target) if self.playbook.allowed.permits(&target) => reply.after.refer = Some(target),
            Act::Refer(target) => self.refuse(turn, &target, out),
            Act::Play(file) => {
                let file = self.render_once(file, out);
                self.speech.play(turn, file, out);
            }
            Act::SetVar { key, value } => {
                // An answer that only remembers something is no answer yet.
                reply.after.ask |= !reply.said && !reply.has_ended;
                self.vars.set(key, value);
            }
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

    /// What a tag says, rendered. A fixed text was rendered as a whole before its tags act, and what came into it
    /// from outside must not be taken for a template now.
    pub(super) fn render_once(&self, text: String, out: &mut Vec<Action>) -> String {
        if self.reply.as_ref().is_some_and(Reply::is_fixed) {
            return text;
        }
        self.render(&text, out)
    }

    /// The model goes to a scene. If it says nothing more there, it is asked again.
    fn go_to(&mut self, scene: &str, out: &mut Vec<Action>) {
        let Some(index) = self.playbook.scene_named(scene) else {
            let shown = protocol::read::shown(scene);
            let text = format!("the model goes to scene {shown}, which does not exist");
            out.push(Action::Note(Note::Trouble(text)));
            if let Some(turn) = self.reply.as_ref().map(|reply| reply.turn) {
                let text = format!("There is no scene {shown}; {}.", self.playbook.scene_names());
                self.history.push(turn, Role::System, text);
            }
            return self.mistaken();
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
}
