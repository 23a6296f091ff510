//! Only what is needed is read. That a part is not read is shown by destroying it.

use super::*;
use crate::support::damage;

/// The history in order of time, so that row groups of three are January, early February, and the
/// rest.
fn by_time() -> Vec<Event> {
    let mut history = HISTORY.to_vec();
    history.sort_by_key(|e| micros(e.1));
    history
}

fn at(config: &str, as_of: &str) -> String {
    config.replace("2024-04-01T00:00:00Z", as_of)
}

/// Compressed bytes of the row groups of a file whose number is accepted, without these columns.
fn bytes(path: &Path, is_read: impl Fn(usize) -> bool, without: &[&str]) -> u64 {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let groups = reader.metadata().row_groups().iter().enumerate();
    let wanted = groups.filter(|(n, _)| is_read(*n)).flat_map(|(_, group)| group.columns());
    wanted
        .filter(|c| !without.contains(&c.column_path().string().as_str()))
        .map(|c| u64::try_from(c.compressed_size()).unwrap())
        .sum()
}

#[test]
fn row_groups_later_than_as_of_are_counted_but_not_decoded() {
    let config = at(CONFIG, "2024-02-06T00:00:00Z");
    let whole = Scratch::new();
    whole.parquet("events/a.parquet", &columns(&by_time()), 100);
    let expected = tables_of(&whole, &config);

    let scratch = Scratch::new();
    let path = scratch.parquet("events/a.parquet", &columns(&by_time()), 3);
    damage(&path, 2, "amount");
    let summary = scratch.run(&config).unwrap();
    assert_eq!((summary.rows_in, summary.rows_after_as_of), (9, 3));
    assert_same(&tables(&scratch), &expected);
    let manifest = manifest(&scratch);
    let input = &manifest["inputs"][0];
    assert_eq!(input["bytes_read"], bytes(&path, |group| group < 2, &[]));
    assert_eq!(input["files"][0]["bytes_read"], input["bytes_read"]);
    assert_eq!(input["rows"], 9);

    // With a later as_of the group is needed, and it is broken.
    let error = scratch.run(CONFIG).unwrap_err().to_string();
    assert!(error.contains("a.parquet, row group 2, column \"amount\": "), "{error}");
}

#[test]
fn what_is_later_than_as_of_changes_nothing_whatever_is_wrong_with_it() {
    let config = at(CONFIG, "2024-02-06T00:00:00Z");
    // Only what exists by then, and the same with broken rows after it.
    let early: Vec<Event> = by_time().into_iter().take(6).collect();
    let scratch = Scratch::new();
    scratch.parquet("events/a.parquet", &columns(&early), 100);
    let expected = tables_of(&scratch, &config);
    for group in [3, 100] {
        let mut history = early.clone();
        history.push((1, "2024-03-01T00:00:00Z", "no such stage", 1, 11, "eve", "moon"));
        history.push((8, "2024-03-02T00:00:00Z", "", 1, 11, "eve", "moon"));
        history.push((9, "2024-03-03T00:00:00Z", "lead", 1, 99, "eve", "moon"));
        let amounts = history.iter().map(|e| e.3 as f64 / 100.0);
        let amounts: Vec<f64> =
            amounts.enumerate().map(|(i, a)| if i > 5 { 0.125 } else { a }).collect();
        let floats: ArrayRef = Arc::new(arrow::array::Float64Array::from(amounts));
        let scratch = Scratch::new();
        let columns = replaced(columns(&history), "amount", floats);
        scratch.parquet("events/a.parquet", &columns, group);
        let mut found = tables_of(&scratch, &config);
        let quality = found.get_mut("data_quality").unwrap();
        for row in quality.iter_mut() {
            // Of the rows themselves it is said that they are there.
            assert_eq!(int(row, "rows_in_n"), 9, "groups of {group}");
            assert_eq!(int(row, "after_as_of_n"), 3, "groups of {group}");
        }
        let broken = |tables: &Tables| -> Vec<(crate::support::Cell, i64)> {
            let rows = tables["data_quality"].iter();
            rows.map(|row| (row["rule"].clone(), int(row, "affected_n"))).collect()
        };
        assert_eq!(broken(&found), broken(&expected), "groups of {group}");
        let mut expected = expected.clone();
        expected.remove("data_quality");
        found.remove("data_quality");
        assert_same(&found, &expected);
    }
}

#[test]
fn textual_times_are_not_skipped_by_the_order_of_their_letters() {
    // As text the first of the group is "01.03.2024", after as_of; the other is before it.
    let scratch = Scratch::new();
    let history: Vec<Event> = vec![
        (1, "2024-03-01T00:00:00Z", "lead", 1, 1, "a", "x"),
        (2, "2024-01-31T00:00:00Z", "lead", 1, 1, "a", "x"),
    ];
    let times =
        replaced(columns(&history), "event_time", texts(["01.03.2024", "31.01.2024"].into_iter()));
    scratch.parquet("events/a.parquet", &times, 100);
    let config = at(CONFIG, "2024-02-15T00:00:00Z");
    let tables = tables_of(&scratch, &format!("{config}time_format = \"%d.%m.%Y\"\n"));
    assert_eq!(outcomes(&tables), [1, 0, 0, 1]);
}

/// The history twice: as pipeline `sales`, and, with other ids, as pipeline `renewals`.
fn with_pipelines(scratch: &Scratch, group: usize) -> std::path::PathBuf {
    let mut history = HISTORY.to_vec();
    history.extend(HISTORY.iter().map(|e| (e.0 + 100, e.1, e.2, e.3, e.4, e.5, e.6)));
    let mut columns = columns(&history);
    let n = HISTORY.len();
    let names = std::iter::repeat_n("sales", n).chain(std::iter::repeat_n("renewals", n));
    columns.push(("pipeline_id", texts(names)));
    scratch.parquet("events/a.parquet", &columns, group)
}

#[test]
fn row_groups_of_other_pipelines_are_not_decoded() {
    let config = CONFIG.replace("won = ", "only = [\"sales\"]\nwon = ");
    let mixed = Scratch::new();
    with_pipelines(&mixed, 100);
    assert_same(&tables_of(&mixed, &config), plain());
    let scratch = Scratch::new();
    let path = with_pipelines(&scratch, HISTORY.len());
    damage(&path, 1, "amount");
    assert_same(&tables_of(&scratch, &config), plain());
    assert_eq!(manifest(&scratch)["inputs"][0]["bytes_read"], bytes(&path, |g| g == 0, &[]));
}

#[test]
fn a_pipeline_filter_without_its_column_is_refused() {
    let config = CONFIG.replace("won = ", "only = [\"sales\"]\nwon = ");
    let scratch = Scratch::new();
    scratch.parquet("events/a.parquet", &columns(HISTORY), 100);
    let error = scratch.run(&config).unwrap_err();
    assert!(error.to_string().contains("column \"pipeline_id\": is missing"), "{error}");
    // In some files only, it is unknown there, and unknown is not what was asked for.
    let mut named = columns(HISTORY);
    named.push(("pipeline_id", texts(std::iter::repeat_n("sales", HISTORY.len()))));
    let both = Scratch::new();
    both.parquet("events/a.parquet", &named, 100);
    let other: Vec<Event> =
        HISTORY.iter().map(|e| (e.0 + 100, e.1, e.2, e.3, e.4, e.5, e.6)).collect();
    both.parquet("events/b.parquet", &columns(&other), 100);
    assert_same(&tables_of(&both, &config), plain());
}

#[test]
fn columns_that_are_not_asked_for_are_not_read() {
    let mut more = columns(HISTORY);
    more.push(("note", texts(std::iter::repeat_n("a long story about the deal", HISTORY.len()))));
    let scratch = Scratch::new();
    let path = scratch.parquet("events/a.parquet", &more, 100);
    damage(&path, 0, "note");
    assert_same(&tables_of(&scratch, CONFIG), plain());
    assert_eq!(manifest(&scratch)["inputs"][0]["bytes_read"], bytes(&path, |_| true, &["note"]));
}

/// The configuration with one table only.
fn alone(table: &str) -> String {
    CONFIG.replace("[run]\n", &format!("[run]\nonly = [\"{table}\"]\n"))
}

#[test]
fn columns_that_the_tables_asked_for_do_not_need_are_not_read() {
    // That neither is read is shown by destroying both; a full run says so.
    for (table, unread) in [
        ("revenue", &["owner_id"][..]),
        ("funnel", &["owner_id", "customer_id", "amount"]),
        ("customer_growth", &["owner_id"]),
    ] {
        let scratch = Scratch::new();
        let path = scratch.parquet("events/a.parquet", &columns(HISTORY), 100);
        unread.iter().for_each(|column| damage(&path, 0, column));
        scratch.run(&alone(table)).unwrap_or_else(|e| panic!("{table}: {e}"));
        assert_eq!(scratch.table(table), plain()[table], "{table}");
        let input = manifest(&scratch)["inputs"][0].clone();
        assert_eq!(input["bytes_read"], bytes(&path, |_| true, unread), "{table}");
        assert_eq!(input["files"][0]["bytes_read"], input["bytes_read"], "{table}");
        scratch.run(CONFIG).unwrap_err();
    }
}

#[test]
fn rows_that_differ_only_in_what_is_not_needed_make_everything_be_read() {
    // The second row changes only the owner: it is an event, and so is the first.
    let mut history = HISTORY.to_vec();
    history.insert(1, (1, "2024-01-05T10:00:00Z", "lead", 10_000, 11, "eve", "north"));
    let scratch = Scratch::new();
    let path = scratch.parquet("events/a.parquet", &columns(&history), 100);
    let full = tables_of(&scratch, CONFIG);
    for table in ["revenue", "funnel", "stage_time"] {
        scratch.run(&alone(table)).unwrap();
        assert_eq!(scratch.table(table), full[table], "{table}");
        assert_eq!(manifest(&scratch)["inputs"][0]["bytes_read"], bytes(&path, |_| true, &[]));
    }
}
