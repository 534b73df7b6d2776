//! A stream's bytes to messages. Pure.
//!
//! Two ways are in use (RFC 6587): the message's length before it (`octet`), and a byte after it (`lf`, `nul`). With `auto` each frame is looked at
//! by itself: one that begins with a length, a space and `<` has its length before it, any other ends with LF. So a stream whose lengths are wrong
//! goes on at its next LF. With `octet` there is no such place: a frame without a length, with a length of zero or one beyond 64 MiB (or
//! `max_line.size`, if that is more) ends the stream, and what was not framed is counted as dropped, reason `framing`. So it is when a stream begins
//! as TLS does: somebody took one port for the other.
//!
//! - A CR before an LF is cut, and so is a line end within a length: rsyslog's usual template has one. Empty frames are no messages; their bytes count with the message that follows.
//! - A message longer than `max_line.size` is dealt with as `max_line.policy` says, without being kept whole: its beginning decides.
//! - What the stream ends inside of is a message too.
//!
//! Invariant: how the bytes came in pieces changes nothing.

use std::ops::Range;

use crate::checkpoint::Skip;
use crate::input::frame::settings::{LongLine, MaxLine};

/// How messages are told apart in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// By the beginning of each frame: `octet` or `lf`.
    #[default]
    Auto,
    /// By the length before it.
    Octet,
    /// By the LF after it.
    Lf,
    /// By the NUL after it.
    Nul,
}

/// Digits of a length at most.
const LONGEST_LENGTH: usize = 10;
/// A length beyond this is none, unless messages may be longer.
const LONGEST_FRAME: u64 = 64 << 20;
/// What a TLS connection begins with: a handshake's record, of any version.
const TLS_HELLO: [u8; 2] = [0x16, 3];

/// Where one stream stands.
#[derive(Debug, Clone)]
pub struct Framer {
    framing: Framing,
    size: usize,
    policy: LongLine,
    state: State,
    /// So many bytes hold no end. Knowledge only.
    searched: usize,
    /// Bytes that were taken and are not counted with any message yet.
    before: usize,
    /// Nothing came yet.
    is_first: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Begin,
    In(End, Way),
}

/// What ends the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    After(u64),
    Byte(u8),
}

/// What is done with the rest of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Whole,
    /// A piece was sent.
    Pieces,
    Skip(Skip),
}

/// What is to be done with the first bytes of a stream that are not framed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// So many of them are dealt with by this.
    pub consumed: usize,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Nothing before more bytes come.
    More,
    Text(Text),
    /// The beginning of a long message is to be set aside; bytes of the stream that it stands for.
    Aside(Range<usize>, usize),
    /// So many bytes are in no record. Whether a message ends with them.
    Skip(Skip, usize, bool),
    /// Nothing tells where the next message begins; bytes that are dropped with it.
    Lost(usize, Loss),
}

/// Why a stream cannot be told apart any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// There is no length where one has to be.
    Length,
    /// It begins as TLS does.
    Tls,
}

/// A message, or a piece of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Which of the bytes.
    pub at: Range<usize>,
    /// Bytes of the stream that it stands for.
    pub bytes: usize,
    /// It is not the beginning of its message.
    pub is_piece: bool,
    /// Its message ends with it, as far as it is sent.
    pub ends: bool,
    /// Its message was longer, and the rest is cut off.
    pub is_cut: bool,
    /// The stream ended before the message did.
    pub is_torn: bool,
}

impl Framer {
    pub fn new(framing: Framing, max_line: MaxLine) -> Self {
        Self {
            framing,
            size: usize::try_from(max_line.size.max(1)).unwrap_or(usize::MAX),
            policy: max_line.policy,
            state: State::Begin,
            searched: 0,
            before: 0,
            is_first: true,
        }
    }

    /// For a message that comes whole, of `len` bytes.
    pub fn of_datagram(len: usize, max_line: MaxLine) -> Self {
        Self {
            state: State::In(End::After(len as u64), Way::Whole),
            ..Self::new(Framing::Octet, max_line)
        }
    }

    /// So many bytes always decide something.
    pub fn lookahead(&self) -> usize {
        self.size.saturating_add(LONGEST_LENGTH + 2)
    }

    /// Whether the stream stands between two messages.
    pub fn is_between(&self) -> bool {
        self.state == State::Begin
    }

    /// What is to be done with `bytes`, that follow what was consumed before. `last`: no more will come.
    pub fn next(&mut self, bytes: &[u8], last: bool) -> Step {
        match self.state {
            State::Begin => self.begin(bytes, last),
            State::In(end, way) => self.inside(bytes, 0, end, way, last),
        }
    }

    fn begin(&mut self, bytes: &[u8], last: bool) -> Step {
        if self.is_first {
            if bytes.starts_with(&TLS_HELLO) {
                return Step {
                    consumed: bytes.len(),
                    what: What::Lost(bytes.len(), Loss::Tls),
                };
            }
            if bytes == &TLS_HELLO[..1] && !last {
                return Step {
                    consumed: 0,
                    what: What::More,
                };
            }
            self.is_first = bytes.is_empty();
        }
        let is_filler = |byte: &u8| match self.framing {
            Framing::Nul => *byte == 0,
            Framing::Lf | Framing::Auto | Framing::Octet => matches!(byte, b'\n' | b'\r'),
        };
        let from = bytes.iter().take_while(|byte| is_filler(byte)).count();
        let rest = &bytes[from..];
        if rest.is_empty() {
            self.before += from;
            return Step {
                consumed: from,
                what: What::More,
            };
        }
        let most = LONGEST_FRAME.max(self.size as u64);
        let (head, end) = match (self.framing, length(rest, self.framing, most, last)) {
            (Framing::Lf, _) => (0, End::Byte(b'\n')),
            (Framing::Nul, _) => (0, End::Byte(0)),
            (_, Length::Is(digits, length)) => (digits + 1, End::After(length)),
            (_, Length::Unknown) => {
                self.before += from;
                return Step {
                    consumed: from,
                    what: What::More,
                };
            }
            (Framing::Auto, Length::None) => (0, End::Byte(b'\n')),
            (Framing::Octet, Length::None) => {
                let dropped = self.before + bytes.len();
                self.before = 0;
                return Step {
                    consumed: bytes.len(),
                    what: What::Lost(dropped, Loss::Length),
                };
            }
        };
        self.state = State::In(end, Way::Whole);
        self.searched = 0;
        self.inside(bytes, from + head, end, Way::Whole, last)
    }

    /// Inside a frame, of which `bytes[at..]` come next.
    fn inside(&mut self, bytes: &[u8], at: usize, end: End, way: Way, last: bool) -> Step {
        let rest = &bytes[at..];
        // How much of the frame is here, what its end needs, and whether that is certain.
        let (text, over, ends) = match end {
            End::After(left) => {
                let here = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
                // What the stream breaks off never became longer than it is; but a length alone decides what is dropped.
                let breaks_off = last && rest.len() < self.size && self.policy != LongLine::Drop;
                let longer = left > self.size as u64 && !breaks_off;
                (here, longer, here as u64 == left)
            }
            End::Byte(byte) => {
                let from = self.searched.min(rest.len());
                match memchr::memchr(byte, &rest[from..]) {
                    Some(found) => {
                        let cut = cut_cr(&rest[..from + found], byte);
                        (cut, cut > self.size, true)
                    }
                    None => {
                        self.searched = rest.len();
                        // The last byte may be the CR of an end.
                        let certain = match last {
                            true => rest.len(),
                            false => cut_cr(rest, byte),
                        };
                        (rest.len(), certain > self.size, false)
                    }
                }
            }
        };
        let tail = |text: usize| match end {
            End::After(_) => text,
            End::Byte(byte) => text + 1 + usize::from(byte == b'\n' && rest[text] == b'\r'),
        };
        if let Way::Skip(skip) = way {
            let taken = match (end, ends) {
                (End::Byte(_), true) => tail(text),
                // A CR may belong to the end; it is skipped all the same.
                _ => text,
            };
            let over = ends || last;
            self.go_on(end, way, taken, over);
            let bytes = self.counted(at + taken);
            return Step {
                consumed: at + taken,
                what: What::Skip(skip, bytes, over),
            };
        }
        let is_piece = way == Way::Pieces;
        if over {
            return self.long(bytes, at, text.min(self.size), end, is_piece, last);
        }
        if !ends && !last {
            // The head is known by the state; the text waits.
            self.before += at;
            return Step {
                consumed: at,
                what: What::More,
            };
        }
        let taken = if ends { tail(text) } else { text };
        self.go_on(end, way, taken, true);
        let bytes = self.counted(at + taken);
        let text = match end {
            End::After(_) if ends => trim(&rest[..text]).len(),
            _ => text,
        };
        Step {
            consumed: at + taken,
            what: What::Text(Text {
                at: at..at + text,
                bytes,
                is_piece,
                ends: true,
                is_cut: false,
                is_torn: !ends && matches!(end, End::After(_)),
            }),
        }
    }

    /// The frame is longer than a message may be; `text` bytes of it are here.
    fn long(
        &mut self,
        bytes: &[u8],
        at: usize,
        text: usize,
        end: End,
        is_piece: bool,
        last: bool,
    ) -> Step {
        let skip = match self.policy {
            LongLine::Drop => Skip::Dropped,
            LongLine::Truncate => Skip::Truncated,
            LongLine::DeadLetter => Skip::DeadLettered,
            LongLine::Split => {
                if text < self.size {
                    self.before += at;
                    return Step {
                        consumed: at,
                        what: What::More,
                    };
                }
                self.go_on(end, Way::Pieces, text, false);
                let bytes = self.counted(at + text);
                return Step {
                    consumed: at + text,
                    what: What::Text(Text {
                        at: at..at + text,
                        bytes,
                        is_piece,
                        ends: false,
                        is_cut: false,
                        is_torn: false,
                    }),
                };
            }
        };
        if skip == Skip::Dropped {
            self.state = State::In(end, Way::Skip(skip));
            return self.inside(bytes, at, end, Way::Skip(skip), last);
        }
        if text < self.size {
            self.before += at;
            return Step {
                consumed: at,
                what: What::More,
            };
        }
        self.go_on(end, Way::Skip(skip), text, false);
        let (range, bytes) = (at..at + text, self.counted(at + text));
        Step {
            consumed: at + text,
            what: match skip {
                Skip::Truncated => What::Text(Text {
                    at: range,
                    bytes,
                    is_piece,
                    ends: true,
                    is_cut: true,
                    is_torn: false,
                }),
                _ => What::Aside(range, bytes),
            },
        }
    }

    /// `taken` bytes of the frame are dealt with.
    fn go_on(&mut self, end: End, way: Way, taken: usize, over: bool) {
        self.searched = self.searched.saturating_sub(taken);
        self.state = match end {
            _ if over => State::Begin,
            End::After(left) => State::In(End::After(left.saturating_sub(taken as u64)), way),
            End::Byte(_) => State::In(end, way),
        };
        if over {
            self.searched = 0;
        }
    }

    /// What `consumed` bytes and those before them count for.
    fn counted(&mut self, consumed: usize) -> usize {
        std::mem::take(&mut self.before) + consumed
    }
}

/// A message whose length was told, or that came whole, without its line end or NUL: many senders leave one there.
pub(super) fn trim(message: &[u8]) -> &[u8] {
    match message {
        [rest @ .., b'\r', b'\n'] | [rest @ .., b'\n' | 0] => rest,
        whole => whole,
    }
}

/// The length of `rest` without the CR of its end.
fn cut_cr(rest: &[u8], end: u8) -> usize {
    rest.len() - usize::from(end == b'\n' && rest.ends_with(b"\r"))
}

enum Length {
    /// So many digits, and what they say.
    Is(usize, u64),
    None,
    /// More bytes will tell.
    Unknown,
}

/// The length at the beginning of a frame.
fn length(rest: &[u8], framing: Framing, most: u64, last: bool) -> Length {
    if !matches!(rest.first(), Some(b'1'..=b'9')) {
        return Length::None;
    }
    let unknown = if last { Length::None } else { Length::Unknown };
    let digits = rest
        .iter()
        .take(LONGEST_LENGTH + 1)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if digits > LONGEST_LENGTH {
        return Length::None;
    }
    match rest.get(digits) {
        None => return unknown,
        Some(b' ') => {}
        Some(_) => return Length::None,
    }
    if framing == Framing::Auto {
        match rest.get(digits + 1) {
            None => return unknown,
            Some(b'<') => {}
            Some(_) => return Length::None,
        }
    }
    let number = rest[..digits]
        .iter()
        .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    match number <= most {
        true => Length::Is(digits, number),
        false => Length::None,
    }
}

#[cfg(test)]
mod tests;
