//! What is probably a mistake in a playbook that can be read.

use regex::RegexBuilder;

use super::names;
use super::yaml::Yaml;
use crate::error::{PlaybookError, Warning, nearest};
use crate::playbook::{DtmfAction, Playbook};
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
    prompts(playbook, yaml, &mut found);
    let all_tags = every_tag(playbook);
    names::tags(markdown, &mut found);
    names::scenes(playbook, &all_tags, &mut found);
    let greeting = playbook.greeting.iter().map(|text| (yaml.line_of("greeting"), text.as_str()));
    let scenes = playbook.scenes.iter().map(|scene| (scene.line + 1, scene.prompt.as_str()));
    names::variables(playbook, &all_tags, &greeting.chain(scenes).collect::<Vec<_>>(), &mut found);
    playbook.files = files(playbook, yaml, &all_tags);
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
        for text in &rule.say {
            tags_in(playbook, text, yaml.line_of(&format!("{path}.say")), found);
        }
    }
    Ok(())
}

/// Scenes and transfers that tags in an answer name.
fn tags_in(playbook: &Playbook, text: &str, line: usize, found: &mut Vec<Warning>) {
    for tag in tags_of(text) {
        match tag.act() {
            Some(Act::Goto(scene)) if !template::is_template(&scene) => {
                missing_scene(playbook, &scene, line, found);
            }
            Some(Act::Refer(target)) if !playbook.allowed.permits(&target) => {
                let message = format!("transfer to `{target}` is not allowed; list it under `transfers`");
                found.push(Warning { line, message, nearest: None });
            }
            Some(_) => {}
            None => {
                let message = format!("<{tag}/> lacks an attribute it needs");
                found.push(Warning { line, message, nearest: None });
            }
        }
    }
}

/// Every tag that an answer may have, by the rules and the prompts.
fn every_tag(playbook: &Playbook) -> Vec<Tag> {
    let rules =
        playbook.llm.iter().flat_map(|llm| llm.rules.iter().flatten()).flat_map(|rule| rule.say.iter());
    let otherwise = playbook.llm.iter().filter_map(|llm| llm.otherwise.as_ref());
    let mut tags: Vec<Tag> = rules.chain(otherwise).flat_map(|text| tags_of(text)).collect();
    tags.extend(playbook.scenes.iter().flat_map(|scene| tags_of(&scene.prompt.replace('`', " "))));
    tags
}

/// Files that the playbook names, with their lines.
fn files(playbook: &Playbook, yaml: &Yaml, all_tags: &[Tag]) -> Vec<(usize, String)> {
    let scenes = playbook.scenes.iter().filter_map(|scene| Some((scene.line, scene.play.clone()?)));
    let ambience = playbook.option.ambiance.as_ref().and_then(|own| own.path.clone());
    let ambience = ambience.map(|path| (yaml.line_of("ambiance.path"), path));
    let fillers = playbook.filler_file.clone().map(|path| (yaml.line_of("interruption.fillerFile"), path));
    let played = all_tags.iter().filter_map(|tag| match tag.act() {
        Some(Act::Play(file)) => Some((yaml.line_of("llm.rules"), file)),
        _ => None,
    });
    let local = |(_, path): &(usize, String)| !template::is_template(path) && !path.contains("://");
    scenes.chain(ambience).chain(fillers).chain(played).filter(local).collect()
}

fn tags_of(text: &str) -> Vec<Tag> {
    let (mut scanner, mut scans) = (Scanner::default(), Vec::new());
    scanner.push(text, &mut scans);
    scanner.finish(&mut scans);
    let tag = |scan| if let Scan::Tag(tag) = scan { Some(tag) } else { None };
    scans.into_iter().filter_map(tag).collect()
}

fn missing_scene(playbook: &Playbook, scene: &str, line: usize, found: &mut Vec<Warning>) {
    if playbook.scene(scene).is_none() {
        let near = nearest(scene, playbook.scenes.iter().map(|own| own.id.as_str()));
        found.push(Warning { line, message: format!("there is no scene `{scene}`"), nearest: near });
    }
}

fn actions(playbook: &Playbook, yaml: &Yaml, found: &mut Vec<Warning>) {
    let everywhere = playbook.dtmf.iter().map(|(key, action)| (yaml.line_of(&format!("dtmf.{key}")), action));
    let own = playbook.scenes.iter().flat_map(|scene| scene.dtmf.values().map(|action| (scene.line, action)));
    for (line, action) in everywhere.chain(own) {
        if let DtmfAction::Goto(scene) = action {
            missing_scene(playbook, scene, line, found);
        }
    }
}

fn prompts(playbook: &Playbook, yaml: &Yaml, found: &mut Vec<Warning>) {
    let greeting = playbook.greeting.iter().map(|text| (yaml.line_of("greeting"), text.as_str()));
    let scenes = playbook.scenes.iter().map(|scene| (scene.line, scene.prompt.as_str()));
    for (line, text) in greeting.chain(scenes) {
        if let Err(error) = template::check(text) {
            let message = format!("not a template: {}; it is taken as written", error.message);
            let line = line + error.line.saturating_sub(1);
            found.push(Warning { line, message, nearest: None });
        }
    }
    for scene in &playbook.scenes {
        let is_template = template::is_template(&scene.prompt);
        // A prompt explains tags, in backticks too; only the scenes it names must exist.
        for tag in tags_of(&scene.prompt.replace('`', " ")) {
            if let Some(Act::Goto(name)) = tag.act().filter(|_| !is_template) {
                missing_scene(playbook, &name, scene.line, found);
            }
        }
    }
}
