//! How soon the agent answers: from the last frame of a caller's speech to the first frame of the reply, on a real clock,
//! by phone and over WebSocket. The reply is a file that a client plays when the server tells that the caller is silent, so
//! that no provider is part of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use axum::extract::{Json, State};
use axum::routing::post;
use futures::{SinkExt, StreamExt};
use rtp::{Datagram, Outgoing, Rtp};
use serde_json::{Value, json};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::line::Line;
use crate::server::Server;
use crate::{Failure, spread};

const FRAME: Duration = Duration::from_millis(20);
/// Samples of 20 ms of the speech.
const SAMPLES: usize = 320;
/// Silence before each sentence, in frames.
const PAUSE: usize = 30;
/// The longest that a call may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many sentences, and what is waited for.
#[derive(clap::Args)]
pub(crate) struct Plan {
    /// Each call falls into another moment of the server's frames.
    #[arg(long)]
    calls: usize,
    /// Sentences of each call.
    #[arg(long)]
    turns: usize,
    /// `silencePadding` of the calls.
    #[arg(long)]
    silence: u64,
    /// What the caller says: a WAV file, 16 kHz, mono, that breaks off in a loud place.
    #[arg(long)]
    speech: PathBuf,
    /// The file that is the reply, loud from its beginning.
    #[arg(long)]
    play: String,
    /// Port of the webhook, whose client takes the calls of the phone.
    #[arg(long)]
    webhook: u16,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The way by which sound goes and comes.
enum Sound {
    Phone {
        socket: UdpSocket,
        remote: SocketAddr,
        stream: Outgoing,
    },
    /// By the socket that commands go by.
    Client,
}

/// Where a sentence stands.
#[derive(Clone, Copy)]
enum Turn {
    /// So many frames were sent, the pause before it included.
    Said(usize),
    /// All was said at this time.
    Over(Instant),
    /// The reply was heard; it is interrupted.
    Answered,
}

/// Makes the calls and prints how long was waited.
pub(crate) async fn run(server: &Server, plan: &Plan) -> Result<(), Failure> {
    let wav = audio::wav::Wav::parse(&std::fs::read(&plan.speech)?)?;
    let speech = wav.mono();
    if wav.rate != 16_000 || speech.len() < SAMPLES {
        return Err("the speech must be at 16 kHz and last 20 ms".into());
    }
    let (teller, mut announced) = mpsc::channel::<String>(1);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, plan.webhook)).await?;
    let app = axum::Router::new().route("/", post(told)).with_state(teller);
    tokio::spawn(async move { axum::serve(listener, app).await });
    let option = json!({"vad": {"type": "silero", "silencePadding": plan.silence}, "codec": "pcm", "sampleRate": 16000});
    let line = Line::open(server.sip).await?;
    let (mut phone, mut client) = (Vec::new(), Vec::new());
    for n in 0..plan.calls {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = socket.local_addr()?.port();
        let take = async {
            let id = announced.recv().await.ok_or("no webhook")?;
            let escaped: String = id.bytes().map(|byte| format!("%{byte:02X}")).collect();
            command(
                server,
                &format!("/call/sip?id={escaped}"),
                json!({"command": "accept", "option": option}),
            )
            .await
        };
        let (dialled, control) = tokio::join!(line.dial(port, false), take);
        let (dialled, mut control) = (dialled?, control?);
        let remote = dialled.media.remote.ok_or("the answer has no address")?;
        let stream = Outgoing::new(rand::random(), rand::random(), rand::random());
        let sound = Sound::Phone { socket, remote, stream };
        phone.extend(timeout(PATIENCE, talk(&mut control, sound, speech.as_ref(), plan)).await??);
        // The phone first: the server ends a call whose client is gone.
        line.hang_up(dialled).await?;
        drop(control);
        let invite = json!({"command": "invite", "option": option});
        let mut control = command(server, &format!("/call?id=reply-{n}"), invite).await?;
        client.extend(timeout(PATIENCE, talk(&mut control, Sound::Client, speech.as_ref(), plan)).await??);
    }
    for (way, spans) in [("phone", phone), ("websocket", client)] {
        println!(
            "{}",
            json!({"way": way, "silence_ms": plan.silence, "last_frame_to_reply_ms": spread(spans)})
        );
    }
    Ok(())
}

async fn told(State(teller): State<mpsc::Sender<String>>, Json(body): Json<Value>) -> &'static str {
    let id = body["dialogId"].as_str().unwrap_or_default().to_owned();
    // Nobody waits for a call any more when the measurement is over.
    let _ = teller.send(id).await;
    "ok"
}

/// A connection whose first command this is.
async fn command(server: &Server, path: &str, first: Value) -> Result<Socket, Failure> {
    let (mut socket, _) = connect_async(format!("ws://{}{path}", server.http)).await?;
    if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
        stream.set_nodelay(true)?;
    }
    socket.send(Message::text(first.to_string())).await?;
    Ok(socket)
}

/// Says the sentence again and again; how long each reply was waited for.
async fn talk(
    control: &mut Socket,
    mut sound: Sound,
    speech: &[i16],
    plan: &Plan,
) -> Result<Vec<Duration>, Failure> {
    let frames: Vec<&[i16]> = speech.chunks_exact(SAMPLES).collect();
    let silence = [0; SAMPLES];
    let play = json!({"command": "play", "url": plan.play}).to_string();
    let mut ticks = interval(FRAME);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut turn, mut spans, mut packet) = (Turn::Said(0), Vec::new(), [0; 2048]);
    while spans.len() < plan.turns || !matches!(turn, Turn::Said(_)) {
        let heard = tokio::select! {
            _ = ticks.tick() => {
                let said = match &mut turn {
                    Turn::Said(at) => {
                        *at += 1;
                        at.checked_sub(PAUSE).and_then(|at| frames.get(at))
                    }
                    _ => None,
                };
                sound.say(control, said.copied().unwrap_or(&silence)).await?;
                if matches!(turn, Turn::Said(at) if at == PAUSE + frames.len() - 1) {
                    turn = Turn::Over(Instant::now());
                }
                false
            }
            length = sound.hear(&mut packet) => loud(&packet[..length?]),
            message = control.next() => match message.ok_or("the server has closed")?? {
                Message::Binary(_) => true,
                Message::Text(text) => {
                    let event: Value = serde_json::from_str(&text)?;
                    match (event["event"].as_str(), turn) {
                        (Some("silence"), Turn::Over(_)) => control.send(Message::text(play.clone())).await?,
                        (Some("trackEnd"), Turn::Answered) => turn = Turn::Said(0),
                        (Some("error"), _) => return Err(text.as_str().into()),
                        _ => {}
                    }
                    false
                }
                _ => false,
            },
        };
        if let Turn::Over(since) = turn
            && heard
        {
            spans.push(since.elapsed());
            turn = Turn::Answered;
            control.send(Message::text(r#"{"command":"interrupt"}"#)).await?;
        }
    }
    Ok(spans)
}

/// Whether a packet holds more than silence.
fn loud(packet: &[u8]) -> bool {
    // PCMU writes the values around nothing so.
    let quiet = |byte: &&u8| matches!(byte, 0x7c..=0x7f | 0xfc..=0xff);
    let sound = (Datagram::classify(packet) == Datagram::Rtp).then(|| Rtp::parse(packet).ok()).flatten();
    sound.is_some_and(|Rtp { payload, .. }| {
        payload.iter().filter(|byte| !quiet(byte)).count() > payload.len() / 2
    })
}

impl Sound {
    async fn say(&mut self, control: &mut Socket, frame: &[i16]) -> Result<(), Failure> {
        match self {
            Sound::Client => {
                let bytes: Vec<u8> = frame.iter().flat_map(|sample| sample.to_le_bytes()).collect();
                control.send(Message::binary(bytes)).await?;
            }
            Sound::Phone { socket, remote, stream } => {
                let half: Vec<i16> =
                    frame.chunks_exact(2).map(|pair| (pair[0] / 2) + (pair[1] / 2)).collect();
                let (mut payload, mut datagram) = (Vec::new(), Vec::new());
                (audio::codec::g711::PCMU.encoder)().encode(&half, &mut payload);
                stream.sound(0, half.len() as u32, &payload, &mut datagram);
                socket.send_to(&datagram, *remote).await?;
            }
        }
        Ok(())
    }

    /// The length of the next packet; none comes where sound comes by the socket of the events.
    async fn hear(&self, packet: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Sound::Phone { socket, .. } => socket.recv(packet).await,
            Sound::Client => std::future::pending().await,
        }
    }
}
