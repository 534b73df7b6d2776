//! Apache Kafka's jars, brought once by Maven from tests/kafka/pom.xml and kept in `target/kafka`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{on_path, repository, scratch};

/// `target/kafka`: the jars, and a folder for each broker that runs.
pub fn home() -> PathBuf {
    scratch().parent().unwrap_or(scratch()).join("kafka")
}

/// The folder with Kafka's jars, or why there is none.
///
/// Test binaries that run side by side wait here for the first of them.
pub fn bring() -> Result<PathBuf, String> {
    let absent: Vec<_> = ["java", "mvn"]
        .into_iter()
        .filter(|program| !on_path(program))
        .collect();
    if !absent.is_empty() {
        return Err(format!("{} not found", absent.join(" and ")));
    }
    locked(&home()).map_err(|error| format!("{}: {error}", home().display()))?
}

/// `Ok(Err(_))` is Maven's failure, `Err(_)` the disk's.
fn locked(home: &Path) -> std::io::Result<Result<PathBuf, String>> {
    fs::create_dir_all(home)?;
    let lock = File::create(home.join("lock"))?;
    lock.lock()?;

    let pom = repository().join("tests/kafka/pom.xml");
    let (libs, brought_for) = (home.join("libs"), home.join("libs/pom.xml"));
    // The pom is copied in last: when it is there and the same, the jars are all there and the right ones.
    if fs::read(&brought_for).ok() == Some(fs::read(&pom)?) {
        return Ok(Ok(libs));
    }
    if libs.exists() {
        fs::remove_dir_all(&libs)?;
    }
    let maven = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(&pom)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", libs.display()))
        .stdin(Stdio::null())
        .output()?;
    if !maven.status.success() {
        let said = String::from_utf8_lossy(&maven.stdout);
        let first = said.lines().next().unwrap_or("it said nothing");
        return Ok(Err(format!("mvn could not bring Kafka's jars: {first}")));
    }
    fs::copy(&pom, &brought_for)?;
    Ok(Ok(libs))
}
