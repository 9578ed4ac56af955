//! The configuration file: every key with its default, where a value is wrong, and what was meant.
//!
//! Reading order: this file and [`sections`] are the keys; [`words`] the values that are words or patterns; [`read`]
//! goes from text to [`Config`]; [`check`] holds what a type cannot say, `openness` which destinations say more than
//! they mean, `machine` what is named on this machine, `ephemeral` which of its ports are for RTP; [`problem`] shows
//! the line.

pub mod check;
pub(crate) mod ephemeral;
mod keys;
mod machine;
mod mistyped;
mod openness;
pub mod problem;
pub mod read;
pub mod sections;
pub mod words;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use protocol::command::DtmfMethod;
use protocol::option::{AmbianceOption, Encryption};
use protocol::value::Seconds;
use serde::Deserialize;

use keys::table;
pub use problem::{ConfigError, Problem};
pub use read::Loaded;
pub use sections::{
    ApiKey, Auth, EgressTable, HandlerTable, IceServerTable, RecordTable, Recording, RegisterUser, Rewrite,
    Rule, SipTable, SipUser, UserCredential,
};
use words::{CodecName, HandlerKind, Pattern, RecordSink};

const fn seconds(seconds: u64) -> Seconds {
    Seconds(Duration::from_secs(seconds))
}

fn paths(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

table! {
    /// The whole configuration. A key that is absent has the value that stands beside it here.
    Config {
        /// Where HTTP and WebSocket listen.
        http_addr: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080),
        /// Certificate chain of HTTPS, PEM; with `http_tls_key_file` HTTP speaks TLS. Read again when it changes.
        http_tls_cert_file: Option<PathBuf> = None,
        /// Key of that certificate, PEM.
        http_tls_key_file: Option<PathBuf> = None,
        /// Who may use HTTP.
        #[serde(deserialize_with = "Auth::word_or_table")]
        auth: Auth = Auth::default(),
        /// Address that SIP binds. Empty: the address by which this machine reaches others.
        #[serde(deserialize_with = "words::address_or_empty")]
        addr: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        /// Port of SIP over UDP; 0 takes any free one.
        udp_port: u16 = 25060,
        /// Port of SIP over TCP; absent: `udp_port`.
        tcp_port: Option<u16> = None,
        /// Port of SIP over TLS; absent: none.
        tls_port: Option<u16> = None,
        /// Port of SIP over WebSockets; absent: none.
        ws_port: Option<u16> = None,
        /// Port of SIP over WebSockets under TLS; absent: none.
        wss_port: Option<u16> = None,
        /// Certificate chain of SIP over TLS, PEM. Read again when it changes.
        tls_cert_file: Option<PathBuf> = None,
        /// Key of that certificate, PEM.
        tls_key_file: Option<PathBuf> = None,
        /// Peers that we connect to by TLS must have a certificate that is believed.
        tls_verify: bool = true,
        /// Roots that are believed, PEM; absent: those of the system.
        tls_ca_file: Option<PathBuf> = None,
        /// URI of the proxy that calls of ours and accounts go through.
        outbound_proxy: Option<String> = None,
        /// Encrypt media with SDES-SRTP: `true` always, `"optional"` where the peer can, `false` where it offers that.
        enable_srtp: Encryption = Encryption::default(),
        /// What is logged: `trace`, `debug`, `info`, `warn`, `error`, `off`, or directives such as `info,sip=debug`. Of the
        /// libraries nothing below `debug`. Absent: the environment variable `RUST_LOG`, else `info`.
        log_level: Option<String> = None,
        /// File to log to; absent: standard output.
        log_file: Option<PathBuf> = None,
        /// Compress HTTP answers.
        http_gzip: bool = false,
        /// Paths that the access log leaves out; a trailing `*` stands for any rest.
        http_access_skip_paths: Vec<String> = vec!["/health".into(), "/metrics*".into()],
        /// `User-Agent` of SIP messages.
        #[serde(alias = "user_agent")]
        useragent: String = concat!("active-call/", env!("CARGO_PKG_VERSION")).into(),
        /// Who may call in by SIP, and where calls of ours may go.
        sip: SipTable = SipTable::default(),
        /// Accounts to register.
        register_users: Vec<RegisterUser> = Vec::new(),
        /// On a signal to stop: let calls end for `shutdown_timeout`. False: hang up at once.
        graceful_shutdown: bool = true,
        /// How long calls may go on after a signal to stop.
        shutdown_timeout: Seconds = seconds(10),
        /// Who takes inbound calls.
        handler: Option<HandlerTable> = None,
        /// How long an inbound call waits for a client to accept it.
        accept_timeout: Seconds = seconds(50),
        /// How long one address of the webhook may take to answer.
        webhook_timeout: Seconds = seconds(5),
        /// Where reports of calls (`posthook`) wait until they are taken.
        spool_path: PathBuf = "./config/spool".into(),
        /// Signs reports of calls, as Standard Webhooks says; absent: they are not signed.
        posthook_secret: Option<protocol::Secret> = None,
        /// Programs that playbooks may start as servers of tools (`mcp`), as written there.
        mcp_programs: Vec<String> = Vec::new(),
        /// Codecs to negotiate, best first.
        codecs: Vec<CodecName> = CodecName::ALL.to_vec(),
        /// How digits are sent, where the command does not say it.
        dtmf: DtmfMethod = DtmfMethod::Auto,
        /// Address that peers are told to send to, in SIP and SDP.
        external_ip: Option<IpAddr> = None,
        /// First RTP port; even.
        rtp_start_port: u16 = 12000,
        /// Last RTP port; absent: 42000, or the last one below those that the system gives out by itself.
        rtp_end_port: Option<u16> = None,
        /// Send sound to where it comes from instead of where SDP says.
        enable_rtp_latching: bool = true,
        /// Without a packet of sound for so long a call ends; 0 never. `inactivityTimeout` of a call goes before.
        rtp_timeout: Seconds = seconds(50),
        /// The same for the first packet after the answer of a SIP call.
        rtp_first_timeout: Seconds = seconds(30),
        /// Address that RTP binds; absent: `addr`.
        rtp_bind_ip: Option<IpAddr> = None,
        /// Calls at once; further ones are refused with 503.
        max_calls: usize = 2000,
        /// Threads that compute sound; 0: one for each processor.
        media_threads: usize = 0,
        /// Rate of PCM sent over `/call` when the client gives none, in Hz.
        ws_pcm_out_rate: u32 = 16_000,
        /// Where call records go; absent: nowhere.
        #[serde(alias = "call_record")]
        callrecord: Option<RecordTable> = None,
        /// Recording of calls, and the folder of recordings and event logs.
        recording: Recording = Recording::default(),
        /// Folder of rendered speech.
        media_cache_path: PathBuf = "./config/mediacache".into(),
        /// Bytes that rendered speech may take; what was not wanted for longest is removed first. 0: none is kept.
        media_cache_bytes: u64 = 1 << 30,
        /// Folders under which files named by clients and playbooks must lie. A relative name is looked for in
        /// each, after the working folder.
        #[serde(alias = "roots")]
        media_roots: Vec<PathBuf> = paths(&["./config"]),
        /// What may be reached on behalf of clients and playbooks.
        egress: EgressTable = EgressTable::default(),
        /// Folder of playbooks.
        playbook_path: PathBuf = "./config/playbook".into(),
        /// Folder of the files under `/static/`; its `index.html` is `/`.
        static_path: PathBuf = "./static".into(),
        /// Sound behind every call.
        ambiance: Option<AmbianceOption> = None,
        /// Servers that browsers are told of.
        ice_servers: Vec<IceServerTable> = vec![IceServerTable {
            urls: vec!["stun:stun.l.google.com:19302".into()],
            ..IceServerTable::default()
        }],
        /// Destinations of outbound SIP to send elsewhere.
        rewrites: Vec<Rewrite> = Vec::new(),
    }
}
