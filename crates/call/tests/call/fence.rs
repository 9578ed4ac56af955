//! An error inside the sound of one call ends that call, with a record that says so, and no other.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use audio::Codec;
use audio::codec::g711::PCMU;
use audio::codec::{Decoder, Encoder};
use call::handle::EVENTS;
use call::legs::sip_media::{LocalMedia, SipMedia};
use call::legs::unsignalled::NoSignalling;
use call::media_thread::Wire;
use call::setup::Rules;
use call::{CallHandle, Client, Services, Setup};
use playbook::Playbook;
use protocol::rest::CallKind;
use protocol::{CallOption, Event, HangupReason};
use rtp::sdp::{KeyRing, RING_BYTES};
use testkit::cast::Cast;
use tokio::sync::mpsc::{self, Receiver};

use crate::live::{Live, only, within, world};

/// A codec like PCMU that fails in one direction after a while.
const fn rotten(encoder: fn() -> Box<dyn Encoder>, decoder: fn() -> Box<dyn Decoder>) -> Codec {
    Codec {
        name: "PCMU",
        static_pt: Some(0),
        dynamic_pt: 0,
        rtp_clock: 8_000,
        sdp_channels: 1,
        rate: 8_000,
        packet_ms: &[20],
        fmtp: "",
        encoder,
        decoder,
    }
}

static FAILS_TO_ENCODE: Codec = rotten(|| Box::new(Rotten(0)), || (PCMU.decoder)());
static FAILS_TO_DECODE: Codec = rotten(|| (PCMU.encoder)(), || Box::new(Rotten(0)));

/// Counts the packets that went well.
struct Rotten(u32);

impl Rotten {
    fn count(&mut self) {
        self.0 += 1;
        assert!(self.0 < 10, "a codec fails, as the test says");
    }
}

impl Encoder for Rotten {
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) {
        self.count();
        out.resize(out.len() + pcm.len(), 0xff);
    }
}

impl Decoder for Rotten {
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) {
        self.count();
        out.resize(out.len() + payload.len(), 0);
    }

    fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) {
        out.resize(out.len() + samples, 0);
    }
}

/// A SIP call whose sound is of this codec, its events, the socket of its caller, and ours.
fn begin(services: &Services, codec: &'static Codec) -> (CallHandle, Receiver<Event>, UdpSocket, u16) {
    let (sound, caller) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    sound.set_nonblocking(true).unwrap();
    let port = sound.local_addr().unwrap().port();
    let offer = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {} RTP/AVP 0\r\n",
        caller.local_addr().unwrap().port()
    );
    let media = LocalMedia {
        address: [127, 0, 0, 1].into(),
        other: None,
        port,
        codecs: vec![codec],
        telephone_event: false,
        latching: false,
        name: "call".into(),
        origin_id: 1,
        signalling: None,
        keys: KeyRing::of_all(&[7; RING_BYTES]),
    };
    let (client, events) = mpsc::channel(EVENTS);
    let playbook =
        "---\ntts: { provider: fake }\ngreeting: Good morning to you and all of your friends.\n---\n";
    let setup = Setup {
        id: "rotten".into(),
        kind: CallKind::Sip,
        caller: "sip:a@b".into(),
        callee: "sip:c@d".into(),
        leg: Box::new(NoSignalling),
        wire: Wire::Udp { sound, reports: None },
        sip: Some(SipMedia::inbound(Some(offer), media)),
        vars: protocol::Extra::new(),
        playbook: Some(Arc::new(Playbook::parse(playbook, &|_| None).unwrap())),
        client: Some(Client { events: client, sound: None }),
        log: None,
        defaults: CallOption::default(),
        rules: Rules::default(),
    };
    (call::spawn(setup, services), events, caller, port)
}

/// Sends packets of silence until nobody takes them any more.
async fn talk(caller: UdpSocket, port: u16) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    for number in 0u16.. {
        tick.tick().await;
        let timestamp = u32::from(number) * 160;
        let header = rtp::Header { marker: false, payload_type: 0, sequence: number, timestamp, ssrc: 7 };
        let mut packet = Vec::new();
        rtp::packet::write(&header, &[0xff; 160], &mut packet);
        // The port is closed with its call.
        let _ = caller.send_to(&packet, ("127.0.0.1", port));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_sound_of_a_call_ends_it_with_a_record_and_the_others_of_its_thread_go_on() {
    for codec in [&FAILS_TO_ENCODE, &FAILS_TO_DECODE] {
        let (services, mut records, _) = world(Cast::default(), &[]);
        let mut other = Live::up("other", &services).await;
        other.send(r#"{"command":"tts","text":"One.","playId":"1"}"#).await;
        let (call, mut events, caller, port) = begin(&services, codec);
        let over = within("the end of the call", call.over());
        tokio::select! {
            () = over => {}
            () = talk(caller, port) => unreachable!("the caller never stops"),
        }
        let record = only(&mut records).await;
        let why = record.hangup_messages.first().and_then(|told| told.reason.clone());
        assert_eq!((record.call_id.as_str(), record.hangup_reason), ("rotten", Some(HangupReason::Failed)));
        assert_eq!(why.as_deref(), Some("internal error in the call's sound"));
        assert!(record.answer_time.is_some(), "it was up");
        let mut ends = 0;
        while let Some(event) = events.recv().await {
            ends += usize::from(matches!(event, Event::Hangup(_)));
        }
        assert_eq!(ends, 1);
        assert_eq!(services.media.counters().panics.load(Ordering::Relaxed), 1);
        other.send(r#"{"command":"tts","text":"Two.","playId":"2"}"#).await;
        let said = |event: &Event| matches!(event, Event::TrackEnd { play_id: Some(id), .. } if id == "2");
        other.wait("the other call says what it is told to", said).await;
        other.send(r#"{"command":"hangup"}"#).await;
        let record = within("the record of the other call", records.recv()).await.unwrap();
        assert_eq!((record.status_code, record.hangup_reason), (200, Some(HangupReason::System)));
    }
}
