//! What deals do twice, and what that costs.
//!
//! A loop is a visit to a stage that the deal has been in before; its cost is the time it takes. By
//! the move that began it one sees why: back from a later stage, re-opened after a close, handed
//! over. It does not say what would have happened without the loop: win rates of deals with and
//! without one stand side by side, and the difference is no effect.
//! Invariant: visits = first visits + loops.

use std::collections::BTreeMap;

use super::super::funnel::{Places, move_name};
use crate::error::Error;
use crate::metrics::durations::days;
use crate::metrics::{Absent, Group, Identity, Metric, PIPELINE, Rows, State, View};
use crate::relations::Relation;
use crate::stats::interval::wilson;
use crate::stats::{Z_95, ratio};
use crate::table::{ColumnSpec, Value};
use crate::time::Day;

/// What stands for all kinds of arrival together.
const ALL: &str = "all";

/// Definition: visits by stage in the period in which they began; a loop is a visit with
/// `visit_no` above 1, a deal with rework in a stage one that began its second visit to it.
///
/// Edge cases: time of a loop that has not ended is until as_of; won and lost stages count too, so
/// that a deal won twice is seen; the outcome of the deals is that at as_of.
pub static METRIC: Metric = Metric {
    name: "rework",
    question: "What do deals do twice, and what does that cost?",
    grain: "one row per slice, period of entry, pipeline, stage and kind of move that began the loop",
    states: &[State {
        relation: Relation::Visits,
        sql: "SELECT entered_period AS period, stage, arrival, COUNT(*) AS visits_n, \
              SUM(is_first_visit) AS first_n, \
              SUM(CASE WHEN is_first_visit = 1 THEN deal_is_won ELSE 0 END) AS first_won_n, \
              SUM(CASE WHEN is_first_visit = 1 THEN deal_is_lost ELSE 0 END) AS first_lost_n, \
              SUM(CASE WHEN visit_no = 2 THEN 1 ELSE 0 END) AS second_n, \
              SUM(CASE WHEN visit_no = 2 THEN deal_is_won ELSE 0 END) AS second_won_n, \
              SUM(CASE WHEN visit_no = 2 THEN deal_is_lost ELSE 0 END) AS second_lost_n, \
              SUM(CASE WHEN is_negative = 0 THEN dwell ELSE 0 END) AS dwell_sum, \
              SUM(CASE WHEN is_negative = 0 AND visit_no > 1 THEN dwell ELSE 0 END) AS loop_dwell, \
              SUM(CASE WHEN visit_no > 1 THEN amount ELSE 0 END) AS loop_amount \
              FROM visits GROUP BY period, stage, arrival",
        absent: Absent::SkipTable,
    }],
    output: OUTPUT,
    view: View::Bars("loop_days"),
    references: &["van der Aalst, 2016, Process Mining: Data Science in Action (rework)"],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    PIPELINE,
    ColumnSpec::count("stage_order", "place", "Place of the stage in the pipeline, from 1.").key(),
    ColumnSpec::text("stage", "Name of the stage.").key(),
    ColumnSpec::text(
        "loop_move",
        "The move that began the loop: regressed, advanced, skipped, reopened, handoff, …; all for \
         all of them.",
    )
    .key(),
    ColumnSpec::count("visits_n", "visits", "Visits that began in the period; null but for all.")
        .nullable(),
    ColumnSpec::count("deals_n", "deals", "Of these, first visits of a deal; null but for all.")
        .nullable(),
    ColumnSpec::count("loops_n", "visits", "Visits to a stage that the deal was in before."),
    ColumnSpec::count("rework_deals_n", "deals", "Deals whose second visit began in the period."),
    ColumnSpec::rate("rework_rate", "rework_deals_n / deals_n; null but for all."),
    ColumnSpec::rate("rework_rate_low", "Lower Wilson 95 % limit; null where it is above 1."),
    ColumnSpec::rate("rework_rate_high", "Upper Wilson 95 % limit; null where it is above 1."),
    ColumnSpec::days("loop_days", "Time of the loops: what rework costs."),
    ColumnSpec::rate(
        "loop_time_share",
        "loop_days as a share of the time of all visits; null but for all.",
    ),
    ColumnSpec::money("loop_amount", "Amount at entry of the loops; unknown amounts add nothing."),
    ColumnSpec::count("rework_won_n", "deals", "Of rework_deals_n, won at as_of."),
    ColumnSpec::count("rework_lost_n", "deals", "Of rework_deals_n, lost at as_of."),
    ColumnSpec::rate("rework_win_rate", "rework_won_n / (rework_won_n + rework_lost_n)."),
    ColumnSpec::rate(
        "deal_win_rate",
        "The same of the deals whose first visit began in the period; null but for all.",
    ),
    ColumnSpec::flag("low_n", "Fewer closed deals with rework than the rate floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "visits_n = deals_n + loops_n where they are not null",
        holds: |row| match (row.int("visits_n"), row.int("deals_n")) {
            (Some(visits), Some(deals)) => row.int("loops_n") == Some(visits - deals),
            (None, None) => row.text("loop_move") != Some(ALL),
            _ => false,
        },
    },
    Identity {
        claim: "rework_won_n + rework_lost_n ≤ rework_deals_n ≤ loops_n",
        holds: |row| {
            let closed = row.int("rework_won_n").zip(row.int("rework_lost_n"));
            closed.map(|(won, lost)| won + lost) <= row.int("rework_deals_n")
                && row.int("rework_deals_n") <= row.int("loops_n")
        },
    },
];

/// The sums of some visits, in the order of [`SUMS`].
type Sums = [i64; SUMS.len()];

const SUMS: [&str; 10] = [
    "visits_n",
    "first_n",
    "first_won_n",
    "first_lost_n",
    "second_n",
    "second_won_n",
    "second_lost_n",
    "dwell_sum",
    "loop_dwell",
    "loop_amount",
];

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [state] = group.states else {
        return Err(Error::Bug("rework has one state".into()));
    };
    let places = Places::of(group.settings);
    for (start, state) in state.by_period() {
        let stages = state.key("stage")?;
        let arrivals = state.key("arrival")?;
        let columns = SUMS.map(|name| state.value(name).unwrap_or_default());
        let mut by_stage: BTreeMap<(&str, i64), BTreeMap<&str, Sums>> = BTreeMap::new();
        for (row, (stage, arrival)) in stages.iter().zip(arrivals).enumerate() {
            let place = places.at(*stage)?;
            let own = columns.map(|column| column.get(row).copied().unwrap_or(0));
            let moves = by_stage.entry((place.pipeline, *stage)).or_default();
            for name in [ALL, move_name(*arrival)?] {
                let sums = moves.entry(name).or_insert([0; SUMS.len()]);
                for (sum, value) in sums.iter_mut().zip(own) {
                    *sum = sum.checked_add(value).ok_or_else(overflow)?;
                }
            }
        }
        for ((_, stage), moves) in &by_stage {
            for (name, sums) in moves {
                push(group, rows, start, (&places, *stage, name), sums)?;
            }
        }
    }
    Ok(())
}

fn overflow() -> Error {
    Error::Overflow { what: "the sum of all visits".into() }
}

fn push(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    start: Day,
    (places, stage, name): (&Places<'_>, i64, &str),
    sums: &Sums,
) -> Result<(), Error> {
    let [visits, deals, won, lost, rework, rework_won, rework_lost, dwell, loop_dwell, amount] =
        *sums;
    let loops = visits - deals;
    let is_all = name == ALL;
    if loops == 0 && !is_all {
        return Ok(());
    }
    let place = places.at(stage)?;
    let of_all = |value: i64| Value::int(is_all.then_some(value));
    let settings = group.settings;
    let is_share = is_all && rework <= deals;
    let limits = is_share.then(|| wilson(rework, deals, Z_95)).flatten();
    let only_all = |rate: Option<f64>| Value::float(rate.filter(|_| is_all));
    rows.push(
        start,
        &[
            ("pipeline", Value::Text(place.pipeline)),
            ("stage_order", Value::Int(place.order)),
            ("stage", Value::Text(place.name)),
            ("loop_move", Value::Text(name)),
            ("visits_n", of_all(visits)),
            ("deals_n", of_all(deals)),
            ("loops_n", Value::Int(loops)),
            ("rework_deals_n", Value::Int(rework)),
            ("rework_rate", only_all(ratio(rework, deals).filter(|_| is_share))),
            ("rework_rate_low", Value::float(limits.map(|l| l.0))),
            ("rework_rate_high", Value::float(limits.map(|l| l.1))),
            ("loop_days", Value::Float(days(loop_dwell, settings.resolution))),
            ("loop_time_share", only_all(ratio(loop_dwell, dwell))),
            ("loop_amount", Value::Money(amount)),
            ("rework_won_n", Value::Int(rework_won)),
            ("rework_lost_n", Value::Int(rework_lost)),
            ("rework_win_rate", Value::float(ratio(rework_won, rework_won + rework_lost))),
            ("deal_win_rate", only_all(ratio(won, won + lost))),
            ("low_n", Value::Bool(rework_won + rework_lost < settings.rate_floor)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{check, eight_deals, run, settings};

    /// published-numbers.md section 5: rework Q 1 deal (D3), P 2 deals (D3 and D6). Days 4 to 6 and
    /// on: D3 is in Q again from 6 to 8 and in P from 8 to 10; D6 in P from 5 to 12.
    #[test]
    fn eight_hand_worked_deals_have_their_published_rework() {
        let table = run(&METRIC, &eight_deals(), &[], &settings(&["L", "Q", "P"], 20));
        let at = |stage, kind| ["period=all", stage, kind];
        check(&table, &at("stage=Q", "loop_move=all"), "rework_deals_n", "1");
        check(&table, &at("stage=P", "loop_move=all"), "rework_deals_n", "2");
        check(&table, &at("stage=L", "loop_move=all"), "rework_deals_n", "0");
        check(&table, &at("stage=Q", "loop_move=regressed"), "loop_days", "2.0");
        check(&table, &at("stage=P", "loop_move=advanced"), "loop_days", "2.0");
        check(&table, &at("stage=P", "loop_move=reopened"), "loop_days", "7.0");
        check(&table, &at("stage=P", "loop_move=all"), "visits_n", "7");
        check(&table, &at("stage=P", "loop_move=all"), "deals_n", "5");
        // Of 18 days in P (exposure 18/7 of section 5) nine are loops.
        check(&table, &at("stage=P", "loop_move=all"), "loop_time_share", "0.5");
        check(&table, &at("stage=Q", "loop_move=all"), "rework_rate", "0.2");
    }
}
