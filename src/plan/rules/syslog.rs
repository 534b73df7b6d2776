//! Rules about syslog: what is listened on, by whom, and how times are read.

use std::net::{IpAddr, SocketAddr};

use super::texts::of_template_error;
use crate::config::{From, SyslogInput};
use crate::input::syslog::settings::{Listen, Owner};
use crate::plan::names::Names;
use crate::template::{Part, Template};
use crate::value::{zone, zones};
use crate::yaml::{Problem, Spanned, nearest};

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

/// The same database of the system that a start would ask.
pub(super) fn time_zones_are_known(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let of_inputs = all(names).map(|(_, syslog)| &syslog.time_zone);
    let outputs = names.config.outputs.iter();
    let of_outputs = outputs.filter_map(|output| Some(&output.to.as_ref()?.time_zone));
    for name in of_inputs.chain(of_outputs) {
        if zone(&name.value).is_ok() {
            continue;
        }
        let known = zones();
        let near = nearest(&name.value, known.iter().map(String::as_str));
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`local`, `UTC`, or a name of the IANA's database like `Europe/Berlin`; on this host those of /usr/share/zoneinfo".to_owned(),
        };
        problems.push(
            Problem::new(
                name.span,
                format!("the time zone `{}` is not known", name.value),
            )
            .hint(hint),
        );
    }
}

pub(super) fn owners_are_users_and_groups(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for (_, syslog) in all(names) {
        let Some(owner) = &syslog.owner else { continue };
        if let Err(hint) = owner.value.parse::<Owner>() {
            let what = format!("`{}` cannot own a socket", owner.value);
            problems.push(Problem::new(owner.span, what).hint(hint));
        }
    }
}

pub(super) fn workers_have_something_to_share(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for (_, syslog) in all(names).filter(|(_, syslog)| syslog.workers.value > 1) {
        let is_shared = |it: &Spanned<String>| {
            matches!(
                it.value.parse(),
                Ok(Listen::Udp(_) | Listen::Tcp(_) | Listen::Tls(_))
            )
        };
        if syslog.spool.is_some() {
            problems.push(
                Problem::new(syslog.workers.span, "an input with a spool has one worker")
                    .hint("a spool keeps one order; leave `workers` or `spool` out, or make several inputs with addresses of their own"),
            );
        } else if !syslog.listen.iter().any(is_shared) {
            problems.push(
                Problem::new(
                    syslog.workers.span,
                    "there is nothing that several workers could share",
                )
                .hint("only `udp://`, `tcp://` and `tls://` can be; leave `workers` out"),
            );
        }
    }
}

pub(super) fn filters_look_at_something(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for (_, syslog) in all(names) {
        let Some(of) = &syslog.filter_of else {
            continue;
        };
        if let Err(error) = Template::parse(&of.value, Part::SYSLOG) {
            problems.push(of_template_error(of, error));
        } else if syslog.lines.include.is_none() && syslog.lines.exclude.is_none() {
            problems.push(
                Problem::new(of.span, "`of` without an expression that looks at it")
                    .hint("add `include` or `exclude`"),
            );
        }
    }
}
