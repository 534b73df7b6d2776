//! Transactions against a sink that is all in memory.

use super::*;

fn stamp(writer: &str, number: u64) -> Stamp {
    Stamp {
        writer: writer.into(),
        number,
    }
}

#[test]
fn the_last_stamp_tells_how_a_doubtful_transaction_ended() {
    let (before, attempt, rival) = (stamp("a", 1), stamp("a", 2), stamp("b", 7));
    let judged = |found: Option<&Stamp>| judge(found, Some(&before), Some(&attempt));
    assert_eq!(judged(Some(&attempt)), Verdict::Committed);
    assert_eq!(judged(Some(&before)), Verdict::Aborted);
    assert_eq!(judged(Some(&rival)), Verdict::Rival(rival.clone()));
    assert_eq!(judged(None), Verdict::Lost);
}

#[test]
fn the_first_transaction_of_all_may_be_aborted_too() {
    let attempt = stamp("a", 1);
    assert_eq!(judge(None, None, Some(&attempt)), Verdict::Aborted);
    assert_eq!(judge(None, None, None), Verdict::Aborted);
}

#[test]
fn a_successor_begins_where_the_predecessor_ended_and_that_one_finds_a_rival() {
    let (old, new) = (stamp("a", 9), stamp("b", 1));
    assert_eq!(
        judge(Some(&old), Some(&old), Some(&new)),
        Verdict::Aborted,
        "it did not write yet"
    );
    assert_eq!(
        judge(Some(&new), Some(&old), Some(&stamp("a", 10))),
        Verdict::Rival(new)
    );
}
