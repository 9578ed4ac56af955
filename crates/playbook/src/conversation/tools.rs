//! Functions the model calls, and what is fetched for it: started, waited for, cancelled, told to the model.

use std::time::Duration;

use protocol::CallTime;
use protocol::chat::{Message, Role, ToolSpec, TurnId};
use serde_json::{Value, json};

use super::heard::After;
use super::{Action, Conversation, HttpRequest, Mode, Note};
use crate::hosts;
use crate::phrases;
use crate::scanner::Scan;
use crate::tags::{Act, Tag};
use crate::tools::MAX_TOOLS;

/// Most requests under way at once; further ones are refused.
const MAX_PENDING: usize = 4;
/// Longest result that the model is told, in characters; the rest is cut.
const MAX_RESULT: usize = 8000;
/// After so long without a result the caller is told to wait.
const SLOW: Duration = Duration::from_millis(1500);
/// A result that is late by so much does not come.
const GRACE: Duration = Duration::from_secs(2);
/// How long a tool of a server may take.
const MCP_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest description with schema of a server's tool, in bytes.
const MAX_SPEC: usize = 16 * 1024;

/// A request under way.
#[derive(Debug)]
pub(super) struct Pending {
    id: u32,
    turn: TurnId,
    since: CallTime,
    patience: Duration,
    asked: Asked,
    var: Option<String>,
    filler: Option<String>,
    /// The caller was told to wait.
    filled: bool,
}

/// Who wants the result.
#[derive(Debug)]
enum Asked {
    /// A tag: what is fetched, in words.
    Tag(String),
    /// The model, by this call.
    Call(Called),
}

/// A function call of the model.
#[derive(Clone, Debug)]
pub(super) struct Called {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: Value,
}

impl Called {
    fn with(&self, result: impl Into<String>) -> [Message; 2] {
        Message::tool(&self.id, &self.name, &self.arguments, result)
    }
}

/// A tool of a server.
#[derive(Clone, Debug)]
pub(super) struct ServerTool {
    server: String,
    name: String,
    spec: ToolSpec,
}

impl Conversation {
    /// Everything the model may call now.
    pub(super) fn functions(&self) -> Vec<ToolSpec> {
        let mut specs = self.playbook.tools.specs();
        specs.extend(self.server_tools.iter().map(|tool| tool.spec.clone()));
        specs.truncate(MAX_TOOLS);
        specs
    }

    /// Asks the playbook's servers for their tools.
    pub(super) fn list_tools(&mut self, out: &mut Vec<Action>) {
        out.extend(self.playbook.tools.mcp.iter().cloned().map(Action::ListTools));
    }

    /// A server has told its tools; the model gets them from its next question on.
    pub(super) fn tools_listed(
        &mut self,
        server: &str,
        tools: Result<Vec<ToolSpec>, String>,
        out: &mut Vec<Action>,
    ) {
        let Some(own) = self.playbook.tools.mcp.iter().find(|own| own.name == server) else { return };
        let tools = match tools {
            Ok(tools) => tools,
            Err(why) => {
                let why = protocol::read::shown(&why);
                out.push(Action::Note(Note::Trouble(format!("no tools of the server {server}: {why}"))));
                return;
            }
        };
        self.server_tools.retain(|tool| tool.server != server);
        let wanted = |tool: &ToolSpec| own.allow.is_empty() || own.allow.contains(&tool.name);
        let small = |tool: &ToolSpec| {
            tool.description.len() + tool.parameters.to_string().len() + tool.name.len() <= MAX_SPEC
        };
        for tool in tools.into_iter().filter(wanted).filter(small).take(MAX_TOOLS) {
            let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
            let public: String = format!("{server}_{}", tool.name).chars().map(safe).take(64).collect();
            let spec = ToolSpec { name: public, ..tool.clone() };
            self.server_tools.push(ServerTool { server: server.to_owned(), name: tool.name, spec });
        }
    }

    /// The model calls a function.
    pub(super) fn call_function(&mut self, called: Called, out: &mut Vec<Action>) {
        let name = called.name.as_str();
        if let Some(tool) = self.playbook.tools.named(name).cloned() {
            self.count_tool(name, &called.arguments.to_string(), out);
            match tool.request(&called.arguments, &self.vars) {
                Ok(request) => {
                    let pending = self.pending(Asked::Call(called), request.timeout);
                    let pending = Pending { var: tool.var, filler: tool.filler, ..pending };
                    self.begin_fetch(pending, request, out);
                }
                Err(error) => self.call_failed(&called, &error.to_string(), out),
            }
        } else if let Some(tool) = self.server_tools.iter().find(|tool| tool.spec.name == name).cloned() {
            self.count_tool(name, &called.arguments.to_string(), out);
            let arguments = called.arguments.clone();
            let pending = self.pending(Asked::Call(called), MCP_TIMEOUT);
            if let Some(id) = self.add_pending(pending, out) {
                let ServerTool { server, name, .. } = tool;
                out.push(Action::CallTool { id, server, name, arguments, timeout: MCP_TIMEOUT });
            }
        } else if let Some(tag) = Tag::from_call(name, &called.arguments) {
            let Some(act) = tag.act() else {
                let why = format!("{} is missing or wrong", tag.lacks().unwrap_or("an argument"));
                return self.call_failed(&called, &why, out);
            };
            if let Act::Goto(scene) = &act
                && self.playbook.scene_named(scene).is_none()
            {
                let shown = protocol::read::shown(scene);
                let why = format!("there is no scene {shown}; {}", self.playbook.scene_names());
                return self.call_failed(&called, &why, out);
            }
            if let Some(reply) = self.reply.as_ref().filter(|_| matches!(act, Act::SetVar { .. })) {
                self.history.push_all(reply.turn, called.with("done"));
            }
            self.take(Scan::Tag(tag), out);
        } else {
            let known: Vec<String> = self.functions().into_iter().map(|spec| spec.name).collect();
            let known = if known.is_empty() { "none; answer in words".to_owned() } else { known.join(", ") };
            self.call_failed(&called, &format!("there is no such function; known: {known}"), out);
        }
    }

    /// The model is told that its call cannot be, and goes on.
    fn call_failed(&mut self, called: &Called, why: &str, out: &mut Vec<Action>) {
        let Some(reply) = &self.reply else { return };
        self.history.push_all(reply.turn, called.with(format!("failed: {why}")));
        self.mistaken();
        let name = protocol::read::shown(&called.name);
        out.push(Action::Note(Note::Trouble(format!("the model calls {name}: {why}"))));
    }

    /// Tells those who watch that the model uses a tool.
    pub(super) fn count_tool(&mut self, tool: &str, params: &str, out: &mut Vec<Action>) {
        let Some(reply) = &mut self.reply else { return };
        reply.counts = true;
        self.outcome.tool_calls = self.outcome.tool_calls.saturating_add(1);
        let data = json!({ "tool": tool, "params": params, "playId": format!("turn-{}", reply.turn.0) });
        out.push(Action::Note(Note::Metric { key: "tool_invocation", duration: Duration::ZERO, data }));
    }

    /// The `http` tag: what is fetched may be what a caller dictated.
    pub(super) fn fetch(
        &mut self,
        turn: TurnId,
        mut request: HttpRequest,
        var: Option<String>,
        out: &mut Vec<Action>,
    ) {
        request.url = self.render_once(request.url, out);
        request.body = request.body.map(|body| self.render_once(body, out));
        request.hosts = self.playbook.tools.hosts.clone();
        let what = format!("HTTP {} {}", request.method, protocol::read::shown(&request.url));
        if !hosts::permits(&request.hosts, &request.url) {
            out.push(Action::Note(Note::Trouble(format!(
                "{what} refused: its host is not under http.allow"
            ))));
            self.history.push(turn, Role::System, format!("{what} was refused: it is not allowed."));
            self.news = true;
            return;
        }
        let pending = Pending { var, ..self.pending(Asked::Tag(what), request.timeout) };
        self.begin_fetch(pending, request, out);
    }

    /// A request of the turn under way.
    fn pending(&self, asked: Asked, timeout: Duration) -> Pending {
        let turn = self.reply.as_ref().map_or(self.last_turn, |reply| reply.turn);
        let (since, patience) = (self.now, timeout + GRACE);
        Pending { id: 0, turn, since, patience, asked, var: None, filler: None, filled: false }
    }

    fn begin_fetch(&mut self, pending: Pending, request: HttpRequest, out: &mut Vec<Action>) {
        if let Some(id) = self.add_pending(pending, out) {
            out.push(Action::Fetch { id, request });
        }
    }

    fn add_pending(&mut self, mut pending: Pending, out: &mut Vec<Action>) -> Option<u32> {
        if self.fetches.len() >= MAX_PENDING {
            match &pending.asked {
                Asked::Call(called) => self.call_failed(called, "too many at once", out),
                Asked::Tag(what) => {
                    let text = format!("too many requests at once; {what} is dropped");
                    out.push(Action::Note(Note::Trouble(text)));
                }
            }
            return None;
        }
        self.last_fetch = self.last_fetch.wrapping_add(1);
        pending.id = self.last_fetch;
        self.fetches.push(pending);
        Some(self.last_fetch)
    }

    /// A result goes to the model, once the agent has finished speaking.
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
        let Some(at) = self.fetches.iter().position(|pending| pending.id == id) else { return };
        let Pending { turn, asked, var, .. } = self.fetches.remove(at);
        let result = match body {
            Ok(body) => {
                let body: String = body.chars().take(MAX_RESULT).collect();
                if let Some(var) = var {
                    let value = serde_json::from_str(&body).unwrap_or_else(|_| Value::String(body.clone()));
                    self.vars.set(var, value);
                }
                Ok(body)
            }
            Err(error) => Err(protocol::read::shown(&error)),
        };
        self.remember(turn, &asked, result);
        self.news = true;
        let free = self.reply.is_none() && self.cut.is_none() && self.waiting.is_none();
        if self.mode == Mode::Talking && self.fetches.is_empty() && free && !self.caller_speaking {
            self.ask_unprompted(now, out);
        }
    }

    fn remember(&mut self, turn: TurnId, asked: &Asked, result: Result<String, String>) {
        match asked {
            Asked::Tag(what) => {
                let text = match result {
                    Ok(body) => format!("{what} returned: {body}"),
                    Err(error) => format!("{what} failed: {error}"),
                };
                self.history.push(turn, Role::System, text);
            }
            Asked::Call(called) => {
                let text = result.unwrap_or_else(|error| format!("failed: {error}"));
                self.history.push_all(turn, called.with(text));
            }
        }
    }

    /// The caller takes back what is being looked up.
    pub(super) fn cancel_by_words(&mut self, text: &str, out: &mut Vec<Action>) {
        if self.fetches.is_empty() || !phrases::takes_back(text, self.playbook.language()) {
            return;
        }
        for pending in std::mem::take(&mut self.fetches) {
            out.push(Action::CancelFetch(pending.id));
            self.remember(pending.turn, &pending.asked, Err("the caller has taken it back".to_owned()));
        }
    }

    /// When a request has taken so long that something must happen.
    pub(super) fn fetch_deadline(&self) -> Option<CallTime> {
        let lost = self.fetches.iter().map(|pending| pending.since + pending.patience).min();
        let free = self.is_waiting_for_caller() && !self.caller_speaking;
        let slow =
            self.fetches.iter().filter(|pending| free && !pending.filled).map(|pending| pending.since + SLOW);
        lost.into_iter().chain(slow).min()
    }

    /// Gives up what does not come, and tells the caller to wait for what is slow.
    pub(super) fn await_fetches(&mut self, now: CallTime, out: &mut Vec<Action>) {
        let lost = |pending: &&Pending| pending.since + pending.patience <= now;
        let lost: Vec<u32> = self.fetches.iter().filter(lost).map(|pending| pending.id).collect();
        for id in lost {
            out.push(Action::CancelFetch(id));
            self.fetched(now, id, Err("no answer in time".to_owned()), out);
        }
        let free = self.is_waiting_for_caller() && !self.caller_speaking;
        let slow = self.fetches.iter().find(|pending| free && !pending.filled && pending.since + SLOW <= now);
        let Some(text) =
            slow.map(|pending| pending.filler.clone().unwrap_or_else(|| self.phrases.wait.clone()))
        else {
            return;
        };
        self.fetches.iter_mut().for_each(|pending| pending.filled = true);
        self.say_fixed(now, &text, After::default(), out);
    }
}
