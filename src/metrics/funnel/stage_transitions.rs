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

use super::{Place, Places, move_name};
use crate::error::Error;
use crate::metrics::durations::Counted;
use crate::metrics::{
    Absent, Group, Identity, Metric, PIPELINE, Rows, State, StateView, View, by_period,
};
use crate::relations::Relation;
use crate::stats::ratio;
use crate::table::{ColumnSpec, Value};
use crate::time::{Day, Period, day_text};

/// Definition: visits by stage, next stage and kind of move, in the period in which the visit
/// began; START rows count the first visit of each deal, DELETED rows those restored, HANDOFF rows
/// those that come from another pipeline.
///
/// Edge cases: dwell is of ended visits only, so it is null for START, STILL and DELETED; a visit
/// that ends before it begins counts as a move and has no dwell.
pub static METRIC: Metric = Metric {
    name: "stage_transitions",
    question: "Where do deals go from each stage, how often, and after how long?",
    grain: "one row per slice, period of entry, pipeline, from stage, to stage and kind of move",
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
    PIPELINE,
    ColumnSpec::count(
        "from_order",
        "place",
        "Place of the stage left: 0 is START, then the stages as configured.",
    )
    .key(),
    ColumnSpec::text(
        "from_stage",
        "The stage left; START before the first visit, DELETED before a restoration, HANDOFF after \
         another pipeline.",
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

/// One kind of move between two stages, as it ended a visit or began one.
#[derive(Debug)]
struct Moves<'a> {
    from: i64,
    to: i64,
    kind: &'static str,
    moves_n: i64,
    deals_n: i64,
    first_moves_n: i64,
    amount: i64,
    amount_n: i64,
    dwell: Counted<'a>,
}

/// What became of the visits to one stage.
#[derive(Debug, Default, Clone, Copy)]
struct Balance {
    entries_n: i64,
    exits_n: i64,
    still_n: i64,
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [exits, dwells, arrivals] = group.states else {
        return Err(Error::Bug("the stage transitions have three states".into()));
    };
    let places = Places::of(group.settings);
    for (start, [exits, dwells, arrivals]) in by_period([exits, dwells, arrivals]) {
        let mut moves = read_exits(&exits, &dwells)?;
        let arrivals = read_arrivals(&arrivals)?;
        let mut balances: BTreeMap<(&str, i64), Balance> = BTreeMap::new();
        for exit in &moves {
            let pipeline = places.at(exit.from)?.pipeline;
            let balance = balances.entry((pipeline, exit.from)).or_default();
            let is_still = exit.kind == "still";
            *(if is_still { &mut balance.still_n } else { &mut balance.exits_n }) += exit.moves_n;
        }
        for arrival in &arrivals {
            let pipeline = places.at(arrival.to)?.pipeline;
            balances.entry((pipeline, arrival.to)).or_default().entries_n += arrival.moves_n;
        }
        let broken = |stage, claim, amount| broken(group, &places, (start, stage), claim, amount);
        for ((_, stage), balance) in &balances {
            if balance.entries_n != balance.exits_n + balance.still_n {
                return Err(broken(*stage, "entries = exits + still", balance.entries_n));
            }
        }
        if group.period == Period::All
            && let Some((stage, difference)) = one_sided(&places, &moves, &arrivals)?
        {
            return Err(broken(stage, "moves by exit = moves by arrival", difference));
        }
        // Arrivals from no stage: the first visits of deals, and deals restored after a deletion or
        // handed over by another pipeline.
        for arrival in arrivals {
            if places.at(arrival.from)?.is_pseudo {
                let pipeline = places.at(arrival.to)?.pipeline;
                let balance = balances.entry((pipeline, arrival.from)).or_default();
                balance.entries_n += arrival.moves_n;
                balance.exits_n += arrival.moves_n;
                moves.push(arrival);
            }
        }
        let order = |code: i64| places.at(code).map_or(i64::MAX, |place| place.order);
        let pipeline = |m: &Moves<'_>| places.pipeline_of(m.from, m.to);
        moves.sort_by_cached_key(|m| {
            (pipeline(m).unwrap_or_default(), order(m.from), order(m.to), m.kind)
        });
        for own in &moves {
            let of = pipeline(own)?;
            let balance = balances.get(&(of, own.from)).copied().unwrap_or_default();
            let between = (places.at(own.from)?, places.at(own.to)?);
            push_move(group, rows, (start, of), between, own, balance)?;
        }
    }
    Ok(())
}

fn read_exits<'a>(state: &StateView<'a>, dwells: &StateView<'a>) -> Result<Vec<Moves<'a>>, Error> {
    let keys = |of: &StateView<'a>| -> Result<[&'a [i64]; 3], Error> {
        Ok([of.key("stage")?, of.key("next_stage")?, of.key("move")?])
    };
    let (durations, visits_n) = (dwells.key("ended_dwell")?, dwells.value("visits_n")?);
    let (exit_keys, dwell_keys) = (keys(state)?, keys(dwells)?);
    let (moves_n, deals_n) = (state.value("moves_n")?, state.value("deals_n")?);
    let first_moves_n = state.value("first_moves_n")?;
    let (amount, amount_n) = (state.value("moved_amount")?, state.value("moved_amount_n")?);
    let at = |column: &[i64], row: usize| column.get(row).copied().unwrap_or(0);
    let mut runs = dwells.runs(4).into_iter().peekable();
    let mut found = Vec::with_capacity(state.rows());
    for row in 0..state.rows() {
        let key = exit_keys.map(|column| at(column, row));
        let own = runs.next_if(|run| dwell_keys.map(|column| at(column, run.start)) == key);
        let kind = move_name(key[2])?;
        found.push(Moves {
            from: key[0],
            to: key[1],
            kind,
            moves_n: at(moves_n, row),
            // A deal is still in at most one stage, and only once.
            deals_n: at(if kind == "still" { moves_n } else { deals_n }, row),
            first_moves_n: at(first_moves_n, row),
            amount: at(amount, row),
            amount_n: at(amount_n, row),
            dwell: own.map(|run| Counted::of(durations, visits_n, run)).unwrap_or_default(),
        });
    }
    match runs.next() {
        None => Ok(found),
        Some(_) => Err(Error::Bug("there is a dwell of a visit that has no end".into())),
    }
}

fn read_arrivals<'a>(state: &StateView<'a>) -> Result<Vec<Moves<'a>>, Error> {
    let (previous, stages) = (state.key("prev_stage")?, state.key("stage")?);
    let kinds = state.key("arrival")?;
    let (entries_n, first_n) = (state.value("entries_n")?, state.value("first_entries_n")?);
    let (amount, amount_n) = (state.value("entered_amount")?, state.value("entered_amount_n")?);
    let at = |column: &[i64], row: usize| column.get(row).copied().unwrap_or(0);
    let read = |row: usize| {
        let kind = move_name(at(kinds, row))?;
        Ok(Moves {
            from: at(previous, row),
            to: at(stages, row),
            kind,
            moves_n: at(entries_n, row),
            deals_n: at(if kind == "created" { first_n } else { entries_n }, row),
            first_moves_n: at(first_n, row),
            amount: at(amount, row),
            amount_n: at(amount_n, row),
            dwell: Counted::default(),
        })
    };
    (0..state.rows()).map(read).collect()
}

/// Over the whole history every move between two stages is seen twice: as the end of one visit and
/// as the beginning of the next. A stage for which that is not so, and by how much.
fn one_sided(
    places: &Places<'_>,
    exits: &[Moves<'_>],
    arrivals: &[Moves<'_>],
) -> Result<Option<(i64, i64)>, Error> {
    let mut differences: BTreeMap<(i64, i64), i64> = BTreeMap::new();
    for exit in exits {
        if !places.at(exit.to)?.is_pseudo {
            *differences.entry((exit.from, exit.to)).or_default() += exit.moves_n;
        }
    }
    for arrival in arrivals {
        if !places.at(arrival.from)?.is_pseudo {
            *differences.entry((arrival.from, arrival.to)).or_default() -= arrival.moves_n;
        }
    }
    let found = differences.into_iter().find(|(_, difference)| *difference != 0);
    Ok(found.map(|((stage, _), difference)| (stage, difference)))
}

fn broken(
    group: &Group<'_>,
    places: &Places<'_>,
    (start, stage): (Day, i64),
    claim: &str,
    amount: i64,
) -> Error {
    let name = places.at(stage).map_or("?", |place| place.name);
    Error::IdentityBroken {
        table: METRIC.name.into(),
        identity: claim.into(),
        place: format!("stage {name:?}, {} {} ({amount})", group.period.name(), day_text(start)),
    }
}

fn push_move(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    (start, pipeline): (Day, &str),
    (from, to): (&Place<'_>, &Place<'_>),
    moves: &Moves<'_>,
    balance: Balance,
) -> Result<(), Error> {
    let resolution = group.settings.resolution;
    let Balance { entries_n, exits_n, still_n } = balance;
    let is_still = moves.kind == "still";
    let exit_rate = if is_still { None } else { ratio(moves.moves_n, exits_n) };
    let dwell_n = moves.dwell.count();
    rows.push(
        start,
        &[
            ("pipeline", Value::Text(pipeline)),
            ("from_order", Value::Int(from.order)),
            ("from_stage", Value::Text(from.name)),
            ("to_order", Value::Int(to.order)),
            ("to_stage", Value::Text(to.name)),
            ("move", Value::Text(moves.kind)),
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
            ("dwell_n", Value::Int(dwell_n)),
            ("dwell_days_mean", Value::float(moves.dwell.mean_days(resolution))),
            ("dwell_days_p50", Value::float(moves.dwell.quantile_days(0.5, resolution))),
            ("dwell_days_p90", Value::float(moves.dwell.quantile_days(0.9, resolution))),
            ("low_n", Value::Bool(dwell_n < group.settings.quantile_floor)),
        ],
    )
}
