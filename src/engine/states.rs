//! How states are run: every query of every metric planned lazily; distributions, which are about as
//! large as their relation, are projected one by one and grouped by the merge, all others are
//! executed in one collection.
//!
//! A [`Job`] is one query over one relation and one slice. The results are plain integer columns.
//! Calls into Polars are kept here, and each error names the table and state it belongs to.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use polars::prelude as pl;
use polars::prelude::IntoLazy as _;
use polars::sql::SQLContext;
use rayon::prelude::*;

use super::expression::bound;
use super::merge::{KeyRule, Merge, Overflowed, combine};
use super::sql::{ROWS, StateQuery};
use super::{Backend, Execution};
use crate::error::Error;
use crate::metrics::{NO_KEY, StateRows};
use crate::relations::{Kind, Relation, Relations};

/// One query to run.
#[derive(Debug)]
pub(crate) struct Job {
    /// Table, state and slice, for errors.
    pub(crate) what: String,
    /// The state.
    pub(crate) query: StateQuery,
    /// The dimensions it is split by.
    pub(crate) slice: Vec<String>,
}

impl Job {
    fn merges(&self) -> Vec<Merge> {
        self.query.values.iter().map(|v| v.merge).collect()
    }

    /// The same rows, sorted, with equal keys merged.
    fn merged(&self, parts: &[&StateRows]) -> Result<StateRows, Error> {
        let dimensions: Vec<usize> = (0..self.slice.len()).collect();
        let keys = vec![KeyRule::Keep; self.query.keys.len()];
        combine(parts, &dimensions, &keys, &self.merges())
            .map_err(|Overflowed(name)| overflow(&self.what, &name))
    }
}

pub(crate) fn overflow(what: &str, column: &str) -> Error {
    Error::Overflow { what: format!("{what}, the sum {column:?}") }
}

/// Runs every job and returns its rows, sorted by dimensions, then keys.
pub(crate) fn run(
    jobs: &[Job],
    relations: &Relations,
    execution: Execution,
    backend: Backend,
) -> Result<Vec<StateRows>, Error> {
    guard_sums(jobs, relations)?;
    match execution {
        Execution::Whole => collect(jobs, relations, None, backend),
        Execution::Sharded(n) => {
            let n = n.clamp(1, crate::relations::SHARDS_MAX as usize) as i32;
            let mut merged: Option<Vec<StateRows>> = None;
            for shard in 0..n {
                let part = collect(jobs, relations, Some((shard, n)), backend)?;
                merged = Some(match merged {
                    None => part,
                    Some(so_far) => jobs
                        .par_iter()
                        .zip(so_far.par_iter().zip(&part))
                        .map(|(job, (a, b))| job.merged(&[a, b]))
                        .collect::<Result<_, _>>()?,
                });
            }
            Ok(merged.unwrap_or_default())
        }
    }
}

/// Compares what each job would give with what its state declares, without running it.
pub(crate) fn check_schemas(jobs: &[Job], relations: &Relations) -> Result<(), Error> {
    let mut plans = plan(jobs, relations, None, StateQuery::to_run)?;
    for (job, lazy) in jobs.iter().zip(&mut plans) {
        let schema = guarded(&job.what, || lazy.collect_schema())?;
        let found: Vec<&str> = schema.iter_names().map(|n| n.as_str()).collect();
        let declared = declared_columns(job);
        if found != declared {
            let problem = format!("{}: plans {found:?}, declares {declared:?}", job.what);
            return Err(Error::Bug(problem));
        }
        for (name, dtype) in schema.iter() {
            let integer = dtype.to_physical().is_integer();
            let value = job.query.values.iter().find(|v| v.name == name.as_str());
            let wide = value.is_none_or(|v| {
                v.merge != Merge::Sum || v.argument.is_none() || *dtype == pl::DataType::Int64
            });
            if !integer || !wide {
                let problem = format!("{}: column {name:?} is planned as {dtype}", job.what);
                return Err(Error::Bug(problem));
            }
        }
    }
    Ok(())
}

fn declared_columns(job: &Job) -> Vec<&str> {
    let own = job.query.keys.iter().map(|k| k.name.as_str());
    let mut names: Vec<&str> = job.slice.iter().map(String::as_str).chain(own).collect();
    let grouped = !names.is_empty();
    names.extend(job.query.values.iter().map(|v| v.name.as_str()));
    if !grouped {
        names.push(ROWS);
    }
    names
}

fn plan<J: std::borrow::Borrow<Job>>(
    jobs: &[J],
    relations: &Relations,
    shard: Option<(i32, i32)>,
    text: fn(&StateQuery, &[String]) -> String,
) -> Result<Vec<pl::LazyFrame>, Error> {
    let mut context = SQLContext::new();
    for (relation, frame) in &relations.frames {
        let mut lazy = frame.frame.clone().lazy();
        if let Some((shard, of)) = shard {
            lazy = lazy.filter((pl::col("shard") % pl::lit(of)).eq(pl::lit(shard)));
        }
        context.register(relation.name(), lazy);
    }
    jobs.iter()
        .map(std::borrow::Borrow::borrow)
        .map(|job: &Job| guarded(&job.what, || context.execute(&text(&job.query, &job.slice))))
        .collect()
}

fn collect(
    jobs: &[Job],
    relations: &Relations,
    shard: Option<(i32, i32)>,
    backend: Backend,
) -> Result<Vec<StateRows>, Error> {
    let engine = match backend {
        Backend::Memory => pl::Engine::InMemory,
        Backend::Streaming => pl::Engine::Streaming,
    };
    // Distributions one after the other, because each is about as large as its relation; all other
    // states in one collection. Grouping a distribution ourselves spares a hash table as large as
    // the relation: the rows have to be sorted anyway.
    let (large, small): (Vec<usize>, Vec<usize>) =
        (0..jobs.len()).partition(|job| jobs.get(*job).is_some_and(|j| j.query.is_distribution()));
    let mut states: BTreeMap<usize, StateRows> = BTreeMap::new();
    for index in large {
        let Some(job) = jobs.get(index) else { continue };
        let plans = plan(std::slice::from_ref(job), relations, shard, StateQuery::to_project)?;
        let logical = plans.iter().map(|lazy| lazy.logical_plan.clone()).collect();
        let frames = guarded(&job.what, || {
            pl::LazyFrame::collect_all_with_engine(logical, engine, pl::OptFlags::default())
        })?;
        for frame in frames {
            states.insert(index, job.merged(&[&read_frame(job, &frame)?])?);
        }
    }
    let rest: Vec<&Job> = small.iter().filter_map(|index| jobs.get(*index)).collect();
    for (index, rows) in small.iter().zip(collect_small(&rest, relations, shard, engine)?) {
        states.insert(*index, rows);
    }
    Ok(states.into_values().collect())
}

fn collect_small(
    jobs: &[&Job],
    relations: &Relations,
    shard: Option<(i32, i32)>,
    engine: pl::Engine,
) -> Result<Vec<StateRows>, Error> {
    let plans = plan(jobs, relations, shard, StateQuery::to_run)?;
    let logical = plans.iter().map(|lazy| lazy.logical_plan.clone()).collect();
    let frames = guarded("all states together", || {
        pl::LazyFrame::collect_all_with_engine(logical, engine, pl::OptFlags::default())
    })
    .map_err(|error| blame(jobs, plans, engine, error))?;
    if frames.len() != jobs.len() {
        return Err(Error::Bug(format!("{} results of {} states", frames.len(), jobs.len())));
    }
    jobs.par_iter()
        .zip(frames)
        .map(|(job, frame)| {
            let rows = read_frame(job, &frame)?;
            job.merged(&[&rows])
        })
        .collect()
}

/// Finds the state that fails by itself; the collection of all does not say which it was.
fn blame(jobs: &[&Job], plans: Vec<pl::LazyFrame>, engine: pl::Engine, error: Error) -> Error {
    for (job, lazy) in jobs.iter().zip(plans) {
        if let Err(own) = guarded(&job.what, || lazy.collect_with_engine(engine)) {
            return own;
        }
    }
    error
}

/// Calls Polars; an error or a panic becomes an error that names what was computed.
pub(crate) fn guarded<T, E>(what: &str, call: impl FnOnce() -> Result<T, E>) -> Result<T, Error>
where
    E: std::error::Error + Send + Sync + 'static,
{
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|e| Error::compute(what, e)),
        Err(panic) => Err(Error::compute(what, panic_text(panic.as_ref()))),
    }
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    format!("it panicked: {}", text.as_deref().unwrap_or("without a word"))
}

fn read_frame(job: &Job, frame: &pl::DataFrame) -> Result<StateRows, Error> {
    let column = |name: &str, null: i64| -> Result<Vec<i64>, Error> {
        let read = || {
            let physical = frame.column(name)?.to_physical_repr().cast(&pl::DataType::Int64)?;
            let integers = physical.i64()?;
            Ok::<_, pl::PolarsError>(integers.iter().map(|v| v.unwrap_or(null)).collect())
        };
        guarded(&job.what, read)
    };
    let slice = job.slice.par_iter();
    let dimensions = slice.map(|d| column(d, -1)).collect::<Result<Vec<_>, Error>>()?;
    let keys = job
        .query
        .keys
        .par_iter()
        .map(|k| Ok((k.name.clone(), column(&k.name, NO_KEY)?)))
        .collect::<Result<Vec<_>, Error>>()?;
    let values = job
        .query
        .values
        .par_iter()
        .map(|v| {
            let null = if v.merge == Merge::Sum { 0 } else { NO_KEY };
            Ok((v.name.clone(), column(&v.name, null)?))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let empty = dimensions.is_empty() && keys.is_empty() && column(ROWS, 0)? == [0];
    let mut rows = StateRows { dimensions, keys, values, rows: frame.height() };
    if empty {
        rows.rows = 0;
        rows.values.iter_mut().for_each(|(_, v)| v.clear());
    }
    Ok(rows)
}

/// Refuses sums that could wrap: Polars adds 64-bit integers without looking. A sum is safe when
/// the greatest absolute value its expression can have, times the number of rows, fits.
fn guard_sums(jobs: &[Job], relations: &Relations) -> Result<(), Error> {
    let mut greatest: BTreeMap<(Relation, String), i128> = BTreeMap::new();
    for job in jobs {
        let relation = job.query.relation;
        let Some(frame) = relations.frames.get(&relation).map(|f| &f.frame) else { continue };
        for column in relation.columns().iter().filter(|c| c.kind == Kind::Int) {
            let key = (relation, column.name.to_owned());
            let used = |e: &sqlparser::ast::Expr| {
                super::expression::value_columns(e).contains(&column.name)
            };
            let summed = job.query.values.iter().filter_map(|v| v.argument.as_ref()).any(used);
            if summed && !greatest.contains_key(&key) {
                greatest.insert(key, greatest_magnitude(frame, column.name, &job.what)?);
            }
        }
        let of = |name: &str| -> i128 {
            let known = greatest.get(&(relation, name.to_owned()));
            known.copied().unwrap_or_else(|| i128::from(i16::MAX))
        };
        for value in job.query.values.iter().filter(|v| v.merge == Merge::Sum) {
            let Some(argument) = &value.argument else { continue };
            let rows = frame.height().max(1) as i128;
            let total = bound(argument, &of).and_then(|b| b.checked_mul(rows));
            if total.is_none_or(|t| t > i128::from(i64::MAX)) {
                return Err(overflow(&job.what, &value.name));
            }
        }
    }
    Ok(())
}

fn greatest_magnitude(frame: &pl::DataFrame, name: &str, what: &str) -> Result<i128, Error> {
    let read = || {
        let column = frame.column(name)?.as_materialized_series();
        let (least, most) = (column.min::<i64>()?, column.max::<i64>()?);
        Ok::<_, pl::PolarsError>((least.unwrap_or(0), most.unwrap_or(0)))
    };
    let (least, most) = guarded(what, read)?;
    Ok(i128::from(least).abs().max(i128::from(most).abs()))
}
