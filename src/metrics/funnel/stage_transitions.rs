//! Where deals go from each stage: every move of every visit, with those that began and those that
//! have not moved on.
//!
//! A deal that goes back and forth moves many times; `deals_n` and `first_moves_n` count it once.
//! Invariant: per stage and period of entry, entries (counted by where visits came from) equal
//! exits of every kind plus those still there (counted by where visits went); over the whole
//! history, moves from one stage to another are the same seen from either side.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::{move_name, stage_place};
use crate::error::Error;
use crate::metrics::durations::Durations;
use crate::metrics::{
    Absent, Dims, Gathered, Group, Identity, Metric, Rows, State, StateRows, View, period_start,
};
use crate::relations::Relation;
use crate::relations::visits::PSEUDO_STAGES;
use crate::stats::ratio;
use crate::table::{ColumnSpec, Value};
use crate::time::{Period, day_text};

/// Definition: visits by stage, next stage and kind of move, in the period in which the visit
/// began; START rows count the first visit of each deal, DELETED rows those restored.
///
/// Edge cases: dwell is of ended visits only, so it is null for START, STILL and DELETED; a visit
/// that ends before it begins counts as a move and has no dwell.
pub static METRIC: Metric = Metric {
    name: "stage_transitions",
    question: "Where do deals go from each stage, how often, and after how long?",
    grain: "one row per slice, period of entry, from stage, to stage and kind of move",
    states: &[
        State {
            relation: Relation::Visits,
            sql: "SELECT entered_period AS period, stage, next_stage, move, \
                  COUNT(*) AS moves_n, SUM(is_first_move) AS deals_n, \
                  SUM(is_first_exit) AS first_moves_n, SUM(move_amount) AS moved_amount, \
                  SUM(has_move_amount) AS moved_amount_n FROM visits \
                  GROUP BY period, stage, next_stage, move",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Visits,
            sql: "SELECT entered_period AS period, stage, next_stage, move, dwell AS ended_dwell, \
                  COUNT(*) AS visits_n FROM visits WHERE is_censored = 0 AND is_negative = 0 \
                  GROUP BY period, stage, next_stage, move, ended_dwell",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Visits,
            sql: "SELECT entered_period AS period, prev_stage, stage, arrival, \
                  COUNT(*) AS entries_n, SUM(is_entry) AS first_entries_n, \
                  SUM(amount) AS entered_amount, SUM(has_amount) AS entered_amount_n \
                  FROM visits GROUP BY period, prev_stage, stage, arrival",
            absent: Absent::SkipTable,
        },
    ],
    output: OUTPUT,
    view: View::Heatmap("moves_n"),
    references: &["van der Aalst, 2016, Process Mining: Data Science in Action (directly-follows)"],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::count(
        "from_order",
        "place",
        "Place of the stage left: 0 is START, then the stages as configured.",
    )
    .key(),
    ColumnSpec::text(
        "from_stage",
        "The stage left; START before the first visit, DELETED before a restoration.",
    )
    .key(),
    ColumnSpec::count(
        "to_order",
        "place",
        "Place of the stage entered; STILL, DELETED and HANDOFF come after the stages.",
    )
    .key(),
    ColumnSpec::text(
        "to_stage",
        "The stage entered; STILL if the deal is there at as_of, DELETED, HANDOFF.",
    )
    .key(),
    ColumnSpec::text(
        "move",
        "Kind of move: created, advanced, skipped, regressed, unordered, won, lost, reopened, \
         deleted, handoff, still.",
    )
    .key(),
    ColumnSpec::count("moves_n", "visits", "Moves, of all visits."),
    ColumnSpec::count(
        "deals_n",
        "deals",
        "Distinct deals that made the move, each in the period of its first such move.",
    ),
    ColumnSpec::count(
        "first_moves_n",
        "deals",
        "Moves that ended a deal's first visit to the stage; 0 for STILL.",
    ),
    ColumnSpec::count(
        "entries_n",
        "visits",
        "Visits to from_stage that began in the period, counted on entry (for START: deals).",
    ),
    ColumnSpec::count("exits_n", "visits", "Of these, visits that have ended, by any move."),
    ColumnSpec::count("still_n", "visits", "Of these, visits that have not ended by as_of."),
    ColumnSpec::rate("entry_rate", "moves_n / entries_n: share of the visits, with STILL."),
    ColumnSpec::rate("exit_rate", "moves_n / exits_n: share of the exits; null for STILL."),
    ColumnSpec::money(
        "moved_amount",
        "Sum of the deals' amounts at the move (at as_of for STILL); unknown amounts are absent.",
    ),
    ColumnSpec::count("moved_amount_n", "visits", "Moves whose amount is known."),
    ColumnSpec::count("dwell_n", "visits", "Ended visits that the durations are of."),
    ColumnSpec::days("dwell_days_mean", "Mean time in the stage before the move; null for none."),
    ColumnSpec::days("dwell_days_p50", "Median time (type 7) before the move; null for none."),
    ColumnSpec::days("dwell_days_p90", "0.9-quantile (type 7) of the time; null for none."),
    ColumnSpec::flag("low_n", "The quantiles are of fewer values than the quantile floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "entries_n = exits_n + still_n",
        holds: |row| match (row.int("entries_n"), row.int("exits_n"), row.int("still_n")) {
            (Some(entries), Some(exits), Some(still)) => entries == exits + still,
            _ => false,
        },
    },
    Identity {
        claim: "first_moves_n ≤ deals_n ≤ moves_n ≤ entries_n",
        holds: |row| {
            row.int("first_moves_n") <= row.int("deals_n")
                && row.int("deals_n") <= row.int("moves_n")
                && row.int("moves_n") <= row.int("entries_n")
        },
    },
];

/// One kind of move between two stages.
#[derive(Debug, Default)]
struct Moves {
    moves_n: i64,
    deals_n: i64,
    first_moves_n: i64,
    amount: i64,
    amount_n: i64,
    dwell: Durations,
}

/// How the visits to one stage ended.
#[derive(Debug, Default)]
struct Balance {
    exits_n: i64,
    still_n: i64,
}

/// Per (period, stage, next stage, move).
type Exits = Gathered<(i64, i64, i64, i64), Moves>;
/// Per (period, stage left, stage entered, arrival).
type Arrivals = Gathered<(i64, i64, i64, i64), Moves>;

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [exits, dwells, arrivals] = group.states else {
        return Err(Error::Bug("the stage transitions have three states".into()));
    };
    let (exits, arrivals) = (gather_exits(exits, dwells)?, gather_arrivals(arrivals)?);
    let mut entries: Gathered<(i64, i64), i64> = BTreeMap::new();
    for ((dims, (period, _, stage, _)), moves) in &arrivals {
        *entries.entry((dims.clone(), (*period, *stage))).or_default() += moves.moves_n;
    }
    let mut balances: Gathered<(i64, i64), Balance> = BTreeMap::new();
    for ((dims, (period, stage, _, kind)), moves) in &exits {
        let balance = balances.entry((dims.clone(), (*period, *stage))).or_default();
        if move_name(*kind)? == "still" {
            balance.still_n += moves.moves_n;
        } else {
            balance.exits_n += moves.moves_n;
        }
    }
    for (key, entries_n) in &entries {
        let found = balances.get(key).map_or(0, |b| b.exits_n + b.still_n);
        if found != *entries_n {
            return Err(broken(group, key.1.0, key.1.1, "entries = exits + still", *entries_n));
        }
    }
    if group.period == Period::All {
        check_both_sides(group, &exits, &arrivals)?;
    }
    for ((dims, (period, stage, next, kind)), moves) in &exits {
        let key = (dims.clone(), (*period, *stage));
        let balance = balances.get(&key).map_or((0, 0), |b| (b.exits_n, b.still_n));
        let entries_n = entries.get(&key).copied().unwrap_or(0);
        push_move(group, rows, (dims, *period), (*stage, *next, move_name(*kind)?), moves, {
            (entries_n, balance.0, balance.1)
        })?;
    }
    push_arrivals(group, rows, &arrivals)
}

fn gather_exits(state: &StateRows, dwells: &StateRows) -> Result<Exits, Error> {
    let mut found = Exits::new();
    let (moves_n, deals_n) = (state.value("moves_n")?, state.value("deals_n")?);
    let first_moves_n = state.value("first_moves_n")?;
    let (amount, amount_n) = (state.value("moved_amount")?, state.value("moved_amount_n")?);
    let at = |column: &[i64], row: usize| column.get(row).copied().unwrap_or(0);
    for row in 0..state.rows {
        let key = move_key(state, row)?;
        let mut moves = Moves {
            moves_n: at(moves_n, row),
            deals_n: at(deals_n, row),
            first_moves_n: at(first_moves_n, row),
            amount: at(amount, row),
            amount_n: at(amount_n, row),
            dwell: Durations::default(),
        };
        // A deal is still in at most one stage, and only once.
        if move_name(key.3)? == "still" {
            moves.deals_n = moves.moves_n;
        }
        found.insert((state.dims(row), key), moves);
    }
    let (durations, visits_n) = (dwells.key("ended_dwell")?, dwells.value("visits_n")?);
    for run in dwells.runs(4) {
        let key = (dwells.dims(run.start), move_key(dwells, run.start)?);
        let moves = found.entry(key).or_default();
        for row in run {
            moves.dwell.add(at(durations, row), at(visits_n, row));
        }
    }
    Ok(found)
}

/// Period, stage, next stage and move of a row.
fn move_key(state: &StateRows, row: usize) -> Result<(i64, i64, i64, i64), Error> {
    let at = |name: &str| Ok(state.key(name)?.get(row).copied().unwrap_or(0));
    Ok((at("period")?, at("stage")?, at("next_stage")?, at("move")?))
}

fn gather_arrivals(state: &StateRows) -> Result<Arrivals, Error> {
    let mut found = Arrivals::new();
    let (periods, previous) = (state.key("period")?, state.key("prev_stage")?);
    let (stages, kinds) = (state.key("stage")?, state.key("arrival")?);
    let (entries_n, first_n) = (state.value("entries_n")?, state.value("first_entries_n")?);
    let (amount, amount_n) = (state.value("entered_amount")?, state.value("entered_amount_n")?);
    let at = |column: &[i64], row: usize| column.get(row).copied().unwrap_or(0);
    for row in 0..state.rows {
        let key = (at(periods, row), at(previous, row), at(stages, row), at(kinds, row));
        let is_created = move_name(key.3)? == "created";
        let moves = Moves {
            moves_n: at(entries_n, row),
            deals_n: if is_created { at(first_n, row) } else { at(entries_n, row) },
            first_moves_n: at(first_n, row),
            amount: at(amount, row),
            amount_n: at(amount_n, row),
            dwell: Durations::default(),
        };
        found.insert((state.dims(row), key), moves);
    }
    Ok(found)
}

fn is_pseudo(group: &Group<'_>, stage: i64) -> Result<bool, Error> {
    Ok(PSEUDO_STAGES.contains(&stage_place(group.settings, stage)?.0))
}

/// Over the whole history every move between two stages is seen twice: as the end of one visit and
/// as the beginning of the next.
fn check_both_sides(group: &Group<'_>, exits: &Exits, arrivals: &Arrivals) -> Result<(), Error> {
    let mut differences: Gathered<(i64, i64, i64), i64> = BTreeMap::new();
    for ((dims, (period, stage, next, _)), moves) in exits {
        if !is_pseudo(group, *next)? {
            let key = (dims.clone(), (*period, *stage, *next));
            *differences.entry(key).or_default() += moves.moves_n;
        }
    }
    for ((dims, (period, previous, stage, _)), moves) in arrivals {
        if !is_pseudo(group, *previous)? {
            let key = (dims.clone(), (*period, *previous, *stage));
            *differences.entry(key).or_default() -= moves.moves_n;
        }
    }
    match differences.iter().find(|(_, difference)| **difference != 0) {
        None => Ok(()),
        Some(((_, (period, stage, _)), difference)) => {
            let claim = "moves by exit = moves by arrival";
            Err(broken(group, *period, *stage, claim, *difference))
        }
    }
}

fn broken(group: &Group<'_>, period: i64, stage: i64, claim: &str, amount: i64) -> Error {
    let name = stage_place(group.settings, stage).map_or("?", |(name, _)| name);
    Error::IdentityBroken {
        table: METRIC.name.into(),
        identity: claim.into(),
        place: format!(
            "stage {name:?}, {} {} ({amount})",
            group.period.name(),
            day_text(period_start(period))
        ),
    }
}

/// Arrivals from no stage: the first visits of deals (START), and deals restored after a deletion.
fn push_arrivals(group: &Group<'_>, rows: &mut Rows<'_>, arrivals: &Arrivals) -> Result<(), Error> {
    let mut totals: Gathered<(i64, i64), i64> = BTreeMap::new();
    for ((dims, (period, previous, _, _)), moves) in arrivals {
        *totals.entry((dims.clone(), (*period, *previous))).or_default() += moves.moves_n;
    }
    for ((dims, (period, previous, stage, kind)), moves) in arrivals {
        if is_pseudo(group, *previous)? {
            let total = totals.get(&(dims.clone(), (*period, *previous))).copied().unwrap_or(0);
            let from_to = (*previous, *stage, move_name(*kind)?);
            push_move(group, rows, (dims, *period), from_to, moves, (total, total, 0))?;
        }
    }
    Ok(())
}

fn push_move(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    (dims, period): (&Dims, i64),
    (from, to, kind): (i64, i64, &str),
    moves: &Moves,
    (entries_n, exits_n, still_n): (i64, i64, i64),
) -> Result<(), Error> {
    let resolution = group.settings.resolution;
    let (from_stage, from_order) = stage_place(group.settings, from)?;
    let (to_stage, to_order) = stage_place(group.settings, to)?;
    let exit_rate = if kind == "still" { None } else { ratio(moves.moves_n, exits_n) };
    let dwell = &moves.dwell;
    rows.push(
        dims,
        period_start(period),
        &[
            ("from_order", Value::Int(from_order)),
            ("from_stage", Value::Text(from_stage)),
            ("to_order", Value::Int(to_order)),
            ("to_stage", Value::Text(to_stage)),
            ("move", Value::Text(kind)),
            ("moves_n", Value::Int(moves.moves_n)),
            ("deals_n", Value::Int(moves.deals_n)),
            ("first_moves_n", Value::Int(moves.first_moves_n)),
            ("entries_n", Value::Int(entries_n)),
            ("exits_n", Value::Int(exits_n)),
            ("still_n", Value::Int(still_n)),
            ("entry_rate", Value::float(ratio(moves.moves_n, entries_n))),
            ("exit_rate", Value::float(exit_rate)),
            ("moved_amount", Value::Money(moves.amount)),
            ("moved_amount_n", Value::Int(moves.amount_n)),
            ("dwell_n", Value::Int(dwell.count())),
            ("dwell_days_mean", Value::float(dwell.mean_days(resolution))),
            ("dwell_days_p50", Value::float(dwell.quantile_days(0.5, resolution))),
            ("dwell_days_p90", Value::float(dwell.quantile_days(0.9, resolution))),
            ("low_n", Value::Bool(dwell.count() < group.settings.quantile_floor)),
        ],
    )
}
