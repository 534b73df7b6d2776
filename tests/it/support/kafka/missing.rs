//! What happens to a test when there is no Kafka: it is skipped, and the run says so in one line at its end.
//!
//! `LOGFERRY_REQUIRE_KAFKA=1` makes it fail instead, so that CI cannot pass by skipping.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Counts the lines that it is sent until the test process ends, which is the only moment when the sum is known: the
/// test harness of the standard library leaves no other.
const COUNTER: &str = r#"n=$(wc -l); echo "SKIPPED $n tests: no Kafka ($1)" >&2"#;

/// Notes that a test is skipped for want of a Kafka.
///
/// # Panics
/// When a Kafka is required.
pub fn skip(why: &str) {
    assert!(
        std::env::var_os("LOGFERRY_REQUIRE_KAFKA").is_none_or(|on| on != "1"),
        "no Kafka: {why}"
    );
    static COUNTING: OnceLock<Mutex<Child>> = OnceLock::new();
    let counter = COUNTING.get_or_init(|| {
        // Standard error is inherited, so it is the real one: what tests print themselves is captured.
        let counter = Command::new("sh")
            .args(["-c", COUNTER, "counter", why])
            .stdin(Stdio::piped())
            .spawn();
        Mutex::new(counter.expect("a shell to count the skipped tests"))
    });
    let mut counter = counter.lock().unwrap_or_else(PoisonError::into_inner);
    let pipe = counter
        .stdin
        .as_mut()
        .expect("the counter reads from a pipe");
    pipe.write_all(b"skipped\n")
        .expect("to count a skipped test");
}
