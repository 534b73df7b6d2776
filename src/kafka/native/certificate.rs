//! Why a broker's certificate does not do, in words: OpenSSL knows, and librdkafka says no more than that verification failed.
//!
//! Invariant: nothing is decided here. What OpenSSL accepts is accepted, what it refuses is refused.

use std::ffi::{CStr, c_char, c_int, c_void};

use rdkafka_sys as rdsys;

/// librdkafka's callback for each certificate of a broker's chain. The words end up in its log, with the certificate's subject.
///
/// # Safety
/// Called by librdkafka: `broker` is a C string, `error` points to a number, `words` to `size` bytes; all live as long as the call.
pub(super) unsafe extern "C" fn verify(
    _client: *mut rdsys::rd_kafka_t,
    broker: *const c_char,
    _id: i32,
    error: *mut c_int,
    _depth: c_int,
    _certificate: *const c_char,
    _length: usize,
    words: *mut c_char,
    size: usize,
    _opaque: *mut c_void,
) -> c_int {
    // SAFETY: the caller's promise; null is taken for an error that nobody knows.
    let code = unsafe { error.as_ref() }.copied().unwrap_or(-1);
    if code == 0 {
        return 1;
    }
    let broker = if broker.is_null() {
        c"?"
    } else {
        // SAFETY: the caller's promise.
        unsafe { CStr::from_ptr(broker) }
    };
    let text = reason(code, &broker.to_string_lossy());
    if !words.is_null() && size > 0 {
        let length = text.len().min(size - 1);
        // SAFETY: at most `size` bytes are written, the last one a zero; the text is another piece of memory.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr().cast(), words, length);
            *words.add(length) = 0;
        }
    }
    0
}

/// OpenSSL's code (`X509_V_ERR_*`) as the end of a sentence about the certificate of the broker at `broker`, `HOST:PORT`.
fn reason(code: c_int, broker: &str) -> String {
    let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host);
    match code {
        9 => "is not valid yet; is the clock of this machine right?".to_owned(),
        10 => "has expired".to_owned(),
        18..=21 => {
            "is signed by nobody whom this machine trusts; name the CA that signed it (`ca_file`)"
                .to_owned()
        }
        23 => "has been revoked".to_owned(),
        62 | 64 => format!(
            "is not for the host name {host}; name the broker as its certificate does, in `brokers` and in its advertised.listeners"
        ),
        _ => format!("is refused by OpenSSL with code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the callback answers, and the words that fit into `N` bytes.
    fn verified<const N: usize>(mut code: c_int) -> (c_int, String) {
        let mut words = [1 as c_char; N];
        // SAFETY: what is passed lives as long as the call, and the words have N bytes.
        let answer = unsafe {
            verify(
                std::ptr::null_mut(),
                c"kafka-1:9093".as_ptr(),
                1,
                &raw mut code,
                0,
                std::ptr::null(),
                0,
                words.as_mut_ptr(),
                N,
                std::ptr::null_mut(),
            )
        };
        let text = words.iter().take_while(|byte| **byte != 0);
        let text = text.map(|byte| *byte as u8).collect();
        (answer, String::from_utf8(text).unwrap())
    }

    #[test]
    fn a_good_certificate_passes_without_words() {
        assert_eq!(verified::<4>(0).0, 1);
    }

    #[test]
    fn a_bad_one_is_refused_with_the_reason() {
        let (answer, words) = verified::<512>(62);
        assert_eq!(answer, 0);
        assert!(words.contains("not for the host name kafka-1;"), "{words}");
        assert_eq!(verified::<512>(10), (0, "has expired".to_owned()));
        assert!(verified::<512>(19).1.contains("ca_file"));
    }

    #[test]
    fn words_that_are_too_long_are_cut() {
        assert_eq!(verified::<8>(10), (0, "has exp".to_owned()));
    }
}
