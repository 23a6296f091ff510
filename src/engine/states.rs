//! How states are run: every query of every metric planned lazily; distributions, which are about as
//! large as their relation, are projected one by one and grouped by the merge, all others are
//! executed in one collection.
//!
//! A [`Job`] is one query over one relation and one slice. The results are plain integer columns.
//! Calls into Polars are kept here, and each error names the table and state it belongs to.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use polars::prelude as pl;
use polars::prelude::IntoLazy as _;
use polars::sql::SQLContext;
use rayon::prelude::*;

use super::expression::bound;
use super::kernel::Sums;
use super::merge::{KeyRule, Merge, Overflowed, combine};
use super::sql::{ROWS, StateQuery};
use super::{Backend, Execution};
use crate::error::Error;
use crate::metrics::{NO_KEY, StateRows, StateView};
use crate::relations::batch::Values;
use crate::relations::{Batch, Kind, Relation, Relations};

/// One query to run.
#[derive(Debug)]
pub(crate) struct Job {
    /// Table, state and slice, for errors.
    pub(crate) what: String,
    /// The state.
    pub(crate) query: StateQuery,
    /// The dimensions it is split by.
    pub(crate) slice: Vec<String>,
    /// Only the whole history is asked for, so that base periods need not be told apart.
    pub(crate) whole: bool,
}

impl Job {
    fn merges(&self) -> Vec<Merge> {
        self.query.values.iter().map(|v| v.merge).collect()
    }

    /// What is left of the state where its relation is absent.
    fn without_rows(&self) -> StateRows {
        let none = |name: &String| (name.clone(), Vec::new());
        StateRows {
            dimensions: vec![Vec::new(); self.slice.len()],
            keys: self.query.keys.iter().map(|k| none(&k.name)).collect(),
            values: self.query.values.iter().map(|v| none(&v.name)).collect(),
            rows: 0,
        }
    }

    /// The same rows, sorted, with equal keys merged.
    fn merged(&self, parts: &[&StateRows]) -> Result<StateRows, Error> {
        let dimensions: Vec<usize> = (0..self.slice.len()).collect();
        let keys = vec![KeyRule::Keep; self.query.keys.len()];
        let parts: Vec<StateView<'_>> = parts.iter().map(|part| part.view()).collect();
        combine(&parts, &dimensions, &keys, &self.merges())
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
    if backend == Backend::Kernel {
        return run_kernel(jobs, relations, execution);
    }
    guard_sums(jobs, relations)?;
    match execution {
        Execution::Whole => collect(jobs, relations, None, backend),
        Execution::Sharded(n) => {
            let n = n.clamp(1, crate::relations::SHARDS_MAX as usize) as i32;
            let mut merged: Option<Vec<StateRows>> = None;
            for shard in 0..n {
                let part = collect(jobs, relations, Some((shard, n)), backend)?;
                merged = Some(merge_parts(jobs, merged, part)?);
            }
            Ok(merged.unwrap_or_default())
        }
    }
}

fn merge_parts(
    jobs: &[Job],
    so_far: Option<Vec<StateRows>>,
    part: Vec<StateRows>,
) -> Result<Vec<StateRows>, Error> {
    let Some(so_far) = so_far else { return Ok(part) };
    let pairs = so_far.par_iter().zip(&part);
    jobs.par_iter().zip(pairs).map(|(job, (a, b))| job.merged(&[a, b])).collect()
}

/// The states of whole relations by the kernel: in one batch, or each shard by itself.
fn run_kernel(
    jobs: &[Job],
    relations: &Relations,
    execution: Execution,
) -> Result<Vec<StateRows>, Error> {
    let of = |shard: Option<(i16, i16)>| -> Result<Vec<StateRows>, Error> {
        let sums = Sums::new(jobs, &relations.dictionaries)?;
        for batch in relations.batches.values() {
            match shard {
                None => sums.take(batch)?,
                Some((shard, of)) => sums.take(&batch.shard(shard, of))?,
            }
        }
        Ok(sums.finish()?.into_iter().map(Arc::unwrap_or_clone).collect())
    };
    let Execution::Sharded(n) = execution else { return of(None) };
    let n = n.clamp(1, crate::relations::SHARDS_MAX as usize) as i16;
    let mut merged: Option<Vec<StateRows>> = None;
    for shard in 0..n {
        merged = Some(merge_parts(jobs, merged, of(Some((shard, n)))?)?);
    }
    Ok(merged.unwrap_or_default())
}

/// Compares what each job would give with what its state declares, without running it.
pub(crate) fn check_schemas(jobs: &[Job], relations: &Relations) -> Result<(), Error> {
    let known = |job: &&Job| relations.batches.contains_key(&job.query.relation);
    let jobs: Vec<&Job> = jobs.iter().filter(known).collect();
    let mut plans = plan(&jobs, relations, None, StateQuery::to_run)?;
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
    for (relation, batch) in &relations.batches {
        let mut lazy = batch.frame(&relations.dictionaries)?.lazy();
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
        Backend::Memory | Backend::Kernel => pl::Engine::InMemory,
        Backend::Streaming => pl::Engine::Streaming,
    };
    // Distributions one after the other, because each is about as large as its relation; all other
    // states in one collection. Grouping a distribution ourselves spares a hash table as large as
    // the relation: the rows have to be sorted anyway.
    let mut states: BTreeMap<usize, StateRows> = BTreeMap::new();
    for (index, job) in jobs.iter().enumerate() {
        if !relations.batches.contains_key(&job.query.relation) {
            states.insert(index, job.without_rows());
        }
    }
    let (large, small): (Vec<usize>, Vec<usize>) = (0..jobs.len())
        .filter(|job| !states.contains_key(job))
        .partition(|job| jobs.get(*job).is_some_and(|j| j.query.is_distribution()));
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
        let Some(batch) = relations.batches.get(&relation) else { continue };
        for column in relation.columns().iter().filter(|c| c.kind == Kind::Int) {
            let key = (relation, column.name.to_owned());
            let used = |e: &sqlparser::ast::Expr| {
                super::expression::value_columns(e).contains(&column.name)
            };
            let summed = job.query.values.iter().filter_map(|v| v.argument.as_ref()).any(used);
            if summed && !greatest.contains_key(&key) {
                greatest.insert(key, greatest_magnitude(batch, column.name));
            }
        }
        let of = |name: &str| -> i128 {
            let known = greatest.get(&(relation, name.to_owned()));
            known.copied().unwrap_or_else(|| i128::from(i16::MAX))
        };
        for value in job.query.values.iter().filter(|v| v.merge == Merge::Sum) {
            let Some(argument) = &value.argument else { continue };
            let rows = batch.rows.max(1) as i128;
            let total = bound(argument, &of).and_then(|b| b.checked_mul(rows));
            if total.is_none_or(|t| t > i128::from(i64::MAX)) {
                return Err(overflow(&job.what, &value.name));
            }
        }
    }
    Ok(())
}

fn greatest_magnitude(batch: &Batch, name: &str) -> i128 {
    match batch.column(name) {
        Some(Values::Int(values)) => values.iter().map(|v| i128::from(*v).abs()).max().unwrap_or(0),
        _ => 0,
    }
}
