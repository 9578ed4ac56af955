//! Calls with linphone: every codec, transport and crypto suite that it shares with us, hold by either side, keys, early
//! media, and the extensions that it offers.

use std::path::PathBuf;

use active_call::config::Config;
use serde_json::{Value, json};

use crate::baresip::rig_with_agent_and;
use crate::hold::{hold_and_say_more, longest_silence, music_and_more, taken};
use crate::inbound_sip::{Hook, attach};
use crate::linphone::{self, Linphone, Settings};
use crate::rig::{Client, PATIENCE, Rig};
use crate::sound;
use crate::transports::with_tls;

/// What linphone is told to encrypt by this suite alone, if any.
fn encrypted(suite: Option<&str>) -> String {
    suite.map_or(String::new(), |suite| format!("media_encryption=srtp\nsrtp_crypto_suites={suite}"))
}

/// Calls linphone with this option.
async fn call(rig: &Rig, phone: &Linphone, mut option: Value) -> Client {
    let mut client = rig.connect("/call/sip").await;
    option["callee"] = json!(phone.uri());
    client.send(json!({"command": "invite", "option": option})).await;
    client
}

/// Hangs up a call of ours, and sees who has heard what.
async fn ends_well(rig: &Rig, phone: &mut Linphone, client: &mut Client, said: [&[i16]; 2]) {
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    phone.told("ended (No error)").await;
    heard_each_other(rig, phone, said).await;
}

/// Has the agent speak its sentence so often.
async fn speaks(client: &mut Client, times: usize) {
    for _ in 0..times {
        client.send(json!({"command": "play", "url": "agent.wav"})).await;
        client.event("trackEnd").await;
    }
}

/// The recording of the call that is over. It was a good one, and linphone's reports were read, but for those under a suite
/// of short tags: linphone gives them a short one too, against RFC 4568 section 6.2.2.
async fn recording(rig: &Rig) -> PathBuf {
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    let quality = record.quality.expect("the record tells how good it was");
    println!("{quality:?}");
    assert!(quality.packets > 100 && quality.mos.is_some_and(|mos| mos > 3.5), "{quality:?}");
    let ladder = rig.get(&format!("/api/v1/calls/{}/sip", record.call_id)).await.1;
    assert_eq!(
        quality.remote.is_some(),
        !ladder.contains("_SHA1_32\""),
        "linphone's reports are read: {quality:?}"
    );
    PathBuf::from(&record.recorder[0].path)
}

/// Sees that the phone was heard saying `caller`, and has heard `agent`.
async fn heard_each_other(rig: &Rig, phone: &Linphone, [caller, agent]: [&[i16]; 2]) {
    let said = sound::find(caller, &sound::channel(&recording(rig).await, 0));
    let heard = sound::find(agent, &phone.heard("hears.wav"));
    println!("the server hears {said:?}, linphone hears {heard:?}");
    assert!(phone.is_heard(&said) && phone.has_heard(&heard), "{said:?} {heard:?}");
}

/// A call of linphone that is up, and who is at our end of it.
async fn called(
    settings: &Settings,
    change: impl FnOnce(&mut Config),
) -> (Rig, Linphone, Client, Hook, [Vec<i16>; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let (rig, mut told, caller, agent) = rig_with_agent_and(|config| {
        with_tls(config, folder.path());
        change(config);
    })
    .await;
    let settings = Settings {
        sip: format!("root_ca={}/cert.pem\n{}", folder.path().display(), settings.sip),
        ..settings.clone()
    };
    let mut phone = Linphone::start(&rig.path("phone"), &settings, &caller).await;
    let (host, port) = match settings.transport {
        // Its library for TLS knows no certificates for addresses.
        "tls" => ("localhost", rig.server.sip_streams().tls.unwrap().port()),
        "tcp" => ("127.0.0.1", rig.server.sip_streams().tcp.unwrap().port()),
        _ => ("127.0.0.1", rig.server.sip_addr().port()),
    };
    phone.calls(&format!("sip:agent@{host}:{port};transport={}", settings.transport)).await;
    let client = taken(&rig, &mut told).await;
    phone.talks().await;
    (rig, phone, client, told, [caller, agent])
}

/// Ends a call of linphone's, by linphone.
async fn hangs_up(phone: &mut Linphone, client: &mut Client) {
    phone.command("terminate").await;
    let hangup = client.event("hangup").await;
    assert_eq!(hangup["initiator"], "caller", "{hangup}");
    phone.told("ended (No error)").await;
}

/// A call of linphone's that is encrypted under this suite, if any.
async fn a_call_comes_in(codec: &'static str, transport: &'static str, suite: Option<&str>) {
    let settings = Settings { transport, sip: encrypted(suite), ..Settings::of(codec) };
    let (rig, mut phone, mut client, _told, [caller, agent]) = called(&settings, |_| {}).await;
    speaks(&mut client, 2).await;
    rig.has_agreed_on(codec, suite).await;
    hangs_up(&mut phone, &mut client).await;
    heard_each_other(&rig, &phone, [&caller, &agent]).await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn linphone_and_the_agent_hear_each_other_in_each_codec_over_each_transport() {
    if linphone::is_here() {
        tokio::join!(
            a_call_comes_in("PCMU", "udp", None),
            a_call_comes_in("PCMA", "tcp", Some("AES_CM_128_HMAC_SHA1_80")),
            a_call_comes_in("G722", "udp", None),
            a_call_comes_in("opus", "tls", Some("AES_CM_128_HMAC_SHA1_32")),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn linphone_that_wants_keys_of_256_bits_and_the_agent_hear_each_other() {
    if linphone::is_here() {
        let long = a_call_comes_in("PCMU", "udp", Some("AES_256_CM_HMAC_SHA1_80"));
        let short = a_call_comes_in("opus", "udp", Some("AES_256_CM_HMAC_SHA1_32"));
        tokio::join!(long, short);
    }
}

/// A call of ours to linphone that answers, over this transport and under this suite, if any.
async fn a_call_goes_out(codec: &'static str, transport: &'static str, suite: Option<&str>) {
    let (rig, _told, caller, agent) = rig_with_agent_and(|_| {}).await;
    let settings = Settings { transport, sip: encrypted(suite), ..Settings::of(codec) }.answering();
    let mut phone = Linphone::start(&rig.path("phone"), &settings, &caller).await;
    let option = json!({"recorder": {}, "sip": {"enableSrtp": suite.is_some()}});
    let mut client = call(&rig, &phone, option).await;
    client.event("answer").await;
    phone.talks().await;
    speaks(&mut client, 3).await;
    rig.has_agreed_on(codec, suite).await;
    ends_well(&rig, &mut phone, &mut client, [&caller, &agent]).await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_ours_to_linphone_in_each_codec_is_heard_on_both_sides() {
    if linphone::is_here() {
        tokio::join!(
            a_call_goes_out("PCMU", "tcp", Some("AES_CM_128_HMAC_SHA1_80")),
            a_call_goes_out("PCMA", "udp", None),
            a_call_goes_out("G722", "udp", Some("AES_CM_128_HMAC_SHA1_32")),
            a_call_goes_out("opus", "tcp", None),
        );
    }
}

/// A hold and its end by linphone, twice; other words are said by it after that.
async fn linphone_holds() {
    let (rig, mut phone, mut client, _told, [caller, agent]) = called(&Settings::of("PCMU"), |_| {}).await;
    let later = sound::speech(rig.folder.path(), "I have found my ticket, it was in my other coat").await;
    // Long enough for the phone too to say all that it has to say before the hold.
    speaks(&mut client, 2).await;
    for _ in 0..2 {
        phone.command("pause").await;
        assert_eq!(client.event("hold").await["onHold"], true);
        phone.told("is now paused").await;
        phone.plays("later.wav", &later).await;
        phone.keeps("hears_later.wav").await;
        phone.command("resume").await;
        assert_eq!(client.event("hold").await["onHold"], false);
        phone.talks().await;
    }
    speaks(&mut client, 2).await;
    hangs_up(&mut phone, &mut client).await;
    let heard = sound::channel(&recording(&rig).await, 0);
    let found = [
        sound::find(&caller, &heard),
        sound::find(&later, &heard),
        sound::find(&agent, &phone.heard("hears.wav")),
        sound::find(&agent, &phone.heard("hears_later.wav")),
    ];
    println!("{found:?}");
    assert!(found.iter().all(|found| phone.is_heard(found)), "{found:?}");
    rig.server.stop().await;
}

/// Our own hold, with music, of a phone that speaks this codec, encrypted or not.
async fn linphone_is_held(codec: &'static str, sip: &str) {
    let settings = Settings { sip: sip.to_owned(), ..Settings::of(codec) };
    let (rig, mut phone, mut client, _told, [caller, _]) = called(&settings, |_| {}).await;
    let (music, more) = music_and_more(&rig).await;
    speaks(&mut client, 1).await;
    hold_and_say_more(&mut client).await;
    phone.told("has been paused by").await;
    phone.talks().await;
    speaks(&mut client, 2).await;
    hangs_up(&mut phone, &mut client).await;
    let (heard, said) = (phone.heard("hears.wav"), sound::channel(&recording(&rig).await, 0));
    let silence = longest_silence(&said);
    assert!(silence.len() > 5 * 8_000, "nothing of the held party is kept: {silence:?}");
    let found =
        [sound::find(&music, &heard), sound::find(&more, &heard), sound::find(&caller, &said[silence.end..])];
    println!("{codec}: {found:?}");
    assert!(found.iter().all(|found| phone.is_heard(found)), "{found:?}");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn linphone_holds_and_resumes_and_is_held_hears_the_music_and_is_taken_back() {
    if linphone::is_here() {
        let (clear, encrypted) =
            (linphone_is_held("PCMA", ""), linphone_is_held("opus", "media_encryption=srtp"));
        tokio::join!(linphone_holds(), clear, encrypted);
    }
}

/// Keys both ways; `sip` says how linphone sends its own, and `method` how we are told to send ours.
async fn keys_go_both_ways(sip: &str, method: &str) {
    let settings = Settings { sip: sip.to_owned(), ..Settings::of("PCMU") };
    let (rig, mut phone, mut client, _told, _) = called(&settings, |_| {}).await;
    phone.command("19#*00").await;
    for digit in ["1", "9", "#", "*", "0", "0"] {
        assert_eq!(client.event("dtmf").await["digit"], digit);
    }
    client.send(json!({"command": "dtmf", "digits": "2277*#A", "method": method})).await;
    for digit in ["2", "2", "7", "7", "*", "#", "A"] {
        let between = phone.told(&format!("Receiving tone {digit} from")).await;
        assert!(!between.contains("Receiving tone"), "none of them comes twice: {between}");
    }
    hangs_up(&mut phone, &mut client).await;
    assert_eq!(client.seen.iter().filter(|event| *event == "dtmf").count(), 6, "none of them comes twice");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_go_both_ways_between_linphone_and_the_agent_as_events_and_by_info() {
    if linphone::is_here() {
        tokio::join!(keys_go_both_ways("", "rtp"), keys_go_both_ways("use_info=1\nuse_rfc2833=0", "info"));
    }
}

/// Sound before our answer.
async fn early_by_us() {
    let (rig, mut told, caller, agent) = rig_with_agent_and(|_| {}).await;
    let settings = Settings { sip: "100rel_support_level=2".into(), ..Settings::of("PCMU") };
    let mut phone = Linphone::start(&rig.path("phone"), &settings, &caller).await;
    phone.calls(&format!("sip:agent@{}", rig.server.sip_addr())).await;
    let mut client = attach(&rig, &mut told).await;
    client.send(json!({"command": "ringing", "ringtone": "agent.wav"})).await;
    phone.told("early media").await;
    phone.hears("hears.wav", 7).await;
    client.send(json!({"command": "accept", "option": {"recorder": {}}})).await;
    client.event("answer").await;
    phone.told("connected").await;
    assert_eq!(rig.messages("PRACK").await.len(), 1);
    client.send(json!({"command": "play", "url": "agent.wav"})).await;
    client.event("trackEnd").await;
    hangs_up(&mut phone, &mut client).await;
    heard_each_other(&rig, &phone, [&caller, &agent]).await;
    rig.server.stop().await;
}

/// Sound before linphone's.
async fn early_by_it() {
    let (rig, _told, caller, agent) = rig_with_agent_and(|_| {}).await;
    let sip = "100rel_support_level=2\nincoming_calls_early_media=1".to_owned();
    let settings = Settings { sip, ..Settings::of("PCMA") };
    let mut phone = Linphone::start(&rig.path("phone"), &settings, &caller).await;
    let mut client = call(&rig, &phone, json!({"recorder": {}})).await;
    assert_eq!(client.event("ringing").await["earlyMedia"], true);
    phone.command("answer").await;
    client.event("answer").await;
    phone.talks().await;
    assert_eq!(rig.messages("PRACK").await.len(), 1);
    speaks(&mut client, 3).await;
    ends_well(&rig, &mut phone, &mut client, [&caller, &agent]).await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_before_the_answer_is_acknowledged_by_linphone_and_by_us_and_stands() {
    if linphone::is_here() {
        tokio::join!(early_by_us(), early_by_it());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn linphone_that_leaves_every_offer_to_us_holds_and_is_heard_again() {
    if !linphone::is_here() {
        return;
    }
    let settings = Settings { sip: "sdp_200_ack=1".into(), ..Settings::of("PCMU") };
    let (rig, mut phone, mut client, _told, [caller, agent]) = called(&settings, |_| {}).await;
    speaks(&mut client, 1).await;
    phone.command("pause").await;
    assert_eq!(client.event("hold").await["onHold"], true);
    phone.told("is now paused").await;
    phone.command("resume").await;
    assert_eq!(client.event("hold").await["onHold"], false);
    phone.talks().await;
    phone.keeps("hears.wav").await;
    speaks(&mut client, 2).await;
    let invites = rig.messages("INVITE").await;
    assert!(!invites[0].contains("m=audio"), "{invites:?}");
    hangs_up(&mut phone, &mut client).await;
    heard_each_other(&rig, &phone, [&caller, &agent]).await;
    rig.server.stop().await;
}

/// A call of linphone whose offer has these extensions, each told by a part of it.
async fn offers(settings: Settings, parts: &[&str]) {
    let (rig, mut phone, mut client, _told, [caller, agent]) = called(&settings, |_| {}).await;
    speaks(&mut client, 2).await;
    let invite = rig.messages("INVITE").await.remove(0);
    assert!(parts.iter().all(|part| invite.contains(part)), "{parts:?} in {invite}");
    hangs_up(&mut phone, &mut client).await;
    heard_each_other(&rig, &phone, [&caller, &agent]).await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn linphone_is_heard_with_feedback_ports_shared_with_reports_capabilities_and_zrtp() {
    if !linphone::is_here() {
        return;
    }
    let feedback = Settings { rtp: "avpf=1\nno_avpf_for_audio=0\nrtcp_mux=1".into(), ..Settings::of("PCMA") };
    let encrypted = Settings { sip: "media_encryption=srtp".into(), ..feedback.clone() };
    let sip =
        "support_capability_negotiations=1\nmedia_encryption=zrtp\nsupported_encryptions=zrtp,srtp,none";
    let capable = Settings { sip: sip.into(), ..Settings::of("PCMU") };
    tokio::join!(
        offers(feedback, &[" RTP/AVPF ", "a=rtcp-fb:", "a=rtcp-mux"]),
        offers(encrypted, &[" RTP/SAVPF ", "a=crypto:1 "]),
        offers(capable, &["a=zrtp-hash:", "a=tcap:", "a=pcfg:"]),
    );
}

/// The session of a call of linphone's is refreshed, after half of the shortest time that there is.
async fn our_refresh(settings: &Settings) {
    let (rig, mut phone, mut client, _told, _) = called(settings, |_| {}).await;
    let refreshing = async {
        rig.has_messages("UPDATE sip:127.0.0.1:", 1).await;
        phone.command("terminate").await;
    };
    let ending = client.event_within("hangup", PATIENCE * 4);
    let ((), hangup) = tokio::join!(refreshing, ending);
    assert_eq!(hangup["initiator"], "caller", "{hangup}");
    rig.server.stop().await;
}

/// The same of a call of ours, by linphone.
async fn its_refresh(settings: &Settings) {
    let rig = Rig::start().await;
    let mut phone = Linphone::start(&rig.path("phone"), &settings.clone().answering(), &[0; 8_000]).await;
    let mut client = call(&rig, &phone, json!({})).await;
    client.event("answer").await;
    let refreshing = async {
        rig.has_messages("UPDATE sip:active-call@", 1).await;
        phone.command("terminate").await;
    };
    let ending = client.event_within("hangup", PATIENCE * 4);
    let ((), hangup) = tokio::join!(refreshing, ending);
    assert_eq!(hangup["initiator"], "callee", "{hangup}");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_with_linphone_are_refreshed_by_us_and_by_it() {
    if linphone::is_here() {
        let sip = "session_expires_enabled=1\nsession_expires_value=90\nsession_expires_min_value=90\n\
                   session_expires_refresher_value=uas";
        let settings = Settings { sip: sip.into(), ..Settings::of("PCMU") };
        tokio::join!(our_refresh(&settings), its_refresh(&settings));
    }
}
