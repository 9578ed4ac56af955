//! `GET /metrics`: what the server counts, in the text format of Prometheus.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use call::tally::{Histogram, Names, Tally, Told};

use super::Door;

/// Content type of the text format.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper limits of the lateness that media threads count, in seconds.
const LATENESS: [&str; 5] = ["0.001", "0.002", "0.005", "0.02", "+Inf"];

/// `GET /metrics`.
pub(super) async fn text(State(door): State<Door>) -> Response {
    let mut page = Page::default();
    let calls = door.app.calls.counts();
    page.gauge("active_call_calls", "Calls now.", calls.now as u64);
    page.counter("active_call_calls_total", "Calls since the start.", calls.total);
    page.counter("active_call_calls_refused_total", "Calls refused for want of a place.", calls.refused);
    let capped = door.app.cap.refused();
    page.counter("active_call_outbound_capped_total", "Legs beyond sip.outbound_per_hour.", capped);
    page.gauge("active_call_calls_limit", "Calls that may be up at once.", door.app.config.max_calls as u64);
    page.gauge("active_call_draining", "1 while the server stops.", door.app.calls.draining().into());
    if let Some(archive) = &door.app.records {
        page.counter(
            "active_call_records_refused_total",
            "Records that a receiver or the database refused and that were set aside.",
            archive.refused.load(Ordering::Relaxed),
        );
    }
    if let Ok(sip) = door.sip.counters().await {
        page.counter("active_call_sip_received_total", "SIP datagrams received.", sip.received);
        page.counter("active_call_sip_sent_total", "SIP datagrams sent.", sip.sent);
        page.counter(
            "active_call_sip_parse_errors_total",
            "Datagrams that are no SIP message.",
            sip.parse_errors,
        );
        page.counter("active_call_sip_refused_total", "Requests refused without state.", sip.refused);
        page.counter("active_call_sip_retransmissions_total", "Messages sent again.", sip.retransmissions);
        page.counter("active_call_sip_unsent_total", "Datagrams the socket did not take.", sip.unsent);
        page.gauge("active_call_sip_transactions", "Transactions now.", sip.transactions as u64);
        page.gauge("active_call_sip_dialogs", "Dialogs now.", sip.dialogs as u64);
    }
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    page.gauge("active_call_tasks", "Tasks of the runtime now.", tasks as u64);
    registrations(&mut page, &door);
    told(&mut page, &door.app.services.told);
    media(&mut page, &door);
    ([(CONTENT_TYPE, FORMAT)], page.text).into_response()
}

fn registrations(page: &mut Page, door: &Door) {
    let name = "active_call_registered";
    page.head(name, "1 for each account that calls reach us by.", "gauge");
    for standing in door.app.accounts.standings() {
        let account = standing.account.replace('\\', "\\\\").replace('"', "\\\"");
        let up = standing.state == "registered";
        page.line(&format!("{name}{{account=\"{account}\"}}"), up.into());
    }
}

/// How calls go for those who call.
fn told(page: &mut Page, told: &Told) {
    page.counters(
        "active_call_errors_total",
        "Errors that calls told, by what failed.",
        "sender",
        &told.errors,
    );
    page.counters("active_call_calls_ended_total", "Calls that are over, by reason.", "reason", &told.ends);
    let panics = told.panics.load(Ordering::Relaxed);
    page.counter("active_call_call_panics_total", "Calls ended by an error in their rules.", panics);
    let interruptions = told.interruptions.load(Ordering::Relaxed);
    page.counter("active_call_interruptions_total", "Times a caller talked over the agent.", interruptions);
    page.histogram(
        "active_call_response_seconds",
        "From the end of a caller's words to the first sound of the reply.",
        &told.response_time,
    );
}

fn media(page: &mut Page, door: &Door) {
    let counters = door.app.services.media.counters();
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    page.gauge(
        "active_call_media_calls",
        "Calls on media threads now.",
        counters.calls.load(Ordering::Relaxed) as u64,
    );
    page.counter("active_call_media_slips_total", "Ticks skipped for lateness.", read(&counters.slips));
    page.counter(
        "active_call_media_unsent_total",
        "RTP packets the kernel did not take.",
        read(&counters.unsent),
    );
    page.counter("active_call_media_unheard_total", "Chunks no recognizer took.", read(&counters.unheard));
    page.counter(
        "active_call_media_panics_total",
        "Calls ended by an error in their sound.",
        read(&counters.panics),
    );
    let name = "active_call_media_tick_late_seconds";
    page.head(name, "How late after its tick each call was sent.", "histogram");
    let mut sum = 0;
    for (limit, count) in LATENESS.iter().zip(&counters.lateness) {
        sum += read(count);
        page.line(&format!("{name}_bucket{{le=\"{limit}\"}}"), sum);
    }
    page.sum(name, read(&counters.lateness_us) as f64 / 1e6);
    page.line(&format!("{name}_count"), sum);
    quality(page, &counters.quality);
}

/// How good the sound of SIP legs was that are over.
fn quality(page: &mut Page, tally: &Tally) {
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    page.counter("active_call_rtp_packets_total", "RTP packets heard.", read(&tally.packets));
    page.counter("active_call_rtp_lost_total", "RTP packets that never came.", read(&tally.lost));
    let name = "active_call_rtp_dropped_total";
    page.head(name, "Packets that came to the ports of calls and were dropped, by cause.", "counter");
    for (cause, count) in &tally.dropped {
        page.line(&format!("{name}{{cause=\"{cause}\"}}"), read(count));
    }
    page.histogram("active_call_rtp_mos", "Estimated mean opinion score, by leg.", &tally.mos);
    page.histogram("active_call_rtp_jitter_seconds", "Jitter, by leg.", &tally.jitter);
    page.histogram("active_call_rtp_round_trip_seconds", "Round trip, by leg.", &tally.round_trip);
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "gauge");
        self.line(name, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "counter");
        self.line(name, value);
    }

    fn counters(&mut self, name: &str, help: &str, label: &str, names: &Names) {
        self.head(name, help, "counter");
        for (value, count) in names.counts() {
            self.line(&format!("{name}{{{label}=\"{value}\"}}"), count);
        }
    }

    fn histogram<const N: usize>(&mut self, name: &str, help: &str, histogram: &Histogram<N>) {
        self.head(name, help, "histogram");
        let (counts, all) = histogram.counts();
        for (limit, count) in counts {
            self.line(&format!("{name}_bucket{{le=\"{limit}\"}}"), count);
        }
        self.line(&format!("{name}_bucket{{le=\"+Inf\"}}"), all);
        self.sum(name, histogram.sum());
        self.line(&format!("{name}_count"), all);
    }

    fn sum(&mut self, name: &str, sum: f64) {
        let _ = writeln!(self.text, "{name}_sum {sum}");
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing to a text cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, value: u64) {
        let _ = writeln!(self.text, "{name} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_its_help_and_its_type() {
        let mut page = Page::default();
        page.counter("x_total", "Things.", 7);
        assert_eq!(page.text, "# HELP x_total Things.\n# TYPE x_total counter\nx_total 7\n");
    }
}
