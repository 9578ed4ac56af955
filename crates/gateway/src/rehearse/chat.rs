//! A talk with a playbook by text. The clock is simulated and stands still while one types.

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::sync::Arc;

use call::setup::{Fetcher, ToolServers};
use playbook::rehearsal::{Seen, Stage};
use playbook::tools::McpServer;
use playbook::{BuiltIns, Input, Note, Playbook, Vars};
use protocol::Extra;
use protocol::value::Millis;
use serde::Deserialize;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::live::Live;
use crate::config::Config;
use crate::egress::Egress;
use crate::mcp::Servers;

/// After so long without a word, a question or a fetch it is the caller's turn.
const QUIET_MS: u64 = 2000;
/// Longest that one turn is followed.
const TURN_MS: u64 = 600_000;
/// How long the caller speaks for each character, and for how many at most.
const CALLER_MS_PER_CHAR: u64 = 50;
const MOST_CHARS: usize = 400;
/// Between two keys.
const KEY_MS: u64 = 200;
const COMMANDS: &str = "/dtmf KEYS, /silence 8s, /vars, /hangup, /quit; anything else is said";

/// How a talk ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The agent hung up, for this reason.
    Agent(String),
    /// The caller hung up, or there was nothing more to read.
    Caller,
}

/// Talks with `playbook` by the lines of `input`, and writes to `out` what happens. Models, fetches and tools are the
/// real ones, reached as `config` lets them.
///
/// # Errors
/// A text: the model's option, the network's start, reading and writing.
pub fn chat(
    playbook: Playbook,
    config: &Config,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
) -> Result<Ending, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let egress = Egress::new(&config.useragent, &config.egress).map_err(|error| error.to_string())?;
    let world = World {
        runtime: runtime.map_err(|error| error.to_string())?,
        live: Live::of(&playbook)?,
        tools: Servers::new(egress.clone(), config.mcp_programs.clone()),
        egress,
        servers: HashMap::new(),
    };
    let mut talk = Talk { stage: stage(playbook), world, out, vars: Extra::new(), busy: 0, ended: None };
    talk.run(input).map_err(|error| error.to_string())
}

fn stage(playbook: Playbook) -> Stage {
    let vars = Vars::new(BuiltIns {
        session_id: "chat".into(),
        call_type: "sip".into(),
        start_time: crate::app::now(),
        caller: "sip:caller@example.com".into(),
        callee: "sip:agent@example.com".into(),
    });
    let mut stage = Stage::new(Arc::new(playbook), vars);
    stage.later(0, Input::Answered);
    stage
}

/// What the conversation reaches beyond itself.
struct World {
    runtime: Runtime,
    live: Option<Live>,
    egress: Egress,
    tools: Servers,
    /// Servers of tools that the playbook has, by name.
    servers: HashMap<String, McpServer>,
}

struct Talk<'a> {
    stage: Stage,
    world: World,
    out: &'a mut dyn Write,
    /// The variables as they were shown last.
    vars: Extra,
    /// Until then something is known to happen, in milliseconds of the simulated clock.
    busy: u64,
    ended: Option<Ending>,
}

impl Talk<'_> {
    fn run(&mut self, input: &mut dyn BufRead) -> io::Result<Ending> {
        writeln!(self.out, "{COMMANDS}")?;
        self.vars = self.stage.conversation().vars().public();
        self.settle()?;
        let mut line = String::new();
        while self.ended.is_none() {
            write!(self.out, "> ")?;
            self.out.flush()?;
            line.clear();
            if input.read_line(&mut line)? == 0 {
                writeln!(self.out)?;
                break;
            }
            if !self.line(line.trim())? {
                break;
            }
        }
        Ok(self.ended.take().unwrap_or(Ending::Caller))
    }

    /// What the caller wrote; false ends the talk.
    fn line(&mut self, line: &str) -> io::Result<bool> {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        match command {
            "" => return Ok(true),
            "/quit" => return Ok(false),
            "/hangup" => {
                self.stage.caller_hangs_up(self.stage.now_ms());
                self.settle()?;
                return Ok(false);
            }
            "/vars" => {
                for (name, value) in self.stage.conversation().vars().public() {
                    writeln!(self.out, "    {name} = {value}")?;
                }
                return Ok(true);
            }
            "/dtmf" => {
                for key in rest.chars().filter(|key| !key.is_whitespace()).take(MOST_CHARS) {
                    self.stage.caller_presses(self.stage.now_ms(), key);
                    self.pass(KEY_MS)?;
                }
            }
            "/silence" => match Millis::deserialize(Value::from(rest.trim())) {
                Ok(ms) => self.pass(u64::try_from(ms.0.as_millis()).unwrap_or(TURN_MS).min(TURN_MS))?,
                Err(_) => writeln!(self.out, "    write /silence 8s or /silence 500ms")?,
            },
            _ if line.starts_with('/') => writeln!(self.out, "    {COMMANDS}")?,
            _ => {
                let from = self.stage.now_ms();
                let until = from + CALLER_MS_PER_CHAR * line.chars().count().min(MOST_CHARS) as u64;
                self.stage.caller_speaks(from, until, line);
                self.pass(until - from)?;
            }
        }
        self.settle()?;
        Ok(true)
    }

    /// Lets time pass until it is the caller's turn.
    fn settle(&mut self) -> io::Result<()> {
        let end = self.stage.now_ms() + TURN_MS;
        self.busy = self.busy.max(self.stage.now_ms());
        while self.ended.is_none() && self.stage.now_ms() < (self.busy + QUIET_MS).min(end) {
            self.step()?;
        }
        let vars = self.stage.conversation().vars().public();
        for (name, value) in &vars {
            if self.vars.get(name) != Some(value) {
                writeln!(self.out, "    {name} = {value}")?;
            }
        }
        self.vars = vars;
        Ok(())
    }

    fn pass(&mut self, ms: u64) -> io::Result<()> {
        let end = self.stage.now_ms() + ms;
        while self.ended.is_none() && self.stage.now_ms() < end {
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> io::Result<()> {
        self.stage.step();
        for (at, seen) in self.stage.take_seen() {
            self.busy = self.busy.max(at);
            self.see(seen)?;
        }
        if self.stage.is_speaking() {
            self.busy = self.busy.max(self.stage.now_ms());
        }
        Ok(())
    }

    fn see(&mut self, seen: Seen) -> io::Result<()> {
        match seen {
            Seen::Says { text, .. } => writeln!(self.out, "agent: {}", text.trim()),
            Seen::Plays(file) => writeln!(self.out, "    plays {file}"),
            Seen::CutOff { text, .. } => writeln!(self.out, "    cut off after: {text}"),
            Seen::Presses(digits) => writeln!(self.out, "    presses {digits}"),
            Seen::Transfers(refer) => writeln!(self.out, "    transfers to {}", refer.callee),
            Seen::HangsUp(hangup) => {
                let reason = hangup.reason.unwrap_or_default();
                self.ended = Some(Ending::Agent(reason.clone()));
                writeln!(self.out, "    the agent hangs up ({reason})")
            }
            Seen::Notes(Note::Scene(scene)) => writeln!(self.out, "    scene {scene}"),
            Seen::Notes(Note::Trouble(why)) => writeln!(self.out, "    trouble: {why}"),
            Seen::Notes(Note::Metric { key: "tool_invocation", data, .. }) => {
                let name = data.get("tool").and_then(Value::as_str).unwrap_or_default();
                let params = data.get("params").map(protocol::value::extra_string).unwrap_or_default();
                writeln!(self.out, "    uses {name} {params}")
            }
            Seen::Notes(_)
            | Seen::Heard(_)
            | Seen::Stops(_)
            | Seen::Ducked(_)
            | Seen::Abandoned(_)
            | Seen::Cancels(_)
            | Seen::Does(_) => Ok(()),
            asks => {
                self.ask_the_world(asks);
                Ok(())
            }
        }
    }

    /// Asks, waits and lets the conversation have the answer after the time it took.
    #[allow(clippy::disallowed_methods, reason = "what is really asked takes real time")]
    fn ask_the_world(&mut self, seen: Seen) {
        let begun = std::time::Instant::now();
        let World { runtime, live, egress, tools, servers } = &mut self.world;
        let inputs = match seen {
            Seen::Asked(ask) => {
                let outputs = live.iter().flat_map(|live| runtime.block_on(live.answer(&ask)));
                outputs.map(|output| Input::Model(ask.turn, output)).collect()
            }
            Seen::Fetches { id, request } => {
                vec![Input::Fetched { id, body: runtime.block_on(egress.fetch(request)) }]
            }
            Seen::ListsTools(server) => {
                let listed = runtime.block_on(tools.list(&server));
                let name = server.name.clone();
                servers.insert(name.clone(), server);
                vec![Input::Tools { server: name, tools: listed }]
            }
            Seen::CallsTool { id, server, name, arguments } => {
                let body = match servers.get(&server) {
                    Some(server) => runtime.block_on(tools.call(server, &name, arguments)),
                    None => Err(format!("there is no server of tools called {server}")),
                };
                vec![Input::Fetched { id, body }]
            }
            _ => Vec::new(),
        };
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(TURN_MS).min(TURN_MS);
        let at = self.stage.now_ms() + took;
        self.busy = self.busy.max(at);
        inputs.into_iter().for_each(|input| self.stage.later(at, input));
    }
}
