//! baresip as the phone: G.722 and G.711, hold, and hanging up from either side.

use std::path::{Path, PathBuf};

use active_call::config::Config;
use axum::http::StatusCode;
use protocol::option::Encryption;
use serde_json::{Value, json};
use testkit::likeness::Found;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::time::timeout;

use crate::inbound_sip::{Hook, PLAYBOOK, attach, hook, playbooks, webhooks};
use crate::rig::{Client, PATIENCE, Rig, until};
use crate::watch::Watch;
use crate::{programs, sound};

/// A running baresip, in a folder of its own, that plays `says.wav` into every call.
pub(crate) struct Baresip {
    /// Where it takes calls.
    pub(crate) sip: u16,
    _child: Child,
    control: TcpStream,
    unread: Vec<u8>,
    folder: PathBuf,
    /// Whether its codec keeps the form of a wave.
    keeps_form: bool,
    watch: Watch,
}

impl Baresip {
    pub(crate) async fn start(folder: &Path, codec: &str, says: &[i16]) -> Baresip {
        Self::start_with(folder, &format!("audio_codecs={codec}"), says).await
    }

    /// With further words for its account, such as `mediaenc=srtp-mand`.
    pub(crate) async fn start_with(folder: &Path, account: &str, says: &[i16]) -> Baresip {
        Self::start_as(folder, account, says, "").await
    }

    /// With further lines in its configuration as well. TLS, if it has a certificate, is at the port above `sip`.
    pub(crate) async fn start_as(folder: &Path, account: &str, says: &[i16], further: &str) -> Baresip {
        std::fs::create_dir(folder).unwrap();
        let (file, rate) = (folder.join("says.wav"), rate_of(account));
        sound::write_wav(&file, rate, &sound::resampled(says, 8000, rate));
        Self::run(folder, account, &format!("audio_source aufile,{}\n{further}", file.display())).await
    }

    /// One that says what it hears, once it is decoded and encoded again.
    pub(crate) async fn echoing(folder: &Path, account: &str) -> Baresip {
        std::fs::create_dir(folder).unwrap();
        let echo = "audio_source aubridge,own\naudio_player aubridge,own\nmodule aubridge.so";
        Self::run(folder, account, echo).await
    }

    async fn run(folder: &Path, account: &str, sound: &str) -> Baresip {
        let [sip, media, control] = programs::free_ports::<3>();
        // That of its codec: its own resampler takes the edge off what hisses.
        let rate = rate_of(account);
        let lines = [
            format!("sip_listen 127.0.0.1:{sip}"),
            format!("rtp_ports {media}-{}", media + 3),
            format!("ctrl_tcp_listen 127.0.0.1:{control}"),
            format!("audio_alert aufile,{}", folder.join("rings.wav").display()),
            format!("snd_path {}", folder.display()),
            format!("ausrc_srate {rate}\nauplay_srate {rate}\nausrc_channels 1\nauplay_channels 1"),
            "audio_buffer 20-160\njitter_buffer_type fixed\njitter_buffer_delay 2-10".into(),
            "module_path /usr/lib/baresip/modules\nmodule g711.so\nmodule g722.so\nmodule aufile.so".into(),
            "module sndfile.so\nmodule uuid.so\nmodule srtp.so\nmodule opus.so\nmodule_tmp account.so".into(),
            "module_app menu.so\nmodule_app ctrl_tcp.so".into(),
            format!("{sound}\n"),
        ];
        std::fs::write(folder.join("config"), lines.join("\n")).unwrap();
        let account = format!("<sip:phone@127.0.0.1:{sip}>;regint=0;answermode=auto;{account}\n");
        std::fs::write(folder.join("accounts"), account).unwrap();
        std::fs::write(folder.join("contacts"), "").unwrap();
        let child = programs::start("baresip", &["-f", folder.to_str().unwrap()], folder);
        let opened = until("baresip takes commands", || {
            let stream = std::net::TcpStream::connect(("127.0.0.1", control)).ok()?;
            stream.set_nonblocking(true).ok()?;
            TcpStream::from_std(stream).ok()
        });
        let (control, unread, folder, watch) = (opened.await, Vec::new(), folder.into(), Watch::start());
        let keeps_form = rate != 48_000;
        Baresip { sip, control, _child: child, unread, folder, keeps_form, watch }
    }

    /// An echoing phone echoes on, by a bridge of this name: with every new offer it takes the one before down.
    pub(crate) async fn echoes_by(&mut self, bridge: &str) {
        for end in ["auplay", "ausrc"] {
            self.command(end, &format!("aubridge,{bridge}")).await;
        }
    }

    /// Sends a command as a netstring of JSON.
    pub(crate) async fn command(&mut self, command: &str, params: &str) {
        let text = json!({"command": command, "params": params}).to_string();
        let framed = format!("{}:{text},", text.len());
        self.control.write_all(framed.as_bytes()).await.unwrap();
    }

    /// The next message that has `value` under `key`; others are passed over.
    pub(crate) async fn told(&mut self, key: &str, value: &str) -> Value {
        let mut seen = Vec::new();
        loop {
            let message = self.next().await;
            if message[key] == value {
                return message;
            }
            seen.push(message[key].clone());
            assert!(seen.len() < 500, "no {value} in {seen:?}");
        }
    }

    pub(crate) async fn next(&mut self) -> Value {
        loop {
            if let Some(colon) = self.unread.iter().position(|byte| *byte == b':') {
                let length: usize = std::str::from_utf8(&self.unread[..colon]).unwrap().parse().unwrap();
                let end = colon + 1 + length;
                if self.unread.len() > end {
                    let message = serde_json::from_slice(&self.unread[colon + 1..end]).unwrap();
                    self.unread.drain(..=end);
                    return message;
                }
            }
            let mut some = [0; 4096];
            let read = timeout(PATIENCE, self.control.read(&mut some)).await;
            let length = read.expect("baresip says nothing").unwrap();
            assert!(length > 0, "baresip has closed");
            self.unread.extend(&some[..length]);
        }
    }

    /// Whether sound of this phone was heard as it was said. baresip sends it from threads without priority: on a busy
    /// machine it comes late.
    pub(crate) fn is_heard(&self, said: &Found) -> bool {
        let stall = self.watch.stall();
        println!("threads have waited for up to {stall:?}");
        if self.keeps_form { said.is_same_but_for(stall) } else { said.is_heard_but_for(stall) }
    }

    /// Whether this phone has heard sound of ours as it was said.
    pub(crate) fn hears(&self, said: &Found) -> bool {
        if self.keeps_form { said.is_same() } else { said.is_heard() }
    }

    /// What baresip decoded, as its own recorder wrote it.
    pub(crate) fn heard(&self) -> Vec<i16> {
        self.recorded("-dec.wav")
    }

    /// What baresip sent, on the same clock.
    pub(crate) fn said(&self) -> Vec<i16> {
        self.recorded("-enc.wav")
    }

    /// All of its calls, one after the other.
    fn recorded(&self, end: &str) -> Vec<i16> {
        let files = std::fs::read_dir(&self.folder).unwrap().flatten().map(|file| file.path());
        let named = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().ends_with(end);
        let mut files: Vec<PathBuf> = files.filter(named).collect();
        assert!(!files.is_empty(), "baresip has recorded nothing");
        // Their names tell when they began.
        files.sort();
        files.iter().flat_map(|file| sound::channel(file, 0)).collect()
    }
}

/// The rate of the codec of this account.
fn rate_of(account: &str) -> u32 {
    let codec = account.split("audio_codecs=").nth(1).and_then(|codec| codec.split('/').nth(1));
    codec.and_then(|rate| rate.parse().ok()).unwrap_or(8000)
}

/// A call of baresip that a client has accepted, is recorded, and in which the agent has begun to speak.
pub(crate) async fn connect(rig: &Rig, told: &mut Hook, phone: &mut Baresip) -> Client {
    connect_to(rig, told, phone, &format!("sip:agent@{}", rig.server.sip_addr())).await
}

/// The same to this URI.
pub(crate) async fn connect_to(rig: &Rig, told: &mut Hook, phone: &mut Baresip, uri: &str) -> Client {
    phone.command("dial", uri).await;
    let mut client = attach(rig, told).await;
    client.send(json!({"command": "accept", "option": {"recorder": {}}})).await;
    client.event("answer").await;
    phone.told("type", "CALL_ESTABLISHED").await;
    client.send(json!({"command": "play", "url": "agent.wav"})).await;
    client
}

/// Waits until the agent, who speaks already, has spoken, and two seconds more, when the phone has said its own as well.
async fn hear_out(rig: &Rig, client: &mut Client) {
    sound::write_wav(&rig.path("sounds/pause.wav"), 8000, &[0; 2 * 8000]);
    client.event("trackEnd").await;
    client.send(json!({"command": "play", "url": "pause.wav"})).await;
    client.event("trackEnd").await;
}

/// Both say what they have to say, and the agent hangs up.
pub(crate) async fn hear_out_and_hang_up(rig: &Rig, client: &mut Client, phone: &mut Baresip) {
    hear_out(rig, client).await;
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    phone.told("type", "CALL_CLOSED").await;
}

/// Sees by the recording of the call, and by what the phone has heard, that `caller` and `agent` were heard.
pub(crate) async fn heard_each_other(rig: &Rig, phone: &Baresip, [caller, agent]: [&[i16]; 2]) {
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    let said = sound::find(caller, &sound::channel(&PathBuf::from(&record.recorder[0].path), 0));
    let heard = sound::find(agent, &phone.heard());
    println!("the server hears {said:?}, baresip hears {heard:?}");
    assert!(phone.is_heard(&said) && phone.hears(&heard), "{said:?} {heard:?}");
}

pub(crate) async fn rig_with_agent() -> (Rig, Hook, Vec<i16>, Vec<i16>) {
    rig_with_agent_and(|_| {}).await
}

pub(crate) async fn rig_with_agent_and(change: impl FnOnce(&mut Config)) -> (Rig, Hook, Vec<i16>, Vec<i16>) {
    let (url, told) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| {
        webhooks(config, &[url]);
        change(config);
    })
    .await;
    let caller =
        sound::speech(rig.folder.path(), "Hello, could you tell me when the next train leaves").await;
    let agent = sound::speech(rig.folder.path(), "The next train leaves at a quarter past nine").await;
    sound::write_wav(&rig.path("sounds/agent.wav"), 8000, &agent);
    (rig, told, caller, agent)
}

/// A call of baresip in this codec, with further words for its account, under this suite or none.
async fn both_are_heard(codec: &str, further: &str, suite: Option<&str>) {
    let account = &format!("audio_codecs={codec}{further}");
    let (rig, mut told, caller, agent) = rig_with_agent().await;
    // The phone hangs up when its file ends.
    let says = [caller.as_slice(), &[0; 20 * 8000]].concat();
    let mut phone = Baresip::start_with(&rig.path("phone"), account, &says).await;
    let mut client = connect(&rig, &mut told, &mut phone).await;
    hear_out(&rig, &mut client).await;
    rig.has_agreed_on(codec.split('/').next().unwrap(), suite).await;
    phone.command("hangup", "").await;
    let hangup = client.event("hangup").await;
    assert_eq!(hangup["initiator"], "caller", "{hangup}");
    phone.told("type", "CALL_CLOSED").await;
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    let quality = record.quality.expect("the record tells how good it was");
    println!("{account}: {quality:?}");
    assert!(quality.packets > 100 && quality.mos.is_some_and(|mos| mos > 3.5), "{quality:?}");
    assert!(quality.remote.is_some(), "baresip's reports are read: {quality:?}");
    let recording = PathBuf::from(&record.recorder[0].path);
    let said = sound::find(&caller, &sound::channel(&recording, 0));
    let spoken = sound::find(&agent, &sound::channel(&recording, 1));
    let heard = sound::find(&agent, &phone.heard());
    println!("{account}: the server hears {said:?} and says {spoken:?}, baresip hears {heard:?}");
    assert!(phone.is_heard(&said) && phone.hears(&heard), "{said:?} {heard:?}");
    // The network and the codec have no part in it.
    assert!(spoken.pieces >= 1.0 && spoken.whole >= 0.95, "{spoken:?}");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_and_the_agent_hear_each_other_in_each_codec_and_packet_length_and_the_phone_hangs_up() {
    tokio::join!(
        both_are_heard("PCMU/8000/1", ";ptime=10", None),
        both_are_heard("PCMU/8000/1", ";ptime=60", None),
        both_are_heard("PCMA/8000/1", "", None),
        both_are_heard("G722/16000/1", "", None),
        both_are_heard("opus/48000/2", "", None),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_that_insists_on_srtp_or_offers_it_and_the_agent_hear_each_other_in_each_codec() {
    let suite = Some("AES_CM_128_HMAC_SHA1_80");
    tokio::join!(
        both_are_heard("PCMU/8000/1", ";mediaenc=srtp-mand", suite),
        both_are_heard("PCMA/8000/1", ";mediaenc=srtp-mand", suite),
        both_are_heard("G722/16000/1", ";mediaenc=srtp-mand", suite),
        both_are_heard("opus/48000/2", ";mediaenc=srtp-mand", suite),
        both_are_heard("PCMU/8000/1", ";mediaenc=srtp", suite),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_baresip_in_clear_is_refused_where_encryption_is_configured() {
    let rig = Rig::start_with(|config| {
        config.enable_srtp = Encryption::Required;
        playbooks(config, Vec::new(), Some("hello.md"));
    })
    .await;
    std::fs::write(rig.path("playbook/hello.md"), PLAYBOOK).unwrap();
    let mut phone = Baresip::start(&rig.path("phone"), "PCMU/8000/1", &[0; 8000]).await;
    phone.command("dial", &format!("sip:agent@{}", rig.server.sip_addr())).await;
    let closed = phone.told("type", "CALL_CLOSED").await;
    assert!(closed["param"].as_str().unwrap_or_default().contains("488"), "{closed}");
    rig.server.stop().await;
}

/// baresip holds twice, and sends back what it hears. What the agent is told to say meanwhile waits, and both hear each
/// other before and after.
async fn baresip_holds(account: &str) {
    let (rig, mut told, _, agent) = rig_with_agent().await;
    let later = sound::speech(rig.folder.path(), "You can buy a ticket on the train as well").await;
    sound::write_wav(&rig.path("sounds/later.wav"), 8000, &later);
    let mut phone = Baresip::echoing(&rig.path("phone"), account).await;
    let mut client = connect(&rig, &mut told, &mut phone).await;
    client.event("trackEnd").await;
    for (acknowledged, command, on) in [(2, "hold", true), (3, "resume", false), (4, "hold", true)] {
        phone.command(command, "").await;
        assert_eq!(client.event("hold").await["onHold"], on);
        rig.has_messages("ACK ", acknowledged).await;
    }
    client.seen.clear();
    client.send(json!({"command": "play", "url": "later.wav"})).await;
    client.event("metrics").await;
    assert!(
        !client.seen.iter().any(|event| event == "trackEnd"),
        "what is to be said waits: {:?}",
        client.seen
    );
    phone.command("resume", "").await;
    assert_eq!(client.event("hold").await["onHold"], false);
    rig.has_messages("ACK ", 5).await;
    phone.echoes_by("again").await;
    hear_out_and_hang_up(&rig, &mut client, &mut phone).await;
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    assert_eq!(record.status_code, 200);
    let heard = sound::channel(&PathBuf::from(&record.recorder[0].path), 0);
    let found = [sound::find(&agent, &heard), sound::find(&later, &heard)];
    println!("{account}: {found:?}");
    assert!(found.iter().all(|found| phone.is_heard(found)), "{account}: {found:?}");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_holds_and_resumes_and_both_hear_each_other_before_and_after() {
    let encrypted = "audio_codecs=G722/16000/1;mediaenc=srtp-mand";
    tokio::join!(baresip_holds("audio_codecs=PCMU/8000/1"), baresip_holds(encrypted));
}

/// Datagrams of no use to anyone, a thousand a second, to the ports of a call; what comes back.
async fn noise(port: u16) -> usize {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (mut answers, mut buffer) = (0, [0; 2048]);
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(5));
    for sequence in 0..1_200u16 {
        tick.tick().await;
        let mut bytes: [u8; 172] = rand::random();
        socket.send_to(&bytes, ("127.0.0.1", port)).await.unwrap();
        // Well-formed sound, a digit, and reports.
        for (kind, to) in [(0u8, port), (101, port), (200, port), (203, port + 1)] {
            bytes[..4].copy_from_slice(&[0x80, kind, (sequence >> 8) as u8, sequence as u8]);
            bytes[8..12].copy_from_slice(&[7, 7, 7, kind]);
            socket.send_to(&bytes, ("127.0.0.1", to)).await.unwrap();
        }
        answers += usize::from(socket.try_recv(&mut buffer).is_ok());
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_s_noise_on_the_ports_of_a_call_is_neither_heard_nor_answered() {
    let [port] = programs::free_ports::<1>();
    let change = |config: &mut Config| (config.rtp_start_port, config.rtp_end_port) = (port, Some(port + 3));
    let (rig, mut told, caller, agent) = rig_with_agent_and(change).await;
    let mut phone = Baresip::start(&rig.path("phone"), "PCMU/8000/1", &caller).await;
    let mut client = connect(&rig, &mut told, &mut phone).await;
    let (answers, _) = tokio::join!(noise(port), client.event("trackEnd"));
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    phone.told("type", "CALL_CLOSED").await;
    heard_each_other(&rig, &phone, [&caller, &agent]).await;
    assert_eq!((answers, client.seen.iter().filter(|event| *event == "dtmf").count()), (0, 0));
    rig.server.stop().await;
}
