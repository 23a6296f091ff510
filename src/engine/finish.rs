//! From merged states to finished tables: slices and periods rolled up, rows made, identities
//! checked.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use rayon::prelude::*;

use super::Plan;
use super::merge::{KeyRule, Merge, Overflowed, combine};
use super::sql::StateQuery;
use super::states::{overflow, panic_text};
use super::units::{Recipe, Unit};
use crate::error::Error;
use crate::metrics::{
    Group, NO_KEY, RowView, Rows, Settings, StateRows, common_columns, period_start, slice_name,
};
use crate::relations::customer_periods::GRAINS;
use crate::table::{ColumnSpec, Table, TableBuilder};
use crate::time::{NO_DAY, Period};

/// Finishes one table. `results` are the rows of the unit's jobs, state by state, maximal slice by
/// maximal slice.
pub(crate) fn finish(
    unit: &Unit,
    results: &[StateRows],
    plan: &Plan,
    settings: &Settings,
) -> Result<Table, Error> {
    let caught = catch_unwind(AssertUnwindSafe(|| finish_unit(unit, results, plan, settings)));
    caught.unwrap_or_else(|panic| {
        let what = format!("table {:?}, finish", unit.name);
        Err(Error::compute(what, panic_text(panic.as_ref())))
    })
}

fn finish_unit(
    unit: &Unit,
    results: &[StateRows],
    plan: &Plan,
    settings: &Settings,
) -> Result<Table, Error> {
    let mut specs = common_columns(&plan.dimensions);
    specs.extend_from_slice(unit.output());
    let mut builder = TableBuilder::new(&unit.name, specs, settings.money_scale);
    for slice in &unit.slices {
        let sliced = slice_states(unit, results, slice)?;
        finish_slice(unit, slice, &sliced, plan, settings, &mut builder)?;
    }
    let table = builder.finish()?;
    check_identities(unit, &table.specs, &table.batch)?;
    Ok(table)
}

/// Appends the rows of every period of one slice, or of some of its dimensions' values: no row
/// depends on other values than its own.
pub(super) fn finish_slice(
    unit: &Unit,
    slice: &[String],
    sliced: &[Cow<'_, StateRows>],
    plan: &Plan,
    settings: &Settings,
    builder: &mut TableBuilder,
) -> Result<(), Error> {
    let of_base = plan.base();
    let mut rolled: Vec<(Period, Vec<Cow<'_, StateRows>>)> = Vec::new();
    for period in &unit.periods {
        let nearest = rolled.iter().rev().find(|(from, _)| nests(*from, *period));
        let states = unit
            .states
            .iter()
            .zip(sliced)
            .enumerate()
            .map(|(state, (query, base))| {
                let rolls = query.rolls_up();
                let shorter = nearest.and_then(|(_, states)| states.get(state));
                // The base period's rows are those of the base period.
                if rolls && *period == of_base {
                    return Ok(Cow::Borrowed(base.as_ref()));
                }
                let rows = if rolls { shorter.unwrap_or(base) } else { base };
                roll_period(query, rows, *period, settings).map(Cow::Owned)
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|Overflowed(name)| overflow(&unit.name, &name))?;
        rolled.push((*period, states));
        let Some((_, states)) = rolled.last() else { continue };
        let states: Vec<&StateRows> = states.iter().map(Cow::as_ref).collect();
        let group = Group { states: &states, period: *period, settings };
        let dictionaries = &settings.dictionaries;
        let mut rows = Rows::new(builder, slice, &plan.dimensions, *period, dictionaries);
        match &unit.recipe {
            Recipe::Metric(metric) => (metric.finish)(&group, &mut rows),
            Recipe::Custom(table) => table.finish(&group, &mut rows),
        }?;
    }
    Ok(())
}

/// Whether every period of length `from` lies in one of length `to`, so that the shorter one's
/// rows, which are fewer than the base's, can be rolled up again.
fn nests(from: Period, to: Period) -> bool {
    use Period::{All, FiscalQuarter, FiscalYear, Month, Quarter, Year};
    matches!(
        (from, to),
        (_, All)
            | (Month, Quarter | Year | FiscalQuarter | FiscalYear)
            | (Quarter, Year)
            | (FiscalQuarter, FiscalYear)
    )
}

/// The states of one slice, each rolled up from the smallest computed slice that holds it.
fn slice_states<'a>(
    unit: &Unit,
    results: &'a [StateRows],
    slice: &[String],
) -> Result<Vec<Cow<'a, StateRows>>, Error> {
    let computed = unit.maximal.len();
    let mut states = Vec::with_capacity(unit.states.len());
    for (query, rows) in unit.states.iter().zip(results.chunks(computed)) {
        let place = |from: &[String], dimension: &String| from.iter().position(|d| d == dimension);
        let source = unit
            .maximal
            .iter()
            .zip(rows)
            .filter(|(from, _)| slice.iter().all(|d| from.contains(d)))
            .min_by_key(|(_, rows)| rows.rows);
        let Some((from, rows)) = source else {
            let slice = slice_name(slice);
            return Err(Error::Bug(format!("table {:?}: nothing holds {slice}", unit.name)));
        };
        if from == slice {
            states.push(Cow::Borrowed(rows));
            continue;
        }
        let dimensions: Vec<usize> = slice.iter().filter_map(|d| place(from, d)).collect();
        let keys = vec![KeyRule::Keep; query.keys.len()];
        let rolled = combine(&[rows], &dimensions, &keys, &merges(query))
            .map_err(|Overflowed(name)| overflow(&unit.name, &name))?;
        states.push(Cow::Owned(rolled));
    }
    Ok(states)
}

fn merges(query: &StateQuery) -> Vec<Merge> {
    query.values.iter().map(|v| v.merge).collect()
}

/// The rows of one period length.
///
/// Keys `period` and `cohort` hold first days of the base period and become those of `period`, or
/// nothing for the whole history. A key `grain` selects its rows instead and goes. A state without
/// any of these belongs to the whole history.
fn roll_period(
    query: &StateQuery,
    rows: &StateRows,
    period: Period,
    settings: &Settings,
) -> Result<StateRows, Overflowed> {
    let start = |key: i64| match period_start(key) {
        NO_DAY => NO_KEY,
        day => match settings.calendar.start(period, day) {
            NO_DAY => NO_KEY,
            first => i64::from(first),
        },
    };
    // No row has this number, so that nothing is left of a state that has no such period.
    const NOTHING: i64 = i64::MAX;
    let by_grain = query.has_key("grain");
    let position = GRAINS.iter().position(|g| *g == period.name());
    let grain = match (period, position.map(i64::try_from)) {
        (Period::All, _) | (_, None | Some(Err(_))) => NOTHING,
        (_, Some(Ok(code))) => code,
    };
    let mut rules = Vec::with_capacity(query.keys.len());
    for key in &query.keys {
        rules.push(match key.name.as_str() {
            "grain" => KeyRule::Only(grain),
            name if !by_grain && is_period(name) => KeyRule::Map(&start),
            _ => KeyRule::Keep,
        });
    }
    if !by_grain && !query.rolls_up() && period != Period::All {
        let mut none = rows.clone();
        none.rows = 0;
        let keys = none.keys.iter_mut().chain(&mut none.values).map(|(_, column)| column);
        none.dimensions.iter_mut().chain(keys).for_each(Vec::clear);
        return Ok(none);
    }
    let dimensions: Vec<usize> = (0..rows.dimensions.len()).collect();
    combine(&[rows], &dimensions, &rules, &merges(query))
}

/// Whether a key holds base periods.
pub(crate) fn is_period(key: &str) -> bool {
    matches!(key, "period" | "cohort")
}

/// Checks the metric's laws row by row.
pub(super) fn check_identities(
    unit: &Unit,
    specs: &[ColumnSpec],
    batch: &RecordBatch,
) -> Result<(), Error> {
    let Recipe::Metric(metric) = &unit.recipe else { return Ok(()) };
    let broken = |row: usize| {
        let view = RowView { specs, batch, row };
        let identity = metric.identities.iter().find(|identity| !(identity.holds)(&view))?;
        Some(Error::IdentityBroken {
            table: unit.name.clone(),
            identity: identity.claim.to_owned(),
            place: view.keys_text(),
        })
    };
    let first = (0..batch.num_rows()).into_par_iter().find_map_first(broken);
    first.map_or(Ok(()), Err)
}
