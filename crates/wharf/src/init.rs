//! `wharf init`: a .env file with a key and passwords of its own, so that nothing runs with a default secret.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use wharf_core::random::Random;

use crate::output::print;

/// Bytes of randomness in a generated secret.
const SECRET_BYTES: usize = 32;

/// Writes `dir/.env`; refuses to touch one that exists.
pub(crate) fn run(dir: &Path, random: &dyn Random) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
    let path = dir.join(".env");
    let text = format!(
        "# Settings of Wharf; variables that are set in the environment win over these.\n\
         # Every client sends this key in the header X-Api-Key.\n\
         WAHA_API_KEY={key}\n\
         # For the databases of compose.yaml.\n\
         POSTGRES_PASSWORD={postgres}\n\
         S3_PASSWORD={s3}\n",
        key = secret(random),
        postgres = secret(random),
        s3 = secret(random),
    );
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let mut file = match file {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!("{} exists already, it was not changed", path.display())
        }
        file => file.with_context(|| format!("cannot write {}", path.display()))?,
    };
    file.write_all(text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    print(format_args!(
        "wrote {} with a fresh API key and passwords (readable by you only)",
        path.display()
    ));
    Ok(())
}

/// A secret that can be typed into any shell or URL.
pub(crate) fn secret(random: &dyn Random) -> String {
    hex::encode(random.bytes::<SECRET_BYTES>())
}
