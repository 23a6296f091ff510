//! From files to pieces of events: dictionaries over many batches, pieces of one row group, small
//! files together, and columns left out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int64Array, RecordBatch, StringArray};
use arrow::array::{TimestampMicrosecondArray, types::Int32Type};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use super::*;
use crate::contract::{Id, NO_CODE};

const CONFIG: &str = r#"
    [pipeline]
    stages = ["lead", "open"]
    won = ["won"]
    [dimensions]
    columns = ["region"]
    [inputs.deal_events]
    path = "PATH"
    shape = "events"
"#;

/// Writes rows numbered from `first`: deal `row % 1000`, a second a row, stages and regions by turns.
fn write(path: &Path, first: i64, rows: i64, row_group: usize) {
    let all = first..first + rows;
    let name = |names: [&'static str; 3], row: i64| names[(row % 3) as usize];
    let stages: DictionaryArray<Int32Type> =
        all.clone().map(|row| Some(name(["lead", "open", "won"], row))).collect();
    let regions: StringArray =
        all.clone().map(|row| (row % 7 != 0).then(|| name(["n", "s", "w"], row / 100))).collect();
    let times = TimestampMicrosecondArray::from_iter_values(
        all.clone().map(|row| (1_700_000_000 + row) * 1_000_000),
    );
    let columns: [(&str, ArrayRef); 5] = [
        ("deal_id", Arc::new(Int64Array::from_iter_values(all.clone().map(|row| row % 1000)))),
        ("event_time", Arc::new(times.with_timezone("UTC"))),
        ("stage_id", Arc::new(stages)),
        ("region", Arc::new(regions)),
        ("amount", Arc::new(Int64Array::from_iter_values(all))),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.map(|(name, column)| (name, column, true)),
    )
    .unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(row_group));
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

struct Opened {
    source: DealSource,
    stages: StageTable,
    ledger: Ledger,
    names: Interners,
}

fn open(folder: &Path) -> Opened {
    let text = CONFIG.replace("PATH", &folder.display().to_string());
    let config: Config = toml::from_str(&text).unwrap();
    let stages = StageTable::new(&config.pipeline);
    let dimensions = config.dimensions.columns.clone();
    let mut source = DealSource::open(&config, Calendar::UTC, &stages, &dimensions).unwrap();
    source.row_numbers = RowNumbers::Kept;
    let ledger = Ledger::new(&config.quality.severity);
    Opened { source, stages, ledger, names: Interners::new(&dimensions) }
}

/// The pieces with the numbers of their units.
fn read(opened: &Opened) -> Vec<(usize, EventBatch)> {
    let currency = Currency::from_code("EUR").unwrap();
    let Opened { source, stages, ledger, names } = opened;
    let take = |unit: usize, events: &EventBatch| Ok((unit, events.clone()));
    source.read(names, stages, ledger, &currency, None, &[], take).unwrap().0
}

/// Checks that the pieces hold the rows of [`write()`], from 0 on, in order, each where it says.
#[track_caller]
fn check(opened: &Opened, pieces: &[(usize, EventBatch)], rows: i64) {
    let regions = opened.names.dimensions[0].freeze();
    let mut row = 0;
    for (unit, events) in pieces {
        for at in 0..events.len() {
            assert_eq!(events.deal[at], Id::integer(row % 1000));
            assert_eq!(events.time[at], (1_700_000_000 + row) * 1_000_000);
            let stage = ["lead", "open", "won"][(row % 3) as usize];
            assert_eq!(events.stage[at], opened.stages.code(stage).unwrap());
            let region = (row % 7 != 0).then(|| ["n", "s", "w"][(row / 100 % 3) as usize]);
            assert_eq!(regions.get(events.dimensions[0][at]), region);
            assert_eq!(events.amount[at], row * 100);
            if row % 997 == 0 {
                // The last row's number stands in the file's name.
                let place = opened.source.locate(&[(*unit, events.row[at])]);
                let name = place[0].1.file_stem().unwrap().to_str().unwrap().to_owned();
                assert_eq!(name.parse::<i64>().unwrap() + place[0].2 as i64, row);
            }
            row += 1;
        }
    }
    assert_eq!(row, rows);
}

fn path(folder: &tempfile::TempDir, first: i64) -> PathBuf {
    folder.path().join(format!("{first:09}.parquet"))
}

#[test]
fn pieces_of_a_huge_row_group_keep_the_order_of_the_source() {
    let folder = tempfile::tempdir().unwrap();
    write(&path(&folder, 0), 0, 600_000, usize::MAX >> 1);
    write(&path(&folder, 600_000), 600_000, 1_000, usize::MAX >> 1);
    let opened = open(folder.path());
    let pieces = read(&opened);
    let units: Vec<usize> = pieces.iter().map(|(unit, _)| *unit).collect();
    assert_eq!(units, [0, 0, 0, 1], "one row group in pieces");
    check(&opened, &pieces, 601_000);
    let mut opened = opened;
    opened.source.piece_rows = 50_000;
    let pieces = read(&opened);
    assert!(pieces.len() > 8 && pieces.iter().all(|(_, events)| events.len() < 60_000));
    check(&opened, &pieces, 601_000);
}

#[test]
fn small_neighbours_are_one_unit_and_every_row_is_found() {
    let folder = tempfile::tempdir().unwrap();
    for file in 0..70 {
        write(&path(&folder, file * 100), file * 100, 100, 30);
    }
    let opened = open(folder.path());
    let pieces = read(&opened);
    // 70 files of four row groups each, 32 row groups a task.
    assert_eq!(pieces.len(), (70 * 4_usize).div_ceil(32));
    check(&opened, &pieces, 7_000);
}

#[test]
fn a_column_left_out_is_not_there_and_costs_no_bytes() {
    let folder = tempfile::tempdir().unwrap();
    write(&path(&folder, 0), 0, 10_000, 5_000);
    let mut opened = open(folder.path());
    let bytes = |source: &DealSource| source.inputs().map(CheckedInput::bytes_read).sum::<u64>();
    let full = bytes(&opened.source);
    let region = Attribute::Dimension("region".into());
    let width = opened.source.narrow(&BTreeSet::from([region]), &opened.ledger);
    assert_eq!(width, Width::Narrow);
    assert!(bytes(&opened.source) < full);
    let pieces = read(&opened);
    assert!(pieces.iter().all(|(_, events)| events.amount.is_empty()));
    assert!(pieces.iter().any(|(_, events)| events.dimensions[0].iter().any(|r| *r != NO_CODE)));
    opened.source.narrow(&BTreeSet::from([Attribute::Amount]), &opened.ledger);
    let pieces = read(&opened);
    assert!(pieces.iter().all(|(_, e)| e.dimensions[0].iter().all(|r| *r == NO_CODE)));
    assert!(pieces.iter().all(|(_, e)| e.amount.len() == e.len()));
    opened.source.widen();
    assert_eq!(bytes(&opened.source), full);
    check(&opened, &read(&opened), 10_000);
}

#[test]
fn amount_is_read_where_a_bad_one_keeps_its_row_out() {
    let folder = tempfile::tempdir().unwrap();
    write(&path(&folder, 0), 0, 10, 10);
    let mut opened = open(folder.path());
    let strict = BTreeMap::from([("bad_amount".into(), crate::config::Severity::Quarantine)]);
    let region = Attribute::Dimension("region".into());
    let width = opened.source.narrow(&BTreeSet::from([region]), &Ledger::new(&strict));
    assert_eq!(width, Width::Full);
    check(&opened, &read(&opened), 10);
}
