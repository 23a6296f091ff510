//! What every metric of the registry keeps, and every metric of a user's own.
//!
//! One small generated history is computed in every way that must not matter; a small dirty one is
//! made up of anything at all.

mod closed;
pub(crate) mod dirty;
mod forms;
mod wild;
mod narrow;
mod pipelines;
mod replay;
pub(crate) mod sample;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use arrow::compute::filter_record_batch;
use dealmill::engine::{self, Backend, Execution};
use dealmill::error::Error;
use dealmill::metrics::{Identity, Metric, QUALITY, REGISTRY, common_columns};
use dealmill::relations::Relations;
use dealmill::run::RunOptions;
use dealmill::source::synthetic::Ids;

use crate::support::execute;
use sample::{Computed, Sample, check_equal, compute, parquet_files, plan, read, stated, tables};

static SAMPLE: LazyLock<Sample> = LazyLock::new(|| Sample::new(400, 11, Ids::Int));
static COMPUTED: LazyLock<Computed> = LazyLock::new(|| compute(&SAMPLE.hive("")));

#[test]
fn sample_is_telling() {
    // A law over missing or empty tables says nothing.
    assert_eq!(COMPUTED.tables.len(), stated().len() + sample::CUSTOM_N);
    assert_eq!(stated().len() + 1, REGISTRY.len(), "only kpi_status is of tables");
    for table in &COMPUTED.tables {
        assert!(table.rows() > 0, "{}", table.name);
    }
    let after = COMPUTED.history.counts.after_as_of;
    assert!(after > 100, "{after} events after as_of");
}

#[test]
fn every_metric_says_what_it_is() {
    let mut names = BTreeSet::new();
    for metric in REGISTRY {
        let name = metric.name;
        assert!(names.insert(name), "{name} is there twice");
        let snake = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(snake));
        assert!(metric.question.ends_with('?'), "{name}: {}", metric.question);
        assert!(metric.grain.starts_with("one row per"), "{name}: {}", metric.grain);
        assert!(!metric.identities.is_empty(), "{name}");
        let mut columns = BTreeSet::new();
        for column in common_columns(&[]).iter().chain(metric.output) {
            let place = format!("{name}.{}", column.name);
            assert!(columns.insert(column.name.clone()), "{place} is there twice");
            assert!(column.name.chars().all(snake), "{place}");
            assert!(!column.unit.is_empty(), "{place} has no unit");
            assert!(column.meaning.ends_with('.'), "{place}: {:?}", column.meaning);
        }
    }
}

#[test]
fn every_metric_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("METRICS.md");
    let text = std::fs::read_to_string(path).unwrap();
    for metric in REGISTRY {
        assert!(text.contains(&format!("\n## {}\n", metric.name)), "{}", metric.name);
        assert!(text.contains(metric.question), "{}", metric.question);
    }
}

#[test]
fn planned_schema_is_the_declared_one() {
    let resolved = SAMPLE.hive("");
    let plan = plan(&resolved, Execution::Whole, Backend::Memory);
    let custom = &resolved.config.metrics;
    let relations = &COMPUTED.history.relations;
    engine::check_plans(relations, REGISTRY, custom, &plan).unwrap();
    for (table, metric) in COMPUTED.tables.iter().zip(stated()) {
        let mut declared = common_columns(&plan.dimensions);
        declared.extend_from_slice(metric.output);
        assert_eq!(table.specs, declared, "{}", table.name);
        let schema = table.schema.clone();
        let found: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let names: Vec<&str> = declared.iter().map(|c| c.name.as_ref()).collect();
        assert_eq!(found, names, "{}", table.name);
    }
}

#[test]
fn nothing_in_gives_empty_tables_of_the_declared_schema() {
    let resolved = SAMPLE.hive("");
    let dimensions = &resolved.config.dimensions.columns;
    let relations = Relations::empty(dimensions).unwrap();
    let mut settings = COMPUTED.history.settings(&resolved);
    settings.dictionaries = relations.dictionaries.clone();
    for backend in [Backend::Kernel, Backend::Memory, Backend::Streaming] {
        for execution in [Execution::Whole, Execution::Sharded(3)] {
            let plan = plan(&resolved, execution, backend);
            let custom = &resolved.config.metrics;
            let outcome = engine::compute(&relations, &stated(), custom, &plan, &settings).unwrap();
            assert_eq!(outcome.tables.len(), COMPUTED.tables.len());
            for (empty, full) in outcome.tables.iter().zip(&COMPUTED.tables) {
                assert_eq!(empty.rows(), 0, "{}", empty.name);
                assert_eq!(empty.schema, full.schema, "{}", empty.name);
            }
        }
    }
}

#[test]
fn shards_and_backends_give_the_same_cells() {
    let resolved = SAMPLE.hive("");
    for (execution, backend) in [
        (Execution::Whole, Backend::Kernel),
        (Execution::Sharded(3), Backend::Kernel),
        (Execution::Sharded(64), Backend::Kernel),
        (Execution::Whole, Backend::Streaming),
        (Execution::Sharded(1), Backend::Memory),
        (Execution::Sharded(2), Backend::Streaming),
        (Execution::Sharded(3), Backend::Memory),
        (Execution::Sharded(7), Backend::Memory),
        (Execution::Sharded(64), Backend::Memory),
    ] {
        let found = tables(&resolved, &COMPUTED.history, execution, backend);
        check_equal(&COMPUTED.tables, &found, &format!("{execution:?}, {backend:?}"));
    }
}

#[test]
fn check_says_what_a_run_would() {
    let options = RunOptions { on_step: &|_| (), backend: Backend::Kernel };
    let judged = dealmill::run::check(&SAMPLE.hive(""), &options).unwrap();
    assert_eq!(judged.summary.skipped, []);
    assert!(judged.verdict.is_ok());
    let quality = COMPUTED.tables.iter().find(|table| table.name == QUALITY).unwrap();
    assert!(
        judged.table.whole().unwrap() == quality.whole().unwrap(),
        "its account of the inputs differs"
    );
}

/// The bytes of every file of a finished run but its manifest, by name.
fn published(run: &str) -> Vec<(String, Vec<u8>)> {
    let resolved = SAMPLE.hive(run);
    let out = tempfile::tempdir().unwrap();
    let resolved = dealmill::config::Resolved { output: out.path().join("out"), ..resolved };
    let folder = execute(&resolved).unwrap().run_dir;
    let files = parquet_files(&folder).into_iter().map(|path| {
        let name = path.strip_prefix(&folder).unwrap().display().to_string();
        (name, std::fs::read(path).unwrap())
    });
    files.collect()
}

#[test]
fn threads_shards_and_repetition_do_not_change_a_byte() {
    let first = published("");
    assert!(first.len() > REGISTRY.len(), "{} files", first.len());
    for run in
        ["", "threads = 1", "threads = 2", "threads = 5", "threads = 65", "threads = 4\nshards = 5"]
    {
        let again = published(run);
        assert_eq!(first.len(), again.len(), "{run}");
        for ((name, bytes), (other, found)) in first.iter().zip(&again) {
            assert_eq!(name, other, "{run}");
            assert!(bytes == found, "{run:?}: {name} differs");
        }
    }
}

/// Computes the events at a path of the sample and compares every table.
#[track_caller]
fn check_layout(path: &str, input: &str) {
    let run = "as_of = \"2020-02-29\"";
    let config = SAMPLE.config(path, run, input);
    let own = crate::support::Scratch::new();
    // Each test its own configuration file, beside the inputs of all.
    let text =
        config.replace("path = \"", &format!("path = \"{}/", SAMPLE.scratch.path("").display()));
    let found = compute(&own.resolve(&text).unwrap());
    check_equal(&COMPUTED.tables, &found.tables, path);
}

#[test]
fn one_flat_file_gives_the_same_cells() {
    SAMPLE.write("flat/all.parquet", &SAMPLE.events);
    check_layout("flat/all.parquet", "");
}

#[test]
fn order_of_rows_does_not_matter() {
    SAMPLE.write("shuffled/all.parquet", &SAMPLE.shuffled(5));
    check_layout("shuffled", "");
}

#[test]
fn many_files_give_the_same_cells() {
    let rows = SAMPLE.shuffled(6);
    let part = rows.num_rows().div_ceil(7);
    for number in 0..7 {
        let begin = number * part;
        let slice = rows.slice(begin, part.min(rows.num_rows() - begin));
        SAMPLE.write(&format!("many/{}/part-{number}.parquet", number % 3), &slice);
    }
    check_layout("many", "");
}

#[test]
fn partition_column_gives_the_same_cells_as_a_written_one() {
    let rows = SAMPLE.shuffled(7);
    let place = rows.schema().index_of("region").unwrap();
    let regions = arrow::array::AsArray::as_string::<i32>(rows.column(place)).clone();
    let names: BTreeSet<String> = regions.iter().map(|r| r.unwrap().to_owned()).collect();
    for name in names {
        let own = regions.iter().map(|r| r == Some(name.as_str())).collect();
        let mut part = filter_record_batch(&rows, &own).unwrap();
        part.remove_column(place);
        let folder = name.replace(' ', "%20");
        SAMPLE.write(&format!("by_region/region={folder}/part.parquet"), &part);
    }
    check_layout("by_region", "");
}

#[test]
fn csv_gives_the_same_cells_as_parquet() {
    let mut text = Vec::new();
    arrow::csv::Writer::new(&mut text).write(&SAMPLE.shuffled(8)).unwrap();
    SAMPLE.scratch.write("csv/events.csv", &String::from_utf8(text).unwrap());
    check_layout("csv/events.csv", "");
}

#[test]
fn events_after_as_of_change_nothing() {
    let resolved = SAMPLE.hive("");
    let place = SAMPLE.events.schema().index_of("event_time").unwrap();
    let times = SAMPLE.events.column(place);
    let as_of = resolved.as_of.unwrap();
    let times =
        arrow::array::AsArray::as_primitive::<arrow::datatypes::TimestampMicrosecondType>(times);
    let early = times.iter().map(|t| t.is_some_and(|t| t <= as_of)).collect();
    let early = filter_record_batch(&SAMPLE.events, &early).unwrap();
    SAMPLE.write("early/all.parquet", &early);
    let found = compute(&{
        let config = SAMPLE.config("early", "as_of = \"2020-02-29\"", "");
        let own = crate::support::Scratch::new();
        let root = format!("path = \"{}/", SAMPLE.scratch.path("").display());
        own.resolve(&config.replace("path = \"", &root)).unwrap()
    });
    assert_eq!(found.history.counts.after_as_of, 0);
    // The account of the input tells how many there were; every other table must not know.
    for (a, b) in COMPUTED.tables.iter().zip(&found.tables).filter(|(a, _)| a.name != QUALITY) {
        assert!(a.whole().unwrap() == b.whole().unwrap(), "the table {:?} differs", a.name);
    }
}

#[test]
fn no_customer_is_in_two_shards() {
    use dealmill::relations::{Relation, export::to_arrow};
    let mut shards = std::collections::BTreeMap::new();
    let mut rows = 0;
    for relation in
        [Relation::Orders, Relation::Customers, Relation::CustomerPeriods, Relation::Purchases]
    {
        let batch = to_arrow(&COMPUTED.history.relations, relation).unwrap();
        let customers = arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(
            batch.column_by_name("customer").unwrap(),
        );
        let numbers = arrow::array::AsArray::as_primitive::<arrow::datatypes::Int16Type>(
            batch.column_by_name("shard").unwrap(),
        );
        for (customer, shard) in customers.iter().zip(numbers.iter()) {
            rows += 1;
            assert_eq!(shards.entry(customer).or_insert(shard), &shard, "{customer:?}");
        }
    }
    assert!(rows > shards.len() && shards.len() > 20);
}

#[test]
fn broken_identity_is_caught() {
    let sound = REGISTRY[0];
    let identities: &'static [Identity] =
        vec![Identity { claim: "one is two", holds: |row| row.text("slice").is_none() }].leak();
    let broken: &'static Metric = Box::leak(Box::new(Metric {
        name: "broken",
        question: sound.question,
        grain: sound.grain,
        states: sound.states,
        output: sound.output,
        view: sound.view,
        references: sound.references,
        finish: sound.finish,
        identities,
    }));
    let resolved = SAMPLE.hive("");
    let plan = plan(&resolved, Execution::Whole, Backend::Memory);
    let history = &COMPUTED.history;
    let settings = history.settings(&resolved);
    let error = engine::compute(&history.relations, &[broken], &[], &plan, &settings).unwrap_err();
    assert!(matches!(error, Error::IdentityBroken { .. }), "{error}");
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("one is two"), "{error}");
}

/// A metric whose SQL is refused, with these words in the message and exit code 2.
#[track_caller]
fn check_refused(sql: &str, words: &str) {
    let own = crate::support::Scratch::new();
    let begin = SAMPLE.config("made/deal_events", "", "").replace(sample::CUSTOM, "");
    let text =
        format!("{begin}\n[[metrics]]\nname = \"mine\"\nrelation = \"deals\"\nsql = '{sql}'");
    let root = format!("path = \"{}/", SAMPLE.scratch.path("").display());
    let run = |text: &str| execute(&own.resolve(text)?);
    let error = run(&text.replace("path = \"", &root)).unwrap_err();
    assert!(matches!(error, Error::Sql { .. }), "{error}");
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains(words), "{error}");
    assert!(!own.path("out/latest").exists(), "something was published");
}

#[test]
fn custom_sql_that_does_not_add_up_is_refused() {
    check_refused("SELECT COUNT(DISTINCT owner) AS n FROM deals", "DISTINCT");
    check_refused("SELECT AVG(amount) AS a FROM deals", "AVG");
    check_refused("SELECT SUM(amount) / COUNT(*) AS a FROM deals", "");
    check_refused("SELECT SUM(amount) AS a FROM deals HAVING SUM(amount) > 0", "HAVING");
    check_refused("SELECT SUM(amount) AS a FROM visits", "visits");
    check_refused("SELECT SUM(amuont) AS a FROM deals", "amuont");
    check_refused("SELECT COUNT(*) FILTER (WHERE is_won = 1) AS n FROM deals", "FILTER");
    check_refused("SELECT SUM(amount) AS a FROM deals JOIN visits ON TRUE", "join");
    check_refused("SELECT COUNT(*) AS n FROM deals; SELECT COUNT(*) AS n FROM deals", "statement");
}

#[test]
fn dirty_histories_keep_their_account_and_never_panic() {
    dirty::check_many(21, &dirty::Shape::EVERY, |rows, shape| {
        let scratch = crate::support::Scratch::new();
        let resolved = dirty::resolve(&scratch, rows, shape);
        let (history, ledger) = read(&resolved);
        ledger.judge().unwrap();
        let c = &history.counts;
        assert_eq!(c.rows_in, rows.len() as u64);
        // The ledger, not the history's counts, knows of rows that the fold rejected.
        let own = &ledger.counts()["deal_events"];
        assert_eq!(own.rows_in, own.folded + own.quarantined + own.after_as_of);
        let whole = tables(&resolved, &history, Execution::Whole, Backend::Memory);
        for (execution, backend) in [
            (Execution::Sharded(3), Backend::Streaming),
            (Execution::Whole, Backend::Kernel),
            (Execution::Sharded(2), Backend::Kernel),
        ] {
            let other = tables(&resolved, &history, execution, backend);
            check_equal(&whole, &other, &format!("{execution:?}, {backend:?}"));
        }
    });
}
