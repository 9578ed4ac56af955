//! What the types of the configuration cannot say: ranges, and keys that belong together.

use std::time::Duration;

use protocol::limits;
use protocol::option::CallOption;
use protocol::value::Headers;

use crate::access::keys;
use crate::egress::guard::Allowed;
use crate::inbound::relative;
use crate::logging::level;
use crate::outbound;
use crate::sinks::archive;
use crate::sinks::objects::Objects;

use super::words::{CodecName, Database, HandlerKind, Pattern, RecordSink, TransferPolicy, Vendor};
use super::{Config, HandlerTable, RecordTable, ephemeral, openness};

/// Addresses of servers for ICE begin so (RFC 7064, RFC 7065).
const ICE_SCHEMES: &[&str] = &["stun:", "stuns:", "turn:", "turns:"];
/// A password of a TURN server shall last at least as long as a short call.
const SHORTEST_TTL: Duration = Duration::from_secs(60);
/// Nobody waits longer for an answer: a longer span was meant in milliseconds.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// A finding at a key.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// Steps to the key.
    pub(crate) path: Vec<String>,
    /// What is wrong.
    pub(crate) message: String,
    /// What to write instead.
    pub(crate) help: Option<String>,
    /// The server does not start with it.
    pub(crate) fatal: bool,
}

impl Finding {
    pub(super) fn new(path: &str, message: impl Into<String>) -> Self {
        let path = path.split('.').map(str::to_owned).collect();
        Finding { path, message: message.into(), help: None, fatal: true }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn only_warn(mut self) -> Self {
        self.fatal = false;
        self
    }
}

/// Everything wrong with `config`, what stops the start first.
pub(crate) fn findings(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    log(config, &mut findings);
    ports(config, &mut findings);
    numbers(config, &mut findings);
    auth(config, &mut findings);
    handler(config.handler.as_ref(), &mut findings);
    call_record(config, &mut findings);
    recording(config, &mut findings);
    sounds(config, &mut findings);
    names(config, &mut findings);
    accounts(config, &mut findings);
    inbound_policy(config, &mut findings);
    transports(config, &mut findings);
    ports_apart(config, &mut findings);
    codecs(config, &mut findings);
    ice_servers(config, &mut findings);
    findings.sort_by_key(|finding| !finding.fatal);
    findings
}

fn log(config: &Config, findings: &mut Vec<Finding>) {
    if let Some(Err(level::NoLevel { message, help })) = config.log_level.as_deref().map(level::filter) {
        findings.push(Finding::new("log_level", message).help(help));
    }
}

fn ports(config: &Config, findings: &mut Vec<Finding>) {
    let (start, end) = (config.rtp_start_port, config.rtp_end_port.unwrap_or(ephemeral::USUAL_LAST));
    if start < 1024 {
        findings.push(
            Finding::new("rtp_start_port", format!("{start} is below 1024")).help("the usual value is 12000"),
        );
    } else if start % 2 != 0 {
        let even = start.saturating_add(1);
        findings.push(
            Finding::new("rtp_start_port", format!("{start} is odd, and RTP takes even ports"))
                .help(format!("write {even}")),
        );
    }
    if end <= start {
        findings.push(Finding::new(
            "rtp_end_port",
            format!("{end} is not above rtp_start_port, which is {start}"),
        ));
    }
    // The usual range is so wide that SIP's port mostly is one of it, and RTP then does without that one.
    let (port, usual) = (config.udp_port, Config::default());
    let said = config.rtp_end_port.is_some() || start != usual.rtp_start_port;
    let own = port != usual.udp_port && said;
    if own && (start..=end).contains(&port) {
        let message = format!("{port} is SIP's, and lies among the ports of RTP, {start} to {end}");
        findings.push(Finding::new("udp_port", message).help("write a port beside them").only_warn());
    }
}

fn numbers(config: &Config, findings: &mut Vec<Finding>) {
    const RATES: &[u32] = &[8_000, 16_000, 24_000, 48_000];
    for (key, rate) in
        [("ws_pcm_out_rate", config.ws_pcm_out_rate), ("recording.samplerate", config.recording.samplerate)]
    {
        if !RATES.contains(&rate) {
            let finding = Finding::new(key, format!("{rate} Hz is not one of the rates of a call"));
            findings.push(finding.help("write 8000, 16000, 24000 or 48000"));
        }
    }
    if config.max_calls == 0 {
        findings.push(Finding::new("max_calls", "0 would refuse every call").help("the usual value is 2000"));
    }
    if config.media_threads > 256 {
        let message = format!("{} threads are more than 256", config.media_threads);
        findings.push(Finding::new("media_threads", message).help("0 takes one for each processor"));
    }
    for (key, span) in
        [("accept_timeout", config.accept_timeout), ("webhook_timeout", config.webhook_timeout)]
    {
        if span.0.is_zero() {
            findings.push(Finding::new(key, "no time at all").help("write a span such as \"50s\""));
        } else if span.0 > LONGEST_WAIT {
            let finding =
                Finding::new(key, format!("{} s is longer than any caller waits", span.0.as_secs()));
            findings
                .push(finding.help("a bare number counts seconds; write a span such as \"50s\"").only_warn());
        }
    }
    if config.external_ip.is_some_and(|ip| ip.is_unspecified()) {
        let finding = Finding::new("external_ip", "no peer can send to this address");
        findings.push(finding.help("write the address that peers reach, or leave the key out"));
    }
}

fn auth(config: &Config, findings: &mut Vec<Finding>) {
    for (index, key) in config.auth.keys.iter().enumerate() {
        let path = format!("auth.keys.{index}");
        if let Err(error) = keys::parse_hash(&key.hash) {
            findings.push(Finding::new(&path, error));
        }
        if key.scopes.is_empty() {
            let finding = Finding::new(&path, "a key without \"scopes\" opens nothing");
            findings.push(finding.help("write scopes = [\"read\"], [\"control\"] or [\"admin\"]"));
        }
        let expires = key.expires.as_deref();
        if expires.is_some_and(|time| chrono::DateTime::parse_from_rfc3339(time).is_err()) {
            let finding = Finding::new(&path, "\"expires\" is no time");
            findings.push(finding.help("write one such as \"2030-01-01T00:00:00Z\""));
        }
    }
    for allowed in &config.egress.allow {
        if let Err(error) = Allowed::parse(allowed) {
            findings.push(Finding::new("egress.allow", error));
        }
    }
    for origin in &config.auth.origins {
        let known = ["http://", "https://"].iter().any(|scheme| origin.starts_with(scheme));
        if origin != "*" && origin != "null" && !known {
            let finding = Finding::new("auth.origins", format!("\"{origin}\" is no origin"));
            findings.push(finding.help("write one such as \"https://app.example\""));
        }
    }
    if config.http_tls_cert_file.is_some() != config.http_tls_key_file.is_some() {
        let (there, missing) = if config.http_tls_cert_file.is_some() {
            ("http_tls_cert_file", "http_tls_key_file")
        } else {
            ("http_tls_key_file", "http_tls_cert_file")
        };
        findings.push(Finding::new(there, format!("needs \"{missing}\" too")));
    }
}

fn handler(handler: Option<&HandlerTable>, findings: &mut Vec<Finding>) {
    let Some(handler) = handler else { return };
    match handler.r#type {
        None => findings
            .push(Finding::new("handler", "has no \"type\"").help("write \"webhook\" or \"playbook\"")),
        Some(HandlerKind::Webhook) => webhook(handler, findings),
        Some(HandlerKind::Playbook) => {
            for (index, rule) in handler.rules.iter().enumerate() {
                if rule.playbook.is_empty() {
                    let path = format!("handler.rules.{index}");
                    findings.push(Finding::new(&path, "a rule without a \"playbook\" leads nowhere"));
                }
            }
            if handler.rules.is_empty() && handler.default.is_none() {
                let finding =
                    Finding::new("handler", "has neither \"default\" nor rules, so it refuses every call");
                findings.push(finding.help("write default = \"hello.md\""));
            }
        }
    }
}

fn webhook(handler: &HandlerTable, findings: &mut Vec<Finding>) {
    let playbooks =
        [("handler.default", handler.default.is_some()), ("handler.rules", !handler.rules.is_empty())];
    for (key, _) in playbooks.iter().filter(|(_, given)| *given) {
        let finding = Finding::new(key, "counts for nothing: the webhook takes every call");
        findings.push(finding.help("write type = \"playbook\", or leave it out").only_warn());
    }
    let urls: Vec<&String> = handler.url.iter().chain(&handler.urls).collect();
    if urls.is_empty() {
        findings.push(Finding::new("handler", "a webhook needs \"url\" or \"urls\""));
    }
    for url in urls {
        let valid = reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !valid {
            let path = if handler.url.as_ref() == Some(url) { "handler.url" } else { "handler.urls" };
            findings.push(Finding::new(path, format!("\"{url}\" is no http or https address")));
        }
    }
    if !["POST", "GET", "PUT"].contains(&handler.method.to_ascii_uppercase().as_str()) {
        let finding =
            Finding::new("handler.method", format!("\"{}\" is no method of a webhook", handler.method));
        findings.push(finding.help("write \"POST\""));
    }
    headers("handler.headers", &handler.headers, findings);
}

fn call_record(config: &Config, findings: &mut Vec<Finding>) {
    let Some(table) = &config.callrecord else { return };
    if let Database::Postgres(address) = &table.database
        && let Err(error) = archive::rows(table, address)
    {
        let finding = Finding::new("callrecord.database", error);
        findings.push(finding.help("write postgres://user:password@host/name"));
    }
    match table.r#type {
        None => findings.push(Finding::new("callrecord", "has no \"type\"").help("write type = \"local\"")),
        Some(RecordSink::Local) if table.root.as_os_str().is_empty() => {
            findings.push(Finding::new("callrecord.root", "is empty").help("write a folder"));
        }
        Some(RecordSink::Local) => {}
        Some(RecordSink::S3) => {
            if table.bucket.as_deref().unwrap_or_default().is_empty() {
                findings.push(Finding::new("callrecord", "records to an object store need \"bucket\""));
            } else if let Some(Err(why)) = object_address(table) {
                findings.push(Finding::new("callrecord.endpoint", why));
            } else if let Some(missing) = missing_key(table) {
                let finding = Finding::new("callrecord", format!("the object store needs \"{missing}\""));
                findings.push(finding.help("write it as \"${NAME}\", from the environment"));
            } else if let Err(error) = Objects::new(table) {
                findings.push(Finding::new("callrecord", format!("the object store: {error}")));
            }
        }
        Some(RecordSink::Http) => {
            let url = table.url.as_deref().unwrap_or_default();
            if !reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
                let message = "records to a server need an http or https address in \"url\"";
                findings.push(Finding::new("callrecord", message));
            }
            headers("callrecord.headers", &table.headers, findings);
        }
    }
}

/// The key that an object store asks for and that is not there.
fn missing_key(table: &RecordTable) -> Option<&'static str> {
    let both = [("access_key", &table.access_key), ("secret_key", &table.secret_key)];
    let needed = if table.vendor == Some(Vendor::Gcp) { &both[1..] } else { &both[..] };
    let missing = needed.iter().find(|(_, key)| key.as_ref().is_none_or(|key| key.expose().is_empty()));
    missing.map(|(name, _)| *name)
}

/// Whether the endpoint of an object store is an address; two vendors also take its host alone.
fn object_address(table: &RecordTable) -> Option<Result<(), String>> {
    let endpoint = table.endpoint.as_deref()?;
    let bare = matches!(table.vendor, Some(Vendor::Aliyun | Vendor::Tencent)) && !endpoint.contains("://");
    (!bare).then(|| protocol::read::address(endpoint, &["http", "https"]))
}

fn recording(config: &Config, findings: &mut Vec<Finding>) {
    if config.recording.auto_start && !config.recording.enabled {
        let finding =
            Finding::new("recording.auto_start", "counts for nothing: recording.enabled is not set");
        findings.push(finding.help("write enabled = true beside it, or leave it out").only_warn());
    }
    if config.recording.enabled && !config.recording.auto_start {
        let finding =
            Finding::new("recording.enabled", "records nothing of its own: recording.auto_start is not set");
        let help = "write auto_start = true beside it, or leave it out: who asks for a recording gets one";
        findings.push(finding.help(help).only_warn());
    }
    let Some(pattern) = config.recording.filename_pattern.as_deref().filter(|own| !own.is_empty()) else {
        return;
    };
    if let Err(error) = relative(&config.recording.path, &pattern.replace("{id}", "id")) {
        findings.push(Finding::new("recording.filename_pattern", error.to_string()));
    }
}

/// The numbers of the options that every call gets from here.
fn sounds(config: &Config, findings: &mut Vec<Finding>) {
    let option = CallOption { ambiance: config.ambiance.clone(), ..CallOption::default() };
    for outside in limits::outside(&option) {
        findings.push(Finding::new(outside.key, outside.to_string()));
    }
}

/// What we call ourselves, and what others are called instead.
fn names(config: &Config, findings: &mut Vec<Finding>) {
    if reqwest::header::HeaderValue::from_str(&config.useragent).is_err() {
        let finding = Finding::new("useragent", "holds a character that no header may hold");
        findings.push(finding.help("write letters, digits and signs of ASCII on one line"));
    }
    for (index, rule) in config.rewrites.iter().enumerate() {
        let path = format!("rewrites.{index}");
        if rule.r#match.is_none() {
            let finding = Finding::new(&path, "a rule without \"match\" is never used");
            findings.push(finding.help("write match = \"^sip:0\" or another regular expression"));
        }
        if rule.rewrite.is_empty() {
            let finding = Finding::new(&path, "a rule without \"rewrite\" leads nowhere");
            findings.push(finding.help("write rewrite = \"sip:gateway.example.com\""));
        }
    }
}

fn headers(path: &str, headers: &Headers, findings: &mut Vec<Finding>) {
    for (name, value) in headers {
        let name_ok = reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_ok();
        if !name_ok || reqwest::header::HeaderValue::from_str(value).is_err() {
            findings.push(Finding::new(path, format!("\"{name}\" is no valid header")));
        }
    }
}

fn accounts(config: &Config, findings: &mut Vec<Finding>) {
    for (index, user) in config.register_users.iter().enumerate().filter(|(_, user)| !user.disabled) {
        let path = format!("register_users.{index}");
        for (key, value) in [("server", &user.server), ("username", &user.username)] {
            if value.is_empty() {
                findings.push(Finding::new(&path, format!("an account needs \"{key}\"")));
            }
        }
        let uri = outbound::proxy_uri(&user.server).filter(|_| !user.username.contains(['@', ' ', '<', '>']));
        if uri.is_none() && !user.server.is_empty() && !user.username.is_empty() {
            let finding = Finding::new(&path, "\"username\" at \"server\" is no SIP address");
            findings.push(finding.help("write server = \"pbx.example.com\" and username = \"1001\""));
        }
    }
}

fn inbound_policy(config: &Config, findings: &mut Vec<Finding>) {
    for text in &config.sip.trusted {
        match Allowed::parse(text) {
            Ok(Allowed::Net(..)) => {}
            Ok(_) => {
                let finding = Finding::new("sip.trusted", format!("\"{text}\" is no network"));
                findings.push(finding.help("write one such as \"203.0.113.0/24\""));
            }
            Err(error) => findings.push(Finding::new("sip.trusted", error)),
        }
    }
    for (index, user) in config.sip.users.iter().enumerate() {
        if user.username.is_empty() || user.password.expose().is_empty() {
            let path = format!("sip.users.{index}");
            findings.push(Finding::new(&path, "needs \"username\" and \"password\""));
        }
    }
    if config.sip.digest.is_empty() {
        let finding = Finding::new("sip.digest", "leaves no way to prove a password");
        findings.push(finding.help("write one or both of \"SHA-256\" and \"MD5\", or leave it out"));
    }
    for Pattern(pattern) in &config.sip.destinations {
        if let Some(stranger) = openness::stranger(pattern) {
            let finding = Finding::new("sip.destinations", format!("\"{pattern}\" fits {stranger} too"));
            let help = "say where the host begins and ends, as in '@pbx\\.example\\.com([:;][^@]*)?$'";
            findings.push(finding.help(help).only_warn());
        }
    }
    if config.sip.transfer_requests == TransferPolicy::Accept && config.sip.destinations.is_empty() {
        let finding =
            Finding::new("sip.transfer_requests", "whoever calls could have any number called at our cost");
        findings.push(finding.help("list in sip.destinations whom calls may go to, or write \"ask\""));
    }
}

fn transports(config: &Config, findings: &mut Vec<Finding>) {
    let pair = [("tls_cert_file", &config.tls_cert_file), ("tls_key_file", &config.tls_key_file)];
    for (key, port) in [("tls_port", config.tls_port), ("wss_port", config.wss_port)] {
        for (file, _) in pair.iter().filter(|(_, path)| port.is_some() && path.is_none()) {
            findings.push(Finding::new(key, format!("needs \"{file}\"")));
        }
    }
    if let [(there, Some(_)), (missing, None)] | [(missing, None), (there, Some(_))] = pair {
        findings.push(Finding::new(there, format!("needs \"{missing}\" too")));
    }
    if !config.tls_verify && config.tls_ca_file.is_some() {
        let finding = Finding::new("tls_ca_file", "counts for nothing beside tls_verify = false");
        findings.push(finding.help("leave tls_verify out").only_warn());
    }
    if let Some(proxy) = &config.outbound_proxy
        && outbound::proxy_uri(proxy).is_none()
    {
        let finding = Finding::new("outbound_proxy", format!("\"{proxy}\" is no SIP URI"));
        findings.push(finding.help("write one such as \"sip:proxy.example.com;transport=tcp\""));
    }
}

/// TCP ports that are asked for twice. HTTP may be sent elsewhere by a flag, so that is only warned about.
fn ports_apart(config: &Config, findings: &mut Vec<Finding>) {
    let tcp = if config.tcp_port.is_some() { "tcp_port" } else { "udp_port" };
    let ports = [
        (tcp, config.tcp_port.or(Some(config.udp_port))),
        ("tls_port", config.tls_port),
        ("ws_port", config.ws_port),
        ("wss_port", config.wss_port),
    ];
    let asked: Vec<(&str, u16)> =
        ports.iter().filter_map(|(key, port)| Some((*key, port.filter(|port| *port != 0)?))).collect();
    for (nth, (key, port)) in asked.iter().enumerate() {
        if let Some((other, _)) = asked.iter().take(nth).find(|(_, taken)| taken == port) {
            let finding = Finding::new(key, format!("{port} is the TCP port of \"{other}\" already"));
            findings.push(finding.help("write another port"));
        }
    }
    let http = config.http_addr;
    let ours = config.addr.unwrap_or(http.ip());
    let overlap = http.ip() == ours || http.ip().is_unspecified() || ours.is_unspecified();
    if let Some((other, port)) = asked.iter().find(|(_, port)| overlap && *port == http.port()) {
        let finding = Finding::new("http_addr", format!("{port} is the TCP port of \"{other}\" too"));
        findings.push(finding.help("write another port").only_warn());
    }
}

fn ice_servers(config: &Config, findings: &mut Vec<Finding>) {
    for server in &config.ice_servers {
        if let Some(url) =
            server.urls.iter().find(|url| !ICE_SCHEMES.iter().any(|scheme| url.starts_with(scheme)))
        {
            let finding = Finding::new("ice_servers", format!("\"{url}\" is no address of such a server"));
            let help = "write one such as \"stun:host:3478\" or \"turn:host:3478?transport=udp\"";
            findings.push(finding.help(help).only_warn());
        }
        if server.secret.is_some() && server.credential.is_some() {
            let finding = Finding::new("ice_servers", "has both \"secret\" and \"credential\"");
            let help = "write \"secret\" for passwords that last a while, or \"credential\" for a fixed one";
            findings.push(finding.help(help));
        }
        if server.secret.is_some() && server.ttl.0 < SHORTEST_TTL {
            let finding =
                Finding::new("ice_servers", "passwords of a \"ttl\" below a minute end before a call does");
            findings.push(finding.help("write ttl = \"1h\" or longer"));
        }
    }
}

fn codecs(config: &Config, findings: &mut Vec<Finding>) {
    let sounds = config.codecs.iter().filter(|c| !matches!(c, CodecName::TelephoneEvent | CodecName::G729));
    if sounds.count() == 0 {
        let finding = Finding::new("codecs", "holds no codec that this server has");
        findings.push(finding.help("write [\"pcmu\", \"pcma\", \"g722\", \"opus\", \"telephone_event\"]"));
    }
}
