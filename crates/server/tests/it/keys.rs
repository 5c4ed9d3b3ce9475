//! `/api/keys`: what administrators do with keys, and what they cannot do with them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{KEY, Wharf};

async fn make(wharf: &Wharf, body: Value) -> Value {
    let answer = wharf.post("/api/keys", body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

fn session_key(session: &str) -> Value {
    json!({"isAdmin": false, "session": session, "isActive": true, "actions": null})
}

fn text(key: &Value) -> &str {
    key["key"].as_str().unwrap()
}

async fn status(wharf: &Wharf, key: &Value, path: &str) -> u16 {
    wharf
        .send(wharf.request(Method::GET, path).header("X-Api-Key", text(key)))
        .await
        .status
}

#[tokio::test]
async fn a_key_is_made_listed_changed_and_deleted() {
    let wharf = Wharf::start().await;
    let admin = make(&wharf, json!({"isAdmin": true, "session": null, "isActive": true})).await;
    let mut key = make(&wharf, session_key("a")).await;
    assert_eq!(
        (&key["isActive"], &key["isAdmin"], &key["session"], &key["actions"]),
        (&json!(true), &json!(false), &json!("a"), &Value::Null)
    );
    assert!(text(&key).starts_with("key_") && key["id"].as_str().unwrap().starts_with("key_id_"));
    let listed = wharf.get("/api/keys").await;
    assert_eq!(listed.json(), json!([admin, key]));
    assert_eq!(listed.headers["cache-control"], "no-store");
    // A part of a choice is a choice: what is left out is not allowed.
    let path = format!("/api/keys/{}", key["id"].as_str().unwrap());
    let changed = wharf
        .put(
            &path,
            json!({"isAdmin": false, "session": "b", "isActive": true, "actions": {"read": true, "send": null}}),
        )
        .await;
    key["session"] = json!("b");
    key["actions"] =
        json!({"read": true, "send": false, "control": false, "setting": false, "app": false, "delete": false});
    assert_eq!((changed.status, changed.json()), (200, key.clone()));
    assert_eq!(status(&wharf, &key, "/api/sessions/a").await, 403);
    assert_eq!(status(&wharf, &key, "/api/sessions/b").await, 404);
    let wharf = wharf.restart().await;
    assert_eq!(wharf.get("/api/keys").await.json(), json!([admin, key]));
    assert_eq!(
        wharf
            .put(&path, json!({"session": "b", "isActive": false}))
            .await
            .status,
        200
    );
    assert_eq!(status(&wharf, &key, "/api/sessions").await, 401);
    assert_eq!(wharf.delete(&path).await.status, 200);
    assert_eq!(wharf.get("/api/keys").await.json(), json!([admin]));
    for answer in [wharf.delete(&path).await, wharf.put(&path, session_key("a")).await] {
        assert_eq!(
            (answer.status, answer.json()["error"].clone()),
            (404, json!("Not Found"))
        );
    }
    assert_eq!(status(&wharf, &admin, "/api/keys").await, 200);
    wharf.stop().await;
}

#[tokio::test]
async fn wrong_requests_are_named_and_make_nothing() {
    let wharf = Wharf::start().await;
    for (body, problem) in [
        (json!({}), "session should not be empty, unless isAdmin is true"),
        (json!({"isAdmin": "true"}), "isAdmin must be a boolean value"),
        (json!({"session": 5}), "session must be a string"),
        (
            json!({"session": "a/b"}),
            "session must be 1 to 54 characters of A-Z, a-z, 0-9, _ and -",
        ),
        (json!({"session": {"$ne": null}}), "session must be a string"),
        (
            json!({"isAdmin": true, "session": "a"}),
            "session must be empty for the key of an administrator",
        ),
        (
            json!({"isAdmin": true, "actions": {"read": true}}),
            "actions must be empty for the key of an administrator",
        ),
        (
            json!({"session": "a", "actions": {"read": 1}}),
            "actions.read must be a boolean value",
        ),
        (
            json!({"session": "a", "actions": "read"}),
            "nested property actions must be either object or array",
        ),
    ] {
        let answer = wharf.post("/api/keys", body.clone()).await;
        let problems = answer.json()["message"].as_array().cloned().unwrap_or_default();
        assert!(
            answer.status == 400 && problems.contains(&json!(problem)),
            "{body} {answer:?}"
        );
    }
    assert_eq!(wharf.get("/api/keys").await.json(), json!([]));
    wharf.stop().await;
}

#[tokio::test]
async fn a_key_of_a_session_cannot_make_itself_more() {
    let wharf = Wharf::start().await;
    let key = make(&wharf, session_key("a")).await;
    let path = format!("/api/keys/{}", key["id"].as_str().unwrap());
    let body = json!({"isAdmin": true, "session": null, "isActive": true});
    for (method, path) in [
        (Method::POST, "/api/keys"),
        (Method::PUT, path.as_str()),
        (Method::DELETE, path.as_str()),
    ] {
        let request = wharf
            .request(method.clone(), path)
            .header("X-Api-Key", text(&key))
            .json(&body);
        assert_eq!(wharf.send(request).await.status, 403, "{method} {path}");
    }
    assert_eq!(wharf.get("/api/keys").await.json(), json!([key]));
    wharf.stop().await;
}

#[tokio::test]
async fn a_session_has_one_media_and_one_control_key() {
    let wharf = Wharf::start().await;
    wharf.post("/api/sessions", json!({"name": "a", "start": false})).await;
    let get = async |purpose: &str, session: Value| {
        wharf
            .post(&format!("/api/keys/{purpose}"), json!({"session": session}))
            .await
    };
    for (purpose, control) in [("media", false), ("control", true)] {
        let key = get(purpose, json!("a")).await;
        assert_eq!(key.status, 201);
        let key = key.json();
        assert_eq!(key["id"], format!("key_id_{purpose}_a"));
        assert_eq!(
            key["actions"],
            json!({"read": false, "send": false, "control": control, "setting": false, "app": false, "delete": false})
        );
        assert_eq!(get(purpose, json!("a")).await.json(), key);
        let unknown = get(purpose, json!("nobody")).await;
        assert_eq!(
            (unknown.status, unknown.json()["error"].clone()),
            (422, json!("Unprocessable Entity"))
        );
        assert_eq!(get(purpose, Value::Null).await.status, 400);
        // It cannot be made more than it is.
        let path = format!("/api/keys/{}", key["id"].as_str().unwrap());
        assert_eq!(wharf.put(&path, session_key("a")).await.status, 422);
        let off = json!({"session": "a", "isActive": false, "actions": key["actions"]});
        assert_eq!(wharf.put(&path, off).await.status, 200);
        assert_eq!(get(purpose, json!("a")).await.status, 422);
    }
    assert_eq!(wharf.get("/api/keys").await.json().as_array().unwrap().len(), 2);
    wharf.stop().await;
}

#[tokio::test]
async fn a_control_key_opens_the_qr_code_from_an_address() {
    let mut wharf = Wharf::start().await;
    wharf.post("/api/sessions", json!({"name": "a"})).await;
    wharf.link().await.show_qr("2@code");
    wharf.until_status("a", "SCAN_QR_CODE").await;
    let key = wharf.post("/api/keys/control", json!({"session": "a"})).await.json();
    let media = wharf.post("/api/keys/media", json!({"session": "a"})).await.json();
    let open = async |path: &str, key: &Value| {
        let path = format!(
            "{path}{}x-api-key={}",
            if path.contains('?') { "&" } else { "?" },
            text(key)
        );
        wharf.send(wharf.request(Method::GET, &path)).await.status
    };
    assert_eq!(open("/api/a/auth/qr", &key).await, 200);
    assert_eq!(open("/api/screenshot?session=a", &key).await, 200);
    assert_eq!(open("/api/a/auth/qr", &media).await, 403);
    // Elsewhere a key in the address counts for nothing.
    assert_eq!(open("/api/sessions", &key).await, 401);
    wharf.stop().await;
}

#[tokio::test]
async fn a_setting_takes_the_key_from_the_address_everywhere() {
    let wharf = Wharf::start_with(&[("WHARF_API_KEY_IN_QUERY", "True")]).await;
    let get = async |query: &str, header: Option<&str>| {
        let mut request = wharf.request(Method::GET, &format!("/api/sessions?{query}"));
        if let Some(key) = header {
            request = request.header("X-Api-Key", key);
        }
        wharf.send(request).await.status
    };
    assert_eq!(get(&format!("x-api-key={KEY}"), None).await, 200);
    assert_eq!(get(&format!("x-api-key={KEY}"), Some(KEY)).await, 200);
    assert_eq!(get("x-api-key=other", Some(KEY)).await, 401);
    assert_eq!(get(&format!("x-api-key={KEY}"), Some("other")).await, 401);
    assert_eq!(get(&format!("x-api-key={KEY}&x-api-key=other"), None).await, 401);
    assert_eq!(get("x-api-key=", None).await, 401);
    wharf.stop().await;
}

#[tokio::test]
async fn a_deleted_session_takes_its_keys_along() {
    let wharf = Wharf::start().await;
    wharf.post("/api/sessions", json!({"name": "a", "start": false})).await;
    let key = make(&wharf, session_key("a")).await;
    let other = make(&wharf, session_key("b")).await;
    wharf.post("/api/keys/media", json!({"session": "a"})).await;
    assert_eq!(wharf.delete("/api/sessions/a").await.status, 200);
    assert_eq!(wharf.get("/api/keys").await.json(), json!([other]));
    // Not even a session of the same name is theirs.
    wharf.post("/api/sessions", json!({"name": "a", "start": false})).await;
    assert_eq!(status(&wharf, &key, "/api/sessions/a").await, 401);
    wharf.stop().await;
}

#[tokio::test]
async fn wrong_keys_are_counted_per_address_and_right_ones_always_served() {
    let wharf = Wharf::start_with(&[("WHARF_TRUSTED_PROXIES", "127.0.0.1")]).await;
    let ask = async |address: &str, key: &str| {
        let request = wharf.request(Method::GET, "/api/sessions").header("X-Api-Key", key);
        wharf.send(request.header("X-Forwarded-For", address)).await
    };
    for n in 0..20 {
        assert_eq!(ask("192.0.2.1", &format!("guess {n}")).await.status, 401, "{n}");
    }
    let refused = ask("192.0.2.1", "guess").await;
    assert_eq!(
        (refused.status, refused.json()["error"].clone()),
        (429, json!("Too Many Requests"))
    );
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(ask("192.0.2.1", KEY).await.status, 200);
    assert_eq!(ask("192.0.2.2", "guess").await.status, 401);
    // To send none is no guess.
    for _ in 0..30 {
        assert_eq!(
            wharf.send(wharf.request(Method::GET, "/api/sessions")).await.status,
            401
        );
    }
    wharf.stop().await;
}

#[tokio::test]
async fn an_address_that_anybody_can_make_up_is_not_believed() {
    let wharf = Wharf::start().await;
    let mut last = 0;
    for n in 0..21 {
        let request = wharf.request(Method::GET, "/api/sessions").header("X-Api-Key", "guess");
        last = wharf
            .send(request.header("X-Forwarded-For", format!("192.0.2.{n}")))
            .await
            .status;
    }
    assert_eq!(last, 429);
    wharf.stop().await;
}

#[tokio::test]
async fn what_cannot_be_a_key_is_refused() {
    let wharf = Wharf::start().await;
    let long = "k".repeat(1_025);
    for key in [long.as_bytes(), b"\xff\xfe", b"", b"sha512:", b" "] {
        let key = reqwest::header::HeaderValue::from_bytes(key).unwrap();
        let request = wharf
            .request(Method::GET, "/api/sessions")
            .header("X-Api-Key", key.clone());
        assert_eq!(wharf.send(request).await.status, 401, "{key:?}");
    }
    // The server does not even read as much.
    let request = wharf
        .request(Method::GET, "/api/sessions")
        .header("X-Api-Key", "k".repeat(1 << 20));
    let answer = request.send().await;
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() == 431));
    wharf.stop().await;
}

#[tokio::test]
async fn without_the_master_key_keys_still_open_and_say_that_they_cannot_be_shown() {
    let wharf = Wharf::start().await;
    let key = make(&wharf, session_key("a")).await;
    let folder = wharf.stop().await;
    let wharf = Wharf::on_with(folder, &[("WHARF_MASTER_KEY", "another master key of 32 characters")]).await;
    assert_eq!(status(&wharf, &key, "/api/sessions").await, 200);
    let listed = wharf.get("/api/keys").await;
    assert_eq!(listed.status, 200);
    let listed = listed.json();
    assert_eq!(listed[0]["id"], key["id"]);
    assert!(
        text(&listed[0]).starts_with("cannot be shown: WHARF_MASTER_KEY"),
        "{listed}"
    );
    wharf.stop().await;
}

#[tokio::test]
async fn a_full_disk_changes_no_key() {
    let wharf = Wharf::start().await;
    let key = make(&wharf, session_key("a")).await;
    wharf.server_disk_is_full(true);
    let path = format!("/api/keys/{}", key["id"].as_str().unwrap());
    for answer in [
        wharf.delete(&path).await,
        wharf.put(&path, session_key("b")).await,
        wharf.post("/api/keys", session_key("b")).await,
    ] {
        assert_eq!(answer.status, 503);
    }
    assert_eq!(status(&wharf, &key, "/api/sessions").await, 200);
    wharf.server_disk_is_full(false);
    assert_eq!(wharf.get("/api/keys").await.json(), json!([key]));
    wharf.stop().await;
}
