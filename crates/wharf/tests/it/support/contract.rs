//! Checks every answer of the server against its own OpenAPI document, so that the document cannot drift from the truth.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};

use jsonschema::Validator;
use serde_json::{Value, json};

/// The document that the server serves at `/-json`.
pub(crate) static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(wharf_server::openapi()).unwrap());

/// One operation of the document, found by a request.
pub(crate) struct Operation {
    pub(crate) method: String,
    pub(crate) path: String,
}

/// The operation that a request goes to: the path with the most fixed segments wins, as in the router.
pub(crate) fn operation(method: &str, path: &str) -> Option<Operation> {
    let path = path.split('?').next().unwrap_or_default();
    let asked: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let fits = |template: &&String| {
        let parts: Vec<&str> = template.split('/').collect();
        parts.len() == asked.len()
            && parts
                .iter()
                .zip(&asked)
                .all(|(part, word)| part.starts_with('{') || part == word)
    };
    let best = paths
        .keys()
        .filter(fits)
        .max_by_key(|it| it.split('/').filter(|part| !part.starts_with('{')).count())?;
    let method = method.to_ascii_lowercase();
    paths[best].get(&method)?;
    Some(Operation {
        method,
        path: best.clone(),
    })
}

/// Operations that may answer with nothing, which a document cannot say beside a body: here, to stop what is not there.
const MAY_BE_EMPTY: &[&str] = &["/api/sessions/{session}/stop"];

/// Fails the test when an answer is not one that the document declares.
pub(crate) fn check(operation: &Operation, status: u16, content_type: &str, body: &[u8]) {
    let Operation { method, path } = operation;
    let declared = &DOCUMENT["paths"][path][method]["responses"];
    let response = &declared[status.to_string()];
    assert!(
        !response.is_null(),
        "{method} {path} answered {status}, which its document does not declare"
    );
    let Some(content) = response.get("content").and_then(Value::as_object) else {
        return;
    };
    if body.is_empty() && MAY_BE_EMPTY.contains(&path.as_str()) {
        return;
    }
    let kind = content_type.split(';').next().unwrap_or_default();
    let declared = content.get(kind).or_else(|| content.get("*/*"));
    assert!(
        declared.is_some(),
        "{method} {path} {status} answered {kind:?}, declared are {:?}",
        content.keys()
    );
    if kind == "application/json" {
        let pointer = format!(
            "/paths/{}/{method}/responses/{status}/content/application~1json/schema",
            escape(path)
        );
        let body: Value =
            serde_json::from_slice(body).unwrap_or_else(|error| panic!("{method} {path}: no JSON: {error}"));
        let errors = validate(&pointer, &body);
        assert!(
            errors.is_empty(),
            "{method} {path} {status} does not fit its schema: {errors:#?}\n{body:#}"
        );
    }
}

/// What is wrong with an event as the document declares it, if anything.
pub(crate) fn event_problem(event: &Value) -> Option<String> {
    let Some(name) = event["event"].as_str() else {
        return Some(format!("no event name in {event:#}"));
    };
    let pointer = format!(
        "/webhooks/{}/post/requestBody/content/application~1json/schema",
        escape(name)
    );
    if DOCUMENT.pointer(&pointer).is_none() {
        return Some(format!("the document has no webhook {name}"));
    }
    let errors = validate(&pointer, event);
    (!errors.is_empty()).then(|| format!("{name}: {errors:#?}\n{event:#}"))
}

fn escape(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}

fn validate(pointer: &str, value: &Value) -> Vec<String> {
    static VALIDATORS: Mutex<BTreeMap<String, Validator>> = Mutex::new(BTreeMap::new());
    let mut validators = VALIDATORS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let validator = validators.entry(pointer.to_owned()).or_insert_with(|| {
        let mut schema = DOCUMENT
            .pointer(pointer)
            .unwrap_or_else(|| panic!("no schema at {pointer}"))
            .clone();
        schema["components"] = DOCUMENT["components"].clone();
        schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("bad schema at {pointer}: {error}"))
    });
    validator
        .iter_errors(value)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect()
}
