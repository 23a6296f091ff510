//! One generated history in every form that the generator writes: forms that keep everything give
//! the same tables, cell for cell; the others the same deals and outcomes.

use std::collections::BTreeMap;
use std::fs::File;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::Int64Type;
use dealmill::config::{self, Flags, Resolved};
use dealmill::engine::{Backend, Execution};
use dealmill::error::Error;
use dealmill::metrics::QUALITY;
use dealmill::run::{ExplainBy, RunOptions};
use dealmill::source::synthetic::{Form, GenerateOptions, generate};
use dealmill::table::Table;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;

use super::sample::{Computed, compute, parquet_files, plain, read, tables};
use crate::support::{Row, Scratch, execute, rows_of};

const FORMS: [Form; 6] = [
    Form::Events,
    Form::RowHistory,
    Form::Intervals,
    Form::FieldHistory,
    Form::StageDates,
    Form::Snapshots,
];

/// 400 deals of 18 months in a form, below `made`.
fn made(scratch: &Scratch, form: Form) -> Resolved {
    let out = scratch.path("made");
    let options = GenerateOptions { months: 18, form, ..GenerateOptions::new(400, 11, out) };
    let made = generate(&options).unwrap();
    config::load(&Flags { config: Some(made.config), ..Flags::default() }).unwrap()
}

fn without_quality(tables: &[Table]) -> BTreeMap<&str, RecordBatch> {
    let others = tables.iter().filter(|table| table.name != QUALITY);
    others.map(|table| (table.name.as_ref(), table.whole().unwrap())).collect()
}

#[track_caller]
fn check_equal(expected: &Computed, found: &Computed, what: &str) {
    let (expected, found) = (without_quality(&expected.tables), without_quality(&found.tables));
    assert!(expected.keys().eq(found.keys()), "{what}");
    for (name, batch) in expected {
        assert!(batch.num_rows() > 0, "{what}: {name} is empty");
        assert!(batch == found[name], "{what}: the table {name:?} differs");
    }
}

/// Deals, and how many of them are won, lost and open.
fn outcomes(computed: &Computed) -> [i64; 4] {
    let table = computed.tables.iter().find(|table| table.name == "conversion").unwrap();
    let rows = table.whole().unwrap();
    let text = |name: &str| rows.column_by_name(name).unwrap().as_string::<i32>().clone();
    let (slices, periods, bases) = (text("slice"), text("period"), text("basis"));
    let row = (0..rows.num_rows())
        .find(|row| {
            [(&slices, "all"), (&periods, "all"), (&bases, "created")]
                .iter()
                .all(|(column, wanted)| column.value(*row) == *wanted)
        })
        .unwrap();
    ["deals_n", "won_n", "lost_n", "open_n"]
        .map(|name| rows.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(row))
}

#[test]
fn every_form_tells_of_the_same_deals() {
    let of = |form: Form| {
        let scratch = Scratch::new();
        compute(&made(&scratch, form))
    };
    let events = of(Form::Events);
    assert_eq!(outcomes(&events)[0], 400);
    for form in [Form::RowHistory, Form::Intervals, Form::FieldHistory] {
        check_equal(&events, &of(form), &format!("{form:?}"));
    }
    // What came and went is lost here, but not how it ended.
    for form in [Form::StageDates, Form::Snapshots] {
        assert_eq!(outcomes(&of(form)), outcomes(&events), "{form:?}");
    }
}

#[test]
fn order_of_rows_does_not_matter_in_any_form() {
    for form in FORMS {
        let scratch = Scratch::new();
        let mut resolved = made(&scratch, form);
        let expected = compute(&resolved);
        for input in ["deal_events", "deals"] {
            let folder = scratch.path(&format!("made/{input}"));
            if !folder.exists() {
                continue;
            }
            let rows = shuffled(&folder);
            let part = rows.num_rows().div_ceil(3);
            for number in 0..3 {
                let begin = number * part;
                let slice = rows.slice(begin, part.min(rows.num_rows() - begin));
                let schema = slice.schema();
                let names = schema.fields().iter().map(|f| f.name().as_str());
                let columns: Vec<_> = names.zip(slice.columns().iter().cloned()).collect();
                scratch.parquet(&format!("shuffled/{input}/{number}.parquet"), &columns, 100);
            }
            let own = resolved.inputs.get_mut(input).unwrap();
            own.path = scratch.path(&format!("shuffled/{input}"));
            own.declared.partitions.clear();
        }
        check_equal(&expected, &compute(&resolved), &format!("{form:?}"));
    }
}

/// All rows below a folder in an order made of a seed.
fn shuffled(folder: &std::path::Path) -> RecordBatch {
    let mut batches = Vec::new();
    for file in parquet_files(folder) {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap());
        batches.extend(reader.unwrap().build().unwrap().map(|b| plain(&b.unwrap())));
    }
    let all = concat_batches(&batches[0].schema(), &batches).unwrap();
    let mut order: Vec<u32> = (0..all.num_rows() as u32).collect();
    order.shuffle(&mut rand_pcg::Pcg64::seed_from_u64(9));
    take_record_batch(&all, &UInt32Array::from(order)).unwrap()
}

/// The rows of every table of a run, by name.
fn published(resolved: &Resolved, scratch: &Scratch, out: &str) -> BTreeMap<String, Vec<Row>> {
    let resolved = Resolved { output: scratch.path(out), ..resolved.clone() };
    let folder = execute(&resolved).unwrap().run_dir;
    let read = |path: std::path::PathBuf| {
        let name = path.strip_prefix(&folder).unwrap().display().to_string();
        (name, rows_of(&path))
    };
    parquet_files(&folder).into_iter().map(read).collect()
}

#[test]
fn threads_shards_and_narrow_reading_change_no_cell_in_any_form() {
    for form in FORMS {
        let scratch = Scratch::new();
        let resolved = made(&scratch, form);
        let all = published(&resolved, &scratch, "all");
        let mut other = resolved.clone();
        (other.config.run.threads, other.config.run.shards) = (Some(3), 4);
        let found = published(&other, &scratch, "other");
        assert!(all == found, "{form:?}: threads or shards");
        for table in ["revenue", "funnel", "stage_time"] {
            let mut one = resolved.clone();
            one.config.run.only = vec![table.to_owned()];
            let found = published(&one, &scratch, table);
            let name = format!("{table}.parquet");
            assert!(found[&name] == all[&name], "{form:?}: {table} alone");
        }
    }
}

#[test]
fn events_after_as_of_change_nothing_in_any_form_that_keeps_them() {
    let of = |form: Form| {
        let scratch = Scratch::new();
        let mut resolved = made(&scratch, form);
        resolved.as_of = Some(1_577_836_800_000_000); // 2020-01-01T00:00:00Z
        compute(&resolved)
    };
    let events = of(Form::Events);
    for form in [Form::RowHistory, Form::Intervals] {
        check_equal(&events, &of(form), &format!("{form:?}"));
    }
}

/// One row of anything: deal, day, second day, stage, word for the outcome, amount, flag.
type Dirt = (usize, usize, usize, usize, usize, usize, usize);

const DEALS: [&str; 6] = ["1", "2", "3", "d4", "", "07"];
const DAYS: [&str; 8] = [
    "",
    "2024-01-01",
    "2024-01-02T10:00:00Z",
    "2024-01-03",
    "2024-02-01",
    "9999-12-31",
    "0000-00-00",
    "soon",
];
const STAGES: [&str; 6] = ["s1", "s2", "won", "lost", "mystery", ""];
const WORDS: [&str; 6] = ["", "open", "won", "lost", "deleted", "nonsense"];
const AMOUNTS: [&str; 5] = ["", "5", "-7.50", "n/a", "1e3"];
const FLAGS: [&str; 4] = ["", "true", "false", "nein"];

const DIRTY: &str = r#"
[run]
as_of = "2024-02-15"
[pipeline]
stages = ["s1", "s2"]
won = ["won"]
lost = ["lost"]
[inputs.deal_events]
path = "a.csv"
timezone = "UTC"
"#;

/// Columns of the shapes, each under several names, and the tables beside them.
const SHAPES: [(&str, &str); 5] = [
    ("row_history", "columns = { event_time = 'at', created_at = 'to' }"),
    (
        "intervals",
        "columns = { valid_from = 'at', valid_to = 'to', is_active = 'flag', is_deleted = '' }",
    ),
    ("snapshots", "columns = { snapshot_at = 'at', created_at = 'to' }"),
    (
        "field_history",
        "columns = { event_time = 'at', field = 'stage_id', new_value = 'amount', old_value = 'outcome' }\n\
         fields = { s1 = 'stage_id', s2 = 'amount', won = 'outcome', lost = 'created', mystery = 'is_deleted' }",
    ),
    ("events", "columns = { event_time = 'at', event_type = 'outcome' }"),
];

#[test]
fn dirt_in_any_shape_keeps_its_account_and_never_panics() {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
    let seed = TestRng::from_seed(RngAlgorithm::ChaCha, &[61; 32]);
    let mut runner = TestRunner::new_with_rng(config, seed);
    let row = (0..6_usize, 0..8_usize, 0..8_usize, 0..6_usize, 0..6_usize, 0..5_usize, 0..4_usize);
    let rows = || prop::collection::vec(row.clone(), 1..30);
    let cases = (0..SHAPES.len(), 0..3_usize, rows(), rows());
    runner
        .run(&cases, |(shape, policy, rows, deals)| {
            check_dirt(SHAPES[shape], policy, &rows, &deals);
            Ok(())
        })
        .unwrap();
}

fn csv(rows: &[Dirt]) -> String {
    let line = |(deal, at, to, stage, word, amount, flag): &Dirt| {
        [
            DEALS[*deal],
            DAYS[*at],
            DAYS[*to],
            STAGES[*stage],
            WORDS[*word],
            AMOUNTS[*amount],
            FLAGS[*flag],
        ]
        .join(",")
    };
    let lines: Vec<String> = rows.iter().map(line).collect();
    format!("deal_id,at,to,stage_id,outcome,amount,flag\n{}\n", lines.join("\n"))
}

fn check_dirt((shape, columns): (&str, &str), policy: usize, rows: &[Dirt], deals: &[Dirt]) {
    let scratch = Scratch::new();
    scratch.write("a.csv", &csv(rows));
    scratch.write("b.csv", &csv(deals));
    let deleted = ["exclude", "as_lost", "keep_until_deleted"][policy];
    let with_deals = if policy == 1 {
        String::new()
    } else {
        "[inputs.deals]\npath = 'b.csv'\ntimezone = 'UTC'\ncolumns = { created_at = 'at', \
         closed_at = 'to', is_deleted = 'flag' }\n"
            .to_owned()
    };
    // Deals 2 and 3 may be merged into 1, in two steps, and a deal that nobody has.
    scratch.write("m.csv", "loser_id,winner_id,at\n3,2,\n2,1,2024-01-20\nx,1,\n");
    let merged = ["union", "drop", "drop"][policy];
    let merges = if policy == 1 { "" } else { "[inputs.merges]\npath = 'm.csv'\n" };
    let fold = format!("[fold]\ndeleted = '{deleted}'\nmerged = '{merged}'\n");
    let text = format!("{DIRTY}shape = '{shape}'\n{columns}\n{with_deals}{merges}{fold}");
    let resolved = scratch.resolve(&text).unwrap();
    let (history, ledger) = read(&resolved);
    ledger.judge().unwrap();
    let expected = rows.len() + if policy == 1 { 0 } else { deals.len() };
    assert_eq!(history.counts.rows_in, expected as u64);
    let whole = tables(&resolved, &history, Execution::Whole, Backend::Memory);
    for (execution, backend) in
        [(Execution::Whole, Backend::Kernel), (Execution::Sharded(3), Backend::Kernel)]
    {
        let other = tables(&resolved, &history, execution, backend);
        super::check_equal(&whole, &other, &format!("{execution:?}, {backend:?}"));
    }
    for deal in DEALS.iter().filter(|deal| !deal.is_empty()) {
        // Whether it is there or not, it must not fail otherwise.
        let options = RunOptions { on_step: &|_| (), backend: Backend::Kernel };
        let story = dealmill::run::explain_deal(&resolved, deal, ExplainBy::Slices, &options);
        assert!(matches!(story, Ok(_) | Err(Error::UnknownName { .. })), "{:?}", story.err());
    }
}
