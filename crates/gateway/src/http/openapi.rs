//! What describes the API to programs: OpenAPI 3.1 of the table of routes, and JSON Schema of what goes over the
//! WebSocket.

use axum::response::Json;
use protocol::record::CallRecord;
use protocol::rest::{InviteWebhook, Problem};
use protocol::{Command, Event};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::routes::{Content, ROUTES, Route};

/// `GET /openapi.json`.
pub(super) async fn document() -> Json<Value> {
    Json(describe())
}

/// `GET /schemas`.
pub(super) async fn schemas() -> Json<Value> {
    Json(json!({
        "command": schemars::schema_for!(Command),
        "event": schemars::schema_for!(Event),
        "record": schemars::schema_for!(CallRecord),
        "webhook": schemars::schema_for!(InviteWebhook),
    }))
}

/// The description of every route.
pub fn describe() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = SchemaGenerator::new(settings);
    let failure = body(Content::Json(SchemaGenerator::subschema_for::<Problem>), &mut generator);
    let failure = failure.and_then(|content| content.get("application/json").cloned()).unwrap_or_default();
    let mut paths = Map::new();
    for row in ROUTES {
        let path = paths.entry(row.path.replace("{*", "{")).or_insert_with(|| json!({}));
        if let Value::Object(methods) = path {
            methods
                .insert(row.method.as_str().to_ascii_lowercase(), operation(row, &failure, &mut generator));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "active-call",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Commands and events of the WebSocket endpoints are described at /schemas.",
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    })
}

fn operation(row: &Route, failure: &Value, generator: &mut SchemaGenerator) -> Value {
    let (status, gives) = row.gives;
    let mut answer = json!({"description": if status == 101 { "a WebSocket" } else { "as asked" }});
    let mut operation = json!({"summary": row.about, "parameters": parameters(row)});
    if let (Value::Object(answer), Some(content)) = (&mut answer, body(gives, generator)) {
        answer.insert("content".into(), content);
    }
    let failure = json!({
        "description": "what is wrong, and what to do",
        "content": {"application/problem+json": failure},
    });
    if let Value::Object(fields) = &mut operation {
        fields.insert("responses".into(), json!({status.to_string(): answer, "default": failure}));
        if let Some(content) = body(row.takes, generator) {
            fields.insert("requestBody".into(), json!({"content": content}));
        }
        let security = match row.scope {
            Some(scope) => json!([{"bearer": [scope.as_str()]}, {"key": [scope.as_str()]}]),
            None => json!([]),
        };
        fields.insert("security".into(), security);
    }
    operation
}

fn parameters(row: &Route) -> Vec<Value> {
    let text = json!({"type": "string"});
    let named = row.path.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    let path = named.map(|(name, _)| {
        json!({"name": name.trim_start_matches('*'), "in": "path", "required": true, "schema": text})
    });
    let query = row
        .query
        .iter()
        .map(|(name, about)| json!({"name": name, "in": "query", "description": about, "schema": text}));
    path.chain(query).collect()
}

fn body(content: Content, generator: &mut SchemaGenerator) -> Option<Value> {
    match content {
        Content::Nothing => None,
        Content::Json(shape) => Some(json!({"application/json": {"schema": shape(generator)}})),
        Content::Text(kind) => {
            let mut types = Map::new();
            types.insert(kind.into(), json!({"schema": {"type": "string"}}));
            Some(Value::Object(types))
        }
    }
}
