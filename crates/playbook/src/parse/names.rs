//! Names in a playbook that nothing stands behind: tags, scenes nobody enters, variables nobody sets.

use std::collections::BTreeSet;

use super::lint::Passage;
use crate::error::{Warning, nearest};
use crate::playbook::{DtmfAction, Playbook};
use crate::tags::{Act, TAGS, Tag};
use crate::template;

/// Variables that every call has.
const BUILT_IN: &[&str] =
    &["session_id", "call_type", "start_time", "caller", "callee", "request_uri", "sip"];

/// Tags of scenes, which stand beside those of answers.
const SCENE_TAGS: &[&str] = &["dtmf", "play", "followup"];

/// Tags that are spelled almost like one of ours, with their line in `markdown`.
pub(super) fn tags(markdown: &str, found: &mut Vec<Warning>) {
    for (index, text) in markdown.lines().enumerate() {
        for after in text.split('<').skip(1) {
            let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'));
            let (name, rest) = after.split_at(end.unwrap_or(after.len()));
            let ends = rest.starts_with(|c: char| c.is_whitespace() || c == '/' || c == '>');
            let known = || TAGS.iter().map(|row| row.name).chain(SCENE_TAGS.iter().copied());
            if name.len() < 3 || !ends || known().any(|own| own.eq_ignore_ascii_case(name)) {
                continue;
            }
            if let Some(near) = nearest(name, known()) {
                let message = format!("unknown tag `<{name}>`");
                found.push(Warning { line: index + 1, message, nearest: Some(near) });
            }
        }
    }
}

/// Scenes that no key and no text of the playbook leads to.
pub(super) fn scenes(playbook: &Playbook, all_tags: &[(usize, Tag)], found: &mut Vec<Warning>) {
    let mut entered: BTreeSet<String> = BTreeSet::new();
    let keys = playbook.dtmf.values().chain(playbook.scenes.iter().flat_map(|scene| scene.dtmf.values()));
    for action in keys {
        if let DtmfAction::Goto(scene) = action {
            entered.insert(scene.clone());
        }
    }
    for (_, tag) in all_tags {
        if let Some(Act::Goto(scene)) = tag.act() {
            if template::is_template(&scene) {
                return;
            }
            entered.insert(scene);
        }
    }
    // A model is told of scenes in words, in the prompts of others.
    let model = playbook.llm.as_ref().is_some_and(|llm| llm.provider.as_deref() != Some("rules"));
    let model = model || playbook.option.realtime.is_some();
    let told = |id: &str| {
        let others = playbook.scenes.iter().filter(|scene| scene.id != id);
        model && others.into_iter().any(|scene| has_word(&scene.prompt, id))
    };
    for scene in playbook.scenes.iter().skip(1) {
        if !entered.contains(&scene.id) && !told(&scene.id) {
            let message = format!("nothing leads to scene `{}`", scene.id);
            found.push(Warning { line: scene.line, message, nearest: None });
        }
    }
}

/// Variables in templates that nothing sets.
pub(super) fn variables(
    playbook: &Playbook,
    all_tags: &[(usize, Tag)],
    passages: &[Passage<'_>],
    found: &mut Vec<Warning>,
) {
    let mut known: BTreeSet<String> = BUILT_IN.iter().map(|name| (*name).to_owned()).collect();
    known.extend(playbook.option.extra.iter().flat_map(|extra| extra.keys().cloned()));
    known.extend(playbook.dtmf_collectors.keys().cloned());
    known.extend(playbook.tools.http.iter().filter_map(|tool| tool.var.clone()));
    for (_, tag) in all_tags {
        match tag.act() {
            Some(Act::SetVar { key, .. }) => known.insert(key),
            Some(Act::Http { var: Some(var), .. } | Act::Collect { var, .. }) => known.insert(var),
            _ => false,
        };
    }
    let by_function = playbook.tools.built_in.iter().any(|name| ["set_var", "collect"].contains(name));
    let told = |name: &str| {
        by_function && playbook.scenes.iter().any(|scene| has_word(&outside(&scene.prompt), name))
    };
    for passage in passages {
        for name in template::names(passage.text) {
            if known.contains(&name) || told(&name) {
                continue;
            }
            let near = nearest(&name, known.iter().map(String::as_str));
            let message = format!(
                "nothing in this playbook sets `{name}`; a call may bring it, or give it under `extra`"
            );
            let at = passage.text.lines().position(|own| has_word(own, &name)).unwrap_or(0);
            found.push(Warning { line: passage.line_of(at), message, nearest: near });
        }
    }
}

/// Whether `word` stands in `text` on its own.
fn has_word(text: &str, word: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).and_then(|head| head.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|tail| tail.chars().next());
        !before.is_some_and(inner) && !after.is_some_and(inner)
    })
}

/// The text without what stands in braces.
fn outside(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut depth = 0_usize;
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            c if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    plain
}
