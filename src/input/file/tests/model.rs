//! Random steps on a real file system, against a model of what must arrive and what may be lost.
//!
//! Every line has a number of its own. The model keeps *generations*, the texts that stood in a file between two cuts, and which files hold
//! how much of them. From that follows for every line, whenever the reader has caught up:
//!
//! | its bytes | then it |
//! |---|---|
//! | stand in a file that can be reached, or stood in one that was followed when it was deleted | must have arrived |
//! | are gone, and the reader had seen them, and it ran all the time | has arrived, or its bytes are counted as lost |
//! | are gone otherwise | may have arrived |
//!
//! Beside that: no line arrives broken, or twice (after a kill those may that no saved position had passed), lines of a generation arrive in
//! order, no saved position passes a line that was not settled, and the books agree with what was taken, what is on disk and what is gone.
//!
//! `LOGFERRY_SEED=7 cargo test model` runs one seed, `LOGFERRY_SEED=random` new ones; `LOGFERRY_SEEDS` says how many, `LOGFERRY_STEPS` how
//! many steps each has. `LOGFERRY_STRICT=1` demands more than is promised of generations that were cut before anything was read of them, and
//! `LOGFERRY_MIXED=1` mixes both kinds of rotation in one log. `LOGFERRY_LOG=debug` shows what the input says between the steps.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Rig;
use crate::flow::{Batch, Outcome, Received};
use crate::input::file::facts::Fact;
use crate::input::file::identity::{HEAD, TAIL, print};
use crate::input::file::look::Look;
use crate::input::file::rotate::rotated_from;
use crate::input::file::settings::Watch;

mod compress;

use self::compress::{Compress, Job, Packed};

const APPS: usize = 3;
/// Rotated files of one application that are kept.
const KEEP: usize = 5;
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn every_line_arrives_once_or_is_counted_whatever_happens_to_the_files() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    if let Ok(filter) = std::env::var("LOGFERRY_LOG") {
        let told = tracing_subscriber::fmt().with_env_filter(filter);
        told.with_writer(std::io::stderr).init();
    }
    let is_random = std::env::var("LOGFERRY_SEED").is_ok_and(|seed| seed == "random");
    let first = match number("LOGFERRY_SEED") {
        Some(seed) => seed,
        None if is_random => Look::at(Path::new("/proc/self"))
            .unwrap()
            .stamp
            .1
            .unsigned_abs(),
        None => 0,
    };
    let one = number("LOGFERRY_SEED").map(|_| 1);
    let seeds = number("LOGFERRY_SEEDS").or(one).unwrap_or(80);
    let steps = number("LOGFERRY_STEPS").unwrap_or(250);
    let next = Arc::new(AtomicU64::new(first));
    let work = |_| {
        let next = next.clone();
        let worker = std::thread::Builder::new().name("model".into());
        let spawned = worker.spawn(move || {
            loop {
                let seed = next.fetch_add(1, Ordering::SeqCst);
                if seed >= first + seeds {
                    break;
                }
                World::new(seed).run(steps);
            }
        });
        spawned.unwrap()
    };
    let workers: Vec<_> = (0..seeds.min(6)).map(work).collect();
    for worker in workers {
        assert!(worker.join().is_ok(), "see above");
    }
}

/// A small generator of random numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % below as u64).unwrap()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Whether something of a generation is behind one of these positions.
fn has_some(positions: &[(usize, usize)], of: usize) -> bool {
    let mut positions = positions.iter();
    positions.any(|(generation, offset)| *generation == of && *offset > 0)
}

/// How an application's log is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Rename,
    Copy,
    Mixed,
}

struct App {
    style: Style,
    /// Rotated files are numbered, youngest first; else they have a date.
    is_numbered: bool,
    rotations: usize,
    compress: Compress,
    job: Option<Job>,
    /// The reader knows some file of it: from then on it finds those that were rotated before it saw them.
    is_known: bool,
}

/// What was written into one file between two cuts.
struct Generation {
    app: usize,
    text: String,
    lines: Vec<usize>,
    /// The last line is not ended yet.
    is_half: bool,
    /// The latest line that arrived for the first time.
    last: usize,
    /// So many of its lines are settled, in one piece.
    settled: usize,
    /// What the files had that were deleted: a half line that ended there may arrive.
    ends: Vec<usize>,
    /// It was read beyond its copy, and nobody knows yet that it was cut.
    is_beyond_copy: bool,
    /// It was much more than its copy: that cannot be known as one.
    has_short_copy: bool,
    /// Nothing of it was read when it was cut: only names and dates can tell where it went.
    is_doubtful: bool,
    /// It was written just before anything was saved, and compressed under a name that is not looked for: what was read of it is forgotten.
    is_forgotten: bool,
}

struct Line {
    generation: usize,
    start: usize,
    /// Behind its line end, once it has one.
    end: Option<usize>,
    /// All applications' headers are alike: they are only counted.
    is_header: bool,
    arrivals: u32,
    allowed: u32,
    is_settled: bool,
    /// A saved position had passed it when the last run began.
    is_saved: bool,
    /// The last run that it arrived in.
    run: u32,
}

type FileId = (u64, Option<i64>);

/// A file: how much of which generation it holds.
#[derive(Debug, Clone, Copy)]
struct OnDisk {
    generation: usize,
    len: usize,
    id: FileId,
    is_copy: bool,
    /// What it was called in the ledgers when it was cut.
    cut: u64,
    /// It was rotated before anybody ever looked, to a name that is not looked for.
    is_nobodys: bool,
    packed: Option<Packed>,
}

/// What was taken from a file or with one, in this run.
#[derive(Debug, Clone, Copy, Default)]
struct Gone {
    len: usize,
    /// So much the reader had seen.
    seen: usize,
}

struct World {
    seed: u64,
    random: Random,
    rig: Rig,
    apps: Vec<App>,
    finds_rotated: bool,
    kills: bool,
    generations: Vec<Generation>,
    lines: Vec<Line>,
    headers: [usize; APPS],
    headers_arrived: [usize; APPS],
    disk: BTreeMap<String, OnDisk>,
    generations_at: HashMap<FileId, Vec<usize>>,
    /// Deleted in this run while they were followed.
    held: BTreeMap<usize, usize>,
    gone: BTreeMap<usize, Gone>,
    /// What compressed files had that were deleted in this run.
    packed_gone: u64,
    pending: Vec<(Batch, Vec<usize>)>,
    taken_bytes: u64,
    run: u32,
    killed: bool,
    /// When the latest position was saved that the run began with, in milliseconds since 1970.
    saved_until: i64,
    /// Doubtful generations must arrive, too.
    is_strict: bool,
    steps: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        (0..9).for_each(|_| _ = random.below(2));
        let finds_rotated = random.one_in(2);
        let pattern = if finds_rotated {
            "app*.log*"
        } else {
            "app*.log"
        };
        let mut rig = Rig::new(&[pattern]);
        rig.timing.deleted_for = Duration::from_millis(20);
        rig.timing.copy_for = Duration::from_secs(3600);
        rig.memory = [1, 1, 600_000, 16 << 20][random.below(4)];
        if random.one_in(3) {
            rig.settings.watch = Watch::Poll;
        }
        let styles = [Style::Rename, Style::Copy, Style::Mixed];
        let mixed = usize::from(std::env::var_os("LOGFERRY_MIXED").is_some());
        let apps = (0..APPS).map(|_| App {
            style: styles[random.below(2 + mixed)],
            is_numbered: random.one_in(2),
            rotations: 0,
            compress: Compress::some(&mut random),
            job: None,
            is_known: false,
        });
        let apps = apps.collect();
        let kills = random.one_in(2);
        Self {
            seed,
            random,
            rig,
            apps,
            finds_rotated,
            kills,
            generations: Vec::new(),
            lines: Vec::new(),
            headers: [0; APPS],
            headers_arrived: [0; APPS],
            disk: BTreeMap::new(),
            generations_at: HashMap::new(),
            held: BTreeMap::new(),
            gone: BTreeMap::new(),
            packed_gone: 0,
            pending: Vec::new(),
            taken_bytes: 0,
            run: 0,
            killed: false,
            saved_until: 0,
            is_strict: std::env::var_os("LOGFERRY_STRICT").is_some(),
            steps: Vec::new(),
        }
    }

    fn run(mut self, steps: u64) {
        for app in 0..APPS {
            self.write(app, 1, false);
        }
        self.start();
        self.catch_up();
        for _ in 0..steps {
            self.step();
            self.check();
        }
        if self.rig.running.is_none() {
            self.start();
        }
        self.catch_up();
        self.stop();
        // Nothing is left to be read, nor read again.
        self.start();
        self.catch_up();
        self.stop();
    }

    fn step(&mut self) {
        let app = self.random.below(APPS);
        let is_running = self.rig.running.is_some();
        match self.random.below(106) {
            0..30 => {
                let count = self.some_lines();
                let is_half = self.random.one_in(3);
                self.write(app, count, is_half);
            }
            30..45 => self.rotate_some(app),
            45..49 => self.truncate(app),
            49..52 => self.delete(app),
            52..56 => self.recreate(app),
            56..60 => self.write_late(app),
            60..63 => self.delete_oldest(app, 0),
            63..68 if is_running => self.look(),
            68..72 if is_running => {
                self.note("take".into());
                self.take();
            }
            72..78 if is_running => {
                self.take();
                self.settle_some();
            }
            78..82 if is_running => self.save(),
            82..88 if is_running => self.breathe(),
            88..92 if is_running => self.catch_up(),
            92..96 if is_running && self.random.one_in(2) => self.restart(),
            63..96 if !is_running && self.random.one_in(3) => self.start(),
            96..98 if is_running && self.random.one_in(4) => {
                self.end();
            }
            100..106 => self.compress_some(app),
            _ => {}
        }
    }

    fn some_lines(&mut self) -> usize {
        match self.random.below(12) {
            0..7 => 1 + self.random.below(4),
            7..11 => 10 + self.random.below(60),
            _ => 300 + self.random.below(300),
        }
    }

    // What is done to files.

    fn live(app: usize) -> String {
        format!("app{app}.log")
    }

    fn generation(&mut self, app: usize) -> usize {
        self.generations.push(Generation {
            app,
            text: String::new(),
            lines: Vec::new(),
            is_half: false,
            last: 0,
            settled: 0,
            ends: Vec::new(),
            is_beyond_copy: false,
            has_short_copy: false,
            is_doubtful: false,
            is_forgotten: false,
        });
        self.generations.len() - 1
    }

    /// Notes a file that was just made.
    fn made(&mut self, name: &str, generation: usize, len: usize, is_copy: bool) {
        let look = Look::at(&self.rig.path(name)).unwrap().id;
        let id = (look.inode, look.birth);
        let file = OnDisk {
            generation,
            len,
            id,
            is_copy,
            cut: 0,
            is_nobodys: false,
            packed: None,
        };
        self.disk.insert(name.to_owned(), file);
        let there = self.generations_at.entry(id).or_default();
        there.push(generation);
    }

    /// Lines for a generation; only `text` knows of them so far.
    fn compose(&mut self, generation: usize, count: usize, is_half: bool) -> String {
        let app = self.generations[generation].app;
        let is_long = self.random.one_in(8);
        let from = self.generations[generation].text.len();
        let mut text = String::new();
        if self.generations[generation].is_half {
            text.push_str("-end\n");
            let last = *self.generations[generation].lines.last().unwrap();
            self.lines[last].end = Some(from + text.len());
        }
        for at in 0..count {
            let number = self.lines.len();
            let start = from + text.len();
            let pad = self.random.below(if is_long { 2000 } else { 40 });
            write!(text, "{app}-{number:07}-{}", "x".repeat(pad)).unwrap();
            let is_half = is_half && at + 1 == count;
            if !is_half {
                text.push_str("-end\n");
            }
            let end = (!is_half).then_some(from + text.len());
            self.add_line(generation, start, end, false);
        }
        if count > 0 || !text.is_empty() {
            self.generations[generation].is_half = is_half && count > 0;
        }
        self.generations[generation].text.push_str(&text);
        text
    }

    fn add_line(&mut self, generation: usize, start: usize, end: Option<usize>, is_header: bool) {
        self.generations[generation].lines.push(self.lines.len());
        self.lines.push(Line {
            generation,
            start,
            end,
            is_header,
            arrivals: 0,
            allowed: 1,
            is_settled: is_header,
            is_saved: false,
            run: 0,
        });
    }

    fn write(&mut self, app: usize, count: usize, is_half: bool) {
        let name = Self::live(app);
        let is_new = !self.disk.contains_key(&name);
        let generation = match self.disk.get(&name) {
            Some(file) => file.generation,
            None => self.generation(app),
        };
        let first = self.lines.len();
        let text = self.compose(generation, count, is_half);
        let half = if is_half { ", the last half" } else { "" };
        self.note(format!(
            "write {name}: {count} lines{half}, from {first} on, {} bytes of generation {generation}",
            text.len()
        ));
        self.rig.append(&name, &text);
        if is_new {
            self.made(&name, generation, text.len(), false);
            self.make_known(app);
        } else {
            self.disk.get_mut(&name).unwrap().len += text.len();
        }
    }

    /// Where no file of an application is known, what is rotated before the first look is nobody's: it waits for that.
    fn make_known(&mut self, app: usize) {
        if self.rig.running.is_none() || self.apps[app].is_known {
            return;
        }
        self.until_first_look(app);
        self.apps[app].is_known = true;
    }

    fn until_first_look(&self, app: usize) {
        if let Some(OnDisk { id, .. }) = self.disk.get(&Self::live(app)) {
            self.until("first look", |world| {
                world.facts().iter().any(|(known, _)| known == id)
            });
        }
    }

    /// Rotated files of an application, oldest first.
    fn rotated(&self, app: usize) -> Vec<String> {
        let base = Self::live(app);
        let names = self
            .disk
            .keys()
            .filter(|name| **name != base && name.starts_with(&base));
        let mut names: Vec<String> = names.cloned().collect();
        let number = |name: &String| {
            let number = name[base.len() + 1..].split('.').next();
            number.unwrap().parse::<i64>().unwrap()
        };
        let is_numbered = self.apps[app].is_numbered;
        names.sort_by_key(|name| {
            if is_numbered {
                -number(name)
            } else {
                number(name)
            }
        });
        names
    }

    /// Makes room for the next rotated file, and names it.
    fn next_name(&mut self, app: usize) -> String {
        let base = Self::live(app);
        self.apps[app].rotations += 1;
        if !self.apps[app].is_numbered {
            return format!("{base}-{}", 20_260_000 + self.apps[app].rotations);
        }
        for from in self.rotated(app) {
            let (number, ending) = from[base.len() + 1..]
                .split_once('.')
                .unwrap_or((&from[base.len() + 1..], ""));
            let number: usize = number.parse().unwrap();
            let dot = if ending.is_empty() { "" } else { "." };
            self.rename(&from, &format!("{base}.{}{dot}{ending}", number + 1));
        }
        format!("{base}.1")
    }

    fn rename(&mut self, from: &str, to: &str) {
        self.rig.rename(from, to);
        let file = self.disk.remove(from).unwrap();
        self.disk.insert(to.to_owned(), file);
    }

    fn rotate_some(&mut self, app: usize) {
        // Rotation waits for that.
        self.finish_compressing(app);
        let times = if self.random.one_in(4) {
            2 + self.random.below(3)
        } else {
            1
        };
        for _ in 0..times {
            let copies = match self.apps[app].style {
                Style::Rename => false,
                Style::Copy => true,
                Style::Mixed => self.random.one_in(2),
            };
            if copies {
                self.copy_and_cut(app);
            } else {
                if !self.is_strict && !self.finds_rotated && self.rig.running.is_some() {
                    // Within one list of the folder a file that is renamed twice may be missed.
                    self.look();
                    self.until_first_look(app);
                }
                self.rotate(app);
            }
            self.compress_rotated(app);
            if times > 1 || self.random.one_in(2) {
                let (count, is_half) = (1 + self.random.below(3), self.random.one_in(6));
                self.write(app, count, is_half);
            }
        }
        self.delete_oldest(app, KEEP);
    }

    fn rotate(&mut self, app: usize) {
        let name = Self::live(app);
        if self.disk.contains_key(&name) {
            let to = self.next_name(app);
            self.note(format!("rename {name} {to}"));
            self.rename(&name, &to);
        }
    }

    /// What logrotate does with `copytruncate`.
    fn copy_and_cut(&mut self, app: usize) {
        let name = Self::live(app);
        if !self.disk.contains_key(&name) {
            return;
        }
        if self.random.one_in(2) && self.generations[self.disk[&name].generation].is_half {
            self.write(app, 0, false);
        }
        if self.rig.running.is_some() {
            // Nobody does that twice between two looks.
            self.look();
            self.until_first_look(app);
        }
        let to = self.next_name(app);
        self.note(format!("copy {name} {to}"));
        fs::copy(self.rig.path(&name), self.rig.path(&to)).unwrap();
        let OnDisk {
            generation, len, ..
        } = self.disk[&name];
        self.made(&to, generation, len, true);
        if self.random.one_in(3) {
            let count = 1 + self.random.below(5);
            self.write(app, count, false);
            let known = &mut self.generations[generation];
            known.is_beyond_copy = true;
            known.has_short_copy |= known.text.len() > 2 * len || len < 4 * HEAD;
            if self.rig.running.is_some() && self.random.one_in(2) {
                self.breathe();
            }
        } else if self.rig.running.is_some() && self.random.one_in(4) {
            self.breathe();
        }
        self.cut(&name);
    }

    fn truncate(&mut self, app: usize) {
        let name = Self::live(app);
        if self.disk.contains_key(&name) {
            self.cut(&name);
            if self.random.one_in(2) {
                let count = 1 + self.random.below(3);
                self.write(app, count, false);
            }
        }
    }

    fn cut(&mut self, name: &str) {
        self.note(format!("cut {name}"));
        let file = self.disk[name];
        let seen = self.seen_of(&file);
        // Where nothing was read nothing tells of the cut.
        let (source, read) = self.source_of(&file);
        let is_read = match self.rig.running {
            Some(_) => read > 0,
            None => has_some(&self.saved_positions(), file.generation),
        };
        self.generations[file.generation].is_doubtful |= !is_read && file.len > 0;
        let source = if read > 0 { source } else { 0 };
        let handle = File::options().write(true).open(self.rig.path(name));
        handle.unwrap().set_len(0).unwrap();
        self.take_away(file.generation, file.len, seen);
        let app = self.generations[file.generation].app;
        self.generations[file.generation].is_half = false;
        let generation = self.generation(app);
        let entry = self.disk.get_mut(name).unwrap();
        (entry.generation, entry.len, entry.cut) = (generation, 0, source);
        self.generations_at
            .get_mut(&file.id)
            .unwrap()
            .push(generation);
    }

    fn delete(&mut self, app: usize) {
        let name = Self::live(app);
        if !self.disk.contains_key(&name) {
            return;
        }
        if self.apps[app].style == Style::Copy {
            // Nor that.
            if self.rig.running.is_none() {
                return;
            }
            self.catch_up();
        }
        self.remove(&name);
    }

    fn remove(&mut self, name: &str) {
        self.note(format!("delete {name}"));
        let file = self.disk[name];
        let seen = self.seen_of(&file);
        let is_followed = self.facts().iter().any(|(id, _)| *id == file.id);
        let is_followed = is_followed && file.packed.is_none_or(|packed| packed.is_complete);
        fs::remove_file(self.rig.path(name)).unwrap();
        self.disk.remove(name);
        let running = self.rig.running.as_ref();
        let looked = running.map(|running| running.facts.looked_at());
        if looked.is_some_and(|at| at.is_none_or(|at| at <= self.saved_until)) {
            // As if it had been gone when the run began.
            self.expect_forgotten();
        }
        self.generations[file.generation].ends.push(file.len);
        if is_followed {
            let held = self.held.entry(file.generation).or_default();
            *held = file.len.max(*held);
        }
        if let Some(packed) = file.packed {
            self.packed_gone += packed.size as u64;
            self.take_away(file.generation, file.len, 0);
            return;
        }
        self.take_away(
            file.generation,
            file.len,
            if is_followed { 0 } else { seen },
        );
    }

    /// Deleted and made anew at once, with a first line that is always the same.
    fn recreate(&mut self, app: usize) {
        self.delete(app);
        let name = Self::live(app);
        if self.disk.contains_key(&name) {
            return;
        }
        let generation = self.generation(app);
        let header = format!("# the log of app{app}\n");
        self.generations[generation].text.push_str(&header);
        self.add_line(generation, 0, Some(header.len()), true);
        self.headers[app] += 1;
        let count = 1 + self.random.below(3);
        let text = header + &self.compose(generation, count, false);
        self.note(format!(
            "create {name}: {} bytes of generation {generation} with the old header",
            text.len()
        ));
        self.rig.append(&name, &text);
        self.made(&name, generation, text.len(), false);
        self.make_known(app);
    }

    /// A writer goes on in a file that was renamed.
    fn write_late(&mut self, app: usize) {
        let names = self.rotated(app);
        let is_open = |file: &OnDisk| !file.is_copy && file.packed.is_none();
        let name = names.into_iter().rfind(|name| is_open(&self.disk[name]));
        if let Some(name) = name {
            let generation = self.disk[&name].generation;
            let (count, is_half) = (self.random.below(3), self.random.one_in(4));
            let first = self.lines.len();
            let text = self.compose(generation, count, is_half);
            self.note(format!(
                "write late {name}: {count} lines, from {first} on, {} bytes of generation {generation}",
                text.len()
            ));
            self.rig.append(&name, &text);
            self.disk.get_mut(&name).unwrap().len += text.len();
            self.outgrows(app, &name);
        }
    }

    fn delete_oldest(&mut self, app: usize, keep: usize) {
        self.finish_compressing(app);
        let names = self.rotated(app);
        if let Some(name) = names.first().filter(|_| names.len() > keep) {
            self.remove(name);
        }
    }

    /// How much of a file the reader is known to have seen in its present generation. Of a file that it read nothing of, nothing can be
    /// proven to be gone when it grows again.
    fn seen_of(&self, file: &OnDisk) -> usize {
        let facts = self.facts();
        let Some((_, fact)) = facts.iter().rfind(|(id, _)| *id == file.id) else {
            return 0;
        };
        let generation = &self.generations[file.generation];
        let is_first = self.generations_at[&file.id].len() == 1;
        let is_read =
            |line: &usize| self.lines[*line].run == self.run && !self.lines[*line].is_header;
        if fact.read == 0 || !(is_first || generation.lines.iter().any(is_read)) {
            return 0;
        }
        usize::try_from(fact.size).unwrap().min(file.len)
    }

    /// What a file is called in the ledgers, and how much of it was read.
    fn source_of(&self, file: &OnDisk) -> (u64, u64) {
        let Some(running) = &self.rig.running else {
            return (0, 0);
        };
        let facts = running.facts.facts();
        let of_file = |fact: &Fact| (fact.id.inode, fact.id.birth) == file.id;
        let found = facts.iter().rfind(|(_, fact)| of_file(fact));
        found.map_or((0, 0), |(source, fact)| (source.0, fact.read))
    }

    fn take_away(&mut self, generation: usize, len: usize, seen: usize) {
        if self.rig.running.is_some() {
            let gone = self.gone.entry(generation).or_default();
            gone.len = gone.len.max(len);
            gone.seen = gone.seen.max(seen);
        }
    }

    // What is done with the reader.

    fn facts(&self) -> Vec<(FileId, Fact)> {
        let Some(running) = &self.rig.running else {
            return Vec::new();
        };
        let facts = running.facts.facts().into_values();
        facts
            .map(|fact| ((fact.id.inode, fact.id.birth), fact))
            .collect()
    }

    fn start(&mut self) {
        self.note("start".into());
        self.run += 1;
        self.killed = false;
        self.taken_bytes = 0;
        self.gone.clear();
        self.packed_gone = 0;
        self.held.clear();
        self.disk.values_mut().for_each(|file| file.cut = 0);
        for app in 0..APPS {
            let base = self.rig.path(&Self::live(app));
            let mut saved = self.rig.saved.values();
            let is_known = saved
                .any(|entry| *entry.path == *base || rotated_from(&entry.path).contains(&base));
            self.apps[app].is_known = is_known || self.finds_rotated;
            if !self.apps[app].is_known {
                for name in self.rotated(app) {
                    let file = self.disk.get_mut(&name).unwrap();
                    let mut saved = self.rig.saved.values();
                    file.is_nobodys |= !saved.any(|entry| (entry.inode, entry.birth) == file.id);
                }
            }
        }
        self.expect_forgotten();
        let saved = self.rig.saved.values();
        self.saved_until = saved.map(|entry| entry.updated).max().unwrap_or(0);
        self.rig.start();
        for app in 0..APPS {
            if self.disk.contains_key(&Self::live(app)) {
                self.make_known(app);
            }
        }
    }

    fn restart(&mut self) {
        self.end();
        if self.random.one_in(3) {
            let app = self.random.below(APPS);
            self.rotate_some(app);
        }
        self.start();
    }

    fn end(&mut self) {
        if self.kills && self.random.one_in(2) {
            self.kill();
        } else {
            self.stop();
        }
    }

    /// Everything that was read is delivered and saved.
    fn stop(&mut self) {
        self.note("stop".into());
        self.rig.running.as_ref().unwrap().stop.soften();
        let deadline = Instant::now() + PATIENCE;
        while self.take() {
            self.settle_all();
            if Instant::now() > deadline {
                self.fail("the input does not end");
            }
            let bell = self.rig.running.as_ref().unwrap().bell.clone();
            bell.wait(Duration::from_millis(5));
        }
        self.settle_all();
        self.save();
        self.held.clear();
        let running = self.rig.running.take().unwrap();
        running.thread.join().unwrap();
        let entries = running.books.entries();
        if !entries.balanced() || entries.read.bytes != self.taken_bytes {
            self.fail(&format!(
                "{} bytes were taken: {entries:?}",
                self.taken_bytes
            ));
        }
        self.check_lost(entries.lost.values().sum(), false);
        self.after_end();
    }

    fn kill(&mut self) {
        self.note("kill".into());
        if self.random.one_in(2) {
            self.save();
        }
        let running = self.rig.running.as_ref().unwrap();
        running.stop.harden();
        for (batch, _) in self.pending.drain(..) {
            batch.receipt.forgo();
        }
        self.rig.kill();
        self.killed = true;
        self.after_end();
    }

    /// What may arrive again: what no saved position has passed.
    fn after_end(&mut self) {
        let mut passed = HashSet::new();
        for (generation, offset) in self.saved_positions() {
            let lines = self.generations[generation].lines.iter();
            let is_passed = |line: &&usize| self.lines[**line].end.is_some_and(|end| end <= offset);
            passed.extend(lines.copied().filter(|line| is_passed(&line)));
        }
        if self.killed {
            // What was read of a file that was cut, and not saved, is as if it were not read.
            let positions = self.saved_positions();
            for file in self.disk.values().filter(|file| file.is_copy) {
                let is_read = has_some(&positions, file.generation);
                self.generations[file.generation].is_doubtful |= !is_read;
            }
        }
        for (number, line) in self.lines.iter_mut().enumerate() {
            line.is_saved = passed.contains(&number) || (!self.killed && line.arrivals > 0);
            if self.generations[line.generation].is_beyond_copy || (self.killed && !line.is_saved) {
                line.allowed = line.arrivals + 1;
            }
        }
    }

    /// The saved positions, as offsets in generations.
    fn saved_positions(&self) -> Vec<(usize, usize)> {
        let mut positions = Vec::new();
        for entry in self.rig.saved.values() {
            let offset = usize::try_from(entry.offset).unwrap();
            let there = self.generations_at.get(&(entry.inode, entry.birth));
            let found = there.into_iter().flatten().rev().find(|generation| {
                let text = self.generations[**generation].text.as_bytes();
                // Lines may end alike.
                let head = entry.head.map_or(0, |head| head.len as usize);
                let is_head = || print(&text[..head.min(text.len())]) == entry.head;
                offset <= text.len()
                    && print(&text[offset.saturating_sub(TAIL)..offset]) == entry.tail
                    && (head > offset || is_head())
            });
            match found {
                Some(generation) => positions.push((*generation, offset)),
                None => self.fail(&format!("saved, but never written: {entry:?}")),
            }
        }
        positions
    }

    /// Takes what has come, without settling it; `false` when the pipe is closed.
    fn take(&mut self) -> bool {
        loop {
            match self.rig.running.as_ref().unwrap().receiver.try_recv() {
                Received::Item(batch) => {
                    let mut lines = Vec::new();
                    for at in 0..batch.records.len() {
                        let value = String::from_utf8_lossy(batch.value(at)).into_owned();
                        lines.extend(self.arrive(&value));
                    }
                    self.taken_bytes += batch.count().bytes;
                    self.pending.push((batch, lines));
                }
                Received::Empty => return true,
                Received::Closed => return false,
            }
        }
    }

    fn arrive(&mut self, value: &str) -> Option<usize> {
        if let Some(app) = value.strip_prefix("# the log of app") {
            self.headers_arrived[app.parse::<usize>().unwrap()] += 1;
            return None;
        }
        let number = value
            .get(2..9)
            .and_then(|number| number.parse::<usize>().ok());
        let Some(line) = number.and_then(|number| self.lines.get(number)) else {
            self.fail(&format!("no line: {value:?}"));
        };
        let number = number.unwrap();
        let text = &self.generations[line.generation].text;
        let is_whole = line
            .end
            .is_some_and(|end| &text[line.start..end - 1] == value);
        let end = line.start + value.len();
        // The unterminated end of a file that was deleted.
        let is_rest = text[line.start..].starts_with(value)
            && self.generations[line.generation].ends.contains(&end);
        if !is_whole && !is_rest {
            self.fail(&format!("a broken line: {value:?}"));
        }
        if !is_whole {
            return None;
        }
        let generation = line.generation;
        let is_first = line.arrivals == 0;
        let line = &mut self.lines[number];
        line.arrivals += 1;
        line.run = self.run;
        let known = &self.generations[generation];
        let is_unsure = known.has_short_copy || (known.is_doubtful && !self.is_strict);
        let repeats = u32::from(is_unsure) + u32::from(known.is_forgotten);
        if line.arrivals > line.allowed + repeats {
            self.fail(&format!(
                "line {number} of generation {generation} arrived again"
            ));
        }
        if is_first {
            let last = std::mem::replace(&mut self.generations[generation].last, number);
            if last > number {
                self.fail(&format!("line {number} arrived after {last}"));
            }
        }
        Some(number)
    }

    fn settle(&mut self, at: usize) {
        let (batch, lines) = self.pending.swap_remove(at);
        let count = batch.count();
        batch.receipt.settle(&Outcome::acked(count));
        for line in lines {
            self.lines[line].is_settled = true;
        }
    }

    fn settle_some(&mut self) {
        let count = self.random.below(self.pending.len() + 1);
        self.note(format!("settle {count} of {}", self.pending.len()));
        for _ in 0..count {
            let at = self.random.below(self.pending.len());
            self.settle(at);
        }
    }

    fn settle_all(&mut self) {
        while !self.pending.is_empty() {
            self.settle(self.pending.len() - 1);
        }
    }

    fn save(&mut self) {
        self.rig.save();
        for (generation, offset) in self.saved_positions() {
            let known = &self.generations[generation];
            let mut settled = known.settled;
            while settled < known.lines.len() && self.lines[known.lines[settled]].is_settled {
                settled += 1;
            }
            if let Some(line) = known.lines.get(settled).map(|line| &self.lines[*line])
                && offset > line.start
                && !known.ends.contains(&offset)
            {
                self.fail(&format!(
                    "{offset} of generation {generation} is saved, {} is not settled",
                    line.start
                ));
            }
            self.generations[generation].settled = settled;
        }
    }

    /// Waits for the next batch, or for nothing.
    fn breathe(&mut self) {
        let bell = self.rig.running.as_ref().unwrap().bell.clone();
        bell.wait(Duration::from_millis(3));
    }

    /// Waits until the reader has seen all files as they are, although perhaps it can read nothing.
    fn look(&mut self) {
        self.note("look".into());
        self.until("look at all files", |world| {
            let facts = world.facts();
            // Of one that was cut the latest counts: the one before it may wait for its copy.
            let latest: HashMap<FileId, Fact> = facts.into_iter().collect();
            latest.iter().all(|(id, fact)| {
                let mut files = world.disk.values();
                let file = files.find(|file| file.id == *id);
                file.is_none_or(|file| {
                    file.packed.is_some()
                        || file.len as u64 == fact.size && world.source_of(file).0 > file.cut
                })
            })
        });
    }

    fn until(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            if Instant::now() > deadline {
                self.fail(&format!("no {what}"));
            }
            let bell = self.rig.running.as_ref().unwrap().bell.clone();
            bell.wait(Duration::from_millis(1));
        }
    }

    // What must be.

    /// How much of each generation can be read.
    fn reachable(&self) -> BTreeMap<usize, usize> {
        let mut reachable = self.held.clone();
        let is_whole = |file: &&OnDisk| file.packed.is_none_or(|packed| packed.is_complete);
        let files = self.disk.values().filter(|file| !file.is_nobodys);
        for file in files.filter(is_whole) {
            let len = reachable.entry(file.generation).or_default();
            *len = file.len.max(*len);
        }
        reachable
    }

    /// Waits until everything that must arrive has, and nothing else is left.
    fn catch_up(&mut self) {
        self.note("catch up".into());
        let mut missing: Vec<usize> = Vec::new();
        for (generation, len) in self.reachable() {
            if self.generations[generation].is_doubtful && !self.is_strict {
                continue;
            }
            let lines = self.generations[generation].lines.iter().copied();
            missing.extend(lines.filter(|line| {
                let line = &self.lines[*line];
                !line.is_header && line.end.is_some_and(|end| end <= len)
            }));
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.take();
            self.settle_all();
            self.save();
            missing.retain(|line| self.lines[*line].arrivals == 0);
            let wrong = if missing.is_empty() {
                self.not_caught_up()
            } else {
                None
            };
            if missing.is_empty() && wrong.is_none() {
                break;
            }
            if Instant::now() > deadline {
                let of: BTreeSet<usize> = missing
                    .iter()
                    .map(|line| self.lines[*line].generation)
                    .collect();
                self.fail(&format!(
                    "missing: {missing:?} of generations {of:?}; {wrong:?}"
                ));
            }
            let bell = self.rig.running.as_ref().unwrap().bell.clone();
            bell.wait(Duration::from_millis(1));
        }
        let entries = self.rig.running.as_ref().unwrap().books.entries();
        self.check_lost(entries.lost.values().sum(), true);
        for app in 0..APPS {
            let mut known = self.generations.iter().filter(|known| known.app == app);
            let is_once = known.all(|known| !known.has_short_copy && !known.is_forgotten);
            if !self.kills && is_once && self.headers_arrived[app] > self.headers[app] {
                self.fail("a header arrived twice");
            }
        }
        self.held.clear();
        for generation in &mut self.generations {
            generation.is_beyond_copy = false;
        }
    }

    /// What is still to be read, by what the reader says.
    fn not_caught_up(&self) -> Option<String> {
        let entries = self.rig.running.as_ref().unwrap().books.entries();
        let mut unread = 0;
        for (id, fact) in self.facts() {
            let Some((name, file)) = self.disk.iter().find(|(_, file)| file.id == id) else {
                if self.waits_for_a_copy(&fact) {
                    continue;
                }
                return Some(format!("still followed: {fact:?}"));
            };
            if let Some(packed) = file.packed {
                let is_read = fact.size == fact.read && fact.packed.is_some();
                if *fact.path != *self.rig.path(name) || packed.is_complete != is_read {
                    return Some(format!("not unpacked: {name} {fact:?}"));
                }
                unread += fact.size - fact.read;
                continue;
            }
            if fact.size != file.len as u64 || *fact.path != *self.rig.path(name) {
                let facts = self.facts();
                let is_again = |(_, it): &&(FileId, Fact)| it.path == fact.path;
                if facts.iter().filter(is_again).count() > 1 && self.waits_for_a_copy(&fact) {
                    continue;
                }
                return Some(format!("not looked at: {name} {fact:?}"));
            }
            unread += fact.size - fact.read;
            // A half line at the end, unless it was read elsewhere.
            let generation = &self.generations[file.generation];
            let lines = generation.lines.iter().map(|line| &self.lines[*line]);
            let mut half = lines
                .filter(|line| line.start < file.len && line.end.is_none_or(|end| end > file.len));
            let rest = half.next().map_or((0, 0), |line| {
                let rest = (file.len - line.start) as u64;
                (if line.arrivals > 0 { 0 } else { rest }, rest)
            });
            let left = fact.size - fact.read;
            if left != rest.0 && left != rest.1 {
                return Some(format!("unread: {name} {fact:?}"));
            }
        }
        let undecided = self.undecided();
        let is_counted = (unread..=unread + undecided).contains(&entries.unread_bytes);
        if !is_counted || entries.read.bytes != self.taken_bytes {
            return Some(format!(
                "{unread} unread, {undecided} undecided, {} taken, {entries:?}",
                self.taken_bytes
            ));
        }
        None
    }

    /// How many bytes compressed files have that are not complete, and of which it is not known what they hold: they have no position, but
    /// may be followed.
    fn undecided(&self) -> u64 {
        let facts = self.facts();
        let files = self.disk.iter().filter(|(_, file)| {
            let is_known = facts.iter().any(|(id, _)| *id == file.id);
            !is_known && file.packed.is_some_and(|it| !it.is_complete)
        });
        let sizes = files.map(|(name, _)| fs::metadata(self.rig.path(name)).unwrap().len());
        sizes.sum()
    }

    /// What was read to its end before its file was cut or deleted is remembered while a compressed file that is not complete may be a copy
    /// of it.
    fn waits_for_a_copy(&self, fact: &Fact) -> bool {
        let mut files = self.disk.values();
        let is_incomplete = |file: &OnDisk| file.packed.is_some_and(|it| !it.is_complete);
        fact.size == fact.read && files.any(is_incomplete)
    }

    /// What is counted as lost is gone; `is_seen`: and all that is gone and was seen is counted.
    fn check_lost(&self, lost: u64, is_caught_up: bool) {
        let reachable = self.reachable();
        let (mut most, mut least) = (self.packed_gone, 0);
        for (&generation, gone) in &self.gone {
            let from = reachable.get(&generation).copied().unwrap_or(0);
            let rest = |to: usize, is_there: &dyn Fn(&Line) -> bool| {
                let lines = self.generations[generation].lines.iter();
                let lines = lines
                    .map(|line| &self.lines[*line])
                    .filter(|line| !is_there(line));
                let clip = |at: usize| at.clamp(from, to.max(from));
                lines
                    .map(|line| clip(line.end.unwrap_or(usize::MAX)) - clip(line.start))
                    .sum::<usize>() as u64
            };
            most += rest(gone.len, &|line| line.run == self.run || line.is_saved);
            let is_rest = |line: &Line| {
                let ends = self.generations[generation].ends.iter();
                ends.copied()
                    .any(|end| end > line.start && line.end.is_none_or(|to| end < to))
            };
            least += rest(gone.seen, &|line| {
                line.arrivals > 0 || line.is_header || is_rest(line)
            });
        }
        let is_known = |known: &usize| self.is_strict || !self.generations[*known].is_doubtful;
        if lost > most && self.gone.keys().all(is_known) || (is_caught_up && lost < least) {
            self.fail(&format!(
                "{lost} bytes are counted as lost, between {least} and {most} are: {:?}",
                self.gone
            ));
        }
    }

    fn check(&self) {
        if let Some(running) = &self.rig.running {
            let entries = running.books.entries();
            if !entries.balanced() {
                self.fail(&format!("the books are not balanced: {entries:?}"));
            }
        }
    }

    fn note(&mut self, step: String) {
        tracing::info!("step {}: {step}", self.steps.len());
        self.steps.push(step);
    }

    fn fail(&self, what: &str) -> ! {
        let mut story = String::new();
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(story, "{number:5} {step}").unwrap();
        }
        let files = self.disk.iter();
        for (name, file) in files {
            writeln!(story, "{name}: {file:?}").unwrap();
        }
        for (_, fact) in self.facts() {
            writeln!(story, "followed: {fact:?}").unwrap();
        }
        for entry in self.rig.saved.values() {
            writeln!(story, "saved: {entry:?}").unwrap();
        }
        let styles: Vec<Style> = self.apps.iter().map(|app| app.style).collect();
        panic!(
            "{story}{what}\nfinds rotated files: {}, styles: {styles:?}, memory: {}, {:?}\nLOGFERRY_SEED={} LOGFERRY_STEPS={} cargo test model",
            self.finds_rotated,
            self.rig.memory,
            self.rig.settings.watch,
            self.seed,
            self.steps.len()
        );
    }
}
