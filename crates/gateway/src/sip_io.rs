//! The SIP door: takes inbound calls from the driver and sends each where the rules say.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use audio::Codec;
use call::handle::ToCall;
use call::legs::sip::SipLeg;
use call::legs::sip_media::{LocalMedia, SipMedia};
use call::media_thread::Wire;
use call::setup::Playbooks as _;
use call::{CallHandle, Setup};
use playbook::Playbook;
use protocol::Extra;
use protocol::command::{Command, Reject};
use protocol::rest::{CallKind, InviteWebhook};
use rtp::sdp::{KeyRing, RING_BYTES, redacted};
use sip::{DialogId, Driver, Incoming, Invite, Judge, Query, Rejection, Screening, SipHandle, Time};
use tokio::sync::mpsc;

use crate::app::{self, App, Beginning};
use crate::calls::{NoPlace, Place};
use crate::config::Config;
use crate::config::words::{CodecName, TransferPolicy};
use crate::inbound::{Parties, Route};
use crate::ladder::Ladders;
use crate::playbooks::{self, Unfit};
use crate::policy::{self, Policy};
use crate::ports::{self, Port};
use crate::sinks::records;
use crate::sip_tls;

/// Transactions for each call that may be up: its INVITE, its end, and what is still remembered of others.
const TRANSACTIONS_PER_CALL: usize = 20;
/// What `Retry-After` says, in seconds.
const RETRY_AFTER: &str = "5";

/// The bound SIP socket.
pub struct SipDoor {
    /// Runs the socket; to be spawned.
    pub driver: Driver,
    /// The verbs.
    pub handle: SipHandle,
    /// New calls.
    pub incoming: mpsc::Receiver<Incoming>,
    /// Where messages are kept for operators.
    pub ladders: Ladders,
}

/// Why SIP cannot be listened for.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// A certificate cannot be used.
    #[error("the certificates of SIP: {0}; change tls_cert_file, tls_key_file or tls_ca_file")]
    Certificate(io::Error),
    /// A port cannot be bound.
    #[error("SIP cannot listen on {0}: {1}; change addr, udp_port, tcp_port, tls_port or --sip")]
    Bind(String, io::Error),
}

/// Binds the SIP sockets that `config` describes.
///
/// # Errors
/// [`DoorError`].
pub async fn bind(config: &Config) -> Result<SipDoor, DoorError> {
    let listen = SocketAddr::new(config.addr.unwrap_or_else(own_address), config.udp_port);
    let advertised = config
        .external_ip
        .unwrap_or_else(|| if listen.ip().is_unspecified() { own_address() } else { listen.ip() });
    let mut sip = sip::Config::new(SocketAddr::new(advertised, config.udp_port), rand::random());
    sip.user_agent.clone_from(&config.useragent);
    sip.max_dialogs = config.max_calls.saturating_add(config.max_calls / 4 + 16);
    sip.max_transactions = config.max_calls.saturating_mul(TRANSACTIONS_PER_CALL).max(1000);
    let streams = sip_tls::streams(config, listen.ip()).map_err(DoorError::Certificate)?;
    let (mut driver, handle, incoming) = Driver::bind_with(listen, streams, sip)
        .await
        .map_err(|error| DoorError::Bind(ports_of(config), error))?;
    let trusted = policy::trusted(&config.sip);
    driver.prefer(move |source| trusted.iter().any(|net| net.holds(source)));
    let policy = Policy::new(&config.sip, rand::random());
    let ladders = Ladders::default();
    let seen = ladders.clone();
    let replaceable = config.sip.transfer_requests == TransferPolicy::Accept;
    driver.screen(Porter { policy, seen, replaceable });
    Ok(SipDoor { driver, handle, incoming, ladders })
}

/// Stands at the door with the rules.
struct Porter {
    policy: Policy,
    seen: Ladders,
    replaceable: bool,
}

impl Judge for Porter {
    fn call(&mut self, now: Time, invite: &Invite) -> Screening {
        let ruling = self.policy.judge(now, invite);
        tell(&ruling, invite);
        if self.replaceable && invite.replaces.is_some() && ruling == Screening::Admit {
            self.seen.succeed(invite);
        }
        ruling
    }

    fn query(&mut self, now: Time, query: &Query) -> Option<Duration> {
        let span = self.policy.ask(now, query)?;
        let from = query.source;
        if query.stray {
            tracing::debug!(%from, ?span, "asks too fast; nothing new of this source is heard for a moment");
        } else {
            tracing::warn!(%from, ?span, "asks again and again; nothing new of this source is heard for a while");
        }
        Some(span)
    }

    fn hears_scanner(&self, source: SocketAddr) -> bool {
        self.policy.trusts(source.ip())
    }
}

/// Logs a call that is not admitted; of those that are refused again and again one line each time that they are
/// silenced.
fn tell(ruling: &Screening, invite: &Invite) {
    let (from, to) = (invite.source, &invite.to_uri);
    match ruling {
        Screening::Admit => {}
        Screening::Refuse(rejection) => {
            tracing::debug!(%from, code = rejection.code, ?to, "a call is not admitted");
        }
        Screening::Silence(rejection, span) if rejection.code != 403 => {
            tracing::debug!(%from, ?span, "comes too fast; nothing new of this source is heard for a moment");
        }
        Screening::Silence(_, span) => {
            tracing::warn!(%from, ?span, "refused again and again; nothing new of this source is heard for a while");
        }
    }
}

/// The ports of SIP, for a message.
fn ports_of(config: &Config) -> String {
    let mut text = format!("UDP port {}", config.udp_port);
    let streams = [
        ("TCP", Some(config.tcp_port.unwrap_or(config.udp_port))),
        ("TLS", config.tls_port),
        ("WS", config.ws_port),
        ("WSS", config.wss_port),
    ];
    for (name, port) in streams {
        text.extend(port.map(|port| format!(", {name} port {port}")));
    }
    text
}

/// The address by which the rest of the world is reached. Nothing is sent to find it.
fn own_address() -> IpAddr {
    ports::address_towards(SocketAddr::from(([192, 0, 2, 1], 9)))
}

/// Takes inbound calls until the driver ends.
pub async fn take(app: Arc<App>, handle: SipHandle, mut incoming: mpsc::Receiver<Incoming>) {
    while let Some(call) = incoming.recv().await {
        let (app, handle) = (app.clone(), handle.clone());
        // Each call by itself: a slow webhook or folder holds up no other call.
        app.tasks.clone().spawn(async move {
            let dialog = call.dialog;
            let id = call.invite.dialog_id.clone();
            let parties = (call.invite.from_uri.clone(), call.invite.to_uri.clone());
            if let Err(refusal) = admit(&app, &handle, call).await {
                refuse(&handle, dialog, &id, &refusal).await;
                let record = records::refused(&id, parties, (503, refusal.told()), app::now());
                if app.services.records.try_send(record).is_err() {
                    tracing::warn!(call = ?id, "the record of a refused call finds no room");
                }
            }
        });
    }
}

/// Why an inbound call gets 503.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
    #[error("{0}")]
    NoRoute(&'static str),
    #[error("{0}")]
    Playbook(String),
    #[error("{0}")]
    NoAgent(Unfit),
    #[error("no RTP port is free")]
    NoPort,
}

impl Refusal {
    /// What the caller is told; files and lines are for the log.
    fn told(&self) -> String {
        match self {
            Refusal::NoPlace(why) => why.to_string(),
            Refusal::NoRoute(why) => (*why).to_owned(),
            Refusal::Playbook(_) => "The playbook cannot be used".into(),
            Refusal::NoAgent(Unfit::Mute(_)) => "The agent has no voice".into(),
            Refusal::NoAgent(Unfit::Deaf(_)) => "The agent cannot hear".into(),
            Refusal::NoPort => "No RTP port is free".into(),
        }
    }
}

async fn refuse(handle: &SipHandle, dialog: DialogId, id: &str, refusal: &Refusal) {
    tracing::warn!(call = ?id, reason = ?refusal.to_string(), "an inbound call is refused with 503");
    let rejection = Rejection {
        headers: vec![
            ("Retry-After".into(), RETRY_AFTER.into()),
            ("Reason".into(), format!("SIP;cause=503;text=\"{}\"", refusal.told())),
        ],
        ..Rejection::new(503)
    };
    if let Err(error) = handle.reject(dialog, rejection).await {
        tracing::debug!(call = ?id, %error, "the refusal came too late");
    }
}

async fn admit(app: &Arc<App>, handle: &SipHandle, call: Incoming) -> Result<(), Refusal> {
    if is_kept_from(app, &call.invite) {
        return Err(NoPlace::Full.into());
    }
    let place = app.reserve(&call.invite.dialog_id)?;
    let playbook = match app.routes.route(&Parties::of(&call.invite)) {
        Route::Refuse(why) => return Err(Refusal::NoRoute(why)),
        Route::Webhook => None,
        Route::Playbook(name) => {
            let found = app.playbooks.find(&name).await;
            Some(found.map_err(|failure| Refusal::Playbook(failure.why))?)
        }
    };
    if let Some(playbook) = &playbook
        && let Some(why) = playbooks::unfit(playbook, &app.defaults(), &*app.services.providers)
    {
        return Err(Refusal::NoAgent(why));
    }
    let (wire, port) = socket(app)?;
    let announcement = playbook.is_none().then(|| announcement(&call.invite));
    let parts = Parts { place, wire, port, playbook };
    let begun = begin(app, handle, call, parts).await;
    if let Some(announcement) = announcement {
        announce(app, &begun, &announcement).await;
    }
    Ok(())
}

/// Whether what is left of places and ports is kept for trusted peers, and this call is of none: where everyone may call,
/// a flood of strangers must not keep out those for whom the server is there.
#[allow(clippy::disallowed_methods, reason = "the door is a driver: ports rest in real time")]
fn is_kept_from(app: &App, invite: &Invite) -> bool {
    let everyone = app.config.sip.open == Some(true) && !app.config.sip.trusted.is_empty();
    if !everyone || invite.account.is_some() {
        return false;
    }
    let source = invite.source.ip().to_canonical();
    let known = || policy::trusted(&app.config.sip).iter().any(|net| net.holds(source));
    let scarce = app.calls.is_scarce() || app.ports.is_scarce(std::time::Instant::now());
    scarce && !known()
}

#[allow(clippy::disallowed_methods, reason = "the door is a driver: ports rest in real time")]
fn socket(app: &App) -> Result<(Wire, Port), Refusal> {
    app.ports.take(std::time::Instant::now()).ok_or(Refusal::NoPort)
}

/// What an inbound call begins with, beside what the INVITE says.
struct Parts {
    place: Place,
    wire: Wire,
    port: Port,
    playbook: Option<Arc<Playbook>>,
}

async fn begin(app: &Arc<App>, handle: &SipHandle, call: Incoming, parts: Parts) -> CallHandle {
    let Incoming { dialog, invite, events } = call;
    app.ladders.name(&invite.dialog_id, &invite);
    let Invite { from_uri, to_uri, request_uri, headers, sdp, source, dialog_id, .. } = *invite;
    tracing::info!(call = ?dialog_id, from = ?from_uri, to = ?to_uri, %source, "inbound call");
    let mut leg = SipLeg::inbound(handle.clone(), dialog, events).telling(parts.port.told());
    leg = leg.finding(app.names.clone());
    let sdp = leg.located(sdp).await;
    let media = local_media(&app.config, source, parts.port.number());
    let unclaimed = parts.playbook.is_none();
    let setup = Setup {
        id: dialog_id.clone(),
        kind: CallKind::Sip,
        caller: from_uri,
        callee: to_uri,
        leg: Box::new(leg),
        wire: parts.wire,
        sip: Some(SipMedia::inbound(sdp, media)),
        vars: variables(request_uri, headers),
        playbook: parts.playbook,
        client: None,
        log: Some(app.event_log(&dialog_id)),
        defaults: app.defaults(),
        rules: app.rules(),
    };
    app.begin(Beginning { setup, place: parts.place, port: Some(parts.port), unclaimed }).await
}

/// Our side of the media with the peer at `peer`, on this RTP port.
pub(crate) fn local_media(config: &Config, peer: SocketAddr, port: u16) -> LocalMedia {
    let (address, other) = match config.external_ip {
        Some(external) => (external, None),
        None => media_addresses(config, peer),
    };
    LocalMedia {
        address,
        other,
        port,
        codecs: codecs(&config.codecs),
        telephone_event: config.codecs.contains(&CodecName::TelephoneEvent),
        latching: config.enable_rtp_latching,
        name: "active-call".into(),
        origin_id: rand::random(),
        signalling: Some(peer.ip()),
        keys: keys(),
    }
}

/// Fresh keys for one leg.
fn keys() -> KeyRing {
    let mut random = [0; RING_BYTES];
    rand::fill(&mut random);
    KeyRing::of_all(&random)
}

/// The address for SDP, and the one of the other kind where RTP's sockets serve both: the bound one, or the one by which
/// the peer is reached.
fn media_addresses(config: &Config, peer: SocketAddr) -> (IpAddr, Option<IpAddr>) {
    let bound = config.rtp_bind_ip.or(config.addr).unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    if !bound.is_unspecified() {
        return (bound, None);
    }
    let near = ports::address_towards(SocketAddr::new(peer.ip().to_canonical(), peer.port()));
    // Of the addresses for documentation nobody is asked: they only say which way the rest of the world is.
    let four = || ports::address_towards(SocketAddr::from(([192, 0, 2, 1], 9)));
    let six = || ports::address_towards(SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 9)));
    match (bound, near) {
        (IpAddr::V4(_), IpAddr::V4(_)) => (near, None),
        (IpAddr::V4(_), IpAddr::V6(_)) => (four(), None),
        (IpAddr::V6(_), IpAddr::V4(_)) => (near, Some(six())),
        (IpAddr::V6(_), IpAddr::V6(_)) => (near, Some(four())),
    }
}

/// The rows of the codec table that the configuration allows, in its order.
fn codecs(names: &[CodecName]) -> Vec<&'static Codec> {
    names
        .iter()
        .filter_map(|name| {
            audio::CODECS.iter().copied().find(|codec| codec.name.eq_ignore_ascii_case(name.as_str()))
        })
        .collect()
}

/// What the INVITE says, for playbooks: `request_uri`, and headers as `sip["X-Name"]`. Of several with one name the
/// first counts.
fn variables(request_uri: String, headers: Vec<(String, String)>) -> Extra {
    let mut sip = serde_json::Map::new();
    for (name, value) in headers {
        sip.entry(name).or_insert(value.into());
    }
    BTreeMap::from([("sip".to_owned(), sip.into()), ("request_uri".to_owned(), request_uri.into())])
}

/// Headers that prove to us who calls: whoever has them could call as that one.
const PROOFS: &[&str] = &["authorization", "proxy-authorization"];

fn announcement(invite: &Invite) -> InviteWebhook {
    InviteWebhook {
        event: "invite".into(),
        dialog_id: invite.dialog_id.clone(),
        caller: invite.from_uri.clone(),
        callee: invite.to_uri.clone(),
        request_uri: Some(invite.request_uri.clone()),
        created_at: app::now(),
        headers: invite
            .headers
            .iter()
            .filter(|(name, _)| !PROOFS.iter().any(|proof| name.eq_ignore_ascii_case(proof)))
            .map(|(name, value)| format!("{name}: {value}"))
            .collect(),
        offer: redacted(invite.sdp.as_deref().unwrap_or_default()).into_owned(),
        call_id: invite.call_id.clone(),
        from_tag: invite.from_tag.clone(),
        to_tag: invite.local_tag.clone(),
        camel_call_id: Some(invite.call_id.clone()),
        camel_from_tag: Some(invite.from_tag.clone()),
        camel_to_tag: Some(invite.local_tag.clone()),
    }
}

/// Tells the webhook, and refuses the call when nobody there wants it.
async fn announce(app: &App, call: &CallHandle, announcement: &InviteWebhook) {
    let Some(webhook) = &app.webhook else { return };
    let told = tokio::select! {
        told = webhook.announce(announcement) => told,
        // The caller has given up meanwhile.
        () = call.over() => return,
    };
    if let Err(error) = told {
        tracing::error!(call = ?call.id(), ?error, "no webhook takes the call; it is refused with 503");
        let reject = Reject { reason: "Service Unavailable".into(), code: Some(503) };
        // A call that is over needs no refusal.
        let _ = call.send(ToCall::Command(Box::new(Command::Reject(reject)))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_is_wanted_at_an_address_of_a_kind_that_its_socket_has() {
        let told = |bind: Option<&str>, peer: &str| {
            let rtp_bind_ip = bind.map(|ip| ip.parse().unwrap());
            let config = Config { rtp_bind_ip, ..Config::default() };
            let (address, other) = media_addresses(&config, peer.parse().unwrap());
            (address.is_ipv4(), other.map(|other| other.is_ipv4()))
        };
        for (bind, peer, expected) in [
            (None, "127.0.0.1:5060", (true, None)),
            (None, "[::1]:5060", (true, None)),
            (Some("0.0.0.0"), "[::1]:5060", (true, None)),
            (Some("::"), "[::1]:5060", (false, Some(true))),
            (Some("::"), "[::ffff:127.0.0.1]:5060", (true, Some(false))),
            (Some("::1"), "127.0.0.1:5060", (false, None)),
        ] {
            assert_eq!(told(bind, peer), expected, "{bind:?} {peer}");
        }
    }
}
