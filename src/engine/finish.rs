//! From merged states to finished tables: slices and periods rolled up, rows made, identities
//! checked.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::RecordBatch;
use rayon::prelude::*;

use super::Plan;
use super::merge::{KeyRule, Merge, Overflowed, combine};
use super::sql::{Key, StateQuery};
use super::states::{overflow, panic_text};
use super::units::{Recipe, Unit};
use crate::error::Error;
use crate::metrics::{
    Group, NO_KEY, NO_VALUE, Rows, Segment, Settings, StateRows, StateView, TableView,
    common_columns, period_start, runs, slice_name,
};
use crate::relations::customer_periods::GRAINS;
use crate::table::{ColumnSpec, Table, TableBuilder};
use crate::time::{NO_DAY, Period};

/// Finishes one table. `results` are the rows of the unit's jobs, state by state, maximal slice by
/// maximal slice.
pub(crate) fn finish(
    unit: &Unit,
    results: &[Arc<StateRows>],
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
    results: &[Arc<StateRows>],
    plan: &Plan,
    settings: &Settings,
) -> Result<Table, Error> {
    let mut specs = common_columns(&plan.dimensions);
    specs.extend_from_slice(unit.output());
    let finisher = Finisher { unit, plan, settings, specs };
    let mut slices: Vec<(String, &Vec<String>)> =
        unit.slices.iter().map(|slice| (slice_name(slice), slice)).collect();
    slices.sort();
    let parts = slices
        .into_par_iter()
        .map(|(name, slice)| finisher.slice(&name, slice, results))
        .collect::<Result<Vec<_>, Error>>()?;
    let mut table = finisher.builder().finish()?;
    table.batches = parts.into_iter().flatten().collect();
    Ok(table)
}

/// State rows that are finished at a time, as far as they are of several groups: enough that making
/// a batch costs nothing, few enough that they stay in the caches and keep every thread busy.
const ROWS_AT_A_TIME: usize = 1 << 16;

/// Finishes one table, slice by slice, groups of neighbouring values of the slice at a time.
struct Finisher<'a> {
    unit: &'a Unit,
    plan: &'a Plan,
    settings: &'a Settings,
    specs: Vec<ColumnSpec>,
}

/// The rows of one value of a slice: its codes in the order of the table's columns, and where each
/// state has them.
type SliceValue = (Vec<Option<i64>>, Vec<Range<usize>>);

impl Finisher<'_> {
    fn builder(&self) -> TableBuilder {
        TableBuilder::new(&self.unit.name, self.specs.clone(), self.settings.money_scale)
    }

    /// The rows of one slice, in order.
    fn slice(
        &self,
        name: &str,
        slice: &[String],
        results: &[Arc<StateRows>],
    ) -> Result<Vec<RecordBatch>, Error> {
        let states = slice_states(self.unit, results, slice)?;
        let values = slice_values(&states, slice, &self.plan.dimensions);
        let mut parts: Vec<&[SliceValue]> = Vec::new();
        let (mut begin, mut rows) = (0, 0);
        if self.unit.compares_values() {
            return self.values(name, &values, &states);
        }
        for (end, (_, ranges)) in (1..).zip(&values) {
            rows += ranges.iter().map(Range::len).sum::<usize>();
            if rows >= ROWS_AT_A_TIME || end == values.len() {
                parts.extend(values.get(begin..end));
                (begin, rows) = (end, 0);
            }
        }
        let batches = parts
            .into_par_iter()
            .map(|values| self.values(name, values, &states))
            .collect::<Result<Vec<_>, Error>>()?;
        Ok(batches.into_iter().flatten().collect())
    }

    /// The rows of some values of a slice, in order; their identities are checked.
    fn values(
        &self,
        slice: &str,
        values: &[SliceValue],
        states: &[Cow<'_, StateRows>],
    ) -> Result<Vec<RecordBatch>, Error> {
        let mut builder = self.builder();
        self.push_values(slice, values, states, &mut builder)?;
        let table = builder.finish()?;
        for batch in &table.batches {
            check_identities(self.unit, &self.specs, batch)?;
        }
        Ok(table.batches)
    }

    fn push_values(
        &self,
        slice: &str,
        values: &[SliceValue],
        states: &[Cow<'_, StateRows>],
        builder: &mut TableBuilder,
    ) -> Result<(), Error> {
        if self.unit.compares_values() {
            return self.push_together(slice, values, states, builder);
        }
        for (codes, ranges) in values {
            let dimensions = self.names(codes);
            for (period, states) in self.periods_of(states, ranges)? {
                let states: Vec<StateView<'_>> = states.iter().map(Rolled::view).collect();
                let settings = self.settings;
                let group = Group { states: &states, segments: &[], period, settings };
                let mut rows = Rows::new(builder, slice, &dimensions, period);
                match &self.unit.recipe {
                    Recipe::Metric(metric) => (metric.finish)(&group, &mut rows),
                    Recipe::Custom(table) => table.finish(&group, &mut rows),
                }?;
            }
        }
        Ok(())
    }

    /// The rows of all values of a slice, which are finished at once.
    fn push_together(
        &self,
        slice: &str,
        values: &[SliceValue],
        states: &[Cow<'_, StateRows>],
        builder: &mut TableBuilder,
    ) -> Result<(), Error> {
        let Recipe::Metric(metric) = &self.unit.recipe else { return Ok(()) };
        let dimensions: Vec<_> = values.iter().map(|(codes, _)| self.names(codes)).collect();
        let mut rolled = Vec::with_capacity(values.len());
        for (_, ranges) in values {
            rolled.push(self.periods_of(states, ranges)?);
        }
        let mut periods = self.unit.periods.clone();
        periods.sort_by_key(|period| period.name());
        for (place, period) in periods.into_iter().enumerate() {
            let mut segments = Vec::with_capacity(values.len());
            for ((codes, _), own) in values.iter().zip(&rolled) {
                let states = own.get(place).map_or(&[][..], |(_, states)| states);
                let states = states.iter().map(Rolled::view).collect();
                segments.push(Segment { value: self.in_words(codes), states });
            }
            let settings = self.settings;
            let group = Group { states: &[], segments: &segments, period, settings };
            let all = &self.plan.dimensions;
            let mut rows = Rows::among(builder, slice, all, &dimensions, period);
            (metric.finish)(&group, &mut rows)?;
        }
        Ok(())
    }

    /// Every dimension with the name of its code; null where it is not in the slice.
    fn names(&self, codes: &[Option<i64>]) -> Vec<(&str, Option<&str>)> {
        let name = |(dimension, code): (&'_ String, &Option<i64>)| {
            code.and_then(|code| self.settings.dictionaries.name(dimension, code))
        };
        let dimensions = self.plan.dimensions.iter().zip(codes);
        dimensions.map(|pair| (pair.0.as_str(), name(pair))).collect()
    }

    /// The names of a slice's value, joined as the names of its dimensions are.
    fn in_words(&self, codes: &[Option<i64>]) -> String {
        let own = self.names(codes).into_iter().zip(codes).filter(|(_, code)| code.is_some());
        own.map(|((_, name), _)| name.unwrap_or(NO_VALUE)).collect::<Vec<_>>().join("+")
    }

    /// The states of one value of a slice, of every period length.
    fn periods_of<'a>(
        &self,
        states: &'a [Cow<'_, StateRows>],
        ranges: &[Range<usize>],
    ) -> Result<Vec<(Period, Vec<Rolled<'a>>)>, Error> {
        let own = states.iter().zip(ranges);
        let own: Vec<StateView<'a>> =
            own.map(|(state, range)| state.view().part(range.clone())).collect();
        self.periods(&own).map_err(|Overflowed(name)| overflow(&self.unit.name, &name))
    }

    /// The states of every period length, in the order of their names.
    fn periods<'a>(
        &self,
        states: &[StateView<'a>],
    ) -> Result<Vec<(Period, Vec<Rolled<'a>>)>, Overflowed> {
        let mut rolled: Vec<(Period, Vec<Rolled<'a>>)> = Vec::new();
        for period in &self.unit.periods {
            let nearest =
                rolled.iter().rev().find(|(from, _)| self.plan.calendar.nests(*from, *period));
            let own =
                self.unit.states.iter().zip(states).enumerate().map(|(state, (query, base))| {
                    let shorter = nearest.and_then(|(_, states)| states.get(state));
                    self.roll(query, base, shorter, *period)
                });
            let own = own.collect::<Result<Vec<_>, _>>()?;
            rolled.push((*period, own));
        }
        rolled.sort_by_key(|(period, _)| period.name());
        Ok(rolled)
    }

    /// The rows of one period length; `shorter` are those of one that lies in it.
    ///
    /// Keys `period` and `cohort` hold first days of the base period and become those of `period`,
    /// or nothing for the whole history. A key `grain` selects its rows instead and goes. With a key
    /// `ever_on` every period length is given all rows; a state without any of these belongs to the
    /// whole history.
    fn roll<'a>(
        &self,
        query: &StateQuery,
        base: &StateView<'a>,
        shorter: Option<&Rolled<'a>>,
        period: Period,
    ) -> Result<Rolled<'a>, Overflowed> {
        if query.has_key("grain") {
            return of_grain(query, base, period);
        }
        // The base period's rows are those of the base period.
        if !query.rolls_up() || period == self.plan.base() {
            let is_there = query.rolls_up() || query.is_of_every_period() || period == Period::All;
            let rows = if is_there { 0..base.rows() } else { 0..0 };
            return Ok(Rolled::Part(base.part(rows)));
        }
        let start = |key: i64| match period_start(key) {
            NO_DAY => NO_KEY,
            day => match self.settings.calendar.start(period, day) {
                NO_DAY => NO_KEY,
                first => i64::from(first),
            },
        };
        let rule = |key: &Key| match is_period(&key.name) {
            true => KeyRule::Map(&start),
            false => KeyRule::Keep,
        };
        let rules: Vec<KeyRule<'_>> = query.keys.iter().map(rule).collect();
        let rows = shorter.map_or_else(|| base.clone(), Rolled::view);
        combine(&[rows], &[], &rules, &merges(query)).map(Rolled::Whole)
    }
}

/// The rows of one period length of a state that holds each length by itself.
fn of_grain<'a>(
    query: &StateQuery,
    rows: &StateView<'a>,
    period: Period,
) -> Result<Rolled<'a>, Overflowed> {
    // No row has this number, so that nothing is left of a state that has no such period.
    const NOTHING: i64 = i64::MAX;
    let position = GRAINS.iter().position(|g| *g == period.name());
    let grain = match (period, position.map(i64::try_from)) {
        (Period::All, _) | (_, None | Some(Err(_))) => NOTHING,
        (_, Some(Ok(code))) => code,
    };
    if let Some((_, grains)) = rows.keys().next().filter(|(name, _)| *name == "grain") {
        let begin = grains.partition_point(|g| *g < grain);
        let end = grains.partition_point(|g| *g <= grain);
        return Ok(Rolled::Part(rows.part(begin..end).without_first_key()));
    }
    let rule = |key: &Key| match key.name.as_str() {
        "grain" => KeyRule::Only(grain),
        _ => KeyRule::Keep,
    };
    let rules: Vec<KeyRule<'_>> = query.keys.iter().map(rule).collect();
    combine(std::slice::from_ref(rows), &[], &rules, &merges(query)).map(Rolled::Whole)
}

/// The rows of a state and period length.
enum Rolled<'a> {
    /// They are there.
    Part(StateView<'a>),
    /// They were made.
    Whole(StateRows),
}

impl Rolled<'_> {
    fn view(&self) -> StateView<'_> {
        match self {
            Self::Part(rows) => rows.clone(),
            Self::Whole(rows) => rows.view(),
        }
    }
}

/// Appends the rows of every period of some values of one slice's dimensions.
pub(super) fn finish_slice(
    unit: &Unit,
    slice: &[String],
    states: &[Cow<'_, StateRows>],
    plan: &Plan,
    settings: &Settings,
    builder: &mut TableBuilder,
) -> Result<(), Error> {
    let values = slice_values(states, slice, &plan.dimensions);
    let finisher = Finisher { unit, plan, settings, specs: Vec::new() };
    finisher.push_values(&slice_name(slice), &values, states, builder)
}

/// Every value of a slice in the order of the table's columns, with each state's rows of it.
fn slice_values(
    states: &[Cow<'_, StateRows>],
    slice: &[String],
    dimensions: &[String],
) -> Vec<SliceValue> {
    let places: Vec<Option<usize>> =
        dimensions.iter().map(|d| slice.iter().position(|s| s == d)).collect();
    let mut values: BTreeMap<Vec<Option<i64>>, Vec<Range<usize>>> = BTreeMap::new();
    for (position, state) in states.iter().enumerate() {
        for run in runs(state.dimensions.iter().map(Vec::as_slice), state.rows) {
            let code = |place: &Option<usize>| {
                place.and_then(|p| state.dimensions.get(p)?.get(run.start).copied())
            };
            let codes: Vec<Option<i64>> = places.iter().map(code).collect();
            let ranges = values.entry(codes).or_insert_with(|| vec![0..0; states.len()]);
            if let Some(place) = ranges.get_mut(position) {
                *place = run;
            }
        }
    }
    values.into_iter().collect()
}

/// The states of one slice, each rolled up from the smallest computed slice that holds it.
fn slice_states<'a>(
    unit: &Unit,
    results: &'a [Arc<StateRows>],
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
            states.push(Cow::Borrowed(rows.as_ref()));
            continue;
        }
        let dimensions: Vec<usize> = slice.iter().filter_map(|d| place(from, d)).collect();
        let keys = vec![KeyRule::Keep; query.keys.len()];
        let rolled = combine(&[rows.view()], &dimensions, &keys, &merges(query))
            .map_err(|Overflowed(name)| overflow(&unit.name, &name))?;
        states.push(Cow::Owned(rolled));
    }
    Ok(states)
}

fn merges(query: &StateQuery) -> Vec<Merge> {
    query.values.iter().map(|v| v.merge).collect()
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
    let view = TableView::new(specs, batch);
    for row in view.rows() {
        if let Some(identity) = metric.identities.iter().find(|law| !(law.holds)(&row)) {
            return Err(Error::IdentityBroken {
                table: unit.name.clone(),
                identity: identity.claim.to_owned(),
                place: row.keys_text(),
            });
        }
    }
    Ok(())
}
