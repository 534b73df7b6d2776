//! What a syslog input is asked for, as it obeys it.

use super::names::Names;
use super::{dress, lines};
use crate::config::{Input, Route, SyslogInput};
use crate::input::syslog::settings::{Listen, ServerTls, SyslogSettings};

/// Of settings that rules have passed.
pub(super) fn settings(
    names: &Names<'_>,
    input: &Input,
    from: &SyslogInput,
    to: &Route,
) -> Option<SyslogSettings> {
    let lines = lines::settings(&from.lines);
    Some(SyslogSettings {
        listen: from
            .listen
            .iter()
            .filter_map(|listen| listen.value.parse().ok())
            .collect::<Vec<Listen>>(),
        tls: from.tls.as_ref().map(|tls| ServerTls {
            cert_file: names.absolute(&tls.cert_file).into(),
            key_file: names.absolute(&tls.key_file).into(),
            client_ca_file: tls
                .client_ca_file
                .as_ref()
                .map(|path| names.absolute(path).into()),
        }),
        framing: from.framing,
        protocol: from.protocol,
        time_zone: from.time_zone.value.clone(),
        max_line: lines.max_line,
        filter: lines.filter,
        max_connections: from.max_connections,
        idle_timeout: from.idle_timeout,
        receive_buffer: from.receive_buffer,
        workers: from.workers.value,
        mode: from.mode,
        owner: from
            .owner
            .as_ref()
            .and_then(|owner| owner.value.parse().ok()),
        filter_of: from.filter_of.as_ref().map(|it| it.value.clone()),
        spool: from.spool,
        dress: dress::settings(names, input, to)?,
    })
}
