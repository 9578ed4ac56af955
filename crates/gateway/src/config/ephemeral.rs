//! The ports that the system gives out by itself, and those of RTP beside them: whoever asks for any port could be
//! given one that a call is about to take.

use super::Config;

/// Where the ports begin that systems give out, where they do not say it (Linux).
const USUAL_FIRST: u16 = 32_768;
/// The last RTP port, where the system gives out none below.
pub(super) const USUAL_LAST: u16 = 42_000;
/// Ports of RTP for each call that may be up: sound and reports, of two parties.
const PORTS_PER_CALL: usize = 4;

/// Ports that are given out to who asks for any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ephemeral {
    first: u16,
    last: u16,
    /// Ranges of those that are held back.
    reserved: Vec<(u16, u16)>,
}

impl Ephemeral {
    /// Those of this machine; elsewhere than on Linux the usual ones.
    pub(crate) fn here() -> Self {
        let file = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
        let range = file("ip_local_port_range").unwrap_or_default();
        Self::read(&range, &file("ip_local_reserved_ports").unwrap_or_default())
    }

    /// As the kernel writes them: `32768 60999`, and `8080,9148-9150`.
    fn read(range: &str, reserved: &str) -> Self {
        let mut ends = range.split_whitespace().map(|end| end.parse().ok());
        let first = ends.next().flatten().unwrap_or(USUAL_FIRST);
        let pair = |part: &str| {
            let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
            Some((first.parse().ok()?, last.parse().ok()?))
        };
        let reserved = reserved.split(',').filter_map(pair).collect();
        Ephemeral { first, last: ends.next().flatten().unwrap_or(u16::MAX), reserved }
    }

    /// The first of these ports that is given out.
    fn first_in(&self, start: u16, end: u16) -> Option<u16> {
        let held = |port: &u16| self.reserved.iter().any(|(first, last)| (first..=last).contains(&port));
        (start.max(self.first)..=end.min(self.last)).find(|port| !held(port))
    }
}

/// The first and last port of RTP. Where the configuration does not say the last, it lies below those that the system
/// gives out, but never so low that `max_calls` calls find no room.
pub(crate) fn rtp_ports(config: &Config, given: &Ephemeral) -> (u16, u16) {
    let start = config.rtp_start_port;
    let last = || {
        let Some(taken) = given.first_in(start, USUAL_LAST) else { return USUAL_LAST };
        let needed = config.max_calls.saturating_mul(PORTS_PER_CALL).saturating_add(start.into());
        let least = u16::try_from(needed).map_or(USUAL_LAST, |needed| needed.min(USUAL_LAST));
        taken.saturating_sub(1).max(least)
    };
    (start, config.rtp_end_port.unwrap_or_else(last))
}

/// The first RTP port that the system may give to someone else.
pub(super) fn overlap(config: &Config, given: &Ephemeral) -> Option<u16> {
    let (start, end) = rtp_ports(config, given);
    given.first_in(start, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(range: &str, reserved: &str, change: impl FnOnce(&mut Config)) -> (u16, u16, Option<u16>) {
        let mut config = Config::default();
        change(&mut config);
        let given = Ephemeral::read(range, reserved);
        let (start, end) = rtp_ports(&config, &given);
        (start, end, overlap(&config, &given))
    }

    #[test]
    fn rtp_ends_below_the_ports_that_the_system_gives_out() {
        assert_eq!(ports("32768\t60999\n", "\n", |_| {}), (12_000, 32_767, None));
        assert_eq!(ports("", "", |_| {}), (12_000, 32_767, None));
        assert_eq!(ports("49152 65535", "", |_| {}), (12_000, 42_000, None));
        assert_eq!(ports("32768 60999", "5060,12000-42001", |_| {}), (12_000, 42_000, None));
        assert_eq!(ports("32768 60999", "32768-33000", |_| {}), (12_000, 33_000, None));
    }

    #[test]
    fn there_is_room_for_every_call_though_the_system_gives_out_nearly_all_ports() {
        assert_eq!(ports("1024 65535", "", |_| {}), (12_000, 20_000, Some(12_000)));
        assert_eq!(
            ports("1024 65535", "", |config| config.max_calls = 20_000),
            (12_000, 42_000, Some(12_000))
        );
        assert_eq!(ports("32768 60999", "", |config| config.rtp_start_port = 40_000).1, 42_000);
    }

    #[test]
    fn a_range_that_is_configured_stays_and_its_overlap_is_seen() {
        let configured = |end| move |config: &mut Config| config.rtp_end_port = Some(end);
        assert_eq!(ports("32768 60999", "", configured(42_000)), (12_000, 42_000, Some(32_768)));
        assert_eq!(ports("32768 60999", "32768-42000", configured(42_000)).2, None);
        assert_eq!(ports("32768 60999", "", configured(20_100)), (12_000, 20_100, None));
    }
}
