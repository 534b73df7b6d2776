//! What works, and weakens a promise. `check` prints it, the daemon logs it.

mod partitions;

use std::net::IpAddr;

use super::names::broker;
use crate::config::Config;
use crate::kafka::settings::{Acks, Brokers};
use crate::yaml::Problem;

/// The notes on `config`, in no order.
pub fn notes(config: &Config) -> Vec<Problem> {
    let mut notes = Vec::new();
    for to in config.inputs.iter().filter_map(|input| input.to.as_ref()) {
        notes.extend(partitions::notes(to));
        let weakens = match to.acks.value {
            Acks::All => continue,
            Acks::Leader => {
                "a record counts as delivered when one broker has it: it is lost when that broker is lost before the others follow; \
                             without idempotence a retry can repeat and reorder records"
            }
            Acks::None => {
                "a record counts as delivered when it was sent: an outage loses records without a word, and order is not kept"
            }
        };
        notes.push(Problem::new(to.acks.span, "`acks` weaker than `all`").hint(weakens));
    }
    for cluster in &config.clusters {
        match &cluster.brokers {
            Some(brokers) if brokers.value == Brokers::Embedded => notes.push(
                Problem::new(
                    brokers.span,
                    "the embedded broker keeps everything in memory",
                )
                .hint("for a first try only: topics and positions are gone when logferry ends"),
            ),
            Some(brokers) if cluster.tls.is_none() && leaves_the_host(&brokers.value) => {
                if let Some(sasl) = &cluster.sasl {
                    notes
                        .push(Problem::new(sasl.span, "logs in without `tls`").hint(
                            "password and records cross the network readable: add `tls: {}`",
                        ));
                }
            }
            _ => {}
        }
        if let Some(tls) = &cluster.tls
            && !tls.value.verify
        {
            notes.push(
                Problem::new(tls.span, "brokers are not verified")
                    .hint("anyone on the way can read and change everything: `ca_file` is the way to trust a CA of one's own"),
            );
        }
    }
    notes
}

fn leaves_the_host(brokers: &Brokers) -> bool {
    let Brokers::Addresses(addresses) = brokers else {
        return false;
    };
    !addresses
        .iter()
        .filter_map(|address| broker(address))
        .all(|address| {
            let host = address
                .rsplit_once(':')
                .map_or(address.as_str(), |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        })
}
