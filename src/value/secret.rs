//! Passwords: where they come from, and a text that never prints.
//!
//! Invariant: the configuration holds a [`SecretSource`]; only [`SecretSource::resolve`] reads it, and only [`Secret::reveal`] shows it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A password or the like. `Debug` and `Display` show `***`; only [`Secret::reveal`] gives the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that hands it to Kafka.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a secret stands. The configuration has this and not the secret itself, so that `check` needs no rights to read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// Written into the configuration.
    Text(Secret),
    /// `{ file: PATH }`: the file's content without its last line end.
    File(PathBuf),
    /// `{ env: NAME }`: an environment variable of the daemon.
    Env(String),
    /// `{ credential: NAME }`: a file below systemd's `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// Why a secret could not be read. Says the place, never the content.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("cannot read the secret in {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the secret in {place} is empty")]
    Empty { place: String },
    #[error("the secret in {place} is not UTF-8 text")]
    NotText { place: String },
    #[error("the environment variable {name}, which should hold a secret, is not set")]
    Unset { name: String },
    #[error(
        "the credential {name} cannot be found because $CREDENTIALS_DIRECTORY is not set: start logferry as a systemd service with LoadCredential={name}:PATH"
    )]
    NoCredentials { name: String },
}

impl SecretSource {
    /// Reads the secret. Blocks on the file system for a moment.
    ///
    /// # Errors
    /// When the place does not exist, cannot be read, is empty or is not UTF-8.
    pub fn resolve(&self) -> Result<Secret, SecretError> {
        match self {
            Self::Text(secret) => Ok(secret.clone()),
            Self::File(path) => read_file(path),
            Self::Env(name) => match std::env::var(name) {
                Ok(text) if text.is_empty() => Err(SecretError::Empty {
                    place: format!("${name}"),
                }),
                Ok(text) => Ok(Secret(text)),
                Err(std::env::VarError::NotPresent) => {
                    Err(SecretError::Unset { name: name.clone() })
                }
                Err(std::env::VarError::NotUnicode(_)) => Err(SecretError::NotText {
                    place: format!("${name}"),
                }),
            },
            Self::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
                Some(folder) => read_file(&PathBuf::from(folder).join(name)),
                None => Err(SecretError::NoCredentials { name: name.clone() }),
            },
        }
    }
}

fn read_file(path: &Path) -> Result<Secret, SecretError> {
    let place = || path.display().to_string();
    let bytes = std::fs::read(path).map_err(|source| SecretError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mut text = String::from_utf8(bytes).map_err(|_| SecretError::NotText { place: place() })?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(SecretError::Empty { place: place() });
    }
    Ok(Secret(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints() {
        let source = SecretSource::Text(Secret::new("hunter2"));
        assert_eq!(format!("{source:?}"), "Text(***)");
        assert_eq!(source.resolve().unwrap().to_string(), "***");
    }

    #[test]
    fn a_secret_file_loses_one_line_end_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, " a b \r\n").unwrap();
        assert_eq!(
            SecretSource::File(path).resolve().unwrap().reveal(),
            " a b "
        );
    }

    #[test]
    fn a_missing_secret_names_its_place() {
        let error = SecretSource::File("/nowhere/password".into())
            .resolve()
            .unwrap_err();
        assert!(error.to_string().contains("/nowhere/password"));
        let error = SecretSource::Env("LOGFERRY_NOT_SET".into())
            .resolve()
            .unwrap_err();
        assert!(error.to_string().contains("LOGFERRY_NOT_SET"));
    }

    #[test]
    fn an_empty_secret_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(
            SecretSource::File(path).resolve(),
            Err(SecretError::Empty { .. })
        ));
    }
}
