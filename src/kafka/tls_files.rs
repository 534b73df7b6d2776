//! What the files of a client's `tls` hold: librdkafka reads them once, when the client is made, so that changed ones need a new client.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};

use rdkafka::ClientConfig;

/// Why a client is replaced.
pub const TLS_CHANGED: &str = "what `tls` names has changed, and what it was before is refused";

/// Properties that name a file.
const FILES: [&str; 3] = [
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
];

/// What there was when a client was made. Hashes: nobody else needs to keep a key in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles(Vec<Option<u64>>);

impl TlsFiles {
    /// Of the files that `config` names, and of the key's password. A file that cannot be read is told by the client that needs it.
    pub fn of(config: &ClientConfig) -> Self {
        let of_file = |name| {
            let path = config.get(name)?;
            fs::read(path).ok().map(|bytes| hash(&bytes))
        };
        let files = FILES.into_iter().map(of_file);
        let password = config.get("ssl.key.password");
        let password = password.map(|password| hash(password.as_bytes()));
        Self(files.chain([password]).collect())
    }

    /// Whether a client made of `config` now would be another one.
    pub fn differ(&self, config: &ClientConfig) -> bool {
        *self != Self::of(config)
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_has_changed_is_told_and_one_that_is_written_anew_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let mut config = ClientConfig::new();
        config.set("ssl.ca.location", path.to_str().unwrap());
        let none = TlsFiles::of(&config);
        assert!(!none.differ(&config));
        fs::write(&path, "one").unwrap();
        assert!(none.differ(&config));
        let one = TlsFiles::of(&config);
        fs::write(&path, "one").unwrap();
        assert!(!one.differ(&config));
        fs::write(&path, "two").unwrap();
        assert!(one.differ(&config));
        let two = TlsFiles::of(&config);
        config.set("ssl.key.password", "changed");
        assert!(two.differ(&config));
    }
}
