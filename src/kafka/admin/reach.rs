//! Whether anybody answers, and if nobody does, why: what librdkafka says while it tries.
//!
//! Invariant: asking costs one request, and none about a topic that was not named.

use std::time::{Duration, Instant};

use rdkafka::metadata::Metadata;
use rdkafka::types::RDKafkaErrorCode;

use super::AdminError;
use crate::kafka::native::Native;
use crate::kafka::trouble::{Trouble, said};

/// How long somebody may take to answer at all.
pub const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// The first question waits this long; each further one twice as long. Between two of them it is seen whether there is any hope.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// How long it is tried again although every address refuses: a name may have several addresses, a broker may just be starting.
const HOPE: Duration = Duration::from_millis(900);

impl Trouble {
    /// Nobody answered within `waited`.
    pub fn unreachable(&self, address: &str, waited: Duration) -> AdminError {
        let why = self
            .reason()
            .unwrap_or_else(|| format!("no answer within {} s", waited.as_secs()));
        AdminError::Unreachable(format!("no broker answers at {address}: {why}"))
    }

    /// A question failed with `code`: nobody there, or a broker's own words.
    pub fn explain(&self, code: RDKafkaErrorCode, text: &str, address: &str) -> AdminError {
        use RDKafkaErrorCode as Code;
        match code {
            Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::TimedOutQueue
            | Code::Resolve
            | Code::Authentication
            | Code::SSL => {
                let why = self.told().unwrap_or_else(|| said(code, text));
                AdminError::Unreachable(format!("the cluster at {address} does not answer: {why}"))
            }
            _ => AdminError::Failed(said(code, text)),
        }
    }
}

/// Waits until somebody answers, at most `patience`, and gives what the cluster consists of: of topics only the one that is named, or all.
/// A broker that makes topics makes the one that is named.
///
/// # Errors
/// [`AdminError::Unreachable`] with `address` and the reason: refused, unknown name, TLS, login, silence.
pub fn reach(
    native: &Native,
    topic: Option<&str>,
    address: &str,
    patience: Duration,
) -> Result<Metadata, AdminError> {
    let begun = Instant::now();
    let mut wait = FIRST_WAIT;
    let mut trouble = Trouble::default();
    loop {
        let left = patience.saturating_sub(begun.elapsed());
        let asked = Instant::now();
        let error = match native.client().fetch_metadata(topic, wait.min(left)) {
            Ok(metadata) => return Ok(metadata),
            Err(error) => error,
        };
        // Where nobody can be asked about a topic it says so at once, again and again.
        while !trouble.is_final()
            && let Some(event) = native.poll(wait.min(left).saturating_sub(asked.elapsed()))
        {
            trouble.hear(&event.kind());
        }
        let refused = trouble.is_all_down() && begun.elapsed() > HOPE;
        if refused || trouble.is_final() || begun.elapsed() >= patience {
            return Err(trouble.unreachable(address, patience));
        }
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::AllBrokersDown,
            ) => {}
            // It answers, but not this.
            Some(code) => return Err(AdminError::Failed(format!("{address}: {code}"))),
            None => return Err(AdminError::Failed(format!("{address}: {error}"))),
        }
        wait = (wait * 2).min(patience);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::native::EventKind;

    fn error(code: RDKafkaErrorCode, text: &str) -> EventKind {
        EventKind::Error {
            code,
            text: text.to_owned(),
            fatal: false,
        }
    }

    #[test]
    fn the_reason_is_told_without_book_keeping() {
        let mut trouble = Trouble::default();
        let text = "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)";
        trouble.hear(&error(RDKafkaErrorCode::BrokerTransportFailure, text));
        let told = trouble.unreachable("127.0.0.1:1", FIRST_ANSWER);
        assert_eq!(
            told.to_string(),
            "no broker answers at 127.0.0.1:1: Connect to ipv4#127.0.0.1:1 failed: Connection refused"
        );
    }

    #[test]
    fn who_refuses_us_explains_more_than_who_hangs_up_afterwards() {
        let mut trouble = Trouble::default();
        trouble.hear(&error(RDKafkaErrorCode::Authentication, "bad password"));
        trouble.hear(&error(
            RDKafkaErrorCode::BrokerTransportFailure,
            "Disconnected",
        ));
        assert!(!trouble.is_final());
        trouble.hear(&error(
            RDKafkaErrorCode::AllBrokersDown,
            "1/1 brokers are down",
        ));
        assert!(trouble.is_final());
        let told = trouble.unreachable("a:1", FIRST_ANSWER).to_string();
        assert!(
            told.ends_with("the login is refused: bad password"),
            "{told}"
        );
    }

    #[test]
    fn silence_is_told_too() {
        let mut closed = Trouble::default();
        closed.hear(&error(RDKafkaErrorCode::AllBrokersDown, ""));
        let told = closed.unreachable("a:1", FIRST_ANSWER).to_string();
        assert!(told.contains("closed at once"), "{told}");
        let told = Trouble::default().unreachable("a:1", FIRST_ANSWER);
        assert_eq!(
            told.to_string(),
            "no broker answers at a:1: no answer within 5 s"
        );
    }
}
