//! The pages that show the API's documentation, and the OpenAPI document that they show.
//!
//! They tell nothing of this server, so they are for everybody unless a password is set for them.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use utoipa::openapi::external_docs::ExternalDocsBuilder;
use utoipa::openapi::{OpenApi, Server, ServerBuilder, ServerVariableBuilder};
use utoipa_swagger_ui::Config as PageConfig;

use super::error::ApiError;
use crate::config::{Config, Login, SwaggerConfig};

/// Where the document is served, as in WAHA.
const DOCUMENT_PATH: &str = "/-json";
/// What the page may load: its own scripts and styles, and nothing else. It may not be framed.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'; connect-src 'self'";
/// What it may call beside, where it lets people choose another server.
const POLICY_ELSEWHERE: &str = " http: https:";
/// Asks a browser for name and password.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"documentation\", charset=\"UTF-8\"");
/// What the page calls itself before its own script gives it a title.
const TITLE: &str = "<title>Swagger UI</title>";

/// The document and the pages that show it.
#[derive(Clone)]
pub(super) struct Pages(Option<Arc<Served>>);

struct Served {
    document: String,
    title: String,
    policy: HeaderValue,
    login: Option<Login>,
    page: Arc<PageConfig<'static>>,
}

impl Pages {
    /// The pages of a document, or none of them where they are not wanted.
    pub(super) fn new(document: OpenApi, config: &Config) -> Self {
        let swagger = &config.swagger;
        let document = swagger
            .enabled
            .then(|| dress(document, config).to_json().ok())
            .flatten();
        let elsewhere = if swagger.advanced { POLICY_ELSEWHERE } else { "" };
        let served = document.zip(HeaderValue::try_from(format!("{POLICY}{elsewhere}")).ok());
        Self(served.map(|(document, policy)| {
            Arc::new(Served {
                document,
                title: swagger.title.clone(),
                policy,
                login: swagger.login.clone(),
                // Otherwise the page has a stranger's server look at the document.
                page: Arc::new(PageConfig::from(DOCUMENT_PATH).validator_url("none")),
            })
        }))
    }

    /// The page under a path that no operation has, or WAHA's 404.
    pub(super) fn serve(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response {
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        let page = self.0.as_ref().filter(|_| is_read);
        match page.and_then(|served| Some((served, served.file(path)?))) {
            None => ApiError::no_route(method, path).into_response(),
            Some((served, file)) => match &served.login {
                Some(login) if !is_let_in(login, headers) => ask_for_login(),
                _ => file,
            },
        }
    }
}

impl Served {
    fn file(&self, path: &str) -> Option<Response> {
        const COMPRESSED: (HeaderName, HeaderValue) = (header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        if path == DOCUMENT_PATH {
            return Some(([(header::CONTENT_TYPE, "application/json")], self.document.clone()).into_response());
        }
        let file = match utoipa_swagger_ui::serve(path.trim_start_matches('/'), Arc::clone(&self.page)) {
            Ok(file) => file?,
            Err(error) => return Some(ApiError::Internal(error.to_string().into()).into_response()),
        };
        let kind = HeaderValue::try_from(file.content_type).ok()?;
        let mut bytes = file.bytes.into_owned();
        if path == "/"
            && let Ok(page) = std::str::from_utf8(&bytes)
        {
            let title = format!("<title>{}</title>", escape(&self.title));
            bytes = page.replacen(TITLE, &title, 1).into_bytes();
        }
        let mut response = (StatusCode::OK, bytes).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, kind);
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        if file.gzpipped {
            headers.extend([COMPRESSED]);
        }
        Some(response)
    }
}

/// The document under the names that the operator gave it.
fn dress(mut document: OpenApi, config: &Config) -> OpenApi {
    let SwaggerConfig {
        title,
        description,
        external_doc_url,
        advanced,
        ..
    } = &config.swagger;
    document.info.title.clone_from(title);
    document.info.description = Some(description.clone());
    document.external_docs = external_doc_url.as_ref().map(|url| {
        let docs = ExternalDocsBuilder::new().url(url).description(Some(title));
        docs.build()
    });
    document.servers = advanced.then(|| vec![server(config)]);
    document
}

/// A server whose address a person fills in; this one, to begin with.
fn server(config: &Config) -> Server {
    let base = url::Url::parse(&config.http.public_url).ok();
    let base = base.as_ref();
    let scheme = base.map_or("http", url::Url::scheme);
    let host = base.and_then(url::Url::host_str).unwrap_or("localhost");
    let port = base.and_then(url::Url::port_or_known_default).unwrap_or(80);
    let variable = |value: &str, about: &str| {
        ServerVariableBuilder::new()
            .default_value(value)
            .description(Some(about))
    };
    ServerBuilder::new()
        .url("{protocol}://{host}:{port}/{baseUrl}")
        .parameter(
            "protocol",
            variable(scheme, "How the server is reached.").enum_values(Some(["http", "https"])),
        )
        .parameter("host", variable(host, "Its name or address."))
        .parameter("port", variable(&port.to_string(), "Its port."))
        .parameter("baseUrl", variable("", "What comes before the paths."))
        .build()
}

fn is_let_in(login: &Login, headers: &HeaderMap) -> bool {
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let sent = sent.and_then(|value| value.split_once(' '));
    let encoded = sent.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
    let decoded = encoded.and_then(|(_, text)| BASE64_STANDARD.decode(text.trim()).ok());
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    text.as_deref()
        .and_then(|text| text.split_once(':'))
        .is_some_and(|(username, password)| login.accepts(username, password))
}

fn ask_for_login() -> Response {
    let hint = "the documentation has a password, WHATSAPP_SWAGGER_PASSWORD".to_owned();
    let mut response = ApiError::Unauthorized { hint }.into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
    response
}

/// A text as it is written in HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
