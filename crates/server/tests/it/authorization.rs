//! Who may call what: every operation of the OpenAPI document, tried with every kind of key.
//!
//! The expectation comes from the document, which is what clients read; the answers come from the server over HTTP. An
//! operation that declares no role fails the table.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{KEY, Wharf};

/// What needs no key.
const OPEN: &[(&str, &str)] = &[("get", "/ping")];
const ACTIONS: &[&str] = &["read", "send", "control", "setting", "app", "delete"];
/// The session that the requests are about.
const OWN: &str = "own";
/// Another one.
const FOREIGN: &str = "foreign";

/// One operation of the document.
struct Operation {
    method: Method,
    path: String,
    /// Who may call it.
    role: String,
    /// The request, about the session [`OWN`] if the operation is about one.
    target: String,
    body: Option<Value>,
    names_session: bool,
    /// Whether the key may stand in the query.
    in_query: bool,
}

/// A key, and what it is good for.
struct TestKey {
    text: String,
    /// Everything where it is `None`.
    session: Option<&'static str>,
    actions: BTreeSet<&'static str>,
}

impl Operation {
    fn all() -> Vec<Self> {
        let document = serde_json::to_value(wharf_server::openapi()).unwrap();
        let mut operations = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                if !OPEN.contains(&(method, path)) {
                    operations.push(Self::read(&document, method, path, operation));
                }
            }
        }
        operations
    }

    fn read(document: &Value, method: &str, path: &str, operation: &Value) -> Self {
        let role = operation["security"][0]["api_key"][0].as_str();
        let role = role.unwrap_or_else(|| panic!("{method} {path} does not declare who may call it"));
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let in_query = parameters
            .iter()
            .any(|parameter| parameter["in"] == "query" && parameter["name"] == "session");
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let schema = match schema["$ref"].as_str() {
            Some(reference) => document.pointer(&reference[1..]).unwrap(),
            None => schema,
        };
        // WAHA's older operations call the session `name`.
        let in_body = ["session", "name"]
            .into_iter()
            .find(|name| schema["properties"][name].is_object());
        let in_path = path.contains("{session}");
        let body = operation.get("requestBody").map(|_| match in_body {
            Some(name) => json!({ name: OWN }),
            None => json!({}),
        });
        let target = path.replace("{session}", OWN).replace(['{', '}'], "x");
        Self {
            method: method.to_ascii_uppercase().parse().unwrap(),
            role: role.to_owned(),
            target: if in_query {
                format!("{target}?session={OWN}")
            } else {
                target
            },
            body,
            names_session: in_path || in_query || in_body.is_some(),
            in_query: operation["security"]
                .as_array()
                .is_some_and(|schemes| schemes.iter().any(|scheme| scheme["api_key_in_query"].is_array())),
            path: path.to_owned(),
        }
    }

    fn is_open_to(&self, key: &TestKey) -> bool {
        let Some(session) = key.session else {
            return true;
        };
        let fits_session = !self.names_session || session == OWN;
        match self.role.as_str() {
            "admin" => false,
            "any" => fits_session,
            action => fits_session && key.actions.contains(action),
        }
    }

    /// The status of the answer, whose body may be endless.
    async fn ask(&self, wharf: &Wharf, key: Option<&str>) -> u16 {
        // An address of its own for each request, so that none is refused for the wrong keys of the others.
        let address = format!("2001:db8:{:x}::1", rand_segment());
        let mut request = wharf
            .request(self.method.clone(), &self.target)
            .header("X-Forwarded-For", address);
        if let Some(key) = key {
            request = request.header("X-Api-Key", key);
        }
        if let Some(body) = &self.body {
            request = request.json(body);
        }
        request.send().await.unwrap().status().as_u16()
    }
}

impl Operation {
    /// The same, with the best of keys in the query.
    async fn ask_in_query(&self, wharf: &Wharf) -> u16 {
        let mark = if self.target.contains('?') { '&' } else { '?' };
        let target = format!("{}{mark}x-api-key={KEY}", self.target);
        wharf.send(wharf.request(self.method.clone(), &target)).await.status
    }
}

/// A number that no other request has.
fn rand_segment() -> u16 {
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

async fn make_key(
    wharf: &Wharf,
    session: Option<&'static str>,
    actions: &[&'static str],
    is_active: bool,
) -> (String, TestKey) {
    let chosen: BTreeMap<_, _> = actions.iter().map(|action| (*action, true)).collect();
    let body = match session {
        Some(session) => json!({"isAdmin": false, "session": session, "isActive": is_active, "actions": chosen}),
        None => json!({"isAdmin": true, "session": null, "isActive": is_active}),
    };
    let answer = wharf.post("/api/keys", body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let key = answer.json();
    let actions = actions.iter().copied().collect();
    let text = key["key"].as_str().unwrap().to_owned();
    (
        key["id"].as_str().unwrap().to_owned(),
        TestKey { text, session, actions },
    )
}

/// The keys that open something.
async fn keys(wharf: &Wharf) -> BTreeMap<String, TestKey> {
    let mut keys = BTreeMap::new();
    let operator = TestKey {
        text: KEY.to_owned(),
        session: None,
        actions: BTreeSet::new(),
    };
    keys.insert("the configured key".to_owned(), operator);
    keys.insert(
        "an administrator's".to_owned(),
        make_key(wharf, None, &[], true).await.1,
    );
    keys.insert(
        "own with no action".to_owned(),
        make_key(wharf, Some(OWN), &[], true).await.1,
    );
    keys.insert(
        "own with all actions".to_owned(),
        make_key(wharf, Some(OWN), ACTIONS, true).await.1,
    );
    keys.insert(
        "another session's".to_owned(),
        make_key(wharf, Some(FOREIGN), ACTIONS, true).await.1,
    );
    for action in ACTIONS {
        let without: Vec<_> = ACTIONS.iter().copied().filter(|other| other != action).collect();
        keys.insert(
            format!("own with {action}"),
            make_key(wharf, Some(OWN), &[action], true).await.1,
        );
        keys.insert(
            format!("own without {action}"),
            make_key(wharf, Some(OWN), &without, true).await.1,
        );
    }
    keys
}

#[tokio::test]
async fn every_operation_is_open_to_whom_it_says_and_to_nobody_else() {
    let wharf = Wharf::start_with(&[("WHARF_TRUSTED_PROXIES", "127.0.0.1")]).await;
    for name in [OWN, FOREIGN] {
        let made = wharf.post("/api/sessions", json!({"name": name, "start": false})).await;
        assert_eq!(made.status, 201);
    }
    let (deleted_id, deleted) = make_key(&wharf, None, &[], true).await;
    assert_eq!(wharf.delete(&format!("/api/keys/{deleted_id}")).await.status, 200);
    let (deleted_id, deleted_own) = make_key(&wharf, Some(OWN), ACTIONS, true).await;
    assert_eq!(wharf.delete(&format!("/api/keys/{deleted_id}")).await.status, 200);
    let (_, inactive) = make_key(&wharf, None, &[], false).await;
    let (_, inactive_own) = make_key(&wharf, Some(OWN), ACTIONS, false).await;
    let dead = [&deleted, &deleted_own, &inactive, &inactive_own].map(|key| Some(key.text.as_str()));
    let mut keys = keys(&wharf).await;
    let (mut cells, mut roles) = (0, BTreeSet::new());
    for operation in Operation::all() {
        let what = format!("{} {}", operation.method, operation.path);
        roles.insert(operation.role.clone());
        for key in [None, Some(""), Some("wrong")].into_iter().chain(dead) {
            assert_eq!(operation.ask(&wharf, key).await, 401, "{what} with {key:?}");
            cells += 1;
        }
        if !operation.in_query {
            assert_eq!(
                operation.ask_in_query(&wharf).await,
                401,
                "{what} with the key in the query"
            );
        }
        for (name, key) in keys.iter().filter(|(_, key)| !operation.is_open_to(key)) {
            assert_eq!(operation.ask(&wharf, Some(&key.text)).await, 403, "{what} with {name}");
            cells += 1;
        }
        // Only those who were let in can have changed anything.
        let names: Vec<_> = keys
            .iter()
            .filter(|(_, key)| operation.is_open_to(key))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            let status = operation.ask(&wharf, Some(&keys[&name].text)).await;
            assert!(![401, 403].contains(&status), "{what} with {name}: {status}");
            cells += 1;
            keys = restore(&wharf, keys).await;
        }
    }
    assert!(cells > 500, "only {cells} requests were made");
    for role in ["any", "admin", "read", "send", "control", "setting", "delete"] {
        assert!(roles.contains(role), "no operation is for {role}");
    }
    wharf.stop().await;
}

/// Makes the session and its keys again if they were deleted, and stops it if it runs.
async fn restore(wharf: &Wharf, known: BTreeMap<String, TestKey>) -> BTreeMap<String, TestKey> {
    let session = wharf.get(&format!("/api/sessions/{OWN}")).await;
    if session.status == 200 {
        if session.json()["status"] != "STOPPED" {
            stop_own(wharf).await;
        }
        return known;
    }
    let made = wharf.post("/api/sessions", json!({"name": OWN, "start": false})).await;
    assert_eq!(made.status, 201, "{made:?}");
    keys(wharf).await
}

#[tokio::test]
async fn what_is_not_built_wants_a_key_that_would_be_good_for_it() {
    let wharf = Wharf::start().await;
    let (_, reads) = make_key(&wharf, Some(OWN), &["read"], true).await;
    for (method, path, status) in [
        (Method::GET, "/api/own/groups", 422),
        (Method::GET, "/api/foreign/groups", 403),
        (Method::POST, "/api/own/groups", 403),
        (Method::GET, "/api/contacts/all?session=own", 422),
        (Method::GET, "/api/contacts/all?session=foreign", 403),
        (Method::GET, "/api/contacts/all?session=own&session=foreign", 403),
        (Method::GET, "/api/apps", 403),
        (Method::GET, "/api/server/environment", 403),
        (Method::POST, "/api/server/stop", 403),
    ] {
        let request = wharf.request(method.clone(), path).header("X-Api-Key", &reads.text);
        assert_eq!(wharf.send(request).await.status, status, "{method} {path}");
    }
    wharf.stop().await;
}

#[tokio::test]
async fn a_session_is_looked_for_wherever_it_can_be_named() {
    let wharf = Wharf::start().await;
    for name in [OWN, FOREIGN] {
        wharf.post("/api/sessions", json!({"name": name, "start": false})).await;
    }
    let (_, key) = make_key(&wharf, Some(OWN), ACTIONS, true).await;
    let ask = async |method: Method, path: &str, body: Value| {
        let request = wharf.request(method, path).header("X-Api-Key", &key.text).json(&body);
        wharf.send(request).await
    };
    let text = |session: Value| json!({"session": session, "chatId": "12025550101", "text": "hi"});
    // There is none, it is another one's, or it hides behind another spelling: the answer is the same.
    for path in [
        "/api/sessions/nobody",
        "/api/sessions/foreign",
        "/api/sessions/f%6freign",
        "/api/sessions/OWN",
    ] {
        let answer = ask(Method::GET, path, json!({})).await;
        let expected =
            json!({"statusCode": 403, "message": "Forbidden", "hint": "the key is for the session 'own' only"});
        assert_eq!((answer.status, answer.json()), (403, expected), "{path}");
    }
    for (path, body) in [
        ("/api/sendText", text(json!(FOREIGN))),
        ("/api/sendText?session=foreign", text(json!(OWN))),
        ("/api/sendText?session=own", text(json!(FOREIGN))),
        ("/api/sendText?session=own&session=foreign", text(json!(OWN))),
        ("/api/sessions/own/start?session=foreign", json!({})),
        ("/api/sessions/start", json!({"name": FOREIGN})),
        ("/api/sessions/stop", json!({"name": FOREIGN})),
        ("/api/sessions/logout", json!({"name": FOREIGN})),
        ("/api/keys/media", json!({"session": FOREIGN})),
        (
            "/api/own/auth/request-code",
            json!({"session": FOREIGN, "phoneNumber": "12025550101"}),
        ),
    ] {
        assert_eq!(ask(Method::POST, path, body).await.status, 403, "{path}");
    }
    // Where none is named, a key of a session means its own.
    let answer = ask(Method::POST, "/api/sendText", text(Value::Null)).await;
    assert_eq!(answer.status, 404);
    assert!(
        answer.json()["message"].as_str().unwrap().contains("'own'"),
        "{answer:?}"
    );
    assert_eq!(wharf.get("/api/sessions/foreign").await.status, 200);
    wharf.stop().await;
}

#[tokio::test]
async fn a_key_of_a_session_sees_and_makes_no_other() {
    let wharf = Wharf::start().await;
    let webhooks =
        json!({"webhooks": [{"url": "http://127.0.0.1:9/", "events": ["message"], "hmac": {"key": "secret-of-own"}}]});
    wharf
        .post(
            "/api/sessions",
            json!({"name": OWN, "start": false, "config": webhooks}),
        )
        .await;
    wharf
        .post("/api/sessions", json!({"name": FOREIGN, "start": false}))
        .await;
    let list = async |actions: &[&'static str]| {
        let (_, key) = make_key(&wharf, Some(OWN), actions, true).await;
        let request = wharf
            .request(Method::GET, "/api/sessions?all=true")
            .header("X-Api-Key", &key.text);
        wharf.send(request).await.json()
    };
    let seen = list(&["read", "setting"]).await;
    assert_eq!((seen.as_array().unwrap().len(), &seen[0]["name"]), (1, &json!(OWN)));
    assert!(seen.to_string().contains("secret-of-own"));
    // Without `read` it is there, and no more.
    let seen = list(&["send"]).await;
    assert_eq!(
        (seen.as_array().unwrap().len(), &seen[0]["status"]),
        (1, &json!("STOPPED"))
    );
    assert!(!seen.to_string().contains("secret-of-own"));
    // A key may be there before its session, and does not make it.
    let (_, early) = make_key(&wharf, Some("early"), ACTIONS, true).await;
    let start = wharf
        .request(Method::POST, "/api/sessions/start")
        .header("X-Api-Key", &early.text);
    assert_eq!(wharf.send(start.json(&json!({"name": "early"}))).await.status, 404);
    assert_eq!(wharf.get("/api/sessions/early").await.status, 404);
    wharf.stop().await;
}

#[tokio::test]
async fn no_answer_shows_a_secret_to_whom_it_is_not_for() {
    let wharf = Wharf::start().await;
    let secrets = ["secret-signature", "secret-header", "secret-password"];
    let config = json!({
        "proxy": {"server": "127.0.0.1:9", "username": "user", "password": secrets[2]},
        "webhooks": [{
            "url": "http://127.0.0.1:9/", "events": ["message"], "hmac": {"key": secrets[0]},
            "customHeaders": [{"name": "X-Token", "value": secrets[1]}],
        }],
    });
    let made = wharf
        .post("/api/sessions", json!({"name": OWN, "start": false, "config": config}))
        .await;
    assert!(secrets.iter().all(|secret| made.json().to_string().contains(secret)));
    for actions in [
        &["read", "control", "send"][..],
        &["control", "send"],
        &["read", "setting"],
    ] {
        let (_, key) = make_key(&wharf, Some(OWN), actions, true).await;
        let mut seen = String::new();
        for operation in Operation::all()
            .into_iter()
            .filter(|operation| operation.is_open_to(&key))
        {
            // These do not end, or take the session away.
            if operation.path.ends_with("/stream")
                || operation.path == "/api/sessions/{session}" && operation.method == Method::PUT
            {
                continue;
            }
            let mut request = wharf.request(operation.method.clone(), &operation.target);
            if let Some(body) = &operation.body {
                request = request.json(body);
            }
            let answer = wharf.send(request.header("X-Api-Key", &key.text)).await;
            seen.push_str(&String::from_utf8_lossy(&answer.bytes));
            stop_own(&wharf).await;
        }
        let is_shown = actions.contains(&"setting");
        for secret in secrets {
            assert_eq!(seen.contains(secret), is_shown, "{secret} with {actions:?}");
        }
        assert_eq!(seen.contains("127.0.0.1:9"), actions.contains(&"read"), "{actions:?}");
    }
    wharf.stop().await;
}

async fn stop_own(wharf: &Wharf) {
    let stopped = wharf.post(&format!("/api/sessions/{OWN}/stop"), json!({})).await;
    assert_eq!(stopped.status, 201, "{stopped:?}");
}

#[tokio::test]
async fn wahas_older_operations_ask_for_what_they_do() {
    let wharf = Wharf::start().await;
    wharf.post("/api/sessions", json!({"name": OWN, "start": false})).await;
    let (_, control) = make_key(&wharf, Some(OWN), &["control"], true).await;
    for (path, body) in [
        (
            "/api/sessions/start",
            json!({"name": OWN, "config": {"metadata": {"a": "b"}}}),
        ),
        ("/api/sessions/stop", json!({"name": OWN, "logout": true})),
        ("/api/sessions/logout", json!({"name": OWN})),
    ] {
        let request = wharf.request(Method::POST, path).header("X-Api-Key", &control.text);
        assert_eq!(wharf.send(request.json(&body)).await.status, 403, "{path}");
    }
    assert_eq!(
        wharf.get("/api/sessions/own").await.json()["config"]["metadata"],
        Value::Null
    );
    wharf.stop().await;
}

#[tokio::test]
async fn head_is_as_closed_as_get() {
    let wharf = Wharf::start().await;
    let (_, sends) = make_key(&wharf, Some(OWN), &["send"], true).await;
    let head = |path: &str, key: &str| wharf.request(Method::HEAD, path).header("X-Api-Key", key);
    for (path, key, status) in [
        ("/api/sessions/own", "wrong", 401),
        ("/api/sessions/own", &sends.text, 403),
        ("/api/keys", &sends.text, 403),
        ("/api/keys", KEY, 200),
    ] {
        assert_eq!(head(path, key).send().await.unwrap().status(), status, "{path}");
    }
    wharf.stop().await;
}
