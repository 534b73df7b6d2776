//! `logferry partition-of`: where other clients, and logferry, put a key.
//!
//! Asks nobody: the number of partitions is given. Keys are bytes, from the command line or one a line from standard input.
//!
//! Invariant: every key is answered once, in order, or told to be none.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use clap::Args;

use super::complain;
use super::exit::ExitStatus;
use super::kafka::Refusal;
use super::table::plain;
use crate::kafka::partition::{Choice, Rule};
use crate::kafka::settings::Partitioner;

/// What is told of each key: the partitioners that hash every key, by name.
const HASHES: [(&str, Partitioner); 4] = [
    ("murmur2", Partitioner::Murmur2),
    ("consistent", Partitioner::Consistent),
    ("fnv1a", Partitioner::Fnv1a),
    ("sarama_reference", Partitioner::SaramaReference),
];

/// `logferry partition-of`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(super) struct PartitionOfArgs {
    /// Keys; `-` stands for those of standard input, one a line
    #[arg(value_name = "KEY", required = true)]
    pub keys: Vec<OsString>,
    /// How many partitions the topic has
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub partitions: u32,
    /// Keys are written in hexadecimal digits
    #[arg(long)]
    pub hex: bool,
    /// As JSON, for programs: one object per key and line
    #[arg(long)]
    pub json: bool,
}

pub(super) fn partition_of(args: &PartitionOfArgs) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    let told = tell(args, &mut io::stdin().lock(), &mut out);
    match told.and_then(|status| Ok(out.flush().map(|()| status)?)) {
        Ok(status) => status.into(),
        Err(End::Out(error)) if error.kind() == ErrorKind::BrokenPipe => ExitStatus::Done.into(),
        Err(End::Out(error)) => {
            complain(&format!(
                "logferry: cannot write to standard output: {error}"
            ));
            ExitStatus::Internal.into()
        }
        Err(End::Refused(Refusal { status, text })) => {
            complain(&format!("logferry: {text}"));
            status.into()
        }
    }
}

/// Why it ends before its time.
#[derive(Debug)]
enum End {
    Out(io::Error),
    Refused(Refusal),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Out(error)
    }
}

fn tell(
    args: &PartitionOfArgs,
    stdin: &mut dyn io::Read,
    out: &mut dyn Write,
) -> Result<ExitStatus, End> {
    // All of them are read before the first is answered.
    let keys: Vec<Option<Vec<u8>>> = (args.keys.iter())
        .map(|key| match key.as_bytes() {
            b"-" => Ok(None),
            text => args.key(text).map(Some).map_err(|why| {
                let text = String::from_utf8_lossy(text);
                End::Refused(Refusal::usage(format!("{}: {why}", plain(&text))))
            }),
        })
        .collect::<Result<_, _>>()?;
    let mut lines = BufReader::new(stdin);
    let mut status = ExitStatus::Done;
    let show = Show::new(args);
    show.head(out)?;
    for key in keys {
        match key {
            Some(key) => show.key(&key, out)?,
            None => {
                if !tell_lines(args, &show, &mut lines, out)? {
                    status = ExitStatus::Undelivered;
                }
            }
        }
    }
    Ok(status)
}

/// `false`: some line was no key.
fn tell_lines(
    args: &PartitionOfArgs,
    show: &Show,
    lines: &mut BufReader<&mut dyn io::Read>,
    out: &mut dyn Write,
) -> Result<bool, End> {
    let (mut line, mut number, mut all) = (Vec::new(), 0u64, true);
    loop {
        if lines.buffer().is_empty() {
            // Whoever writes the keys one by one reads the answers one by one.
            out.flush()?;
        }
        line.clear();
        let read = lines.read_until(b'\n', &mut line).map_err(|error| {
            End::Refused(Refusal::failed(format!(
                "cannot read standard input: {error}"
            )))
        })?;
        if read == 0 {
            return Ok(all);
        }
        number += 1;
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = match line.ends_with(b"\n") {
            true => text.strip_suffix(b"\r").unwrap_or(text),
            false => text,
        };
        match args.key(text) {
            Ok(key) => show.key(&key, out)?,
            Err(why) => {
                all = false;
                complain(&format!("logferry: line {number}: {why}"));
            }
        }
    }
}

impl PartitionOfArgs {
    /// The key that is written so.
    fn key(&self, text: &[u8]) -> Result<Vec<u8>, &'static str> {
        if !self.hex {
            return Ok(text.to_owned());
        }
        let digit = |digit: &u8| char::from(*digit).to_digit(16);
        let byte = |[high, low]: &[u8; 2]| {
            let byte = digit(high)? << 4 | digit(low)?;
            u8::try_from(byte).ok()
        };
        let (pairs, rest) = text.as_chunks::<2>();
        let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
        bytes
            .filter(|_| rest.is_empty())
            .ok_or("a key in hexadecimal has two of the digits 0 to 9 and a to f for each byte")
    }
}

/// How answers are printed.
struct Show {
    rules: [(&'static str, Rule); 4],
    partitions: u32,
    json: bool,
    hex: bool,
}

impl Show {
    fn new(args: &PartitionOfArgs) -> Self {
        Self {
            rules: HASHES.map(|(name, partitioner)| (name, Rule::of(partitioner))),
            partitions: args.partitions,
            json: args.json,
            hex: args.hex,
        }
    }

    /// The largest number decides how wide a column is, so that no answer has to wait for the others.
    fn width(&self, name: &str) -> usize {
        let largest = (self.partitions - 1).to_string();
        largest.len().max(name.len())
    }

    fn head(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        for (name, _) in &self.rules {
            write!(out, "{:>1$}  ", name.to_uppercase(), self.width(name))?;
        }
        writeln!(out, "KEY")
    }

    fn key(&self, key: &[u8], out: &mut dyn Write) -> io::Result<()> {
        let found = self.rules.iter().map(|(name, rule)| {
            let chosen = rule.choose(Some(key), self.partitions);
            match chosen {
                Choice::Fixed(partition) => (*name, Some(partition)),
                // Met by none of them.
                _ => (*name, None),
            }
        });
        if self.json {
            let of: Vec<_> = found
                .map(|(name, partition)| match partition {
                    Some(partition) => format!("\"{name}\": {partition}"),
                    None => format!("\"{name}\": null"),
                })
                .collect();
            let (key, of) = (hex(key), of.join(", "));
            return writeln!(out, "{{\"key_hex\": \"{key}\", \"partitions\": {{{of}}}}}");
        }
        for (name, partition) in found {
            let partition = partition.map_or_else(|| "-".to_owned(), |it| it.to_string());
            write!(out, "{partition:>0$}  ", self.width(name))?;
        }
        let key = match std::str::from_utf8(key) {
            Ok("") => "(empty)".to_owned(),
            Ok(text) if !self.hex => plain(text),
            _ => hex(key),
        };
        writeln!(out, "{key}")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(
        keys: &[&str],
        hex: bool,
        json: bool,
        stdin: &[u8],
    ) -> (String, Result<ExitStatus, End>) {
        let args = PartitionOfArgs {
            keys: keys.iter().map(Into::into).collect(),
            partitions: 12,
            hex,
            json,
        };
        let mut out = Vec::new();
        let mut stdin = stdin;
        let ended = tell(&args, &mut stdin, &mut out);
        (String::from_utf8(out).unwrap(), ended)
    }

    #[test]
    fn people_see_a_table() {
        let (text, ended) = told(&["a", "", "kafka"], false, false, b"");
        let expected = "\
MURMUR2  CONSISTENT  FNV1A  SARAMA_REFERENCE  KEY
      4           3      0                 8  a
      9           0      3                 5  (empty)
      4          11      5                 5  kafka
";
        assert_eq!(text, expected);
        assert_eq!(ended.unwrap(), ExitStatus::Done);
    }

    #[test]
    fn programs_get_one_object_a_line() {
        let (text, _) = told(&["ff", "8000feff7f"], true, true, b"");
        let lines: Vec<serde_json::Value> = (text.lines())
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        // As the Java client has it.
        assert_eq!(lines[0]["key_hex"], "ff");
        assert_eq!(lines[0]["partitions"]["murmur2"], 3);
        assert_eq!(lines[1]["partitions"]["murmur2"], 6);
        assert_eq!(lines[1]["partitions"].as_object().unwrap().len(), 4);
    }

    #[test]
    fn keys_of_standard_input_stand_one_a_line() {
        let (text, ended) = told(&["-"], false, true, b"a\r\n\nb\r");
        let keys: Vec<_> = text
            .lines()
            .map(|line| line.split('"').nth(3).unwrap())
            .collect();
        assert_eq!(keys, ["61", "", "620d"]);
        assert_eq!(ended.unwrap(), ExitStatus::Done);
    }

    #[test]
    fn a_line_that_is_no_key_is_told_and_the_others_are_answered() {
        let (text, ended) = told(&["00", "-"], true, true, b"0g\n1\nABcd\n");
        let keys: Vec<_> = text
            .lines()
            .map(|line| line.split('"').nth(3).unwrap())
            .collect();
        assert_eq!(keys, ["00", "abcd"]);
        assert_eq!(ended.unwrap(), ExitStatus::Undelivered);
    }

    #[test]
    fn a_key_on_the_command_line_that_is_none_is_refused_before_anything_is_printed() {
        let (text, ended) = told(&["00", "xyz"], true, false, b"");
        assert_eq!(text, "");
        let Err(End::Refused(refusal)) = ended else {
            panic!("it is refused")
        };
        assert_eq!(refusal.status, ExitStatus::Usage);
        assert!(refusal.text.contains("xyz"), "{}", refusal.text);
    }
}
