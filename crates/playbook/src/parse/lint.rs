//! What is probably a mistake in a playbook that can be read.

use regex::RegexBuilder;

use super::yaml::Yaml;
use super::{names, values};
use crate::error::{PlaybookError, Warning, nearest};
use crate::playbook::{DtmfAction, Playbook, Scene};
use crate::prompt::FEATURES;
use crate::scanner::{Scan, Scanner};
use crate::tags::{Act, Tag};
use crate::template;
use crate::turn::model;

/// Largest compiled rule, in bytes.
const MAX_PATTERN: usize = 256 * 1024;

/// Adds warnings to `playbook`.
///
/// # Errors
/// A rule is not a regular expression: it could never answer.
pub(super) fn check(playbook: &mut Playbook, yaml: &Yaml, markdown: &str) -> Result<(), PlaybookError> {
    let mut found = Vec::new();
    rules(playbook, yaml, &mut found)?;
    actions(playbook, yaml, &mut found);
    let passages = passages(playbook, yaml);
    templates(&passages, &mut found);
    let all_tags = every_tag(playbook, yaml);
    for (line, tag) in &all_tags {
        tag_of(playbook, tag, *line, &mut found);
    }
    names::tags(markdown, &mut found);
    names::scenes(playbook, &all_tags, &mut found);
    names::variables(playbook, &all_tags, &passages, &mut found);
    values::check(playbook, yaml, &mut found);
    let (files, named) = (files(playbook, yaml, &all_tags), values::named(playbook, yaml));
    (playbook.files, playbook.named) = (files, named);
    playbook.places = values::WISHES.iter().map(|key| (*key, yaml.line_of(key))).collect();
    if let Some(llm) = &playbook.llm {
        for feature in llm.features.iter().flatten() {
            if !FEATURES.iter().any(|(name, _)| name == feature) {
                let near = nearest(feature, FEATURES.iter().map(|(name, _)| *name));
                let message = format!("unknown feature `{feature}`");
                found.push(Warning { line: yaml.line_of("llm.features"), message, nearest: near });
            }
        }
    }
    if playbook.option.eou.as_ref().is_some_and(model::is_unknown) {
        let message = format!("`eou.type` names no model of ends of turns; {}", model::known());
        found.push(Warning { line: yaml.line_of("eou.type"), message, nearest: None });
    }
    let greets =
        playbook.greeting.is_some() || playbook.scenes.first().is_some_and(|first| first.play.is_some());
    if let Some(realtime) = playbook.option.realtime.as_ref().filter(|_| !greets) {
        let told = realtime.extra.as_ref().is_some_and(|extra| extra.contains_key("greeting"));
        if !told && playbook.llm.as_ref().is_none_or(|llm| llm.greeting.is_none()) {
            let message =
                "no greeting and no `realtime.extra.greeting`: the caller hears silence until they speak"
                    .to_owned();
            found.push(Warning { line: yaml.line_of("realtime"), message, nearest: None });
        }
    } else if !greets && playbook.llm.is_none() {
        let message =
            "no greeting, no file in the first scene and no `llm`: the caller hears silence".to_owned();
        found.push(Warning { line: 1, message, nearest: None });
    }
    playbook.warnings.append(&mut found);
    playbook.warnings.sort_by_key(|warning| warning.line);
    Ok(())
}

fn rules(playbook: &Playbook, yaml: &Yaml, found: &mut Vec<Warning>) -> Result<(), PlaybookError> {
    if playbook.llm.as_ref().is_some_and(|llm| llm.rules.as_ref().is_some_and(Vec::is_empty)) {
        let message = "`llm.rules` holds no rule".to_owned();
        found.push(Warning { line: yaml.line_of("llm.rules"), message, nearest: None });
    }
    let rules = playbook.llm.iter().flat_map(|llm| llm.rules.iter().flatten());
    for (index, rule) in rules.enumerate() {
        let path = format!("llm.rules.{index}");
        for pattern in &rule.when {
            let compiled = RegexBuilder::new(pattern).case_insensitive(true).size_limit(MAX_PATTERN).build();
            if let Err(error) = compiled {
                let why = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
                let path = format!("{path}.when");
                return Err(yaml.error(
                    &path,
                    format!("`{pattern}` is not a regular expression: {why}"),
                    None,
                ));
            }
        }
        if rule.say.is_empty() {
            let message = "a rule without `say` answers nothing".to_owned();
            found.push(Warning { line: yaml.line_of(&path), message, nearest: None });
        }
        if let Some(scene) = &rule.scene {
            missing_scene(playbook, scene, yaml.line_of(&format!("{path}.scene")), found);
        }
    }
    Ok(())
}

/// What a tag in an answer or a prompt lacks, or names that is not there.
fn tag_of(playbook: &Playbook, tag: &Tag, line: usize, found: &mut Vec<Warning>) {
    if let Some(attribute) = tag.lacks() {
        let message = format!("<{tag}/> needs the attribute `{attribute}`");
        found.push(Warning { line, message, nearest: None });
    }
    match tag.act() {
        Some(Act::Goto(scene)) if !template::is_template(&scene) => {
            missing_scene(playbook, &scene, line, found);
        }
        Some(Act::Refer(target)) if !template::is_template(&target) => {
            if !values::can_be_called(&target) {
                let message = format!("<{tag}/>: `{target}` {}", values::NO_TARGET);
                found.push(Warning { line, message, nearest: None });
            } else if !playbook.allowed.permits(&target) {
                let message = format!("transfer to `{target}` is not allowed; list it under `transfers`");
                found.push(Warning { line, message, nearest: None });
            }
        }
        Some(Act::Collect { kind, .. }) if !playbook.dtmf_collectors.contains_key(&kind) => {
            let near = nearest(&kind, playbook.dtmf_collectors.keys().map(String::as_str));
            let message = format!("`dtmfCollectors` has no `{kind}`; any digits are taken");
            found.push(Warning { line, message, nearest: near });
        }
        Some(Act::Http { request, .. }) if !values::is_web_address(&request.url) => {
            let message = format!("<http/>: `{}` {}", request.url, values::NO_ADDRESS);
            found.push(Warning { line, message, nearest: None });
        }
        _ => {}
    }
}

/// Every tag that an answer may have, by the rules and the prompts, with its line. A prompt explains tags, in backticks
/// too.
fn every_tag(playbook: &Playbook, yaml: &Yaml) -> Vec<(usize, Tag)> {
    let rules = playbook.llm.iter().flat_map(|llm| llm.rules.iter().flatten()).enumerate();
    let answers = rules.flat_map(|(index, rule)| {
        let line = yaml.line_of(&format!("llm.rules.{index}.say"));
        rule.say.iter().map(move |text| (line, text))
    });
    let otherwise = playbook.llm.iter().filter_map(|llm| llm.otherwise.as_ref());
    let otherwise = otherwise.map(|text| (yaml.line_of("llm.otherwise"), text));
    let told = answers
        .chain(otherwise)
        .flat_map(|(line, text)| tags_of(text).into_iter().map(move |own| (line, own.1)));
    let prompts = playbook.scenes.iter().map(Passage::of).flat_map(|passage| {
        let tags = tags_of(&passage.text.replace('`', " "));
        tags.into_iter().map(move |(index, tag)| (passage.line_of(index), tag))
    });
    told.chain(prompts).collect()
}

/// A text of the playbook and where its lines are in the file.
pub(super) struct Passage<'a> {
    pub(super) text: &'a str,
    /// Line where it begins.
    line: usize,
    /// Line of each of its lines; empty where only the first is known.
    lines: &'a [usize],
}

impl<'a> Passage<'a> {
    fn of(scene: &'a Scene) -> Self {
        Passage { text: &scene.prompt, line: scene.line, lines: &scene.places.prompt }
    }

    /// Line in the file of its `index`th line, from 0.
    pub(super) fn line_of(&self, index: usize) -> usize {
        self.lines.get(index).or(self.lines.last()).copied().unwrap_or(self.line)
    }
}

fn passages<'a>(playbook: &'a Playbook, yaml: &Yaml) -> Vec<Passage<'a>> {
    let line = yaml.line_of("greeting");
    let greeting = playbook.greeting.iter().map(|text| Passage { text, line, lines: &[] });
    let rules = playbook.llm.iter().flat_map(|llm| llm.rules.iter().flatten()).enumerate();
    let said = rules.flat_map(|(index, rule)| {
        let line = yaml.line_of(&format!("llm.rules.{index}.say"));
        rule.say.iter().map(move |text| Passage { text, line, lines: &[] })
    });
    let line = yaml.line_of("llm.otherwise");
    let otherwise = playbook.llm.iter().filter_map(|llm| llm.otherwise.as_ref());
    let otherwise = otherwise.map(|text| Passage { text, line, lines: &[] });
    let scenes = playbook.scenes.iter().map(Passage::of);
    greeting.chain(said).chain(otherwise).chain(scenes).collect()
}

/// Files that the playbook names, with their lines.
fn files(playbook: &Playbook, yaml: &Yaml, all_tags: &[(usize, Tag)]) -> Vec<(usize, String)> {
    let scenes = playbook
        .scenes
        .iter()
        .filter_map(|scene| Some((scene.places.play.unwrap_or(scene.line), scene.play.clone()?)));
    let ambience = playbook.option.ambiance.as_ref().and_then(|own| own.path.clone());
    let ambience = ambience.map(|path| (yaml.line_of("ambiance.path"), path));
    let fillers = playbook.filler_file.clone().map(|path| (yaml.line_of("interruption.fillerFile"), path));
    let played = all_tags.iter().filter_map(|(line, tag)| match tag.act() {
        Some(Act::Play(file)) => Some((*line, file)),
        _ => None,
    });
    let local = |(_, path): &(usize, String)| !template::is_template(path) && !path.contains("://");
    scenes.chain(ambience).chain(fillers).chain(played).filter(local).collect()
}

/// The tags in `text`, each with the line of the text that it ends in, from 0.
fn tags_of(text: &str) -> Vec<(usize, Tag)> {
    let (mut scanner, mut tags) = (Scanner::default(), Vec::new());
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let mut scans = Vec::new();
        scanner.push(line, &mut scans);
        tags.extend(scans.into_iter().filter_map(|scan| match scan {
            Scan::Tag(tag) => Some((index, tag)),
            Scan::Text(_) | Scan::Emotion(_) => None,
        }));
    }
    tags
}

fn missing_scene(playbook: &Playbook, scene: &str, line: usize, found: &mut Vec<Warning>) {
    if playbook.scene(scene).is_none() {
        let near = nearest(scene, playbook.scenes.iter().map(|own| own.id.as_str()));
        found.push(Warning { line, message: format!("there is no scene `{scene}`"), nearest: near });
    }
}

fn actions(playbook: &Playbook, yaml: &Yaml, found: &mut Vec<Warning>) {
    let everywhere = playbook.dtmf.iter().map(|(key, action)| (yaml.line_of(&format!("dtmf.{key}")), action));
    let own = playbook.scenes.iter().flat_map(|scene| {
        let line = |key| scene.places.dtmf.get(key).copied().unwrap_or(scene.line);
        scene.dtmf.iter().map(move |(key, action)| (line(key), action))
    });
    for (line, action) in everywhere.chain(own) {
        match action {
            DtmfAction::Goto(scene) => missing_scene(playbook, scene, line, found),
            DtmfAction::Transfer(target) if !values::can_be_called(target) => {
                let message = format!("`{target}` {}", values::NO_TARGET);
                found.push(Warning { line, message, nearest: None });
            }
            DtmfAction::Transfer(_) | DtmfAction::Hangup => {}
        }
    }
}

fn templates(passages: &[Passage<'_>], found: &mut Vec<Warning>) {
    for passage in passages {
        if let Err(error) = template::check(passage.text) {
            let message = format!("not a template: {}; it is taken as written", error.message);
            let line = passage.line_of(error.line.saturating_sub(1));
            found.push(Warning { line, message, nearest: None });
        }
    }
}
