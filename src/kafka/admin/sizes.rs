//! How many bytes partitions have on disk, as their leaders tell: `DescribeLogDirs` (KIP-113), for which librdkafka has no call.
//!
//! So this asks by itself, one request on a connection of its own, where a connection is all that it takes: of a cluster that wants TLS or a login
//! nothing is known. What goes wrong leaves sizes unknown and is no error: they are told beside what was asked for.
//!
//! Invariant: an answer of any bytes makes no panic, and none is waited for longer than [`PATIENCE`].

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::topics::PartitionView;

/// For connecting, and for each part of the answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// No answer about one topic is longer, in bytes.
const LARGEST: u32 = 16 << 20;

const DESCRIBE_LOG_DIRS: i16 = 35;
/// The last one of plain fields; brokers from 1.0 on know it, and those of today still do.
const VERSION: i16 = 1;
/// Tells one answer from another; there is only one.
const CORRELATION: i32 = 1;

/// Puts sizes into the partitions of `topic`, each as its leader has it. `brokers`: `HOST:PORT` of each number.
pub fn measure(topic: &str, partitions: &mut [PartitionView], brokers: &BTreeMap<i32, String>) {
    for (id, address) in brokers {
        let led = partitions.iter().filter(|one| one.leader == Some(*id));
        let led: Vec<i32> = led.map(|one| one.id).collect();
        if led.is_empty() {
            continue;
        }
        let told = ask(address, &question(topic, &led)).and_then(|answer| sizes(&answer, topic));
        for (partition, size) in told.unwrap_or_default() {
            let mut ours = partitions.iter_mut();
            if let Some(one) = ours.find(|one| one.id == partition && one.leader == Some(*id)) {
                one.size = Some(size);
            }
        }
    }
}

/// The answer without its length.
fn ask(address: &str, question: &[u8]) -> Option<Vec<u8>> {
    let mut addresses = address.to_socket_addrs().ok()?;
    let mut connection =
        addresses.find_map(|address| TcpStream::connect_timeout(&address, PATIENCE).ok())?;
    connection.set_read_timeout(Some(PATIENCE)).ok()?;
    connection.set_write_timeout(Some(PATIENCE)).ok()?;
    connection.write_all(question).ok()?;
    let mut length = [0; 4];
    connection.read_exact(&mut length).ok()?;
    let length = u32::from_be_bytes(length);
    if length > LARGEST {
        return None;
    }
    let mut answer = Vec::new();
    let got = connection
        .take(length.into())
        .read_to_end(&mut answer)
        .ok()?;
    (got == length as usize).then_some(answer)
}

/// A request with its length.
fn question(topic: &str, partitions: &[i32]) -> Vec<u8> {
    let mut body = Vec::new();
    let text = |text: &str, body: &mut Vec<u8>| {
        // A topic's name has at most 249 bytes.
        body.extend_from_slice(&(text.len() as i16).to_be_bytes());
        body.extend_from_slice(text.as_bytes());
    };
    body.extend_from_slice(&DESCRIBE_LOG_DIRS.to_be_bytes());
    body.extend_from_slice(&VERSION.to_be_bytes());
    body.extend_from_slice(&CORRELATION.to_be_bytes());
    text(super::CLIENT_ID, &mut body);
    body.extend_from_slice(&1i32.to_be_bytes());
    text(topic, &mut body);
    body.extend_from_slice(&(partitions.len() as i32).to_be_bytes());
    for partition in partitions {
        body.extend_from_slice(&partition.to_be_bytes());
    }
    let mut request = (body.len() as i32).to_be_bytes().to_vec();
    request.append(&mut body);
    request
}

/// Size by partition. `None` for what is no answer to the question.
fn sizes(answer: &[u8], topic: &str) -> Option<BTreeMap<i32, u64>> {
    let mut rest = Rest(answer);
    if rest.i32()? != CORRELATION {
        return None;
    }
    let _throttled = rest.i32()?;
    let mut found = BTreeMap::new();
    for _folder in 0..rest.i32()? {
        let _error = rest.i16()?;
        let _path = rest.text()?;
        for _topic in 0..rest.i32()? {
            let is_meant = rest.text()? == topic.as_bytes();
            for _partition in 0..rest.i32()? {
                let (partition, size) = (rest.i32()?, rest.i64()?);
                let _behind = rest.i64()?;
                // A replica that is only being moved there counts for nothing yet.
                let is_future = rest.take::<1>()? != [0];
                if let (true, false, Ok(size)) = (is_meant, is_future, u64::try_from(size)) {
                    found.insert(partition, size);
                }
            }
        }
    }
    Some(found)
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn i16(&mut self) -> Option<i16> {
        self.take().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.i16()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One folder with the topics `a` and `web`.
    fn answer() -> Vec<u8> {
        let mut bytes = Vec::new();
        let number = |bytes: &[u8]| bytes.to_vec();
        let text = |text: &str| [&(text.len() as i16).to_be_bytes()[..], text.as_bytes()].concat();
        let partition = |id: i32, size: i64, is_future: u8| {
            [
                &id.to_be_bytes()[..],
                &size.to_be_bytes(),
                &0i64.to_be_bytes(),
                &[is_future],
            ]
            .concat()
        };
        for part in [
            number(&CORRELATION.to_be_bytes()),
            number(&0i32.to_be_bytes()),
            number(&1i32.to_be_bytes()),
            number(&0i16.to_be_bytes()),
            text("/var/lib/kafka"),
            number(&2i32.to_be_bytes()),
            text("a"),
            number(&1i32.to_be_bytes()),
            partition(0, 7, 0),
            text("web"),
            number(&3i32.to_be_bytes()),
            partition(0, 1000, 0),
            partition(1, -1, 0),
            partition(2, 5, 1),
        ] {
            bytes.extend(part);
        }
        bytes
    }

    #[test]
    fn sizes_are_those_of_the_topic_and_of_replicas_that_are_there() {
        assert_eq!(sizes(&answer(), "web"), Some([(0, 1000)].into()));
        assert_eq!(sizes(&answer(), "nothing"), Some(BTreeMap::new()));
    }

    #[test]
    fn an_answer_that_ends_anywhere_is_none() {
        let answer = answer();
        for end in 0..answer.len() {
            assert_eq!(sizes(&answer[..end], "web"), None, "{end}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = sizes(&bytes, "web");
            let mut answer = CORRELATION.to_be_bytes().to_vec();
            answer.extend(bytes);
            let _ = sizes(&answer, "web");
        }
    }
}
