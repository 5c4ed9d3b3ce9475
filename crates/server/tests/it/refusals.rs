//! What is answered where the engine or the storage cannot; what callers themselves get wrong is in the recorded cases of
//! the integration suite.

use std::time::Duration;

use serde_json::{Value, json};
use wharf_core::engine::EngineError;
use wharf_core::store::StoreError;

use crate::harness::{ALICE, Wharf};

/// What is answered: the status, `message`, `error` and `Retry-After`.
type Expected = (u16, Value, &'static str, &'static str);

fn cases() -> Vec<(EngineError, Expected)> {
    let unavailable = |what: &str| (503, json!(what), "Service Unavailable", "10");
    let refused = |what: &str| (422, json!(what), "Unprocessable Entity", "");
    let reason = "463".to_owned();
    let retry_after = Some(Duration::from_secs(30));
    vec![
        (
            EngineError::Offline,
            unavailable("the session is not connected now, it dials again by itself; try again soon"),
        ),
        (
            EngineError::NotLinked,
            refused("session is not linked to a phone; scan its QR code first"),
        ),
        (
            EngineError::UnknownRecipient(ALICE.parse().unwrap()),
            refused(&format!("chatId: whatsapp does not know {ALICE}")),
        ),
        (EngineError::Refused { reason }, refused("whatsapp refused: 463")),
        (
            EngineError::Invalid("text is too long".to_owned()),
            (400, json!(["text is too long"]), "Bad Request", ""),
        ),
        (
            EngineError::Throttled { retry_after },
            (
                429,
                json!("WhatsApp was asked too often, wait a while before the next try"),
                "Too Many Requests",
                "30",
            ),
        ),
        (
            EngineError::TimedOut { seconds: 60 },
            (
                504,
                json!("whatsapp did not answer within 60 seconds"),
                "Gateway Timeout",
                "",
            ),
        ),
        (
            EngineError::Store(StoreError::Full),
            unavailable("storage is full, free some space and try again"),
        ),
        (
            EngineError::Store(StoreError::Unavailable("canary".into())),
            unavailable("storage is unavailable, try again later"),
        ),
        (
            EngineError::Internal("canary".into()),
            (
                500,
                json!(
                    "Internal Server Error. The log has the reason under the request id of this answer's X-Request-Id"
                ),
                "Internal Server Error",
                "",
            ),
        ),
    ]
}

#[tokio::test]
async fn each_failure_of_the_engine_has_its_answer_and_none_has_its_cause() {
    let mut wharf = Wharf::start().await;
    let link = wharf.working("default", json!({})).await;
    for (failure, (status, message, error, retry_after)) in cases() {
        link.engine.refuses.lock().unwrap().push_back(failure);
        let answer = wharf.post("/api/sendText", json!({"chatId": ALICE, "text": "x"})).await;
        let body = json!({"statusCode": status, "message": message, "error": error});
        assert_eq!((answer.status, answer.json()), (status, body));
        assert_eq!(answer.headers["content-type"], "application/json; charset=utf-8");
        assert!(!answer.headers["x-request-id"].is_empty());
        let asked = answer.headers.get("retry-after");
        assert_eq!(asked.map_or("", |value| value.to_str().unwrap()), retry_after);
    }
    wharf.stop().await;
}
