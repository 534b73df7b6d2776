//! A pattern as a way: the folder that it begins in, and what each name below has to match.
//!
//! Pure. Invariant: a way may lead to names that the whole pattern does not match, never past one that it does.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use globset::{Glob, GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};

/// A pattern that cannot be obeyed.
#[derive(Debug, thiserror::Error)]
#[error("the pattern {pattern:?} is not understood: {reason}")]
pub struct PatternError {
    pub pattern: String,
    pub reason: String,
}

/// Where the walk of one pattern begins, and how it goes on.
pub(super) struct Root {
    pub base: PathBuf,
    /// None for a pattern without wildcards: `base` is the file.
    pub steps: Vec<Step>,
    /// The last component stands for every name.
    pub is_broad: bool,
}

#[derive(Clone)]
pub(super) enum Step {
    Matching(GlobMatcher),
    /// `**`, or anything that cannot be cut into components.
    Any,
}

pub(super) fn root(pattern: &str) -> Result<Root, PatternError> {
    let refused = |reason: &str| PatternError {
        pattern: pattern.to_owned(),
        reason: reason.to_owned(),
    };
    let path = Path::new(pattern);
    if !path.is_absolute() {
        return Err(refused("write it from the root, beginning with `/`"));
    }
    let mut base = PathBuf::new();
    let mut steps = Vec::new();
    for component in path.components() {
        let name = match component {
            Component::RootDir => {
                base.push("/");
                continue;
            }
            Component::Normal(name) => name.to_str().unwrap_or_default(),
            _ => return Err(refused("`.` and `..` cannot stand in it")),
        };
        if steps.is_empty() && !name.contains(['*', '?', '[', ']', '{', '}', '\\']) {
            base.push(name);
            continue;
        }
        match (name, glob(name)) {
            ("**", _) => steps.push(Step::Any),
            (_, Ok(glob)) => steps.push(Step::Matching(glob.compile_matcher())),
            // A component that is no pattern by itself (`{a,b/c}`): everything below is walked, and the whole pattern decides.
            (_, Err(_)) => {
                steps.push(Step::Any);
                break;
            }
        }
    }
    Ok(Root {
        base,
        steps,
        is_broad: matches!(pattern.rsplit('/').next(), Some("*" | "**")),
    })
}

/// What a name in a folder that `steps` lead into may be: one of the files, and a folder to go into with each of the steps given
/// (none unless it may be a folder).
pub(super) fn after<'s>(
    steps: &'s [Step],
    name: &OsStr,
    may_be_folder: bool,
) -> (bool, Vec<&'s [Step]>) {
    let mut file = false;
    let mut folders: Vec<&[Step]> = Vec::new();
    let mut enter = |steps: &'s [Step]| {
        if may_be_folder {
            folders.push(steps);
        }
    };
    // `**` also stands for no folder at all, so what follows it is tried on the same name.
    let mut steps = steps;
    while let [first, rest @ ..] = steps {
        match first {
            Step::Any => {
                enter(steps);
                file |= rest.is_empty();
                steps = rest;
            }
            Step::Matching(glob) => {
                if glob.is_match(name) {
                    file |= rest.is_empty();
                    if !rest.is_empty() {
                        enter(rest);
                    }
                }
                break;
            }
        }
    }
    (file, folders)
}

pub(super) fn set<'p>(patterns: impl Iterator<Item = &'p String>) -> Result<GlobSet, PatternError> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(glob(pattern)?);
    }
    set.build().map_err(|error| PatternError {
        pattern: error.glob().unwrap_or_default().to_owned(),
        reason: error.kind().to_string(),
    })
}

fn glob(pattern: &str) -> Result<Glob, PatternError> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map_err(|error| PatternError {
            pattern: pattern.to_owned(),
            reason: error.kind().to_string(),
        })
}
