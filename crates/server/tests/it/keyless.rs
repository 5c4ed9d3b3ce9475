//! Who is let in where no key is needed: programs, and pages of this server.

use reqwest::Method;
use serde_json::json;

use crate::harness::{KEY, Wharf};

#[tokio::test]
async fn without_a_key_pages_of_other_sites_get_nothing() {
    let wharf = Wharf::start_with(&[("WAHA_NO_API_KEY", "True")]).await;
    let own = format!("http://{}", wharf.address());
    let other_port = format!("http://{}:1", wharf.address().ip());
    let post = |origin: &str| {
        let request = wharf.request(Method::POST, "/api/sessions").header("Origin", origin);
        request.json(&json!({"name": "default", "start": false}))
    };
    for origin in [
        "https://example.com",
        "null",
        &other_port,
        "http://localhost.example.com",
    ] {
        let answer = wharf.send(post(origin)).await;
        assert_eq!(
            (answer.status, answer.json()["error"].clone()),
            (403, json!("Forbidden")),
            "{origin}"
        );
        let preflight = wharf.request(Method::OPTIONS, "/api/sessions").header("Origin", origin);
        let preflight = wharf
            .send(preflight.header("Access-Control-Request-Method", "POST"))
            .await;
        let socket = wharf.request(Method::GET, "/ws").header("Origin", origin);
        let socket = wharf.send(socket).await;
        assert_eq!((preflight.status, socket.status), (403, 403), "{origin}");
        for answer in [answer, preflight, socket] {
            let cors = answer
                .headers
                .keys()
                .find(|name| name.as_str().starts_with("access-control-"));
            assert_eq!(cors, None, "{origin}");
        }
    }
    assert_eq!(wharf.get("/api/sessions?all=true").await.json(), json!([]));
    // The server's own pages, and programs, which send no origin.
    assert_eq!(wharf.send(post(&own)).await.status, 201);
    assert_eq!(
        wharf.send(wharf.request(Method::GET, "/api/sessions")).await.status,
        200
    );
    // Whoever has the key is welcome from anywhere.
    let with_key = wharf.request(Method::GET, "/api/sessions").header("X-Api-Key", KEY);
    let with_key = wharf.send(with_key.header("Origin", "https://example.com")).await;
    assert_eq!(with_key.status, 200);
    wharf.stop().await;
}

#[tokio::test]
async fn without_a_key_only_names_that_no_page_can_have_are_answered() {
    let wharf = Wharf::start_with(&[
        ("WAHA_NO_API_KEY", "True"),
        ("WHATSAPP_API_HOSTNAME", "wharf.example.com"),
        ("WAHA_BASE_URL", "https://inside.example.com"),
        ("WAHA_PUBLIC_URL", "https://outside.example.com/wharf/"),
    ])
    .await;
    let status = async |path: &str, host: &str, origin: Option<&str>| {
        let mut request = wharf.request(Method::GET, path).header("Host", host);
        if let Some(origin) = origin {
            request = request.header("Origin", origin);
        }
        wharf.send(request).await.status
    };
    for host in [
        "localhost:3000",
        "127.0.0.1",
        "203.0.113.7:3000",
        "[::1]:3000",
        "wharf:3000",
        "wharf.localhost",
        "wharf.default.svc.cluster.local",
        "wharf.example.com",
        "inside.example.com:443",
        "OUTSIDE.example.com.",
    ] {
        assert_eq!(status("/api/sessions", host, None).await, 200, "{host}");
        assert_eq!(status("/api/sessions", host, Some("http://evil.example")).await, 403);
    }
    for host in [
        "evil.example",
        "evil.example:3000",
        "local.evil.example",
        "inside.example.com.evil.example",
    ] {
        for path in ["/api/sessions", "/api/server/status", "/ws"] {
            assert_eq!(status(path, host, None).await, 403, "{path} {host}");
        }
        // What a page sends from a name that it has made this machine's.
        let own = format!("http://{host}");
        assert_eq!(status("/api/sessions", host, Some(&own)).await, 403, "{host}");
        assert_eq!(status("/health", host, Some(&own)).await, 403, "{host}");
        for probe in ["/health", "/health/", "/ping"] {
            assert_eq!(status(probe, host, None).await, 200, "{probe} {host}");
        }
    }
    // Behind a proxy that passes another name on.
    let origin = Some("https://outside.example.com");
    assert_eq!(status("/api/sessions", "wharf:3000", origin).await, 200);
    wharf.stop().await;
}

#[tokio::test]
async fn pages_of_other_sites_get_nothing_of_a_path_that_needs_no_key() {
    let wharf = Wharf::start_with(&[("WAHA_API_KEY_EXCLUDE_PATH", "api/sessions")]).await;
    let post = async |name: &str, header: (&str, &str), key: Option<&str>| {
        let mut request = wharf.request(Method::POST, "/api/sessions").header(header.0, header.1);
        if let Some(key) = key {
            request = request.header("X-Api-Key", key);
        }
        wharf
            .send(request.json(&json!({"name": name, "start": false})))
            .await
            .status
    };
    for header in [
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Host", "evil.example"),
    ] {
        assert_eq!(post("never", header, None).await, 403, "{header:?}");
    }
    assert_eq!(post("a", ("Origin", "http://evil.example"), Some(KEY)).await, 201);
    assert_eq!(post("b", ("Host", "evil.example"), Some(KEY)).await, 201);
    assert_eq!(post("c", ("Host", "wharf:3000"), None).await, 201);
    wharf.stop().await;
}

#[tokio::test]
async fn without_a_key_nothing_is_sent_by_get() {
    let mut wharf = Wharf::start_with(&[("WAHA_NO_API_KEY", "True")]).await;
    let link = wharf.working("default", json!({})).await;
    // What a picture on any page asks for.
    let path = "/api/sendText?phone=12025550101&text=x";
    let refused = wharf.send(wharf.request(Method::GET, path)).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(
        refused.json()["hint"].as_str().unwrap().contains("use POST"),
        "{refused:?}"
    );
    assert!(link.engine.sent.lock().unwrap().is_empty());
    assert_eq!(wharf.get(path).await.status, 200);
    wharf.stop().await;
}
