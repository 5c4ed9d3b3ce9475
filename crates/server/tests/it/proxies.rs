//! Which proxy of a list a session gets.

use serde_json::json;

use crate::harness::Wharf;

/// Makes a session, and returns the proxy that it dials through.
async fn proxy_of_new(wharf: &mut Wharf, name: &str) -> String {
    let made = wharf.post("/api/sessions", json!({"name": name})).await;
    assert_eq!(made.status, 201, "{made:?}");
    wharf.link().await.options.proxy.unwrap().host
}

#[tokio::test]
async fn proxies_stay_evenly_used_when_sessions_are_deleted_and_a_session_keeps_its_own() {
    let list = ("WHATSAPP_PROXY_SERVER_LIST", "one:1,two:2,three:3");
    let mut wharf = Wharf::start_with(&[list]).await;
    for (name, expected) in [("a", "one"), ("b", "two"), ("c", "three"), ("d", "one")] {
        assert_eq!(proxy_of_new(&mut wharf, name).await, expected, "{name}");
    }
    for name in ["b", "c"] {
        let deleted = wharf.delete(&format!("/api/sessions/{name}")).await;
        assert_eq!(deleted.status, 200, "{name}");
    }
    // `a` and `d` share the first one.
    for (name, expected) in [("e", "two"), ("f", "three"), ("g", "two")] {
        assert_eq!(proxy_of_new(&mut wharf, name).await, expected, "{name}");
    }
    let mut wharf = wharf.restart().await;
    for _ in 0..5 {
        let options = wharf.link().await.options;
        let expected = match options.session.as_str() {
            "a" | "d" => "one",
            "e" | "g" => "two",
            _ => "three",
        };
        assert_eq!(options.proxy.unwrap().host, expected, "{}", options.session);
    }
    assert_eq!(proxy_of_new(&mut wharf, "h").await, "three");
    wharf.stop().await;
}
