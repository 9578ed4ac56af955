//! From the text of a file to a [`Playbook`]. The only room of this crate that knows serde.
//!
//! `yaml` keeps the place of every key, `front` reads the settings, `tools` the functions of the model, `body` the scenes, `lint`, `names`
//! and `values` say what is probably a mistake.

mod body;
mod front;
mod lint;
mod names;
pub(crate) mod scenario;
mod tools;
mod values;
mod yaml;

use crate::error::{PlaybookError, Warning};
use crate::phrases::Fillers;
use crate::playbook::Playbook;
use crate::transfer::Allowed;

/// Largest playbook that is read, in bytes.
pub const MAX_BYTES: usize = 1024 * 1024;

/// Most scenes of a playbook.
pub const MAX_SCENES: usize = 1000;

/// Looks up a variable of the environment.
type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

pub(crate) fn playbook(markdown: &str, env: Env<'_>) -> Result<Playbook, PlaybookError> {
    if markdown.len() > MAX_BYTES {
        return Err(PlaybookError::TooLarge { bytes: markdown.len(), max: MAX_BYTES });
    }
    let markdown = markdown.strip_prefix('\u{feff}').unwrap_or(markdown);
    let parts = split(markdown)?;
    let yaml = yaml::read(parts.front, parts.front_line, env)?;
    let mut warnings = yaml.warnings();
    let (front, mut option) = front::read(&yaml, &mut warnings)?;
    let mut scenes = body::scenes(parts.body, parts.body_line, &mut warnings)?;

    if let Some(first) = scenes.first_mut().filter(|first| first.prompt.is_empty()) {
        let of_model = front.llm.as_ref().and_then(|llm| llm.prompt.clone());
        let key = if of_model.is_some() { "llm.prompt" } else { "prompt" };
        first.prompt = of_model.or(front.prompt.clone()).unwrap_or_default();
        first.places.prompt = vec![yaml.line_of(key)];
    }
    front.complete_option(&mut option);
    let allowed = Allowed::new(front.transfers.iter().map(String::as_str), &yaml.texts(markdown));
    for target in front.transfers.iter().filter(|target| target.contains('*')) {
        let message =
            format!("`{target}` allows nothing: an address under `transfers` stands for itself alone");
        warnings.push(Warning { line: yaml.line_of("transfers"), message, nearest: None });
    }
    if front.max_duration.is_some_and(|seconds| seconds.0.is_zero()) {
        let message = "`maxDuration: 0` sets no limit: write a span, or leave it out".to_owned();
        warnings.push(Warning { line: yaml.line_of("maxDuration"), message, nearest: None });
    }
    let (greeting, greeting_interruptible) = front.greeting();
    let mut playbook = Playbook {
        title: front.title.clone(),
        greeting,
        greeting_interruptible,
        interruption: front.interruption(&yaml)?,
        end_of_turn: front.end_of_turn(&yaml, &option)?,
        speculation: front.speculation(),
        fillers: Fillers::default(),
        filler_file: front.filler_file(),
        dtmf: front.dtmf(&yaml)?,
        dtmf_collectors: front.collectors(&yaml)?,
        follow_up: front.follow_up(),
        max_duration: front.max_duration.map(|seconds| seconds.0).filter(|longest| !longest.is_zero()),
        posthook: front.posthook(&yaml)?,
        phrases: front.phrases(),
        files: Vec::new(),
        named: Vec::new(),
        places: Vec::new(),
        tools: tools::read(&front, &yaml)?,
        llm: front.llm.clone(),
        allowed,
        scenes,
        warnings,
        option,
    };
    playbook.fillers = front.fillers(playbook.language());
    lint::check(&mut playbook, &yaml, markdown)?;
    Ok(playbook)
}

/// The two parts of a file and the lines they begin at, from 1.
struct Parts<'a> {
    front: &'a str,
    front_line: usize,
    body: &'a str,
    body_line: usize,
}

/// Fences are lines of their own, so that `---` within a value is none.
fn split(markdown: &str) -> Result<Parts<'_>, PlaybookError> {
    let mut offset = 0;
    let mut opened: Option<(usize, usize)> = None;
    for (index, line) in markdown.split_inclusive('\n').enumerate() {
        let number = index + 1;
        offset += line.len();
        let is_fence = line.trim_end() == "---";
        match opened {
            None if is_fence => opened = Some((number, offset)),
            None if line.trim().is_empty() => {}
            None => return Err(PlaybookError::NoFrontMatter { line: number }),
            Some((fence, start)) if is_fence => {
                return Ok(Parts {
                    front: markdown.get(start..offset - line.len()).unwrap_or_default(),
                    front_line: fence + 1,
                    body: markdown.get(offset..).unwrap_or_default(),
                    body_line: number + 1,
                });
            }
            Some(_) => {}
        }
    }
    match opened {
        Some((line, _)) => Err(PlaybookError::Unclosed { line }),
        None => Err(PlaybookError::NoFrontMatter { line: 1 }),
    }
}
