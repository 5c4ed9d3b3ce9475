//! The catalog: complete, spelled as WAHA spells it, and honest about what does not come.

use std::fs;
use std::path::Path;

use super::*;

fn names(stage: Stage) -> Vec<&'static str> {
    let all = EventName::ALL.iter().filter(|event| event.stage() == stage);
    all.map(|event| event.as_str()).collect()
}

#[test]
fn every_event_of_the_contract_has_its_name() {
    let contract = "session.status message message.reaction message.any message.ack message.ack.group message.waiting \
        message.revoked message.edited state.change group.join group.leave group.v2.join group.v2.leave group.v2.update \
        group.v2.participants presence.update poll.vote poll.vote.failed chat.archive call.received call.accepted \
        call.rejected label.upsert label.deleted label.chat.added label.chat.deleted event.response \
        event.response.failed engine.event";
    let ours: Vec<_> = EventName::ALL.iter().map(|event| event.as_str()).collect();
    assert_eq!(ours, contract.split_whitespace().collect::<Vec<_>>());
    for event in EventName::ALL {
        assert_eq!(event.as_str().parse(), Ok(*event));
    }
}

#[test]
fn what_is_emitted_is_listed() {
    let emitted = [
        "session.status",
        "message",
        "message.reaction",
        "message.any",
        "message.ack",
        "message.ack.group",
        "message.waiting",
        "message.revoked",
        "message.edited",
        "poll.vote",
        "poll.vote.failed",
    ];
    assert_eq!(names(Stage::Emitted), emitted);
    assert_eq!(names(Stage::Deprecated), ["state.change", "group.join", "group.leave"]);
}

#[test]
fn the_text_of_an_event_says_what_is_promised_and_whether_it_comes() {
    for event in EventName::ALL {
        let about = event.about();
        let expected = match event.stage() {
            Stage::Emitted if event.promise() == Promise::Held => ": it is not lost.",
            Stage::Emitted => "dies at that moment.",
            Stage::Declared => "**Not emitted yet.**",
            Stage::Deprecated => "**Deprecated, and not emitted.**",
        };
        assert!(about.ends_with(expected), "{event}: {about}");
        let first = about.lines().next().unwrap_or_default();
        assert!(first.ends_with('.') && !first.starts_with(' '), "{event}: {first}");
    }
}

#[test]
fn a_star_is_every_event_but_the_engines_own() {
    let all = EventName::select(["*"]).unwrap();
    assert_eq!(all.len(), EventName::ALL.len() - 1);
    assert!(!all.contains(&EventName::EngineEvent));
    assert_eq!(EventName::select(["*", "engine.event"]).unwrap(), EventName::ALL);
    assert_eq!(EventName::select(["message", "message"]).unwrap(), [EventName::Message]);
    assert_eq!(
        EventName::select(["message", "massage"]),
        Err(EventNameError("massage".to_owned()))
    );
}

#[test]
fn payloads_of_the_same_name_are_the_same() {
    let mut schemas = std::collections::BTreeMap::new();
    for (name, schema) in EventName::ALL.iter().flat_map(|event| event.payload().schemas) {
        let schema = serde_json::to_value(&schema).unwrap();
        let known = schemas.entry(name.clone()).or_insert_with(|| schema.clone());
        assert_eq!(*known, schema, "{name} is the name of two schemas");
    }
}

#[test]
fn the_page_of_events_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/events.md");
    let current = document();
    if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        fs::write(&path, &current).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == current,
        "docs/events.md is not what the catalog says; `./dev snap` writes it"
    );
}
