//! The scenes of a playbook.

use std::time::Duration;

use super::MAX_SCENES;
use super::front::{self, ONE_KEY};
use crate::error::{PlaybookError, Warning, nearest};
use crate::playbook::{FollowUp, Scene};
use crate::tags;

/// Longest tag in a scene, in bytes; longer text in angle brackets is prompt.
const MAX_TAG: usize = 1000;

/// Tags that belong to a scene and are not part of its prompt.
const SCENE_TAGS: &[(&str, Apply)] = &[("dtmf", dtmf), ("play", play), ("followup", follow_up)];

/// Lays the attributes of a tag at a line into the scene, or says what is wrong with them.
type Apply = fn(&Attributes, usize, &mut Scene) -> Result<(), (String, Option<String>)>;

/// Cuts the body, which begins at `line` of the file, into scenes. The text before the first header is the
/// scene `default`; without any header the whole body is.
pub(super) fn scenes(
    body: &str,
    line: usize,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Scene>, PlaybookError> {
    let mut scenes: Vec<Scene> = Vec::new();
    let mut open = Scene { id: "default".into(), line, ..Scene::default() };
    let mut fenced = false;
    for (index, text) in body.lines().enumerate() {
        fenced ^= text.trim_start().starts_with("```");
        match header(text).filter(|_| !fenced) {
            Some("") => {
                let message = "a scene needs a name: `# Scene: name`; this line begins none".to_owned();
                warnings.push(Warning { line: line + index, message, nearest: None });
                open.prompt.push_str(text);
                open.prompt.push('\n');
            }
            Some(id) => {
                let next = Scene { id: id.to_owned(), line: line + index, ..Scene::default() };
                let done = std::mem::replace(&mut open, next);
                close(done, &mut scenes, warnings);
                if scenes.len() >= MAX_SCENES {
                    return Err(PlaybookError::TooManyScenes { line: open.line, max: MAX_SCENES });
                }
            }
            None => {
                open.prompt.push_str(text);
                open.prompt.push('\n');
            }
        }
    }
    close(open, &mut scenes, warnings);
    if scenes.is_empty() {
        scenes.push(Scene { id: "default".into(), line, ..Scene::default() });
    }
    Ok(scenes)
}

/// The name in a line `# Scene: name`; empty where it is left out.
fn header(line: &str) -> Option<&str> {
    let rest = line.strip_prefix('#')?.trim_start();
    let (word, name) = rest.split_once(':')?;
    word.trim().eq_ignore_ascii_case("scene").then(|| name.trim())
}

fn close(mut scene: Scene, scenes: &mut Vec<Scene>, warnings: &mut Vec<Warning>) {
    let implied = scene.id == "default" && scenes.is_empty();
    // The header's own line comes before the text, except where the scene has no header.
    let first = if implied { scene.line } else { scene.line + 1 };
    take_tags(&mut scene, first, warnings);
    let bare = scene.play.is_none() && scene.dtmf.is_empty() && scene.follow_up.is_none();
    if implied && scene.prompt.is_empty() && bare {
        return;
    }
    if let Some(earlier) = scenes.iter_mut().find(|own| own.id == scene.id) {
        let message =
            format!("scene `{}` is already defined at line {}; this one counts", scene.id, earlier.line);
        warnings.push(Warning { line: scene.line, message, nearest: None });
        *earlier = scene;
    } else {
        scenes.push(scene);
    }
}

/// Takes the scene's own tags out of its prompt. Text in backticks is prompt whatever it is.
fn take_tags(scene: &mut Scene, first_line: usize, warnings: &mut Vec<Warning>) {
    let text = std::mem::take(&mut scene.prompt);
    let mut prompt = Prompt::default();
    let (mut rest, mut line, mut quoted) = (text.as_str(), first_line, false);
    while let Some(c) = rest.chars().next() {
        if c == '<'
            && !quoted
            && let Some((name, inner, length)) = scene_tag(rest)
        {
            apply(name, inner, scene, (line, &mut *warnings));
            line += inner.matches('\n').count();
            rest = rest.get(length..).unwrap_or_default();
            continue;
        }
        let ticks = rest.len() - rest.trim_start_matches('`').len();
        if ticks > 0 {
            quoted ^= ticks == 1 || ticks == 3;
            prompt.push_ticks(ticks, line);
            rest = rest.get(ticks..).unwrap_or_default();
            continue;
        }
        prompt.push(c, line);
        line += usize::from(c == '\n');
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
    (scene.prompt, scene.places.prompt) = prompt.without_gaps();
}

/// Text that was taken over, and the line of the file that each of its lines began at.
#[derive(Default)]
struct Prompt {
    text: String,
    lines: Vec<usize>,
}

impl Prompt {
    fn push(&mut self, c: char, line: usize) {
        if self.text.is_empty() || self.text.ends_with('\n') {
            self.lines.push(line);
        }
        self.text.push(c);
    }

    fn push_ticks(&mut self, count: usize, line: usize) {
        (0..count).for_each(|_| self.push('`', line));
    }

    /// The text without the empty lines that tags leave behind, and where its lines are.
    fn without_gaps(&self) -> (String, Vec<usize>) {
        let (mut text, mut lines) = (String::with_capacity(self.text.len()), Vec::new());
        let mut empty = 0;
        for (own, line) in self.text.lines().zip(&self.lines) {
            empty = if own.trim().is_empty() { empty + 1 } else { 0 };
            if empty < 2 && !(text.is_empty() && empty > 0) {
                let own = if text.is_empty() { own.trim() } else { own.trim_end() };
                text.push_str(own);
                text.push('\n');
                lines.push(*line);
            }
        }
        text.truncate(text.trim_end().len());
        (text, lines)
    }
}

/// Name, attributes and length of the scene tag that `text` begins with.
fn scene_tag(text: &str) -> Option<(&'static str, &str, usize)> {
    let inner = text.strip_prefix('<')?;
    let (name, _) = SCENE_TAGS.iter().find(|(name, _)| {
        let follows = inner.as_bytes().get(name.len()).copied();
        inner.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name))
            && follows.is_some_and(|byte| byte.is_ascii_whitespace())
    })?;
    let mut quote = None;
    for (at, c) in inner.char_indices().take(MAX_TAG) {
        match (quote, c) {
            (None, '>') => return Some((name, inner.get(name.len()..at)?, at + 2)),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

fn apply(name: &str, inner: &str, scene: &mut Scene, (line, warnings): (usize, &mut Vec<Warning>)) {
    let attributes = Attributes(tags::attributes(inner));
    let Some((_, apply)) = SCENE_TAGS.iter().find(|(own, _)| *own == name) else { return };
    if let Err((message, nearest)) = apply(&attributes, line, scene) {
        warnings.push(Warning { line, message: format!("<{name}>: {message}"), nearest });
    }
}

struct Attributes(Vec<(String, String)>);

impl Attributes {
    fn value(&self, names: &[&str]) -> Option<&str> {
        let known = |own: &str| names.iter().any(|name| name.eq_ignore_ascii_case(own));
        self.0.iter().find(|(own, _)| known(own)).map(|(_, value)| value.as_str())
    }

    /// The value, or what is missing, with the attribute that may be it.
    fn required(&self, names: &[&str]) -> Result<&str, (String, Option<String>)> {
        let wanted = names.first().copied().unwrap_or_default();
        self.value(names).ok_or_else(|| {
            let slip = self.0.iter().find(|(own, _)| nearest(own, [wanted]).is_some());
            (format!("needs the attribute `{wanted}`"), slip.map(|_| wanted.to_owned()))
        })
    }
}

fn dtmf(attributes: &Attributes, line: usize, scene: &mut Scene) -> Result<(), (String, Option<String>)> {
    let key = attributes.required(&["digit", "key"])?;
    let key = front::digit(key).ok_or((ONE_KEY.to_owned(), None))?;
    let action = attributes.required(&["action"])?;
    let action =
        front::dtmf_action(action, attributes.value(&["scene"]), attributes.value(&["target", "to"]))?;
    scene.dtmf.insert(key, action);
    scene.places.dtmf.insert(key, line);
    Ok(())
}

fn play(attributes: &Attributes, line: usize, scene: &mut Scene) -> Result<(), (String, Option<String>)> {
    let file = attributes.required(&["file", "url", "src"])?;
    if scene.play.is_some() {
        return Err(("a scene plays one file; this one is left out".into(), None));
    }
    scene.play = Some(file.to_owned());
    scene.places.play = Some(line);
    Ok(())
}

fn follow_up(
    attributes: &Attributes,
    line: usize,
    scene: &mut Scene,
) -> Result<(), (String, Option<String>)> {
    let timeout = attributes.required(&["timeout"])?;
    let timeout: u32 =
        timeout.trim().parse().map_err(|_| ("timeout is a number of milliseconds".into(), None))?;
    let max = attributes.value(&["max", "maxCount", "max_count"]).unwrap_or("2");
    let max: u32 = max.trim().parse().map_err(|_| ("max is a number".into(), None))?;
    let texts = attributes.value(&["text"]).map(str::to_owned).into_iter().collect();
    scene.places.follow_up = Some(line);
    scene.follow_up = Some(FollowUp { timeout: Duration::from_millis(timeout.into()), max, texts });
    Ok(())
}
