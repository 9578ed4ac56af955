//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::config::words::{CodecName, HandlerKind, Scope};
use crate::config::{Config, HandlerTable};

/// A voice agent on the telephone: SIP, WebSocket and playbooks.
#[derive(Clone, Debug, Parser)]
#[command(name = "active-call", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; absent: serve.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve.
    #[command(flatten)]
    pub serve: Serve,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Take calls (this is also what happens without a subcommand).
    Serve(Box<Serve>),
    /// Check configuration and playbooks without starting; unknown keys are errors.
    Check(Check),
    /// Play scenario files against their playbooks on a simulated clock; fails when one does.
    Test(Test),
    /// Talk with a playbook by text.
    Chat(Chat),
    /// Make an API key, and print it with the lines of the configuration that let it in.
    Key(Key),
    /// Print what happened in a call, SIP messages and events on one line of time, from its event log.
    Explain(Explain),
    /// Print the description of the HTTP API (OpenAPI 3.1).
    Openapi(Openapi),
    /// Start the server with the offline demo playbook and have a built-in caller phone it.
    Demo(Demo),
}

/// Flags of `serve`. They win over the configuration file.
#[derive(Args, Clone, Debug, Default)]
pub struct Serve {
    /// Configuration file. Absent: active-call.toml in the working folder if it is there, else defaults.
    #[arg(long, value_name = "PATH")]
    pub conf: Option<PathBuf>,
    /// Where HTTP and WebSocket listen.
    #[arg(long, value_name = "IP:PORT", value_parser = parse_listen)]
    pub http: Option<SocketAddr>,
    /// Where SIP listens: a port, an address, or both.
    #[arg(long, value_name = "PORT|IP:PORT|IP")]
    pub sip: Option<SipAddress>,
    /// Who takes inbound calls: the address of a webhook, or a playbook file.
    #[arg(long, value_name = "URL|FILE.md", value_parser = parse_handler)]
    pub handler: Option<Handler>,
    /// Place a call to this URI after the start.
    #[arg(long, value_name = "SIP-URI", value_parser = call::dialable)]
    pub call: Option<String>,
    /// Address that peers are told to send to.
    #[arg(long, value_name = "IP")]
    pub external_ip: Option<IpAddr>,
    /// Codecs to negotiate, best first.
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', value_parser = parse_codec)]
    pub codecs: Option<Vec<CodecName>>,
    /// Fetch offline models: sensevoice, supertonic or all.
    #[arg(long, value_name = "NAME")]
    pub download_models: Option<String>,
    /// Folder of offline models, ./models when not given.
    #[arg(long, value_name = "DIR")]
    pub models_dir: Option<PathBuf>,
    /// Stop after --download-models.
    #[arg(long)]
    pub exit_after_download: bool,
    /// Print the vendors that can be named as `provider`, and stop.
    #[arg(long)]
    pub list_providers: bool,
}

/// Arguments of `check`.
#[derive(Args, Clone, Debug)]
pub struct Check {
    /// A configuration (`.toml`) and playbooks (`.md`), in any order.
    #[arg(value_name = "CONF|PLAYBOOK")]
    pub files: Vec<PathBuf>,
}

/// Arguments of `test`.
#[derive(Args, Clone, Debug)]
pub struct Test {
    /// Files of scenarios, in YAML.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Let the playbook's own model answer scenarios without `model` steps, and judge.
    #[arg(long)]
    pub live: bool,
    /// Only scenarios whose name has this text in it, in any case.
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Write the results as JUnit XML too.
    #[arg(long, value_name = "PATH")]
    pub junit: Option<PathBuf>,
}

/// Arguments of `chat`.
#[derive(Args, Clone, Debug)]
pub struct Chat {
    /// The playbook.
    #[arg(value_name = "PLAYBOOK")]
    pub playbook: PathBuf,
    /// Configuration that says what may be reached. Absent: as for `serve`.
    #[arg(long, value_name = "PATH")]
    pub conf: Option<PathBuf>,
}

/// Arguments of `key`.
#[derive(Args, Clone, Debug)]
pub struct Key {
    /// What the log calls its holder.
    #[arg(long, default_value = "client")]
    pub name: String,
    /// What it may do: read, control or admin.
    #[arg(long, default_value = "control", value_parser = parse_scope)]
    pub scope: Scope,
}

fn parse_scope(text: &str) -> Result<Scope, String> {
    Scope::from_word(text).ok_or_else(|| "write read, control or admin".into())
}

/// Arguments of `explain`.
#[derive(Args, Clone, Debug)]
pub struct Explain {
    /// The call's id.
    #[arg(value_name = "CALL_ID")]
    pub id: String,
    /// Configuration that says where event logs are. Absent: as for `serve`.
    #[arg(long, value_name = "PATH")]
    pub conf: Option<PathBuf>,
}

/// Arguments of `openapi`.
#[derive(Args, Clone, Debug, Default)]
pub struct Openapi {
    /// Print a page to read instead, with the commands and events of the WebSocket too (Markdown).
    #[arg(long)]
    pub reference: bool,
}

/// Arguments of `demo`.
#[derive(Args, Clone, Debug, Default)]
pub struct Demo {
    /// Where HTTP and WebSocket listen.
    #[arg(long, value_name = "IP:PORT", value_parser = parse_listen)]
    pub http: Option<SocketAddr>,
    /// Where SIP listens.
    #[arg(long, value_name = "PORT|IP:PORT|IP")]
    pub sip: Option<SipAddress>,
    /// Stop when the built-in caller has hung up, instead of going on serving.
    #[arg(long)]
    pub exit: bool,
}

/// What `--sip` names; what it leaves open stays as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SipAddress {
    /// Address to bind.
    pub ip: Option<IpAddr>,
    /// Port to bind.
    pub port: Option<u16>,
}

impl std::str::FromStr for SipAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(port) = text.parse() {
            return Ok(SipAddress { ip: None, port: Some(port) });
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(SipAddress { ip: Some(address.ip()), port: Some(address.port()) });
        }
        text.trim_matches(['[', ']'])
            .parse()
            .map(|ip| SipAddress { ip: Some(ip), port: None })
            .map_err(|_| "write a port (5060), an address (192.0.2.1) or both (192.0.2.1:5060)".into())
    }
}

/// What `--handler` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handler {
    /// A webhook.
    Webhook(String),
    /// A playbook for every call.
    Playbook(String),
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let port = text.trim_start_matches(':').parse().unwrap_or(8080_u16);
    text.parse().map_err(|_| {
        format!(
            "write an address and a port: 127.0.0.1:{port}, or 0.0.0.0:{port} for clients on other machines"
        )
    })
}

fn parse_handler(text: &str) -> Result<Handler, String> {
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("http://") || lower.starts_with("https://") {
        Ok(Handler::Webhook(text.to_owned()))
    } else if lower.ends_with(".md") {
        Ok(Handler::Playbook(text.to_owned()))
    } else {
        Err("write an http(s) address or a playbook file that ends in .md".into())
    }
}

fn parse_codec(text: &str) -> Result<CodecName, String> {
    let known: Vec<&str> = CodecName::ALL.iter().map(|codec| codec.as_str()).collect();
    CodecName::from_word(text.trim()).ok_or_else(|| format!("known codecs: {}", known.join(", ")))
}

impl Serve {
    /// Puts the flags over `config`.
    pub fn apply(&self, config: &mut Config) {
        if let Some(http) = self.http {
            config.http_addr = http;
        }
        if let Some(sip) = self.sip {
            config.addr = sip.ip.or(config.addr);
            config.udp_port = sip.port.unwrap_or(config.udp_port);
        }
        match &self.handler {
            Some(Handler::Webhook(url)) => {
                config.handler = Some(HandlerTable {
                    r#type: Some(HandlerKind::Webhook),
                    url: Some(url.clone()),
                    ..HandlerTable::default()
                });
            }
            Some(Handler::Playbook(file)) => {
                let name = in_its_folder(file, config);
                config.handler = Some(HandlerTable {
                    r#type: Some(HandlerKind::Playbook),
                    default: Some(name),
                    ..HandlerTable::default()
                });
            }
            None => {}
        }
        config.external_ip = self.external_ip.or(config.external_ip);
        if let Some(codecs) = &self.codecs {
            config.codecs.clone_from(codecs);
        }
    }

    /// The flag among those given that changes nothing, and why.
    pub fn without_effect(&self) -> Option<&'static str> {
        let why = "--models-dir has no effect: offline models are not built into this version; the providers espeak, \
                   flite and pocketsphinx need none";
        self.models_dir.as_ref().map(|_| why)
    }

    /// The flag among those given whose feature is not there, and what to do without it.
    pub fn not_built(&self) -> Option<&'static str> {
        if self.download_models.is_some() || self.exit_after_download {
            return Some(
                "--download-models: offline models are not built into this version; the providers espeak, flite \
                 and pocketsphinx work offline without a download (see --list-providers)",
            );
        }
        None
    }
}

/// Whoever starts the server may name a playbook anywhere: its folder becomes the folder of playbooks.
fn in_its_folder(file: &str, config: &mut Config) -> String {
    let path = Path::new(file);
    match (path.is_file(), path.file_name()) {
        (true, Some(name)) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            config.playbook_path = folder.unwrap_or(Path::new(".")).to_owned();
            name.to_string_lossy().into_owned()
        }
        _ => file.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(arguments: &[&str]) -> Serve {
        Cli::try_parse_from(std::iter::once(&"active-call").chain(arguments)).unwrap().serve
    }

    #[test]
    fn sip_takes_a_port_an_address_or_both() {
        let mut config = Config::default();
        serve(&["--sip", "5062"]).apply(&mut config);
        assert_eq!(config.udp_port, 5062);
        serve(&["--sip", "127.0.0.1"]).apply(&mut config);
        assert_eq!((config.addr, config.udp_port), ("127.0.0.1".parse().ok(), 5062));
        serve(&["--sip", "[::1]:5070"]).apply(&mut config);
        assert_eq!((config.addr, config.udp_port), ("::1".parse().ok(), 5070));
        assert!("nonsense".parse::<SipAddress>().is_err());
    }

    #[test]
    fn a_bare_port_of_http_is_told_what_to_write() {
        let told = parse_listen("9000").unwrap_err();
        assert!(told.contains("127.0.0.1:9000") && told.contains("0.0.0.0:9000"), "{told}");
        assert_eq!(parse_listen("[::1]:9000"), Ok("[::1]:9000".parse().unwrap()));
    }

    #[test]
    fn handler_is_a_webhook_or_a_playbook_and_nothing_else() {
        assert_eq!(parse_handler("HTTP://h/x"), Ok(Handler::Webhook("HTTP://h/x".into())));
        assert_eq!(parse_handler("hello.md"), Ok(Handler::Playbook("hello.md".into())));
        assert!(parse_handler("hello.txt").is_err());
    }

    #[test]
    fn codecs_are_a_list_in_order() {
        let mut config = Config::default();
        serve(&["--codecs", "g722, PCMU,2833"]).apply(&mut config);
        assert_eq!(config.codecs, [CodecName::G722, CodecName::Pcmu, CodecName::TelephoneEvent]);
    }

    #[test]
    fn a_call_goes_to_a_uri_and_to_nothing_else() {
        assert_eq!(serve(&["--call", "bob@192.0.2.1"]).call.as_deref(), Some("sip:bob@192.0.2.1"));
        assert_eq!(serve(&["--call", "tel:+15550100"]).call.as_deref(), Some("tel:+15550100"));
        for wrong in ["notauri", "", "sip:", "sip:bob@", "tel:", "sip:a b@h"] {
            let refused = Cli::try_parse_from(["active-call", "--call", wrong]).unwrap_err();
            assert!(refused.to_string().contains("--call"), "{wrong:?}: {refused}");
        }
    }

    #[test]
    fn what_is_not_built_says_so() {
        assert!(serve(&["--download-models", "all"]).not_built().unwrap().contains("models"));
        assert_eq!(serve(&[]).not_built(), None);
        let folder = serve(&["--models-dir", "models"]);
        assert!(folder.not_built().is_none() && folder.without_effect().unwrap().contains("--models-dir"));
        assert_eq!(serve(&[]).without_effect(), None);
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
