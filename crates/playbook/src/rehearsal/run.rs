//! Playing a scenario.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;

use protocol::Event;
use protocol::chat::{Ask, Message, ModelOutput, Role, TurnId, Usage};
use protocol::event::RejectEvent;
use protocol::read::shown;
use regex::RegexBuilder;
use serde_json::Value;

use super::{Play, Report, STEP_MS, Scenario, Seen, Stage, Step, Want};
use crate::conversation::{Input, Note};
use crate::playbook::Playbook;
use crate::vars::{BuiltIns, Vars};

/// A model that answers and judges. It may take as long as it likes: the clock
/// stands still meanwhile.
pub type Model<'a> = &'a mut dyn FnMut(&Ask) -> Vec<ModelOutput>;

/// Who thinks in a rehearsal, beside the scenario itself.
#[derive(Default)]
pub struct Models<'a> {
    /// Answers the questions of scenarios without `model` steps. Absent: they stay without an answer.
    pub answers: Option<Model<'a>>,
    /// Says yes or no to what `judge` asks. Absent: such steps are passed over and counted.
    pub judges: Option<Model<'a>>,
}

/// From the end of the agent's words to the caller's.
const CALLER_THINKS_MS: u64 = 300;
/// From a question to the model's answer.
const MODEL_MS: u64 = 300;
/// How long the caller speaks for each character.
const CALLER_MS_PER_CHAR: u64 = 50;
/// Longest wait of the caller for the agent to finish.
const PATIENCE_MS: u64 = 60_000;
/// Longest call.
const LONGEST_MS: u64 = 3_600_000;

/// Plays `scenario` with a call under `playbook`. A scenario with `model` steps answers for the model itself.
pub fn run(playbook: &Arc<Playbook>, scenario: &Scenario, models: Models<'_>) -> Report {
    let mut vars = Vars::new(BuiltIns {
        session_id: "rehearsal".into(),
        call_type: "sip".into(),
        start_time: "2026-01-01T00:00:00Z".into(),
        caller: "sip:caller@example.com".into(),
        callee: "sip:agent@example.com".into(),
    });
    vars.extend(scenario.vars.clone());
    for (name, value) in &scenario.headers {
        vars.set_header(name.clone(), value.clone());
    }
    let mut rehearsal = Rehearsal::new(Stage::new(Arc::clone(playbook), vars), models);
    rehearsal.scripted = scenario.steps.iter().any(|play| matches!(play.step, Step::Model { .. }));
    rehearsal.stage.later(0, Input::Answered);
    let failure =
        scenario.steps.iter().find_map(|play| rehearsal.play(play).err().map(|why| (play.line, why)));
    Report {
        name: scenario.name.clone(),
        failure,
        transcript: rehearsal.transcript,
        length_ms: rehearsal.stage.now_ms(),
        unjudged: rehearsal.unjudged,
    }
}

struct Rehearsal<'a> {
    stage: Stage,
    models: Models<'a>,
    /// Steps that asked for a judge who was not there.
    unjudged: usize,
    /// The scenario itself answers for the model.
    scripted: bool,
    transcript: String,
    /// What the agent said that no step has asked for yet.
    said: String,
    open: VecDeque<Ask>,
    /// What the scenario answered last; when the question was asked too early it is the answer to the next.
    answered: Option<(TurnId, Vec<ModelOutput>)>,
    again: Option<Vec<ModelOutput>>,
    /// Tools used that no step has asked for yet: name and arguments.
    tools: Vec<(String, Value)>,
    fetch: Option<u32>,
    ended: Option<String>,
    transferred: Option<String>,
    digits: String,
}

impl<'a> Rehearsal<'a> {
    fn new(stage: Stage, models: Models<'a>) -> Self {
        Rehearsal {
            stage,
            models,
            unjudged: 0,
            scripted: false,
            transcript: String::new(),
            said: String::new(),
            open: VecDeque::new(),
            answered: None,
            again: None,
            tools: Vec::new(),
            fetch: None,
            ended: None,
            transferred: None,
            digits: String::new(),
        }
    }

    fn play(&mut self, play: &Play) -> Result<(), String> {
        let within = play.within_ms;
        match &play.step {
            Step::Caller { text, over } => self.caller(text, *over),
            Step::Press(keys) => {
                let now = self.stage.now_ms();
                self.tell(now, &format!("caller presses {keys}"));
                keys.chars().zip(0..).for_each(|(key, nth)| self.stage.caller_presses(now + 200 * nth, key));
                self.pass(200 * keys.chars().count() as u64);
                Ok(())
            }
            Step::Silence(ms) => {
                self.pass((*ms).min(LONGEST_MS));
                Ok(())
            }
            Step::HangUp => {
                let now = self.stage.now_ms();
                self.tell(now, "caller hangs up");
                self.stage.caller_hangs_up(now);
                self.pass(STEP_MS);
                Ok(())
            }
            Step::Refused(reason) => {
                let (now, reason) = (self.stage.now_ms(), reason.clone());
                let refused = RejectEvent { reason, refer: Some(true), ..RejectEvent::default() };
                self.stage.later(now, Input::Call(Event::Reject(Box::new(refused))));
                self.pass(STEP_MS);
                Ok(())
            }
            Step::Model { text, calls, fails } => self.model_says(within, text, calls, fails.as_deref()),
            Step::Agent(want) => self.agent_says(within, want),
            Step::Tool { name, arguments, returns } => {
                self.tool(within, name, arguments.as_ref(), returns.as_ref())
            }
            Step::Scene(scene) => {
                self.until(within, |own| own.stage.conversation().scene() == scene).ok_or_else(|| {
                    format!("the scene is `{}`, not `{scene}`", self.stage.conversation().scene())
                })
            }
            Step::Var(name, value) => {
                let is = |own: &Self| own.stage.conversation().vars().get(name) == Some(value);
                self.until(within, is).ok_or_else(|| {
                    format!("`{name}` is {:?}, not {value}", self.stage.conversation().vars().get(name))
                })
            }
            Step::Ends(reason) => {
                let is = |own: &Self| {
                    own.ended.as_ref().is_some_and(|own| reason.as_ref().is_none_or(|r| r == own))
                };
                self.until(within, is).ok_or_else(|| match &self.ended {
                    Some(other) => format!("the call ended for the reason `{other}`"),
                    None => "the agent did not end the call".to_owned(),
                })
            }
            Step::Transfer(target) => self
                .until(within, |own| own.transferred.as_ref() == Some(target))
                .ok_or_else(|| format!("no transfer to {target}; {:?}", self.transferred)),
            Step::Digits(digits) => self
                .until(within, |own| own.digits.contains(digits.as_str()))
                .ok_or_else(|| format!("digits sent: `{}`", self.digits)),
        }
    }

    fn caller(&mut self, text: &str, over: Option<u64>) -> Result<(), String> {
        let from = match over {
            Some(after) => {
                let audible = |own: &Self| own.stage.audible_since().is_some();
                self.until(PATIENCE_MS, audible).ok_or("the agent says nothing to speak over")?;
                let began = self.stage.audible_since().unwrap_or_default();
                (began + after).max(self.stage.now_ms())
            }
            None => {
                self.until(PATIENCE_MS, |own| !own.stage.is_speaking() && own.stage.now_ms() > STEP_MS)
                    .ok_or("the agent does not stop speaking")?;
                self.stage.now_ms() + CALLER_THINKS_MS
            }
        };
        let until = from + CALLER_MS_PER_CHAR * text.chars().count().min(400) as u64;
        self.tell(from, &format!("caller: {text}"));
        if over.is_none() {
            self.said.clear();
        }
        self.stage.caller_speaks(from, until, text);
        self.pass(until - self.stage.now_ms().min(until));
        Ok(())
    }

    fn model_says(
        &mut self,
        within: u64,
        text: &str,
        calls: &[(String, Value)],
        fails: Option<&str>,
    ) -> Result<(), String> {
        self.until(within, |own| !own.open.is_empty()).ok_or("the model was not asked")?;
        let Some(ask) = self.open.pop_front() else { return Ok(()) };
        let mut outputs = vec![ModelOutput::Text(text.to_owned())];
        for (at, (name, arguments)) in calls.iter().enumerate() {
            let (id, name) = (format!("call-{}-{at}", ask.turn.0), name.clone());
            outputs.push(ModelOutput::ToolCall { id, name, arguments: arguments.clone() });
        }
        outputs.push(match fails {
            Some(error) => ModelOutput::Failed { error: error.to_owned() },
            None => ModelOutput::Done(Usage::default()),
        });
        self.answered = Some((ask.turn, outputs.clone()));
        self.answer(ask.turn, outputs);
        self.pass(MODEL_MS + STEP_MS);
        Ok(())
    }

    fn agent_says(&mut self, within: u64, want: &Want) -> Result<(), String> {
        let found = match want {
            Want::Text(text) => {
                let text = text.to_lowercase();
                self.until(within, |own| own.said.to_lowercase().contains(&text))
            }
            Want::Pattern(pattern) => {
                let regex = RegexBuilder::new(pattern).case_insensitive(true).size_limit(1 << 20).build();
                let regex = regex.map_err(|_| format!("`{pattern}` is not a regular expression"))?;
                self.until(within, |own| regex.is_match(&own.said))
            }
            Want::Judge { question, text } => {
                let text = text.to_lowercase();
                let said = |own: &Self| !own.said.is_empty() && own.said.to_lowercase().contains(&text);
                match self.until(within, |own| said(own) && !own.stage.is_speaking()) {
                    Some(()) => self.judge(question)?.then_some(()),
                    None => None,
                }
            }
        };
        let said = std::mem::take(&mut self.said);
        found.ok_or_else(|| format!("the agent said `{}`, which is not {want:?}", said.trim()))
    }

    fn judge(&mut self, question: &str) -> Result<bool, String> {
        if self.models.judges.is_none() {
            self.unjudged += 1;
            self.tell(self.stage.now_ms(), &format!("nobody is there to judge: {question}"));
            return Ok(true);
        }
        let system = "You judge what an agent said on the telephone. Answer with yes or no and nothing else.";
        let asked = format!("The agent said: {}\n\n{question}", self.said);
        let messages = vec![Message::new(Role::System, system), Message::new(Role::User, asked)];
        let ask = Ask {
            turn: TurnId(u64::MAX),
            messages,
            scene: String::new(),
            tools: Vec::new(),
            rules: Vec::new(),
            otherwise: None,
        };
        let mut verdict = String::new();
        for output in self.models.judges.as_mut().map(|model| model(&ask)).unwrap_or_default() {
            match output {
                ModelOutput::Text(text) => verdict.push_str(&text),
                ModelOutput::Failed { error } => return Err(format!("the judge gives no answer: {error}")),
                _ => {}
            }
        }
        let verdict = verdict.trim().to_lowercase();
        match (verdict.starts_with("yes"), verdict.starts_with("no")) {
            (false, false) => Err(format!("the judge says neither yes nor no: {}", shown(&verdict))),
            (yes, _) => Ok(yes),
        }
    }

    fn tool(
        &mut self,
        within: u64,
        name: &str,
        arguments: Option<&Value>,
        returns: Option<&Result<String, String>>,
    ) -> Result<(), String> {
        let fits =
            |used: &(String, Value)| used.0 == name && arguments.is_none_or(|wanted| holds(&used.1, wanted));
        self.until(within, |own| own.tools.iter().any(fits))
            .ok_or_else(|| format!("`{name}` was not used so; used: {:?}", self.tools))?;
        let at = self.tools.iter().position(fits);
        at.map(|at| self.tools.remove(at));
        if let Some(body) = returns {
            self.until(within, |own| own.fetch.is_some()).ok_or("nothing was fetched")?;
            if let Some(id) = self.fetch.take() {
                self.stage.later(self.stage.now_ms() + MODEL_MS, Input::Fetched { id, body: body.clone() });
                self.pass(MODEL_MS + STEP_MS);
            }
        }
        Ok(())
    }

    /// Lets time pass until `is` holds, for at most `within` milliseconds.
    fn until(&mut self, within: u64, is: impl Fn(&Self) -> bool) -> Option<()> {
        let end = self.stage.now_ms().saturating_add(within.min(LONGEST_MS));
        loop {
            if is(self) {
                return Some(());
            }
            if self.stage.now_ms() > end || self.stage.now_ms() > LONGEST_MS {
                return None;
            }
            self.step();
        }
    }

    fn pass(&mut self, ms: u64) {
        let end = self.stage.now_ms() + ms;
        while self.stage.now_ms() < end && self.stage.now_ms() <= LONGEST_MS {
            self.step();
        }
    }

    fn step(&mut self) {
        self.stage.step();
        for (at, seen) in self.stage.take_seen() {
            self.see(at, seen);
        }
    }

    /// Where the scenario has no answers, questions are the model's.
    fn answer_by_model(&mut self) {
        if self.scripted {
            return;
        }
        let Some(model) = &mut self.models.answers else { return };
        let answers: Vec<(TurnId, Vec<ModelOutput>)> =
            self.open.drain(..).map(|ask| (ask.turn, model(&ask))).collect();
        answers.into_iter().for_each(|(turn, outputs)| self.answer(turn, outputs));
    }

    fn answer(&mut self, turn: TurnId, outputs: Vec<ModelOutput>) {
        let at = self.stage.now_ms() + MODEL_MS;
        outputs.into_iter().for_each(|output| self.stage.later(at, Input::Model(turn, output)));
    }

    fn see(&mut self, at: u64, seen: Seen) {
        match seen {
            Seen::Says { text, .. } => {
                self.tell(at, &format!("agent: {}", text.trim()));
                self.said.push(' ');
                self.said.push_str(text.trim());
            }
            Seen::Plays(file) => {
                self.tell(at, &format!("agent plays {file}"));
                self.said.push_str(&format!(" [{file}]"));
            }
            Seen::CutOff { text, .. } => self.tell(at, &format!("cut off after: {text}")),
            Seen::Asked(ask) => {
                if let Some(outputs) = self.again.take() {
                    self.answered = Some((ask.turn, outputs.clone()));
                    return self.answer(ask.turn, outputs);
                }
                self.open.push_back(ask);
                self.answer_by_model();
            }
            Seen::Abandoned(turn) => {
                self.open.retain(|ask| ask.turn != turn);
                let answered = self.answered.take_if(|(own, _)| *own == turn);
                self.again = answered.map(|(_, outputs)| outputs).or(self.again.take());
            }
            Seen::Fetches { id, request } => {
                self.tell(at, &format!("fetches {} {}", request.method, request.url));
                self.fetch = Some(id);
            }
            Seen::CallsTool { id, server, name, .. } => {
                self.tell(at, &format!("calls {name} of {server}"));
                self.fetch = Some(id);
            }
            Seen::HangsUp(hangup) => {
                self.tell(at, "agent hangs up");
                self.ended = Some(hangup.reason.unwrap_or_default());
            }
            Seen::Transfers(refer) => {
                self.tell(at, &format!("transfers to {}", refer.callee));
                self.transferred = Some(refer.callee);
            }
            Seen::Presses(digits) => {
                self.tell(at, &format!("agent presses {digits}"));
                self.digits.push_str(&digits);
            }
            Seen::Notes(Note::Metric { key: "tool_invocation", data, .. }) => {
                let name = data.get("tool").and_then(Value::as_str).unwrap_or_default().to_owned();
                let params = data.get("params").map(protocol::value::extra_string).unwrap_or_default();
                self.tell(at, &format!("uses {name} {params}"));
                self.tools.push((name, serde_json::from_str(&params).unwrap_or(Value::String(params))));
            }
            Seen::Notes(Note::Scene(scene)) => self.tell(at, &format!("scene {scene}")),
            Seen::Notes(Note::Trouble(why)) => self.tell(at, &format!("trouble: {why}")),
            Seen::Notes(Note::Metric { .. } | Note::Said { .. })
            | Seen::Heard(_)
            | Seen::Stops(_)
            | Seen::Ducked(_)
            | Seen::ListsTools(_)
            | Seen::Cancels(_)
            | Seen::Does(_) => {}
        }
    }

    fn tell(&mut self, at: u64, what: &str) {
        let _ = writeln!(self.transcript, "{:6.2}  {what}", at as f64 / 1000.0);
    }
}

/// Whether `value` is `wanted`, or an object that holds all that `wanted` does.
fn holds(value: &Value, wanted: &Value) -> bool {
    match (value, wanted) {
        (Value::Object(value), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| value.get(key).is_some_and(|value| holds(value, wanted)))
        }
        // A tag tells its attributes as text.
        (Value::String(text), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| text.contains(&format!("{key}={}", protocol::value::extra_string(wanted)))),
        (Value::String(text), Value::String(wanted)) => text.contains(wanted.as_str()),
        (value, wanted) => value == wanted,
    }
}
