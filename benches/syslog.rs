//! The parser of syslog messages: how many it takes apart in a second, on one core.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jiff::tz::TimeZone;
use logferry::input::syslog::parse::{Clock, Moment, Protocol, parse};

const MESSAGES: [(&str, &[u8]); 3] = [
    (
        "rfc5424 with structured data",
        b"<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog 8710 ID47 [exampleSDID@32473 iut=\"3\" eventSource=\"Application\" eventID=\"1011\"] An application event log entry",
    ),
    (
        "rfc5424",
        b"<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - 'su root' failed for lonvick on /dev/pts/8",
    ),
    (
        "rfc3164",
        b"<34>Oct 11 22:14:15 mymachine su[10]: 'su root' failed for lonvick on /dev/pts/8",
    ),
];

fn parser(criterion: &mut Criterion) {
    let clock = Clock::new(TimeZone::UTC, Moment(1_795_244_400_000_000));
    let mut group = criterion.benchmark_group("syslog");
    group.throughput(Throughput::Elements(1));
    for (name, message) in MESSAGES {
        group.bench_function(name, |bench| {
            bench.iter(|| parse(black_box(message), Protocol::Auto, &clock));
        });
    }
    group.finish();
}

criterion_group!(benches, parser);
criterion_main!(benches);
