//! What a playbook wants and the configuration does not let it have: calls would go on without it, so it is told
//! before.

use playbook::{Playbook, Warning};
use url::Url;

use crate::config::Config;
use crate::egress::guard::Guard;
use crate::policy::may_call;

/// What calls of `playbook` would be refused under `config`: programs of tools, addresses on private networks, and
/// parties that may not be called. Templates and names of hosts are not known before a call.
pub(crate) fn wishes(playbook: &Playbook, config: &Config) -> Vec<Warning> {
    let tools = &playbook.tools;
    let programs = tools.mcp.iter().filter_map(|server| Some((&server.name, server.command.first()?)));
    let unlisted =
        programs.filter(|(_, program)| !config.mcp_programs.contains(program)).map(|(name, program)| {
            let why = "may not be started; add it to mcp_programs of the configuration";
            ("mcp", format!("`mcp.{name}`: {program:?} {why}"))
        });
    let guard = Guard::new(&config.egress.allow);
    let posthook = playbook.posthook.iter().map(|posthook| ("posthook.url", "", posthook.url.as_str()));
    let http = tools.http.iter().map(|tool| ("tools", tool.spec.name.as_str(), tool.url.as_str()));
    let mcp = tools.mcp.iter();
    let mcp = mcp.filter_map(|server| Some(("mcp", server.name.as_str(), server.url.as_deref()?)));
    let walled = posthook.chain(http).chain(mcp).filter_map(|(key, name, address)| {
        let refused = guard.literal(&Url::parse(address).ok()?).err()?;
        let place = if name.is_empty() { key.to_owned() } else { format!("{key}.{name}.url") };
        Some((key, format!("`{place}`: {refused}")))
    });
    let targets = playbook.allowed.targets();
    let strangers = targets.filter(|target| !may_call(&config.sip, target)).map(|target| {
        let why = "no pattern of sip.destinations in the configuration matches it";
        ("transfers", format!("{target:?} may not be called: {why}"))
    });
    unlisted.chain(walled).chain(strangers).map(|(key, why)| playbook.at(key, why)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read;

    fn wished(front: &str, config: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, config).unwrap();
        let config = read::file(&path, &|_| None).unwrap().config;
        let text = format!("---\n{front}\n---\n# Scene: main\nHello.\n");
        let playbook = Playbook::parse(&text, &|_| None).unwrap();
        wishes(&playbook, &config).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_the_configuration_forbids_is_told_and_what_it_allows_is_not() {
        let front = "llm: { provider: openai }\ntransfers: [\"sip:desk@pbx.example\", \"sip:9@evil.example\"]\n\
                     posthook: { url: \"http://10.0.0.5/report\" }\n\
                     mcp:\n  - { name: files, command: [\"filer\"] }\n  - { name: crm, url: \"http://10.0.0.6/mcp\" }";
        let told = wished(front, "[sip]\ndestinations = ['^sip:[^@]+@pbx\\.example$']\n");
        for part in [
            "line 5: `mcp.files`: \"filer\" may not be started",
            "line 4: `posthook.url`: ",
            "line 5: `mcp.crm.url`: ",
            "line 3: \"sip:9@evil.example\" may not",
        ] {
            assert!(told.iter().any(|told| told.starts_with(part)), "{part}: {told:?}");
        }
        assert_eq!(told.len(), 4, "{told:?}");
        let open = "mcp_programs = [\"filer\"]\n[egress]\nallow = [\"10.0.0.0/8\"]\n";
        assert_eq!(wished(front, open), [""; 0]);
    }
}
