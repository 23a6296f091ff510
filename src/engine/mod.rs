//! How states are computed: from the fold's batches as they come (`kernel`), or by Polars over whole
//! relations (`states`), in one piece or in shards that are merged (the cluster's test double). A
//! metric is data here: no metric's name occurs.
//!
//! States are merged and rolled up to every slice and period (`merge`, `finish`), and finished in
//! parallel. Which SQL is a state at all is said in `sql`.
//!
//! Invariant: the tables depend neither on the execution, the backend nor the number of threads.

mod custom;
mod expression;
mod finish;
mod finished;
mod kernel;
mod merge;
mod narrow;
mod pieces;
mod runs;
mod sql;
mod states;
mod units;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::finished::Finished;
pub use self::merge::Merge;
pub use self::sql::{custom_sql, state_sql};
use self::states::Job;
use self::units::Unit;
use crate::config::{CustomMetric, TableOptions};
use crate::error::Error;
use crate::metrics::{Metric, Settings, StateRows};
use crate::relations::{Batch, Dictionaries, Kind, Relation, Relations, Wanted};
use crate::spill::Room;
use crate::table::Table;
use crate::time::{Calendar, Period};

/// What to compute and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Every dimension of the run, in configured order.
    pub dimensions: Vec<String>,
    /// Those of them whose values are people or teams of people.
    pub people: Vec<String>,
    /// The sets of dimensions to report by.
    pub slices: Vec<Vec<String>>,
    /// The configured period lengths; the whole history is always added.
    pub periods: Vec<Period>,
    /// Tables that report by something else, by name.
    pub tables: BTreeMap<String, TableOptions>,
    /// By which days become periods.
    pub calendar: Calendar,
    /// One piece or several.
    pub execution: Execution,
    /// What computes the states.
    pub backend: Backend,
}

impl Plan {
    /// The period that the relations' period columns hold: it serves every table's periods.
    #[must_use]
    pub fn base(&self) -> Period {
        let own = self.tables.values().filter_map(|table| table.periods.as_ref()).flatten();
        let every: Vec<Period> = self.periods.iter().chain(own).copied().collect();
        self.calendar.base(&every)
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

/// What computes the states; the tables may not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backend {
    /// Our own kernel, batch by batch.
    #[default]
    Kernel,
    /// Polars in memory, over whole relations.
    Memory,
    /// Polars streaming, over whole relations.
    Streaming,
}

/// What came out.
#[derive(Debug)]
pub struct Outcome<T = Table> {
    /// The finished tables, in the order of the metrics given.
    pub tables: Vec<T>,
    /// Tables that could not be made, and why, in a sentence.
    pub skipped: Vec<(String, String)>,
    /// Seconds spent on all states together, and on each table's finish.
    pub timings: Vec<(String, Duration)>,
}

impl From<Outcome> for Outcome<Finished> {
    fn from(all: Outcome) -> Self {
        let tables = all.tables.into_iter().map(Finished::from).collect();
        Self { tables, skipped: all.skipped, timings: all.timings }
    }
}

/// All tables of a run, planned before the first row is read.
#[derive(Debug)]
pub struct Prepared {
    units: Vec<Unit>,
    jobs: Vec<Job>,
    skipped: units::Skipped,
}

impl Prepared {
    /// Plans every table. `carried` are the relations that there can be, with the dimensions that
    /// each carries.
    ///
    /// # Errors
    /// Custom SQL that does not add up; names that stand for two things.
    pub fn new(
        carried: &BTreeMap<Relation, Vec<String>>,
        metrics: &[&'static Metric],
        custom: &[CustomMetric],
        plan: &Plan,
    ) -> Result<Self, Error> {
        let (units, skipped) = units::prepare(carried, metrics, custom, plan)?;
        let jobs = units::jobs(&units);
        Ok(Self { units, jobs, skipped })
    }

    /// The columns that the tables need.
    ///
    /// # Errors
    /// SQL that cannot be computed.
    pub fn wanted(&self) -> Result<Wanted, Error> {
        kernel::wanted(&self.jobs)
    }

    /// Begins to add up; names are known from here on.
    ///
    /// # Errors
    /// SQL that cannot be computed.
    pub fn begin(&self, dictionaries: &Dictionaries) -> Result<Sums, Error> {
        Ok(Sums(kernel::Sums::new(&self.jobs, dictionaries)?))
    }

    /// The sums themselves, before any is rolled up or finished: table by table, state by state. No
    /// sums were written to a scratch file.
    ///
    /// # Errors
    /// A sum that leaves 64 bits.
    pub fn summed(&self, sums: Sums) -> Result<Vec<Summed>, Error> {
        let mut states = sums.0.into_states();
        let mut all = Vec::with_capacity(self.jobs.len());
        let mut jobs = self.jobs.iter();
        for unit in &self.units {
            for job in jobs.by_ref().take(unit.states.len() * unit.maximal.len()) {
                let rows = states.take(1)?.pop().unwrap_or_default();
                all.push(Summed {
                    table: unit.name.clone(),
                    relation: job.query.relation,
                    slice: job.slice.clone(),
                    kinds: job.query.keys.iter().map(|key| key.kind).collect(),
                    sources: job.query.keys.iter().map(|key| key.expr.to_string()).collect(),
                    merges: job.query.values.iter().map(|value| value.merge).collect(),
                    rows,
                });
            }
        }
        Ok(all)
    }

    /// Finishes the tables. `present` are the relations that there were; a table that needs another
    /// one is skipped with the reason.
    ///
    /// # Errors
    /// As [`compute`].
    pub fn finish(
        self,
        sums: Sums,
        present: &BTreeSet<Relation>,
        plan: &Plan,
        settings: &Settings,
    ) -> Result<Outcome, Error> {
        let mut states = sums.0.into_states();
        self.finish_states(|jobs| states.take(jobs), Duration::ZERO, present, plan, settings)
    }

    /// As [`Prepared::finish`]; but where the sums' room is narrow, tables are finished one after
    /// the other, and each is written to the room's scratch file.
    ///
    /// # Errors
    /// As [`compute`]; a room that is too narrow for one of the tables.
    pub fn finish_within(
        self,
        sums: Sums,
        present: &BTreeSet<Relation>,
        plan: &Plan,
        settings: &Settings,
    ) -> Result<Outcome<Finished>, Error> {
        match sums.0.narrow() {
            Some(room) => self.finish_in_turn(sums, &room, present, plan, settings),
            None => self.finish(sums, present, plan, settings).map(Outcome::from),
        }
    }

    fn finish_in_turn(
        mut self,
        Sums(sums): Sums,
        room: &Room,
        present: &BTreeSet<Relation>,
        plan: &Plan,
        settings: &Settings,
    ) -> Result<Outcome<Finished>, Error> {
        let (mut tables, mut timings) = (Vec::new(), Vec::new());
        let sources = sums.into_sources(room)?;
        let mut narrow = narrow::Narrow::new(room, plan, settings);
        let mut rest = sources.as_slice();
        let mut units = Vec::with_capacity(self.units.len());
        for unit in self.units {
            let jobs = unit.states.len() * unit.maximal.len();
            let (own, after) = rest.split_at_checked(jobs).unwrap_or((rest, &[]));
            rest = after;
            match unit.missing(present) {
                Some(relation) => {
                    self.skipped.push((unit.name, relation.missing_because().to_owned()));
                }
                None => {
                    narrow.weigh(&unit, own)?;
                    units.push((unit, own));
                }
            }
        }
        // What there is no room for is known before the first table is made.
        room.judge()?;
        for (unit, own) in units {
            let begun = Instant::now();
            tables.push(narrow.finish(&unit, own)?);
            timings.push((unit.name, begun.elapsed()));
        }
        Ok(Outcome { tables, skipped: self.skipped, timings })
    }

    /// Finishes table by table; `next` gives the states of the next jobs, of which some took their
    /// time already.
    fn finish_states(
        mut self,
        mut next: impl FnMut(usize) -> Result<Vec<Arc<StateRows>>, Error>,
        mut took: Duration,
        present: &BTreeSet<Relation>,
        plan: &Plan,
        settings: &Settings,
    ) -> Result<Outcome, Error> {
        let (mut tables, mut timings) = (Vec::new(), Vec::new());
        for unit in self.units {
            let begun = Instant::now();
            let own = next(unit.states.len() * unit.maximal.len())?;
            took += begun.elapsed();
            if let Some(relation) = unit.missing(present) {
                self.skipped.push((unit.name, relation.missing_because().to_owned()));
                continue;
            }
            let begun = Instant::now();
            let table = finish::finish(&unit, &own, plan, settings)?;
            timings.push((table.name.clone(), begun.elapsed()));
            tables.push(table);
        }
        timings.insert(0, ("states".to_owned(), took));
        Ok(Outcome { tables, skipped: self.skipped, timings })
    }
}

/// One state of one table and slice, as it was added up.
#[derive(Debug, Clone)]
pub struct Summed {
    /// The table.
    pub table: String,
    /// The relation whose rows were added.
    pub relation: Relation,
    /// The dimensions it is split by.
    pub slice: Vec<String>,
    /// What each of its keys is; `None` for a computed number.
    pub kinds: Vec<Option<Kind>>,
    /// The column or expression behind each key.
    pub sources: Vec<String>,
    /// How each of its values is added up.
    pub merges: Vec<Merge>,
    /// Its rows.
    pub rows: Arc<StateRows>,
}

/// The sums of all states while batches come in, from any number of threads.
pub struct Sums(kernel::Sums);

impl Sums {
    /// The sums, which write what exceeds the room to its scratch file.
    #[must_use]
    pub fn within(self, room: &Arc<Room>) -> Self {
        Self(self.0.within(room))
    }

    /// Adds the rows of a batch.
    ///
    /// # Errors
    /// A sum that leaves 64 bits.
    pub fn take(&self, batch: &Batch) -> Result<(), Error> {
        self.0.take(batch)
    }
}

/// Computes every metric over whole relations.
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
    let prepared = Prepared::new(&relations.carried(), metrics, custom, plan)?;
    let begun = Instant::now();
    let results = states::run(&prepared.jobs, relations, plan.execution, plan.backend)?;
    let took = begun.elapsed();
    let mut rest = results.into_iter().map(Arc::new);
    let next = |jobs| Ok(rest.by_ref().take(jobs).collect());
    let present = relations.batches.keys().copied().collect();
    prepared.finish_states(next, took, &present, plan, settings)
}

/// Plans everything without running it and compares what would come out with what is declared.
///
/// # Errors
/// A state that cannot be planned, or whose columns or types differ from its declaration; custom
/// SQL that does not add up.
pub fn check_plans(
    relations: &Relations,
    metrics: &[&'static Metric],
    custom: &[CustomMetric],
    plan: &Plan,
) -> Result<(), Error> {
    let prepared = Prepared::new(&relations.carried(), metrics, custom, plan)?;
    kernel::Sums::new(&prepared.jobs, &relations.dictionaries)?;
    states::check_schemas(&prepared.jobs, relations)
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
    let jobs = Prepared::new(&relations.carried(), metrics, custom, plan)?.jobs;
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
