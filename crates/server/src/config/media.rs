//! The files of messages: which are fetched, where they are kept, and for how long.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use url::Url;

use super::{ConfigError, Environment, Variable};

/// The variables of this area.
pub(super) const VARIABLES: &[&Variable] = &[
    &DOWNLOAD,
    &MIMETYPES,
    &STORAGE,
    &FOLDER,
    &LIFETIME,
    &S3_REGION,
    &S3_BUCKET,
    &S3_ACCESS_KEY_ID,
    &S3_SECRET_ACCESS_KEY,
    &S3_ENDPOINT,
    &S3_FORCE_PATH_STYLE,
    &S3_PROXY_FILES,
    &S3_SIGNED_URL,
    &POSTGRESQL_URL,
    &THRESHOLD,
];

/// The longest that S3 takes a signature for.
const SIGNED_SECONDS_MAX: u64 = 7 * 24 * 60 * 60;
/// How long local files are kept where nothing else is set, as in WAHA.
const LOCAL_LIFETIME_SECONDS: u64 = 180;
/// A megabyte of `WHATSAPP_HEALTH_MEDIA_FILES_THRESHOLD_MB`.
const MB_BYTES: u64 = 1024 * 1024;

const DOWNLOAD: Variable = Variable {
    names: &["WHATSAPP_DOWNLOAD_MEDIA"],
    default: "True",
    about: "Whether the files of messages are fetched at all. Where they are not, `media.url` is `null`.",
    secret: false,
};
const MIMETYPES: Variable = Variable {
    names: &["WHATSAPP_FILES_MIMETYPES"],
    default: "",
    about: "Fetches only files whose type begins with one of these, separated by commas: `audio,image/png`.",
    secret: false,
};
const STORAGE: Variable = Variable {
    names: &["WAHA_MEDIA_STORAGE"],
    default: "LOCAL",
    about: "Where the files are kept: `LOCAL`, `S3` or `POSTGRESQL`.",
    secret: false,
};
const FOLDER: Variable = Variable {
    names: &["WHATSAPP_FILES_FOLDER"],
    default: "/tmp/whatsapp-files",
    about: "The folder of `LOCAL`.",
    secret: false,
};
const LIFETIME: Variable = Variable {
    names: &["WHATSAPP_FILES_LIFETIME"],
    default: "",
    about: "How long files are kept, in seconds; `0` keeps them. Where it is not set, `LOCAL` keeps them for 180 seconds, and `S3` \
            and `POSTGRESQL` keep them. Restarts change nothing about it.",
    secret: false,
};
const S3_REGION: Variable = Variable {
    names: &["WAHA_S3_REGION"],
    default: "us-east-1",
    about: "The region of the bucket.",
    secret: false,
};
const S3_BUCKET: Variable = Variable {
    names: &["WAHA_S3_BUCKET"],
    default: "",
    about: "The bucket. It is not made.",
    secret: false,
};
const S3_ACCESS_KEY_ID: Variable = Variable {
    names: &["WAHA_S3_ACCESS_KEY_ID"],
    default: "",
    about: "The access key of S3.",
    secret: false,
};
const S3_SECRET_ACCESS_KEY: Variable = Variable {
    names: &["WAHA_S3_SECRET_ACCESS_KEY"],
    default: "",
    about: "The secret access key of S3.",
    secret: true,
};
const S3_ENDPOINT: Variable = Variable {
    names: &["WAHA_S3_ENDPOINT"],
    default: "",
    about: "Where S3 is, where that is not at AWS: `http://minio:9000`.",
    secret: false,
};
const S3_FORCE_PATH_STYLE: Variable = Variable {
    names: &["WAHA_S3_FORCE_PATH_STYLE"],
    default: "False",
    about: "Whether the bucket stands in the path of S3's URLs, as MinIO wants it, not in the host's name.",
    secret: false,
};
const S3_PROXY_FILES: Variable = Variable {
    names: &["WAHA_S3_PROXY_FILES"],
    default: "False",
    about: "Whether `media.url` leads to this server, where it takes an API key. Otherwise it is a signed URL that leads to S3 itself.",
    secret: false,
};
const S3_SIGNED_URL: Variable = Variable {
    names: &["WHARF_S3_SIGNED_URL_SECONDS"],
    default: "3600",
    about: "How long such a signed URL is good for; at most 7 days. Each event and each answer has one of its own.",
    secret: false,
};
const POSTGRESQL_URL: Variable = Variable {
    names: &["WAHA_MEDIA_POSTGRESQL_URL"],
    default: "",
    about: "The database of `POSTGRESQL`: `postgres://user:password@host:5432/database?sslmode=require`. Its tables, `wharf_media_*`, \
            are made where they are missing.",
    secret: true,
};
const THRESHOLD: Variable = Variable {
    names: &["WHATSAPP_HEALTH_MEDIA_FILES_THRESHOLD_MB"],
    default: "100",
    about: "With less than so many MiB free in the folder of `LOCAL`, `GET /health` says that the server is not well.",
    secret: false,
};

/// The files of messages.
#[derive(Debug, Clone)]
pub struct MediaConfig {
    /// Whether they are fetched at all.
    pub(crate) download: bool,
    /// How the types of those begin that are fetched; all where it is empty.
    pub(crate) mimetypes: Vec<String>,
    /// Where they are kept.
    pub storage: MediaStorageConfig,
    /// How long they are kept; for good where it is `None`.
    pub(crate) lifetime: Option<SignedDuration>,
    /// How long a URL of the storage itself is good for; `None` where files come from this server.
    pub(crate) signed_url_for: Option<Duration>,
    /// The least that must be free, in bytes.
    pub(crate) free_bytes_min: u64,
}

/// Where files are kept.
#[derive(Debug, Clone)]
pub enum MediaStorageConfig {
    /// In this folder.
    Local(PathBuf),
    /// In S3.
    S3(S3Settings),
    /// In a PostgreSQL database.
    Postgres(PostgresUrl),
}

/// A bucket of S3.
#[derive(Clone)]
pub struct S3Settings {
    /// The region.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// Who we are.
    pub access_key_id: String,
    /// The proof of it.
    pub secret_access_key: String,
    /// Where S3 is, if not at AWS.
    pub endpoint: Option<Url>,
    /// Whether the bucket stands in the path.
    pub path_style: bool,
}

/// The URL of a database, which may have a password.
#[derive(Clone)]
pub struct PostgresUrl(pub String);

/// Without the secret.
impl fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Settings")
            .field("region", &self.region)
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresUrl(..)")
    }
}

impl PostgresUrl {
    /// The error for a URL that the storage cannot use; it never has the URL in it.
    pub fn wrong(problem: impl fmt::Display) -> ConfigError {
        ConfigError {
            variable: POSTGRESQL_URL.names[0].to_owned(),
            problem: problem.to_string(),
        }
    }
}

impl S3Settings {
    /// The error for a bucket that cannot be addressed.
    pub fn wrong(problem: impl fmt::Display) -> ConfigError {
        ConfigError {
            variable: S3_ENDPOINT.names[0].to_owned(),
            problem: problem.to_string(),
        }
    }
}

impl MediaConfig {
    pub(super) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let storage = match environment.text(&STORAGE).to_ascii_uppercase().as_str() {
            "LOCAL" => MediaStorageConfig::Local(PathBuf::from(environment.text(&FOLDER))),
            "S3" => MediaStorageConfig::S3(read_s3(environment)?),
            "POSTGRESQL" => MediaStorageConfig::Postgres(read_postgres(environment)?),
            _ => return Err(environment.wrong(&STORAGE, "must be LOCAL, S3 or POSTGRESQL")),
        };
        let proxied = environment.boolean(&S3_PROXY_FILES)?;
        let signed_for: u64 = environment.parse(&S3_SIGNED_URL, "a number of seconds")?;
        if !(1..=SIGNED_SECONDS_MAX).contains(&signed_for) {
            let problem = format!("must be from 1 to {SIGNED_SECONDS_MAX} seconds");
            return Err(environment.wrong(&S3_SIGNED_URL, problem));
        }
        let is_signed = matches!(storage, MediaStorageConfig::S3(_)) && !proxied;
        let mimetypes = environment.text(&MIMETYPES).split(',').map(str::trim);
        let threshold: u32 = environment.parse(&THRESHOLD, "a number of MiB")?;
        Ok(Self {
            download: environment.boolean(&DOWNLOAD)?,
            mimetypes: mimetypes
                .filter(|prefix| !prefix.is_empty())
                .map(str::to_ascii_lowercase)
                .collect(),
            lifetime: read_lifetime(environment, &storage)?,
            signed_url_for: is_signed.then(|| Duration::from_secs(signed_for)),
            free_bytes_min: u64::from(threshold) * MB_BYTES,
            storage,
        })
    }
}

/// A number of any size: what no clock ever reaches is kept.
fn read_lifetime(
    environment: &Environment,
    storage: &MediaStorageConfig,
) -> Result<Option<SignedDuration>, ConfigError> {
    let usual: u64 = match storage {
        MediaStorageConfig::Local(_) => LOCAL_LIFETIME_SECONDS,
        MediaStorageConfig::S3(_) | MediaStorageConfig::Postgres(_) => 0,
    };
    let seconds = match environment.set(&LIFETIME) {
        None => usual,
        Some(_) => environment.parse(&LIFETIME, "a number of seconds, or 0 to keep files")?,
    };
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    Ok((seconds > 0).then(|| SignedDuration::from_secs(seconds)))
}

fn read_s3(environment: &Environment) -> Result<S3Settings, ConfigError> {
    let needed = |variable: &Variable| match environment.set(variable) {
        Some((_, value)) => Ok(value.to_owned()),
        None => Err(ConfigError {
            variable: variable.names[0].to_owned(),
            problem: format!("must be set with {}=S3", STORAGE.names[0]),
        }),
    };
    let bucket = needed(&S3_BUCKET)?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if !bucket.bytes().all(allowed) {
        return Err(environment.wrong(&S3_BUCKET, "must be the name of a bucket"));
    }
    let endpoint = match environment.set(&S3_ENDPOINT) {
        None => None,
        Some((_, text)) => match Url::parse(text) {
            // What stands before the host would be a secret in the wrong place.
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                return Err(S3Settings::wrong("must have no credentials in it"));
            }
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Some(url),
            _ => return Err(environment.wrong(&S3_ENDPOINT, "must be an http or https URL")),
        },
    };
    Ok(S3Settings {
        region: environment.text(&S3_REGION).to_owned(),
        bucket,
        access_key_id: needed(&S3_ACCESS_KEY_ID)?,
        secret_access_key: needed(&S3_SECRET_ACCESS_KEY)?,
        endpoint,
        path_style: environment.boolean(&S3_FORCE_PATH_STYLE)?,
    })
}

fn read_postgres(environment: &Environment) -> Result<PostgresUrl, ConfigError> {
    match environment.set(&POSTGRESQL_URL) {
        Some((_, url)) => Ok(PostgresUrl(url.to_owned())),
        None => Err(PostgresUrl::wrong(format!(
            "must be set with {}=POSTGRESQL",
            STORAGE.names[0]
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<MediaConfig, ConfigError> {
        MediaConfig::read(&variables.iter().copied().collect())
    }

    const S3: &[(&str, &str)] = &[
        ("WAHA_MEDIA_STORAGE", "S3"),
        ("WAHA_S3_BUCKET", "waha"),
        ("WAHA_S3_ACCESS_KEY_ID", "minioadmin"),
        ("WAHA_S3_SECRET_ACCESS_KEY", "canary"),
    ];
    const POSTGRES: &[(&str, &str)] = &[
        ("WAHA_MEDIA_STORAGE", "POSTGRESQL"),
        ("WAHA_MEDIA_POSTGRESQL_URL", "postgres://u:canary@h/d"),
    ];

    fn with<'a>(some: &[(&'a str, &'a str)], one: (&'a str, &'a str)) -> Vec<(&'a str, &'a str)> {
        some.iter().copied().chain([one]).collect()
    }

    #[test]
    fn files_are_kept_as_in_waha() {
        let usual = read(&[]).unwrap();
        let MediaStorageConfig::Local(folder) = &usual.storage else {
            panic!("{usual:?}");
        };
        assert_eq!(folder.to_str(), Some("/tmp/whatsapp-files"));
        assert_eq!(usual.lifetime, Some(SignedDuration::from_secs(180)));
        assert!(usual.download && usual.mimetypes.is_empty() && usual.signed_url_for.is_none());
        let some = read(&[("WHATSAPP_FILES_MIMETYPES", "audio, image/PNG,")]).unwrap();
        assert_eq!(some.mimetypes, ["audio", "image/png"]);
    }

    #[test]
    fn only_local_files_go_away_by_themselves() {
        let seconds = |lifetime: Option<SignedDuration>| lifetime.map(|lifetime| lifetime.as_secs());
        for storage in [S3, POSTGRES] {
            assert_eq!(read(storage).unwrap().lifetime, None);
            let set = read(&with(storage, ("WHATSAPP_FILES_LIFETIME", "60"))).unwrap();
            assert_eq!(seconds(set.lifetime), Some(60));
        }
        for (text, expected) in [
            ("0", None),
            ("3000000000", Some(3_000_000_000)),
            ("99999999999999999999", None),
        ] {
            let config = read(&[("WHATSAPP_FILES_LIFETIME", text)]);
            match config {
                Ok(config) => assert_eq!(seconds(config.lifetime), expected, "{text}"),
                Err(error) => assert_eq!(error.variable, "WHATSAPP_FILES_LIFETIME"),
            }
        }
    }

    #[test]
    fn s3_signs_urls_unless_files_come_from_here() {
        let config = read(S3).unwrap();
        assert_eq!(config.signed_url_for, Some(Duration::from_secs(3_600)));
        let proxied = read(&with(S3, ("WAHA_S3_PROXY_FILES", "True"))).unwrap();
        assert_eq!(proxied.signed_url_for, None);
        assert_eq!(read(&[("WAHA_S3_PROXY_FILES", "False")]).unwrap().signed_url_for, None);
    }

    #[test]
    fn secrets_are_not_shown() {
        for variables in [S3, POSTGRES] {
            let config = read(variables).unwrap();
            assert!(!format!("{config:?}").contains("canary"), "{config:?}");
        }
        let endpoint = ("WAHA_S3_ENDPOINT", "http://me:canary@localhost:9000");
        let error = read(&with(S3, endpoint)).unwrap_err();
        assert!(!error.to_string().contains("canary"), "{error}");
    }

    #[test]
    fn wrong_values_name_their_variable() {
        for (name, value) in [
            ("WAHA_MEDIA_STORAGE", "FTP"),
            ("WHATSAPP_FILES_LIFETIME", "-1"),
            ("WHATSAPP_FILES_LIFETIME", "a while"),
            ("WHATSAPP_DOWNLOAD_MEDIA", "perhaps"),
            ("WAHA_S3_BUCKET", "a/b"),
            ("WAHA_S3_ENDPOINT", "minio:9000"),
            ("WAHA_S3_FORCE_PATH_STYLE", "yes please"),
            ("WHARF_S3_SIGNED_URL_SECONDS", "0"),
            ("WHARF_S3_SIGNED_URL_SECONDS", "604801"),
            ("WHATSAPP_HEALTH_MEDIA_FILES_THRESHOLD_MB", "much"),
        ] {
            let mut variables: Vec<_> = S3.iter().copied().filter(|(other, _)| *other != name).collect();
            variables.push((name, value));
            assert_eq!(read(&variables).unwrap_err().variable, name, "{value}");
        }
        for missing in ["WAHA_S3_BUCKET", "WAHA_S3_ACCESS_KEY_ID", "WAHA_S3_SECRET_ACCESS_KEY"] {
            let variables: Vec<_> = S3.iter().copied().filter(|(name, _)| *name != missing).collect();
            assert_eq!(
                read(&variables).unwrap_err().to_string(),
                format!("{missing} must be set with WAHA_MEDIA_STORAGE=S3")
            );
        }
        let error = read(&[("WAHA_MEDIA_STORAGE", "POSTGRESQL")]).unwrap_err();
        assert_eq!(error.variable, "WAHA_MEDIA_POSTGRESQL_URL");
    }
}
