//! The documentation names what there is.

use active_call::config::{
    ApiKey, Auth, Config, EgressTable, HandlerTable, RecordTable, Recording, RegisterUser, Rewrite, Rule,
    SipTable, SipUser, UserCredential,
};

const CONFIGURATION: &str = include_str!("../../../../docs/configuration.md");
const API: &str = include_str!("../../../../docs/api.md");

#[test]
fn every_key_of_the_configuration_is_described() {
    let tables = [
        Config::KEYS,
        Auth::KEYS,
        ApiKey::KEYS,
        EgressTable::KEYS,
        HandlerTable::KEYS,
        Rule::KEYS,
        RegisterUser::KEYS,
        UserCredential::KEYS,
        RecordTable::KEYS,
        Recording::KEYS,
        Rewrite::KEYS,
        SipTable::KEYS,
        SipUser::KEYS,
    ];
    for key in tables.into_iter().flatten() {
        let key = key.strip_prefix("r#").unwrap_or(key);
        assert!(CONFIGURATION.contains(&format!("`{key}`")), "docs/configuration.md does not name `{key}`");
    }
}

#[test]
fn every_flag_is_described() {
    use clap::CommandFactory;
    for argument in active_call::cli::Cli::command().get_arguments() {
        if let Some(flag) = argument.get_long() {
            assert!(
                CONFIGURATION.contains(&format!("`--{flag}")),
                "docs/configuration.md does not name --{flag}"
            );
        }
    }
}

#[test]
fn every_command_and_event_is_described() {
    for schema in [schemars::schema_for!(protocol::Command), schemars::schema_for!(protocol::Event)] {
        for variant in schema.get("oneOf").and_then(|all| all.as_array()).unwrap() {
            let tag = variant["properties"].get("command").or_else(|| variant["properties"].get("event"));
            let name = tag.and_then(|tag| tag["const"].as_str().or(tag["enum"][0].as_str())).unwrap();
            assert!(API.contains(&format!("`{name}`")), "docs/api.md does not name `{name}`");
        }
    }
}

#[test]
fn every_path_is_described() {
    for (_, path, _) in active_call::http::paths() {
        let path = path.replace("{*", "{");
        assert!(API.contains(&format!("`{path}`")) || API.contains(&format!(" {path}`")), "{path}");
    }
}
