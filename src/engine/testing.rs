//! What tests of metrics share: computing one table in every way that must give the same.

use std::collections::BTreeMap;

use super::{Backend, Execution, Outcome, Plan, compute};
use crate::metrics::{Metric, Settings};
use crate::relations::Relations;
use crate::table::Table;
use crate::time::{Calendar, Instant, Period, Resolution};

/// The given slices and periods, in one piece, in memory.
pub(crate) fn plan(slices: &[&[&str]], periods: &[Period]) -> Plan {
    let slices: Vec<Vec<String>> =
        slices.iter().map(|s| s.iter().map(|d| (*d).to_owned()).collect()).collect();
    let mut dimensions: Vec<String> = slices.iter().flatten().cloned().collect();
    dimensions.sort();
    dimensions.dedup();
    Plan {
        dimensions,
        slices,
        periods: periods.to_vec(),
        tables: BTreeMap::new(),
        execution: Execution::Whole,
        backend: Backend::Memory,
    }
}

/// Settings of a run in UTC with cents, as of an instant.
pub(crate) fn settings(relations: &Relations, as_of: Instant) -> Settings {
    Settings {
        as_of,
        calendar: Calendar::UTC,
        resolution: Resolution::Day,
        stages: Vec::new(),
        rate_floor: 10,
        quantile_floor: 5,
        money_scale: 2,
        dictionaries: relations.dictionaries.clone(),
    }
}

/// The end of a day given as `YYYY-MM-DD`, which is a whole period's end on its last day.
pub(crate) fn end_of(day: &str) -> Instant {
    let day = crate::time::from_date(day.parse().expect("YYYY-MM-DD"));
    Calendar::UTC.instant(day + 1) - 1
}

/// One table; it must be the same in both backends, in one piece and in shards.
#[track_caller]
pub(crate) fn table(
    relations: &Relations,
    metric: &'static Metric,
    plan: &Plan,
    settings: &Settings,
) -> Table {
    let run = |execution, backend| -> Outcome {
        let plan = Plan { execution, backend, ..plan.clone() };
        compute(relations, &[metric], &[], &plan, settings).expect("a table")
    };
    let mut whole = run(Execution::Whole, Backend::Memory);
    for (execution, backend) in [
        (Execution::Whole, Backend::Streaming),
        (Execution::Sharded(3), Backend::Memory),
        (Execution::Sharded(2), Backend::Streaming),
    ] {
        let other = run(execution, backend);
        assert_eq!(whole.tables[0].batch, other.tables[0].batch, "{execution:?}, {backend:?}");
    }
    whole.tables.remove(0)
}
