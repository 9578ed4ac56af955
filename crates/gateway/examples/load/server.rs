//! The server as seen from outside: what its process uses and what it counts.

use std::net::SocketAddr;
use std::time::Duration;

use crate::Failure;

/// What metrics say of a server, by name.
const COUNTED: [(&str, &str); 4] = [
    ("tasks", "active_call_tasks"),
    ("calls", "active_call_calls"),
    ("transactions", "active_call_sip_transactions"),
    ("retransmissions", "active_call_sip_retransmissions_total"),
];

/// A running server on this machine.
pub(crate) struct Server {
    pub(crate) pid: u32,
    pub(crate) sip: SocketAddr,
    pub(crate) http: SocketAddr,
}

/// What a process uses.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) rss_kb: u64,
}

impl Server {
    /// CPU time since the start, and memory now.
    pub(crate) fn usage(&self) -> Result<Usage, Failure> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).unwrap_or(&"").parse::<u64>();
        // utime and stime are fields 14 and 15 of proc(5), counted in hundredths of a second.
        let cpu = Duration::from_millis((ticks(11)? + ticks(12)?) * 10);
        Ok(Usage { cpu, rss_kb: self.status("VmRSS:")? })
    }

    /// Memory, descriptors, threads and counters now, as JSON.
    pub(crate) async fn sample(&self) -> Result<serde_json::Map<String, serde_json::Value>, Failure> {
        let mut sample = serde_json::Map::new();
        sample.insert("rss_kb".into(), self.status("VmRSS:")?.into());
        sample.insert("peak_rss_kb".into(), self.status("VmHWM:")?.into());
        sample.insert("threads".into(), self.status("Threads:")?.into());
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.pid))?.count();
        sample.insert("descriptors".into(), descriptors.into());
        let text = reqwest::get(format!("http://{}/metrics", self.http)).await?.text().await?;
        for (name, metric) in COUNTED {
            let value = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
            sample.insert(name.into(), value.and_then(|value| value.parse::<u64>().ok()).into());
        }
        Ok(sample)
    }

    fn status(&self, name: &str) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
        Ok(value.trim().trim_end_matches(" kB").parse()?)
    }
}
