//! Servers of tools (Model Context Protocol) for playbooks: one connection for all calls that use the same server.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use call::setup::ToolServers;
use playbook::tools::McpServer;
use protocol::chat::ToolSpec;
use reqwest::header::{HeaderName, HeaderValue};
use rmcp::ServiceExt;
use rmcp::model::{CallToolRequestParams, ContentBlock};
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::egress::Egress;

/// How long a server may take to start and greet, and to list its tools.
const START: Duration = Duration::from_secs(10);
/// Servers that are connected at once. When full further ones are refused.
const MOST_SERVERS: usize = 32;
/// Tools of one server; more are left out.
const MOST_TOOLS: usize = 64;
/// Characters of a result; the rest is cut off.
const MAX_RESULT: usize = 64 * 1024;

type Client = RunningService<RoleClient, ()>;

/// Servers of tools. Clones share their connections.
#[derive(Clone)]
pub struct Servers {
    egress: Egress,
    /// Programs that playbooks may start.
    programs: Arc<[String]>,
    open: Arc<Mutex<HashMap<Key, Place>>>,
}

/// One server's connection; locked while it is made, so that two calls make one.
type Place = Arc<Mutex<Option<Arc<Client>>>>;

/// What makes two servers the same.
type Key = (Vec<String>, Option<String>, Vec<(String, String)>);

impl Servers {
    /// Servers at addresses that `egress` lets reach, and those of `programs`.
    pub fn new(egress: Egress, programs: Vec<String>) -> Self {
        Servers { egress, programs: programs.into(), open: Arc::default() }
    }

    /// The connection to `server`, made if there is none or the last one has ended.
    async fn client(&self, server: &McpServer) -> Result<Arc<Client>, String> {
        let headers = server.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let key: Key = (server.command.clone(), server.url.clone(), headers);
        let place = {
            let mut open = self.open.lock().await;
            if open.len() >= MOST_SERVERS && !open.contains_key(&key) {
                return Err(format!("{MOST_SERVERS} servers of tools are connected already"));
            }
            open.entry(key).or_default().clone()
        };
        let mut place = place.lock().await;
        if let Some(client) = place.as_ref().filter(|client| !client.is_closed()) {
            return Ok(client.clone());
        }
        let late = |_| format!("{} was not ready within {} s", server.name, START.as_secs());
        let client = Arc::new(timeout(START, self.connect(server)).await.map_err(late)??);
        *place = Some(client.clone());
        Ok(client)
    }

    async fn connect(&self, server: &McpServer) -> Result<Client, String> {
        let failed = |error: String| format!("{}: {error}", server.name);
        if let Some(url) = &server.url {
            let mut config = StreamableHttpClientTransportConfig::with_uri(url.clone());
            for (name, value) in &server.headers {
                let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| failed(e.to_string()))?;
                let value = HeaderValue::from_str(value).map_err(|e| failed(e.to_string()))?;
                config.custom_headers.insert(name, value);
            }
            let client = self.egress.guarded(url).map_err(failed)?;
            let transport = StreamableHttpClientTransport::with_client(client, config);
            return ().serve(transport).await.map_err(|e| failed(e.to_string()));
        }
        let (program, arguments) = server.command.split_first().ok_or_else(|| failed("no command".into()))?;
        if !self.programs.iter().any(|allowed| allowed == program) {
            let shown = protocol::read::shown(program);
            return Err(failed(format!(
                "{shown:?} may not be started; add it to mcp_programs of the configuration"
            )));
        }
        let mut command = Command::new(program);
        command.args(arguments).kill_on_drop(true);
        let started = TokioChildProcess::builder(command).stderr(Stdio::null()).spawn();
        let (transport, _) = started.map_err(|e| failed(format!("{program} cannot be started: {e}")))?;
        ().serve(transport).await.map_err(|e| failed(e.to_string()))
    }
}

#[async_trait]
impl ToolServers for Servers {
    async fn list(&self, server: &McpServer) -> Result<Vec<ToolSpec>, String> {
        let client = self.client(server).await?;
        let listed = timeout(START, client.list_all_tools()).await;
        let tools = listed.map_err(|_| "the list of tools did not come in time".to_owned())?;
        let tools = tools.map_err(|e| format!("{}: {e}", server.name))?;
        let spec = |tool: rmcp::model::Tool| ToolSpec {
            name: tool.name.into_owned(),
            description: tool.description.map(std::borrow::Cow::into_owned).unwrap_or_default(),
            parameters: Value::Object(tool.input_schema.as_ref().clone()),
        };
        Ok(tools.into_iter().take(MOST_TOOLS).map(spec).collect())
    }

    async fn call(&self, server: &McpServer, name: &str, arguments: Value) -> Result<String, String> {
        let client = self.client(server).await?;
        let mut params = CallToolRequestParams::new(name.to_owned());
        params.arguments = arguments.as_object().cloned();
        let result = client.call_tool(params).await.map_err(|e| format!("{name}: {e}"))?;
        let mut text = String::new();
        for block in &result.content {
            if let ContentBlock::Text(block) = block {
                text.push_str(&block.text);
                text.push('\n');
            }
        }
        if text.is_empty()
            && let Some(value) = &result.structured_content
        {
            text = value.to_string();
        }
        let text: String = text.trim_end().chars().take(MAX_RESULT).collect();
        if result.is_error == Some(true) { Err(text) } else { Ok(text) }
    }
}
