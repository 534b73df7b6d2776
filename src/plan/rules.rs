//! What must hold between the parts of a configuration, one function each.
//!
//! To add a rule: one function here or in a file of this folder, its name in [`RULES`], one file in `tests/data/bad/` with what is then printed.
//!
//! Invariant: rules are independent. Each sees the whole configuration, and says nothing about a value whose problem was reported already.

mod amounts;
mod assigned;
mod delivery;
mod dress;
mod files;
mod lines;
mod outputs;
mod pack;
mod partitions;
mod syslog;
mod texts;

use super::names::{Names, broker};
use super::properties::owner;
use crate::config::{Consume, From, Input, Property};
use crate::kafka::settings::Brokers;
use crate::yaml::{Problem, nearest};
use amounts::{
    batches_fit, levels_fit_their_codec, lines_fit_into_records, lines_fit_into_their_share,
};
use assigned::{
    named_partitions_are_of_the_topics, named_partitions_need_no_balancing, share_a_partition,
};
use delivery::{exactly_once_has_what_it_needs, outputs_exactly_once_have_what_they_need};
use dress::{
    fields_are_of_json, fields_of_lines_are_few, headers_and_values_are_templates,
    missing_topics_are_named_by_data, times_come_from_events,
};
use files::{
    data_dir_is_left_alone, globs_are_globs, inputs_do_not_read_what_outputs_write,
    outputs_do_not_share_files, paths_are_templates,
};
use lines::{
    encodings_are_known, expressions_are_regular, groups_have_one_rule, line_ends_can_be_found,
};
use outputs::{
    brokers_know_the_protocol, files_are_what_their_names_say, lines_are_templates,
    retention_has_files_to_keep, rotation_has_a_reason, starts_are_places,
    suffixes_are_parts_of_names,
};
use pack::packs_hold_lines_as_they_are;
use partitions::{manual_goes_with_a_partition, partitions_can_be_numbers, places_are_templates};
use syslog::{
    filters_look_at_something, listeners_are_addresses, listeners_do_not_meet,
    owners_are_users_and_groups, time_zones_are_known, tls_has_its_certificate,
    workers_have_something_to_share,
};
use texts::{
    consumer_options_are_templates, groups_are_names, keys_are_templates,
    outputs_leave_positions_alone, the_id_is_a_name, topics_of_inputs_are_names,
    topics_of_outputs_are_names,
};

type Rule = fn(&Names<'_>, &mut Vec<Problem>);

pub(super) const RULES: &[Rule] = &[
    there_is_something_to_do,
    the_id_is_a_name,
    clusters_exist,
    brokers_are_addresses,
    the_embedded_broker_is_plain,
    client_certificates_have_keys,
    tokens_are_asked_for_somewhere,
    properties_are_not_owned,
    globs_are_globs,
    topics_of_inputs_are_names,
    keys_are_templates,
    topics_of_outputs_are_names,
    groups_are_names,
    consumer_options_are_templates,
    paths_are_templates,
    standard_input_is_read_once,
    encodings_are_known,
    line_ends_can_be_found,
    groups_have_one_rule,
    expressions_are_regular,
    levels_fit_their_codec,
    lines_fit_into_records,
    lines_fit_into_their_share,
    batches_fit,
    exactly_once_has_what_it_needs,
    outputs_exactly_once_have_what_they_need,
    rotation_has_a_reason,
    suffixes_are_parts_of_names,
    files_are_what_their_names_say,
    lines_are_templates,
    retention_has_files_to_keep,
    starts_are_places,
    brokers_know_the_protocol,
    inputs_do_not_read_what_outputs_write,
    data_dir_is_left_alone,
    outputs_do_not_share_files,
    outputs_do_not_share_groups,
    named_partitions_are_of_the_topics,
    named_partitions_need_no_balancing,
    outputs_leave_positions_alone,
    listeners_are_addresses,
    listeners_do_not_meet,
    tls_has_its_certificate,
    time_zones_are_known,
    owners_are_users_and_groups,
    workers_have_something_to_share,
    filters_look_at_something,
    places_are_templates,
    manual_goes_with_a_partition,
    partitions_can_be_numbers,
    headers_and_values_are_templates,
    missing_topics_are_named_by_data,
    fields_of_lines_are_few,
    times_come_from_events,
    fields_are_of_json,
    packs_hold_lines_as_they_are,
];

fn there_is_something_to_do(names: &Names<'_>, problems: &mut Vec<Problem>) {
    if names.config.inputs.is_empty() && names.config.outputs.is_empty() {
        problems.push(
            Problem::of_file("there is nothing to do: neither `inputs` nor `outputs`")
                .hint("for example `inputs: { app: { from: { type: file, paths: [/var/log/app.log] }, to: { topic: app } } }`"),
        );
    }
}

fn clusters_exist(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let known: Vec<_> = names
        .config
        .clusters
        .iter()
        .map(|cluster| cluster.name.value.as_str())
        .collect();
    let inputs = names
        .config
        .inputs
        .iter()
        .filter_map(|input| input.to.as_ref())
        .map(|to| (to.span, to.cluster.as_ref()));
    let outputs = names
        .config
        .outputs
        .iter()
        .filter_map(|output| output.from.as_ref())
        .map(|from| (from.span, from.cluster.as_ref()));
    for (section, named) in inputs.chain(outputs) {
        if names.cluster(named).is_some() {
            continue;
        }
        problems.push(match named {
            _ if known.is_empty() => Problem::new(
                named.map_or(section, |name| name.span),
                "there is no cluster",
            )
            .hint("for example `clusters: { main: { brokers: [kafka-1:9092] } }`"),
            Some(name) => {
                let hint = nearest(&name.value, known.iter().copied()).map_or_else(
                    || format!("the clusters are {}", known.join(", ")),
                    |meant| format!("did you mean `{meant}`?"),
                );
                Problem::new(name.span, format!("no cluster is called `{}`", name.value)).hint(hint)
            }
            None => Problem::new(section, "`cluster` is missing here")
                .hint(format!("there are {}", known.join(", "))),
        });
    }
}

fn brokers_are_addresses(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let addresses = names
        .config
        .clusters
        .iter()
        .flat_map(|cluster| &cluster.addresses);
    for address in addresses.filter(|address| broker(&address.value).is_none()) {
        problems.push(
            Problem::new(
                address.span,
                format!("`{}` is not the address of a broker", address.value),
            )
            .hint("write HOST:PORT, like `kafka-1:9092` or `[::1]:9092`"),
        );
    }
}

fn the_embedded_broker_is_plain(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for cluster in &names.config.clusters {
        if !matches!(&cluster.brokers, Some(brokers) if brokers.value == Brokers::Embedded) {
            continue;
        }
        let tls = cluster.tls.as_ref().map(|tls| (tls.span, "tls"));
        let sasl = cluster.sasl.as_ref().map(|sasl| (sasl.span, "sasl"));
        for (span, key) in [tls, sasl].into_iter().flatten() {
            problems.push(
                Problem::new(span, format!("the embedded broker has no `{key}`"))
                    .hint("leave the key out"),
            );
        }
    }
}

fn client_certificates_have_keys(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for tls in names
        .config
        .clusters
        .iter()
        .filter_map(|cluster| cluster.tls.as_ref())
    {
        let missing = match (&tls.value.cert_file, &tls.value.key_file) {
            (Some(_), None) => "`cert_file` needs its `key_file`",
            (None, Some(_)) => "`key_file` needs its `cert_file`",
            (None, None) if tls.value.key_password.is_some() => {
                "`key_password` needs its `key_file`"
            }
            _ => continue,
        };
        problems.push(
            Problem::new(tls.span, missing).hint("a client's certificate is both, or neither"),
        );
    }
}

fn tokens_are_asked_for_somewhere(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for sasl in names
        .config
        .clusters
        .iter()
        .filter_map(|it| it.sasl.as_ref())
    {
        let has_tokens = sasl.value.mechanism == "OAUTHBEARER";
        let problem = match (&sasl.value.token_url, &sasl.value.scope) {
            (None, _) if has_tokens => (
                "`OAUTHBEARER` needs a `token_url`",
                "where tokens are asked for, like `https://login.example.com/oauth2/token`",
            ),
            (Some(_), _) | (_, Some(_)) if !has_tokens => (
                "`token_url` and `scope` are of the mechanism `OAUTHBEARER`",
                "leave them out",
            ),
            (Some(_), _) if !cfg!(feature = "oidc") => (
                "this build cannot ask for tokens",
                "it needs libcurl: build it with `cargo build --release --features oidc`",
            ),
            _ => continue,
        };
        problems.push(Problem::new(sasl.span, problem.0).hint(problem.1));
    }
}

fn properties_are_not_owned(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let clusters = names.config.clusters.iter().map(|cluster| &cluster.options);
    let outputs = names
        .config
        .outputs
        .iter()
        .filter_map(|output| output.from.as_ref())
        .map(|from| &from.options);
    for Property { name, .. } in clusters.chain(outputs).flatten() {
        if let Some(instead) = owner(&name.value) {
            problems.push(
                Problem::new(name.span, format!("logferry sets `{}` itself", name.value))
                    .hint(instead),
            );
        }
    }
}

fn standard_input_is_read_once(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let mut first: Option<&Input> = None;
    for input in &names.config.inputs {
        if let Some(From::Stdin { span, .. }) = &input.from {
            match first {
                Some(first) => problems.push(
                    Problem::new(*span, "standard input is read by two inputs")
                        .hint(format!("`{}` reads it already", first.name.value)),
                ),
                None => first = Some(input),
            }
        }
    }
}

fn outputs_do_not_share_groups(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let mut before: Vec<(&str, &str, String, &Consume)> = Vec::new();
    for output in &names.config.outputs {
        let Some(from) = &output.from else { continue };
        let (Some(written), Some(group)) = (&from.group, names.group(from)) else {
            continue;
        };
        let Some(cluster) = names.cluster(from.cluster.as_ref()) else {
            continue;
        };
        let cluster = cluster.name.value.as_str();
        let mut same = before
            .iter()
            .filter(|(_, at, named, _)| *at == cluster && *named == group);
        if let Some((other, hint)) =
            same.find_map(|(other, _, _, theirs)| Some((other, share_a_partition(theirs, from)?)))
        {
            problems.push(
                Problem::new(
                    written.span,
                    format!("the output `{other}` is in the group `{group}` too"),
                )
                .hint(hint),
            );
        }
        before.push((&output.name.value, cluster, group, from));
    }
}
