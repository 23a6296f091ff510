//! How states are computed: locally in one piece, or in shards that are merged (the cluster's test
//! double). A metric is data here: no metric's name occurs.
//!
//! The states of all tables are planned lazily and run in one collection (`states`), merged and
//! rolled up to every slice and period (`merge`, `finish`), and finished in parallel. Which SQL is
//! a state at all is said in `sql`.
//!
//! Invariant: the tables depend neither on the execution, the backend nor the number of threads.

mod custom;
mod expression;
mod finish;
mod merge;
mod sql;
mod states;
mod units;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rayon::prelude::*;

pub use self::merge::Merge;
pub use self::sql::state_sql;
use crate::config::{CustomMetric, TableOptions};
use crate::error::Error;
use crate::metrics::{Metric, Settings, StateRows};
use crate::relations::{Kind, Relations};
use crate::table::Table;
use crate::time::{Calendar, Period};

/// What to compute and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Every dimension of the run, in configured order.
    pub dimensions: Vec<String>,
    /// The sets of dimensions to report by.
    pub slices: Vec<Vec<String>>,
    /// The configured period lengths; the whole history is always added.
    pub periods: Vec<Period>,
    /// Tables that report by something else, by name.
    pub tables: BTreeMap<String, TableOptions>,
    /// One piece or several.
    pub execution: Execution,
    /// Which of the two Polars engines runs the states.
    pub backend: Backend,
}

impl Plan {
    /// The period that the relations' period columns hold: it serves every table's periods.
    #[must_use]
    pub fn base(&self) -> Period {
        let own = self.tables.values().filter_map(|table| table.periods.as_ref()).flatten();
        let every: Vec<Period> = self.periods.iter().chain(own).copied().collect();
        Calendar::base(&every)
    }
}

/// One piece or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Execution {
    /// Each state once over the whole relation.
    Whole,
    /// Each state over this many shards, then merged.
    Sharded(usize),
}

/// Which of the two Polars engines runs the states; the tables may not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// In memory.
    Memory,
    /// Streaming.
    Streaming,
}

/// What came out.
#[derive(Debug)]
pub struct Outcome {
    /// The finished tables, in the order of the metrics given.
    pub tables: Vec<Table>,
    /// Tables that could not be made, and why, in a sentence.
    pub skipped: Vec<(String, String)>,
    /// Seconds spent on all states together, and on each table's finish.
    pub timings: Vec<(String, Duration)>,
}

/// Computes every metric over the relations.
///
/// Shape: one table a metric, in the order given, then the custom ones; a metric whose relation is
/// missing is skipped with the reason.
///
/// # Errors
/// A state or finish that fails, named by table and step; an identity that does not hold; sums that
/// could overflow; custom SQL that does not add up.
pub fn compute(
    relations: &Relations,
    metrics: &[&'static Metric],
    custom: &[CustomMetric],
    plan: &Plan,
    settings: &Settings,
) -> Result<Outcome, Error> {
    let (units, skipped) = units::prepare(relations, metrics, custom, plan)?;
    let begun = Instant::now();
    let results = states::run(&units::jobs(&units), relations, plan.execution, plan.backend)?;
    let mut timings = vec![("states".to_owned(), begun.elapsed())];
    let mut rest = results.as_slice();
    let mut parts = Vec::with_capacity(units.len());
    for unit in &units {
        let (own, others) = rest
            .split_at_checked(unit.states.len() * unit.maximal.len())
            .ok_or_else(|| Error::Bug("fewer results than states".into()))?;
        parts.push((unit, own));
        rest = others;
    }
    let finished: Vec<Result<(Table, Duration), Error>> = parts
        .into_par_iter()
        .map(|(unit, own)| {
            let begun = Instant::now();
            let table = finish::finish(unit, own, plan, settings)?;
            Ok((table, begun.elapsed()))
        })
        .collect();
    let mut tables = Vec::with_capacity(units.len());
    for result in finished {
        let (table, took) = result?;
        timings.push((table.name.clone(), took));
        tables.push(table);
    }
    Ok(Outcome { tables, skipped, timings })
}

/// Plans everything without running it and compares what would come out with what is declared.
///
/// # Errors
/// A state that Polars cannot plan, or whose columns or types differ from its declaration; custom
/// SQL that does not add up.
pub fn check_plans(
    relations: &Relations,
    metrics: &[&'static Metric],
    custom: &[CustomMetric],
    plan: &Plan,
) -> Result<(), Error> {
    let (units, _) = units::prepare(relations, metrics, custom, plan)?;
    states::check_schemas(&units::jobs(&units), relations)
}

/// One state of one table and slice after merging, before its finish.
#[derive(Debug, Clone)]
pub struct MergedState {
    /// Table, state and slice, in words.
    pub what: String,
    /// The query that was run, as another engine would run it.
    pub sql: String,
    /// The dimensions it is split by.
    pub slice: Vec<String>,
    /// What each of its keys is; `None` for a computed number.
    pub kinds: Vec<Option<Kind>>,
    /// The column or expression behind each key.
    pub sources: Vec<String>,
    /// Its rows, sorted by dimensions, then keys.
    pub rows: StateRows,
}

/// Every state that [`compute`] would finish, so that another engine's can be compared with it.
///
/// # Errors
/// As [`compute`], as far as states are concerned.
pub fn merged_states(
    relations: &Relations,
    metrics: &[&'static Metric],
    custom: &[CustomMetric],
    plan: &Plan,
) -> Result<Vec<MergedState>, Error> {
    let (units, _) = units::prepare(relations, metrics, custom, plan)?;
    let jobs = units::jobs(&units);
    let results = states::run(&jobs, relations, plan.execution, plan.backend)?;
    Ok(jobs
        .into_iter()
        .zip(results)
        .map(|(job, rows)| MergedState {
            sql: job.query.text(&job.slice),
            kinds: job.query.keys.iter().map(|k| k.kind).collect(),
            sources: job.query.keys.iter().map(|k| k.expr.to_string()).collect(),
            what: job.what,
            slice: job.slice,
            rows,
        })
        .collect())
}
