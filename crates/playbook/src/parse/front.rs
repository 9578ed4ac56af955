//! The settings of a playbook.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::CallOption;
use protocol::option::{self, LlmOption};
use protocol::read::{self, Read, ReadError};
use protocol::value::{Headers, Millis, Seconds};
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, Visitor};
use serde_json::{Map, Value};

use super::tools::{self, HttpRules, McpFront, ToolFront};
use super::yaml::Yaml;
use crate::collector;
use crate::error::{PlaybookError, Warning, nearest};
use crate::phrases::Fillers;
use crate::playbook::{Collect, DtmfAction, FollowUp, Interruption, Phrases, Posthook, Strategy, Summary};
use crate::turn::end::{Bounds, EndOfTurn};
use crate::turn::{ENDS, STARTS, model};

/// The keys that are the playbook's own; all others are those of a call's option.
#[derive(serde::Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Front {
    pub(super) title: Option<String>,
    pub(super) prompt: Option<String>,
    pub(super) greeting: Option<GreetingFront>,
    pub(super) llm: Option<LlmOption>,
    pub(super) transfers: Vec<String>,
    pub(super) tools: Vec<ToolFront>,
    pub(super) mcp: Vec<McpFront>,
    pub(super) http: HttpRules,
    voice: Option<String>,
    interruption: Option<InterruptionFront>,
    #[serde(alias = "end_of_turn")]
    end_of_turn: Option<EndOfTurnFront>,
    speculation: Option<SpeculationFront>,
    dtmf: BTreeMap<String, DtmfFront>,
    #[serde(alias = "dtmf_collectors")]
    dtmf_collectors: BTreeMap<String, CollectFront>,
    #[serde(alias = "followup", alias = "follow_up")]
    follow_up: Option<FollowUpFront>,
    #[serde(alias = "max_duration")]
    pub(super) max_duration: Option<Seconds>,
    posthook: Option<PosthookFront>,
    phrases: PhrasesFront,
}

#[derive(serde::Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct InterruptionFront {
    #[serde(deserialize_with = "strategy")]
    strategy: Option<Strategy>,
    #[serde(alias = "min_speech_ms")]
    min_speech_ms: Option<Millis>,
    #[serde(alias = "filler_word_filter")]
    filler_word_filter: Option<bool>,
    #[serde(alias = "volume_fade_ms")]
    volume_fade_ms: Option<Millis>,
    #[serde(alias = "ignore_first_ms")]
    ignore_first_ms: Option<Millis>,
    #[serde(alias = "min_words")]
    min_words: Option<usize>,
    #[serde(alias = "duck_level")]
    duck_level: Option<f32>,
    #[serde(alias = "filler_words")]
    filler_words: Option<Vec<String>>,
    #[serde(alias = "filler_file")]
    filler_file: Option<String>,
}

/// A text, or a text and whether it may be cut off.
#[derive(serde::Deserialize, Clone)]
#[serde(untagged, expecting = "expected a text, or { text, interruptible }")]
pub(super) enum GreetingFront {
    Text(String),
    Passage(PassageFront),
}

#[derive(serde::Deserialize, Clone)]
pub(super) struct PassageFront {
    text: String,
    #[serde(default = "yes")]
    interruptible: bool,
}

/// Yes or no, or how much of it may be wasted.
#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "expected true, false or { maxWasted }")]
enum SpeculationFront {
    On(bool),
    Budget {
        #[serde(rename = "maxWasted", alias = "max_wasted")]
        max_wasted: u32,
    },
}

/// Answers asked for early that may be of no use in one call, when the playbook does not say.
const MAX_WASTED: u32 = 10;

const fn yes() -> bool {
    true
}

#[derive(serde::Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct EndOfTurnFront {
    strategy: Option<String>,
    #[serde(alias = "min_pause_ms")]
    min_pause_ms: Option<Millis>,
    #[serde(alias = "max_pause_ms")]
    max_pause_ms: Option<Millis>,
}

#[derive(serde::Deserialize)]
struct DtmfFront {
    action: String,
    scene: Option<String>,
    target: Option<String>,
}

#[derive(serde::Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct CollectFront {
    description: String,
    digits: Option<usize>,
    #[serde(alias = "min_digits")]
    min_digits: Option<usize>,
    #[serde(alias = "max_digits")]
    max_digits: Option<usize>,
    #[serde(alias = "finish_key")]
    finish_key: Option<String>,
    timeout: Option<Seconds>,
    #[serde(alias = "inter_digit_timeout")]
    inter_digit_timeout: Option<Seconds>,
    validation: ValidationFront,
    #[serde(alias = "retry_times")]
    retry_times: Option<u32>,
    interruptible: bool,
}

#[derive(serde::Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ValidationFront {
    pattern: Option<String>,
    #[serde(alias = "error_message")]
    error_message: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct FollowUpFront {
    timeout: Millis,
    #[serde(default = "default_follow_ups", alias = "max", alias = "max_count")]
    max_count: u32,
    #[serde(default, alias = "texts", deserialize_with = "protocol::value::one_or_many")]
    text: Vec<String>,
}

/// How often a caller is asked whether he is there, when the playbook does not say.
const fn default_follow_ups() -> u32 {
    2
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct PosthookFront {
    url: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    headers: Headers,
    #[serde(default)]
    summary: Option<String>,
    #[serde(default, alias = "include_history")]
    include_history: Option<bool>,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct PhrasesFront {
    apology: String,
    goodbye: String,
    refusal: String,
    unreachable: String,
    wait: String,
}

/// The keys that a type reads.
type Keys = fn() -> &'static [&'static str];

/// The keys of the object at a path; a `*` stands for a name of the author's.
const KEYS: &[(&str, Keys)] = &[
    ("asr", keys_of::<option::TranscriptionOption>),
    ("tts", keys_of::<option::SynthesisOption>),
    ("vad", keys_of::<option::VadOption>),
    ("recorder", keys_of::<option::RecorderOption>),
    ("eou", keys_of::<option::EouOption>),
    ("realtime", keys_of::<option::RealtimeOption>),
    ("ambiance", keys_of::<option::AmbianceOption>),
    ("sip", keys_of::<option::SipOption>),
    ("llm", keys_of::<LlmOption>),
    ("llm.rules.*", keys_of::<option::Rule>),
    ("interruption", keys_of::<InterruptionFront>),
    ("greeting", keys_of::<PassageFront>),
    ("endOfTurn", keys_of::<EndOfTurnFront>),
    ("end_of_turn", keys_of::<EndOfTurnFront>),
    ("dtmf.*", keys_of::<DtmfFront>),
    ("dtmfCollectors.*", keys_of::<CollectFront>),
    ("dtmfCollectors.*.validation", keys_of::<ValidationFront>),
    ("followUp", keys_of::<FollowUpFront>),
    ("followup", keys_of::<FollowUpFront>),
    ("follow_up", keys_of::<FollowUpFront>),
    ("posthook", keys_of::<PosthookFront>),
    ("phrases", keys_of::<PhrasesFront>),
    ("tools.*", keys_of::<super::tools::HttpFront>),
    ("mcp.*", keys_of::<McpFront>),
    ("http", keys_of::<HttpRules>),
];

/// Reads the settings: the playbook's own and the call's option.
pub(super) fn read(yaml: &Yaml, warnings: &mut Vec<Warning>) -> Result<(Front, CallOption), PlaybookError> {
    let own_keys = keys_of::<Front>();
    let given = yaml.value.iter().filter(|(_, value)| !value.is_null());
    let (own, option): (Vec<_>, Vec<_>) = given.partition(|(key, _)| own_keys.contains(&key.as_str()));
    let front: Front = read_part(own, yaml, warnings)?;
    let option: CallOption = read_part(option, yaml, warnings)?;
    Ok((front, option))
}

fn read_part<T: DeserializeOwned>(
    entries: Vec<(&String, &Value)>,
    yaml: &Yaml,
    warnings: &mut Vec<Warning>,
) -> Result<T, PlaybookError> {
    let object: Map<String, Value> =
        entries.into_iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let Read { value, unknown } = read::value(Value::Object(object)).map_err(|error| refused(error, yaml))?;
    warnings.extend(unknown.iter().map(|path| unknown_key(path, yaml)));
    Ok(value)
}

/// A key that is missing may only be misspelled: then it is the misspelled one that is told.
fn refused(error: ReadError, yaml: &Yaml) -> PlaybookError {
    let (parent, key) = error.field.rsplit_once('.').unwrap_or(("", &error.field));
    let slip = (error.message == read::MISSING).then(|| {
        let known = known_keys(parent);
        let mut odd = yaml.keys_at(parent).into_iter().filter(|own| !known.contains(own));
        odd.find(|own| nearest(own, [key]).is_some())
    });
    match slip.flatten() {
        Some(slip) => {
            let path = if parent.is_empty() { slip.to_owned() } else { format!("{parent}.{slip}") };
            yaml.error(&path, format!("unknown key, and `{key}` is missing"), Some(key.to_owned()))
        }
        None => {
            let nearest = nearest_variant(&error.message);
            yaml.error(&error.field, error.message, nearest)
        }
    }
}

fn unknown_key(path: &str, yaml: &Yaml) -> Warning {
    let (parent, key) = path.rsplit_once('.').unwrap_or(("", path));
    Warning {
        line: yaml.line_of(path),
        message: format!("unknown key `{path}`"),
        nearest: nearest(key, known_keys(parent)),
    }
}

/// The keys that are read in the object at `path`; none where they are the author's own.
fn known_keys(path: &str) -> Vec<&'static str> {
    if path.is_empty() {
        return [keys_of::<Front>(), keys_of::<CallOption>()].concat();
    }
    let row = KEYS.iter().find(|(pattern, _)| matches_path(pattern, path));
    row.map(|(_, keys)| keys().to_vec()).unwrap_or_default()
}

fn matches_path(pattern: &str, path: &str) -> bool {
    let (mut steps, mut own) = (pattern.split('.'), path.split('.'));
    loop {
        match (steps.next(), own.next()) {
            (None, None) => return true,
            (Some(step), Some(name)) if step == "*" || step == name => {}
            _ => return false,
        }
    }
}

/// The valid word nearest to the one that serde refuses: its message lists them in backticks.
fn nearest_variant(message: &str) -> Option<String> {
    let (refused, expected) = message.split_once("expected")?;
    let word = refused.split('`').nth(1)?;
    nearest(word, expected.split('`').skip(1).step_by(2))
}

impl Front {
    /// Puts into a call's option what the playbook says elsewhere.
    pub(super) fn complete_option(&self, option: &mut CallOption) {
        if let Some(voice) = &self.voice {
            option.tts.get_or_insert_default().speaker.get_or_insert_with(|| voice.clone());
        }
        let Some(key) = self.llm.as_ref().and_then(|llm| llm.api_key.clone()) else { return };
        let keys = [
            option.asr.as_mut().map(|asr| &mut asr.secret_key),
            option.tts.as_mut().map(|tts| &mut tts.secret_key),
            option.eou.as_mut().map(|eou| &mut eou.secret_key),
            option.realtime.as_mut().map(|realtime| &mut realtime.secret_key),
        ];
        for own in keys.into_iter().flatten() {
            own.get_or_insert_with(|| key.clone());
        }
    }

    pub(super) fn interruption(&self, yaml: &Yaml) -> Result<Interruption, PlaybookError> {
        let Some(own) = &self.interruption else { return Ok(Interruption::default()) };
        let default = Interruption::default();
        if let Some(level) = own.duck_level.filter(|level| !(0.0..=1.0).contains(level)) {
            let message = format!("{level} is no gain; 0 is silence, 1 leaves the voice as it is");
            return Err(yaml.error("interruption.duckLevel", message, None));
        }
        Ok(Interruption {
            strategy: own.strategy.unwrap_or(default.strategy),
            min_speech: own.min_speech_ms.map_or(default.min_speech, |ms| ms.0),
            filler_word_filter: own.filler_word_filter.unwrap_or(default.filler_word_filter),
            volume_fade: own.volume_fade_ms.map_or(default.volume_fade, |ms| ms.0),
            ignore_first: own.ignore_first_ms.map_or(default.ignore_first, |ms| ms.0),
            min_words: own.min_words.unwrap_or(default.min_words),
            duck: own.duck_level,
        })
    }

    /// Words given in the file, else those of the language.
    pub(super) fn fillers(&self, language: &str) -> Fillers {
        match self.interruption.as_ref().and_then(|own| own.filler_words.as_ref()) {
            Some(words) => Fillers::listed(words.iter().map(String::as_str), language),
            None => Fillers::of(language),
        }
    }

    pub(super) fn speculation(&self) -> Option<u32> {
        match self.speculation.as_ref()? {
            SpeculationFront::On(on) => on.then_some(MAX_WASTED),
            SpeculationFront::Budget { max_wasted } => Some(*max_wasted),
        }
    }

    pub(super) fn filler_file(&self) -> Option<String> {
        self.interruption.as_ref()?.filler_file.clone()
    }

    /// The greeting and whether it may be cut off.
    pub(super) fn greeting(&self) -> (Option<String>, bool) {
        match self.greeting.clone() {
            None => (None, true),
            Some(GreetingFront::Text(text)) => (Some(text), true),
            Some(GreetingFront::Passage(own)) => (Some(own.text), own.interruptible),
        }
    }

    pub(super) fn end_of_turn(&self, yaml: &Yaml, option: &CallOption) -> Result<EndOfTurn, PlaybookError> {
        let eou = option.eou.as_ref();
        let asks = eou.is_some_and(model::names_one);
        let own = self.end_of_turn.as_ref();
        let named = own.and_then(|own| own.strategy.as_deref());
        let name = named.unwrap_or(if asks { "model" } else { "silence" });
        let names = || ENDS.iter().map(|row| row.name);
        let Some(row) = EndOfTurn::row(name) else {
            let known: Vec<&str> = names().collect();
            let message = format!("unknown strategy `{name}`; there are {}", known.join(", "));
            return Err(yaml.error("endOfTurn.strategy", message, nearest(name, names())));
        };
        if row.name == "model" && !asks {
            let message = format!("strategy `model` needs a model; {}", model::known());
            return Err(yaml.error("endOfTurn.strategy", message, None));
        }
        let default = Bounds::default();
        let given = |of: fn(&EndOfTurnFront) -> Option<Millis>, default: Duration| {
            own.and_then(of).map_or(default, |ms| ms.0)
        };
        let min = given(|own| own.min_pause_ms, default.min);
        let max = given(|own| own.max_pause_ms, default.max.max(min));
        if min > max || max > Duration::from_secs(10) {
            let message = "minPauseMs is at most maxPauseMs, and that at most 10000".to_owned();
            return Err(yaml.error("endOfTurn", message, None));
        }
        let patience = eou.map_or(model::PATIENCE, model::patience);
        Ok(EndOfTurn { row, bounds: Bounds { min, max }, patience })
    }

    pub(super) fn dtmf(&self, yaml: &Yaml) -> Result<BTreeMap<char, DtmfAction>, PlaybookError> {
        let mut actions = BTreeMap::new();
        for (key, own) in &self.dtmf {
            let path = format!("dtmf.{key}");
            let digit = digit(key).ok_or_else(|| yaml.error(&path, ONE_KEY.into(), None))?;
            let action = dtmf_action(&own.action, own.scene.as_deref(), own.target.as_deref())
                .map_err(|(message, nearest)| yaml.error(&path, message, nearest))?;
            actions.insert(digit, action);
        }
        Ok(actions)
    }

    pub(super) fn collectors(&self, yaml: &Yaml) -> Result<BTreeMap<String, Collect>, PlaybookError> {
        let mut collectors = BTreeMap::new();
        for (name, own) in &self.dtmf_collectors {
            let path = format!("dtmfCollectors.{name}");
            let collect = own.collect().map_err(|message| yaml.error(&path, message, None))?;
            collectors.insert(name.clone(), collect);
        }
        Ok(collectors)
    }

    pub(super) fn follow_up(&self) -> Option<FollowUp> {
        let own = self.follow_up.as_ref()?;
        Some(FollowUp { timeout: own.timeout.0, max: own.max_count, texts: own.text.clone() })
    }

    pub(super) fn posthook(&self, yaml: &Yaml) -> Result<Option<Posthook>, PlaybookError> {
        let Some(own) = &self.posthook else { return Ok(None) };
        Ok(Some(Posthook {
            url: own.url.clone(),
            method: tools::method(own.method.as_deref().unwrap_or("POST"), "posthook", yaml)?,
            headers: own.headers.clone(),
            summary: own.summary.as_deref().map(Summary::from_text),
            include_history: own.include_history.unwrap_or(true),
        }))
    }

    pub(super) fn phrases(&self) -> Phrases {
        let PhrasesFront { apology, goodbye, refusal, unreachable, wait } = &self.phrases;
        Phrases {
            apology: apology.clone(),
            goodbye: goodbye.clone(),
            refusal: refusal.clone(),
            unreachable: unreachable.clone(),
            wait: wait.clone(),
        }
    }
}

impl CollectFront {
    fn collect(&self) -> Result<Collect, String> {
        let default = collector::any_digits();
        let max_digits = self.max_digits.or(self.digits).unwrap_or(default.max_digits);
        let min_digits = self.min_digits.or(self.digits).unwrap_or(default.min_digits);
        if min_digits > max_digits || max_digits == 0 || max_digits > 100 {
            return Err(format!(
                "minDigits {min_digits} and maxDigits {max_digits} allow no entry of 1 to 100 digits"
            ));
        }
        let finish_key = match self.finish_key.as_deref() {
            Some("") | None => None,
            Some(key) => Some(digit(key).ok_or("finishKey is one key of the telephone, such as \"#\"")?),
        };
        if let Some(pattern) = &self.validation.pattern
            && collector::pattern_of(pattern).is_none()
        {
            return Err("validation.pattern is not a regular expression".into());
        }
        let span = |own: Option<Seconds>, default: Duration| own.map_or(default, |seconds| seconds.0);
        Ok(Collect {
            description: self.description.clone(),
            min_digits,
            max_digits,
            finish_key,
            timeout: span(self.timeout, default.timeout),
            inter_digit_timeout: span(self.inter_digit_timeout, default.inter_digit_timeout),
            pattern: self.validation.pattern.clone(),
            error_message: self.validation.error_message.clone(),
            retry_times: self.retry_times.unwrap_or(default.retry_times),
            interruptible: self.interruptible,
        })
    }
}

/// What is said of a key that a telephone does not have.
pub(super) const ONE_KEY: &str = "a key is one of 0 to 9, * and #, A to D";

/// The key of a telephone that `text` names.
pub(super) fn digit(text: &str) -> Option<char> {
    let mut chars = text.trim().chars();
    let key = chars.next()?.to_ascii_uppercase();
    (chars.next().is_none() && (key.is_ascii_digit() || "*#ABCD".contains(key))).then_some(key)
}

/// What is wrong and what is spelled alike.
type Wrong = (String, Option<String>);

/// What pressing a key does, from its attributes.
pub(super) fn dtmf_action(
    action: &str,
    scene: Option<&str>,
    target: Option<&str>,
) -> Result<DtmfAction, Wrong> {
    let given = |value: Option<&str>, what: &str| {
        let value = value.map(str::trim).filter(|value| !value.is_empty());
        value.map(str::to_owned).ok_or_else(|| (format!("action `{action}` needs a `{what}`"), None))
    };
    match action.trim().to_ascii_lowercase().as_str() {
        "goto" => given(scene, "scene").map(DtmfAction::Goto),
        "transfer" | "refer" => given(target, "target").map(DtmfAction::Transfer),
        "hangup" => Ok(DtmfAction::Hangup),
        other => {
            let message = format!("unknown action `{other}`; there are goto, transfer and hangup");
            Err((message, nearest(other, ["goto", "transfer", "hangup"])))
        }
    }
}

fn strategy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Strategy>, D::Error> {
    const WORDS: &[&str] = &["both", "vad", "asr", "none"];
    let Some(word) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let found = STARTS.iter().find(|row| row.name.eq_ignore_ascii_case(word.trim()));
    found.map(|row| Some(row.strategy)).ok_or_else(|| de::Error::unknown_variant(&word, WORDS))
}

/// The keys that a type reads, as its derived reader announces them.
fn keys_of<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut keys: &'static [&'static str] = &[];
    let _ = T::deserialize(KeysReader(&mut keys));
    keys
}

struct KeysReader<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for KeysReader<'_> {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("only keys are wanted"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        Err(de::Error::custom("only keys are wanted"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
