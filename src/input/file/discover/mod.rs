//! Which names the patterns find.
//!
//! Each pattern is walked from the folders that it names literally; a component with wildcards is matched per name, `**` crosses any
//! number of folders. Links are followed (a folder that is its own ancestor is not entered again, nor one that was entered through links
//! often enough); that two names may lead to one file is for the caller to see. Names that begin with a dot are found like others.
//!
//! A walk costs no system call per name: what a listing tells (inode and kind) is compared with what the caller knows. As long as no
//! folder changed there is no need for one ([`Discover::is_steady`]).
//!
//! Invariant: [`Discover::is_steady`] errs towards walking again.

mod pattern;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use globset::GlobSet;
use rustix::fs::RawDir;

pub use self::pattern::PatternError;
use self::pattern::{Root, Step, after, root, set};
use super::look::{Kind, Look, open_folder};

/// Folders within folders that are entered below `**` at most.
const DEEPEST: usize = 128;
/// How often one walk enters a folder through links, below the same part of a pattern. Folders full of links to each other have more ways
/// through them than can be walked; the files are the same on each.
const MOST_WAYS: u32 = 8;
/// What one listing call may bring, in bytes.
const LISTING: usize = 32 * 1024;

/// The patterns of one input.
pub struct Discover {
    roots: Vec<Root>,
    wanted: GlobSet,
    excluded_paths: GlobSet,
    excluded_names: GlobSet,
    listing: Vec<u8>,
    last: Option<Walked>,
}

/// What has to be as it was for a walk to find what the last one found.
#[derive(Default)]
struct Walked {
    at: Duration,
    /// The folders, with device, inode and times; `None` for those that were not there.
    folders: Vec<(PathBuf, Option<FolderState>)>,
    /// Something was found that folders' times do not answer for: links, new names, what could not be read.
    is_open: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct FolderState {
    dev: u64,
    inode: u64,
    stamp: (i64, i64),
}

/// What a folder's list tells about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// The folder's device and the inode in the list; not always those of the file (links, mounts), but they change when the name
    /// leads elsewhere.
    pub dev: u64,
    pub inode: u64,
    pub kind: Kind,
}

/// What a walk found besides names that are known.
#[derive(Debug, Default)]
pub struct Sighting {
    pub unknown: Vec<(PathBuf, Name)>,
    /// Folders that were listed, by path.
    pub folders: Vec<Listed>,
    /// Folders that could not be.
    pub unreadable: Vec<(PathBuf, io::Error)>,
}

/// A folder that was listed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    pub path: PathBuf,
    /// Device and inode: the path may lead to another one at the next walk.
    pub id: (u64, u64),
}

/// One walk.
struct Walk<'a> {
    filter: Filter<'a>,
    listing: &'a mut Vec<u8>,
    known: &'a mut dyn FnMut(&Path, &Name) -> bool,
    found: Sighting,
    walked: Walked,
    /// Which pattern is walked.
    root: usize,
    /// The folders above the one that is listed.
    above: Vec<(u64, u64)>,
    /// Some folder above, or the one that is listed, was entered by a link.
    is_linked: bool,
    /// How often folders were entered through links.
    ways: HashMap<Way, u32>,
}

/// A folder as it is entered: below which part of which pattern.
#[derive(PartialEq, Eq, Hash)]
struct Way {
    folder: (u64, u64),
    root: usize,
    steps_left: usize,
}

struct Filter<'a> {
    wanted: &'a GlobSet,
    excluded_paths: &'a GlobSet,
    excluded_names: &'a GlobSet,
}

impl Discover {
    /// Understands `paths` (absolute) and `exclude`; an `exclude` without `/` is matched against the file's name.
    pub fn new(paths: &[String], exclude: &[String]) -> Result<Self, PatternError> {
        let (by_path, by_name): (Vec<_>, Vec<_>) =
            exclude.iter().partition(|pattern| pattern.contains('/'));
        Ok(Self {
            roots: paths
                .iter()
                .map(|path| root(path))
                .collect::<Result<_, _>>()?,
            wanted: set(paths.iter())?,
            excluded_paths: set(by_path.into_iter())?,
            excluded_names: set(by_name.into_iter())?,
            listing: Vec::with_capacity(LISTING),
            last: None,
        })
    }

    /// Whether a path is one of those that are looked for.
    pub fn wants(&self, path: &Path) -> bool {
        self.filter().wants(path)
    }

    /// Whether a folder at `path` deserves a word: some pattern finds it by more than "everything here" (`*`, `**`).
    pub fn expects_file(&self, path: &Path) -> bool {
        let finders = self.wanted.matches(path);
        finders.iter().any(|&at| !self.roots[at].is_broad)
    }

    /// Walks all patterns. `known` is asked for every name that may be one of the files; what it answers `true` for is not reported.
    pub fn walk(&mut self, known: &mut dyn FnMut(&Path, &Name) -> bool) -> Sighting {
        let mut walk = Walk {
            filter: Filter {
                wanted: &self.wanted,
                excluded_paths: &self.excluded_paths,
                excluded_names: &self.excluded_names,
            },
            listing: &mut self.listing,
            known,
            found: Sighting::default(),
            root: 0,
            walked: Walked {
                at: SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default(),
                ..Walked::default()
            },
            above: Vec::new(),
            is_linked: false,
            ways: HashMap::new(),
        };
        for (at, root) in self.roots.iter().enumerate() {
            walk.root = at;
            let mut path = root.base.clone();
            if root.steps.is_empty() {
                walk.literal(&path);
            } else {
                walk.folder(&mut path, &root.steps);
            }
        }
        let (mut found, mut walked) = (walk.found, walk.walked);
        walked.is_open |= !found.unknown.is_empty() || !found.unreadable.is_empty();
        self.last = Some(walked);
        found.folders.sort_unstable();
        found.folders.dedup_by(|a, b| a.path == b.path);
        found.unknown.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        found.unknown.dedup_by(|a, b| a.0 == b.0);
        found
    }

    /// Whether another walk would find only what is known, because no folder changed since the last one, nor for `trust` before it:
    /// file systems keep time coarsely, so a change right after a listing may not show.
    pub fn is_steady(&self, trust: Duration) -> bool {
        let Some(last) = self.last.as_ref().filter(|last| !last.is_open) else {
            return false;
        };
        let before = last.at.saturating_sub(trust).as_nanos();
        last.folders
            .iter()
            .all(|(path, state)| match (state, Look::at(path)) {
                (Some(state), Ok(look)) => {
                    *state == FolderState::from(&look)
                        && u128::from(state.stamp.0.max(state.stamp.1).max(0).unsigned_abs())
                            < before
                }
                (None, Err(error)) => is_absent(&error),
                _ => false,
            })
    }

    fn filter(&self) -> Filter<'_> {
        Filter {
            wanted: &self.wanted,
            excluded_paths: &self.excluded_paths,
            excluded_names: &self.excluded_names,
        }
    }
}

impl From<&Look> for FolderState {
    fn from(look: &Look) -> Self {
        Self {
            dev: look.id.dev,
            inode: look.id.inode,
            stamp: look.stamp,
        }
    }
}

impl Filter<'_> {
    fn wants(&self, path: &Path) -> bool {
        self.wanted.is_match(path)
            && !self.excluded_paths.is_match(path)
            && !path
                .file_name()
                .is_some_and(|name| self.excluded_names.is_match(name))
    }
}

impl Walk<'_> {
    /// A pattern without wildcards.
    fn literal(&mut self, path: &Path) {
        match Look::at_name(path) {
            Ok(look) => self.name(
                path,
                Name {
                    dev: look.id.dev,
                    inode: look.id.inode,
                    kind: look.kind,
                },
            ),
            Err(error) if is_absent(&error) => {}
            Err(error) => self.found.unreadable.push((path.to_path_buf(), error)),
        }
        // Rotation happens beside the file.
        let folder = path.parent().unwrap_or(path);
        let look = Look::at(folder)
            .ok()
            .filter(|look| look.kind == Kind::Folder);
        if let Some(look) = &look {
            self.found.folders.push(Listed {
                path: folder.to_path_buf(),
                id: (look.id.dev, look.id.inode),
            });
        }
        let state = look.as_ref().map(FolderState::from);
        self.walked.folders.push((folder.to_path_buf(), state));
    }

    /// Lists the folder `path`, whose names are matched by `steps`. Leaves `path` as it was.
    fn folder(&mut self, path: &mut PathBuf, steps: &[Step]) {
        let (handle, look) = match open_folder(path).and_then(|f| Ok((Look::of(&f)?, f))) {
            Ok((look, handle)) => (handle, look),
            Err(error) if is_absent(&error) => {
                return self.walked.folders.push((path.clone(), None));
            }
            Err(error) => return self.found.unreadable.push((path.clone(), error)),
        };
        let here = (look.id.dev, look.id.inode);
        if self.above.contains(&here) || self.above.len() > DEEPEST {
            return;
        }
        if self.is_linked {
            let way = Way {
                folder: here,
                root: self.root,
                steps_left: steps.len(),
            };
            let ways = self.ways.entry(way).or_insert(0);
            if *ways == MOST_WAYS {
                return;
            }
            *ways += 1;
        }
        self.found.folders.push(Listed {
            path: path.clone(),
            id: here,
        });
        let state = FolderState::from(&look);
        self.walked.folders.push((path.clone(), Some(state)));
        let mut within = Vec::new();
        // The buffer is borrowed for one listing only; folders within are entered after it.
        let mut listing = std::mem::take(self.listing);
        let mut entries = RawDir::new(&handle, listing.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let error = io::Error::from(error);
                    self.found.unreadable.push((path.clone(), error));
                    break;
                }
            };
            let file_name = OsStr::from_bytes(entry.file_name().to_bytes());
            if file_name == "." || file_name == ".." {
                continue;
            }
            let name = Name {
                dev: here.0,
                inode: entry.ino(),
                kind: entry.file_type().into(),
            };
            let may_be_folder = !matches!(name.kind, Kind::File | Kind::Special);
            let (file, folders) = after(steps, file_name, may_be_folder);
            if !file && folders.is_empty() {
                continue;
            }
            self.walked.is_open |= matches!(name.kind, Kind::Link | Kind::Unknown);
            path.push(file_name);
            let is_folder = match name.kind {
                Kind::Folder => true,
                Kind::Link | Kind::Unknown if !folders.is_empty() => {
                    Look::at(path).is_ok_and(|look| look.kind == Kind::Folder)
                }
                _ => false,
            };
            if file && (folders.is_empty() || !is_folder) {
                self.name(path, name);
            }
            if is_folder {
                let is_link = name.kind != Kind::Folder;
                let name = file_name.to_owned();
                within.extend(folders.into_iter().map(|s| (name.clone(), is_link, s)));
            }
            path.pop();
        }
        *self.listing = listing;
        // Always the same ways, whatever the order of the list.
        within.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        self.above.push(here);
        let was_linked = self.is_linked;
        for (name, is_link, steps) in within {
            path.push(name);
            self.is_linked = was_linked || is_link;
            self.folder(path, steps);
            path.pop();
        }
        self.is_linked = was_linked;
        self.above.pop();
    }

    fn name(&mut self, path: &Path, name: Name) {
        self.walked.is_open |= matches!(name.kind, Kind::Link | Kind::Unknown);
        if !(self.known)(path, &name) && self.filter.wants(path) {
            self.found.unknown.push((path.to_path_buf(), name));
        }
    }
}

/// Nothing is there (yet).
pub fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        folder
    }

    fn found(folder: &Path, paths: &[&str], exclude: &[&str]) -> Vec<String> {
        let absolute = |p: &&str| folder.join(p).to_str().unwrap().to_owned();
        let paths: Vec<String> = paths.iter().map(absolute).collect();
        let exclude: Vec<String> = exclude.iter().map(|&s| s.to_owned()).collect();
        let mut discover = Discover::new(&paths, &exclude).unwrap();
        let sighting = discover.walk(&mut |_, _| false);
        let name = |path: &Path| path.strip_prefix(folder).unwrap().to_str().unwrap().into();
        sighting.unknown.iter().map(|(p, _)| name(p)).collect()
    }

    #[test]
    fn one_star_stays_within_a_folder_and_two_cross_folders() {
        let tree = tree(&["a.log", "x/a.log", "x/y/a.log", "x/y/b.txt"]);
        let at = |pattern| found(tree.path(), &[pattern], &[]);
        assert_eq!(at("*.log"), ["a.log"]);
        assert_eq!(at("*/a.log"), ["x/a.log"]);
        assert_eq!(at("**/a.log"), ["a.log", "x/a.log", "x/y/a.log"]);
        assert_eq!(at("x/**"), ["x/a.log", "x/y/a.log", "x/y/b.txt"]);
        assert_eq!(at("{a.log,x/y/b.*}"), ["a.log", "x/y/b.txt"]);
        assert_eq!(at("x/a.log"), ["x/a.log"]);
        assert_eq!(at("x/b.log"), Vec::<String>::new());
    }

    #[test]
    fn a_name_found_by_several_patterns_is_found_once() {
        let tree = tree(&["x/a.log"]);
        let patterns = ["**/*.log", "x/*", "x/a.log"];
        assert_eq!(found(tree.path(), &patterns, &[]), ["x/a.log"]);
    }

    #[test]
    fn an_exclusion_without_a_slash_is_about_the_name() {
        let tree = tree(&["a.log", "a.log.gz", "x/b.log.gz", "x/c.log"]);
        assert_eq!(
            found(tree.path(), &["**/*"], &["*.gz"]),
            ["a.log", "x/c.log"]
        );
        let by_path = format!("{}/x/*", tree.path().display());
        assert_eq!(
            found(tree.path(), &["**/*"], &[&by_path]),
            ["a.log", "a.log.gz"]
        );
    }

    #[test]
    fn a_loop_of_links_is_walked_once() {
        let tree = tree(&["x/a.log"]);
        symlink(tree.path(), tree.path().join("x/up")).unwrap();
        symlink("nowhere", tree.path().join("x/b.log")).unwrap();
        let names = found(tree.path(), &["**/*.log"], &[]);
        assert_eq!(names, ["x/a.log", "x/b.log"]);
    }

    #[test]
    fn folders_full_of_links_to_each_other_are_walked_in_bounds() {
        let names: Vec<String> = (0..9).map(|n| format!("{n}")).collect();
        let files: Vec<String> = names.iter().map(|name| format!("{name}/a.log")).collect();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let tree = tree(&files);
        for name in &names {
            for other in names.iter().filter(|other| *other != name) {
                let link = tree.path().join(name).join(format!("to-{other}"));
                symlink(format!("../{other}"), link).unwrap();
            }
        }
        let pattern = format!("{}/**/*.log", tree.path().display());
        let mut discover = Discover::new(&[pattern], &[]).unwrap();
        let sighting = discover.walk(&mut |_, _| false);
        let most = 1 + names.len() * (1 + MOST_WAYS as usize);
        assert!(sighting.folders.len() <= most, "{}", sighting.folders.len());
        for file in files {
            let path = tree.path().join(file);
            assert!(sighting.unknown.iter().any(|(found, _)| *found == path));
        }
    }

    #[test]
    fn a_folder_is_found_by_a_link_also_where_its_own_name_is_excluded() {
        let tree = tree(&["old/a.log"]);
        symlink("old", tree.path().join("new")).unwrap();
        let exclude = format!("{}/old/*", tree.path().display());
        assert_eq!(
            found(tree.path(), &["**/*.log"], &[&exclude]),
            ["new/a.log"]
        );
    }

    #[test]
    fn what_was_found_by_a_link_is_looked_for_again_at_every_sweep() {
        for link in ["b.log", "folder"] {
            let tree = tree(&["a.log"]);
            symlink("nowhere", tree.path().join(link)).unwrap();
            let patterns =
                ["*.log", "*/*.log"].map(|p| tree.path().join(p).to_str().unwrap().to_owned());
            let mut discover = Discover::new(&patterns, &[]).unwrap();
            let begun = std::time::Instant::now();
            while begun.elapsed() < Duration::from_millis(50) {
                discover.walk(&mut |_, _| true);
                assert!(!discover.is_steady(Duration::from_millis(1)), "{link}");
            }
        }
    }

    #[test]
    fn known_names_are_not_reported_and_folders_are() {
        let tree = tree(&["x/a.log"]);
        let pattern = format!("{}/*/*.log", tree.path().display());
        let mut discover = Discover::new(&[pattern], &[]).unwrap();
        let sighting =
            discover.walk(&mut |path, name| path.ends_with("a.log") && name.kind == Kind::File);
        assert!(sighting.unknown.is_empty());
        let folders = [tree.path().to_path_buf(), tree.path().join("x")];
        let listed: Vec<PathBuf> = sighting.folders.into_iter().map(|f| f.path).collect();
        assert_eq!(listed, folders);
    }

    #[test]
    fn a_walk_is_needed_again_only_after_something_changed() {
        let tree = tree(&["x/a.log"]);
        let patterns = ["*/*.log", "later/*.log", "x/b.log"]
            .map(|pattern| tree.path().join(pattern).to_str().unwrap().to_owned());
        let mut discover = Discover::new(&patterns, &[]).unwrap();
        let trust = Duration::from_millis(50);
        assert!(!discover.is_steady(trust));
        discover.walk(&mut |_, _| false);
        assert!(!discover.is_steady(trust), "there were unknown names");
        let settle = |discover: &mut Discover| {
            let deadline = SystemTime::now() + Duration::from_secs(20);
            while !discover.is_steady(trust) {
                assert!(SystemTime::now() < deadline);
                discover.walk(&mut |_, _| true);
            }
        };
        settle(&mut discover);
        fs::write(tree.path().join("x/b.log"), b"").unwrap();
        assert!(!discover.is_steady(trust));
        settle(&mut discover);
        fs::create_dir(tree.path().join("later")).unwrap();
        assert!(!discover.is_steady(trust));
        settle(&mut discover);
        fs::rename(tree.path().join("x/a.log"), tree.path().join("later/a.log")).unwrap();
        assert!(!discover.is_steady(trust));
    }

    #[test]
    fn patterns_that_cannot_be_obeyed_are_refused() {
        for pattern in ["a.log", "/x/[a", "/x/../y"] {
            assert!(Discover::new(&[pattern.to_owned()], &[]).is_err());
        }
    }

    #[test]
    fn folders_are_worth_a_word_only_where_a_file_was_named() {
        let patterns = ["/x/*".to_owned(), "/x/*.log".to_owned()];
        let discover = Discover::new(&patterns, &[]).unwrap();
        assert!(discover.expects_file(Path::new("/x/a.log")));
        assert!(!discover.expects_file(Path::new("/x/a")));
    }

    #[test]
    fn a_folder_that_does_not_exist_yet_is_no_trouble() {
        let tree = tree(&[]);
        let pattern = format!("{}/later/*.log", tree.path().display());
        let mut discover = Discover::new(&[pattern], &[]).unwrap();
        let sighting = discover.walk(&mut |_, _| false);
        assert!(sighting.unreadable.is_empty() && sighting.unknown.is_empty());
    }
}
