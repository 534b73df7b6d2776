//! `logferry schema`: the configuration as JSON Schema.

use std::process::ExitCode;

use super::complain;
use super::exit::ExitStatus;

pub(super) fn schema() -> ExitCode {
    match serde_json::to_string_pretty(&crate::config::schema()) {
        Ok(text) => super::print(format!("{text}\n").as_bytes()),
        Err(error) => {
            complain(&format!("logferry: cannot write the schema: {error}"));
            ExitStatus::Internal.into()
        }
    }
}
