//! The inbox keeps order and limits.

use super::*;

fn request(body: &str) -> HookRequest {
    HookRequest {
        method: "POST".into(),
        query: String::new(),
        headers: BTreeMap::from([("content-type".into(), "application/json".into())]),
        body: body.into(),
        received_at: 1_700_000_000_000,
    }
}

#[test]
fn requests_come_back_in_the_order_they_came() {
    let inbox = HookInbox::new();
    inbox.store("me", request("1")).unwrap();
    inbox.store("other", request("\"elsewhere\"")).unwrap();
    inbox.store("me", request("not json")).unwrap();

    let page = inbox.read("me", 0).unwrap();
    assert_eq!(
        page.entries.iter().map(|entry| entry.cursor).collect::<Vec<_>>(),
        [1, 3]
    );
    assert_eq!(page.entries[0].json, Some(serde_json::json!(1)));
    assert_eq!(page.entries[1].json, None);
    assert_eq!(page.entries[1].body, "not json");
    assert_eq!(page.next, 3);
    assert!(inbox.read("me", page.next).unwrap().entries.is_empty());
}

#[test]
fn the_oldest_request_makes_room_and_is_counted() {
    let inbox = HookInbox::new();
    for number in 0..HOOK_REQUESTS_MAX + 2 {
        inbox.store("me", request(&number.to_string())).unwrap();
    }
    let page = inbox.read("me", 0).unwrap();
    assert_eq!(page.dropped, 2);
    assert_eq!(page.entries.len(), HOOK_PAGE_MAX);
    assert_eq!(page.entries[0].body, "2");
    assert_eq!(inbox.list()[0].held, HOOK_REQUESTS_MAX);
}

#[test]
fn bytes_are_bounded_but_the_newest_request_always_stays() {
    let inbox = HookInbox::new();
    inbox.store("me", request(&"a".repeat(HOOK_BYTES_MAX / 2))).unwrap();
    inbox.store("me", request(&"b".repeat(HOOK_BYTES_MAX / 2))).unwrap();
    assert_eq!(inbox.list()[0].held, 1);
    inbox.store("me", request(&"c".repeat(HOOK_BYTES_MAX + 1))).unwrap();
    let page = inbox.read("me", 0).unwrap();
    assert_eq!((page.entries.len(), page.dropped), (1, 2));
    assert!(page.entries[0].body.starts_with('c'));
}

#[test]
fn names_are_checked_and_bounded() {
    let inbox = HookInbox::new();
    for bad in ["", "a b", "ä", "a/b", &"x".repeat(HOOK_NAME_CHARS_MAX + 1)] {
        assert_eq!(inbox.store(bad, request("")), Err(HookError::BadName), "{bad:?}");
    }
    for number in 0..HOOK_NAMES_MAX {
        inbox.store(&format!("hook-{number}"), request("")).unwrap();
    }
    assert_eq!(inbox.store("one-more", request("")), Err(HookError::TooManyNames));
    assert!(inbox.store("hook-0", request("")).is_ok());
}

#[test]
fn clearing_forgets_requests_but_cursors_go_on() {
    let inbox = HookInbox::new();
    let changed = inbox.changed();
    let first = inbox.store("me", request("1")).unwrap();
    inbox.clear();
    assert!(inbox.list().is_empty());
    assert!(inbox.store("me", request("2")).unwrap() > first);
    assert_eq!(*changed.borrow(), 3);
}
