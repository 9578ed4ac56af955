//! Callers that have to give a password, with programs that others wrote: SIPp and baresip answer our challenge by code of
//! their own. Those of Debian 12 know MD5 only.

use active_call::config::words::Digest;
use active_call::config::{Config, SipUser};
use protocol::Secret;
use tokio::time::timeout;

use crate::baresip::{Baresip, connect, hear_out_and_hang_up, heard_each_other, rig_with_agent_and};
use crate::inbound_sip::{PLAYBOOK, playbooks};
use crate::programs;
use crate::raw_phone::{RawPhone, sdp};
use crate::rig::{PATIENCE, Rig};

/// Nobody calls without the password, which is asked for by MD5.
fn asking(config: &mut Config) {
    config.sip.users = vec![SipUser { username: "trunk".into(), password: Secret::new("secret") }];
    config.sip.digest = vec![Digest::Md5];
}

/// SIPp calls with this password; whether it was let in, and all messages of it.
async fn sipp_calls_with(rig: &Rig, password: &str) -> (bool, String) {
    let folder = rig.path(password);
    std::fs::create_dir(&folder).unwrap();
    let server = rig.server.sip_addr().to_string();
    let mut arguments = programs::sipp("caller_password.xml", programs::free_ports());
    let proof = ["-au", "trunk", "-ap", password, "-auth_uri", &format!("agent@{server}")];
    let kept = ["-trace_msg", "-message_file", "messages.log"];
    arguments.extend(proof.iter().chain(&kept).chain(&["-s", "agent", &server]).map(|&word| word.to_owned()));
    let calling = programs::start("sipp", &arguments, &folder).wait_with_output();
    let ended = timeout(PATIENCE, calling).await.expect("SIPp ends").unwrap();
    (ended.status.success(), std::fs::read_to_string(folder.join("messages.log")).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn sipp_is_let_in_with_the_password_once_and_with_another_one_it_is_not() {
    let rig = Rig::start_with(|config| {
        asking(config);
        playbooks(config, Vec::new(), Some("hello.md"));
    })
    .await;
    std::fs::write(rig.path("playbook/hello.md"), PLAYBOOK).unwrap();
    let (good, messages) = sipp_calls_with(&rig, "secret").await;
    assert!(good && messages.contains("SIP/2.0 401 ") && messages.contains("SIP/2.0 200 "), "{messages}");
    let (bad, refused) = sipp_calls_with(&rig, "guess").await;
    assert!(!bad && refused.contains("SIP/2.0 403 ") && !refused.contains("SIP/2.0 200 "), "{refused}");
    // What let it in lets nobody in who has seen it, in a call of his own.
    let proof = messages.lines().find(|line| line.starts_with("Authorization: Digest ")).expect("an answer");
    let thief = RawPhone::towards(rig.server.sip_addr(), "thief").await;
    thief.invite_with(&format!("{}\r\n", proof.trim_end()), &sdp(([127, 0, 0, 1], 4000).into())).await;
    let answer = thief.answered().await;
    assert!(answer.starts_with("SIP/2.0 401 ") && answer.contains(", stale=true\r\n"), "{answer}");
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    assert_eq!((rig.records().len(), record.status_code), (1, 200), "one call was let in");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_with_the_password_is_heard_and_with_another_one_it_is_refused() {
    let account = |password: &str| format!("audio_codecs=PCMU/8000/1;auth_user=trunk;auth_pass={password}");
    let (rig, mut told, caller, agent) = rig_with_agent_and(asking).await;
    let says = [caller.as_slice(), &[0; 20 * 8000]].concat();
    let mut stranger = Baresip::start_with(&rig.path("stranger"), &account("guess"), &says).await;
    stranger.command("dial", &format!("sip:agent@{}", rig.server.sip_addr())).await;
    let closed = stranger.told("type", "CALL_CLOSED").await;
    assert!(closed["param"].as_str().unwrap_or_default().contains("403"), "{closed}");
    let mut phone = Baresip::start_with(&rig.path("phone"), &account("secret"), &says).await;
    let mut client = connect(&rig, &mut told, &mut phone).await;
    hear_out_and_hang_up(&rig, &mut client, &mut phone).await;
    heard_each_other(&rig, &phone, [&caller, &agent]).await;
    rig.server.stop().await;
}
