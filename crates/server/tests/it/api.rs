//! What every operation has in common: keys, errors, paths, pages.

use reqwest::Method;
use serde_json::json;

use crate::harness::{KEY, Wharf};

#[tokio::test]
async fn without_the_key_nothing_but_ping_and_the_documentation_answers() {
    let wharf = Wharf::start().await;
    for (method, path) in [
        (Method::GET, "/api/sessions"),
        (Method::POST, "/api/sessions"),
        (Method::GET, "/api/sessions/default"),
        (Method::DELETE, "/api/sessions/default"),
        (Method::GET, "/api/default/auth/qr"),
        (Method::POST, "/api/sendText"),
        (Method::POST, "/api/sendImage"),
        (Method::GET, "/api/default/chats"),
        (Method::GET, "/health"),
        (Method::GET, "/api/server/version"),
    ] {
        let request = wharf.request(method.clone(), path).body("{bad json");
        let answer = wharf.send(request).await;
        assert_eq!(answer.status, 401, "{method} {path}");
        let body = answer.json();
        assert_eq!(
            (&body["statusCode"], &body["message"]),
            (&json!(401), &json!("Unauthorized"))
        );
        assert!(body["hint"].as_str().unwrap().contains("X-Api-Key"));
    }
    for path in ["/ping", "/", "/-json"] {
        assert_eq!(wharf.send(wharf.request(Method::GET, path)).await.status, 200, "{path}");
    }
    wharf.stop().await;
}

#[tokio::test]
async fn two_keys_an_empty_key_and_a_key_in_the_query_are_refused() {
    let wharf = Wharf::start().await;
    let get = || wharf.request(Method::GET, "/api/sessions");
    for request in [
        get().header("X-Api-Key", KEY).header("X-Api-Key", "other"),
        get().header("X-Api-Key", ""),
        get().header("X-Api-Key", format!("{KEY} ")).header("X-Api-Key", KEY),
        wharf.request(Method::GET, &format!("/api/sessions?x-api-key={KEY}")),
    ] {
        assert_eq!(wharf.send(request).await.status, 401);
    }
    // A picture is loaded by a browser, which sends no header.
    let qr = wharf.request(Method::GET, &format!("/api/nobody/auth/qr?x-api-key={KEY}"));
    assert_eq!(wharf.send(qr).await.status, 404);
    wharf.stop().await;
}

#[tokio::test]
async fn excluded_paths_need_no_key_and_only_they() {
    let wharf = Wharf::start_with(&[("WAHA_API_KEY_EXCLUDE_PATH", "health")]).await;
    for (path, status) in [
        ("/health", 200),
        ("/health/", 200),
        ("/api/sessions?x=health", 401),
        ("/api/sessions", 401),
    ] {
        assert_eq!(
            wharf.send(wharf.request(Method::GET, path)).await.status,
            status,
            "{path}"
        );
    }
    wharf.stop().await;
}

#[tokio::test]
async fn errors_have_wahas_bodies() {
    let wharf = Wharf::start().await;
    let not_found = |message: &str| {
        (
            404,
            json!({"statusCode": 404, "message": message, "error": "Not Found"}),
        )
    };
    let not_built = (
        422,
        json!({"statusCode": 422, "message": "The method is not implemented by the engine.", "error": "Unprocessable Entity"}),
    );
    let not_started = "We didn't find a session with name 'nobody'.\nPlease start it first by using POST \
                       /api/sessions/nobody/start request\nThere is no session with this name yet: create it with POST \
                       /api/sessions";
    for (method, path, (status, body)) in [
        (Method::GET, "/nope", not_found("Cannot GET /nope")),
        (Method::GET, "/api", not_found("Cannot GET /api")),
        (Method::POST, "/ping", not_found("Cannot POST /ping")),
        (
            Method::PATCH,
            "/api/sessions/nobody",
            not_found("Cannot PATCH /api/sessions/nobody"),
        ),
        (Method::GET, "/api/sessions/nobody", not_found("Session not found")),
        (Method::GET, "/api/sessions/nobody/me", not_found("Session not found")),
        (
            Method::POST,
            "/api/sessions/nobody/start",
            not_found("Session not found"),
        ),
        (
            Method::POST,
            "/api/sessions/..%2Fx/start",
            not_found("Session not found"),
        ),
        (Method::GET, "/api/nobody/auth/qr", not_found(not_started)),
        (Method::POST, "/api/sendText?session=nobody", not_found(not_started)),
        (Method::POST, "/api/contacts/block", not_built.clone()),
        (Method::GET, "/api/nobody/groups/1@g.us", not_built.clone()),
        (Method::PUT, "/api/nobody/contacts/1%40c.us", not_built),
    ] {
        let answer = wharf
            .send(wharf.request(method.clone(), path).header("X-Api-Key", KEY))
            .await;
        assert_eq!((answer.status, answer.json()), (status, body), "{method} {path}");
    }
    wharf.stop().await;
}

#[tokio::test]
async fn bad_bodies_are_named_and_change_nothing() {
    let wharf = Wharf::start().await;
    let post = || wharf.request(Method::POST, "/api/sessions").header("X-Api-Key", KEY);
    let json_type = ("Content-Type", "application/json");
    let malformed = wharf
        .send(post().header(json_type.0, json_type.1).body("{bad json"))
        .await;
    assert_eq!(malformed.status, 400);
    assert!(malformed.json()["message"].is_string());
    let untyped = wharf.send(post().header("Content-Type", "text/plain").body("{}")).await;
    assert_eq!(untyped.status, 400);
    for (body, problems) in [
        (
            json!({"name": 5}),
            json!([
                "name must be shorter than or equal to 54 characters",
                "name must be a string"
            ]),
        ),
        (
            json!({"name": "a b"}),
            json!(["name must be 1 to 54 characters of A-Z, a-z, 0-9, _ and -"]),
        ),
        (
            json!({"name": "sessions"}),
            json!(["name 'sessions' is reserved, choose another one"]),
        ),
        (json!({"start": "yes"}), json!(["start must be a boolean value"])),
        (
            json!({"config": "x"}),
            json!(["nested property config must be either object or array"]),
        ),
        (json!([]), json!(["body must be a JSON object"])),
    ] {
        let answer = wharf.post("/api/sessions", body).await;
        let expected = json!({"statusCode": 400, "message": problems, "error": "Bad Request"});
        assert_eq!((answer.status, answer.json()), (400, expected));
    }
    assert_eq!(wharf.get("/api/sessions?all=true").await.json(), json!([]));
    assert_eq!(
        wharf.get("/api/sessions?all=maybe").await.json()["message"],
        json!(["all must be a boolean value"])
    );
    wharf.stop().await;
}

#[tokio::test]
async fn a_form_is_read_like_json() {
    let mut wharf = Wharf::start().await;
    let form = wharf
        .request(Method::POST, "/api/sessions")
        .header("X-Api-Key", KEY)
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body("name=default");
    assert_eq!(wharf.send(form).await.json()["name"], "default");
    wharf.link().await;
    wharf.stop().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let wharf = Wharf::start().await;
    let body = vec![b' '; 50 * 1024 * 1024 + 1];
    let request = wharf.request(Method::POST, "/api/sendText").header("X-Api-Key", KEY);
    let answer = wharf
        .send(request.header("Content-Type", "application/json").body(body))
        .await;
    assert_eq!(
        (answer.status, answer.json()["message"].clone()),
        (413, json!("request entity too large"))
    );
    wharf.stop().await;
}

#[tokio::test]
async fn every_answer_may_be_read_by_any_site_and_is_taken_at_its_word() {
    let wharf = Wharf::start().await;
    let answer = wharf.get("/ping").await;
    assert_eq!(answer.json(), json!({"message": "pong"}));
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    assert_eq!(answer.headers["x-request-id"].len(), 16);
    let preflight = wharf.request(Method::OPTIONS, "/api/sendText");
    let preflight = preflight
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "x-api-key");
    let preflight = wharf.send(preflight).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.headers["access-control-allow-headers"], "x-api-key");
    wharf.stop().await;
}

#[tokio::test]
async fn what_the_framework_refuses_has_wahas_body_too() {
    let mut wharf = Wharf::start().await;
    let made = wharf.post("/api/sessions", json!({"name": "a"})).await;
    assert_eq!(made.status, 201);
    wharf.link().await.show_qr("2@code");
    wharf.until_status("a", "SCAN_QR_CODE").await;
    for path in ["/api/a/auth/qr?format=raw&format=image", "/ws"] {
        let answer = wharf.get(path).await;
        let body = answer.json();
        assert_eq!(
            (answer.status, &body["statusCode"], &body["error"]),
            (400, &json!(400), &json!("Bad Request"))
        );
        assert!(body["message"].is_string(), "{path}");
    }
    wharf.stop().await;
}

#[test]
fn an_address_that_is_taken_is_said_with_its_cause_once() {
    let address = "127.0.0.1:3000".parse().unwrap();
    let cause = std::io::Error::from(std::io::ErrorKind::AddrInUse);
    let error = wharf_server::StartError::Listen { address, cause };
    assert_eq!(error.to_string(), "cannot listen on 127.0.0.1:3000");
    // Whoever writes the error adds its sources.
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "address in use");
}

#[tokio::test]
async fn a_worker_without_a_name_is_null() {
    let wharf = Wharf::start().await;
    let version = wharf.get("/api/server/version").await.json();
    assert_eq!(version["worker"], json!({"id": null}));
    wharf.stop().await;
}

#[tokio::test]
async fn the_server_tells_what_it_is_and_how_it_is() {
    let wharf = Wharf::start_with(&[("WHATSAPP_DEFAULT_ENGINE", "NOWEB"), ("WAHA_WORKER_ID", "w1")]).await;
    let version = wharf.get("/api/server/version").await.json();
    assert_eq!(
        (&version["version"], &version["engine"], &version["tier"]),
        (&json!("2026.7.1"), &json!("NOWEB"), &json!("PLUS"))
    );
    assert_eq!(version["worker"], json!({"id": "w1"}));
    assert_eq!(wharf.get("/api/version/").await.json(), version);
    let status = wharf.get("/api/server/status").await.json();
    assert_eq!(status["worker"], json!({"id": "w1"}));
    assert!(status["startTimestamp"].as_i64().unwrap() > 1_700_000_000_000);
    let well = wharf.get("/health").await;
    assert_eq!((well.status, well.json()["status"].clone()), (200, json!("ok")));
    wharf.disk_is_full(true);
    let ill = wharf.get("/health").await;
    assert_eq!(
        (ill.status, ill.json()["error"]["storage"]["status"].clone()),
        (503, json!("down"))
    );
    wharf.stop().await;
}

#[tokio::test]
async fn the_documentation_can_be_switched_off() {
    let wharf = Wharf::start().await;
    let page = wharf.get("/").await;
    assert!(
        page.headers["content-security-policy"]
            .to_str()
            .unwrap()
            .contains("frame-ancestors 'none'")
    );
    assert!(String::from_utf8_lossy(&page.bytes).contains("swagger-ui"));
    assert_eq!(wharf.get("/swagger-initializer.js").await.status, 200);
    assert_eq!(wharf.get("/-json").await.json()["openapi"], "3.1.0");
    wharf.stop().await;
    let wharf = Wharf::start_with(&[("WHATSAPP_SWAGGER_ENABLED", "False")]).await;
    assert_eq!(wharf.get("/").await.status, 404);
    assert_eq!(wharf.get("/-json").await.status, 404);
    wharf.stop().await;
}

#[tokio::test]
async fn a_path_that_is_not_text_is_refused_in_wahas_shape() {
    let wharf = Wharf::start().await;
    for path in [
        "/api/events/%FF",
        "/api/events/%FF/deliveries",
        "/api/sessions/%FF",
        "/api/%FF/auth/qr",
        "/api/%FF/new-message-id",
    ] {
        let answer = wharf.get(path).await;
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        assert_eq!(answer.json()["statusCode"], 400, "{path}: {answer:?}");
    }
    assert_eq!(wharf.delete("/api/keys/%FF").await.json()["statusCode"], 400);
    wharf.stop().await;
}
