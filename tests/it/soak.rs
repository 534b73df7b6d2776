//! The killing tests over and over, each time with another seed: `just soak`. Left out of CI; what CI runs is not shortened for it.

use std::time::{Duration, Instant};

use crate::{file_to_kafka, kafka_to_file};

/// How long each soak takes, when `LOGFERRY_SOAK_MINUTES` does not say.
const MINUTES: u64 = 30;

fn again(test: fn()) {
    let minutes = std::env::var("LOGFERRY_SOAK_MINUTES").ok();
    let minutes = minutes
        .and_then(|text| text.parse().ok())
        .unwrap_or(MINUTES);
    let until = Instant::now() + Duration::from_secs(minutes * 60);
    let mut times = 0;
    while Instant::now() < until {
        test();
        times += 1;
    }
    println!("{times} times");
}

#[test]
#[ignore = "a soak: just soak"]
fn kills_on_the_way_into_kafka_for_long() {
    again(file_to_kafka::nothing_is_missing_and_order_is_kept_through_rotations_and_twelve_kills);
}

#[test]
#[ignore = "a soak: just soak"]
fn kills_on_the_way_out_of_kafka_for_long() {
    again(kafka_to_file::each_record_stands_once_in_the_files_through_twelve_kills);
}
