//! The tables inside the configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use protocol::Secret;
use protocol::option::RecorderFormat;
use protocol::value::{Headers, Seconds};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::keys::table;
use super::words::{AuthMode, Database, Digest, Scope, TransferPolicy, Vendor};
use super::{HandlerKind, Pattern, RecordSink};

table! {
    /// `[auth]`: who may use HTTP. A word in its place is its `mode`.
    Auth {
        /// `keys` or `none`.
        mode: AuthMode = AuthMode::Keys,
        /// Requests from loopback need no key.
        loopback: bool = true,
        /// Where the key is kept that is made when none is configured and one is needed.
        key_file: PathBuf = "./config/active-call.key".into(),
        /// The keys.
        keys: Vec<ApiKey> = Vec::new(),
        /// Origins of other sites whose pages may ask, such as `https://app.example`.
        origins: Vec<String> = Vec::new(),
    }
}

impl Auth {
    /// Reads `auth = "none"` as well as the table.
    pub(super) fn word_or_table<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Auth;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"none\", \"keys\" or a table")
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<Auth, E> {
                let mode = AuthMode::deserialize(de::value::StrDeserializer::<E>::new(word))?;
                Ok(Auth { mode, ..Auth::default() })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Auth, A::Error> {
                Auth::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

table! {
    /// `[[auth.keys]]`: one key, as `active-call key` prints it.
    ApiKey {
        /// What the log calls its holder.
        name: String = String::new(),
        /// `sha256:` and 64 hexadecimal digits.
        hash: String = String::new(),
        /// What it may do.
        scopes: Vec<Scope> = Vec::new(),
        /// It counts until then, RFC 3339.
        expires: Option<String> = None,
    }
}

table! {
    /// `[egress]`: what may be reached on behalf of clients and playbooks.
    EgressTable {
        /// Private addresses that may be: hosts, addresses, networks such as `10.0.0.0/8`, or `*`.
        allow: Vec<String> = Vec::new(),
        /// How long a server may take to answer a request, and between two pieces of a file.
        timeout: Seconds = super::seconds(15),
        /// Largest file that is fetched.
        max_bytes: usize = 32 * 1024 * 1024,
    }
}

table! {
    /// `[sip]`: who may call in, how often, and where calls of ours may go.
    SipTable {
        /// Networks whose calls need no password and have no limit of their own, such as `203.0.113.0/24`.
        trusted: Vec<String> = Vec::new(),
        /// Names and passwords of others who may call.
        users: Vec<SipUser> = Vec::new(),
        /// Realm of those passwords.
        realm: String = "active-call".into(),
        /// How they may be proven, the preferred way first.
        digest: Vec<Digest> = Digest::ALL.to_vec(),
        /// Whether everyone may call. Absent: only when there are neither `trusted` nor `users`.
        open: Option<bool> = None,
        /// Calls per second from everywhere; further ones get 503. 0: no limit.
        calls_per_second: u32 = 0,
        /// Calls per second from one address that is not trusted; further ones get 503. 0: no limit.
        calls_per_second_per_source: u32 = 0,
        /// An address that is refused so often in a row is not heard any more for `silence_for`. 0: never.
        silence_after: u32 = 20,
        /// How long it is not heard.
        silence_for: Seconds = super::seconds(60),
        /// Regular expressions, one of which must be found in the URI of whom a call of ours goes to; none: all may.
        destinations: Vec<Pattern> = Vec::new(),
        /// Legs of ours that may begin in an hour; further ones are rejected with 503. Absent: no limit.
        outbound_per_hour: Option<u32> = None,
        /// Name servers, such as `10.0.0.53:53`, that are asked where URIs lead; none: those of the system.
        dns: Vec<SocketAddr> = Vec::new(),
        /// File that gets all SIP messages as pcap, made anew at each start.
        capture: Option<PathBuf> = None,
        /// It ends at so many megabytes.
        capture_limit_mb: u64 = 64,
        /// What is done when a peer wants us to talk to someone else.
        transfer_requests: TransferPolicy = TransferPolicy::Ask,
    }
}

table! {
    /// `[[sip.users]]`.
    SipUser {
        /// Name for digest authentication.
        username: String = String::new(),
        /// Its password.
        password: Secret = Secret::default(),
    }
}

table! {
    /// `[[register_users]]`: one account to register.
    RegisterUser {
        /// `host` or `host:port` of the registrar.
        server: String = String::new(),
        /// User of the address-of-record.
        username: String = String::new(),
        /// Name shown to those who are called.
        display_name: Option<String> = None,
        /// Leave this account alone.
        disabled: bool = false,
        /// What to answer a challenge with; absent: nothing.
        credential: Option<UserCredential> = None,
    }
}

table! {
    /// `[register_users.credential]`.
    UserCredential {
        /// User for digest authentication.
        username: String = String::new(),
        /// Its password.
        password: Secret = Secret::default(),
        /// Realm it holds for; absent: any.
        realm: Option<String> = None,
    }
}

table! {
    /// `[handler]`: who takes inbound calls. Which keys count depends on `type`.
    HandlerTable {
        /// `webhook` or `playbook`.
        #[serde(rename = "type")]
        r#type: Option<HandlerKind> = None,
        /// Webhook: the address.
        url: Option<String> = None,
        /// Webhook: addresses, taken in turn; the next one when one fails.
        urls: Vec<String> = Vec::new(),
        /// Webhook: request method.
        method: String = "POST".into(),
        /// Webhook: further headers, as a table or a list of `[name, value]`.
        #[serde(deserialize_with = "super::words::headers")]
        headers: Headers = Headers::new(),
        /// Webhook: announcements are signed with it, as Standard Webhooks has it; `whsec_` and base64, or any text.
        secret: Option<Secret> = None,
        /// Playbook: the file for calls that no rule fits.
        default: Option<String> = None,
        /// Playbook: first fitting rule wins.
        rules: Vec<Rule> = Vec::new(),
    }
}

table! {
    /// `[[handler.rules]]`. An absent pattern fits every call.
    Rule {
        /// Regular expression for the caller's URI or its user part.
        caller: Option<Pattern> = None,
        /// Regular expression for the callee's URI or its user part; of a call by an account the account's too.
        callee: Option<Pattern> = None,
        /// Regular expression for the Request-URI or its user part.
        request_uri: Option<Pattern> = None,
        /// File under the playbook folder.
        playbook: String = String::new(),
    }
}

table! {
    /// `[callrecord]`: where call records go. Which keys count depends on `type`.
    RecordTable {
        /// `local`, `s3` or `http`.
        #[serde(rename = "type")]
        r#type: Option<RecordSink> = None,
        /// Folder or key prefix.
        root: PathBuf = "./config/cdr".into(),
        /// Database of records for questions about them: a file, or the address of a Postgres server.
        database: Database = Database::File("./config/records.db".into()),
        /// Postgres: certificates (PEM) that vouch for the server; absent: those that the system believes.
        database_ca: Option<PathBuf> = None,
        /// Postgres: folder where records wait until they are in the database.
        database_spool: PathBuf = "./config/spool/database".into(),
        /// S3 and HTTP: folder where records wait until they are delivered.
        spool: PathBuf = "./config/spool/records".into(),
        /// S3: `aws`, `minio`, `aliyun`, `tencent`, `digitalocean`, `gcp` or `azure`.
        vendor: Option<Vendor> = None,
        /// S3: bucket.
        bucket: Option<String> = None,
        /// S3: region.
        region: Option<String> = None,
        /// S3: key id.
        access_key: Option<Secret> = None,
        /// S3: key.
        secret_key: Option<Secret> = None,
        /// S3: address.
        endpoint: Option<String> = None,
        /// HTTP: address.
        url: Option<String> = None,
        /// HTTP: further headers.
        #[serde(deserialize_with = "super::words::headers")]
        headers: Headers = Headers::new(),
        /// S3 and HTTP: send recordings and event logs too.
        with_media: bool = true,
        /// S3 and HTTP: keep the local copy of those that were sent.
        keep_media_copy: bool = true,
    }
}

impl RecordTable {
    /// Records as files in the folder that is the default.
    pub fn local() -> Self {
        RecordTable { r#type: Some(RecordSink::Local), ..RecordTable::default() }
    }
}

table! {
    /// `[recording]`.
    Recording {
        /// Calls may be recorded by configuration.
        enabled: bool = false,
        /// Record every call from its first sound, when `enabled`.
        auto_start: bool = false,
        /// Name of the file; `{id}` is the call's id.
        filename_pattern: Option<String> = None,
        /// Hz.
        #[serde(alias = "sample_rate")]
        samplerate: u32 = 16_000,
        /// Accepted for compatibility; headers are refreshed with every second of sound.
        ptime: u32 = 200,
        /// Folder of recordings and event logs.
        path: PathBuf = "./config/recorders".into(),
        /// Format.
        format: RecorderFormat = RecorderFormat::Wav,
    }
}

table! {
    /// `[[ice_servers]]`: a server that browsers are told of.
    IceServerTable {
        /// `stun:` and `turn:` addresses.
        urls: Vec<String> = Vec::new(),
        /// User of a TURN server; with `secret` the name that stands behind the time.
        username: Option<String> = None,
        /// Password of a TURN server. Clients need it, so it is told to who may read.
        credential: Option<Secret> = None,
        /// `password` or `oauth`.
        #[serde(alias = "credentialType")]
        credential_type: Option<String> = None,
        /// What the TURN server and we know, instead of `credential`: passwords are made of it for each request.
        secret: Option<Secret> = None,
        /// How long such a password lasts.
        ttl: Seconds = Seconds(Duration::from_secs(86_400)),
    }
}

table! {
    /// `[[rewrites]]`.
    Rewrite {
        /// Regular expression for the destination.
        #[serde(rename = "match")]
        r#match: Option<Pattern> = None,
        /// What to put in its place.
        rewrite: String = String::new(),
    }
}
