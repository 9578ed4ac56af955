//! The event log of a call: written unless its client wants none.

use serde_json::json;

use crate::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_dump_leaves_no_event_log_and_any_other_does() {
    let rig = Rig::start().await;
    for (id, query, kept) in
        [("kept", "", true), ("wanted", "&dump=true", true), ("quiet", "&dump=false", false)]
    {
        let mut client = rig.connect(&format!("/call?id={id}{query}")).await;
        client.send(json!({"command": "invite", "option": {"recorder": {}}})).await;
        client.event("answer").await;
        client.send(json!({"command": "hangup"})).await;
        client.event("hangup").await;
        let ended = |rig: &Rig| rig.records().into_iter().find(|record| record.call_id == id);
        let record = rig.until("a record", ended).await;
        let written = serde_json::to_value(&record).unwrap();
        assert_eq!(written.get("dumpEventFile").is_some(), kept, "{written}");
        assert_eq!(record.recorder.len(), 1, "only the event log is left out: {written}");
        let named = |entry: std::fs::DirEntry| entry.file_name().into_string().unwrap();
        let files = std::fs::read_dir(rig.path("recorders")).unwrap().flatten().map(named);
        let files: Vec<String> = files.filter(|name| name.starts_with(id)).collect();
        assert_eq!(files.iter().any(|name| name.ends_with(".jsonl")), kept, "{files:?}");
        if let Some(file) = record.dump_event_file {
            let log = std::fs::read_to_string(file).unwrap();
            assert!(log.contains("answer") && log.contains("hangup"), "{log}");
        }
    }
    rig.server.stop().await;
}
