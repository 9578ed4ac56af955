//! The playbook's side of a call: its actions, the model's answers.

use playbook::{Action, BuiltIns, Conversation, Note, Vars};
use protocol::chat::{ModelOutput, TurnId};
use protocol::command::{Hangup, Refer};
use protocol::event::Event;
use protocol::option::ExtractHeader;
use protocol::reason::Particulars;
use protocol::{CallTime, Command, Extra, Headers, redact};

use super::{Core, Effect, ToolCall};
use crate::legs::sip::sendable;
use crate::setup::Afterwards;

/// Turns from here on are questions beside the talk, such as summaries: they answer no caller.
const BACKGROUND: u64 = 1 << 62;

impl Core {
    /// Begins the conversation, when the call has a playbook.
    pub(crate) fn begin_conversation(&mut self, now: CallTime) {
        if self.conversation.is_some() {
            return;
        }
        let Some(playbook) = self.playbook.clone() else { return };
        let vars = self.vars();
        self.conversation = Some(Conversation::new(playbook, vars));
        if let Some(event) = self.hold_so_far(now) {
            self.tell(playbook::Input::Call(event));
        }
        self.tell(playbook::Input::Answered);
    }

    /// Carries out what the playbook wants.
    pub(crate) fn act(&mut self, now: CallTime, action: Action) {
        match action {
            Action::Do(Command::Refer(refer)) => self.transfer_of_playbook(now, refer),
            // The reason that a playbook gives stands beside whom it names, which for a client overrides it.
            Action::Do(Command::Hangup(hangup)) => {
                let named = hangup.initiator.filter(|who| !who.eq_ignore_ascii_case("system"));
                self.command(now, Command::Hangup(Hangup { initiator: named, ..hangup }));
            }
            Action::Do(command) => self.command(now, command),
            Action::Ask(ask) => {
                let llm =
                    self.playbook.as_ref().and_then(|playbook| playbook.llm.clone()).unwrap_or_default();
                self.effect(Effect::Ask(Box::new(llm), ask));
            }
            Action::Abandon(turn) => self.effect(Effect::Abandon(turn)),
            Action::Fetch { id, request } => self.effect(Effect::Fetch(id, request)),
            Action::CancelFetch(id) => self.effect(Effect::CancelFetch(id)),
            Action::ListTools(server) => {
                self.tool_servers.push(server.clone());
                self.effect(Effect::ListTools(server));
            }
            Action::CallTool { id, server, name, arguments, timeout } => {
                match self.tool_servers.iter().find(|known| known.name == server).cloned() {
                    Some(server) => {
                        let call = ToolCall { id, server, name, arguments, timeout };
                        self.effect(Effect::CallTool(Box::new(call)));
                    }
                    None => {
                        let body = Err(format!("there is no server of tools called {server}"));
                        self.tell(playbook::Input::Fetched { id, body });
                    }
                }
            }
            Action::Arm(arming) => {
                self.ears.arming = arming;
                self.arm(now);
            }
            Action::Prompt(hint) => self.prompt_model(hint),
            Action::Note(note) => self.note(now, note),
        }
    }

    /// A transfer that cannot even begin has no second party whose end would be told: the conversation, which waits
    /// for that, is told itself.
    fn transfer_of_playbook(&mut self, now: CallTime, refer: Refer) {
        let Err(failure) = self.begin_refer(now, refer) else { return };
        self.fail(now, "command", &failure);
        let why = failure.to_string();
        let event = self.second_reject(now, (failure.code, &why), Particulars::default());
        self.tell(playbook::Input::Call(event));
    }

    /// The report that the playbook wants of the call.
    pub(crate) fn report(&self) -> Option<Afterwards> {
        let outcome = self.conversation.as_ref()?.outcome();
        outcome.report.as_ref()?;
        let llm = self.playbook.as_ref().and_then(|playbook| playbook.llm.clone());
        Some(Afterwards { id: self.facts.id.clone(), outcome, llm })
    }

    /// A piece of the model's answer.
    pub(crate) fn model(&mut self, now: CallTime, turn: TurnId, output: ModelOutput) {
        if matches!(output, ModelOutput::Text(_)) && turn.0 < BACKGROUND {
            self.draft.first_text(now);
        }
        if let ModelOutput::Done(usage) = &output {
            self.draft.used(*usage);
        }
        if let ModelOutput::Failed { error } = &output {
            self.error(now, "llm", error.clone(), 500);
        }
        self.tell(playbook::Input::Model(turn, output));
    }

    /// Variables that events and records tell.
    pub(crate) fn public_vars(&self) -> Extra {
        match &self.conversation {
            Some(conversation) => redact::extra(conversation.vars().public()),
            None => redact::extra(self.vars().public()),
        }
    }

    /// Headers for the BYE: those of the option, rendered with the variables as they stand, and over them those that
    /// `hangup` gave. Beside them, which could not be sent, and why.
    pub(crate) fn bye_headers(&self) -> (Headers, Vec<String>) {
        let templates = self.option.sip.as_ref().and_then(|sip| sip.hangup_headers.clone());
        let vars = match &self.conversation {
            Some(conversation) => conversation.vars().clone(),
            None => self.vars(),
        };
        let (mut headers, _) = vars.hangup_headers(&templates.unwrap_or_default());
        headers.extend(self.farewell.clone());
        sendable(headers)
    }

    /// The variables a conversation begins with.
    pub(crate) fn vars(&self) -> Vars {
        let mut vars = Vars::new(BuiltIns {
            session_id: self.facts.id.clone(),
            call_type: self.facts.kind.lower().into(),
            start_time: self.facts.clock.rfc3339(CallTime::ZERO),
            caller: self.caller(),
            callee: self.callee(),
        });
        vars.extend(self.option.extra.clone().unwrap_or_default());
        let wanted = self.option.sip.as_ref().and_then(|sip| sip.extract_headers.clone()).unwrap_or_default();
        if let Some(serde_json::Value::Object(headers)) = self.facts.vars.get("sip") {
            for (name, value) in headers {
                let value = protocol::value::extra_string(value);
                if wanted.0.iter().any(|header| takes(header, name, &value)) {
                    vars.set_header(name.clone(), value);
                }
            }
        }
        vars.extend(
            self.facts
                .vars
                .iter()
                .filter(|(name, _)| *name != "sip")
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
        );
        vars
    }

    fn note(&mut self, now: CallTime, note: Note) {
        match note {
            Note::Metric { key, duration, data } => self.metric(now, key, duration, data),
            Note::Said { speaker, text } => {
                let event = Event::AddHistory {
                    sender: Some("playbook".into()),
                    timestamp: self.unix_ms(now),
                    speaker: speaker.into(),
                    text,
                };
                self.emit(event);
            }
            Note::Trouble(why) => self.error(now, "playbook", why, 500),
            Note::Scene(scene) => {
                self.scene_entered(&scene);
                let event = Event::Other {
                    track_id: self.facts.id.clone(),
                    timestamp: self.unix_ms(now),
                    sender: "playbook".into(),
                    extra: Some(Extra::from([("scene".to_owned(), scene.into())])),
                };
                self.emit(event);
            }
        }
    }
}

/// Longest value a pattern is tried on.
const MAX_HEADER: usize = 4096;

fn takes(header: &ExtractHeader, name: &str, value: &str) -> bool {
    if !header.name().eq_ignore_ascii_case(name) || value.len() > MAX_HEADER {
        return false;
    }
    match header {
        ExtractHeader::Name(_) => true,
        ExtractHeader::Pattern { pattern, .. } => regex::RegexBuilder::new(pattern)
            .size_limit(1 << 20)
            .build()
            .is_ok_and(|regex| regex.is_match(value)),
    }
}
