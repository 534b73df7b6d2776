//! What `run --once` says at its end.

use std::fmt::Write;

use crate::daemon::look::Look;
use crate::value::show_size;

/// A few lines for people: what was read, what became of it, where it went.
pub fn of(look: &Look) -> String {
    let mut text = String::new();
    for input in &look.inputs {
        let books = input.books.entries();
        let _ = write!(
            text,
            "{}: {} lines read ({}), {} acknowledged",
            input.name,
            books.read.lines,
            show_size(books.read.bytes),
            books.acked.lines
        );
        for (count, what) in [
            (books.unconfirmed.lines, "sent unconfirmed"),
            (books.filtered.lines, "filtered"),
            (
                books.dead_lettered.lines,
                "set aside in data_dir/dead-letters",
            ),
            (
                books.dropped.values().map(|count| count.lines).sum(),
                "dropped",
            ),
            (books.truncated, "truncated"),
            (books.spooled.lines, "left in the spool for the next run"),
            (books.in_flight.lines, "NOT delivered"),
        ] {
            if count > 0 {
                let _ = write!(text, ", {count} {what}");
            }
        }
        let _ = writeln!(text, " -> {}", input.target);
    }
    for output in &look.outputs {
        let books = output.books.entries();
        let _ = write!(
            text,
            "{}: {} records written ({})",
            output.name,
            books.written.lines,
            show_size(books.file_bytes)
        );
        if books.refused.lines > 0 {
            let _ = write!(
                text,
                ", {} refused and set aside in data_dir/dead-letters",
                books.refused.lines
            );
        }
        let _ = writeln!(text, " -> {}", output.target);
    }
    text
}
