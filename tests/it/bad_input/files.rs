//! Files and folders that are not what they should be.

use super::*;
use crate::inputs::{Event, micros, replaced, texts, with, zoned};
use crate::support::damage;
use arrow::array::{ArrayRef, BooleanArray, Float64Array, TimestampMicrosecondArray};
use std::sync::Arc;

#[test]
fn missing_path_is_named() {
    let scratch = published_once();
    let config = CONFIG.replace("path = \"events\"", "path = \"evnts\"");
    check_fails(&scratch, &config, 3, &["input \"deal_events\"", "path does not exist", "evnts"]);
    let config = CONFIG.replace("path = \"events\"", "path = \"events/*.csv\"");
    check_fails(
        &scratch,
        &config,
        3,
        &["no data file in it", "events/*.csv", "*.parquet or *.csv"],
    );
    let config = CONFIG.replace("path = \"events\"", "path = \"events/[\"");
    check_fails(&scratch, &config, 3, &["not a valid glob", "events/["]);
}

#[test]
fn folder_without_data_is_named() {
    check_broken(
        |scratch| {
            std::fs::remove_file(scratch.path("events/a.parquet")).unwrap();
            scratch.write("events/_SUCCESS", "");
            scratch.write("events/notes.txt", "x");
        },
        &["no data file in it", "events", "names that begin with _ or . are ignored"],
    );
}

#[test]
fn files_of_other_kinds_are_ignored_with_a_warning() {
    let scratch = published_once();
    scratch.write("events/notes.txt", "x");
    scratch.write("events/_SUCCESS", "");
    check_warns(&scratch, CONFIG, &["1 files are neither Parquet nor CSV", "notes.txt"]);
}

#[test]
fn a_dialect_without_a_file_to_read_by_it_is_told() {
    let scratch = published_once();
    let config = format!("{CONFIG}delimiter = \";\"\n");
    check_warns(&scratch, &config, &["about CSV files, and there are none"]);
}

#[test]
fn missing_column_is_answered_with_the_nearest() {
    let scratch = published_once();
    let renamed: Vec<(&str, ArrayRef)> = columns(HISTORY)
        .into_iter()
        .map(|(n, array)| (if n == "deal_id" { "dealid" } else { n }, array))
        .collect();
    scratch.parquet("events/a.parquet", &renamed, 100);
    let said = ["a.parquet, column \"deal_id\": is missing", "hint: did you mean dealid?"];
    check_fails(&scratch, CONFIG, 3, &said);
    // One that the user named must be there, also where it is optional.
    scratch.parquet("events/a.parquet", &columns(HISTORY), 100);
    let config = format!("{CONFIG}columns = {{ amount = \"amonut\" }}\n");
    check_fails(&scratch, &config, 3, &["column \"amonut\": is missing", "did you mean amount"]);
    let config = CONFIG.replace("\"region\"", "\"regio\"");
    check_fails(&scratch, &config, 3, &["column \"regio\": is missing", "did you mean region"]);
}

#[test]
fn column_of_the_wrong_type_is_named_with_what_is_expected() {
    let n = HISTORY.len();
    let flags: ArrayRef = Arc::new(BooleanArray::from(vec![true; n]));
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0; n]));
    for (column, array, expected) in [
        ("deal_id", floats.clone(), "holds Float64 where deal_id (an integer or text)"),
        ("event_time", floats, "holds Float64 where event_time (a timestamp, a date or text)"),
        ("amount", flags, "holds Boolean where amount (an integer, decimal, float or text)"),
    ] {
        let place = format!("a.parquet, column {column:?}: {expected}");
        check_broken(
            |scratch| {
                scratch.parquet("events/a.parquet", &with(column, array), 100);
            },
            &[&place],
        );
    }
}

fn cut(path: &Path, bytes: usize) {
    let all = std::fs::read(path).unwrap();
    std::fs::write(path, &all[..bytes]).unwrap();
}

#[test]
fn cut_and_empty_files_are_named() {
    let whole = std::fs::metadata(published_once().path("events/a.parquet")).unwrap().len();
    for (bytes, said) in [
        (0, "0 bytes are too few for a Parquet file"),
        (7, "7 bytes are too few for a Parquet file"),
        (usize::try_from(whole).unwrap() - 1, "was cut short"),
        (100, "was cut short"),
    ] {
        check_broken(
            |scratch| cut(&scratch.path("events/a.parquet"), bytes),
            &["events/a.parquet: ", said],
        );
    }
}

#[test]
fn an_empty_file_beside_good_ones_is_not_skipped() {
    check_broken(
        |scratch| {
            scratch.write("events/b.parquet", "");
        },
        &["events/b.parquet: 0 bytes"],
    );
}

#[test]
fn what_is_no_parquet_file_is_named() {
    check_broken(
        |scratch| {
            scratch.write("events/b.parquet", "deal_id,event_time\n1,2024-01-01\n");
        },
        &["events/b.parquet: is not a Parquet file"],
    );
}

#[test]
fn every_broken_file_is_named_at_once() {
    check_broken(
        |scratch| {
            scratch.write("events/b.parquet", "");
            scratch.write("events/c.parquet", "not a parquet file at all");
            scratch.parquet("events/d.parquet", &columns(HISTORY)[1..], 100);
        },
        &["3 problems in the input", "b.parquet: ", "c.parquet: ", "d.parquet, column \"deal_id\""],
    );
}

#[test]
fn damaged_pages_are_named_with_row_group_and_column() {
    for column in ["amount", "region", "event_time"] {
        let place = format!("events/a.parquet, row group 1, column {column:?}: ");
        check_broken(
            |scratch| {
                let path = scratch.parquet("events/a.parquet", &columns(HISTORY), 4);
                damage(&path, 1, column);
            },
            &[&place],
        );
    }
}

#[test]
fn damaged_footer_is_named() {
    check_broken(
        |scratch| {
            let path = scratch.path("events/a.parquet");
            let mut bytes = std::fs::read(&path).unwrap();
            let end = bytes.len() - 8;
            bytes[end - 200..end].fill(0xA5);
            std::fs::write(&path, bytes).unwrap();
        },
        &["events/a.parquet: its footer"],
    );
    check_broken(
        |scratch| {
            let path = scratch.path("events/a.parquet");
            let mut bytes = std::fs::read(&path).unwrap();
            let end = bytes.len() - 8;
            bytes[end..end + 4].copy_from_slice(&u32::MAX.to_le_bytes());
            std::fs::write(&path, bytes).unwrap();
        },
        &["events/a.parquet: its footer claims 4294967295 bytes"],
    );
}

#[test]
fn broken_csv_is_named() {
    for (text, said) in [
        ("", "a.csv: is empty"),
        ("deal_id,event_time,region\n1,2024-01-01T00:00:00Z\n", "none of 1 rows can be used"),
        ("deal_id,event_time,region\n\u{1},\"2024\n", "a.csv, line 2: a quote that begins"),
    ] {
        check_broken(
            |scratch| {
                std::fs::remove_file(scratch.path("events/a.parquet")).unwrap();
                scratch.write("events/a.csv", text);
            },
            &[said],
        );
    }
}

#[test]
fn one_column_in_two_types_is_named() {
    let n = HISTORY.len();
    let ids: Vec<String> = HISTORY.iter().map(|e| e.0.to_string()).collect();
    let as_text = texts(ids.iter().map(String::as_str));
    let naive = TimestampMicrosecondArray::from_iter_values(HISTORY.iter().map(|e| micros(e.1)));
    for (column, array, extra, said) in [
        ("deal_id", as_text, "", "b.parquet, column \"deal_id\": holds Utf8 but Int64 in"),
        (
            "event_time",
            Arc::new(naive) as ArrayRef,
            "timezone = \"UTC\"\n",
            "b.parquet, column \"event_time\": holds Timestamp(µs) but Timestamp(µs, \"UTC\") in",
        ),
    ] {
        let scratch = published_once();
        scratch.parquet("events/b.parquet", &with(column, array), n);
        let config = format!("{CONFIG}{extra}");
        check_fails(&scratch, &config, 3, &[said, "in the same type"]);
    }
}

#[test]
fn times_without_a_zone_need_one() {
    let naive = TimestampMicrosecondArray::from_iter_values(HISTORY.iter().map(|e| micros(e.1)));
    check_broken(
        |scratch| {
            scratch.parquet("events/a.parquet", &with("event_time", Arc::new(naive)), 100);
        },
        &[
            "a.parquet, column \"event_time\": holds timestamps without a zone",
            "timezone = \"UTC\"",
        ],
    );
}

#[test]
fn files_at_another_partition_depth_are_named() {
    check_broken(
        |scratch| {
            scratch.parquet("events/year=2024/b.parquet", &columns(HISTORY), 100);
        },
        &["year=2024/b.parquet: its partition keys [year] differ from [] of", "a.parquet"],
    );
}

#[test]
fn a_column_that_is_a_partition_key_too_is_named() {
    check_broken(
        |scratch| {
            std::fs::remove_file(scratch.path("events/a.parquet")).unwrap();
            scratch.parquet("events/region=north/a.parquet", &columns(HISTORY), 100);
        },
        &["a.parquet, column \"region\": is both a column of the file and a partition key"],
    );
}

#[test]
fn parquet_and_csv_in_one_input_are_refused() {
    check_broken(
        |scratch| {
            scratch.write("events/b.csv", "deal_id\n1\n");
        },
        &["events/b.csv: is Csv but", "a.parquet is Parquet"],
    );
}

#[cfg(unix)]
#[test]
fn links_that_lead_out_or_round_are_named() {
    use std::os::unix::fs::symlink;
    let elsewhere = published_once();
    let outside = elsewhere.path("events/a.parquet");
    check_broken(
        |scratch| symlink(&outside, scratch.path("events/b.parquet")).unwrap(),
        &["events/b.parquet: a symbolic link that leads out", "follow_links = true"],
    );
    check_broken(
        |scratch| symlink(elsewhere.path("events"), scratch.path("events/more")).unwrap(),
        &["events/more: a symbolic link that leads out", "follow_links = true"],
    );
    check_broken(|scratch| symlink("..", scratch.path("events/loop")).unwrap(), &["events/loop: "]);
    check_broken(
        |scratch| symlink(".", scratch.path("events/loop")).unwrap(),
        &["events/loop: is a link to", "would count twice"],
    );
    check_broken(
        |scratch| symlink("a.parquet", scratch.path("events/b.parquet")).unwrap(),
        &["events/b.parquet: is a link to", "would count twice"],
    );
    check_broken(
        |scratch| symlink("gone.parquet", scratch.path("events/b.parquet")).unwrap(),
        &["events/b.parquet: cannot be read"],
    );
    // Where the user allows it, the link is followed.
    let scratch = published_once();
    std::fs::remove_file(scratch.path("events/a.parquet")).unwrap();
    symlink(&outside, scratch.path("events/b.parquet")).unwrap();
    scratch.run(&format!("{CONFIG}follow_links = true\n")).unwrap();
}

#[cfg(unix)]
#[test]
fn unreadable_file_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = published_once();
    let path = scratch.path("events/a.parquet");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(&path).is_ok() {
        eprintln!("SKIPPED: this user may read every file");
        return;
    }
    check_fails(&scratch, CONFIG, 3, &["a.parquet: cannot be read", "hint: check its permissions"]);
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_named_and_not_waited_for() {
    let scratch = published_once();
    for name in ["events/b.parquet", "events/pipe"] {
        let made = Command::new("mkfifo").arg(scratch.path(name)).status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: there is no mkfifo");
            return;
        }
    }
    check_fails(&scratch, CONFIG, 3, &["events/b.parquet: is not a regular file"]);
    let config = CONFIG.replace("path = \"events\"", "path = \"events/pipe\"");
    check_fails(&scratch, &config, 3, &["neither a file nor a folder", "events/pipe"]);
}

#[test]
fn bad_as_of_is_a_matter_of_configuration() {
    let scratch = published_once();
    let config = CONFIG.replace("2024-04-01T00:00:00Z", "yesterday");
    check_fails(&scratch, &config, 2, &["run.as_of", "expected a date", "\"yesterday\""]);
    scratch.write("dealmill.toml", CONFIG);
    let output = dealmill(&scratch.path(""), &["--as-of", "2024-13-01"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("2024-13-01"), "{}", stderr(&output));
}

#[test]
fn a_history_that_begins_after_as_of_publishes_nothing() {
    let scratch = published_once();
    let config = CONFIG.replace("2024-04-01", "2020-01-01");
    check_fails(&scratch, &config, 3, &["none of 9 rows can be used", "9 after as_of"]);
}

#[test]
fn a_history_without_a_usable_time_needs_an_as_of() {
    let scratch = published_once();
    let n = HISTORY.len();
    let none = arrow::array::new_null_array(&arrow::datatypes::DataType::Utf8, n);
    scratch.parquet("events/a.parquet", &with("event_time", none), 100);
    let config = CONFIG.replace("as_of = \"2024-04-01T00:00:00Z\"", "");
    check_fails(&scratch, &config, 3, &["no event with a usable time", "event_time"]);
    check_fails(&scratch, CONFIG, 3, &["none of 9 rows can be used", "9 quarantined"]);
}

#[test]
fn extreme_times_are_kept_out_and_never_overflow() {
    let mut history: Vec<Event> = HISTORY.to_vec();
    history.truncate(6);
    for extreme in [i64::MIN, i64::MIN + 1, i64::MIN + 2, i64::MAX, i64::MAX - 1, -1 << 60] {
        let mut times: Vec<i64> = history.iter().map(|e| micros(e.1)).collect();
        times[5] = extreme;
        let naive: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times.clone()));
        let seconds: ArrayRef = Arc::new(arrow::array::TimestampSecondArray::from_iter_values(
            times.iter().map(|t| if *t == extreme { extreme / 1_000 } else { t / 1_000_000 }),
        ));
        for array in [zoned(times.into_iter()), naive, seconds] {
            let scratch = Scratch::new();
            scratch.parquet(
                "events/a.parquet",
                &replaced(columns(&history), "event_time", array),
                100,
            );
            let config = CONFIG.replace("[run]", "[run]\ntimezone = \"America/New_York\"");
            let summary = scratch.run(&format!("{config}timezone = \"Europe/Berlin\"\n")).unwrap();
            assert_eq!(summary.rows_in, 6);
            let left = summary.rows_quarantined + summary.rows_after_as_of;
            assert_eq!(left, 1, "{extreme}");
        }
    }
}
