//! One generated history in every form that the generator writes: forms that keep everything give
//! the same tables, cell for cell; the others the same deals and outcomes.

use std::collections::BTreeMap;
use std::fs::File;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::Int64Type;
use dealmill::config::{self, Flags, Resolved};
use dealmill::metrics::QUALITY;
use dealmill::source::synthetic::{Form, GenerateOptions, generate};
use dealmill::table::Table;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;

use super::sample::{Computed, compute, parquet_files, plain};
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

fn without_quality(tables: &[Table]) -> BTreeMap<&str, &RecordBatch> {
    let others = tables.iter().filter(|table| table.name != QUALITY);
    others.map(|table| (table.name.as_ref(), &table.batch)).collect()
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
    let text = |name: &str| table.batch.column_by_name(name).unwrap().as_string::<i32>().clone();
    let (slices, periods, bases) = (text("slice"), text("period"), text("basis"));
    let row = (0..table.batch.num_rows())
        .find(|row| {
            [(&slices, "all"), (&periods, "all"), (&bases, "created")]
                .iter()
                .all(|(column, wanted)| column.value(*row) == *wanted)
        })
        .unwrap();
    ["deals_n", "won_n", "lost_n", "open_n"].map(|name| {
        table.batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(row)
    })
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
