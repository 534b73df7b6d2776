//! `logferry groups reset`: puts a group's offsets elsewhere.
//!
//! ```json
//! {"group": "archive", "executed": false, "members": 0,
//!  "partitions": [{"topic": "web", "partition": 0, "from": 10, "to": 5, "difference": -5, "note": null}]}
//! ```
//!
//! `from` is what is committed now, `null` when nothing is, and then so is `difference`. `note` says why `to` is not just what was asked for.
//!
//! Invariant: what is put is what is shown, or nothing.

use serde_json::{Value, json};

use super::target::{Aim, Bounds};
use super::{Refusal, ResetArgs, Scope};
use crate::cli::kafka::{count, number};
use crate::cli::table::{Align, Table, plain};
use crate::kafka::admin::groups::{Group, GroupView, Place, Standing};

/// What is done to a partition.
struct Move {
    standing: Standing,
    aim: Aim,
}

impl Move {
    fn difference(&self) -> Option<i64> {
        Some(self.aim.offset - self.standing.committed?)
    }

    fn place(&self) -> Place {
        (self.standing.topic.clone(), self.standing.partition)
    }
}

pub(super) fn reset(args: &ResetArgs) -> Result<String, Refusal> {
    let client = Group::connect(&args.connect.cluster()?, &args.group)?;
    let group = client.view()?;
    let members = group.as_ref().and_then(members);
    if args.execute
        && let Some(members) = &members
    {
        return Err(Refusal::failed(format!(
            "group {} has members, which would go on from where they are; nothing was changed: stop them first: {members}",
            plain(&args.group)
        )));
    }
    let places = if args.topics.is_empty() {
        client.committed_places()?
    } else {
        meant(&client, &args.topics)?
    };
    if places.is_empty() {
        return Err(Refusal::usage(format!(
            "group {} has committed nothing; -t TOPIC says for which topic an offset is to be set",
            plain(&args.group)
        )));
    }
    let moves = moves(&client, &places, args)?;
    if args.execute {
        let offsets: Vec<(Place, i64)> = moves
            .iter()
            .map(|one| (one.place(), one.aim.offset))
            .collect();
        let failed = client.commit(&offsets).map_err(|error| {
            let refusal = Refusal::from(error);
            Refusal {
                text: format!("nothing was reset: {}", refusal.text),
                ..refusal
            }
        })?;
        if !failed.is_empty() {
            let failed: Vec<String> = failed
                .into_iter()
                .map(|((topic, partition), why)| format!("{topic}:{partition}: {why}"))
                .collect();
            return Err(Refusal::failed(format!(
                "some partitions were not reset: {}",
                failed.join("; ")
            )));
        }
    }
    if args.json {
        let document = document(args, group.as_ref(), &moves);
        return Ok(format!("{document:#}\n"));
    }
    let mut text = table(&moves);
    text.push_str(match (args.execute, &members) {
        (true, _) => "done\n",
        (false, None) => "nothing was changed; add --execute to do it\n",
        (false, Some(_)) => "nothing was changed; --execute does it when the group has no members",
    });
    if let (false, Some(members)) = (args.execute, members) {
        text.push_str(&format!(": {members}\n"));
    }
    Ok(text)
}

/// Who is in the group, in words; `None` when nobody is.
fn members(group: &GroupView) -> Option<String> {
    if group.members().is_empty() {
        return None;
    }
    let names: Vec<String> = group
        .members()
        .iter()
        .map(|member| {
            let partitions = match &member.partitions {
                Some(partitions) => format!(", {}", count(partitions.len(), "partition")),
                None => String::new(),
            };
            format!(
                "{} at {}{partitions}",
                plain(&member.client_id),
                plain(&member.host)
            )
        })
        .collect();
    Some(names.join("; "))
}

/// The partitions that were named. One that is not there is refused.
fn meant(client: &Group, scopes: &[Scope]) -> Result<Vec<Place>, Refusal> {
    let mut places: Vec<Place> = Vec::new();
    for scope in scopes {
        let topic = client
            .topics()
            .iter()
            .find(|topic| topic.name == scope.topic)
            .ok_or_else(|| {
                Refusal::usage(format!(
                    "there is no topic {}; nothing was changed",
                    plain(&scope.topic)
                ))
            })?;
        let ids: Vec<i32> = topic
            .partitions
            .iter()
            .map(|one| one.id)
            .filter(|id| scope.partition.is_none_or(|only| only == *id))
            .collect();
        if let ([], Some(partition)) = (ids.as_slice(), scope.partition) {
            return Err(Refusal::usage(format!(
                "topic {} has no partition {partition}, only {}; nothing was changed",
                topic.name,
                count(topic.partitions.len(), "partition")
            )));
        }
        places.extend(ids.into_iter().map(|id| (topic.name.clone(), id)));
    }
    places.sort_unstable();
    places.dedup();
    Ok(places)
}

fn moves(client: &Group, places: &[Place], args: &ResetArgs) -> Result<Vec<Move>, Refusal> {
    let standings = client.standings(places)?;
    let now = jiff::Timestamp::now().as_millisecond();
    let since = match args.to.time(now) {
        Some(time) => client.since(places, time)?,
        None => Default::default(),
    };
    standings
        .into_iter()
        .map(|standing| {
            let (Some(beginning), Some(end)) = (standing.beginning, standing.end) else {
                return Err(Refusal::failed(format!(
                    "nobody tells where partition {} of topic {} begins and ends (has it a leader?); nothing was changed",
                    standing.partition, standing.topic
                )));
            };
            let place = (standing.topic.clone(), standing.partition);
            let bounds = Bounds { beginning, end };
            let aim = args.to.aim(bounds, since.get(&place).copied());
            Ok(Move { standing, aim })
        })
        .collect()
}

fn document(args: &ResetArgs, group: Option<&GroupView>, moves: &[Move]) -> Value {
    let partitions: Vec<Value> = moves
        .iter()
        .map(|one| {
            let note = Some(one.aim.note).filter(|note| !note.is_empty());
            json!({
                "topic": one.standing.topic,
                "partition": one.standing.partition,
                "from": one.standing.committed,
                "to": one.aim.offset,
                "difference": one.difference(),
                "note": note,
            })
        })
        .collect();
    json!({
        "group": args.group,
        "executed": args.execute,
        "members": group.map_or(0, |group| group.members().len()),
        "partitions": partitions,
    })
}

fn table(moves: &[Move]) -> String {
    let mut table = Table::new([
        ("TOPIC", Align::Left),
        ("PARTITION", Align::Right),
        ("FROM", Align::Right),
        ("TO", Align::Right),
        ("DIFFERENCE", Align::Right),
        ("", Align::Left),
    ]);
    for one in moves {
        let difference = one.difference().map(|number| format!("{number:+}"));
        table.push([
            one.standing.topic.clone(),
            one.standing.partition.to_string(),
            number(one.standing.committed),
            one.aim.offset.to_string(),
            number(difference),
            one.aim.note.to_owned(),
        ]);
    }
    table.show()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_from_where_to_where() {
        let moved = |partition, committed, offset, note| Move {
            standing: Standing {
                topic: "web".into(),
                partition,
                committed,
                beginning: Some(0),
                end: Some(20),
            },
            aim: Aim { offset, note },
        };
        let shown = table(&[
            moved(0, Some(10), 5, ""),
            moved(1, Some(10), 12, "why"),
            moved(2, None, 7, ""),
        ]);
        let expected = "\
TOPIC  PARTITION  FROM  TO  DIFFERENCE
web            0    10   5          -5
web            1    10  12          +2  why
web            2     -   7           -
";
        assert_eq!(shown, expected);
    }
}
