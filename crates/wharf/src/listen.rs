//! `wharf listen`: a webhook receiver for the terminal. Prints each webhook and checks its signature.

use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;
use tokio::net::TcpListener;

use crate::output::print;
use crate::shutdown::Signals;

/// Webhooks with inline media are large.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Receives webhooks on 127.0.0.1 until it is told to stop.
pub(crate) async fn run(port: u16, hmac_key: Option<String>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))
        .await
        .with_context(|| format!("cannot listen on port {port}"))?;
    let address = listener.local_addr()?;
    print(format_args!("listening for webhooks on http://{address}/ (any path)"));
    let app = Router::new()
        .fallback(receive)
        .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Arc::new(hmac_key));
    let mut signals = Signals::listen()?;
    tokio::select! {
        served = async { axum::serve(listener, app).await } => served?,
        () = signals.next() => {}
    }
    Ok(())
}

async fn receive(State(key): State<Arc<Option<String>>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let event: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let verdict = verdict(key.as_deref(), &headers, &body);
    print(format_args!(
        "{} {} {} ({verdict})",
        event["event"].as_str().unwrap_or("(no event)"),
        event["session"].as_str().unwrap_or("-"),
        event["id"].as_str().unwrap_or("-"),
    ));
    let payload = serde_json::to_string_pretty(&event["payload"]).unwrap_or_default();
    print(format_args!("{payload}"));
    StatusCode::OK
}

fn verdict(key: Option<&str>, headers: &HeaderMap, body: &[u8]) -> &'static str {
    let signature = headers
        .get("x-webhook-hmac")
        .and_then(|it| hex::decode(it.as_bytes()).ok());
    match (key, signature) {
        (None, None) => "not signed",
        (None, Some(_)) => "signed; give --hmac-key to check it",
        (Some(_), None) => "NOT SIGNED",
        (Some(key), Some(signature)) => {
            let mac = Hmac::<Sha512>::new_from_slice(key.as_bytes()).map(|mac| mac.chain_update(body));
            match mac.is_ok_and(|mac| mac.verify_slice(&signature).is_ok()) {
                true => "signature ok",
                false => "SIGNATURE WRONG",
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WAHA's documented example.
    const BODY: &[u8] = br#"{"event":"message","session":"default","engine":"WEBJS"}"#;
    const SIGNATURE: &str = "208f8a55dde9e05519e898b10b89bf0d0b3b0fdf11fdbf09b6b90476301b98d8097c462b2b17a6ce93b6b47a136cf2e78a33a63f6752c2c1631777076153fa89";

    #[test]
    fn tells_right_signatures_from_wrong_ones() {
        let signed = HeaderMap::from_iter([("x-webhook-hmac".parse().unwrap(), SIGNATURE.parse().unwrap())]);
        assert_eq!(verdict(Some("my-secret-key"), &signed, BODY), "signature ok");
        assert_eq!(verdict(Some("another-key"), &signed, BODY), "SIGNATURE WRONG");
        assert_eq!(verdict(Some("my-secret-key"), &signed, b"{}"), "SIGNATURE WRONG");
        assert_eq!(verdict(Some("my-secret-key"), &HeaderMap::new(), BODY), "NOT SIGNED");
        assert_eq!(verdict(None, &HeaderMap::new(), BODY), "not signed");
    }
}
