//! Scripts on the stage of rehearsals: what happens line by line, and what was seen as text.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;

use playbook::rehearsal::{STEP_MS, Seen, Stage};
use playbook::{BuiltIns, Input, Note, Playbook, Vars};
use protocol::Event;
use protocol::chat::{Ask, ModelOutput, Role, TurnId, Usage};
use protocol::event::{RejectEvent, Transcript};

pub(crate) struct World {
    stage: Stage,
    turn: TurnId,
    summary: TurnId,
    fetch: u32,
    prompt: String,
    log: String,
}

impl World {
    /// Plays a script and tells what the conversation did.
    pub(crate) fn play(script: &str) -> String {
        let (playbook, vars, lines) = read(script);
        let mut world = World {
            stage: Stage::new(Arc::new(playbook), vars),
            turn: TurnId(0),
            summary: TurnId(0),
            fetch: 0,
            prompt: String::new(),
            log: String::new(),
        };
        let end = lines.iter().map(|line| line.until).max().unwrap_or(0) + 3000;
        let mut lines = VecDeque::from(lines);
        for now in (0..=end).step_by(STEP_MS as usize) {
            while lines.front().is_some_and(|line| line.from <= now) {
                let line = lines.pop_front().unwrap();
                world.happen(&line, now);
            }
            world.stage.step();
            for (at, seen) in world.stage.take_seen() {
                world.see(at, seen);
            }
            let timeout = world.stage.conversation().timeout();
            assert!(
                timeout.is_none_or(|at| at.as_ms() > now),
                "a deadline that is past after it was handled"
            );
        }
        world.conclude()
    }

    fn see(&mut self, now: u64, seen: Seen) {
        let text = match seen {
            Seen::Says { play_id, text, emotion } => {
                let emotion = emotion.map_or(String::new(), |emotion| format!(", {emotion}"));
                format!("{play_id} says \"{text}\"{emotion}")
            }
            Seen::Plays(file) => format!("play {file}"),
            Seen::Heard(play_id) => format!("{play_id} was heard"),
            Seen::CutOff { play_id, text } => format!("{play_id} is cut off after \"{text}\""),
            Seen::Stops(fade) => {
                let fade = fade.map_or(String::new(), |ms| format!(", fading out over {ms} ms"));
                format!("stop talking{fade}")
            }
            Seen::Ducked(Some(level)) => format!("the voice goes down to {level}"),
            Seen::Ducked(None) => "the voice comes back".to_owned(),
            Seen::Asked(ask) => return self.asked(now, &ask),
            Seen::Abandoned(turn) => format!("abandon turn {}", turn.0),
            Seen::Fetches { id, request } => {
                self.fetch = id;
                let body = request.body.map_or(String::new(), |body| format!(" {body}"));
                format!("fetch {} {}{body}", request.method, request.url)
            }
            Seen::ListsTools(server) => format!("list the tools of {}", server.name),
            Seen::CallsTool { id, server, name, arguments } => {
                self.fetch = id;
                format!("call {name} of {server} with {arguments}")
            }
            Seen::Cancels(id) => format!("cancel fetch {id}"),
            Seen::HangsUp(hangup) => {
                let headers = hangup.headers.iter().flatten();
                let headers: String = headers.map(|(name, value)| format!(", {name}: {value}")).collect();
                format!("hang up, {}{headers}", hangup.reason.as_deref().unwrap_or("no reason"))
            }
            Seen::Transfers(refer) => format!("transfer to {}", refer.callee),
            Seen::Presses(digits) => format!("press {digits}"),
            Seen::Notes(Note::Trouble(text)) => format!("note: {text}"),
            Seen::Notes(Note::Scene(scene)) => format!("scene {scene}"),
            Seen::Notes(Note::Metric { .. } | Note::Said { .. }) => return,
            Seen::Does(other) => format!("{other:?}"),
        };
        self.tell(now, &text);
    }

    fn asked(&mut self, now: u64, ask: &Ask) {
        if ask.turn.0 >= 1 << 62 {
            self.summary = ask.turn;
            return self.tell(now, "ask for a summary");
        }
        self.turn = ask.turn;
        let prompt = ask.messages.first().filter(|first| first.role == Role::System);
        let whole = prompt.map_or("", |first| first.content.as_str());
        if let Some((_, summary)) = whole.split_once("Earlier in this call: ") {
            self.tell(now, &format!("told of {} messages and \"{summary}\"", ask.messages.len() - 1));
        }
        let prompt = first_line(whole).to_owned();
        if self.prompt != prompt {
            self.tell(now, &format!("prompt \"{prompt}\""));
            self.prompt = prompt;
        }
        let last = ask.messages.last().map_or(String::new(), |message| {
            format!("{} \"{}\"", message.role.as_str(), first_line(&message.content))
        });
        self.tell(now, &format!("ask turn {} in {}: {last}", ask.turn.0, ask.scene));
        if let Some(text) = &ask.otherwise {
            self.tell(now, &format!("what no rule fits is answered \"{text}\""));
        }
    }

    fn happen(&mut self, line: &Line, now: u64) {
        let text = line.quoted.clone();
        let turn = self.turn;
        match line.what.as_str() {
            "caller answers" => self.stage.later(now, Input::Answered),
            "caller speaks" => self.stage.caller_speaks(line.from, line.until, &text),
            "caller makes a noise" => self.stage.noise(line.from, line.until),
            "recognizer hears" => self.stage.later(now, Input::Call(Event::AsrDelta(words(&text)))),
            "recognizer understands" => self.stage.later(now, Input::Call(Event::AsrFinal(words(&text)))),
            "detector ends the utterance" => self.stage.later(now, end_of_utterance()),
            "caller presses" => self.stage.caller_presses(now, text.chars().next().unwrap()),
            "caller holds" => self.stage.later(now, hold(true)),
            "caller is back" => self.stage.later(now, hold(false)),
            "model says" => {
                self.stage.later(now, Input::Model(turn, ModelOutput::Text(text)));
                self.stage.later(now, Input::Model(turn, ModelOutput::Done(Usage::default())));
            }
            "model streams" => self.stage.later(now, Input::Model(turn, ModelOutput::Text(text))),
            "model ends" => self.stage.later(now, Input::Model(turn, ModelOutput::Done(Usage::default()))),
            "model fails" => self.stage.later(now, Input::Model(turn, ModelOutput::Failed { error: text })),
            "summary comes" => {
                self.stage.later(now, Input::Model(self.summary, ModelOutput::Text(text)));
                self.stage.later(now, Input::Model(self.summary, ModelOutput::Done(Usage::default())));
            }
            "model calls" => {
                let (name, arguments) = text.split_once(' ').unwrap_or((&text, "{}"));
                let (id, name) = (format!("call-{}", turn.0), name.to_owned());
                let arguments = serde_json::from_str(arguments).unwrap();
                self.stage.later(now, Input::Model(turn, ModelOutput::ToolCall { id, name, arguments }));
            }
            "server offers" => {
                let (server, tool) = text.split_once(' ').unwrap();
                let tool = serde_json::from_str(tool).unwrap();
                self.stage.later(now, Input::Tools { server: server.to_owned(), tools: Ok(vec![tool]) });
            }
            "fetch brings" => self.stage.later(now, Input::Fetched { id: self.fetch, body: Ok(text) }),
            "fetch fails" => self.stage.later(now, Input::Fetched { id: self.fetch, body: Err(text) }),
            "transfer fails" => {
                let refused = RejectEvent { reason: text, refer: Some(true), ..RejectEvent::default() };
                self.stage.later(now, Input::Call(Event::Reject(Box::new(refused))));
            }
            "caller hangs up" => self.stage.caller_hangs_up(now),
            "the end" => {}
            other => panic!("the script says \"{other}\", which this world does not know"),
        }
    }

    fn tell(&mut self, now: u64, what: &str) {
        let _ = writeln!(self.log, "{:6.2}  {what}", now as f64 / 1000.0);
    }

    fn conclude(mut self) -> String {
        self.log.push_str("history\n");
        for message in self.stage.conversation().history() {
            let who = match message.role {
                Role::User => "caller",
                Role::Assistant => "agent",
                Role::System | Role::Tool => "system",
            };
            let calls = message.tool_calls.iter().map(|call| &call.function);
            let calls: String = calls.map(|call| format!("calls {} {}", call.name, call.arguments)).collect();
            let _ = writeln!(self.log, "  {who}: {}{calls}", message.content);
        }
        self.log
    }
}

/// A line of a script: when, what, and what is quoted in it.
struct Line {
    from: u64,
    until: u64,
    what: String,
    quoted: String,
}

fn read(script: &str) -> (Playbook, Vars, Vec<Line>) {
    let mut vars = Vars::new(BuiltIns {
        session_id: "s1".into(),
        caller: "sip:ada@example.com".into(),
        ..BuiltIns::default()
    });
    let (mut markdown, mut lines) = (String::new(), Vec::new());
    for line in script.lines() {
        if let Some(text) = line.strip_prefix("  ") {
            markdown.push_str(text);
            markdown.push('\n');
        } else if let Some((name, value)) =
            line.strip_prefix("header ").and_then(|rest| rest.split_once(": "))
        {
            vars.set_header(name, value);
        } else if line.starts_with(|c: char| c.is_ascii_digit()) {
            lines.push(Line::read(line));
        } else if line.is_empty() {
            markdown.push('\n');
        } else {
            assert!(
                line.starts_with('#') || line == "playbook",
                "a line of the script is not understood: {line}"
            );
        }
    }
    let playbook = Playbook::parse(markdown.trim_start(), &|_| None).unwrap();
    // What the script's model does nobody can foresee.
    let odd = playbook.warnings.iter().filter(|odd| !odd.message.starts_with("nothing"));
    assert_eq!(odd.collect::<Vec<_>>(), Vec::<&playbook::error::Warning>::new());
    (playbook, vars, lines)
}

impl Line {
    fn read(line: &str) -> Line {
        let (time, rest) = line.split_once(' ').unwrap();
        let (from, until) = time.split_once('-').unwrap_or((time, time));
        let ms = |seconds: &str| (seconds.parse::<f64>().unwrap() * 1000.0).round() as u64;
        let (what, quoted) = rest.split_once('"').unwrap_or((rest, ""));
        let quoted = quoted.strip_suffix('"').unwrap_or(quoted).replace("\\n", "\n");
        Line { from: ms(from), until: ms(until), what: what.trim().to_owned(), quoted }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn words(text: &str) -> Transcript {
    Transcript { text: text.to_owned(), ..Transcript::default() }
}

fn end_of_utterance() -> Input {
    let (completed, complete, interrupt_point) = (true, true, None);
    Input::Call(Event::Eou { track_id: String::new(), timestamp: 0, completed, complete, interrupt_point })
}

fn hold(on_hold: bool) -> Input {
    Input::Call(Event::Hold { track_id: String::new(), timestamp: 0, on_hold, by: None })
}
