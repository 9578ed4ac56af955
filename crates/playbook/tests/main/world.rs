//! A small world around a conversation: a caller, a recognizer, a voice and a model that follow a script on a
//! clock that is moved by hand.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use playbook::{Action, Arming, BuiltIns, Conversation, Ended, Input, Note, Playbook, Vars};
use protocol::chat::{ModelOutput, Role, TurnId, Usage};
use protocol::event::{HangupEvent, Transcript};
use protocol::{CallTime, Command, Event};

/// How fast the voice speaks, in milliseconds per character.
const MS_PER_CHAR: u64 = 60;
/// From a text to its first sound.
const VOICE_DELAY_MS: u64 = 200;
/// Length of every file.
const FILE_MS: u64 = 1000;
/// From the onset of speech to the event of it.
const VAD_MS: u64 = 200;
/// From the end of speech to the final text.
const RECOGNIZER_MS: u64 = 300;
const STEP_MS: u64 = 20;

pub(crate) struct World {
    conversation: Conversation,
    arming: Option<Arming>,
    ducked: bool,
    /// Since when the detector hears speech.
    speech_since: Option<u64>,
    voice: Voice,
    inputs: VecDeque<(u64, Input)>,
    turn: TurnId,
    summary: TurnId,
    fetch: u32,
    prompt: String,
    log: String,
}

/// What sounds.
#[derive(Default)]
struct Voice {
    play_id: String,
    text: String,
    file: bool,
    ends: bool,
    since: u64,
    reported: usize,
}

impl World {
    /// Plays a script and tells what the conversation did.
    pub(crate) fn play(script: &str) -> String {
        let (playbook, vars, lines) = read(script);
        let conversation = Conversation::new(Arc::new(playbook), vars);
        let mut world = World {
            conversation,
            arming: None,
            ducked: false,
            speech_since: None,
            voice: Voice::default(),
            inputs: VecDeque::new(),
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
            world.step(now);
        }
        world.conclude()
    }

    fn step(&mut self, now: u64) {
        self.inputs.make_contiguous().sort_by_key(|(at, _)| *at);
        while self.inputs.front().is_some_and(|(at, _)| *at <= now) {
            let (_, input) = self.inputs.pop_front().unwrap();
            match input {
                Input::Call(Event::Speaking { .. }) => self.speech_since = Some(now - VAD_MS),
                Input::Call(Event::Silence { .. }) => {
                    self.speech_since = None;
                    self.unduck(now);
                }
                _ => {}
            }
            if self.speech_since.is_some() {
                self.barge_in(now);
            }
            self.feed(now, input);
        }
        if self.speech_since.is_some() {
            self.barge_in(now);
        }
        if self.conversation.timeout().is_some_and(|deadline| deadline.as_ms() <= now) {
            self.feed(now, Input::Tick);
        }
        self.speak(now);
    }

    fn feed(&mut self, now: u64, input: Input) {
        let mut out = Vec::new();
        self.conversation.handle(CallTime::ms(now), input, &mut out);
        for action in out {
            self.act(now, action);
        }
        let timeout = self.conversation.timeout();
        assert!(timeout.is_none_or(|at| at.as_ms() > now), "a deadline that is past after it was handled");
    }

    fn act(&mut self, now: u64, action: Action) {
        match action {
            Action::Do(command) => self.command(now, command),
            Action::Ask(ask) if ask.turn.0 >= 1 << 62 => {
                self.summary = ask.turn;
                self.tell(now, "ask for a summary");
            }
            Action::Ask(ask) => {
                self.turn = ask.turn;
                let prompt = ask.messages.first().filter(|first| first.role == Role::System);
                let prompt = prompt.map_or("", |first| first_line(&first.content)).to_owned();
                let earlier =
                    ask.messages.first().and_then(|first| first.content.split_once("Earlier in this call: "));
                if let Some((_, summary)) = earlier {
                    self.tell(now, &format!("told of {} messages and \"{summary}\"", ask.messages.len() - 1));
                }
                if self.prompt != prompt {
                    self.tell(now, &format!("prompt \"{prompt}\""));
                    self.prompt = prompt;
                }
                let last = ask.messages.last().map_or(String::new(), |message| {
                    format!("{} \"{}\"", message.role.as_str(), first_line(&message.content))
                });
                self.tell(now, &format!("ask turn {} in {}: {last}", ask.turn.0, ask.scene));
            }
            Action::Abandon(turn) => self.tell(now, &format!("abandon turn {}", turn.0)),
            Action::Fetch { id, request } => {
                self.fetch = id;
                let body = request.body.map_or(String::new(), |body| format!(" {body}"));
                self.tell(now, &format!("fetch {} {}{body}", request.method, request.url));
            }
            Action::CancelFetch(id) => self.tell(now, &format!("cancel fetch {id}")),
            Action::ListTools(server) => self.tell(now, &format!("list the tools of {}", server.name)),
            Action::CallTool { id, server, name, arguments, .. } => {
                self.fetch = id;
                self.tell(now, &format!("call {name} of {server} with {arguments}"));
            }
            Action::Arm(arming) => self.arming = arming,
            Action::Note(Note::Trouble(text)) => self.tell(now, &format!("note: {text}")),
            Action::Note(Note::Scene(scene)) => self.tell(now, &format!("scene {scene}")),
            Action::Note(Note::Metric { .. } | Note::Said { .. }) => {}
        }
    }

    fn command(&mut self, now: u64, command: Command) {
        match command {
            Command::Tts(tts) => {
                let play_id = tts.play_id.unwrap();
                if self.voice.play_id != play_id {
                    self.cut_voice(now);
                    self.voice =
                        Voice { play_id: play_id.clone(), since: now + VOICE_DELAY_MS, ..Voice::default() };
                }
                if !tts.text.is_empty() {
                    let emotion = tts.option.and_then(|option| option.emotion);
                    let emotion = emotion.map_or(String::new(), |emotion| format!(", {emotion}"));
                    self.tell(now, &format!("{play_id} says \"{}\"{emotion}", tts.text));
                    if self.voice.reported >= self.voice.text.chars().count() {
                        let behind = self.voice.text.chars().count() as u64 * MS_PER_CHAR;
                        self.voice.since =
                            self.voice.since.max((now + VOICE_DELAY_MS).saturating_sub(behind));
                    }
                }
                self.voice.text.push_str(&tts.text);
                self.voice.ends |= tts.end_of_stream == Some(true);
            }
            Command::Play(play) => {
                self.cut_voice(now);
                self.tell(now, &format!("play {}", play.url));
                let play_id = play.play_id.unwrap();
                self.voice = Voice { play_id, since: now, file: true, ends: true, ..Voice::default() };
            }
            Command::Interrupt(interrupt) => {
                let fade =
                    interrupt.fade_out_ms.map_or(String::new(), |ms| format!(", fading out over {ms} ms"));
                self.tell(now, &format!("stop talking{fade}"));
                self.cut_voice(now);
            }
            Command::Hangup(hangup) => {
                let headers: String = hangup
                    .headers
                    .iter()
                    .flatten()
                    .map(|(name, value)| format!(", {name}: {value}"))
                    .collect();
                self.tell(
                    now,
                    &format!("hang up, {}{headers}", hangup.reason.as_deref().unwrap_or("no reason")),
                );
            }
            Command::Dtmf(dtmf) => self.tell(now, &format!("press {}", dtmf.digits)),
            Command::Refer(refer) => self.tell(now, &format!("transfer to {}", refer.callee)),
            other => self.tell(now, &format!("{other:?}")),
        }
    }

    /// Media's barge-in, as the conversation arms it: speech has been heard for as long as the detector needs.
    fn barge_in(&mut self, now: u64) {
        let Some(rule) = self.arming else { return };
        let heard = Duration::from_millis(now.saturating_sub(self.voice.since));
        if self.voice.play_id.is_empty() || heard < rule.ignore_first {
            return;
        }
        if let Some(level) = rule.duck.filter(|_| !self.ducked) {
            self.ducked = true;
            self.tell(now, &format!("the voice goes down to {level}"));
        }
        if self.speech_since.is_some_and(|since| Duration::from_millis(now - since) >= rule.stop_after) {
            self.cut_voice(now);
        }
    }

    fn unduck(&mut self, now: u64) {
        if std::mem::take(&mut self.ducked) && !self.voice.play_id.is_empty() {
            self.tell(now, "the voice comes back");
        }
    }

    fn cut_voice(&mut self, now: u64) {
        if self.voice.play_id.is_empty() {
            return;
        }
        let voice = std::mem::take(&mut self.voice);
        let text = voice.heard(now);
        self.tell(now, &format!("{} is cut off after \"{text}\"", voice.play_id));
        self.inputs
            .push_front((now, Input::Heard { play_id: voice.play_id, text, ended: Ended::Interrupted }));
    }

    fn speak(&mut self, now: u64) {
        if self.voice.play_id.is_empty() || now < self.voice.since {
            return;
        }
        let text = self.voice.heard(now);
        let play_id = self.voice.play_id.clone();
        let spoken = text == self.voice.text && (!self.voice.file || now >= self.voice.since + FILE_MS);
        if self.voice.ends && spoken {
            self.voice = Voice::default();
            self.tell(now, &format!("{play_id} was heard"));
            self.feed(now, Input::Heard { play_id, text, ended: Ended::Finished });
        } else if text.chars().count() > self.voice.reported || self.voice.file {
            self.voice.reported = text.chars().count();
            self.feed(now, Input::Heard { play_id, text, ended: Ended::Playing });
        }
    }

    fn happen(&mut self, line: &Line, now: u64) {
        let text = line.quoted.clone();
        let at = |ms: u64| line.from + ms;
        let mut later = |at: u64, input: Input| self.inputs.push_back((at, input));
        let turn = self.turn;
        match line.what.as_str() {
            "caller answers" => later(now, Input::Answered),
            "caller speaks" => {
                later(at(VAD_MS), speaking());
                let half: Vec<&str> = text.split(' ').collect();
                let half = half[..half.len().div_ceil(2)].join(" ");
                later(
                    line.from + (line.until - line.from) / 2 + VAD_MS,
                    Input::Call(Event::AsrDelta(words(&half))),
                );
                later(line.until + VAD_MS, silence());
                later(line.until + RECOGNIZER_MS, Input::Call(Event::AsrFinal(words(&text))));
            }
            "caller makes a noise" => {
                later(at(VAD_MS), speaking());
                later(line.until + VAD_MS, silence());
            }
            "recognizer hears" => later(now, Input::Call(Event::AsrDelta(words(&text)))),
            "recognizer understands" => later(now, Input::Call(Event::AsrFinal(words(&text)))),
            "detector ends the utterance" => later(now, end_of_utterance()),
            "caller presses" => {
                let dtmf = Event::Dtmf { track_id: String::new(), timestamp: 0, digit: text };
                later(now, Input::Call(dtmf));
            }
            "caller holds" => later(now, hold(true)),
            "caller is back" => later(now, hold(false)),
            "model says" => {
                later(now, Input::Model(turn, ModelOutput::Text(text)));
                later(now, Input::Model(turn, ModelOutput::Done(Usage::default())));
            }
            "model streams" => later(now, Input::Model(turn, ModelOutput::Text(text))),
            "model ends" => later(now, Input::Model(turn, ModelOutput::Done(Usage::default()))),
            "model fails" => later(now, Input::Model(turn, ModelOutput::Failed { error: text })),
            "summary comes" => {
                later(now, Input::Model(self.summary, ModelOutput::Text(text)));
                later(now, Input::Model(self.summary, ModelOutput::Done(Usage::default())));
            }
            "model calls" => {
                let (name, arguments) = text.split_once(' ').unwrap_or((&text, "{}"));
                let (id, name) = (format!("call-{}", turn.0), name.to_owned());
                let arguments = serde_json::from_str(arguments).unwrap();
                later(now, Input::Model(turn, ModelOutput::ToolCall { id, name, arguments }));
            }
            "server offers" => {
                let (server, tool) = text.split_once(' ').unwrap();
                let tool = serde_json::from_str(tool).unwrap();
                later(now, Input::Tools { server: server.to_owned(), tools: Ok(vec![tool]) });
            }
            "fetch brings" => later(now, Input::Fetched { id: self.fetch, body: Ok(text) }),
            "fetch fails" => later(now, Input::Fetched { id: self.fetch, body: Err(text) }),
            "transfer fails" => {
                let (track_id, refer) = (String::new(), Some(true));
                later(
                    now,
                    Input::Call(Event::Reject { track_id, timestamp: 0, reason: text, code: None, refer }),
                );
            }
            "caller hangs up" => later(now, Input::Call(Event::Hangup(Box::<HangupEvent>::default()))),
            "the end" => {}
            other => panic!("the script says \"{other}\", which this world does not know"),
        }
    }

    fn tell(&mut self, now: u64, what: &str) {
        let _ = writeln!(self.log, "{:6.2}  {what}", now as f64 / 1000.0);
    }

    fn conclude(mut self) -> String {
        self.log.push_str("history\n");
        for message in self.conversation.history() {
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

impl Voice {
    /// The words heard by `now`; a word counts when it was heard to its end.
    fn heard(&self, now: u64) -> String {
        let chars = (now.saturating_sub(self.since) / MS_PER_CHAR) as usize;
        if chars >= self.text.chars().count() {
            return self.text.clone();
        }
        let heard: String = self.text.chars().take(chars).collect();
        heard.rfind(' ').map_or(String::new(), |at| heard[..at].to_owned())
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
    assert_eq!(playbook.warnings, Vec::new());
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

fn speaking() -> Input {
    let (is_filler, confidence) = (None, None);
    Input::Call(Event::Speaking {
        track_id: String::new(),
        timestamp: 0,
        start_time: 0,
        is_filler,
        confidence,
    })
}

fn silence() -> Input {
    Input::Call(Event::Silence { track_id: String::new(), timestamp: 0, start_time: 0, duration: 0 })
}

fn end_of_utterance() -> Input {
    let (completed, complete, interrupt_point) = (true, true, None);
    Input::Call(Event::Eou { track_id: String::new(), timestamp: 0, completed, complete, interrupt_point })
}

fn hold(on_hold: bool) -> Input {
    Input::Call(Event::Hold { track_id: String::new(), timestamp: 0, on_hold })
}
