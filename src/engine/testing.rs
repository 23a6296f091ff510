//! What tests of metrics share: computing one table in every way that must give the same.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::{Backend, Execution, Outcome, Plan, Prepared, compute};
use crate::config::CustomMetric;
use crate::metrics::{Metric, Settings};
use crate::relations::Relations;
use crate::spill::{Budget, Room, Scratch, Spilling};
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
        people: dimensions.clone(),
        dimensions,
        slices,
        periods: periods.to_vec(),
        tables: BTreeMap::new(),
        calendar: Calendar::UTC,
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
        pipelines: crate::metrics::Pipelines::default(),
        rate_floor: 10,
        quantile_floor: 5,
        horizons_days: vec![3, 10, 15],
        variants_max: 50,
        funnels: Vec::new(),
        money_scale: 2,
        clv: crate::metrics::Valuation::default(),
        forecast: crate::metrics::Forecasting::default(),
        triggers: crate::metrics::Thresholds::default(),
        customers: crate::metrics::CustomerRules::default(),
        commission: crate::metrics::CommissionPlan::default(),
        dictionaries: relations.dictionaries.clone(),
    }
}

/// The end of a day given as `YYYY-MM-DD`, which is a whole period's end on its last day.
pub(crate) fn end_of(day: &str) -> Instant {
    let day = crate::time::from_date(day.parse().expect("YYYY-MM-DD"));
    Calendar::UTC.instant(day + 1) - 1
}

/// The tables by the kernel as a run computes them: the rows in this many batches, from any thread.
pub(crate) fn in_batches(
    relations: &Relations,
    metrics: &[&'static Metric],
    custom: &[CustomMetric],
    (plan, settings): (&Plan, &Settings),
    (batches, spilling): (i16, Spilling),
) -> Vec<Table> {
    let folder = tempfile::tempdir().expect("a folder");
    let scratch = Scratch::within(folder.path());
    let budget = Budget::spilling_when(1 << 40, spilling);
    let room = Room::new(&budget, &scratch, 1);
    let prepared = Prepared::new(&relations.carried(), metrics, custom, plan).expect("a plan");
    let sums = prepared.begin(&relations.dictionaries).expect("sums").within(&room);
    for whole in relations.batches.values() {
        let take = |part| sums.take(&whole.shard(part, batches)).expect("sums of a batch");
        (0..batches).into_par_iter().for_each(take);
    }
    let present = relations.batches.keys().copied().collect();
    let finished = prepared.finish_within(sums, &present, plan, settings).expect("tables").tables;
    let spilled = room.spilled_bytes() > 0;
    let has_rows = finished.iter().any(|table| table.rows() > 0);
    match spilling {
        Spilling::AsNeeded => assert!(!spilled, "there was room"),
        Spilling::Always => assert!(spilled || !has_rows, "nothing was spilled"),
    }
    finished.iter().map(|table| table.table().expect("a table").into_owned()).collect()
}

/// One table; it must be the same in every backend, in one piece, in shards and in batches.
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
        (Execution::Whole, Backend::Kernel),
        (Execution::Sharded(3), Backend::Kernel),
        (Execution::Whole, Backend::Streaming),
        (Execution::Sharded(3), Backend::Memory),
        (Execution::Sharded(2), Backend::Streaming),
    ] {
        let other = run(execution, backend);
        assert_eq!(
            whole.tables[0].whole().unwrap(),
            other.tables[0].whole().unwrap(),
            "{execution:?}, {backend:?}"
        );
    }
    for spilling in [Spilling::AsNeeded, Spilling::Always] {
        let other = in_batches(relations, &[metric], &[], (plan, settings), (5, spilling));
        assert_eq!(
            whole.tables[0].whole().unwrap(),
            other[0].whole().unwrap(),
            "in five batches, {spilling:?}"
        );
    }
    whole.tables.remove(0)
}
