//! What follows what in the deals' histories, event by event.
//!
//! It is the directly-follows graph of process mining: unlike `stage_transitions`, which counts
//! moves from stay to stay, it counts an event that names the stage the deal is already in as a
//! repeat. Pairs with START are how histories begin, those with STILL how they end.
//! Invariant: per stage, events counted by what follows them are those counted by what they follow.

use std::collections::BTreeMap;

use super::super::funnel::Places;
use crate::error::Error;
use crate::metrics::durations::{Counted, days};
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, View};
use crate::relations::Relation;
use crate::stats::ratio;
use crate::table::{ColumnSpec, Value};
use crate::time::NO_DAY;

/// Definition: pairs of successive events of one deal that name a stage, after duplicates are out
/// (G3) and in the order of G2; the gap is the time from the one to the other.
///
/// Edge cases: events of stages that are ignored are left out; a deletion or a handoff is no event
/// of a stage, so the pair spans it; gaps to STILL and from START are null.
pub static METRIC: Metric = Metric {
    name: "directly_follows",
    question: "What follows what in the deals' histories, how often, and after how long?",
    grain: "one row per slice, from stage and to stage",
    states: &[
        State {
            relation: Relation::Follows,
            sql: "SELECT stage, next_stage, COUNT(*) AS follows_n, SUM(is_first_pair) AS deals_n, \
                  SUM(gap) AS gap_sum, MIN(gap) AS gap_min, MAX(gap) AS gap_max \
                  FROM follows GROUP BY stage, next_stage",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Follows,
            sql: "SELECT stage, next_stage, gap, COUNT(*) AS gaps_n FROM follows \
                  WHERE is_last = 0 GROUP BY stage, next_stage, gap",
            absent: Absent::SkipTable,
        },
    ],
    output: OUTPUT,
    view: View::Heatmap("follows_n"),
    references: &["van der Aalst, 2016, Process Mining: Data Science in Action (directly-follows)"],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text("from_pipeline", "The pipeline of from_stage; of START that of to_stage.")
        .key(),
    ColumnSpec::count("from_order", "place", "Place of from_stage: 0 is START.").key(),
    ColumnSpec::text("from_stage", "The stage of the event; START before a deal's first.").key(),
    ColumnSpec::text("to_pipeline", "The pipeline of to_stage; of STILL that of from_stage.").key(),
    ColumnSpec::count("to_order", "place", "Place of to_stage; STILL comes after the stages.")
        .key(),
    ColumnSpec::text("to_stage", "The stage of the next event; STILL after a deal's last.").key(),
    ColumnSpec::count("follows_n", "events", "How often the one follows the other."),
    ColumnSpec::count("deals_n", "deals", "Deals in which it does."),
    ColumnSpec::rate("follows_share", "follows_n as a share of all events of from_stage."),
    ColumnSpec::flag("is_repeat", "Both are the same stage."),
    ColumnSpec::days("gap_days_mean", "Mean time between; null for START and STILL."),
    ColumnSpec::days("gap_days_p50", "Median time (type 7); null for START and STILL."),
    ColumnSpec::days("gap_days_p90", "0.9-quantile (type 7); null for START and STILL."),
    ColumnSpec::days("gap_days_min", "Least time; null for START and STILL."),
    ColumnSpec::days("gap_days_max", "Greatest time; null for START and STILL."),
    ColumnSpec::flag("low_n", "follows_n is below the quantile floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "deals_n ≤ follows_n",
        holds: |row| row.int("deals_n") <= row.int("follows_n"),
    },
    Identity {
        claim: "gap_days_min ≤ gap_days_p50 ≤ gap_days_p90 ≤ gap_days_max",
        holds: |row| {
            let gaps = ["gap_days_min", "gap_days_p50", "gap_days_p90", "gap_days_max"];
            let gaps = gaps.map(|name| row.float(name));
            gaps.is_sorted()
        },
    },
];

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [pairs, gaps] = group.states else {
        return Err(Error::Bug("what follows what has two states".into()));
    };
    let places = Places::of(group.settings);
    let resolution = group.settings.resolution;
    let (from, to) = (pairs.key("stage")?, pairs.key("next_stage")?);
    let value = |name| pairs.value(name);
    let (follows, deals) = (value("follows_n")?, value("deals_n")?);
    let (sums, least, most) = (value("gap_sum")?, value("gap_min")?, value("gap_max")?);
    let (lengths, counts) = (gaps.key("gap")?, gaps.value("gaps_n")?);
    let (gap_from, gap_to) = (gaps.key("stage")?, gaps.key("next_stage")?);
    let mut counted: BTreeMap<(i64, i64), Counted<'_>> = BTreeMap::new();
    for run in gaps.runs(2) {
        let pair = gap_from.get(run.start).zip(gap_to.get(run.start));
        if let Some((from, to)) = pair {
            counted.insert((*from, *to), Counted::of(lengths, counts, run));
        }
    }
    let mut of_stage: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for ((from, to), n) in from.iter().zip(to).zip(follows) {
        of_stage.entry(*from).or_default().0 += n;
        of_stage.entry(*to).or_default().1 += n;
    }
    for (stage, (after, before)) in &of_stage {
        let place = places.at(*stage)?;
        if !place.is_pseudo && after != before {
            let claim = format!("events of {:?} by what follows = by what they follow", place.name);
            return Err(Error::Bug(format!("{claim}: {after} and {before}")));
        }
    }
    let mut order: Vec<usize> = (0..pairs.rows()).collect();
    let at = |column: &[i64], row: usize| column.get(row).copied().unwrap_or(0);
    let key = |row: &usize| {
        let (from, to) = (places.at(at(from, *row))?, places.at(at(to, *row))?);
        let of =
            |own: &str, other: &str, is_pseudo| (if is_pseudo { other } else { own }).to_owned();
        let from_pipeline = of(from.pipeline, to.pipeline, from.is_pseudo);
        let to_pipeline = of(to.pipeline, from.pipeline, to.is_pseudo);
        Ok::<_, Error>((from_pipeline, from.order, from.name, to_pipeline, to.order, to.name))
    };
    let keys = order.iter().map(key).collect::<Result<Vec<_>, _>>()?;
    order.sort_by_key(|row| keys.get(*row));
    for row in order {
        let Some((from_pipeline, from_order, from_name, to_pipeline, to_order, to_name)) =
            keys.get(row)
        else {
            continue;
        };
        let pair = (at(from, row), at(to, row));
        let n = at(follows, row);
        let has_gap = *from_name != "START" && *to_name != "STILL";
        let own = counted.get(&pair).copied().filter(|_| has_gap).unwrap_or_default();
        let gap = |column: &[i64]| Value::float(has_gap.then(|| days(at(column, row), resolution)));
        let mean = ratio(at(sums, row), n).map(|mean| mean * days(1, resolution));
        let all = of_stage.get(&pair.0).map_or(0, |(after, _)| *after);
        rows.push(
            NO_DAY,
            &[
                ("from_pipeline", Value::Text(from_pipeline)),
                ("from_order", Value::Int(*from_order)),
                ("from_stage", Value::Text(from_name)),
                ("to_pipeline", Value::Text(to_pipeline)),
                ("to_order", Value::Int(*to_order)),
                ("to_stage", Value::Text(to_name)),
                ("follows_n", Value::Int(n)),
                ("deals_n", Value::Int(at(deals, row))),
                ("follows_share", Value::float(ratio(n, all))),
                ("is_repeat", Value::Bool(pair.0 == pair.1)),
                ("gap_days_mean", Value::float(mean.filter(|_| has_gap))),
                ("gap_days_p50", Value::float(own.quantile_days(0.5, resolution))),
                ("gap_days_p90", Value::float(own.quantile_days(0.9, resolution))),
                ("gap_days_min", gap(least)),
                ("gap_days_max", gap(most)),
                ("low_n", Value::Bool(n < group.settings.quantile_floor)),
            ],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{check, finish, settings, state};
    use crate::time::Period;

    /// Two deals worked by hand: L L Q on days 0 1 3, and L Q L on days 0 4 4.
    #[test]
    fn repeats_follow_themselves_and_every_event_has_a_before_and_an_after() {
        let (start, still, l, q) = (0, 1, 4, 5);
        let pairs = state(
            &["stage", "next_stage"],
            &["follows_n", "deals_n", "gap_sum", "gap_min", "gap_max"],
            &[
                &[start, l, 2, 2, 0, 0, 0],
                &[l, still, 1, 1, 0, 0, 0],
                &[l, l, 1, 1, 1, 1, 1],
                &[l, q, 2, 2, 6, 2, 4],
                &[q, still, 1, 1, 0, 0, 0],
                &[q, l, 1, 1, 0, 0, 0],
            ],
        );
        let gaps = state(
            &["stage", "next_stage", "gap"],
            &["gaps_n"],
            &[&[start, l, 0, 2], &[l, l, 1, 1], &[l, q, 2, 1], &[l, q, 4, 1], &[q, l, 0, 1]],
        );
        let settings = settings(&["L", "Q"], 20);
        let table = finish(&METRIC, &[pairs, gaps], Period::All, &settings).expect("a table");
        check(&table, &[], "from_stage", "START L L L Q Q");
        check(&table, &[], "to_stage", "L L Q STILL L STILL");
        check(&table, &[], "follows_n", "2 1 2 1 1 1");
        check(&table, &["from_stage=L", "to_stage=Q"], "gap_days_mean", "3.0");
        check(&table, &["from_stage=L", "to_stage=Q"], "gap_days_p50", "3.0");
        check(&table, &["from_stage=L", "to_stage=Q"], "follows_share", "0.5");
        check(&table, &["to_stage=STILL"], "gap_days_mean", "- -");
        check(&table, &["is_repeat=true"], "from_stage", "L");
    }
}
