//! QR codes in the terminal, to be scanned from there.
//!
//! Whoever sees one can link a phone, so they are printed only where people read, and never logged.

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use wharf_server::ShownQr;

use crate::output::print;

/// What can scan the codes.
const SCANNER: &str = match cfg!(feature = "sandbox") {
    true => "a phone of the sandbox; no real one can",
    false => "WhatsApp on the phone, under Linked devices",
};

/// Prints every QR code that a session shows, until the server has stopped.
pub(crate) async fn print_all(mut shown: Receiver<ShownQr>) {
    loop {
        match shown.recv().await {
            Ok(ShownQr { session, code }) => match drawn(&code) {
                Some(picture) => print(format_args!(
                    "session {session}: scan this with {SCANNER} (WAHA_PRINT_QR=False prints none)\n{picture}"
                )),
                None => tracing::error!(%session, "the QR code cannot be drawn"),
            },
            // So many sessions show codes that nobody could scan them all from here.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Two modules above each other are one character. The crate fills what it calls dark, and on a terminal with a dark
/// background, as most have, the filled ones are the light ones.
fn drawn(code: &str) -> Option<String> {
    let code = QrCode::new(code).ok()?;
    let mut picture = code.render::<Dense1x2>();
    Some(picture.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_of_whatsapps_length_fits_a_terminal() {
        let picture = drawn(&"x".repeat(240)).unwrap();
        assert!(picture.lines().all(|line| line.chars().count() <= 80), "{picture}");
        assert!(picture.lines().count() <= 40);
        // The quiet zone around it is light, or a phone does not find it.
        assert!(picture.starts_with('█'), "{picture}");
    }
}
