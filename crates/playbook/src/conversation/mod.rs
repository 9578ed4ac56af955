//! A running playbook: what happens in a call in, what shall be done out.
//!
//! Reading order: `types` (in and out), this file (state, the one entry, time), `caller` (what the caller says),
//! `turns` (when that is all), `speculate` (asking before it is certain), `keys` (what the caller presses), `reply` (an answer from its first word on),
//! `heard` (how much of it was heard, and what follows), `acts` (what tags do), `tools` (functions and
//! what is fetched), `memory` (summaries of a long call), `json_reply` (answers that are
//! JSON), `leave` (the end and transfers).

mod acts;
mod caller;
mod heard;
mod json_reply;
mod keys;
mod leave;
mod memory;
mod reply;
mod speculate;
mod tools;
mod turns;
mod types;

pub use speculate::Speculations;
pub use types::{Action, Arming, Ended, HttpRequest, Input, Note, Origin};

use std::sync::Arc;
use std::time::Duration;

use protocol::CallTime;
use protocol::chat::{Message, TurnId};

use crate::collector::Collector;
use crate::followup::{Prompt, Silence};
use crate::history::History;
use crate::outcome::{self, Outcome};
use crate::phrases;
use crate::playbook::{FollowUp, Phrases, Playbook, Scene};
use crate::prompt;
use crate::speech::{Report, Speech};
use crate::template;
use crate::turn::end::Ending;
use crate::turn::start_voice;
use crate::turn::start_words::StartWords;
use crate::vars::Vars;

use heard::Cut;
use memory::Memory;
use reply::{After, Question, Reply};
use speculate::Speculation;
use tools::{Pending, ServerTool};

/// A model that says nothing for so long has failed. Providers give up before.
const MODEL_PATIENCE: Duration = Duration::from_secs(10);

/// A model that only thinks for so long has failed too.
const THINKING_PATIENCE: Duration = Duration::from_secs(30);

/// Turns in a row that the agent may take without the caller: after a `goto`, after fetched news. A scene
/// that goes to itself for ever ends here.
const MAX_UNPROMPTED: u32 = 8;

/// A running playbook.
#[derive(Debug)]
pub struct Conversation {
    playbook: Arc<Playbook>,
    phrases: Phrases,
    vars: Vars,
    mode: Mode,
    /// Index into the playbook's scenes.
    scene: usize,
    /// The system prompt as rendered when the scene was entered.
    prompt: String,
    history: History,
    last_turn: TurnId,
    speech: Speech,
    /// What the agent answers; from the question until all of it was heard.
    reply: Option<Reply>,
    /// The caller's words that have no complete answer yet.
    question: Option<Question>,
    /// An answer that was cut off and may go on.
    cut: Option<Cut>,
    /// Words of the caller to answer when the agent has finished.
    waiting: Option<String>,
    /// What was asked before the caller's turn was over.
    speculation: Option<Speculation>,
    /// The model's answers begin within a thought.
    thinks_first: bool,
    speculations: Speculations,
    start: StartWords,
    ending: Ending,
    /// The request for a verdict on the words that are held.
    verdict: Option<u32>,
    /// Keys pressed while a passage had to be heard to its end.
    held_keys: String,
    silence: Silence,
    collector: Option<Collector>,
    /// The finish key of an entry that was full before it, which may still come until then.
    late_finish: Option<(char, CallTime)>,
    fetches: Vec<Pending>,
    /// Tools of servers that the model is given.
    server_tools: Vec<ServerTool>,
    memory: Memory,
    /// When the call becomes too long.
    too_long: Option<CallTime>,
    outcome: Tally,
    /// Time of the input that is being handled.
    now: CallTime,
    last_fetch: u32,
    /// Something was fetched that the model does not know yet.
    news: bool,
    /// Failed answers in a row.
    failures: u32,
    /// Mistakes of the model in a row that it was told of.
    mistakes: u32,
    /// How often the question was asked again before anything of its answer was heard.
    replaced: u32,
    /// Turns in a row without the caller.
    unprompted: u32,
    held: bool,
    caller_speaking: bool,
    last_final: Option<CallTime>,
    /// A turn whose few audible syllables do not count, because the caller went on.
    disowned: Option<TurnId>,
}

/// What is counted in a call.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    tool_calls: u32,
}

/// What a conversation is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The call is not answered yet.
    Idle,
    /// Agent and caller talk.
    Talking,
    /// The caller talks to someone else.
    Transferred,
    /// The call ends.
    Over,
}

impl Conversation {
    /// A conversation that waits for [`Input::Answered`].
    pub fn new(playbook: Arc<Playbook>, vars: Vars) -> Self {
        let own = &playbook.phrases;
        let default = phrases::defaults(playbook.language());
        let pick = |own: &String, default: String| if own.is_empty() { default } else { own.clone() };
        let phrases = Phrases {
            apology: pick(&own.apology, default.apology),
            goodbye: pick(&own.goodbye, default.goodbye),
            refusal: pick(&own.refusal, default.refusal),
            unreachable: pick(&own.unreachable, default.unreachable),
            wait: pick(&own.wait, default.wait),
        };
        Conversation {
            phrases,
            vars,
            mode: Mode::Idle,
            scene: 0,
            prompt: String::new(),
            history: History::default(),
            last_turn: TurnId(0),
            speech: Speech::new(start_voice::arming(&playbook.interruption)),
            reply: None,
            question: None,
            cut: None,
            waiting: None,
            speculation: None,
            thinks_first: false,
            speculations: Speculations::default(),
            start: StartWords::new(playbook.interruption.clone(), playbook.fillers.clone()),
            ending: Ending::new(playbook.end_of_turn, playbook.language()),
            verdict: None,
            held_keys: String::new(),
            silence: Silence::default(),
            collector: None,
            late_finish: None,
            fetches: Vec::new(),
            server_tools: Vec::new(),
            memory: Memory::default(),
            too_long: None,
            outcome: Tally::default(),
            now: CallTime::ZERO,
            last_fetch: 0,
            news: false,
            failures: 0,
            mistakes: 0,
            replaced: 0,
            unprompted: 0,
            held: false,
            caller_speaking: false,
            last_final: None,
            disowned: None,
            playbook,
        }
    }

    /// Takes in what happened at `now` and appends to `out` what shall be done, in this order.
    pub fn handle(&mut self, now: CallTime, input: Input, out: &mut Vec<Action>) {
        self.now = now;
        match input {
            Input::Answered => self.answered(now, out),
            Input::Tools { server, tools } => self.tools_listed(&server, tools, out),
            Input::Call(event) => self.event(now, event, out),
            Input::Heard { play_id, text, ended } => {
                self.heard(now, Report { play_id: &play_id, text: &text, ended }, out);
            }
            Input::NotUnderstood => self.not_understood(now, out),
            Input::Model(turn, output) => self.model(now, turn, output, out),
            Input::Fetched { id, body } => self.fetched(now, id, body, out),
            Input::Agent { speaks: true } => self.silence.end(),
            Input::Agent { speaks: false } => {
                if self.is_waiting_for_caller() {
                    self.silence.begin(now);
                }
            }
            Input::Leave(reason) => self.take_leave(now, &reason, out),
            Input::Tick => {}
        }
        self.expire(now, out);
    }

    /// When [`Input::Tick`] is due next; `None` while only the outside can change anything.
    pub fn timeout(&self) -> Option<CallTime> {
        if self.mode != Mode::Talking {
            return None;
        }
        [
            self.too_long,
            self.model_deadline(),
            self.filler_deadline(),
            self.cut.as_ref().map(|cut| cut.deadline),
            self.ending.deadline(),
            self.fetch_deadline(),
            self.entry_deadline(),
            self.silence_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// How often asking before the caller's turn was over was of use.
    pub fn speculations(&self) -> Speculations {
        self.speculations
    }

    /// What is left of the conversation, for the report and the record. To be asked for when the call is over,
    /// however it ended.
    pub fn outcome(&self) -> Outcome {
        let history = self.history.messages().to_vec();
        let render = |text: &str| template::render(text, &self.vars).unwrap_or_else(|_| text.to_owned());
        let report = self.playbook.posthook.as_ref().map(|hook| outcome::Report {
            url: render(&hook.url),
            method: hook.method.clone(),
            headers: hook.headers.iter().map(|(name, value)| (name.clone(), render(value))).collect(),
            summary: self
                .playbook
                .llm
                .as_ref()
                .and_then(|_| outcome::summary_of(hook, &history, self.scene())),
            with_history: hook.include_history,
        });
        Outcome {
            history,
            variables: self.vars.public(),
            scene: self.scene().to_owned(),
            speculations: self.speculations,
            tool_calls: self.outcome.tool_calls,
            report,
        }
    }

    /// Variables as they stand.
    pub fn vars(&self) -> &Vars {
        &self.vars
    }

    /// Name of the scene.
    pub fn scene(&self) -> &str {
        self.current_scene().map_or("default", |scene| scene.id.as_str())
    }

    /// Enters a scene for a model that speaks itself; `None` when there is none of this name.
    pub fn visit(&mut self, scene: &str, out: &mut Vec<Action>) -> Option<()> {
        let index = self.playbook.scene_named(scene)?;
        self.enter(index, out);
        Some(())
    }

    /// What a model that speaks itself is told to be: the scene's prompt with the variables as they stand.
    pub fn instructions(&self) -> Option<String> {
        let prompt = &self.current_scene()?.prompt;
        Some(template::render(prompt, &self.vars).unwrap_or_else(|_| prompt.clone()))
    }

    /// What was said and heard so far; the agent's words only as far as the caller has heard them.
    pub fn history(&self) -> &[Message] {
        self.history.messages()
    }

    fn current_scene(&self) -> Option<&Scene> {
        self.playbook.scenes.get(self.scene)
    }

    fn answered(&mut self, now: CallTime, out: &mut Vec<Action>) {
        if self.mode != Mode::Idle {
            return;
        }
        self.mode = Mode::Talking;
        self.too_long = self.playbook.max_duration.map(|longest| now + longest);
        self.list_tools(out);
        self.enter(self.scene, out);
        let of_model = || self.playbook.llm.as_ref().and_then(|llm| llm.greeting.as_deref());
        let greeting = self.playbook.greeting.as_deref().or_else(of_model).unwrap_or("").trim();
        let greeting = self.render_spoken(greeting, out);
        let file = self.current_scene().and_then(|scene| scene.play.clone());
        if greeting.is_empty() && file.is_none() {
            return match self.has_nothing_to_begin_with() {
                true => self.silence.begin(now),
                false => self.ask(now, None, out),
            };
        }
        self.begin_fixed(now, After::default());
        self.speech.manner.protected = !self.playbook.greeting_interruptible;
        self.feed(&greeting, out);
        self.finish_words(out);
        self.speech.manner.protected = false;
        self.play_scene_file(out);
        self.settle(now, out);
    }

    /// Makes a scene the current one: its prompt is rendered with the variables as they stand.
    fn enter(&mut self, scene: usize, out: &mut Vec<Action>) {
        self.scene = scene;
        let playbook = Arc::clone(&self.playbook);
        let Some(scene) = playbook.scenes.get(scene) else { return };
        let text = self.render(&scene.prompt, out);
        self.prompt = prompt::system(&playbook, &text);
        out.push(Action::Note(Note::Scene(scene.id.clone())));
    }

    /// `text` rendered with the variables as they stand; as written when that fails.
    fn render(&self, text: &str, out: &mut Vec<Action>) -> String {
        template::render(text, &self.vars).unwrap_or_else(|error| {
            out.push(Action::Note(Note::Trouble(error.to_string())));
            text.to_owned()
        })
    }

    /// The same of a text that is spoken: what a variable holds is said, and acts not.
    fn render_spoken(&self, text: &str, out: &mut Vec<Action>) -> String {
        template::render_spoken(text, &self.vars).unwrap_or_else(|error| {
            out.push(Action::Note(Note::Trouble(error.to_string())));
            text.to_owned()
        })
    }

    fn next_turn(&mut self) -> TurnId {
        self.last_turn = TurnId(self.last_turn.0.wrapping_add(1));
        self.last_turn
    }

    fn follow_up(&self) -> Option<&FollowUp> {
        let own = self.current_scene().and_then(|scene| scene.follow_up.as_ref());
        own.or(self.playbook.follow_up.as_ref())
    }

    /// Whether it is the caller's turn to say or enter something.
    fn is_waiting_for_caller(&self) -> bool {
        let free = self.reply.is_none() && self.cut.is_none() && self.ending.deadline().is_none();
        self.mode == Mode::Talking && free && !self.held
    }

    fn model_deadline(&self) -> Option<CallTime> {
        let reply = self.reply.as_ref().filter(|reply| reply.generating)?;
        let silent = reply.last_output + MODEL_PATIENCE;
        Some(if reply.counts { silent } else { silent.min(reply.since + THINKING_PATIENCE) })
    }

    fn entry_deadline(&self) -> Option<CallTime> {
        let collector = self.collector.as_ref().filter(|_| self.is_waiting_for_caller());
        collector.and_then(Collector::deadline)
    }

    fn silence_deadline(&self) -> Option<CallTime> {
        let free = self.is_waiting_for_caller() && self.collector.is_none() && self.fetches.is_empty();
        if free { self.silence.deadline(self.follow_up()) } else { None }
    }

    /// Does what time alone brings about.
    fn expire(&mut self, now: CallTime, out: &mut Vec<Action>) {
        if self.mode != Mode::Talking {
            return;
        }
        let due = |deadline: Option<CallTime>| deadline.is_some_and(|deadline| deadline <= now);
        if due(self.too_long) {
            self.too_long = None;
            return self.take_leave(now, "call is too long", out);
        }
        if due(self.model_deadline()) {
            if let Some(reply) = &self.reply {
                out.push(Action::Abandon(reply.turn));
            }
            self.fail(now, "the model did not answer in time", out);
        }
        if due(self.filler_deadline()) {
            self.fill(out);
        }
        if let Some(words) = self.ending.expire(now) {
            self.take_turn(now, words, out);
        }
        if due(self.cut.as_ref().map(|cut| cut.deadline)) {
            self.words_or_resume(now, out);
        }
        if due(self.fetch_deadline()) {
            self.await_fetches(now, out);
        }
        if due(self.entry_deadline())
            && let Some(entry) = self.collector.as_mut().and_then(|collector| collector.expire(now))
        {
            self.entered(now, entry, out);
        }
        if due(self.silence_deadline()) {
            self.break_silence(now, out);
        }
    }

    fn break_silence(&mut self, now: CallTime, out: &mut Vec<Action>) {
        let rule = self.follow_up().cloned();
        let seconds = rule.as_ref().map_or(0, |rule| rule.timeout.as_secs());
        match self.silence.expire(now, rule.as_ref()) {
            Some(Prompt::Say(text)) => self.say_fixed(now, &text, After::default(), out),
            Some(Prompt::Ask) => {
                let hint = format!(
                    "The caller has said nothing for {seconds} seconds. Ask briefly if they are there."
                );
                self.ask(now, Some(&hint), out);
                if let Some(reply) = &mut self.reply {
                    reply.filled = true;
                }
            }
            Some(Prompt::Goodbye) => {
                let goodbye = self.phrases.goodbye.clone();
                self.say_fixed(now, &goodbye, After::hangup("caller is silent"), out);
            }
            None => {}
        }
    }
}
