//! Servers of tools: one that is started, one that may not be, one that is not there.

use active_call::config::EgressTable;
use active_call::egress::Egress;
use active_call::mcp::Servers;
use call::setup::ToolServers;
use playbook::tools::McpServer;
use serde_json::json;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/mcp_server.py");

fn servers(programs: &[&str]) -> Servers {
    let egress = Egress::new("test", &EgressTable::default()).unwrap();
    Servers::new(egress, programs.iter().map(|program| (*program).to_owned()).collect())
}

fn server(command: &[&str], url: Option<&str>) -> McpServer {
    McpServer {
        name: "weather".into(),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        url: url.map(str::to_owned),
        headers: protocol::value::Headers::new(),
        allow: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_allowed_lists_its_tools_and_carries_them_out() {
    let servers = servers(&["python3"]);
    let weather = server(&["python3", PROGRAM], None);
    let tools = servers.list(&weather).await.unwrap();
    assert_eq!(tools[0].name, "weather");
    assert_eq!(tools[0].parameters["required"], json!(["city"]));
    let rain = servers.call(&weather, "weather", json!({"city": "Bergen"})).await;
    assert_eq!(rain.unwrap(), "Rain in Bergen.");
    let none = servers.call(&weather, "weather", json!({"city": "Atlantis"})).await;
    assert_eq!(none.unwrap_err(), "no such city");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_allowed_is_not_started() {
    let why = servers(&[]).list(&server(&["python3", PROGRAM], None)).await.unwrap_err();
    assert!(why.contains("mcp_programs"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn private_addresses_and_programs_that_end_at_once_are_told() {
    let why = servers(&[]).list(&server(&[], Some("http://127.0.0.1:9/mcp"))).await.unwrap_err();
    assert!(why.contains("egress.allow"), "{why}");
    assert!(servers(&["true"]).list(&server(&["true"], None)).await.is_err());
}
