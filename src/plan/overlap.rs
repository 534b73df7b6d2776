//! Whether two patterns of paths can name the same file. Pure; errs on the side of yes.
//!
//! A pattern is a list of segments; a segment is a list of characters, wildcards for one character and wildcards for many. Both lists are compared by
//! the same walk, in which a wildcard for many may stand for any stretch of the other list.

use crate::template::PathTemplate;

/// More alternatives than anyone writes; past it a glob counts as matching everything below its literal folder.
const MOST_ALTERNATIVES: usize = 256;

/// What paths look like, from `/` on.
pub(super) type Pattern = Vec<Segment>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// `**`: any number of segments.
    Many,
    Name(Vec<Letter>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Letter {
    Just(char),
    /// Any one character.
    One,
    /// Any number of characters.
    Many,
}

/// What a glob can match.
pub(super) fn of_glob(glob: &str) -> Vec<Pattern> {
    let alternatives = alternatives(glob).unwrap_or_else(|| {
        let literal = glob.find(['*', '?', '[', '{']).unwrap_or(glob.len());
        let folder = glob[..literal].rfind('/').unwrap_or(0);
        vec![format!("{}/**", &glob[..folder])]
    });
    alternatives
        .iter()
        .map(|glob| of_plain_glob(glob))
        .collect()
}

/// What a path template can make.
pub(super) fn of_template(template: &PathTemplate) -> Pattern {
    let mut letters: Vec<Letter> = Vec::new();
    for part in template.shape() {
        match part {
            Some(text) => letters.extend(text.chars().map(Letter::Just)),
            None => letters.push(Letter::Many),
        }
    }
    segments(&letters)
}

/// The same names, and all that begin with them.
pub(super) fn longer(mut pattern: Pattern) -> Pattern {
    if let Some(Segment::Name(letters)) = pattern.last_mut() {
        letters.push(Letter::Many);
    }
    pattern
}

/// Everything below a folder, itself included.
pub(super) fn of_folder(path: &str) -> Pattern {
    let letters: Vec<_> = path.chars().map(Letter::Just).collect();
    let mut pattern = segments(&letters);
    pattern.push(Segment::Many);
    pattern
}

/// Whether a path exists that both describe.
pub(super) fn can_meet(a: &[Segment], b: &[Segment]) -> bool {
    walk(
        a,
        b,
        |segment| *segment == Segment::Many,
        |a, b| match (a, b) {
            (Segment::Name(a), Segment::Name(b)) => names_can_meet(a, b),
            _ => true,
        },
    )
}

fn names_can_meet(a: &[Letter], b: &[Letter]) -> bool {
    walk(
        a,
        b,
        |letter| *letter == Letter::Many,
        |a, b| match (a, b) {
            (Letter::Just(a), Letter::Just(b)) => a == b,
            _ => true,
        },
    )
}

/// Whether both lists can be read to their ends together. `row[j]`: whether `a[..i]` and `b[..j]` can.
fn walk<T>(a: &[T], b: &[T], many: impl Fn(&T) -> bool, fit: impl Fn(&T, &T) -> bool) -> bool {
    let mut row: Vec<bool> = vec![true];
    for other in b {
        row.push(row.last() == Some(&true) && many(other));
    }
    for one in a {
        let mut next = vec![row[0] && many(one)];
        for (j, other) in b.iter().enumerate() {
            let skip = (many(one) || many(other)) && (row[j + 1] || next[j]);
            let both = !many(one) && !many(other) && row[j] && fit(one, other);
            next.push(skip || both);
        }
        row = next;
    }
    row.last() == Some(&true)
}

/// Cuts at `/`; empty segments are none.
fn segments(letters: &[Letter]) -> Pattern {
    letters
        .split(|letter| *letter == Letter::Just('/'))
        .filter(|name| !name.is_empty())
        .map(|name| Segment::Name(name.to_vec()))
        .collect()
}

fn of_plain_glob(glob: &str) -> Pattern {
    glob.split('/')
        .filter(|name| !name.is_empty())
        .map(|name| match name {
            "**" => Segment::Many,
            name => Segment::Name(letters(name)),
        })
        .collect()
}

fn letters(name: &str) -> Vec<Letter> {
    let mut letters = Vec::new();
    let mut rest = name.chars();
    while let Some(letter) = rest.next() {
        letters.push(match letter {
            '*' => Letter::Many,
            '?' => Letter::One,
            '\\' => rest.next().map_or(Letter::One, Letter::Just),
            '[' => {
                let mut inner = rest.clone();
                let mut class = String::new();
                // The first character belongs to the class even when it is `]`.
                class.extend(inner.next());
                let closed = inner.by_ref().any(|c| {
                    let end = c == ']';
                    if !end {
                        class.push(c);
                    }
                    end
                });
                if closed {
                    rest = inner;
                }
                let mut only = class.chars();
                match (only.next(), only.next()) {
                    (Some(only), None) if closed => Letter::Just(only),
                    _ => Letter::One,
                }
            }
            letter => Letter::Just(letter),
        });
    }
    letters
}

/// `{a,b}` written out; `None` when there are too many.
fn alternatives(glob: &str) -> Option<Vec<String>> {
    let mut done = Vec::new();
    let mut open = vec![glob.to_owned()];
    while let Some(glob) = open.pop() {
        if done.len() + open.len() > MOST_ALTERNATIVES || glob.len() > 100_000 {
            return None;
        }
        match braces(&glob) {
            Some((start, end, commas)) => {
                let mut from = start + 1;
                for to in commas.into_iter().chain([end]) {
                    open.push(format!(
                        "{}{}{}",
                        &glob[..start],
                        &glob[from..to],
                        &glob[end + 1..]
                    ));
                    from = to + 1;
                }
            }
            None => done.push(glob),
        }
    }
    Some(done)
}

/// The first outermost pair of braces and the commas directly within.
fn braces(glob: &str) -> Option<(usize, usize, Vec<usize>)> {
    let mut start = None;
    let mut depth = 0;
    let mut commas = Vec::new();
    let mut escaped = false;
    for (at, letter) in glob.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => {
                depth += 1;
                start = start.or(Some(at));
            }
            ',' if depth == 1 => commas.push(at),
            '}' if depth == 1 => return start.map(|start| (start, at, commas)),
            '}' if depth > 1 => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob_meets(glob: &str, template: &str) -> bool {
        let template = of_template(&PathTemplate::parse(template).unwrap());
        of_glob(glob).iter().any(|glob| can_meet(glob, &template))
    }

    #[test]
    fn a_star_stays_within_its_folder() {
        assert!(glob_meets("/var/log/*.log", "/var/log/{topic}.log"));
        assert!(!glob_meets("/var/log/*.log", "/var/log/{topic}/x.log"));
        assert!(glob_meets("/var/log/**/*.log", "/var/log/{topic}/x.log"));
        assert!(glob_meets("/var/log/**", "/var/log/a/b/{key}"));
        assert!(!glob_meets("/var/log/**", "/srv/{key}"));
    }

    #[test]
    fn endings_that_differ_never_meet() {
        assert!(!glob_meets("/var/log/*.log", "/var/log/{topic}.json"));
        assert!(!glob_meets("/var/log/a*", "/var/log/b{topic}"));
        assert!(glob_meets("/var/log/[ab]*", "/var/log/b{topic}"));
        assert!(glob_meets("/var/log/?.log", "/var/log/%d.log"));
    }

    #[test]
    fn alternatives_are_written_out() {
        assert!(glob_meets("/{var,srv}/{a,b/c}/*", "/srv/b/c/{topic}"));
        assert!(!glob_meets("/{var,srv}/{a,b/c}/*", "/srv/b/{topic}"));
        assert_eq!(alternatives("{a,{b,c}}").unwrap().len(), 3);
    }

    #[test]
    fn too_many_alternatives_count_as_everything_below() {
        let glob = format!("/srv/{}/x", "{a,b}".repeat(20));
        assert!(glob_meets(&glob, "/srv/zzz/y"));
        assert!(!glob_meets(&glob, "/var/zzz/y"));
    }

    #[test]
    fn a_folder_holds_itself_and_what_is_below() {
        let folder = of_folder("/var/lib/logferry");
        let glob = |glob| of_glob(glob).iter().any(|glob| can_meet(glob, &folder));
        assert!(glob("/var/lib/**"));
        assert!(glob("/var/lib/logferry/*/*"));
        assert!(!glob("/var/lib/logferry2/*"));
    }

    proptest! {
        #[test]
        fn a_glob_that_matches_a_path_can_meet_it(glob in "/[a-c*?/]{0,8}", path in "(/[a-c]{1,3}){1,3}") {
            let matcher = globset::GlobBuilder::new(&glob).literal_separator(true).build().unwrap().compile_matcher();
            if matcher.is_match(&path) && !glob.contains("//") {
                prop_assert!(glob_meets(&glob, &path), "{} {}", glob, path);
            }
        }

        #[test]
        fn no_glob_panics(glob in "[a-c*?{},\\[\\]\\\\/!é]{0,20}") {
            of_glob(&glob);
        }
    }
}
