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
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array as _, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{cast, concat_batches, take_record_batch};
use arrow::datatypes::DataType;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dealmill::config::{self, Flags, Resolved};
use dealmill::engine::{Backend, Execution, Plan, merged_states};
use dealmill::metrics::REGISTRY;
use dealmill::quality::Ledger;
use dealmill::run::{History, read_history};
use dealmill::source::synthetic::{GenerateOptions, Ids, generate};
use dealmill::stats::interval::wilson;
use dealmill::stats::quantile::type7_from_counts;
use dealmill::stats::survival::{Curve, QuantileRule, Tally};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;

/// Deals of the generated history.
fn deals() -> u64 {
    let asked = std::env::var_os("DEALMILL_BENCH_DEALS");
    asked.and_then(|text| text.to_str()?.parse().ok()).unwrap_or(20_000)
}

/// How the rows lie in the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// As generated: a file a month, in order of time.
    Months,
    /// One file, deal after deal.
    Sorted,
    /// One file, in no order.
    Shuffled,
}

/// A generated history in a folder of its own.
struct Input {
    folder: tempfile::TempDir,
    events: usize,
}

impl Input {
    fn new(ids: Ids) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = generate(&GenerateOptions {
            ids,
            ..GenerateOptions::new(deals(), 7, folder.path().join("made"))
        });
        let events = made.unwrap().events as usize;
        let input = Self { folder, events };
        let rows = input.rows();
        let by_deal = arrow_order(&rows);
        let mut anyhow = by_deal.clone();
        anyhow.shuffle(&mut rand_pcg::Pcg64::seed_from_u64(7));
        for (layout, order) in [(Layout::Sorted, by_deal), (Layout::Shuffled, anyhow)] {
            let rows = take_record_batch(&rows, &UInt32Array::from(order)).unwrap();
            let path = input.path(layout);
            std::fs::create_dir_all(&path).unwrap();
            let file = File::create(path.join("part.parquet")).unwrap();
            let mut writer = ArrowWriter::try_new(file, rows.schema(), None).unwrap();
            writer.write(&rows).unwrap();
            writer.close().unwrap();
        }
        input
    }

    fn path(&self, layout: Layout) -> PathBuf {
        self.folder.path().join(match layout {
            Layout::Months => "made/deal_events",
            Layout::Sorted => "sorted",
            Layout::Shuffled => "shuffled",
        })
    }

    fn rows(&self) -> RecordBatch {
        let mut batches = Vec::new();
        for path in files(&self.path(Layout::Months)) {
            let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap());
            batches.extend(reader.unwrap().build().unwrap().map(|b| plain(&b.unwrap())));
        }
        concat_batches(&batches[0].schema(), &batches).unwrap()
    }

    fn resolve(&self, layout: Layout) -> Resolved {
        let text = std::fs::read_to_string(self.folder.path().join("made/dealmill.toml")).unwrap();
        let events = format!("path = \"{}\"", self.path(layout).display());
        let text = text
            .replace("path = \"deal_events\"", &events)
            .replace("partitions = { year = \"int\", month = \"int\" }", "");
        let path = self.folder.path().join(format!("made/{layout:?}.toml"));
        std::fs::write(&path, text).unwrap();
        config::load(&Flags { config: Some(path), ..Flags::default() }).unwrap()
    }
}

/// Dictionary columns as text, so that files of all months go together.
fn plain(batch: &RecordBatch) -> RecordBatch {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let column: ArrayRef = match column.data_type() {
            DataType::Dictionary(..) => cast(column, &DataType::Utf8).unwrap(),
            _ => Arc::clone(column),
        };
        (field.name().clone(), column, true)
    });
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// Rows by deal, then as they are, which is by time.
fn arrow_order(rows: &RecordBatch) -> Vec<u32> {
    let deals = cast(rows.column_by_name("deal_id").unwrap(), &DataType::Utf8).unwrap();
    let deals = arrow::array::AsArray::as_string::<i32>(&deals);
    let mut order: Vec<u32> = (0..deals.len() as u32).collect();
    order.sort_by_key(|row| deals.value(*row as usize));
    order
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Reads and folds; gives the history and the seconds of one step.
fn read(resolved: &Resolved, step: &str) -> (History, Duration) {
    let ledger = Ledger::new(&resolved.config.quality.severity);
    let mut timings = Vec::new();
    let history = read_history(resolved, &ledger, &|_| (), &mut timings).unwrap();
    let seconds = timings.iter().find(|(name, _)| name == step).map_or(0.0, |(_, s)| *s);
    (history, Duration::from_secs_f64(seconds))
}

/// Decoding and scattering (`read`), the fold alone (`fold`), and making the relations.
fn fold(c: &mut Criterion) {
    for ids in [Ids::Int, Ids::String] {
        let input = Input::new(ids);
        for layout in [Layout::Months, Layout::Sorted, Layout::Shuffled] {
            let resolved = input.resolve(layout);
            let (history, _) = read(&resolved, "fold");
            assert_eq!(history.deals, deals());
            assert_eq!(history.counts.folded, input.events as u64);
            for step in ["read", "fold", "relations"] {
                let mut group = c.benchmark_group(step);
                group.throughput(Throughput::Elements(input.events as u64));
                group.bench_function(format!("{ids:?} ids, {layout:?}"), |b| {
                    b.iter_custom(|n| (0..n).map(|_| read(&resolved, step).1).sum());
                });
            }
        }
    }
}

/// Every state of each metric over one history, all slices.
fn states(c: &mut Criterion) {
    let input = Input::new(Ids::Int);
    let resolved = input.resolve(Layout::Months);
    let (history, _) = read(&resolved, "fold");
    let plan = |execution| Plan {
        dimensions: resolved.config.dimensions.columns.clone(),
        slices: resolved.slices.clone(),
        periods: resolved.periods.clone(),
        tables: resolved.tables.clone(),
        execution,
        backend: Backend::Memory,
    };
    let (whole, halves) = (plan(Execution::Whole), plan(Execution::Sharded(2)));
    let mut group = c.benchmark_group("states");
    for metric in REGISTRY {
        let run = |plan| merged_states(&history.relations, &[metric], &[], plan).unwrap();
        let rows: Vec<usize> = run(&whole).iter().map(|s| s.rows.rows).collect();
        assert!(rows.iter().all(|n| *n > 0), "{}: {rows:?}", metric.name);
        let merged: Vec<_> = run(&halves).into_iter().map(|s| s.rows).collect();
        assert!(run(&whole).into_iter().map(|s| s.rows).eq(merged), "{}", metric.name);
        group.bench_function(metric.name, |b| b.iter(|| run(&whole)));
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
