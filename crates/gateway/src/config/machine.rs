//! What the configuration names on this machine: addresses, files and folders. Looked at once, when a file is read.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use crate::http::Tls;
use crate::{files, sip_tls};

use super::Config;
use super::check::{Finding, findings};
use super::ephemeral::{self, Ephemeral};
use super::words::{Database, RecordSink};

/// Everything wrong with `config` on this machine, what stops the start first. What may come later, such as a folder on
/// another machine, is only warned about.
pub(crate) fn findings_here(config: &Config) -> Vec<Finding> {
    let mut found = findings(config);
    addresses(config, &mut found);
    certificates(config, &mut found);
    named_files(config, &mut found);
    folders(config, &mut found);
    missing_folders(config, &mut found);
    shared_ports(config, &mut found);
    found.sort_by_key(|finding| !finding.fatal);
    found
}

/// No call could be taken at an address that this machine does not have. Those of SIP and HTTP may be given by flags
/// instead, and are tried again when the server starts.
fn addresses(config: &Config, findings: &mut Vec<Finding>) {
    let foreign = |ip: IpAddr| {
        let tried = UdpSocket::bind(SocketAddr::new(ip, 0));
        tried.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
    };
    let told = |key: &str, ip: IpAddr| {
        let finding = Finding::new(key, format!("{ip} is no address of this machine"));
        finding.help(format!("write one that it has, or \"{}\" for all", Ipv4Addr::UNSPECIFIED))
    };
    if let Some(ip) = config.rtp_bind_ip.filter(|ip| foreign(*ip)) {
        findings.push(told("rtp_bind_ip", ip));
    }
    for (key, ip) in [("addr", config.addr), ("http_addr", Some(config.http_addr.ip()))] {
        if let Some(ip) = ip.filter(|ip| foreign(*ip)) {
            findings.push(told(key, ip).only_warn());
        }
    }
}

/// Ports of RTP that the system may give to others: a call passes those over, so that only their number is smaller, but
/// others may be in want of the one that a call has.
fn shared_ports(config: &Config, findings: &mut Vec<Finding>) {
    let Some(first) = ephemeral::overlap(config, &Ephemeral::here()) else { return };
    let key = if config.rtp_end_port.is_some() { "rtp_end_port" } else { "rtp_start_port" };
    let message = format!("the system gives ports from {first} on to any program that asks for one");
    let help = "end RTP below them, or hold its ports back (net.ipv4.ip_local_reserved_ports)";
    findings.push(Finding::new(key, message).help(help).only_warn());
}

fn certificates(config: &Config, findings: &mut Vec<Finding>) {
    let before = findings.len();
    for (key, path) in [
        ("http_tls_cert_file", &config.http_tls_cert_file),
        ("http_tls_key_file", &config.http_tls_key_file),
        ("tls_cert_file", &config.tls_cert_file),
        ("tls_key_file", &config.tls_key_file),
        ("tls_ca_file", &config.tls_ca_file),
    ] {
        if let Some(Err(error)) = path.as_deref().map(std::fs::File::open) {
            findings.push(unreadable(key, path.as_deref(), &error));
        }
    }
    if findings.len() > before {
        return;
    }
    if let Some((cert, key)) = config.http_tls_cert_file.as_ref().zip(config.http_tls_key_file.as_ref())
        && let Err(error) = Tls::load(cert, key)
    {
        let finding = Finding::new("http_tls_cert_file", format!("cannot be used with its key: {error}"));
        findings.push(finding.help("write a certificate chain and its key, both as PEM"));
    }
    if let Err(error) = sip_tls::streams(config, Ipv4Addr::LOCALHOST.into()) {
        let key = if config.tls_cert_file.is_some() { "tls_cert_file" } else { "tls_ca_file" };
        let finding = Finding::new(key, format!("cannot be used: {error}"));
        findings.push(finding.help("write a certificate chain and its key, both as PEM"));
    }
}

fn unreadable(key: &str, path: Option<&Path>, error: &io::Error) -> Finding {
    let shown = path.unwrap_or(Path::new("")).display();
    Finding::new(key, format!("\"{shown}\" cannot be read: {error}"))
        .help("write a file that this user may read")
}

/// The log, and the sound behind every call. That sound may lie on another machine and come later.
fn named_files(config: &Config, findings: &mut Vec<Finding>) {
    if let Some(path) = &config.log_file
        && let Err(error) = can_be_appended_to(path)
    {
        let finding = Finding::new("log_file", format!("\"{}\" cannot be written: {error}", path.display()));
        findings.push(finding.help("write a file that this user may write to, or leave it out"));
    }
    if let Some(table) = &config.callrecord
        && let Some(path) = &table.database_ca
        && let Err(error) = std::fs::File::open(path)
    {
        findings.push(unreadable("callrecord.database_ca", Some(path), &error));
    }
    let behind = config.ambiance.as_ref().filter(|own| own.enabled != Some(false));
    let Some(path) = behind.and_then(|own| own.path.as_deref()).filter(|path| !path.contains("://")) else {
        return;
    };
    if let Err(error) = files::find_under(&config.media_roots, path) {
        let roots: Vec<String> = config.media_roots.iter().map(|root| root.display().to_string()).collect();
        let message = format!("{error}: calls have no sound behind them; looked in {}", roots.join(", "));
        let help = "write the name of a file under one of media_roots, or an address";
        findings.push(Finding::new("ambiance.path", message).help(help).only_warn());
    }
}

fn can_be_appended_to(path: &Path) -> io::Result<()> {
    if path.exists() {
        return std::fs::OpenOptions::new().append(true).open(path).map(drop);
    }
    files::can_be_written(
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")),
    )
}

/// Tries every folder that calls write to. What a folder is for is not there without it, calls go on.
fn folders(config: &Config, findings: &mut Vec<Finding>) {
    let mut used: Vec<(&str, &str, &PathBuf)> = vec![
        ("recording.path", "recordings and event logs are lost", &config.recording.path),
        ("spool_path", "reports of calls do not outlive a crash", &config.spool_path),
    ];
    if config.media_cache_bytes > 0 {
        used.push(("media_cache_path", "speech is rendered anew each time", &config.media_cache_path));
    }
    let beside;
    if let Some(table) = &config.callrecord {
        if table.r#type == Some(RecordSink::Local) {
            used.push(("callrecord.root", "call records are lost", &table.root));
        }
        if let Database::File(file) = &table.database {
            beside = file.parent().unwrap_or(file).to_owned();
            used.push(("callrecord.database", "/api/records is empty", &beside));
        }
    }
    for (key, loss, folder) in used {
        if let Err(error) = files::can_be_written(folder) {
            let message = format!("\"{}\" cannot be written ({error}): {loss}", folder.display());
            let help = "write a folder that this user may write to";
            findings.push(Finding::new(key, message).help(help).only_warn());
        }
    }
}

/// Folders that calls read from. The usual ones need not be there: who needs them is told of the file that is missing.
fn missing_folders(config: &Config, findings: &mut Vec<Finding>) {
    let usual = Config::default();
    let playbooks = ("playbook_path", &config.playbook_path);
    let named = (config.playbook_path != usual.playbook_path).then_some(playbooks);
    let roots = config.media_roots.iter().filter(|root| !usual.media_roots.contains(root));
    for (key, folder) in named.into_iter().chain(roots.map(|root| ("media_roots", root))) {
        if !folder.is_dir() {
            let finding = Finding::new(key, format!("there is no folder \"{}\"", folder.display()));
            findings.push(finding.help("write one that is there, or make it").only_warn());
        }
    }
}
