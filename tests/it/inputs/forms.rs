//! Types: identifiers, times, dates, amounts, names.

use super::*;
use crate::support::Cell;
use arrow::array::{
    Array, BinaryArray, Date32Array, Date64Array, Float32Array, Float64Array,
    TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::DataType;

const DAY: i64 = 86_400_000_000;

fn dictionary(key: DataType, value: DataType) -> DataType {
    DataType::Dictionary(Box::new(key), Box::new(value))
}

fn text_types() -> Vec<DataType> {
    vec![
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
        dictionary(DataType::Int32, DataType::Utf8),
        dictionary(DataType::Int8, DataType::LargeUtf8),
    ]
}

/// The plain form's column in another type.
#[track_caller]
fn check_cast(column: &str, to: &DataType) {
    let plain = columns(HISTORY).into_iter().find(|(n, _)| *n == column).unwrap().1;
    check_same(&with(column, cast(&plain, to).unwrap()), "");
}

#[test]
fn identifiers_may_be_integers_of_any_width() {
    for to in [DataType::Int32, DataType::UInt32, DataType::UInt64, DataType::Int16] {
        check_cast("deal_id", &to);
        check_cast("customer_id", &to);
    }
    check_cast("deal_id", &dictionary(DataType::Int32, DataType::Int64));
}

#[test]
fn identifiers_may_be_text_of_any_kind() {
    for to in text_types() {
        check_cast("deal_id", &to);
        check_cast("customer_id", &to);
    }
    let bytes = HISTORY.iter().map(|e| e.0.to_string().into_bytes());
    check_same(&with("deal_id", Arc::new(BinaryArray::from_iter_values(bytes))), "");
}

#[test]
fn names_may_be_text_of_any_kind() {
    for to in text_types() {
        for column in ["stage_id", "owner_id", "region"] {
            check_cast(column, &to);
        }
    }
}

#[test]
fn names_are_trimmed_and_empty_ones_are_none() {
    let padded: Vec<String> = HISTORY.iter().map(|e| format!(" {}\t", e.6)).collect();
    check_same(&with("region", texts(padded.iter().map(String::as_str))), "");
}

#[test]
fn stages_may_be_numbers() {
    let number = |stage| match stage {
        "lead" => 1,
        "proposal" => 2,
        "won" => 3,
        _ => 4,
    };
    let numbers: Int64Array = HISTORY.iter().map(|e| Some(number(e.2))).collect();
    let aliases = "[pipeline.aliases]\n1 = \"lead\"\n2 = \"proposal\"\n3 = \"won\"\n4 = \"lost\"\n";
    check_same(&with("stage_id", Arc::new(numbers)), aliases);
}

#[test]
fn instants_may_have_any_unit_and_zone() {
    let at = || HISTORY.iter().map(|e| micros(e.1));
    let seconds = TimestampSecondArray::from_iter_values(at().map(|t| t / 1_000_000));
    let millis = TimestampMillisecondArray::from_iter_values(at().map(|t| t / 1_000));
    let nanos = TimestampNanosecondArray::from_iter_values(at().map(|t| t * 1_000));
    let whole = TimestampMicrosecondArray::from_iter_values(at());
    for zone in ["UTC", "+00:00", "Asia/Tokyo", "-03:30"] {
        check_same(&with("event_time", Arc::new(seconds.clone().with_timezone(zone))), "");
        check_same(&with("event_time", Arc::new(millis.clone().with_timezone(zone))), "");
        check_same(&with("event_time", Arc::new(nanos.clone().with_timezone(zone))), "");
        check_same(&with("event_time", Arc::new(whole.clone().with_timezone(zone))), "");
    }
    let declared = "timezone = \"UTC\"\n";
    check_same(&with("event_time", Arc::new(seconds)), declared);
    check_same(&with("event_time", Arc::new(millis)), declared);
    check_same(&with("event_time", Arc::new(nanos)), declared);
    check_same(&with("event_time", Arc::new(whole)), declared);
}

#[test]
fn local_times_are_of_the_declared_zone() {
    // Shanghai is eight hours ahead of UTC all year.
    let local = HISTORY.iter().map(|e| micros(e.1) + 8 * 3_600_000_000);
    let local = TimestampMicrosecondArray::from_iter_values(local);
    let declared = "timezone = \"Asia/Shanghai\"\n";
    check_same(&with("event_time", Arc::new(local.clone())), declared);
    let text = cast(&local, &DataType::Utf8).unwrap();
    check_same(&with("event_time", text), declared);
}

#[test]
fn old_96_bit_timestamps_are_read() {
    let scratch = Scratch::new();
    write_int96(&scratch.path("events/a.parquet"));
    assert_same(&tables_of(&scratch, &format!("{CONFIG}timezone = \"UTC\"\n")), plain());
}

fn write_int96(path: &Path) {
    use parquet::data_type::{ByteArray, ByteArrayType, Int64Type, Int96, Int96Type};
    let schema = "message history {
        required int64 deal_id; required int96 event_time; required binary stage_id (UTF8);
        required int64 amount (DECIMAL(18, 2)); required int64 customer_id;
        required binary owner_id (UTF8); required binary region (UTF8); }";
    let schema = Arc::new(parquet::schema::parser::parse_message_type(schema).unwrap());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer =
        parquet::file::writer::SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let bytes = |f: fn(&Event) -> &'static str| -> Vec<ByteArray> {
        HISTORY.iter().map(|e| ByteArray::from(f(e))).collect()
    };
    let int96: Vec<Int96> = HISTORY
        .iter()
        .map(|e| {
            let at = micros(e.1);
            // The Julian day of 1970-01-01 is 2,440,588.
            let day = u32::try_from(at.div_euclid(DAY) + 2_440_588).unwrap();
            let nanos = at.rem_euclid(DAY) as u64 * 1_000;
            let mut value = Int96::new();
            value.set_data(nanos as u32, (nanos >> 32) as u32, day);
            value
        })
        .collect();
    let longs = |f: fn(&Event) -> i64| -> Vec<i64> { HISTORY.iter().map(f).collect() };
    for index in 0..7 {
        let mut column = group.next_column().unwrap().unwrap();
        match index {
            0 => column.typed::<Int64Type>().write_batch(&longs(|e| e.0), None, None),
            1 => column.typed::<Int96Type>().write_batch(&int96, None, None),
            2 => column.typed::<ByteArrayType>().write_batch(&bytes(|e| e.2), None, None),
            3 => column.typed::<Int64Type>().write_batch(&longs(|e| e.3), None, None),
            4 => column.typed::<Int64Type>().write_batch(&longs(|e| e.4), None, None),
            5 => column.typed::<ByteArrayType>().write_batch(&bytes(|e| e.5), None, None),
            _ => column.typed::<ByteArrayType>().write_batch(&bytes(|e| e.6), None, None),
        }
        .unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn textual_instants_are_read() {
    check_same(&with("event_time", texts(HISTORY.iter().map(|e| e.1))), "");
    let spaced: Vec<String> = HISTORY.iter().map(|e| e.1.replace('T', " ")).collect();
    check_same(&with("event_time", texts(spaced.iter().map(String::as_str))), "");
    // Seven o'clock at +02:00 is five o'clock UTC.
    let shifted: Vec<String> = HISTORY
        .iter()
        .map(|e| {
            let at = chrono::DateTime::parse_from_rfc3339(e.1).unwrap();
            let zone = chrono::FixedOffset::east_opt(7_200).unwrap();
            at.with_timezone(&zone).to_rfc3339()
        })
        .collect();
    assert!(shifted[0].starts_with("2024-01-05T12:00:00+02:00"));
    check_same(&with("event_time", texts(shifted.iter().map(String::as_str))), "");
}

#[test]
fn textual_instants_may_have_a_format_of_their_own() {
    let formatted: Vec<String> = HISTORY
        .iter()
        .map(|e| {
            let at = chrono::DateTime::parse_from_rfc3339(e.1).unwrap();
            at.format("%d.%m.%Y %H:%M:%S").to_string()
        })
        .collect();
    let extra = "timezone = \"UTC\"\ntime_format = \"%d.%m.%Y %H:%M:%S\"\n";
    check_same(&with("event_time", texts(formatted.iter().map(String::as_str))), extra);
}

#[test]
fn textual_times_without_a_zone_need_a_declared_one() {
    let scratch = Scratch::new();
    let naive: Vec<String> = HISTORY.iter().map(|e| e.1.replace('Z', "")).collect();
    let columns = with("event_time", texts(naive.iter().map(String::as_str)));
    let path = scratch.parquet("events/a.parquet", &columns, 100);
    let error = scratch.run(CONFIG).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    let expected = format!("{}, column \"event_time\": holds times without", path.display());
    assert!(error.to_string().contains(&expected), "{error}");
    assert!(error.hint().unwrap().contains("timezone = "));
    check_same(&columns, "timezone = \"UTC\"\n");
}

/// The civil days of the history, in the reporting zone whatever it is.
fn check_days(array: ArrayRef, zone: &str, extra: &str) {
    let config = CONFIG.replace("[run]", &format!("[run]\ntimezone = \"{zone}\""));
    let scratch = Scratch::new();
    scratch.parquet("events/a.parquet", &with("event_time", array), 4);
    let tables = tables_of(&scratch, &format!("{config}{extra}"));
    // By the dates as they are written: deal 1 is won in February, deal 3 on the first of March.
    for (start, cents) in [("2024-02-01", 12_550), ("2024-03-01", 8_025)] {
        let month = [("slice", "all"), ("period", "month"), ("period_start", start)];
        assert_eq!(int(&only(&tables["revenue"], &month), "net_amount"), cents, "{zone} {start}");
    }
    assert_eq!(created(&tables, "2024-01-01"), 2, "{zone}");
}

#[test]
fn dates_are_local_days_of_the_reporting_zone() {
    let days: Vec<i32> =
        HISTORY.iter().map(|e| i32::try_from(micros(e.1) / DAY).unwrap()).collect();
    let date32: ArrayRef = Arc::new(Date32Array::from(days.clone()));
    let millis = days.iter().map(|d| i64::from(*d) * 86_400_000);
    let date64: ArrayRef = Arc::new(Date64Array::from_iter_values(millis));
    let text = texts(HISTORY.iter().map(|e| &e.1[..10]));
    for zone in ["UTC", "America/Los_Angeles", "Asia/Shanghai", "Pacific/Auckland"] {
        check_days(date32.clone(), zone, "");
        check_days(date64.clone(), zone, "");
        check_days(text.clone(), zone, "");
    }
    let formatted: Vec<String> =
        HISTORY.iter().map(|e| format!("{}/{}/{}", &e.1[5..7], &e.1[8..10], &e.1[..4])).collect();
    let formatted = texts(formatted.iter().map(String::as_str));
    check_days(formatted, "America/Los_Angeles", "time_format = \"%m/%d/%Y\"\n");
}

/// Deals by the day of this zone on which they are created, each at one of these instants.
#[track_caller]
fn created_days(zone: &str, instants: &[&str]) -> Vec<String> {
    let history: Vec<(i64, String)> =
        instants.iter().enumerate().map(|(i, at)| (i as i64, (*at).to_owned())).collect();
    let n = history.len();
    let scratch = Scratch::new();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("deal_id", Arc::new(Int64Array::from_iter_values(history.iter().map(|e| e.0)))),
        ("event_time", zoned(history.iter().map(|e| micros(&e.1)))),
        ("stage_id", texts(std::iter::repeat_n("lead", n))),
        ("region", texts(std::iter::repeat_n("r", n))),
    ];
    scratch.parquet("events/a.parquet", &columns, 100);
    let run = format!("[run]\ntimezone = \"{zone}\"\nperiods = [\"day\"]");
    let config = CONFIG.replace("[run]", &run).replace("2024-04-01", "2025-01-01");
    scratch.run(&config).unwrap();
    scratch
        .table("conversion")
        .iter()
        .filter(|row| row["slice"] == Cell::Text("all".into()))
        .filter(|row| row["period"] == Cell::Text("day".into()))
        .filter(|row| row["basis"] == Cell::Text("created".into()) && int(row, "deals_n") > 0)
        .map(|row| match &row["period_start"] {
            Cell::Text(day) => format!("{day} {}", int(row, "deals_n")),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn days_are_those_of_the_reporting_zone_across_clock_changes() {
    // New York is UTC-5 until 2024-03-10 07:00 UTC and UTC-4 from then on: 04:30 UTC is 23:30 of
    // the day before in winter, and 00:30 of the same day in summer.
    let winter = ["2024-03-09T04:30:00Z", "2024-03-09T05:30:00Z"];
    assert_eq!(created_days("America/New_York", &winter), ["2024-03-08 1", "2024-03-09 1"]);
    assert_eq!(created_days("UTC", &winter), ["2024-03-09 2"]);
    let summer = ["2024-03-11T03:30:00Z", "2024-03-11T04:30:00Z"];
    assert_eq!(created_days("America/New_York", &summer), ["2024-03-10 1", "2024-03-11 1"]);
    assert_eq!(created_days("UTC", &summer), ["2024-03-11 2"]);
    // The day of the change has 23 hours: 05:00 to 04:00 UTC of the next day.
    let change = ["2024-03-10T05:00:00Z", "2024-03-11T03:59:59Z"];
    assert_eq!(created_days("America/New_York", &change), ["2024-03-10 2"]);
    // Auckland goes back on 2024-04-07 from UTC+13 to UTC+12.
    let autumn = ["2024-04-06T11:00:00Z", "2024-04-07T11:59:59Z", "2024-04-07T12:00:00Z"];
    assert_eq!(created_days("Pacific/Auckland", &autumn), ["2024-04-07 2", "2024-04-08 1"]);
}

#[test]
fn stand_ins_for_no_time_are_kept_out_in_every_zone() {
    for zone in ["UTC", "Asia/Shanghai", "America/New_York"] {
        let config = CONFIG.replace("[run]", &format!("[run]\ntimezone = \"{zone}\""));
        let scratch = Scratch::new();
        let mut times: Vec<&str> = HISTORY.iter().map(|e| e.1).collect();
        times[4] = "1970-01-01";
        times[6] = "0000-00-00";
        times[8] = "9999-12-31";
        let columns = with("event_time", texts(times.into_iter()));
        scratch.parquet("events/a.parquet", &columns, 100);
        let tables = tables_of(&scratch, &config);
        assert_eq!(affected(&tables, "deal_events", "sentinel_event_time"), 3, "{zone}");
        assert_eq!(total(&tables, "revenue", "won_n"), 2);
    }
}

/// Whole units, so that every type can hold them.
fn whole_amounts() -> Vec<i64> {
    HISTORY.iter().map(|e| e.3 / 100).collect()
}

#[test]
fn amounts_may_be_integers_decimals_floats_or_text() {
    let scratch = Scratch::new();
    scratch.parquet(
        "events/a.parquet",
        &with("amount", cents(whole_amounts().into_iter().map(|a| a * 100))),
        100,
    );
    let expected = tables_of(&scratch, CONFIG);
    assert_eq!(total(&expected, "revenue", "net_amount"), 12_500 + 8_000);
    let units = Int64Array::from(whole_amounts());
    let floats: Vec<f64> = whole_amounts().iter().map(|a| *a as f64).collect();
    let grouped: Vec<String> =
        whole_amounts().iter().map(|a| format!(" {a}.00 ").replace("125", "0,125")).collect();
    let mut forms: Vec<ArrayRef> = vec![
        Arc::new(Float64Array::from(floats.clone())),
        Arc::new(floats.iter().map(|a| Some(*a as f32)).collect::<Float32Array>()),
        texts(grouped.iter().map(String::as_str)),
    ];
    for to in [
        DataType::Int16,
        DataType::UInt32,
        DataType::Int64,
        DataType::Decimal32(9, 2),
        DataType::Decimal64(18, 4),
        DataType::Decimal128(38, 10),
        DataType::Decimal128(10, 0),
        DataType::Utf8,
        DataType::LargeUtf8,
    ] {
        forms.push(cast(&units, &to).unwrap());
    }
    for form in forms {
        let scratch = Scratch::new();
        let described = form.data_type().clone();
        scratch.parquet("events/a.parquet", &with("amount", form), 4);
        let found = tables_of(&scratch, CONFIG);
        assert_eq!(total(&found, "revenue", "net_amount"), 20_500, "{described}");
        assert_same(&found, &expected);
    }
}

/// Amounts of the two won deals: net cents, and how many were rounded, could not be read.
#[track_caller]
fn check_amounts(array: ArrayRef, net: i64, inexact: i64, bad: i64) {
    let scratch = Scratch::new();
    scratch.parquet("events/a.parquet", &with("amount", array), 100);
    let tables = tables_of(&scratch, CONFIG);
    assert_eq!(total(&tables, "revenue", "net_amount"), net);
    assert_eq!(affected(&tables, "deal_events", "inexact_amount"), inexact);
    assert_eq!(affected(&tables, "deal_events", "bad_amount"), bad);
}

#[test]
fn amounts_are_rounded_half_to_even_and_counted() {
    // Deal 1 is won for 0.125 (12 cents), deal 3 for 0.375 (38 cents); both exact in binary.
    let floats = [1.0, 1.0, 0.125, 1.0, 1.0, 1.0, 1.0, 0.375, 0.1];
    check_amounts(Arc::new(Float64Array::from(floats.to_vec())), 50, 2, 0);
    let thousandths = floats.map(|a| (a * 1_000.0) as i128);
    let decimals = Decimal128Array::from_iter_values(thousandths);
    check_amounts(Arc::new(decimals.with_precision_and_scale(12, 3).unwrap()), 50, 2, 0);
    let text: Vec<String> = floats.iter().map(f64::to_string).collect();
    check_amounts(texts(text.iter().map(String::as_str)), 50, 2, 0);
}

#[test]
fn amounts_that_are_no_numbers_are_unknown_and_counted() {
    let floats = [1.0, 1.0, f64::NAN, 1.0, 1.0, 1.0, 1.0, 80.25, f64::INFINITY];
    // Deal 1 keeps the 1.00 that it had before it was won.
    check_amounts(Arc::new(Float64Array::from(floats.to_vec())), 100 + 8_025, 0, 2);
    let text = ["1", "1", "n/a", "1", "1", "1", "1", "80.25", "1,5"];
    check_amounts(texts(text.into_iter()), 100 + 8_025, 0, 2);
}

#[test]
fn times_may_be_in_any_form_of_iso_8601_that_systems_write() {
    for time in [
        "2024-01-05T10:00Z",
        "2024-01-05T10:00+0000",
        "2024-01-05 10:00:00 UTC",
        "2024-01-05T12:00:00+0200",
        "2024-01-05T10:00",
        "2024-01-05 10:00",
        "2024-01-05T10:00:00.000Z",
    ] {
        let scratch = Scratch::new();
        let rows = format!("deal_id,event_time,stage_id\n1,{time},lead\n1,2024-01-15T10:00Z,won\n");
        scratch.write("events/e.csv", &rows);
        let config = CONFIG.replace("columns = [\"region\"]", "");
        scratch.run(&format!("{config}timezone = \"UTC\"\n")).unwrap();
        let cycle = only(&scratch.table("cycle_length"), &[("slice", "all"), ("period", "all")]);
        assert_eq!(crate::support::float(&cycle, "won_days_p50"), Some(10.0), "{time}");
        let quality = scratch.table("data_quality");
        let folded = int(&only(&quality, &[("rule", "null_deal_id")]), "folded_n");
        assert_eq!(folded, 2, "{time}");
    }
}
