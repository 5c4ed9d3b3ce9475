//! `/`: the page with the simulated phones, as static files inside the program.
//!
//! The page uses the control API like any other client. Its content security policy allows nothing but these files and
//! this server.

use axum::Router;
use axum::http::header;
use axum::routing::get;

use super::routes::AppState;

const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self'; media-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page: path, content type, content.
type Asset = (&'static str, &'static str, &'static str);

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

const ASSETS: [Asset; 18] = [
    ("/", HTML, include_str!("../page/index.html")),
    ("/page.css", CSS, include_str!("../page/page.css")),
    ("/panels.css", CSS, include_str!("../page/panels.css")),
    ("/message.css", CSS, include_str!("../page/message.css")),
    ("/narrow.css", CSS, include_str!("../page/narrow.css")),
    ("/page.js", SCRIPT, include_str!("../page/page.js")),
    ("/api.js", SCRIPT, include_str!("../page/api.js")),
    ("/dom.js", SCRIPT, include_str!("../page/dom.js")),
    ("/store.js", SCRIPT, include_str!("../page/store.js")),
    ("/chats.js", SCRIPT, include_str!("../page/chats.js")),
    ("/conversation.js", SCRIPT, include_str!("../page/conversation.js")),
    ("/message.js", SCRIPT, include_str!("../page/message.js")),
    ("/menu.js", SCRIPT, include_str!("../page/menu.js")),
    ("/files.js", SCRIPT, include_str!("../page/files.js")),
    ("/devices.js", SCRIPT, include_str!("../page/devices.js")),
    ("/health.js", SCRIPT, include_str!("../page/health.js")),
    ("/webhooks.js", SCRIPT, include_str!("../page/webhooks.js")),
    ("/icon.svg", SVG, include_str!("../page/icon.svg")),
];

pub(crate) fn router() -> Router<AppState> {
    ASSETS
        .into_iter()
        .fold(Router::new(), |router, (path, content_type, content)| {
            let headers = [
                (header::CONTENT_TYPE, content_type),
                (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
            ];
            router.route(path, get(async move || (headers, content)))
        })
}
