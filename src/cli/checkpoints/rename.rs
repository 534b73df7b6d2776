//! `logferry checkpoints rename`: an input that has another name in the configuration keeps its positions.

use super::{Refusal, RenameArgs, change, count, is_configured, known, plan};
use crate::checkpoint::Inputs;
use crate::cli::table::{Align, Table, plain};

pub(super) fn rename(args: &RenameArgs) -> Result<String, Refusal> {
    let plan = plan(&args.config)?;
    let mut notes = String::new();
    if !is_configured(&plan, &args.new) {
        notes.push_str(&format!(
            "note: no input {} is configured yet\n",
            plain(&args.new)
        ));
    }
    if is_configured(&plan, &args.old) {
        notes.push_str(&format!(
            "note: input {} is still configured, and begins as at its very first start\n",
            plain(&args.old)
        ));
    }
    change(&plan.data_dir, args.execute, |inputs| {
        Ok(give(inputs, &args.old, &args.new)? + &notes)
    })
}

fn give(inputs: &mut Inputs, old: &str, new: &str) -> Result<String, Refusal> {
    if old == new {
        return Err(Refusal::usage(format!("both names are {old}")));
    }
    let files = known(inputs, old)?.entries.len();
    let taken = inputs.get(new).map_or(0, |input| input.entries.len());
    if taken > 0 {
        return Err(Refusal::usage(format!(
            "input {new} has positions of {} already, and nothing is put over them; if they may go, forget them first: \
             `logferry checkpoints reset --input {new} --forget --cluster --execute`",
            count(taken, "file")
        )));
    }
    let mut table = Table::new([
        ("INPUT", Align::Left),
        ("BECOMES", Align::Left),
        ("FILES", Align::Right),
    ]);
    table.push([old.to_owned(), new.to_owned(), files.to_string()]);
    if let Some(mut input) = inputs.remove(old) {
        // Keys that the new name gave out are not given out again.
        let before = inputs.get(new).map_or(0, |input| input.next_key);
        input.next_key = input.next_key.max(before);
        // What Kafka keeps has the old name: the next start goes by what stands here.
        input.keeper = None;
        inputs.insert(new.to_owned(), input);
    }
    Ok(table.show())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Input;

    fn input(cluster: &str, next_key: u64) -> Input {
        Input {
            cluster: Some(cluster.into()),
            next_key,
            ..Input::default()
        }
    }

    #[test]
    fn everything_goes_to_the_new_name_and_no_key_is_used_twice() {
        let mut inputs: Inputs = [
            ("old".into(), input("c1", 3)),
            ("new".into(), input("c2", 9)),
        ]
        .into();
        give(&mut inputs, "old", "new").unwrap();
        assert_eq!(inputs, [("new".into(), input("c1", 9))].into());
    }

    #[test]
    fn an_unknown_name_is_refused_with_those_that_there_are() {
        let mut inputs: Inputs = [("a".into(), input("c1", 3))].into();
        let error = give(&mut inputs, "b", "c").unwrap_err();
        assert_eq!(error.text, "nothing is saved for an input b; there is a");
        assert!(give(&mut inputs, "a", "a").is_err());
    }
}
