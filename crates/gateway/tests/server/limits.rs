//! As many calls as may be: the next one is refused, those that are up go on, and there is room again after one ends.

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

use crate::inbound_sip::{PLAYBOOK, playbooks};
use crate::programs;
use crate::raw_phone::{RawPhone, sdp, value};
use crate::rig::{PATIENCE, Rig};

/// A call of a phone of plain datagrams, and what it was answered.
struct Call {
    phone: RawPhone,
    sound: UdpSocket,
    answer: String,
}

async fn call(rig: &Rig, name: &str) -> Call {
    let sound = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let phone = RawPhone::towards(rig.server.sip_addr(), name).await;
    phone.invite_with("", &sdp(sound.local_addr().unwrap())).await;
    let answer = phone.answered().await;
    Call { phone, sound, answer }
}

impl Call {
    fn is_up(&self) -> bool {
        self.answer.starts_with("SIP/2.0 200 ")
    }

    /// Sound that is sent after this moment comes in.
    async fn goes_on(&self) {
        let mut packet = [0; 2048];
        while self.sound.try_recv(&mut packet).is_ok() {}
        for _ in 0..10 {
            timeout(PATIENCE, self.sound.recv(&mut packet)).await.expect("sound").unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_call_above_max_calls_gets_503_with_retry_after_and_the_others_go_on() {
    let rig = Rig::start_with(|config| {
        config.max_calls = 2;
        playbooks(config, Vec::new(), Some("hello.md"));
    })
    .await;
    std::fs::write(rig.path("playbook/hello.md"), PLAYBOOK).unwrap();
    let (first, second) = (call(&rig, "first").await, call(&rig, "second").await);
    assert!(first.is_up() && second.is_up(), "{} {}", first.answer, second.answer);
    for name in ["third", "fourth"] {
        let refused = call(&rig, name).await.answer;
        assert!(refused.starts_with("SIP/2.0 503 "), "{refused}");
        assert!(value(&refused, "Retry-After").parse::<u32>().is_ok_and(|seconds| seconds > 0), "{refused}");
    }
    assert_eq!(rig.try_connect("/call").await.err(), Some(503), "a WebSocket call has no place either");
    first.goes_on().await;
    second.goes_on().await;
    first.phone.hang_up(&first.answer).await;
    let until = Instant::now() + PATIENCE;
    let mut number = 5;
    let next = loop {
        let next = call(&rig, &format!("call{number}")).await;
        if next.is_up() {
            break next;
        }
        assert!(Instant::now() < until, "no room after the end of a call: {}", next.answer);
        number += 1;
    };
    second.goes_on().await;
    next.goes_on().await;
    assert!(call(&rig, "above").await.answer.starts_with("SIP/2.0 503 "), "one place was free, and no more");
    let refused = rig.records().iter().filter(|record| record.status_code == 503).count();
    println!("{refused} records of refused calls");
    let metrics = rig.get("/metrics").await.1;
    assert!(metrics.lines().any(|line| line == "active_call_calls 2"), "{metrics}");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_too_many_in_a_second_and_one_without_a_port_get_503_with_retry_after() {
    let [port] = programs::free_ports();
    for paced in [true, false] {
        let rig = Rig::start_with(|config| {
            playbooks(config, Vec::new(), Some("hello.md"));
            if paced {
                config.sip.calls_per_second = 1;
            } else {
                (config.rtp_start_port, config.rtp_end_port) = (port, Some(port + 1));
            }
        })
        .await;
        std::fs::write(rig.path("playbook/hello.md"), PLAYBOOK).unwrap();
        let sound = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let phones = [
            RawPhone::towards(rig.server.sip_addr(), "one").await,
            RawPhone::towards(rig.server.sip_addr(), "two").await,
        ];
        // Both at once: whether a second passes between them is not for a busy machine to say. Which of them gets the one
        // place is not said either: each call is looked at in its own task.
        for phone in &phones {
            phone.invite_with("", &sdp(sound.local_addr().unwrap())).await;
        }
        let answers = [phones[0].answered().await, phones[1].answered().await];
        let (up, refused) = if answers[0].starts_with("SIP/2.0 200 ") { (0, 1) } else { (1, 0) };
        let (answer, refused) = (&answers[up], &answers[refused]);
        assert!(answer.starts_with("SIP/2.0 200 "), "paced: {paced}: {answer}");
        assert!(refused.starts_with("SIP/2.0 503 "), "paced: {paced}: {refused}");
        assert!(value(refused, "Retry-After").parse::<u32>().is_ok_and(|seconds| seconds > 0), "{refused}");
        phones[up].hang_up(answer).await;
        rig.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_may_call_leave_room_for_trusted_peers() {
    let rig = Rig::start_with(|config| {
        config.sip.open = Some(true);
        config.sip.trusted = vec!["127.0.0.2".into()];
        config.max_calls = 4;
        playbooks(config, Vec::new(), Some("hello.md"));
    })
    .await;
    std::fs::write(rig.path("playbook/hello.md"), PLAYBOOK).unwrap();
    let mut strangers = Vec::new();
    for name in ["s1", "s2", "s3", "s4"] {
        strangers.push(call(&rig, name).await);
    }
    assert!(strangers[..3].iter().all(Call::is_up));
    assert!(strangers[3].answer.starts_with("SIP/2.0 503 "), "the last quarter is not for strangers");
    let trusted = RawPhone::from([127, 0, 0, 2], rig.server.sip_addr(), "trusted").await;
    trusted.invite_with("", &sdp(([127, 0, 0, 2], 4000).into())).await;
    let answer = trusted.answered().await;
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    rig.server.stop().await;
}
