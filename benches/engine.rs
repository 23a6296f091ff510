//! Benches of the fold, the metrics' states and the statistics; each asserts its answer first.
//!
//! Sizes are small, so that all of it ends in a minute or two; `DEALMILL_BENCH_DEALS` asks for more.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a bench may say what it expects"
)]

use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dealmill::config::{self, Flags, Resolved};
use dealmill::engine::{Backend, Execution, Plan, merged_states};
use dealmill::error::Error;
use dealmill::metrics::REGISTRY;
use dealmill::quality::Ledger;
use dealmill::relations::{Batch, Relation, Wanted};
use dealmill::run::{Taker, mill, read_history};
use dealmill::source::synthetic::{GenerateOptions, generate};
use dealmill::stats::interval::wilson;
use dealmill::stats::quantile::type7_from_counts;
use dealmill::stats::survival::{Curve, QuantileRule, Tally};
use parquet::arrow::ArrowWriter;
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;

/// Deals of a history.
fn deals() -> i64 {
    let asked = std::env::var_os("DEALMILL_BENCH_DEALS");
    asked.and_then(|text| text.to_str()?.parse().ok()).unwrap_or(20_000)
}

/// How a deal is named.
#[derive(Debug, Clone, Copy)]
enum Ids {
    Int,
    String,
    Uuid,
}

/// How the rows lie in the files.
#[derive(Debug, Clone, Copy)]
enum Order {
    /// One file, deal after deal.
    Sorted,
    /// One file, in no order.
    Shuffled,
    /// A dozen files, each a part of the time.
    Partitioned,
}

/// A history made for the bench.
#[derive(Debug, Clone, Copy)]
struct Shape {
    ids: Ids,
    events_per_deal: i64,
    order: Order,
}

const USUAL: Shape = Shape { ids: Ids::Int, events_per_deal: 5, order: Order::Partitioned };

/// One thing varies at a time.
const SHAPES: &[Shape] = &[
    USUAL,
    Shape { ids: Ids::String, ..USUAL },
    Shape { ids: Ids::Uuid, ..USUAL },
    Shape { events_per_deal: 2, ..USUAL },
    Shape { events_per_deal: 20, ..USUAL },
    Shape { order: Order::Sorted, ..USUAL },
    Shape { order: Order::Shuffled, ..USUAL },
];

impl Shape {
    fn events(self) -> usize {
        usize::try_from(deals() * self.events_per_deal).unwrap()
    }

    /// Deal and number of the event within it, in the order of the shape.
    fn rows(self) -> Vec<(i64, i64)> {
        let of = |deal| (0..self.events_per_deal).map(move |event| (deal, event));
        let mut rows: Vec<(i64, i64)> = (0..deals()).flat_map(of).collect();
        match self.order {
            Order::Sorted => {}
            Order::Shuffled => rows.shuffle(&mut rand_pcg::Pcg64::seed_from_u64(7)),
            Order::Partitioned => rows.sort_by_key(|(deal, event)| micros(*deal, *event)),
        }
        rows
    }

    fn deal_ids(self, rows: &[(i64, i64)]) -> ArrayRef {
        let ids = rows.iter().map(|row| row.0);
        let texts = |text: fn(i64) -> String| {
            Arc::new(StringArray::from_iter_values(ids.clone().map(text)))
        };
        match self.ids {
            Ids::Int => Arc::new(Int64Array::from_iter_values(ids)),
            Ids::String => texts(|n| format!("deal-{n:012}")),
            Ids::Uuid => texts(|n| {
                format!("{:08x}-7a1b-4c2d-8e3f-{n:012x}", (n * 2_654_435_761) & 0xFFFF_FFFF)
            }),
        }
    }

    /// Each event enters another stage than the one before, so that it is a visit.
    fn batch(self, rows: &[(i64, i64)]) -> RecordBatch {
        let deal = || rows.iter().map(|row| row.0);
        let texts = |texts: Vec<String>| -> ArrayRef { Arc::new(StringArray::from(texts)) };
        let times = rows.iter().map(|(deal, event)| micros(*deal, *event));
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("deal_id", self.deal_ids(rows)),
            (
                "event_time",
                Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
            ),
            ("stage_id", texts(rows.iter().map(|row| format!("s{}", row.1 % 4)).collect())),
            ("amount", Arc::new(Float64Array::from_iter_values(deal().map(|n| (n % 997) as f64)))),
            ("customer_id", Arc::new(Int64Array::from_iter_values(deal().map(|n| n / 3)))),
            ("owner_id", texts(deal().map(|n| format!("owner {}", n % 50)).collect())),
            ("region", texts(deal().map(|n| format!("region {}", n % 7)).collect())),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    /// Writes the files and their configuration into a folder.
    fn write(self, folder: &Path) -> Resolved {
        let events = folder.join("events");
        std::fs::create_dir_all(&events).unwrap();
        let rows = self.rows();
        let files = if matches!(self.order, Order::Partitioned) { 12 } else { 1 };
        for (number, part) in rows.chunks(rows.len().div_ceil(files)).enumerate() {
            let batch = self.batch(part);
            let file = File::create(events.join(format!("part-{number:02}.parquet"))).unwrap();
            let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
        }
        let config = folder.join("dealmill.toml");
        std::fs::write(&config, CONFIG).unwrap();
        load(&config)
    }
}

const CONFIG: &str = r#"
[pipeline]
stages = ["s0", "s1", "s2", "s3"]
[dimensions]
columns = ["region"]
[inputs.deal_events]
path = "events"
"#;

/// Deals begin all over a year; their events are a week apart.
fn micros(deal: i64, event: i64) -> i64 {
    const DAY: i64 = 86_400_000_000;
    let begin = deal * 7_919 % 365;
    1_700_000_000_000_000 + (begin + 7 * event) * DAY + deal % 86_400 * 1_000_000
}

fn load(config: &Path) -> Resolved {
    config::load(&Flags { config: Some(config.to_owned()), ..Flags::default() }).unwrap()
}

/// Counts visits and drops everything.
#[derive(Default)]
struct Visits(AtomicUsize);

impl Taker for Visits {
    fn take(&self, batch: &Batch) -> Result<(), Error> {
        if batch.relation == Relation::Visits {
            self.0.fetch_add(batch.rows, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Reads, folds, and makes every column of every relation; gives deals, visits and the seconds of
/// one step.
fn read(resolved: &Resolved, step: &str) -> (u64, usize, Duration) {
    let ledger = Ledger::new(&resolved.config.quality.severity);
    let mut timings = Vec::new();
    let begin = |_: &_| Ok(Visits::default());
    let (history, visits) =
        mill(resolved, &ledger, &|_| (), &mut timings, &Wanted::All, begin).unwrap();
    let (_, seconds) = timings.iter().find(|(name, _)| name == step).unwrap();
    (history.deals, visits.0.into_inner(), Duration::from_secs_f64(*seconds))
}

/// Decoding and scattering (`read`); sorting, folding and making the relations (`fold`).
fn fold(c: &mut Criterion) {
    for shape in SHAPES {
        let folder = tempfile::tempdir().unwrap();
        let resolved = shape.write(folder.path());
        let (found, visits, _) = read(&resolved, "fold");
        assert_eq!((found, visits), (u64::try_from(deals()).unwrap(), shape.events()));
        let Shape { ids, events_per_deal, order } = shape;
        for step in ["read", "fold"] {
            let mut group = c.benchmark_group(step);
            group.throughput(Throughput::Elements(shape.events() as u64));
            let name = format!("{ids:?} ids, {events_per_deal} events a deal, {order:?}");
            group.bench_function(name, |b| {
                b.iter_custom(|n| (0..n).map(|_| read(&resolved, step).2).sum());
            });
        }
    }
}

/// Every state of each metric over one history, all slices, by the kernel and by Polars.
fn states(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let many = u64::try_from(deals()).unwrap();
    let made = generate(&GenerateOptions::new(many, 7, folder.path().join("made"))).unwrap();
    let resolved = load(&made.config);
    let ledger = Ledger::new(&resolved.config.quality.severity);
    let history = read_history(&resolved, &ledger, &|_| (), &mut Vec::new()).unwrap();
    let plan = |backend| Plan {
        dimensions: resolved.config.dimensions.columns.clone(),
        people: Vec::new(),
        slices: resolved.slices.clone(),
        periods: resolved.periods.clone(),
        tables: resolved.tables.clone(),
        calendar: resolved.calendar,
        execution: Execution::Whole,
        backend,
    };
    let run = |metric, backend| {
        let states = merged_states(&history.relations, &[metric], &[], &plan(backend)).unwrap();
        states.into_iter().map(|state| state.rows).collect::<Vec<_>>()
    };
    let mut group = c.benchmark_group("states");
    for metric in REGISTRY {
        let expected = run(*metric, Backend::Memory);
        assert!(expected.iter().all(|state| state.rows > 0), "{}", metric.name);
        assert!(run(*metric, Backend::Kernel) == expected, "{}", metric.name);
        for backend in [Backend::Kernel, Backend::Memory] {
            let id = BenchmarkId::new(metric.name, format!("{backend:?}"));
            group.bench_function(id, |b| b.iter(|| run(*metric, backend)));
        }
    }
}

fn statistics(c: &mut Criterion) {
    let mut group = c.benchmark_group("stats");
    for n in [100_i64, 10_000] {
        // Each of 0, 1, …, n once: the median is n/2, and half are left after it.
        let values: Vec<i64> = (0..=n).collect();
        let counts = vec![1_i64; values.len()];
        assert_eq!(type7_from_counts(&values, &counts, 0.5), Some(n as f64 / 2.0));
        group.bench_function(BenchmarkId::new("quantile", n), |b| {
            b.iter(|| type7_from_counts(black_box(&values), black_box(&counts), 0.9));
        });
        let tally = |t: &i64| Tally { duration: *t, observed: 1, censored: 0 };
        let tallies: Vec<Tally> = values.iter().map(tally).collect();
        let median = Curve::fit(&tallies).quantile(0.5, QuantileRule::First);
        assert_eq!(median, Some((n / 2) as f64));
        group.bench_function(BenchmarkId::new("kaplan_meier", n), |b| {
            b.iter(|| Curve::fit(black_box(&tallies)).quantile(0.5, QuantileRule::First));
        });
    }
    // 5 of 10: centre 1/2, half width 1.96/(1 + 0.38416) · √(0.025 + 0.009604) = 0.263407.
    let (low, high) = wilson(5, 10, 1.96).unwrap();
    assert!((low - 0.236_593).abs() < 1e-5 && (high - 0.763_407).abs() < 1e-5, "{low} {high}");
    group.bench_function("wilson", |b| b.iter(|| wilson(black_box(631), 1000, 1.96)));
}

fn quick() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
}

criterion_group!(name = benches; config = quick(); targets = fold, states, statistics);
criterion_main!(benches);
