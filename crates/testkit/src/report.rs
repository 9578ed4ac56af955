//! What happened in a call, one line each, for people.

use call::core::Effect;
use call::legs::{LegId, LegRequest};
use call::setup::Rules;
use protocol::event::{Event, Holder, RejectEvent};
use protocol::record::{CallRecord, Quality};
use providers::RealtimeInput;

/// The line for something the rules do; `None` for what needs no telling.
pub fn effect(effect: &Effect) -> Option<String> {
    match effect {
        Effect::Request(LegId::MAIN, request) => Some(format!("leg {}", leg(request))),
        Effect::Request(LegId(number), request) => Some(format!("leg {number} {}", leg(request))),
        Effect::Dial(_, dial) => Some(format!("dials {} as {}", dial.callee, dial.caller)),
        Effect::Exchange(LegId(number), LegId::MAIN) => Some(format!("leg {number} becomes the main one")),
        Effect::Exchange(LegId(number), LegId(place)) => {
            Some(format!("leg {number} takes the place of leg {place}"))
        }
        Effect::Emit(event) => self::event(event).map(|text| format!("event {text}")),
        Effect::Speak(_, _, text) => Some(format!("synthesizer is given {text:?}")),
        Effect::OpenFile(_, url) => Some(format!("file {url} opens")),
        Effect::Ask(_, ask) => {
            let last = ask.messages.last().map_or("", |message| message.content.as_str());
            Some(format!("model is asked turn {}: {last:?}", ask.turn.0))
        }
        Effect::OpenModel(_, option) => {
            let extra = |key: &str| option.extra.as_ref()?.get(key).map(|text| format!(", {key} {text}"));
            let told = [extra("instructions"), extra("greeting")].into_iter().flatten().collect::<String>();
            Some(format!("speech model opens{told}"))
        }
        Effect::ToModel(input) => Some(format!("speech model is {}", to_model(input))),
        Effect::CloseModel(_) => Some("speech model is let go".into()),
        Effect::Abandon(turn) => Some(format!("model is told to drop turn {}", turn.0)),
        Effect::Fetch(_, request) => {
            let body = request.body.as_ref().map_or(String::new(), |body| format!(" {body}"));
            Some(format!("fetch {} {}{body}", request.method, request.url))
        }
        Effect::Music(_, url, _) => Some(format!("music {url}")),
        Effect::Ambience(url, ..) => Some(format!("background {url}")),
        Effect::Record(..) => Some("recording begins".into()),
        Effect::Subscribe => Some("subscription begins".into()),
        Effect::EndRecord => Some("recording ends".into()),
        Effect::Report(report) => report.outcome.report.as_ref().map(|to| {
            let body = report.outcome.body(&report.id, None, "");
            format!("report to {}: {} messages", to.url, body["history"].as_array().map_or(0, Vec::len))
        }),
        _ => None,
    }
}

/// The lines for the record of a call.
pub fn record(record: &CallRecord) -> Vec<String> {
    let reason = record.hangup_reason.as_ref().map_or("no reason", |reason| reason.wire());
    let said = record.hangup_messages.iter().filter_map(|message| message.reason.as_deref());
    let why: String = said.map(|text| format!(": {text}")).collect();
    let mut lines = vec![format!("record {} {reason}{why}", record.status_code)];
    lines.extend(record.quality.map(|quality| {
        let Quality { packets, lost, jitter_ms, mos, .. } = quality;
        format!(
            "record heard {packets} packets, {lost} lost, jitter {jitter_ms} ms, mos {}",
            mos.unwrap_or(0.0)
        )
    }));
    lines.extend(record.transcript.iter().map(|line| {
        let cut = if line.interrupted { ", interrupted" } else { "" };
        format!("record at {} {}{cut}: {:?}", seconds(line.at), line.speaker, line.text)
    }));
    lines
}

fn to_model(input: &RealtimeInput) -> String {
    match input {
        RealtimeInput::Audio(_) => "given sound".into(),
        RealtimeInput::ToolResult { output, .. } => format!("told the result {output}"),
        RealtimeInput::Interrupted { answer, heard } => {
            format!("told that {} ms of answer {} were heard", heard.as_millis(), answer.0)
        }
        RealtimeInput::Instructions(text) => format!("told what it is: {text:?}"),
        RealtimeInput::History(said) => {
            let lines = said.iter().map(|said| format!("{} {:?}", said.role.as_str(), said.content));
            format!("told what was said: {}", lines.collect::<Vec<_>>().join(", "))
        }
        RealtimeInput::Speak(text) => format!("to speak: {text:?}"),
    }
}

fn leg(request: &LegRequest) -> String {
    match request {
        LegRequest::Invite(call) => {
            let by = call.referred_by.as_ref().map_or_else(String::new, |by| format!(", referred by {by}"));
            format!("calls {} with {}{by}", call.callee, media(&call.sdp))
        }
        LegRequest::Ring { sdp: None } => "rings".into(),
        LegRequest::Ring { sdp: Some(_) } => "rings with sound".into(),
        LegRequest::Answer { sdp } => format!("answers {}", media(sdp)),
        LegRequest::Reject { code, reason, .. } => format!("refuses {code} {reason}"),
        LegRequest::AnswerReoffer(Ok(sdp)) => format!("agrees to {}", media(sdp)),
        LegRequest::Offer { sdp } => format!("is offered {}", media(sdp)),
        LegRequest::Digit { digit, length, body } => {
            format!("sends key {digit} for {} ms as {body:?}", length.as_millis())
        }
        LegRequest::AnswerReoffer(Err(objection)) => format!("refuses other media {}", objection.code),
        LegRequest::Transfer(transfer) => match transfer.with {
            Some(LegId(number)) => format!("is asked to call {} in place of leg {number}", transfer.to),
            None => format!("is asked to call {}", transfer.to),
        },
        LegRequest::AnswerTransfer(Ok(())) => "agrees to be sent on".into(),
        LegRequest::AnswerTransfer(Err(code)) => format!("refuses to be sent on {code}"),
        LegRequest::TransferProgress { code, reason } => format!("is told {code} {reason} of its transfer"),
        LegRequest::Hangup { headers } if headers.is_empty() => "hangs up".into(),
        LegRequest::Hangup { headers } => format!("hangs up with {headers:?}"),
    }
}

/// Codec, direction and encryption of a description.
fn media(sdp: &str) -> String {
    let directions = ["sendrecv", "sendonly", "recvonly", "inactive"];
    let direction = directions.into_iter().find(|word| sdp.contains(&format!("a={word}")));
    let codec = sdp.lines().find_map(|line| line.strip_prefix("a=rtpmap:")?.split_once(' '));
    let keys = match (sdp.contains("a=crypto:"), sdp.contains(" RTP/SAVP ")) {
        (true, true) => " encrypted",
        (true, false) => " with keys",
        (false, _) => "",
    };
    format!("{} {}{keys}", codec.map_or("nothing", |(_, name)| name), direction.unwrap_or("sendrecv"))
}

fn event(event: &Event) -> Option<String> {
    let id = |play_id: &Option<String>| play_id.as_ref().map_or(String::new(), |id| format!(" {id}"));
    Some(match event {
        Event::Incoming { caller, callee, .. } => format!("incoming from {caller} to {callee}"),
        Event::Answer { .. } => "answer".into(),
        Event::Reject(told) => {
            let RejectEvent { reason, code, particulars, .. } = &**told;
            let to = if particulars.contacts.is_empty() {
                String::new()
            } else {
                format!(" to {}", particulars.contacts.join(" "))
            };
            let cause = particulars.cause.as_ref().map_or(String::new(), |cause| format!(" because {cause}"));
            format!("reject {} {reason}{to}{cause}", code.unwrap_or(0))
        }
        Event::TrackStart { track_id, play_id, .. } => format!("trackStart {track_id}{}", id(play_id)),
        Event::TrackEnd { track_id, play_id, duration, .. } => {
            format!("trackEnd {track_id}{} after {duration} ms", id(play_id))
        }
        Event::Interruption { play_id, subtitle, position, total_duration, current, dropped, .. } => {
            let at = position.zip(subtitle.as_deref());
            let at = at.map_or_else(String::new, |(at, text)| format!(", character {at} of {text:?}"));
            let dropped =
                if dropped.is_empty() { String::new() } else { format!(", without {}", dropped.join(" | ")) };
            format!("interruption{} at {current} of {total_duration} ms{at}{dropped}", id(play_id))
        }
        Event::Speaking { start_time, .. } => format!("speaking since {}", seconds(*start_time)),
        Event::Silence { track_id, start_time, duration, .. } => {
            format!("silence {track_id} from {} for {duration} ms", seconds(*start_time))
        }
        Event::AsrDelta(words) => format!("asrDelta {:?}", words.text),
        Event::AsrFinal(words) => format!("asrFinal {:?}{}", words.text, of_second(&words.track_id)),
        Event::Metrics { key, duration, .. } if key == "response_time" => {
            format!("metrics {key} {duration} ms")
        }
        Event::Metrics { .. } => return None,
        Event::Dtmf { digit, track_id, .. } => format!("dtmf {digit}{}", of_second(track_id)),
        Event::Hold { on_hold, track_id, by, .. } => {
            let ours = if *by == Some(Holder::System) { " by us" } else { "" };
            format!("hold {on_hold}{ours}{}", of_second(track_id))
        }
        Event::Eou { completed, .. } => format!("eou {}", if *completed { "completed" } else { "goes on" }),
        Event::Inactivity { .. } => "inactivity".into(),
        Event::Error { sender, error, code, .. } => format!("error {sender} {}: {error}", code.unwrap_or(0)),
        Event::AddHistory { speaker, text, .. } => format!("addHistory {speaker}: {text:?}"),
        Event::Other { sender, extra, .. } => {
            format!("other {sender} {}", serde_json::to_string(extra).unwrap_or_default())
        }
        Event::Hangup(hangup) => format!(
            "hangup {} by {}",
            hangup.reason.as_deref().unwrap_or("without reason"),
            hangup.initiator.as_deref().unwrap_or("nobody")
        ),
        other => serde_json::to_string(other).unwrap_or_default(),
    })
}

/// Says of an event that it is about the second party.
fn of_second(track_id: &str) -> &'static str {
    if track_id == Rules::default().server_track { " of the second party" } else { "" }
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}
