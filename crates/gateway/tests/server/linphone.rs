//! linphone as a phone that tests command: its shell `linphonec`, with sound from and to files. It is larger than all
//! other programs of the tests together, so that they are left out where it is not.

use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::likeness::Found;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use crate::rig::{PATIENCE, until};
use crate::watch::Watch;
use crate::{programs, sound};

const PROGRAM: &str = "linphonec";

/// What it speaks, as it names it: all of it has to be named, or it is added by itself.
const CODECS: [(&str, u32, u8); 9] = [
    ("PCMU", 8_000, 1),
    ("PCMA", 8_000, 1),
    ("G722", 8_000, 1),
    ("opus", 48_000, 2),
    ("speex", 8_000, 1),
    ("speex", 16_000, 1),
    ("speex", 32_000, 1),
    ("GSM", 8_000, 1),
    ("G729", 8_000, 1),
];

/// How one is set up.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The codec that it has.
    pub(crate) codec: &'static str,
    /// `udp`, `tcp` or `tls`.
    pub(crate) transport: &'static str,
    /// Further lines of its section `[sip]`.
    pub(crate) sip: String,
    /// Further lines of its section `[rtp]`.
    pub(crate) rtp: String,
    /// Whether it answers by itself.
    pub(crate) answers: bool,
}

impl Settings {
    /// One that has this codec alone, in clear over UDP.
    pub(crate) fn of(codec: &'static str) -> Settings {
        let (sip, rtp) = (String::new(), String::new());
        Settings { codec, transport: "udp", sip, rtp, answers: false }
    }

    /// The same that answers by itself.
    pub(crate) fn answering(self) -> Settings {
        Settings { answers: true, ..self }
    }
}

/// A running linphone, in a folder of its own, that plays `says.wav` into its calls again and again.
pub(crate) struct Linphone {
    /// Where it takes calls.
    pub(crate) sip: u16,
    transport: &'static str,
    commands: ChildStdin,
    output: ChildStdout,
    unread: String,
    folder: PathBuf,
    /// Whether its codec keeps the form of a wave.
    keeps_form: bool,
    watch: Watch,
    _child: Child,
}

/// Whether it is installed. Tests that do without say so.
pub(crate) fn is_here() -> bool {
    let here = Command::new(PROGRAM).arg("--version").output().is_ok();
    if !here {
        println!("left out: linphonec is not installed; scripts/setup peers installs it");
    }
    here
}

impl Linphone {
    /// It keeps what it hears in `hears.wav`.
    pub(crate) async fn start(folder: &Path, settings: &Settings, says: &[i16]) -> Linphone {
        let [sip, media] = programs::free_ports::<2>();
        // Its calls are nowhere if it has no place for its list of them.
        std::fs::create_dir_all(folder.join(".local/share/linphone")).unwrap();
        std::fs::write(folder.join("config"), configuration(settings, [sip, media])).unwrap();
        let mut child = programs::start_shell(PROGRAM, &["-c", "config", "-d", "5", "-l", "log"], folder);
        let (commands, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (unread, watch) = (String::new(), Watch::start());
        let (folder, transport) = (folder.into(), settings.transport);
        let keeps_form = settings.codec != "opus";
        let mut phone =
            Linphone { sip, transport, commands, output, unread, folder, keeps_form, watch, _child: child };
        phone.told("linphonec>").await;
        phone.command("soundcard use files").await;
        phone.plays("says.wav", says).await;
        phone.keeps("hears.wav").await;
        if settings.answers {
            phone.command("autoanswer enable").await;
            phone.told("Auto answer enabled").await;
        }
        phone
    }

    /// Whom to call.
    pub(crate) fn uri(&self) -> String {
        format!("sip:phone@127.0.0.1:{};transport={}", self.sip, self.transport)
    }

    /// Types a command.
    pub(crate) async fn command(&mut self, command: &str) {
        self.commands.write_all(format!("{command}\n").as_bytes()).await.unwrap();
    }

    /// Plays this from now on, in the call that is up and in those that follow.
    pub(crate) async fn plays(&mut self, name: &str, says: &[i16]) {
        let file = self.folder.join(name);
        sound::write_wav(&file, 8_000, says);
        self.command(&format!("play {}", file.display())).await;
    }

    /// Keeps in this file what it hears from now on. Later calls are appended.
    pub(crate) async fn keeps(&mut self, name: &str) {
        let file = self.folder.join(name);
        self.command(&format!("record {}", file.display())).await;
    }

    /// Waits until it says this; gives what it has said before.
    pub(crate) async fn told(&mut self, what: &str) -> String {
        loop {
            if let Some(at) = self.unread.find(what) {
                let rest = self.unread.split_off(at + what.len());
                self.unread.truncate(at);
                return std::mem::replace(&mut self.unread, rest);
            }
            let mut some = [0; 4096];
            let read = timeout(PATIENCE, self.output.read(&mut some)).await;
            let length = read.unwrap_or_else(|_| panic!("no {what:?} in {:?}", self.unread)).unwrap();
            assert!(length > 0, "linphone has ended before {what:?}: {:?}", self.unread);
            self.unread.push_str(&String::from_utf8_lossy(&some[..length]));
        }
    }

    /// Calls this URI.
    pub(crate) async fn calls(&mut self, uri: &str) {
        self.command(&format!("call {uri}")).await;
    }

    /// Sound flows, after the beginning of a call or the end of a hold.
    pub(crate) async fn talks(&mut self) {
        self.told("Media streams established").await;
    }

    /// Whether sound of this phone was heard as it was said. Its threads ask for a priority that they may not have.
    pub(crate) fn is_heard(&self, said: &Found) -> bool {
        let stall = self.watch.stall();
        if self.keeps_form { said.is_same_but_for(stall) } else { said.is_heard_but_for(stall) }
    }

    /// Whether this phone has heard sound of ours as it was said.
    pub(crate) fn has_heard(&self, said: &Found) -> bool {
        if self.keeps_form { said.is_same() } else { said.is_heard() }
    }

    /// Waits until it has heard so many more seconds, at 8 kHz.
    pub(crate) async fn hears(&self, name: &str, seconds: u64) {
        let length = || self.folder.join(name).metadata().map_or(0, |file| file.len());
        let enough = length() + seconds * 16_000;
        until("linphone hears", || (length() > enough).then_some(())).await;
    }

    /// What it has heard, by the file of this name. Only when the call is over the file is whole.
    pub(crate) fn heard(&self, name: &str) -> Vec<i16> {
        sound::channel(&self.folder.join(name), 0)
    }
}

fn configuration(settings: &Settings, [sip, media]: [u16; 2]) -> String {
    let port = |transport| if settings.transport == transport { sip } else { 0 };
    let mut lines = vec![
        "[net]\nmtu=1300\n[sip]\nbind_address=127.0.0.1\nguess_hostname=0\ncontact=sip:phone@127.0.0.1"
            .to_owned(),
        // What it says of itself is of the network that it has else.
        "use_ipv6=0\nipv6_migration_done=TRUE".to_owned(),
        format!("sip_port={}\nsip_tcp_port={}\nsip_tls_port={}", port("udp"), port("tcp"), port("tls")),
        settings.sip.clone(),
        format!("[rtp]\naudio_rtp_port={media}-{}\nbind_address=127.0.0.1", media + 3),
        settings.rtp.clone(),
    ];
    for (n, (mime, rate, channels)) in CODECS.iter().enumerate() {
        let enabled = u8::from(settings.codec == *mime);
        lines.push(format!(
            "[audio_codec_{n}]\nmime={mime}\nrate={rate}\nchannels={channels}\nenabled={enabled}"
        ));
    }
    lines.join("\n") + "\n"
}
