//! Connections that are ended and logins that are refused because a test asks for it.

use wharf_simulator::{Conflict, Fault, FaultAction, FaultDirection, FaultMatch};

use super::*;

fn refusal(from: &str, reason: u16, code: Option<u16>, expire: Option<u32>) -> Fault {
    Fault {
        matches: FaultMatch {
            direction: FaultDirection::Login,
            from: Some(from.to_owned()),
            ..FaultMatch::default()
        },
        action: FaultAction::Failure { reason, code, expire },
        count: 1,
        probability: None,
    }
}

#[tokio::test]
async fn a_login_is_refused_as_often_as_asked_and_of_nobody_else() {
    let sandbox = sandbox();
    let (mut device, mut client) = paired(&sandbox).await;
    let faults = vec![refusal(BOB, 403, None, None), refusal(ALICE, 402, Some(101), Some(60))];
    sandbox.set_faults(faults).unwrap();
    let mut refused = Client::log_in(&sandbox, &mut device).await;
    let failure = refused.expect("failure").await;
    assert_eq!(
        (
            attr(&failure, "reason"),
            attr(&failure, "code"),
            attr(&failure, "expire")
        ),
        ("402".to_owned(), "101".to_owned(), "60".to_owned())
    );
    assert_eq!(refused.next().await, None);
    // It was no login, so the connection that is there stays.
    client.iq("get", "w:p", Vec::new()).await;
    Client::log_in(&sandbox, &mut device).await.expect("success").await;
    let error = client.expect("stream:error").await;
    assert_eq!(attr(at(&error, &["conflict"]), "type"), "replaced");
    let metrics = sandbox.metrics();
    assert_eq!((metrics.logins, metrics.replaced), (2, 1));
}

#[tokio::test]
async fn a_connection_ends_in_the_way_that_is_asked() {
    let sandbox = sandbox();
    let mut device = paired(&sandbox).await.0;
    let address = device.jid.to_string();
    let mut client = Client::ready(&sandbox, &mut device).await;
    sandbox.kill(&address, KillMode::Failure { reason: 403 }).await.unwrap();
    assert_eq!(attr(&client.expect("failure").await, "reason"), "403");
    assert_eq!(client.next().await, None);
    for (kind, name) in [
        (Conflict::Replaced, "replaced"),
        (Conflict::DeviceRemoved, "device_removed"),
    ] {
        let mut client = Client::ready(&sandbox, &mut device).await;
        sandbox.kill(&address, KillMode::Conflict { kind }).await.unwrap();
        let error = client.expect("stream:error").await;
        assert_eq!(attr(at(&error, &["conflict"]), "type"), name);
        assert_eq!(client.next().await, None);
    }
}

#[tokio::test]
async fn an_outage_ends_everything_and_lets_nobody_in() {
    let sandbox = sandbox();
    let (mut device, mut client) = paired(&sandbox).await;
    sandbox.set_outage(true);
    assert_eq!(client.next().await, None);
    assert_eq!(sandbox.metrics().connections, 0);
    sandbox.set_outage(false);
    Client::log_in(&sandbox, &mut device).await.expect("success").await;
    assert_eq!(sandbox.kill_all(KillMode::Close), 1);
}
