//! Rules about syslog: what is listened on.

use std::net::{IpAddr, SocketAddr};

use crate::config::{From, SyslogInput};
use crate::input::syslog::settings::Listen;
use crate::plan::names::Names;
use crate::yaml::{Problem, Spanned};

fn all<'a>(names: &Names<'a>) -> impl Iterator<Item = (&'a str, &'a SyslogInput)> + use<'a> {
    let inputs = names.config.inputs.iter();
    inputs.filter_map(|input| match &input.from {
        Some(From::Syslog(syslog)) => Some((input.name.value.as_str(), &**syslog)),
        _ => None,
    })
}

pub(super) fn listeners_are_addresses(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for listen in all(names).flat_map(|(_, syslog)| &syslog.listen) {
        if let Err(hint) = listen.value.parse::<Listen>() {
            let what = format!("`{}` is nothing to listen on", listen.value);
            problems.push(Problem::new(listen.span, what).hint(hint));
        }
    }
}

pub(super) fn listeners_do_not_meet(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let mut before: Vec<(&str, Listen)> = Vec::new();
    let admin = names.config.admin_listen;
    for (input, listen) in
        all(names).flat_map(|(input, syslog)| syslog.listen.iter().map(move |it| (input, it)))
    {
        let Ok(parsed) = listen.value.parse::<Listen>() else {
            continue;
        };
        let taken = |what: &str| {
            Problem::new(listen.span, format!("`{}` is taken: {what}", listen.value))
                .hint("each needs an address of its own")
        };
        if let Some((other, _)) = before.iter().find(|(_, other)| meet(other, &parsed)) {
            problems.push(taken(&format!("the input `{other}` listens there")));
        } else if let (Listen::Tcp(address) | Listen::Tls(address), Some(admin)) = (&parsed, admin)
            && same_place(address, &admin)
        {
            problems.push(taken("it is the port of `admin`"));
        }
        before.push((input, parsed));
    }
}

/// Whether one of them would find the other in its place.
fn meet(one: &Listen, other: &Listen) -> bool {
    match (one, other) {
        (Listen::Udp(one), Listen::Udp(other)) => same_place(one, other),
        (Listen::Tcp(one) | Listen::Tls(one), Listen::Tcp(other) | Listen::Tls(other)) => {
            same_place(one, other)
        }
        (
            Listen::UnixStream(one) | Listen::UnixDatagram(one),
            Listen::UnixStream(other) | Listen::UnixDatagram(other),
        ) => one == other,
        (Listen::Systemd, Listen::Systemd) => true,
        _ => false,
    }
}

fn same_place(one: &SocketAddr, other: &SocketAddr) -> bool {
    let all = |ip: &IpAddr| ip.is_unspecified();
    let meet = match (one.ip(), other.ip()) {
        (IpAddr::V6(six), IpAddr::V4(_)) | (IpAddr::V4(_), IpAddr::V6(six)) => {
            // `[::]` takes IPv4 too.
            six.is_unspecified()
        }
        (one, other) => one == other || all(&one) || all(&other),
    };
    one.port() != 0 && one.port() == other.port() && meet
}

pub(super) fn tls_has_its_certificate(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for (_, syslog) in all(names) {
        let is_tls = |it: &&Spanned<String>| matches!(it.value.parse(), Ok(Listen::Tls(_)));
        match (syslog.listen.iter().find(is_tls), &syslog.tls) {
            (Some(listen), None) => problems.push(
                Problem::new(listen.span, "`tls://` needs a certificate")
                    .hint("add `tls: { cert_file: PATH, key_file: PATH }` beside `listen`"),
            ),
            (None, Some(tls)) => problems.push(
                Problem::new(tls.span, "`tls` without a `tls://` to listen on")
                    .hint("leave it out, or add one to `listen`"),
            ),
            _ => {}
        }
    }
}
