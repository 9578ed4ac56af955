//! What a playbook file says, as values.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::CallOption;
use protocol::option::LlmOption;
use protocol::read;
use protocol::value::{Extra, Headers};

use crate::error::{PlaybookError, Warning, nearest};
use crate::parse;
use crate::phrases::Fillers;
use crate::template;
use crate::tools::Tools;
use crate::transfer::Allowed;
use crate::turn::end::EndOfTurn;
use crate::turn::{STARTS, StartRow};
use crate::vars::Vars;

/// A playbook: how a call is set up, and what is said in it.
#[derive(Clone, Debug)]
pub struct Playbook {
    /// Title for people.
    pub title: Option<String>,
    /// The language model; absent in playbooks of greeting, menus and recordings, and in realtime mode.
    pub llm: Option<LlmOption>,
    /// Spoken when the call is answered; a template.
    pub greeting: Option<String>,
    /// Whether the caller may cut the greeting off. Default true.
    pub greeting_interruptible: bool,
    /// When the caller may cut the agent off.
    pub interruption: Interruption,
    /// When the caller's turn is over.
    pub end_of_turn: EndOfTurn,
    /// Asks the model at the caller's first pause, until so many such answers of a call were of no use.
    pub speculation: Option<u32>,
    /// Words that neither interrupt nor are answered while the agent speaks.
    pub fillers: Fillers,
    /// File with such words, one on each line, which the loader reads for [`Playbook::set_fillers`].
    pub filler_file: Option<String>,
    /// What keys do in every scene that does not say otherwise.
    pub dtmf: BTreeMap<char, DtmfAction>,
    /// Digits to collect, by name.
    pub dtmf_collectors: BTreeMap<String, Collect>,
    /// What happens when the caller is silent.
    pub follow_up: Option<FollowUp>,
    /// The agent says goodbye and hangs up when the call has lasted so long.
    pub max_duration: Option<Duration>,
    /// Where to report the call after its end.
    pub posthook: Option<Posthook>,
    /// What the model may call.
    pub tools: Tools,
    /// Fixed sentences for what a playbook does not foresee.
    pub phrases: Phrases,
    /// Whom a model may call in.
    pub allowed: Allowed,
    /// Scenes in the order of the file, never empty; the first is where a call begins.
    pub scenes: Vec<Scene>,
    /// Probable mistakes.
    pub warnings: Vec<Warning>,
    pub(crate) option: CallOption,
    /// Local files that it names, with their lines.
    pub(crate) files: Vec<(usize, String)>,
    pub(crate) named: Vec<Named>,
    /// Lines of the keys that say what it wants of the world.
    pub(crate) places: Vec<(&'static str, usize)>,
}

/// Something outside that the playbook calls by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// Line in the file, from 1.
    pub(crate) line: usize,
    /// Path of the key that holds the name.
    pub(crate) key: &'static str,
    pub(crate) name: String,
}

impl Playbook {
    /// Index of the scene called `name`, whose case does not matter where no scene is written so.
    pub fn scene_named(&self, name: &str) -> Option<usize> {
        let (name, lower) = (name.trim(), name.trim().to_lowercase());
        let exact = self.scenes.iter().position(|own| own.id == name);
        exact.or_else(|| self.scenes.iter().position(|own| own.id.to_lowercase() == lower))
    }

    /// What a model is told of the scenes there are.
    pub(crate) fn scene_names(&self) -> String {
        /// So many are named.
        const MOST: usize = 50;
        let names: Vec<&str> = self.scenes.iter().map(|scene| scene.id.as_str()).take(MOST).collect();
        format!("there are: {}", names.join(", "))
    }

    /// Reads a playbook from the text of its file. `env` looks up the `${NAME}` of the front matter; names
    /// it does not know stay as they are and are warned about.
    ///
    /// # Errors
    /// Says which line and key is wrong, what is expected there, and the nearest valid name.
    pub fn parse(markdown: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Playbook, PlaybookError> {
        parse::playbook(markdown, env)
    }

    /// What the call is to be, as the front matter says: `asr`, `tts`, `vad`, `recorder`, `eou`,
    /// `realtime`, `ambiance`, `sip`, `denoise`, `extra` and the other keys of a call's option. The keys of
    /// `asr`, `tts`, `eou` and `realtime` default to the model's. Templates in it stand as written.
    pub fn option(&self) -> CallOption {
        self.option.clone()
    }

    /// The same with the templates of voices, headers and `extra` rendered. A template that fails stands as
    /// written. `sip.hangup_headers` are left alone: they are rendered when the call is hung up.
    pub fn rendered_option(&self, vars: &Vars) -> CallOption {
        let mut option = self.option.clone();
        let render = |text: &mut String| {
            if let Ok(rendered) = template::render(text, vars) {
                *text = rendered;
            }
        };
        if let Some(tts) = &mut option.tts {
            [&mut tts.speaker, &mut tts.language, &mut tts.emotion].into_iter().flatten().for_each(render);
        }
        if let Some(asr) = &mut option.asr {
            asr.language.iter_mut().for_each(render);
        }
        if let Some(sip) = &mut option.sip {
            sip.headers.iter_mut().flat_map(BTreeMap::values_mut).for_each(render);
        }
        let realtime = option.realtime.iter_mut().filter_map(|realtime| realtime.extra.as_mut());
        for extra in option.extra.iter_mut().chain(realtime) {
            render_extra(extra, &render);
        }
        option
    }

    /// Warnings for local files that it names and that do not exist. Files in templates are not known before a call.
    pub fn missing_files(&self, exists: &dyn Fn(&str) -> bool) -> Vec<Warning> {
        let missing = self.files.iter().filter(|(_, path)| !exists(path));
        let warn = |(line, path): &(usize, String)| Warning {
            line: *line,
            message: format!("there is no file `{path}`"),
            nearest: None,
        };
        missing.map(warn).collect()
    }

    /// Warnings for providers and a voice detector that it names and that are not among `known`, which gives the names
    /// that may stand at a key: `asr.provider`, `tts.provider`, `llm.provider`, `realtime.provider` or `vad.type`.
    pub fn unknown_names(&self, known: &dyn Fn(&str) -> Vec<&'static str>) -> Vec<Warning> {
        let warn = |named: &Named| {
            let known = known(named.key);
            let fits = |own: &&str| own.eq_ignore_ascii_case(named.name.trim());
            let list = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            (!known.iter().any(fits)).then(|| Warning {
                line: named.line,
                message: format!(
                    "`{}`: there is no `{}`; known: {list}",
                    named.key,
                    read::shown(&named.name)
                ),
                nearest: nearest(&named.name, known),
            })
        };
        self.named.iter().filter_map(warn).collect()
    }

    /// What stands at a key of [`Playbook::unknown_names`], at `mcp`, `posthook.url`, `tools` or `transfers` is of no use,
    /// for this reason: a warning with its line.
    pub fn at(&self, key: &str, message: String) -> Warning {
        let named = self.named.iter().map(|named| (named.key, named.line));
        let line =
            named.chain(self.places.iter().copied()).find(|(own, _)| *own == key).map_or(1, |(_, line)| line);
        Warning { line, message, nearest: None }
    }

    /// Whether its agent has words to say and names no voice for them: calls would be mute, unless their client names one.
    pub fn is_mute(&self) -> bool {
        let voiced = self.option.tts.as_ref().is_some_and(|tts| tts.provider.is_some());
        let words = self.greeting.is_some() || self.llm.is_some();
        words && !voiced && self.option.realtime.is_none()
    }

    /// Whether a caller can tell its agent anything by keys.
    pub fn takes_keys(&self) -> bool {
        let in_scenes = self.scenes.iter().any(|scene| !scene.dtmf.is_empty());
        in_scenes || !self.dtmf.is_empty() || !self.dtmf_collectors.is_empty()
    }

    /// Takes the text of a file of filler words, one on each line, in place of those of the language.
    pub fn set_fillers(&mut self, text: &str) {
        self.fillers = Fillers::from_file(text, self.language());
    }

    /// The scene named `id`.
    pub fn scene(&self, id: &str) -> Option<&Scene> {
        self.scenes.iter().find(|scene| scene.id == id)
    }

    /// Language of fixed sentences, fillers and sentence rules: the model's, else the recognizer's, else `en`.
    pub fn language(&self) -> &str {
        let llm = self.llm.as_ref().and_then(|llm| llm.language.as_deref());
        let asr = || self.option.asr.as_ref().and_then(|asr| asr.language.as_deref());
        llm.or_else(asr).unwrap_or("en")
    }
}

fn render_extra(extra: &mut Extra, render: &impl Fn(&mut String)) {
    for value in extra.values_mut() {
        if let serde_json::Value::String(text) = value {
            render(text);
        }
    }
}

/// A part of a conversation with a prompt, keys and follow-up of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scene {
    /// Name, as `goto` gives it.
    pub id: String,
    /// Line of its header in the file, from 1.
    pub line: usize,
    /// System prompt; a template, rendered at each entry.
    pub prompt: String,
    /// File to play at each entry; a template.
    pub play: Option<String>,
    /// What keys do here.
    pub dtmf: BTreeMap<char, DtmfAction>,
    /// What happens here when the caller is silent.
    pub follow_up: Option<FollowUp>,
    pub(crate) places: Places,
}

/// Lines in the file, from 1, of what a scene says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Places {
    /// Of each line of the prompt; tags and empty lines that are left out of it count.
    pub(crate) prompt: Vec<usize>,
    pub(crate) dtmf: BTreeMap<char, usize>,
    pub(crate) play: Option<usize>,
    pub(crate) follow_up: Option<usize>,
}

/// What pressing a key does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DtmfAction {
    /// Enter the scene.
    Goto(String),
    /// Call in this party; a template.
    Transfer(String),
    /// End the call.
    Hangup,
}

/// Who may cut the agent off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Speech and words, whichever is first.
    #[default]
    Both,
    /// Speech, as voice activity detection hears it.
    Vad,
    /// Words, as the recognizer hears them.
    Asr,
    /// Nobody.
    None,
}

impl Strategy {
    /// What it consists of.
    pub fn row(self) -> &'static StartRow {
        const BOTH: &StartRow =
            &StartRow { name: "both", strategy: Strategy::Both, by_voice: true, by_words: true };
        STARTS.iter().find(|row| row.strategy == self).unwrap_or(BOTH)
    }

    /// Whether speech alone interrupts. The call's sound is armed for it; the conversation hears of it as an
    /// utterance that ended interrupted.
    pub fn by_voice(self) -> bool {
        self.row().by_voice
    }

    /// Whether recognized words interrupt.
    pub fn by_words(self) -> bool {
        self.row().by_words
    }
}

/// When the caller may cut the agent off.
#[derive(Clone, Debug, PartialEq)]
pub struct Interruption {
    /// What counts as cutting in. Default both.
    pub strategy: Strategy,
    /// Speech that lasts less does not interrupt. Default zero.
    pub min_speech: Duration,
    /// Words such as "mm-hm" do not interrupt. Default true.
    pub filler_word_filter: bool,
    /// Fade-out of the voice that is cut off. Default zero: at once.
    pub volume_fade: Duration,
    /// An utterance cannot be interrupted before so much of it was heard. Default 800 ms.
    pub ignore_first: Duration,
    /// Fewer words do not interrupt. Default 1.
    pub min_words: usize,
    /// Gain, 0 to 1, to which the voice goes down as soon as speech is heard, until it is clear whether the caller
    /// wants the turn. Absent: the voice stops.
    pub duck: Option<f32>,
}

impl Default for Interruption {
    fn default() -> Self {
        Interruption {
            strategy: Strategy::Both,
            min_speech: Duration::ZERO,
            filler_word_filter: true,
            volume_fade: Duration::ZERO,
            ignore_first: Duration::from_millis(800),
            min_words: 1,
            duck: None,
        }
    }
}

/// What happens when the caller is silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowUp {
    /// Silence after which the agent speaks again.
    pub timeout: Duration,
    /// How often it does so before it says goodbye and hangs up.
    pub max: u32,
    /// What it says, one after the other, the last again and again; templates. Empty: the model is asked.
    pub texts: Vec<String>,
}

/// Digits to collect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collect {
    /// What they are, for the prompt of the model.
    pub description: String,
    /// Fewest digits that are complete.
    pub min_digits: usize,
    /// Number of digits that is complete without the finish key.
    pub max_digits: usize,
    /// Key that ends the entry.
    pub finish_key: Option<char>,
    /// Time for the whole entry. Default 15 s.
    pub timeout: Duration,
    /// Time between two keys. Default 5 s.
    pub inter_digit_timeout: Duration,
    /// Regular expression the digits must match.
    pub pattern: Option<String>,
    /// Spoken when they do not.
    pub error_message: Option<String>,
    /// Further tries after a wrong entry. Default 3.
    pub retry_times: u32,
    /// Whether a key cuts the prompt off. Default false.
    pub interruptible: bool,
}

/// Where to report a call after its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posthook {
    /// Address; a template.
    pub url: String,
    /// Method. Default POST.
    pub method: String,
    /// Headers.
    pub headers: Headers,
    /// What kind of summary the model writes; absent: none.
    pub summary: Option<Summary>,
    /// Whether the history is sent. Default true.
    pub include_history: bool,
}

/// Kinds of summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Summary {
    /// One or two sentences.
    Short,
    /// Everything agreed.
    Detailed,
    /// What the caller wanted.
    Intent,
    /// JSON.
    Json,
    /// By the playbook's own instruction.
    Custom(String),
}

impl Summary {
    /// The kinds that have a name.
    pub const KINDS: &[&str] = &["short", "detailed", "intent", "json"];

    /// The kind a playbook names; other texts are instructions.
    pub fn from_text(text: &str) -> Self {
        match text.trim().to_ascii_lowercase().as_str() {
            "short" => Summary::Short,
            "detailed" => Summary::Detailed,
            "intent" => Summary::Intent,
            "json" => Summary::Json,
            _ => Summary::Custom(text.to_owned()),
        }
    }

    /// What the model is told to write.
    pub fn instruction(&self) -> &str {
        match self {
            Summary::Short => "Summarise this telephone call in one or two sentences.",
            Summary::Detailed => {
                "Summarise this telephone call: what the caller wanted, what was agreed, what is left to do."
            }
            Summary::Intent => "Say in a few words what the caller wanted.",
            Summary::Json => {
                "Summarise this telephone call as a JSON object with the keys intent, outcome and open."
            }
            Summary::Custom(text) => text,
        }
    }
}

/// Fixed sentences; templates. Those a playbook leaves out come from [`crate::phrases`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Phrases {
    /// The model failed.
    pub apology: String,
    /// The call ends by the agent's rule.
    pub goodbye: String,
    /// A transfer is not allowed.
    pub refusal: String,
    /// A transfer failed.
    pub unreachable: String,
    /// Something that is looked up takes long.
    pub wait: String,
}
