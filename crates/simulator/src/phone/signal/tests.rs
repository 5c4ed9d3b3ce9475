//! What two phones' ends of the Signal protocol do with each other.

use rand::SeedableRng;

use super::*;

fn two() -> (Signal, Signal, DeviceRef, DeviceRef, StdRng) {
    let mut rng = StdRng::seed_from_u64(1);
    let one = Signal::generate(1, &mut rng).unwrap();
    let other = Signal::generate(1, &mut rng).unwrap();
    (
        one,
        other,
        DeviceRef::new("12025550101", 0),
        DeviceRef::new("12025550102", 0),
        rng,
    )
}

fn connect(from: &mut Signal, to: &mut Signal, to_ref: &DeviceRef, rng: &mut StdRng) {
    let mut bundle = to.bundle(rng);
    let prekey = bundle.prekeys.pop_first();
    from.start_session(to_ref, &bundle, prekey, rng).unwrap();
}

#[test]
fn a_conversation_moves_from_first_messages_to_session_messages() {
    let (mut alice, mut bob, alice_ref, bob_ref, mut rng) = two();
    connect(&mut alice, &mut bob, &bob_ref, &mut rng);
    let first = alice.encrypt(&bob_ref, b"hello").unwrap();
    assert_eq!(first.kind, "pkmsg");
    assert_eq!(
        bob.decrypt(&alice_ref, first.kind, &first.ciphertext, &mut rng)
            .unwrap(),
        b"hello"
    );
    let answer = bob.encrypt(&alice_ref, b"hi").unwrap();
    assert_eq!(answer.kind, "msg");
    assert_eq!(
        alice
            .decrypt(&bob_ref, answer.kind, &answer.ciphertext, &mut rng)
            .unwrap(),
        b"hi"
    );
    let second = alice.encrypt(&bob_ref, b"how are you").unwrap();
    assert_eq!(second.kind, "msg");
}

#[test]
fn a_phone_that_was_loaded_starts_a_new_session_that_the_other_side_accepts() {
    let (mut alice, mut bob, alice_ref, bob_ref, mut rng) = two();
    connect(&mut alice, &mut bob, &bob_ref, &mut rng);
    let first = alice.encrypt(&bob_ref, b"hello").unwrap();
    bob.decrypt(&alice_ref, first.kind, &first.ciphertext, &mut rng)
        .unwrap();
    let answer = bob.encrypt(&alice_ref, b"hi").unwrap();

    let mut alice: Signal = serde_json::from_slice(&serde_json::to_vec(&alice).unwrap()).unwrap();
    assert!(!alice.has_session(&bob_ref));
    assert!(
        alice
            .decrypt(&bob_ref, answer.kind, &answer.ciphertext, &mut rng)
            .is_err()
    );
    connect(&mut alice, &mut bob, &bob_ref, &mut rng);
    let again = alice.encrypt(&bob_ref, b"back again").unwrap();
    assert_eq!(
        bob.decrypt(&alice_ref, again.kind, &again.ciphertext, &mut rng)
            .unwrap(),
        b"back again"
    );
    let fresh = bob.encrypt(&alice_ref, b"welcome").unwrap();
    assert_eq!(
        alice
            .decrypt(&bob_ref, fresh.kind, &fresh.ciphertext, &mut rng)
            .unwrap(),
        b"welcome"
    );
}

#[test]
fn a_one_time_key_serves_one_session_only() {
    let (mut alice, mut bob, alice_ref, bob_ref, mut rng) = two();
    let mut bundle = bob.bundle(&mut rng);
    let prekey = bundle.prekeys.pop_first();
    alice
        .start_session(&bob_ref, &bundle, prekey.clone(), &mut rng)
        .unwrap();
    let first = alice.encrypt(&bob_ref, b"one").unwrap();
    bob.decrypt(&alice_ref, first.kind, &first.ciphertext, &mut rng)
        .unwrap();
    alice.start_session(&bob_ref, &bundle, prekey, &mut rng).unwrap();
    let second = alice.encrypt(&bob_ref, b"two").unwrap();
    assert!(
        bob.decrypt(&alice_ref, second.kind, &second.ciphertext, &mut rng)
            .is_err()
    );
}

#[test]
fn two_sessions_that_were_started_at_once_become_one_conversation() {
    let (mut alice, mut bob, alice_ref, bob_ref, mut rng) = two();
    connect(&mut alice, &mut bob, &bob_ref, &mut rng);
    let to_bob = alice.encrypt(&bob_ref, b"one").unwrap();
    bob.decrypt(&alice_ref, to_bob.kind, &to_bob.ciphertext, &mut rng)
        .unwrap();
    connect(&mut bob, &mut alice, &alice_ref, &mut rng);
    let to_alice = bob.encrypt(&alice_ref, b"two").unwrap();
    assert_eq!(to_alice.kind, "pkmsg");
    alice
        .decrypt(&bob_ref, to_alice.kind, &to_alice.ciphertext, &mut rng)
        .unwrap();
    for text in [&b"three"[..], b"four", b"five"] {
        let to_bob = alice.encrypt(&bob_ref, text).unwrap();
        assert_eq!(
            bob.decrypt(&alice_ref, to_bob.kind, &to_bob.ciphertext, &mut rng)
                .unwrap(),
            text
        );
        let to_alice = bob.encrypt(&alice_ref, text).unwrap();
        assert_eq!(to_alice.kind, "msg");
        assert_eq!(
            alice
                .decrypt(&bob_ref, to_alice.kind, &to_alice.ciphertext, &mut rng)
                .unwrap(),
            text
        );
    }
}
