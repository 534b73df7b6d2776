//! Why nobody answers: what librdkafka says while it tries, reduced to the one reason that explains most, in words for whoever has to act.
//!
//! Pure: it hears events and keeps one of them.

use std::borrow::Cow;

use rdkafka::types::RDKafkaErrorCode;

use super::native::EventKind;

/// librdkafka says nothing about a connection that ends before anything was said on it.
const HUNG_UP: &str = "the connection is closed at once; does it want TLS (security.protocol=ssl) or a login (sasl.mechanism)?";

/// What a system says of a connection that the other side ended. Whether librdkafka gets to see it depends on whether its next request was written before.
const ENDED: [&str; 2] = ["Broken pipe", "Connection reset by peer"];

/// What librdkafka calls the lines of its log about certificates that do not do.
const CERTIFICATE: &str = "SSLCERTVRFY";

/// How much a reason explains: who refuses us knows more than who is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Network,
    Name,
    Tls,
    Login,
}

impl Kind {
    pub fn of(code: RDKafkaErrorCode, text: &str) -> Self {
        match code {
            RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
                Self::Login
            }
            RDKafkaErrorCode::SSL => Self::Tls,
            // A broker that refuses our certificate says so after the handshake, when librdkafka takes it for an end of the connection.
            _ if text.contains("SSL routines") => Self::Tls,
            RDKafkaErrorCode::Resolve => Self::Name,
            _ => Self::Network,
        }
    }

    /// What to do, as the end of a sentence in the daemon's log.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Login => {
                "; check `sasl` of the cluster and the user at the broker (a file with the password is read again at each try)"
            }
            Self::Tls => "; check `tls` of the cluster",
            Self::Name => "; check `brokers` of the cluster, and the resolver",
            Self::Network => "",
        }
    }
}

/// What went wrong so far.
#[derive(Debug, Default)]
pub struct Trouble {
    reason: Option<(Kind, String)>,
    all_down: bool,
    /// What is wrong with a broker's certificate: librdkafka's own error says only that something is.
    certificate: Option<String>,
}

impl Trouble {
    /// Takes note of what a client says. librdkafka says the same thing once in half a minute, however often it tries.
    pub fn hear(&mut self, event: &EventKind) {
        match event {
            EventKind::Log { facility, text, .. } if facility == CERTIFICATE => {
                self.certificate = certificate(text);
            }
            EventKind::Error {
                code: RDKafkaErrorCode::AllBrokersDown,
                ..
            } => self.all_down = true,
            EventKind::Error { code, text, .. } => {
                let kind = Kind::of(*code, text);
                let known = self.reason.as_ref().map(|(known, _)| *known);
                if known.is_none_or(|known| known <= kind) {
                    let text = match &self.certificate {
                        Some(certificate) if kind == Kind::Tls => certificate.clone(),
                        _ => said(*code, text),
                    };
                    self.reason = Some((kind, text));
                }
            }
            _ => {}
        }
    }

    /// Everybody was asked, and nobody answers.
    pub fn is_all_down(&self) -> bool {
        self.all_down
    }

    /// Whether trying again cannot help a command: everybody was asked, and said no to who we are.
    pub fn is_final(&self) -> bool {
        let refused = self.kind().is_some_and(|kind| kind >= Kind::Tls);
        self.all_down && refused
    }

    pub fn kind(&self) -> Option<Kind> {
        self.reason.as_ref().map(|(kind, _)| *kind)
    }

    /// What was told.
    pub fn told(&self) -> Option<String> {
        self.reason.as_ref().map(|(_, reason)| reason.clone())
    }

    /// The same where nobody ever answered: what silence means, and what it means that somebody takes the connection and ends it.
    pub fn reason(&self) -> Option<String> {
        match &self.reason {
            None => self.all_down.then(|| HUNG_UP.to_owned()),
            Some((Kind::Network, text)) if ENDED.iter().any(|ended| text.contains(ended)) => {
                Some(format!("{text}: {HUNG_UP}"))
            }
            Some((_, text)) => Some(text.clone()),
        }
    }
}

/// librdkafka's words without its own book-keeping, and what they mean where that is not plain.
pub fn said(code: RDKafkaErrorCode, text: &str) -> String {
    let text = text
        .split_once("/bootstrap: ")
        .map_or(text, |(_, rest)| rest);
    let text = without_time(text);
    let text = text.trim().trim_end_matches('.');
    match code {
        RDKafkaErrorCode::Authentication => format!("the login is refused: {text}"),
        // In TLS 1.3 and before.
        _ if text.contains("certificate required") || text.contains("alert bad certificate") => {
            format!(
                "TLS: the broker wants another certificate of this client, or one at all (`cert_file` and `key_file`): {text}"
            )
        }
        _ if Kind::of(code, text) == Kind::Tls => format!("TLS: {text}"),
        _ if text.is_empty() => code.to_string(),
        _ => text.to_owned(),
    }
}

/// librdkafka's words without how long something took: `(after 2ms in state CONNECT, 1 identical error(s) suppressed)`, `(after 5 ms)`. What is
/// said again can be told by that.
pub fn without_time(text: &str) -> Cow<'_, str> {
    let Some(start) = text.rfind(" (after ") else {
        return text.into();
    };
    // Brackets within it are in pairs.
    let mut open = 0;
    let end = text[start..].char_indices().find_map(|(at, letter)| {
        open += i32::from(letter == '(') - i32::from(letter == ')');
        (letter == ')' && open == 0).then_some(start + at + 1)
    });
    match &text[end.unwrap_or(text.len())..] {
        "" => text[..start].into(),
        rest => format!("{}{rest}", &text[..start]).into(),
    }
}

/// `...: Certificate (subject=S, issuer=I) verification callback failed: WORDS`: the words are [`certificate`](super::native)'s.
fn certificate(text: &str) -> Option<String> {
    let (_, of) = text.split_once("Certificate (")?;
    let (whose, words) = of.split_once(") verification callback failed: ")?;
    Some(format!(
        "TLS: the broker's certificate ({whose}) {}",
        words.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: RDKafkaErrorCode, text: &str) -> EventKind {
        EventKind::Error {
            code,
            text: text.to_owned(),
            fatal: false,
        }
    }

    #[test]
    fn a_certificate_is_told_with_its_subject_and_what_is_wrong_with_it() {
        let mut trouble = Trouble::default();
        trouble.hear(&EventKind::Log {
            level: 3,
            facility: CERTIFICATE.to_owned(),
            text: "[thrd:ssl://a:1/bootstrap]: ssl://a:1/bootstrap: Certificate (subject=/CN=a, issuer=/CN=b) verification callback failed: has expired".to_owned(),
        });
        trouble.hear(&error(
            RDKafkaErrorCode::SSL,
            "ssl://a:1/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed (after 4ms in state SSL_HANDSHAKE)",
        ));
        assert_eq!(
            trouble.reason().unwrap(),
            "TLS: the broker's certificate (subject=/CN=a, issuer=/CN=b) has expired"
        );
        assert_eq!(trouble.kind(), Some(Kind::Tls));
    }

    #[test]
    fn how_long_something_took_is_no_part_of_what_was_said() {
        for (text, rest) in [
            (
                "refused (after 2ms in state CONNECT, 1 identical error(s) suppressed)",
                "refused",
            ),
            ("failed (after 5 ms) (CODE)", "failed (CODE)"),
            ("plain (as it is)", "plain (as it is)"),
            ("cut (after 5", "cut"),
        ] {
            assert_eq!(without_time(text), rest);
        }
    }

    #[test]
    fn a_broker_that_wants_a_certificate_is_understood_in_every_version_of_tls() {
        for (code, text) in [
            (
                RDKafkaErrorCode::SSL,
                "SSL handshake failed: error:0A00045C:SSL routines::tlsv13 alert certificate required",
            ),
            (
                RDKafkaErrorCode::BrokerTransportFailure,
                "Receive failed: error:0A000412:SSL routines::ssl/tls alert bad certificate: SSL alert number 42 (after 3ms in state UP)",
            ),
        ] {
            let mut trouble = Trouble::default();
            trouble.hear(&error(code, text));
            assert_eq!(trouble.kind(), Some(Kind::Tls));
            assert!(trouble.told().unwrap().contains("cert_file"));
        }
    }

    #[test]
    fn an_end_that_is_seen_while_writing_is_told_like_one_that_is_not() {
        for ended in [
            "Send failed: Broken pipe",
            "Receive failed: Connection reset by peer",
        ] {
            let mut trouble = Trouble::default();
            let text = format!("127.0.0.1:1/bootstrap: {ended} (after 3ms in state UP)");
            trouble.hear(&error(RDKafkaErrorCode::BrokerTransportFailure, &text));
            let reason = trouble.reason().unwrap();
            assert!(reason.contains("does it want TLS"), "{reason}");
            assert!(reason.starts_with(ended), "{reason}");
        }
    }

    #[test]
    fn a_network_that_is_away_does_not_hide_who_refused_us() {
        let mut trouble = Trouble::default();
        trouble.hear(&error(RDKafkaErrorCode::Authentication, "bad password"));
        trouble.hear(&error(RDKafkaErrorCode::BrokerTransportFailure, "gone"));
        assert_eq!(
            trouble.reason().unwrap(),
            "the login is refused: bad password"
        );
    }
}
