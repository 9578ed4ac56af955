//! What the demonstration shows: the conversation turn by turn.

use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use protocol::Event;
use protocol::record::CallRecord;

use crate::ports::address_towards;

/// Writes to standard output; with colours when it is a terminal.
pub(super) struct Printer {
    out: io::Stdout,
    terminal: bool,
    /// A partial transcript stands on the last line.
    open: bool,
}

impl Printer {
    pub(super) fn new() -> Self {
        let out = io::stdout();
        Printer { terminal: out.is_terminal(), out, open: false }
    }

    pub(super) fn title(&mut self, text: &str) -> io::Result<()> {
        self.line(&format!("── {text}"), "1")
    }

    /// One event of the call, if it is worth a line.
    pub(super) fn event(&mut self, event: &Event) -> io::Result<()> {
        if !super::shown(event) {
            return Ok(());
        }
        match event {
            Event::AsrDelta(words) => self.partial(&format!("  caller …   {}", words.text)),
            Event::AsrFinal(words) => self.line(&format!("  caller     {}", words.text), "36"),
            Event::AddHistory { speaker, text, .. } if speaker == "assistant" => {
                self.line(&format!("  agent      {text}"), "32")
            }
            Event::Dtmf { digit, .. } => self.line(&format!("  caller     presses {digit}"), "36"),
            Event::Interruption { current, .. } => {
                self.line(&format!("             (interrupted after {current} ms)"), "33")
            }
            Event::Metrics { key, duration, .. } if key == "response_time" => self.line(
                &format!("             the reply began {duration} ms after the caller's last word"),
                "2",
            ),
            Event::Error { sender, error, .. } => self.line(&format!("  {sender}: {error}"), "31"),
            Event::Hangup(end) => {
                let reason = end.reason.as_deref().unwrap_or("unknown");
                self.title(&format!("the call is over ({reason})"))
            }
            _ => Ok(()),
        }
    }

    /// How long the caller waited for each answer, as heard at its end of the line.
    pub(super) fn waits(&mut self, waits: &[Duration]) -> io::Result<()> {
        let list: Vec<String> = waits.iter().map(|wait| format!("{} ms", wait.as_millis())).collect();
        self.line(&format!("  heard at the caller's end, from its last sample: {}", list.join(", ")), "2")
    }

    /// Where the call's files lie.
    pub(super) fn files(&mut self, record: &CallRecord, path: &Path) -> io::Result<()> {
        self.title("what is left of the call")?;
        for recording in &record.recorder {
            let size = recording.size;
            self.line(
                &format!("  recording    {} ({size} bytes; caller left, agent right)", recording.path),
                "0",
            )?;
        }
        if let Some(log) = &record.dump_event_file {
            self.line(&format!("  event log    {log}"), "0")?;
        }
        let lines = record.transcript.len();
        self.line(&format!("  call record  {} ({lines} lines of transcript)", path.display()), "0")
    }

    /// Where the server can be reached, from other machines with the key in a file.
    pub(super) fn addresses(&mut self, sip: SocketAddr, listen: SocketAddr, key: &Path) -> io::Result<()> {
        let http = SocketAddr::new(near(listen.ip()), listen.port());
        self.title("the server goes on; Ctrl-C stops it")?;
        for line in [
            format!("  SIP phone        {} (UDP)", phoned(sip, far(sip.ip()))),
            format!("  WebSocket audio  ws://{http}/call{}", elsewhere(listen, far(listen.ip()), key)),
            format!("  calls            http://{http}/call/lists"),
            format!("  health, metrics  http://{http}/health  http://{http}/metrics"),
        ] {
            self.line(&line, "0")?;
        }
        Ok(())
    }

    /// A line that the next one replaces, on a terminal.
    fn partial(&mut self, text: &str) -> io::Result<()> {
        if !self.terminal {
            return self.line(text, "0");
        }
        let mut out = self.out.lock();
        write!(out, "\r\x1b[2K\x1b[2m{text}\x1b[0m")?;
        self.open = true;
        out.flush()
    }

    fn line(&mut self, text: &str, colour: &str) -> io::Result<()> {
        let mut out = self.out.lock();
        if std::mem::take(&mut self.open) {
            write!(out, "\r\x1b[2K")?;
        }
        if self.terminal {
            writeln!(out, "\x1b[{colour}m{text}\x1b[0m")?;
        } else {
            writeln!(out, "{text}")?;
        }
        out.flush()
    }
}

/// A public address, to which nothing is sent: the way there is the way to other machines.
const ELSEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 9);

/// By which address this machine reaches a socket that listens on `ip`.
fn near(ip: IpAddr) -> IpAddr {
    if ip.is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { ip }
}

/// By which address others reach it.
fn far(ip: IpAddr) -> IpAddr {
    if ip.is_unspecified() { address_towards(ELSEWHERE) } else { ip }
}

/// Whom a phone of another machine calls, and one of this machine, where that is another address.
fn phoned(listen: SocketAddr, far: IpAddr) -> String {
    let uri = |ip| format!("sip:demo@{}", SocketAddr::new(ip, listen.port()));
    let near = near(listen.ip());
    if near == far { uri(far) } else { format!("{}, on this machine {}", uri(far), uri(near)) }
}

/// What a client on another machine needs, where the server listens for it.
fn elsewhere(listen: SocketAddr, far: IpAddr, key: &Path) -> String {
    // A machine without a way to others is reached by loopback alone.
    if listen.ip().is_loopback() || far.is_loopback() {
        return String::new();
    }
    let host = SocketAddr::new(far, listen.port());
    format!(", from other machines ws://{host}/call with the key in {}", key.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_elsewhere_is_told_an_address_that_it_reaches() {
        let far: IpAddr = "198.51.100.7".parse().unwrap();
        let everywhere: SocketAddr = "0.0.0.0:5060".parse().unwrap();
        assert_eq!(
            phoned(everywhere, far),
            "sip:demo@198.51.100.7:5060, on this machine sip:demo@127.0.0.1:5060"
        );
        assert_eq!(
            phoned("127.0.0.1:5070".parse().unwrap(), near(everywhere.ip())),
            "sip:demo@127.0.0.1:5070"
        );
    }

    #[test]
    fn a_client_elsewhere_is_told_the_address_and_the_key_where_it_may_come() {
        let (far, key) = ("198.51.100.7".parse().unwrap(), Path::new("config/active-call.key"));
        assert_eq!(
            elsewhere("0.0.0.0:8080".parse().unwrap(), far, key),
            ", from other machines ws://198.51.100.7:8080/call with the key in config/active-call.key"
        );
        assert_eq!(elsewhere("127.0.0.1:8080".parse().unwrap(), far, key), "");
        assert_eq!(elsewhere("0.0.0.0:8080".parse().unwrap(), "127.0.0.1".parse().unwrap(), key), "");
    }
}
