//! Answers that are always the same: patterns to replies, alone or before a language model.

use async_trait::async_trait;
use protocol::chat::{Ask, ModelOutput, Role, Usage};
use protocol::option::{LlmOption, Rule};
use regex::{Captures, Regex, RegexBuilder};
use tokio::sync::mpsc::Sender;

use crate::{ChatModel, ProviderError};

/// Options read.
pub(crate) const OPTIONS: &[&str] = &["rules", "otherwise"];

/// Said when no rule fits and `otherwise` is absent.
const OTHERWISE: &str = "I did not understand that. Could you say it again, please?";
/// Rules of one playbook.
const MOST_RULES: usize = 1000;
/// Bytes that one compiled pattern may take.
const PATTERN_BYTES: usize = 256 << 10;
/// Longest text that patterns search, in characters; the end of a longer one counts.
const LONGEST_WORDS: usize = 2000;
/// Bytes in which a reply streams, cut at blanks: about one word, as a model gives them.
const PIECE: usize = 12;

/// Rules alone: what none fits is answered with `otherwise`.
pub struct Rules {
    rules: Compiled,
    otherwise: String,
}

/// Rules before a model, which is asked only what none fits.
pub struct First {
    rules: Compiled,
    model: Box<dyn ChatModel>,
}

/// The rules of `option`. Errors: a rule without pattern or reply, or one that does not compile.
pub(crate) fn chat_model(option: &LlmOption) -> Result<Box<dyn ChatModel>, ProviderError> {
    Ok(Box::new(Rules::new(option)?))
}

impl Rules {
    /// The rules of `option`.
    ///
    /// # Errors
    /// A rule has no pattern or no reply, or a pattern does not compile.
    pub fn new(option: &LlmOption) -> Result<Self, ProviderError> {
        let rules = Compiled::new(option.rules.as_deref().unwrap_or_default())?;
        let otherwise = option.otherwise.clone().unwrap_or_else(|| OTHERWISE.to_owned());
        Ok(Rules { rules, otherwise })
    }
}

impl First {
    /// `rules` before `model`.
    ///
    /// # Errors
    /// Those of [`Rules::new`].
    pub fn new(rules: &[Rule], model: Box<dyn ChatModel>) -> Result<Self, ProviderError> {
        Ok(First { rules: Compiled::new(rules)?, model })
    }
}

#[async_trait]
impl ChatModel for Rules {
    async fn run(&self, ask: Ask, answer: Sender<ModelOutput>) -> Result<(), ProviderError> {
        let reply = self
            .rules
            .reply(&ask)?
            .unwrap_or_else(|| ask.otherwise.unwrap_or_else(|| self.otherwise.clone()));
        stream(&reply, &answer).await
    }
}

#[async_trait]
impl ChatModel for First {
    async fn run(&self, ask: Ask, answer: Sender<ModelOutput>) -> Result<(), ProviderError> {
        match self.rules.reply(&ask)? {
            Some(reply) => stream(&reply, &answer).await,
            None => self.model.run(ask, answer).await,
        }
    }
}

/// Sends `reply` in pieces as a model would.
async fn stream(reply: &str, answer: &Sender<ModelOutput>) -> Result<(), ProviderError> {
    let mut piece = String::new();
    for part in reply.split_inclusive(' ') {
        if !piece.is_empty() && piece.len() + part.len() > PIECE {
            let whole = std::mem::take(&mut piece);
            answer.send(ModelOutput::Text(whole)).await.map_err(|_| ProviderError::Gone)?;
        }
        piece.push_str(part);
    }
    if !piece.is_empty() {
        answer.send(ModelOutput::Text(piece)).await.map_err(|_| ProviderError::Gone)?;
    }
    answer.send(ModelOutput::Done(Usage::default())).await.map_err(|_| ProviderError::Gone)
}

struct Compiled(Vec<CompiledRule>);

struct CompiledRule {
    when: Vec<Regex>,
    scene: Option<String>,
    say: Vec<String>,
}

impl Compiled {
    fn new(rules: &[Rule]) -> Result<Self, ProviderError> {
        if rules.len() > MOST_RULES {
            return Err(wrong(format!("{} are too many: expected up to {MOST_RULES}", rules.len())));
        }
        rules
            .iter()
            .enumerate()
            .map(|(i, rule)| compiled(i + 1, rule))
            .collect::<Result<_, _>>()
            .map(Compiled)
    }

    /// The reply of the first rule that fits the caller's last words, of those that the question brings or of these.
    /// Errors: a rule that the question brings does not compile.
    fn reply(&self, ask: &Ask) -> Result<Option<String>, ProviderError> {
        if ask.rules.is_empty() {
            return Ok(self.fitting(ask));
        }
        Ok(Compiled::new(&ask.rules)?.fitting(ask))
    }

    fn fitting(&self, ask: &Ask) -> Option<String> {
        let words = ask.messages.iter().rev().find(|message| message.role == Role::User)?;
        let words = ending(&words.content);
        let answered = was_answered(ask);
        for rule in &self.0 {
            // What has been answered once is answered again only where a scene has its own answer to it.
            if answered && rule.scene.is_none() {
                continue;
            }
            if rule.scene.as_ref().is_some_and(|scene| *scene != ask.scene) {
                continue;
            }
            let Some(caught) = rule.when.iter().find_map(|when| when.captures(words)) else { continue };
            let turn = usize::try_from(ask.turn.0).unwrap_or_default();
            let say = rule.say.get(turn.checked_rem(rule.say.len())?)?;
            return Some(expanded(say, &caught));
        }
        None
    }
}

/// Whether the agent is to go on by itself: a hint stands at the end, and the caller's words have their answer.
fn was_answered(ask: &Ask) -> bool {
    let hinted = ask.messages.last().is_some_and(|message| message.role == Role::System);
    let spoken = ask.messages.iter().rev().take_while(|message| message.role != Role::User);
    hinted && spoken.into_iter().any(|message| message.role == Role::Assistant)
}

/// The last characters of `words`, as many as are searched.
fn ending(words: &str) -> &str {
    match words.char_indices().rev().nth(LONGEST_WORDS - 1) {
        Some((begin, _)) => words.get(begin..).unwrap_or(words),
        None => words,
    }
}

/// `say` with what the pattern caught in place of `$1`, `$name` and `${name}`. A `$` before anything else
/// stands for itself, so that prices need no escape; what was not caught is empty.
fn expanded(say: &str, caught: &Captures<'_>) -> String {
    let mut reply = String::with_capacity(say.len());
    let mut rest = say;
    while let Some((before, after)) = rest.split_once('$') {
        reply.push_str(before);
        let (name, next) = reference(after);
        let value = match name.parse::<usize>() {
            Ok(number) if number < 10 => caught.get(number),
            Ok(_) => None,
            Err(_) => caught.name(name),
        };
        let known = value.is_some() || (!name.is_empty() && is_group(name, caught));
        if known {
            // The caller's words must not become tags of the playbook, nor templates within its tags.
            let harmless = |c: &char| !matches!(c, '<' | '>' | '{' | '}');
            reply.extend(value.map_or("", |value| value.as_str()).chars().filter(harmless));
            rest = next;
        } else {
            reply.push('$');
            rest = after;
        }
    }
    reply.push_str(rest);
    reply
}

fn is_group(name: &str, caught: &Captures<'_>) -> bool {
    // A group that took no part is known by its number only; a name that caught nothing stays as written.
    name.parse::<usize>().is_ok_and(|number| number < caught.len())
}

/// The name after a `$`, and what follows it.
fn reference(after: &str) -> (&str, &str) {
    if let Some((name, next)) = after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
        return (name, next);
    }
    let digits = after.starts_with(|c: char| c.is_ascii_digit());
    let end = after
        .find(|c: char| if digits { !c.is_ascii_digit() } else { !c.is_ascii_alphanumeric() && c != '_' })
        .unwrap_or(after.len());
    after.split_at(end)
}

fn compiled(number: usize, rule: &Rule) -> Result<CompiledRule, ProviderError> {
    if rule.when.is_empty() {
        return Err(wrong(format!("rule {number} has no `when`: expected a pattern or a list of them")));
    }
    if rule.say.is_empty() {
        return Err(wrong(format!("rule {number} has no `say`: expected a text or a list of them")));
    }
    let when = rule
        .when
        .iter()
        .map(|pattern| {
            RegexBuilder::new(pattern)
                .case_insensitive(true)
                .size_limit(PATTERN_BYTES)
                .dfa_size_limit(PATTERN_BYTES)
                .nest_limit(50)
                .build()
                .map_err(|error| wrong(format!("`when` of rule {number} is no pattern: {error}")))
        })
        .collect::<Result<_, _>>()?;
    Ok(CompiledRule { when, scene: rule.scene.clone(), say: rule.say.clone() })
}

fn wrong(why: String) -> ProviderError {
    ProviderError::Option { field: "rules", why }
}
