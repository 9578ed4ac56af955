//! What the caller presses.

use protocol::CallTime;
use protocol::chat::Role;

use super::heard::Reason;
use super::reply::After;
use super::{Action, Conversation, Mode, Note};
use crate::collector::Entry;
use crate::playbook::DtmfAction;

/// Most keys that wait for the end of a passage.
const MAX_HELD: usize = 32;

impl Conversation {
    pub(super) fn key(&mut self, now: CallTime, key: char, out: &mut Vec<Action>) {
        if self.mode != Mode::Talking || !(key.is_ascii_digit() || "*#ABCD".contains(key)) {
            return;
        }
        if self.speech.is_protected() && self.collector.is_none() {
            if self.held_keys.len() < MAX_HELD {
                self.held_keys.push(key);
            }
            return;
        }
        // Whoever ends an entry with the key that ends entries need not count its digits.
        if self.late_finish.take().is_some_and(|(finish, until)| key == finish && now <= until) {
            return;
        }
        self.silence.answered();
        if self.is_waiting_for_caller() {
            self.silence.begin(now);
        }
        if let Some(collector) = &mut self.collector {
            let entry = collector.key(now, key);
            let rule = collector.rule();
            if entry.is_some() {
                let finish = rule.finish_key.filter(|finish| *finish != key);
                self.late_finish = finish.zip(Some(now + rule.inter_digit_timeout));
            }
            if rule.interruptible && !self.speech.is_idle() {
                self.stop_reply(out);
            }
            if let Some(entry) = entry {
                self.entered(now, entry, out);
            }
            return;
        }
        let own = self.current_scene().and_then(|scene| scene.dtmf.get(&key));
        let Some(action) = own.or_else(|| self.playbook.dtmf.get(&key)).cloned() else { return };
        self.unprompted = 0;
        self.waiting = None;
        self.question = None;
        self.stop_reply(out);
        match action {
            DtmfAction::Goto(scene) => {
                let turn = self.next_turn();
                self.history.push(turn, Role::User, format!("[pressed {key}]"));
                self.arrive(now, &scene, out);
            }
            DtmfAction::Transfer(target) => {
                let target = self.render(&target, out);
                self.transfer(target, out);
            }
            DtmfAction::Hangup => self.hang_up(Reason::default(), out),
        }
    }

    /// Keys that were pressed while a passage had to be heard count now.
    pub(super) fn release_keys(&mut self, now: CallTime, out: &mut Vec<Action>) {
        for key in std::mem::take(&mut self.held_keys).chars() {
            self.key(now, key, out);
        }
    }

    /// Enters a scene by the caller's choice: its file plays, then the model is asked.
    fn arrive(&mut self, now: CallTime, scene: &str, out: &mut Vec<Action>) {
        let Some(index) = self.playbook.scene_named(scene) else {
            out.push(Action::Note(Note::Trouble(format!("there is no scene {scene}"))));
            self.silence.begin(now);
            return;
        };
        self.enter(index, out);
        if self.current_scene().is_some_and(|scene| scene.play.is_some()) {
            self.begin_fixed(now, After { ask: true, ..After::default() });
            self.play_scene_file(out);
            self.settle(now, out);
        } else {
            // A model that speaks itself says nothing unasked.
            let hint = self
                .speaks_itself()
                .then_some("The caller has pressed a key and is in this scene now. Go on.");
            self.ask(now, hint, out);
        }
    }

    /// The caller's digits are complete, or wrong.
    pub(super) fn entered(&mut self, now: CallTime, entry: Entry, out: &mut Vec<Action>) {
        let Some(collector) = self.collector.as_ref() else { return };
        self.question = None;
        let (var, error) = (collector.var.clone(), collector.rule().error_message.clone());
        match entry {
            Entry::Complete(digits) => {
                self.collector = None;
                self.stop_reply(out);
                self.vars.set(var.clone(), digits.clone());
                self.tell_entry(now, &format!("[entered {digits} for {var}]"), out);
            }
            Entry::Again => {
                let text = error.unwrap_or_else(|| self.phrases.apology.clone());
                self.stop_reply(out);
                self.say_fixed(now, &text, After::default(), out);
            }
            Entry::Failed => {
                self.collector = None;
                self.stop_reply(out);
                self.tell_entry(now, &format!("[entered nothing valid for {var}]"), out);
            }
        }
    }

    fn tell_entry(&mut self, now: CallTime, entry: &str, out: &mut Vec<Action>) {
        self.answer(now, entry, out);
        if self.speaks_itself() {
            out.push(Action::Prompt(format!("The caller has used the keys: {entry}. Go on.")));
        }
    }
}
