//! Call records in a real Postgres server, which is away, refuses, hangs and comes back.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use active_call::config::Config;
use active_call::config::words::Database;
use active_call::sinks::refused::REFUSED;
use protocol::Secret;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::timeout;

use crate::programs;
use crate::rig::{PATIENCE, Rig, records_under};

const PASSWORD: &str = "s3cret/of:ours";
const USER: &str = "gateway";

/// A server of our own in a folder of its own. It is stopped when this is dropped.
struct Cluster {
    folder: tempfile::TempDir,
    programs: PathBuf,
    port: u16,
    /// Postgres refuses to be run by root.
    owner: Option<(u32, u32)>,
}

impl Cluster {
    /// A cluster that does not run yet.
    async fn new() -> Self {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let programs = versions
            .map(|version| version.path().join("bin"))
            .find(|bin| bin.join("initdb").exists())
            .expect("postgresql is not installed; scripts/setup test installs it");
        let folder = tempfile::tempdir().unwrap();
        let root = std::os::unix::fs::MetadataExt::uid(&folder.path().metadata().unwrap()) == 0;
        let [port] = programs::free_ports();
        let cluster = Cluster { owner: root.then(other_user), folder, programs, port };
        let pass = cluster.folder.path().join("pass");
        std::fs::write(&pass, PASSWORD).unwrap();
        if let Some((uid, gid)) = cluster.owner {
            std::os::unix::fs::chown(cluster.folder.path(), Some(uid), Some(gid)).unwrap();
            std::os::unix::fs::chown(&pass, Some(uid), Some(gid)).unwrap();
        }
        let data = cluster.data();
        let pass = pass.display().to_string();
        cluster
            .run("initdb", &["-D", &data, "-U", USER, "--pwfile", &pass, "-A", "scram-sha-256", "-N"])
            .await;
        cluster
    }

    fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    async fn start(&self) {
        let folder = self.folder.path().display();
        let options = format!("-h 127.0.0.1 -p {} -k {folder} -F", self.port);
        let log = self.folder.path().join("log").display().to_string();
        self.run("pg_ctl", &["-D", &self.data(), "-w", "-t", "60", "-l", &log, "-o", &options, "start"])
            .await;
    }

    /// Kills it as a crash does.
    async fn stop(&self) {
        self.run("pg_ctl", &["-D", &self.data(), "-w", "-m", "immediate", "stop"]).await;
    }

    async fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = self.command(program, arguments);
        let ended = timeout(PATIENCE * 2, command.status()).await;
        let status = ended.unwrap_or_else(|_| panic!("{program} does not end")).unwrap();
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        assert!(status.success(), "{program}: {status}\n{log}");
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.args(arguments).current_dir(self.folder.path()).env("PGPASSWORD", PASSWORD);
        // A server that lives on would keep our pipes open.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some((uid, gid)) = self.owner {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// What a question to the server gives, one line for each row.
    async fn ask(&self, question: &str) -> String {
        let port = self.port.to_string();
        let arguments = ["-h", "127.0.0.1", "-p", &port, "-U", USER, "-At", "-c", question, "postgres"];
        let mut command = self.command("psql", &arguments);
        let output = timeout(PATIENCE, command.stdout(Stdio::piped()).output()).await.unwrap().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn address(&self, password: &str) -> String {
        let password = password.replace('/', "%2F").replace(':', "%3A");
        format!("postgres://{USER}:{password}@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut stop = std::process::Command::new(self.programs.join("pg_ctl"));
        stop.args(["-D", &self.data(), "-m", "immediate", "stop"]).current_dir("/");
        if let Some((uid, gid)) = self.owner {
            std::os::unix::process::CommandExt::uid(&mut stop, uid);
            std::os::unix::process::CommandExt::gid(&mut stop, gid);
        }
        // It may not run.
        let _ = stop.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// The user and group that the package has made, else those of nobody.
fn other_user() -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let ids = users.lines().find_map(|line| {
        let mut parts = line.strip_prefix("postgres:")?.split(':').skip(1);
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    });
    ids.unwrap_or((65_534, 65_534))
}

fn in_database(address: &str) -> impl FnOnce(&mut Config) {
    let address = Secret::new(address);
    |config| config.callrecord.as_mut().unwrap().database = Database::Postgres(address)
}

async fn call(rig: &Rig, id: &str) {
    let mut client = rig.connect(&format!("/call?id={id}")).await;
    client.send(json!({"command": "invite", "option": {}})).await;
    client.event("answer").await;
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
}

/// The answer to a question over HTTP, once it holds `total` records.
async fn asked(rig: &Rig, query: &str, total: u64) -> Value {
    let wanted = async {
        let mut again = tokio::time::interval(std::time::Duration::from_millis(50));
        loop {
            again.tick().await;
            let (status, body) = rig.get(&format!("/api/v1/records{query}")).await;
            let body: Value = serde_json::from_str(&body).unwrap();
            if status == 200 && body["total"] == total {
                return body;
            }
            assert!(status == 200 || status == 503, "{status} {body}");
        }
    };
    timeout(PATIENCE * 2, wanted).await.unwrap_or_else(|_| panic!("{query} never gives {total} records"))
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_in_postgres_once_and_answer_the_same_questions() {
    let cluster = Cluster::new().await;
    cluster.start().await;
    let rig = Rig::start_with(in_database(&cluster.address(PASSWORD))).await;
    for id in ["one", "two", "three"] {
        call(&rig, id).await;
    }
    let all = asked(&rig, "", 3).await;
    assert_eq!(all["records"][2]["callId"], "one", "youngest first");
    let page = asked(&rig, "?limit=1&offset=1", 3).await;
    assert_eq!((page["records"][0]["callId"].as_str(), page["next"].as_u64()), (Some("two"), Some(2)));
    asked(&rig, "?id=two&type=WEBSOCKET&status=200&reason=System&from=2020-01-01T00:00:00Z", 1).await;
    asked(&rig, "?caller=%25", 0).await;
    asked(&rig, "?id='%20OR%201=1%20--", 0).await;
    assert_eq!(rig.get("/api/v1/records/two").await.0, 200);
    // What is sent again, as after a confirmation that was lost, is there once.
    let record = rig.records().into_iter().find(|record| record.call_id == "two").unwrap();
    let again = rig.path("spool/database/20250101");
    std::fs::create_dir_all(&again).unwrap();
    std::fs::write(again.join("again.json"), serde_json::to_vec(&record).unwrap()).unwrap();
    call(&rig, "last").await;
    asked(&rig, "", 4).await;
    rig.until("an empty spool", |rig| records_under(&rig.path("spool/database")).is_empty().then_some(()))
        .await;
    assert_eq!(cluster.ask("SELECT count(*), count(DISTINCT call_id) FROM call_records").await, "4|4");
    assert_eq!(cluster.ask("SELECT record->>'callType' FROM call_records LIMIT 1").await, "webSocket");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_at_the_start_and_dies_midway_gets_every_record_once() {
    let cluster = Cluster::new().await;
    let rig = Rig::start_with(in_database(&cluster.address(PASSWORD))).await;
    call(&rig, "before").await;
    let (status, body) = rig.get("/api/v1/records").await;
    assert!(status == 503 && !body.contains("s3cret"), "{status} {body}");
    cluster.start().await;
    asked(&rig, "?id=before", 1).await;
    cluster.stop().await;
    for n in 0..5 {
        call(&rig, &format!("meanwhile-{n}")).await;
    }
    rig.until("five files", |rig| (records_under(&rig.path("spool/database")).len() == 5).then_some(()))
        .await;
    cluster.start().await;
    asked(&rig, "", 6).await;
    assert_eq!(cluster.ask("SELECT count(*) FROM call_records").await, "6");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_or_hangs_holds_up_nothing_and_loses_nothing() {
    let cluster = Cluster::new().await;
    cluster.start().await;
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("postgres://u@{}/d", silent.local_addr().unwrap());
    for (at, id) in [(cluster.address("wrong"), "refused"), (silent, "unheard")] {
        let rig = Rig::start_with(|config| {
            in_database(&at)(config);
            config.callrecord.as_mut().unwrap().database_spool = spool.clone();
        })
        .await;
        call(&rig, id).await;
        rig.until("the record", |rig| (rig.records().len() == 1).then_some(())).await;
        let (status, body) = rig.get("/api/v1/records").await;
        assert_eq!(status, 503, "{body}");
        assert!(!body.contains("wrong"), "{body}");
        timeout(PATIENCE, rig.server.stop()).await.unwrap();
    }
    assert_eq!(records_under(&spool).len(), 2);
    let rig = Rig::start_with(|config| {
        in_database(&cluster.address(PASSWORD))(config);
        config.callrecord.as_mut().unwrap().database_spool = spool.clone();
    })
    .await;
    asked(&rig, "", 2).await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_database_refuses_is_set_aside_and_holds_up_no_other() {
    let cluster = Cluster::new().await;
    cluster.start().await;
    let rig = Rig::start_with(in_database(&cluster.address(PASSWORD))).await;
    call(&rig, "first").await;
    asked(&rig, "", 1).await;
    cluster.ask("ALTER TABLE call_records ADD CHECK (call_id <> 'bad')").await;
    call(&rig, "bad").await;
    call(&rig, "second").await;
    asked(&rig, "?id=second", 1).await;
    let spool = rig.path("spool/database");
    let refused = spool.join(REFUSED);
    rig.until("the row that is set aside", |_| (records_under(&refused).len() == 1).then_some(())).await;
    assert_eq!(records_under(&refused)[0].call_id, "bad");
    let (_, metrics) = rig.get("/metrics").await;
    assert!(metrics.contains("\nactive_call_records_refused_total 1\n"), "{metrics}");
    // A table that is not as it should be is no fault of a row: what cannot be written waits.
    cluster.ask("ALTER TABLE call_records RENAME COLUMN reason TO why").await;
    call(&rig, "third").await;
    rig.until("the row that waits", |rig| (rig.records().len() == 4).then_some(())).await;
    cluster.ask("ALTER TABLE call_records RENAME COLUMN why TO reason").await;
    asked(&rig, "?id=third", 1).await;
    // Put back, a row is sent again.
    cluster.ask("ALTER TABLE call_records DROP CONSTRAINT call_records_call_id_check").await;
    let day = std::fs::read_dir(&refused).unwrap().next().unwrap().unwrap();
    let to = spool.join(day.file_name());
    std::fs::create_dir_all(&to).unwrap();
    for file in std::fs::read_dir(day.path()).unwrap() {
        let file = file.unwrap();
        std::fs::rename(file.path(), to.join(file.file_name())).unwrap();
    }
    call(&rig, "fourth").await;
    asked(&rig, "", 5).await;
    rig.server.stop().await;
}

/// A certificate for 127.0.0.1 with its key, and the authority that vouches for it.
fn certificate(folder: &Path) -> PathBuf {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    std::fs::write(folder.join("server.crt"), certificate.pem()).unwrap();
    std::fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    folder.join("ca.pem")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_server_is_believed_when_its_certificate_is_vouched_for() {
    let cluster = Cluster::new().await;
    let data = PathBuf::from(cluster.data());
    let ca = certificate(&data);
    for file in ["server.crt", "server.key"] {
        let path = data.join(file);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        if let Some((uid, gid)) = cluster.owner {
            std::os::unix::fs::chown(&path, Some(uid), Some(gid)).unwrap();
        }
    }
    let settings = data.join("postgresql.conf");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, format!("{text}\nssl = on\n")).unwrap();
    cluster.start().await;
    let address = format!("{}?sslmode=require", cluster.address(PASSWORD));
    for (vouched, status) in [(None, 503), (Some(ca), 200)] {
        let rig = Rig::start_with(|config| {
            in_database(&address)(config);
            config.callrecord.as_mut().unwrap().database_ca = vouched;
        })
        .await;
        let (answered, body) = rig.get("/api/v1/records").await;
        assert_eq!(answered, status, "{body}");
        rig.server.stop().await;
    }
}
