//! How states are computed: locally in one piece, or in shards that are merged (the cluster's test
//! double). A metric is data here: no metric's name occurs.

use std::time::Duration;

use crate::config::CustomMetric;
use crate::error::Error;
use crate::metrics::{Metric, Settings};
use crate::relations::Relations;
use crate::table::Table;
use crate::time::Period;

/// What to compute and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Every dimension of the run, in configured order.
    pub dimensions: Vec<String>,
    /// The sets of dimensions to report by.
    pub slices: Vec<Vec<String>>,
    /// The configured period lengths; the whole history is always added.
    pub periods: Vec<Period>,
    /// One piece or several.
    pub execution: Execution,
    /// Which of the two Polars engines runs the states.
    pub backend: Backend,
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
/// # Errors
/// A state or finish that fails, named by table and step; an identity that does not hold.
pub fn compute(
    _relations: &Relations,
    _metrics: &[&'static Metric],
    _custom: &[CustomMetric],
    _plan: &Plan,
    _settings: &Settings,
) -> Result<Outcome, Error> {
    Ok(Outcome { tables: Vec::new(), skipped: Vec::new(), timings: Vec::new() })
}
