//! What ends a session's connection, what the session says of it, and how it comes back.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use wharf_simulator::{Conflict, Fault, FaultAction, FaultDirection, FaultMatch, KillMode};

use crate::support::{ALICE, BOB, Receiver, TestWharf, within};

/// Sessions whose sockets are cut at the same time.
const STORM_SESSIONS: usize = 30;
/// How many of them dial within a second; that they do is tested where dials are made.
const STORM_RATE: &str = "10";
/// How long a storm may last.
const STORM_OVER_WITHIN: Duration = Duration::from_secs(60);
/// A network that is back is found within this.
const FOUND_WITHIN: Duration = Duration::from_secs(12);
/// WhatsApp is not waited for longer where it does not confirm a logout.
const LOGGED_OUT_WITHIN: Duration = Duration::from_secs(8);
/// Dials into an outage, after which the wait between them is near its longest.
const OUTAGE_DIALS: u64 = 4;

/// What a refusal or an end must lead to: the status, and the reason in `data`.
type Outcome = (&'static str, &'static str);

fn refusal(reason: u16, code: Option<u16>, expire: Option<u32>) -> Fault {
    Fault {
        matches: FaultMatch {
            direction: FaultDirection::Login,
            ..FaultMatch::default()
        },
        action: FaultAction::Failure { reason, code, expire },
        count: 1,
        probability: None,
    }
}

/// The connection falls silent where this stanza would go out.
fn stall(stanza: &str, count: u32) -> Fault {
    Fault {
        matches: FaultMatch {
            direction: FaultDirection::Out,
            stanza: Some(stanza.to_owned()),
            ..FaultMatch::default()
        },
        action: FaultAction::Stall,
        count,
        probability: None,
    }
}

/// The address of Alice's newest device.
fn newest_device(wharf: &TestWharf) -> String {
    wharf.network.phone(ALICE).unwrap().devices.last().unwrap().jid.clone()
}

/// A session on Alice's phone, and where its events go.
async fn session(wharf: &TestWharf, name: &str) -> Receiver {
    let receiver = Receiver::start().await;
    wharf.paired(name, ALICE, &receiver).await;
    receiver
}

/// Waits for the event of the outcome, checks that the session and its refusals say the same, and returns the `data`.
async fn reached(wharf: &TestWharf, name: &str, receiver: &Receiver, (status, reason): Outcome) -> Value {
    let told = receiver
        .wait_for(&format!("{status} {reason}"), |event| {
            event["payload"]["status"] == status && event["payload"]["data"]["reason"] == reason
        })
        .await;
    let data = told.event["payload"]["data"].clone();
    assert!(
        data["message"].as_str().is_some_and(|message| message.len() > 30),
        "it must say what to do: {data}"
    );
    if status == "FAILED" {
        let shown = wharf.get(&format!("/api/sessions/{name}")).await.expect(200);
        assert_eq!(shown["status"], status);
        let text = json!({ "session": name, "chatId": format!("{BOB}@c.us"), "text": "x" });
        let refused = wharf.post("/api/sendText", text).await.expect(422);
        let hint = refused["hint"].as_str().unwrap();
        assert!(hint.contains(data["message"].as_str().unwrap()), "{hint}");
    }
    data
}

#[tokio::test]
async fn a_refused_login_is_told_with_its_reason() {
    let wharf = TestWharf::start().await;
    let cases: [(&str, Fault, Outcome); 6] = [
        ("s401", refusal(401, None, None), ("FAILED", "LOGGED_OUT")),
        ("s403", refusal(403, None, None), ("FAILED", "ACCOUNT_LOCKED")),
        ("s402", refusal(402, Some(101), Some(3600)), ("FAILED", "BANNED")),
        ("s402-forever", refusal(402, None, None), ("FAILED", "BANNED")),
        ("s405", refusal(405, None, None), ("FAILED", "OUTDATED")),
        ("s414", refusal(414, None, None), ("FAILED", "REFUSED")),
    ];
    for (name, fault, outcome) in cases {
        let receiver = session(&wharf, name).await;
        let device = newest_device(&wharf);
        wharf.network.set_faults(vec![fault]).unwrap();
        wharf.network.kill(&device, KillMode::Close).await.unwrap();
        let data = reached(&wharf, name, &receiver, outcome).await;
        match name {
            "s402" => assert_eq!((&data["code"], &data["expiresInSeconds"]), (&json!(101), &json!(3600))),
            "s402-forever" => assert_eq!((&data["code"], &data["expiresInSeconds"]), (&json!(402), &Value::Null)),
            _ => {}
        }
        // Credentials that WhatsApp has withdrawn are of no more use; all others are kept.
        let path = format!("/api/sessions/{name}/restart");
        wharf.post(&path, json!({})).await.expect(201);
        let next = match outcome.1 {
            "LOGGED_OUT" | "ACCOUNT_LOCKED" => "SCAN_QR_CODE",
            _ => "WORKING",
        };
        wharf.wait_for_status(name, next).await;
        wharf.delete(&format!("/api/sessions/{name}")).await.expect(200);
    }
    wharf.finish().await;
}

#[tokio::test]
async fn what_whatsapp_says_while_connected_is_told_with_its_reason() {
    let wharf = TestWharf::start().await;
    let conflict = |kind| KillMode::Conflict { kind };
    let failure = |reason| KillMode::Failure { reason };
    let error = |code| KillMode::StreamError { code };
    let cases: [(&str, KillMode, Outcome); 10] = [
        ("replaced", conflict(Conflict::Replaced), ("FAILED", "REPLACED")),
        ("removed", conflict(Conflict::DeviceRemoved), ("FAILED", "LOGGED_OUT")),
        ("f401", failure(401), ("FAILED", "LOGGED_OUT")),
        ("f403", failure(403), ("FAILED", "ACCOUNT_LOCKED")),
        ("f402", failure(402), ("FAILED", "BANNED")),
        ("f405", failure(405), ("FAILED", "OUTDATED")),
        ("e401", error(401), ("FAILED", "LOGGED_OUT")),
        ("e409", error(409), ("FAILED", "REPLACED")),
        ("e516", error(516), ("FAILED", "LOGGED_OUT")),
        ("e500", error(500), ("STARTING", "NOT_CONNECTED")),
    ];
    for (name, mode, outcome) in cases {
        let receiver = session(&wharf, name).await;
        wharf.network.kill(&newest_device(&wharf), mode).await.unwrap();
        reached(&wharf, name, &receiver, outcome).await;
        wharf.delete(&format!("/api/sessions/{name}")).await.expect(200);
    }
    wharf.finish().await;
}

#[tokio::test]
async fn whatsapp_that_takes_no_connections_is_asked_again_later() {
    let wharf = TestWharf::start().await;
    let later = |mode| (mode, ("STARTING", "TURNED_AWAY"));
    let cases = [
        ("e429", later(KillMode::StreamError { code: 429 })),
        ("e503", later(KillMode::StreamError { code: 503 })),
        ("f503", later(KillMode::Failure { reason: 503 })),
    ];
    let sessions = cases.map(|(name, (mode, outcome))| {
        let wharf = &wharf;
        async move {
            let receiver = Receiver::start().await;
            let number = wharf.network.create_phone(None, None).await.unwrap().number;
            wharf.paired(name, &number, &receiver).await;
            let device = wharf.network.phone(&number).unwrap().devices[0].jid.clone();
            wharf.network.kill(&device, mode).await.unwrap();
            let killed = Instant::now();
            reached(wharf, name, &receiver, outcome).await;
            wharf.wait_for_status(name, "WORKING").await;
            assert!(killed.elapsed() > Duration::from_secs(3), "{name} came back at once");
        }
    });
    join_all(sessions).await;
    wharf.finish().await;
}

#[tokio::test]
async fn a_stream_that_is_restarted_comes_back_at_once() {
    let wharf = TestWharf::start().await;
    let receiver = session(&wharf, "default").await;
    let mode = KillMode::StreamError { code: 515 };
    wharf.network.kill(&newest_device(&wharf), mode).await.unwrap();
    wharf.network.send(BOB, ALICE, "after the restart", None).await.unwrap();
    receiver
        .wait_for("the text", |event| event["payload"]["body"] == "after the restart")
        .await;
    wharf.finish().await;
}

#[tokio::test]
async fn a_network_that_was_out_for_long_is_found_within_seconds() {
    let wharf = TestWharf::start().await;
    let receiver = session(&wharf, "default").await;
    wharf.network.set_outage(true);
    reached(&wharf, "default", &receiver, ("STARTING", "NOT_CONNECTED")).await;
    wharf.network.send(BOB, ALICE, "during the outage", None).await.unwrap();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    within("the session to dial in vain", async {
        while wharf.network.metrics().outage_dials < OUTAGE_DIALS {
            ticks.tick().await;
        }
    })
    .await;
    wharf.network.set_outage(false);
    let healed = Instant::now();
    wharf.wait_for_status("default", "WORKING").await;
    assert!(healed.elapsed() < FOUND_WITHIN, "{:?}", healed.elapsed());
    receiver
        .wait_for("the text", |event| event["payload"]["body"] == "during the outage")
        .await;
    wharf.finish().await;
}

#[tokio::test]
async fn a_session_that_waits_for_a_scan_shows_another_code_after_its_socket_was_cut() {
    let wharf = TestWharf::start().await;
    let receiver = Receiver::start().await;
    wharf.create("default", &receiver).await;
    let cut_off = wharf.qr("default").await;
    assert_eq!(wharf.network.kill_all(KillMode::Cut), 1);
    reached(&wharf, "default", &receiver, ("STARTING", "NOT_CONNECTED")).await;
    assert_ne!(wharf.qr("default").await, cut_off);
    wharf.scan("default", ALICE).await;
    wharf.wait_for_status("default", "WORKING").await;
    wharf.finish().await;
}

#[tokio::test]
async fn a_socket_that_is_open_and_silent_is_given_up() {
    let mut wharf = TestWharf::start().await;
    wharf.stop().await;
    // Sooner than any connection to WhatsApp may be given up.
    wharf
        .boot_changed(|config| config.sessions.silence_max = Duration::from_secs(3))
        .await;
    let receiver = session(&wharf, "default").await;
    wharf.network.set_faults(vec![stall("message", 1)]).unwrap();
    wharf.network.send(BOB, ALICE, "into the void", None).await.unwrap();
    receiver
        .wait_for("the text, on another connection", |event| {
            event["payload"]["body"] == "into the void"
        })
        .await;
    wharf.finish().await;
}

#[tokio::test]
async fn a_session_whose_socket_is_silent_is_logged_out_within_seconds() {
    let wharf = TestWharf::start().await;
    let _receiver = session(&wharf, "default").await;
    wharf.network.set_faults(vec![stall("message", 1)]).unwrap();
    wharf.network.send(BOB, ALICE, "into the void", None).await.unwrap();
    within("the socket to fall silent", async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while !wharf.network.faults().is_empty() {
            ticks.tick().await;
        }
    })
    .await;
    let asked = Instant::now();
    let out = wharf.post("/api/sessions/default/logout", json!({})).await.expect(201);
    assert_eq!((&out["status"], &out["me"]), (&json!("STARTING"), &Value::Null));
    assert!(asked.elapsed() < LOGGED_OUT_WITHIN, "{:?}", asked.elapsed());
    wharf.wait_for_status("default", "SCAN_QR_CODE").await;
    wharf.finish().await;
}

#[tokio::test]
async fn a_session_whose_login_is_never_answered_is_deleted_at_once() {
    let wharf = TestWharf::start().await;
    let receiver = session(&wharf, "default").await;
    wharf.network.set_faults(vec![stall("success", 10)]).unwrap();
    wharf
        .network
        .kill(&newest_device(&wharf), KillMode::Close)
        .await
        .unwrap();
    reached(&wharf, "default", &receiver, ("STARTING", "NOT_CONNECTED")).await;
    within("the session to dial", async {
        let mut changed = wharf.network.changed();
        while wharf.network.metrics().logins < 2 {
            changed.changed().await.unwrap();
        }
    })
    .await;
    let asked = Instant::now();
    wharf.delete("/api/sessions/default").await.expect(200);
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    wharf.get("/api/sessions/default").await.expect(404);
    wharf.finish().await;
}

#[tokio::test]
async fn a_storm_that_cuts_all_sockets_passes_within_a_minute() {
    let wharf = TestWharf::start_with(&[("WHARF_CONNECTS_PER_SECOND", STORM_RATE)]).await;
    let receiver = Receiver::start().await;
    let names: Vec<_> = (0..STORM_SESSIONS).map(|number| format!("storm{number}")).collect();
    let (network, target) = (&wharf, &receiver);
    let paired = names.iter().map(|name| async move {
        let (wharf, receiver) = (network, target);
        let number = wharf.network.create_phone(None, None).await.unwrap().number;
        wharf.create(name, receiver).await;
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        let path = format!("/api/sessions/{name}");
        while wharf.get(&path).await.json()["status"] != "SCAN_QR_CODE" {
            ticks.tick().await;
        }
        wharf.scan(name, &number).await;
        number
    });
    let numbers = join_all(paired).await;
    all_working(&wharf).await;
    let before = wharf.network.metrics().logins;

    assert_eq!(wharf.network.kill_all(KillMode::Cut), STORM_SESSIONS);
    let cut = Instant::now();
    for number in &numbers {
        wharf
            .network
            .send(BOB, number, &format!("to {number}"), None)
            .await
            .unwrap();
    }
    // Until then the sessions may not have noticed.
    let logged_in = async {
        let mut changed = wharf.network.changed();
        while wharf.network.metrics().logins < before + STORM_SESSIONS as u64 {
            changed.changed().await.unwrap();
        }
    };
    tokio::time::timeout(STORM_OVER_WITHIN, logged_in)
        .await
        .expect("not every session logs in again");
    all_working(&wharf).await;
    let passed = cut.elapsed();
    assert!(passed < STORM_OVER_WITHIN, "{passed:?}");
    for number in &numbers {
        let text = format!("to {number}");
        receiver.wait_for(&text, |event| event["payload"]["body"] == text).await;
    }
    wharf.finish().await;
}

/// Waits, longer than usual, until every session works.
async fn all_working(wharf: &TestWharf) {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let works = async {
        loop {
            ticks.tick().await;
            let sessions = wharf.get("/api/sessions").await.expect(200);
            let sessions = sessions.as_array().unwrap();
            let working = sessions.iter().filter(|session| session["status"] == "WORKING").count();
            if working == STORM_SESSIONS {
                return;
            }
        }
    };
    tokio::time::timeout(STORM_OVER_WITHIN, works)
        .await
        .expect("not every session works");
}
