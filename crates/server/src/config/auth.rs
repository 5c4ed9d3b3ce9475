//! Who may call the API: the key, and the paths that need none.

use std::fmt;
use std::path::PathBuf;

use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

use super::{ConfigError, Environment, Variable};

/// The variables of this area.
pub(super) const VARIABLES: &[&Variable] = &[&KEY, &NO_KEY, &EXCLUDE_PATH, &KEY_IN_QUERY, &MASTER_KEY];

/// A key with fewer characters can be guessed.
const KEY_CHARS_MIN: usize = 16;
/// The fewest characters of a master key.
const MASTER_KEY_CHARS_MIN: usize = 32;

/// Keys that stand in documentation and examples; whoever reads those knows them.
const PUBLISHED_KEYS: &[&str] = &[
    "admin",
    "waha",
    "123",
    "secret",
    "yoursecretkey",
    "00000000000000000000000000000000",
];

const KEY: Variable = Variable {
    names: &["WAHA_API_KEY", "WHATSAPP_API_KEY"],
    default: "",
    about: "The key that callers send in `X-Api-Key`: plain, or `sha512:` and its SHA-512 in hexadecimal. Where none is set, \
            one is made at the first start, kept in a file that only the owner can read, and printed.",
    secret: true,
};
const NO_KEY: Variable = Variable {
    names: &["WAHA_NO_API_KEY"],
    default: "False",
    about: "Lets everybody in without a key. Only for a server that nobody else can reach.",
    secret: false,
};
const EXCLUDE_PATH: Variable = Variable {
    names: &["WAHA_API_KEY_EXCLUDE_PATH", "WHATSAPP_API_KEY_EXCLUDE_PATH"],
    default: "",
    about: "Paths that need no key, separated by commas, without the slash at the start: `health,ping`. `(.*)` or `*` stands \
            for anything. Each entry must fit the whole path.",
    secret: false,
};
const KEY_IN_QUERY: Variable = Variable {
    names: &["WHARF_API_KEY_IN_QUERY"],
    default: "False",
    about: "Takes the key from the query, `?x-api-key=`, at every operation, as WAHA does. Otherwise only where a browser cannot \
            send a header: files, QR codes, screenshots, websockets and event streams. Addresses end up in logs and histories.",
    secret: false,
};
const MASTER_KEY: Variable = Variable {
    names: &["WHARF_MASTER_KEY"],
    default: "",
    about: "What API keys are encrypted under where they are stored: at least 32 characters that nobody can guess. Where none is \
            set, one is made at the first start and kept in the file `master-key` beside the data, which only the owner can read. \
            Under another one, stored keys still work but cannot be shown any more.",
    secret: true,
};

/// Who may call.
#[derive(Debug, Clone, Default)]
pub struct AuthConfig {
    /// The administrator's key; `None` until one is set or made.
    pub key: Option<ApiKey>,
    /// Where the key is kept, if it was made and not configured.
    pub key_file: Option<PathBuf>,
    /// Whether everybody is let in without a key.
    pub no_key: bool,
    /// The paths that need no key.
    pub exclude: Vec<PathPattern>,
    /// Whether the key may stand in the query of every operation.
    pub key_in_query: bool,
    /// What stored keys are encrypted under; `None` until one is set or made.
    pub master_key: Option<MasterKey>,
}

/// What secrets are encrypted under where they are stored.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey(String);

/// A key, of which only the digest is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    digest: [u8; 64],
}

/// A path, with `*` for any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    pieces: Vec<String>,
}

impl AuthConfig {
    pub(super) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let key = match environment.set(&KEY) {
            None => None,
            Some((_, text)) => Some(ApiKey::configured(text).map_err(|problem| environment.wrong(&KEY, problem))?),
        };
        let exclude = environment
            .text(&EXCLUDE_PATH)
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(|entry| {
                PathPattern::parse(entry).ok_or_else(|| {
                    environment.wrong(
                        &EXCLUDE_PATH,
                        "may have letters, digits, / - _ . and (.*) or * for any text",
                    )
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            key,
            key_file: None,
            no_key: environment.boolean(&NO_KEY)?,
            exclude,
            key_in_query: environment.boolean(&KEY_IN_QUERY)?,
            master_key: read_master_key(environment)?,
        })
    }
}

impl AuthConfig {
    /// What is odd about the key, if anything. A digest tells nothing of its length.
    pub(super) fn warning(environment: &Environment) -> Option<String> {
        let (name, text) = environment.set(&KEY)?;
        let is_short = !text.starts_with("sha512:") && text.chars().count() < KEY_CHARS_MIN;
        is_short.then(|| format!("{name} has fewer than {KEY_CHARS_MIN} characters, it can be guessed"))
    }
}

fn read_master_key(environment: &Environment) -> Result<Option<MasterKey>, ConfigError> {
    match environment.set(&MASTER_KEY) {
        None => Ok(None),
        Some((_, text)) if text.chars().count() < MASTER_KEY_CHARS_MIN => {
            let problem = format!("must have at least {MASTER_KEY_CHARS_MIN} characters");
            Err(environment.wrong(&MASTER_KEY, problem))
        }
        Some((_, text)) => Ok(Some(MasterKey::new(text))),
    }
}

impl MasterKey {
    /// A master key as text.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text, to derive keys from and for nothing else.
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

impl ApiKey {
    /// A key as text.
    pub fn plain(key: &str) -> Self {
        Self {
            digest: Sha512::digest(key.as_bytes()).into(),
        }
    }

    /// A key as it is written in the configuration, plain or as a digest; the error says what is wrong with it.
    fn configured(text: &str) -> Result<Self, &'static str> {
        let key = match text.split_once(':') {
            Some(("sha512", digest)) => {
                let mut bytes = [0; 64];
                hex::decode_to_slice(digest, &mut bytes)
                    .map_err(|_| "must have 128 hexadecimal characters after sha512:")?;
                Self { digest: bytes }
            }
            Some(("sha1" | "sha256" | "sha384", _)) => {
                return Err("must be plain, or sha512: and 128 hexadecimal characters");
            }
            _ => Self::plain(text),
        };
        if PUBLISHED_KEYS.iter().any(|published| Self::plain(published) == key) {
            return Err("is a key from published examples, choose one that nobody knows");
        }
        Ok(key)
    }

    /// Whether a caller sent this key. Takes the same time for every wrong key.
    pub fn accepts(&self, sent: &str) -> bool {
        Self::plain(sent).digest.ct_eq(&self.digest).into()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

impl PathPattern {
    /// A pattern as WAHA writes it, or `None` where it uses more of regular expressions than `(.*)`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim_start_matches('/').replace("(.*)", "*").replace(".*", "*");
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '*');
        (!text.is_empty() && text.chars().all(allowed)).then(|| Self {
            pieces: text.split('*').map(str::to_owned).collect(),
        })
    }

    /// Whether the pattern fits the whole path.
    pub fn fits(&self, path: &str) -> bool {
        let path = path.trim_matches('/');
        let [first, middle @ .., last] = self.pieces.as_slice() else {
            return self.pieces.first().is_some_and(|only| only == path);
        };
        let Some(mut rest) = path.strip_prefix(first.as_str()) else {
            return false;
        };
        for piece in middle {
            let Some(at) = rest.find(piece.as_str()) else {
                return false;
            };
            rest = &rest[at + piece.len()..];
        }
        rest.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_accepted_plain_and_by_its_digest() {
        let digest = hex::encode(Sha512::digest(b"correct horse"));
        for configured in [
            "correct horse".to_owned(),
            format!("sha512:{digest}"),
            format!("sha512:{}", digest.to_uppercase()),
        ] {
            let key = ApiKey::configured(&configured).unwrap();
            assert!(key.accepts("correct horse"), "{configured}");
            for wrong in ["", "correct", "correct horse ", &digest, &format!("sha512:{digest}")] {
                assert!(!key.accepts(wrong), "{wrong}");
            }
        }
    }

    #[test]
    fn broken_digests_and_published_keys_are_refused() {
        let published = hex::encode(Sha512::digest(b"00000000000000000000000000000000"));
        for text in [
            "sha512:abc",
            "sha512:",
            "sha256:abcd",
            "admin",
            &format!("sha512:{published}"),
        ] {
            assert!(ApiKey::configured(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_fits_whole_paths_only() {
        for (pattern, path, fits) in [
            ("health", "/health", true),
            ("/health", "/health/", true),
            ("health", "/healthX", false),
            ("health", "/api/health", false),
            ("health", "/api/sessions", false),
            ("api/files/(.*)", "/api/files/default/a.jpg", true),
            ("api/files/*", "/api/sessions", false),
            ("api/.*/screenshot", "/api/default/screenshot", true),
            ("api/.*/screenshot", "/api/default/screenshots", false),
            ("*", "/anything", true),
        ] {
            assert_eq!(
                PathPattern::parse(pattern).unwrap().fits(path),
                fits,
                "{pattern} {path}"
            );
        }
        for pattern in ["", "/", "a|b", "a+", "^a$", "(a)"] {
            assert_eq!(PathPattern::parse(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn a_short_key_is_warned_of_and_a_digest_is_not() {
        let warning = |key: &str| AuthConfig::warning(&[("WAHA_API_KEY", key)].into_iter().collect());
        assert!(warning("fifteen letters").is_some_and(|text| !text.contains("fifteen")));
        assert_eq!(warning("sixteen letters."), None);
        assert_eq!(warning(&format!("sha512:{}", "0".repeat(128))), None);
    }
}
