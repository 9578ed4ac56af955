//! Small things that would be large if they were believed: what they say of themselves is not kept in memory.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::command::Running;
use crate::hostile_sip::resident_kb;
use crate::rig::{Client, until};

/// What files and small commands together may keep, in kB.
const GROWTH_KB: u64 = 20 * 1024;
/// Bytes of a large command.
const LARGE: usize = 5 << 20;
/// A frame of MP3 at 32 kbit/s and 32 kHz that holds silence: 36 ms.
const MP3_HEADER: [u8; 4] = [0xff, 0xfb, 0x18, 0xc0];
const MP3_FRAME: usize = 144;
const HOUR_OF_FRAMES: usize = 100_000;

/// The header of a wave file with these numbers in it, and some sound.
fn wave(channels: u16, rate: u32, length: u32) -> Vec<u8> {
    let mut file = audio::wav::header(16_000, 1, 3_200).to_vec();
    file[22..24].copy_from_slice(&channels.to_le_bytes());
    file[24..28].copy_from_slice(&rate.to_le_bytes());
    file[40..44].copy_from_slice(&length.to_le_bytes());
    file.extend([1; 3_200]);
    file
}

/// A server whose file never ends, as fast as it is read.
async fn endless(task: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/endless.wav", listener.local_addr().unwrap());
    task.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4_096]).await;
            let mut file = wave(1, 16_000, u32::MAX);
            // The whole is as long as its part, or it would be refused.
            file[4..8].fill(u8::MAX);
            let head = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &file].concat();
            let mut left = stream.write_all(&head).await;
            while left.is_ok() {
                left = stream.write_all(&[1; 65_536]).await;
            }
        }
    });
    url
}

async fn called(running: &Running) -> Client {
    let mut client = Client::connect(&format!("ws://{}/call", running.http)).await.unwrap();
    client.send(json!({"command": "invite", "option": {}})).await;
    client.event("answer").await;
    client
}

async fn play(client: &mut Client, url: &str) {
    client.send(json!({"command": "play", "url": url})).await;
}

async fn hang_up(mut client: Client) {
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
}

/// Plays a file that cannot be what it says.
async fn refused(client: &mut Client, name: &str) {
    play(client, &format!("config/{name}")).await;
    let told = client.event("error").await;
    assert_eq!((&told["code"], &told["field"]), (&json!(415), &json!("url")), "{name}: {told}");
    assert!(told["error"].as_str().unwrap().contains(name), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_messages_that_say_they_are_huge_cost_no_memory_and_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir_all(folder.join("config")).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join("config").join(name), bytes).unwrap();
    write("good.wav", &wave(1, 16_000, 3_200));
    write("long.wav", &wave(1, 16_000, u32::MAX - 8));
    write("wide.wav", &wave(u16::MAX, u32::MAX, u32::MAX));
    let mut frame = MP3_HEADER.to_vec();
    frame.resize(MP3_FRAME, 0);
    write("hour.mp3", &frame.repeat(HOUR_OF_FRAMES));
    let mut servers = JoinSet::new();
    let url = endless(&mut servers).await;
    let running = Running::start_with(folder, "[egress]\nallow = [\"127.0.0.1\"]\n").await;
    let process = running.child.id().unwrap();
    let mut first = called(&running).await;
    play(&mut first, "config/good.wav").await;
    first.event("trackEnd").await;
    assert!(!first.seen.iter().any(|name| name == "error"), "{:?}", first.events);
    hang_up(first).await;
    let before = resident_kb(process);
    for address in ["config/hour.mp3", url.as_str()] {
        let mut client = called(&running).await;
        play(&mut client, address).await;
        client.heard(64_000).await;
        hang_up(client).await;
    }
    let mut client = called(&running).await;
    refused(&mut client, "long.wav").await;
    let deep = format!("{{\"command\":\"tts\",\"text\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    client.text(&deep).await;
    let told = client.event("error").await;
    assert!(told["error"].as_str().unwrap().contains("recursion"), "{told}");
    let grown = || resident_kb(process).saturating_sub(before);
    assert!(grown() <= GROWTH_KB, "{} kB", grown());
    client.text(&json!({"command": "tts", "text": "x".repeat(LARGE)}).to_string()).await;
    assert_eq!(client.event("error").await["field"], "tts.provider", "the call has no voice for it");
    // A message is in memory in several forms while it is read, and the allocator keeps some of that.
    let most = GROWTH_KB + 2 * LARGE as u64 / 1024;
    until("what it took goes back", || (grown() <= most).then_some(())).await;
    // Where overflow is looked for, the decoder's panic is told with its places, which takes memory of its own.
    refused(&mut client, "wide.wav").await;
    hang_up(client).await;
}
