//! The page that documents the API.

use super::auth::ApiKey;
use super::{ConfigError, Environment, Variable};

/// The variables of this area.
pub(super) const VARIABLES: &[&Variable] = &[
    &ENABLED,
    &USERNAME,
    &PASSWORD,
    &NO_PASSWORD,
    &TITLE,
    &DESCRIPTION,
    &EXTERNAL_DOC_URL,
    &ADVANCED,
];

const ENABLED: Variable = Variable {
    names: &["WHATSAPP_SWAGGER_ENABLED"],
    default: "True",
    about: "Serves the API's documentation at `/` and its OpenAPI document at `/-json`.",
    secret: false,
};
const USERNAME: Variable = Variable {
    names: &["WHATSAPP_SWAGGER_USERNAME"],
    default: "admin",
    about: "Who may see the documentation, where it has a password.",
    secret: false,
};
const PASSWORD: Variable = Variable {
    names: &["WHATSAPP_SWAGGER_PASSWORD"],
    default: "",
    about: "The password of the documentation. Where none is set, everybody may see it; it tells nothing of this server. It \
            does not protect the API, the key does.",
    secret: true,
};
const NO_PASSWORD: Variable = Variable {
    names: &["WHATSAPP_SWAGGER_NO_PASSWORD"],
    default: "False",
    about: "Shows the documentation to everybody, also where a password is set.",
    secret: false,
};
const TITLE: Variable = Variable {
    names: &["WHATSAPP_SWAGGER_TITLE"],
    default: "Wharf",
    about: "The title of the documentation.",
    secret: false,
};
const DESCRIPTION: Variable = Variable {
    names: &["WHATSAPP_SWAGGER_DESCRIPTION"],
    default: "WhatsApp HTTP API, compatible with WAHA.",
    about: "The text under the title, in Markdown.",
    secret: false,
};
const EXTERNAL_DOC_URL: Variable = Variable {
    names: &["WHATSAPP_SWAGGER_EXTERNAL_DOC_URL"],
    default: "",
    about: "A link to more documentation.",
    secret: false,
};
const ADVANCED: Variable = Variable {
    names: &["WHATSAPP_SWAGGER_CONFIG_ADVANCED"],
    default: "False",
    about: "Lets the documentation's page send requests to another protocol, host, port or base path.",
    secret: false,
};

/// The API's documentation page.
#[derive(Debug, Clone)]
pub struct SwaggerConfig {
    /// Whether it is served.
    pub enabled: bool,
    /// Who may see it; everybody where there is nobody in particular.
    pub login: Option<Login>,
    /// Its title.
    pub title: String,
    /// The text under the title.
    pub description: String,
    /// A link to more documentation.
    pub external_doc_url: Option<String>,
    /// Whether it can send requests elsewhere.
    pub advanced: bool,
}

/// A name and a password, of which only digests are kept.
#[derive(Debug, Clone)]
pub struct Login {
    username: ApiKey,
    password: ApiKey,
}

impl Login {
    /// Whether these are the right ones. Takes the same time for all wrong ones.
    pub fn accepts(&self, username: &str, password: &str) -> bool {
        self.username.accepts(username) & self.password.accepts(password)
    }
}

impl SwaggerConfig {
    pub(super) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let password = match environment.boolean(&NO_PASSWORD)? {
            true => None,
            false => environment.set(&PASSWORD),
        };
        let external_doc_url = environment.set(&EXTERNAL_DOC_URL);
        if external_doc_url.is_some_and(|(_, url)| url::Url::parse(url).is_err()) {
            return Err(environment.wrong(&EXTERNAL_DOC_URL, "must be a URL"));
        }
        Ok(Self {
            enabled: environment.boolean(&ENABLED)?,
            login: password.map(|(_, password)| Login {
                username: ApiKey::plain(environment.text(&USERNAME)),
                password: ApiKey::plain(password),
            }),
            title: environment.text(&TITLE).to_owned(),
            description: environment.text(&DESCRIPTION).to_owned(),
            external_doc_url: external_doc_url.map(|(_, url)| url.to_owned()),
            advanced: environment.boolean(&ADVANCED)?,
        })
    }
}
