//! Which file a record belongs to, mostly without making its path.
//!
//! A path without `{key}` is the same for all records of a partition whose times lie in one step of the template's finest time letter
//! (an hour for `%H`). Such a step is remembered with the number of its file, so that an ordinary record costs a comparison of its topic,
//! its partition and its time, and nothing is allocated or formatted. A few steps are remembered per partition: records that are out of
//! order around the full hour do not make their paths anew.
//!
//! Invariant: what is remembered is what the template would give.

use std::collections::HashMap;

use crate::flow::Consumed;
use crate::output::codec::template::last_header;
use crate::template::{LONGEST_NAME, PathFacts, PathRefusal, PathTemplate, STEADY};

/// How many steps of time are remembered per partition.
const STEPS: usize = 4;

/// Makes paths of records.
#[derive(Debug)]
pub struct PathMaker {
    template: PathTemplate,
    /// Milliseconds after which the path changes; absent when no time stands in it.
    step_ms: Option<i64>,
    by_data: bool,
    /// Whether `step_ms` holds for all times.
    steady: bool,
    reserve: usize,
    lanes: Vec<Lane>,
    by_topic: HashMap<String, HashMap<i32, usize>>,
    /// The lane of the record before.
    last: usize,
    path: Vec<u8>,
}

/// The records of one partition.
#[derive(Debug)]
struct Lane {
    topic: String,
    partition: i32,
    steps: [Step; STEPS],
    /// Which step is forgotten next.
    oldest: usize,
}

/// Times from `start` to `last` (both in it) belong into `file`.
#[derive(Debug, Clone, Copy)]
struct Step {
    start: i64,
    last: i64,
    file: usize,
}

/// A step that no time lies in.
const NOTHING: Step = Step {
    start: i64::MAX,
    last: i64::MIN,
    file: 0,
};

impl PathMaker {
    /// `reserve`: so many bytes can come behind a name.
    pub fn new(template: PathTemplate, reserve: usize) -> Self {
        let step_ms = template
            .time_step()
            .map(|seconds| i64::try_from(seconds).unwrap_or(1).saturating_mul(1000));
        Self {
            by_data: template.uses_data(),
            steady: template.is_utc(),
            template,
            step_ms,
            reserve,
            lanes: Vec::new(),
            by_topic: HashMap::new(),
            last: 0,
            path: Vec::new(),
        }
    }

    /// Whether data of a record beside its topic and time stands in the path.
    pub fn by_data(&self) -> bool {
        self.by_data
    }

    /// A small number for the record's partition, always the same.
    #[inline]
    pub fn lane(&mut self, topic: &str, partition: i32) -> usize {
        match self.lanes.get(self.last) {
            Some(lane) if lane.partition == partition && lane.topic == topic => self.last,
            _ => self.find_lane(topic, partition),
        }
    }

    /// Topic and partition of a lane.
    pub fn partition_of(&self, lane: usize) -> (&str, i32) {
        let lane = &self.lanes[lane];
        (&lane.topic, lane.partition)
    }

    /// The file of a record in `lane`, when it is remembered.
    #[inline]
    pub fn remembered(&self, lane: usize, time_ms: i64) -> Option<usize> {
        let steps = &self.lanes[lane].steps;
        let step = steps
            .iter()
            .find(|step| step.start <= time_ms && time_ms <= step.last)?;
        Some(step.file)
    }

    /// Makes the path of the record at `index`.
    ///
    /// # Errors
    /// When its own parts make no path below the template's literal folder.
    pub fn make(&mut self, records: &dyn Consumed, index: usize) -> Result<&[u8], PathRefusal> {
        self.path.clear();
        let record = records.get(index);
        let header = |name: &str, out: &mut Vec<u8>| last_header(records, index, name, out);
        let facts = PathFacts {
            topic: record.topic,
            partition: record.partition,
            key: record.key,
            time_ms: record.timestamp_ms,
            header: &header,
        };
        self.template.render(&facts, &mut self.path)?;
        let name = memchr::memrchr(b'/', &self.path).map_or(0, |at| at + 1);
        if self.path.len() - name + self.reserve > LONGEST_NAME {
            return Err(PathRefusal::LongName);
        }
        Ok(&self.path)
    }

    /// Records of `lane` around this time belong into `file`.
    pub fn remember(&mut self, lane: usize, time_ms: i64, file: usize) {
        if self.by_data || (!self.steady && time_ms < STEADY) {
            return;
        }
        let (start, last) = match self.step_ms {
            None => (i64::MIN, i64::MAX),
            Some(step) => {
                let start = time_ms.div_euclid(step).saturating_mul(step);
                (start, start.saturating_add(step - 1))
            }
        };
        let lane = &mut self.lanes[lane];
        lane.steps[lane.oldest] = Step { start, last, file };
        lane.oldest = (lane.oldest + 1) % STEPS;
    }

    /// Forgets all files; lanes keep their numbers.
    pub fn forget(&mut self) {
        for lane in &mut self.lanes {
            lane.steps = [NOTHING; STEPS];
        }
    }

    #[cold]
    fn find_lane(&mut self, topic: &str, partition: i32) -> usize {
        let known = self
            .by_topic
            .get(topic)
            .and_then(|lanes| lanes.get(&partition));
        self.last = match known {
            Some(lane) => *lane,
            None => {
                let lane = self.lanes.len();
                self.lanes.push(Lane {
                    topic: topic.to_owned(),
                    partition,
                    steps: [NOTHING; STEPS],
                    oldest: 0,
                });
                let lanes = self.by_topic.entry(topic.to_owned()).or_default();
                lanes.insert(partition, lane);
                lane
            }
        };
        self.last
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flow::{RecordView, TimestampKind};

    /// 2026-11-21T07:00:00Z.
    const SEVEN: i64 = 1_795_244_400_000;

    fn record(topic: &'static str, partition: i32, timestamp_ms: i64) -> RecordView<'static> {
        RecordView {
            topic,
            partition,
            offset: 0,
            timestamp_ms,
            timestamp_kind: TimestampKind::Create,
            key: Some(b"k"),
            value: None,
        }
    }

    struct One(RecordView<'static>);

    impl Consumed for One {
        fn len(&self) -> usize {
            1
        }

        fn get(&self, _: usize) -> RecordView<'_> {
            self.0
        }

        fn headers(&self, _: usize, each: &mut dyn FnMut(&str, Option<&[u8]>)) {
            each("tenant", Some(b"acme"));
        }
    }

    /// Files are numbered by their paths, as the writer does it.
    #[derive(Default)]
    struct Paths(Vec<String>);

    impl Paths {
        fn of(&mut self, maker: &mut PathMaker, record: &RecordView<'static>) -> (&str, bool) {
            let lane = maker.lane(record.topic, record.partition);
            if let Some(file) = maker.remembered(lane, record.timestamp_ms) {
                return (&self.0[file], true);
            }
            let path = maker.make(&One(*record), 0).unwrap().to_vec();
            let path = String::from_utf8(path).unwrap();
            let known = self.0.iter().position(|known| *known == path);
            let file = known.unwrap_or_else(|| {
                self.0.push(path);
                self.0.len() - 1
            });
            maker.remember(lane, record.timestamp_ms, file);
            (&self.0[file], false)
        }
    }

    #[test]
    fn records_out_of_order_around_the_hour_go_to_their_hour_without_a_new_path() {
        let template = PathTemplate::parse("/srv/{topic}/{partition}/%Y%m%dT%H.log").unwrap();
        let (mut maker, mut paths) = (PathMaker::new(template, 0), Paths::default());
        let mut at = |ms: i64| {
            let (path, remembered) = paths.of(&mut maker, &record("web", 3, SEVEN + ms));
            (path.to_owned(), remembered)
        };
        assert_eq!(at(-1), ("/srv/web/3/20261121T06.log".to_owned(), false));
        assert_eq!(at(0), ("/srv/web/3/20261121T07.log".to_owned(), false));
        assert_eq!(at(-5), ("/srv/web/3/20261121T06.log".to_owned(), true));
        assert_eq!(
            at(3_599_999),
            ("/srv/web/3/20261121T07.log".to_owned(), true)
        );
        assert_eq!(
            at(3_600_000),
            ("/srv/web/3/20261121T08.log".to_owned(), false)
        );
    }

    #[test]
    fn a_path_by_key_or_header_is_made_for_every_record() {
        for (template, path) in [
            ("/srv/{key}.log", "/srv/k.log"),
            ("/srv/{header.tenant}.log", "/srv/acme.log"),
        ] {
            let template = PathTemplate::parse(template).unwrap();
            let (mut maker, mut paths) = (PathMaker::new(template, 0), Paths::default());
            for _ in 0..2 {
                let made = paths.of(&mut maker, &record("web", 3, SEVEN));
                assert_eq!(made, (path, false));
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_remembered_is_what_the_template_gives(
            template in proptest::sample::select(vec!["/a/{topic}/%Y-%m-%d", "/a/{partition}-%H%M", "/a/x", "/a/{topic}-%S"]),
            zone in proptest::sample::select(vec!["UTC", "Europe/Berlin", "Asia/Kathmandu", "Africa/Monrovia"]),
            start in proptest::sample::select(vec![0, SEVEN, 63_590_000_000]),
            records in proptest::collection::vec((0..3usize, 0..3i32, -90_000_000..90_000_000i64), 1..60),
            forget in 0..60usize,
        ) {
            let zone = crate::value::zone(zone).unwrap();
            let template = PathTemplate::parse(template).unwrap().in_zone(zone);
            let (mut maker, mut paths) = (PathMaker::new(template.clone(), 0), Paths::default());
            for (n, (topic, partition, ms)) in records.into_iter().enumerate() {
                if n == forget {
                    maker.forget();
                }
                let ms = start + ms;
                let record = record(["a", "b", "cc"][topic], partition, ms);
                let mut expected = Vec::new();
                let facts = PathFacts {
                    topic: record.topic,
                    partition,
                    key: record.key,
                    time_ms: ms,
                    header: &|_, _| false,
                };
                template.render(&facts, &mut expected).unwrap();
                prop_assert_eq!(paths.of(&mut maker, &record).0.as_bytes(), &expected[..]);
            }
        }
    }
}
