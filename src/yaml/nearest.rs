//! `did you mean`: the word that was probably meant.

/// The one of `known` that is nearest to `word`: at most a third of its letters mistyped, left out, added or swapped.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let letters: Vec<char> = lower.chars().collect();
    let allowed = (letters.len() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| {
            let other: Vec<char> = candidate.to_lowercase().chars().collect();
            (distance(&letters, &other), candidate)
        })
        .filter(|(distance, candidate)| {
            *distance <= allowed && *distance < candidate.chars().count()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment: insertions, deletions, replacements and swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(letter != other);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == b[j - 1] && a[i - 1] == *other {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_recognised() {
        let known = ["paths", "exclude", "start_at"];
        assert_eq!(nearest("path", known), Some("paths"));
        assert_eq!(nearest("Exlcude", known), Some("exclude"));
        assert_eq!(nearest("start-at", known), Some("start_at"));
    }

    #[test]
    fn another_word_is_not_guessed() {
        assert_eq!(nearest("retention", ["paths", "exclude"]), None);
        assert_eq!(nearest("x", ["y"]), None);
    }
}
