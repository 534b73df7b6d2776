//! A syslog message and its parts. Pure: nothing is copied, every part is a piece of the message.
//!
//! RFC 5424 is read as it is written; what breaks it is an error that says where the message left it. RFC 3164 describes what was in use when it was
//! written, so `rfc3164` takes what is met: nearly every text is such a message, with fewer or more parts that could be told. Only a priority or
//! a date that cannot be is an error there.
//!
//! Texts are bytes: no part has to be UTF-8.
//!
//! Invariant: no bytes make it panic, and no date becomes another one.

mod priority;
mod rfc3164;
mod rfc5424;
mod structured_data;
mod time;

pub use priority::Priority;
pub use structured_data::{Element, Param, ParamValue, StructuredData};
pub use time::{Clock, Moment};

/// Which form messages have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// RFC 5424 where a version follows the priority, else RFC 3164.
    #[default]
    Auto,
    Rfc5424,
    Rfc3164,
    /// Messages are not looked into.
    None,
}

/// Which form a message had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rfc {
    Rfc5424,
    Rfc3164,
}

/// The parts of a message; what it does not tell is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    pub rfc: Rfc,
    pub priority: Option<Priority>,
    pub time: Option<Moment>,
    pub hostname: Option<&'a [u8]>,
    pub app_name: Option<&'a [u8]>,
    pub proc_id: Option<&'a [u8]>,
    pub msg_id: Option<&'a [u8]>,
    pub structured_data: StructuredData<'a>,
    /// What is left: the text, without a byte order mark.
    pub text: &'a [u8],
}

impl<'a> Message<'a> {
    fn empty(rfc: Rfc) -> Self {
        Self {
            rfc,
            priority: None,
            time: None,
            hostname: None,
            app_name: None,
            proc_id: None,
            msg_id: None,
            structured_data: StructuredData::default(),
            text: b"",
        }
    }
}

/// Why a message cannot be taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("the priority is not a number from 0 to 191 between angle brackets")]
    Priority,
    #[error("the version after the priority is not 1")]
    Version,
    #[error("the header ends too early")]
    Ends,
    #[error("the time stamp is not one of RFC 5424")]
    TimeForm,
    #[error("the time stamp names a time that does not exist")]
    Time,
    #[error("the host name is empty, longer than 255 bytes or not printable ASCII")]
    Hostname,
    #[error("the application's name is empty, longer than 48 bytes or not printable ASCII")]
    AppName,
    #[error("the process id is empty, longer than 128 bytes or not printable ASCII")]
    ProcId,
    #[error("the message id is empty, longer than 32 bytes or not printable ASCII")]
    MsgId,
    #[error("the structured data is neither `-` nor a list of elements")]
    StructuredData,
    #[error(
        "a name in the structured data is empty, longer than 32 bytes or has a letter that cannot stand there"
    )]
    SdName,
    #[error("a value in the structured data is not quoted, or a `]` in it is not escaped")]
    SdValue,
    #[error("an id comes twice in the structured data")]
    SdTwice,
    #[error("there is no space between structured data and text")]
    Text,
    #[error("this is a further piece of a message longer than max_line.size")]
    Piece,
}

/// Takes `message` apart. With [`Protocol::None`] everything is text.
///
/// # Errors
/// Where the message leaves its form.
pub fn parse<'a>(
    message: &'a [u8],
    protocol: Protocol,
    clock: &Clock,
) -> Result<Message<'a>, ParseError> {
    match protocol {
        Protocol::Rfc5424 => rfc5424::parse(message),
        Protocol::Rfc3164 => rfc3164::parse(message, clock),
        Protocol::Auto if rfc5424::begins(message) => rfc5424::parse(message),
        Protocol::Auto => rfc3164::parse(message, clock),
        Protocol::None => Ok(Message {
            text: message,
            ..Message::empty(Rfc::Rfc3164)
        }),
    }
}

#[cfg(test)]
mod against_syslog_loose;
#[cfg(test)]
mod tests;
