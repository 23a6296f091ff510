//! Files: folders, globs, CSV, hive partitions, order and presence of columns.

use super::*;
use crate::support::Cell;

const HEADER: &str = "deal_id,event_time,stage_id,amount,customer_id,owner_id,region\n";

fn csv(history: &[Event]) -> String {
    let line = |e: &Event| {
        let amount = format!("{}.{:02}", e.3 / 100, e.3 % 100);
        format!("{},{},{},{amount},{},{},{}\n", e.0, e.1, e.2, e.4, e.5, e.6)
    };
    history.iter().map(line).collect()
}

#[track_caller]
fn check_csv(text: &str) {
    let scratch = Scratch::new();
    scratch.write("events/a.csv", text);
    assert_same(&tables_of(&scratch, CONFIG), plain());
}

#[test]
fn csv_gives_the_same_tables() {
    let text = format!("{HEADER}{}", csv(HISTORY));
    check_csv(&text);
    check_csv(&format!("\u{feff}{text}"));
    check_csv(&text.replace('\n', "\r\n"));
    check_csv(&text.replace("deal_id,event_time", "\"deal_id\", event_time"));
    check_csv(&text.replace("north", "\" north\"").replace("125.50", "\"125.50\""));
}

#[test]
fn quoted_fields_may_hold_commas_quotes_and_line_breaks() {
    let text = csv(HISTORY).replace("north", "\"far \"\"north\"\",\nwest\"");
    let scratch = Scratch::new();
    scratch.write("events/a.csv", &format!("{HEADER}{text}"));
    let tables = tables_of(&scratch, CONFIG);
    let named = [("slice", "region"), ("region", "far \"north\",\nwest"), ("period", "all")];
    assert_eq!(int(&only(&tables["revenue"], &named), "net_amount"), 20_575);
}

#[test]
fn folders_files_and_globs_give_the_same_tables() {
    let (early, late) = HISTORY.split_at(4);
    let scratch = Scratch::new();
    scratch.parquet("events/2023/a.parquet", &columns(early), 100);
    scratch.parquet("events/2024/deep/er/b.PARQUET", &columns(late), 100);
    scratch.parquet("one/all.data", &columns(HISTORY), 2);
    scratch.write("events/_SUCCESS", "");
    scratch.write("events/.a.parquet.crc", "crc");
    scratch.write("events/_temporary/0/c.parquet", "half a file");
    for path in
        ["events", "events/", "events/**/*", "events/**/*.[pP]*", "events/*", "one/all.data"]
    {
        let config = CONFIG.replace("path = \"events\"", &format!("path = \"{path}\""));
        assert_same(&tables_of(&scratch, &config), plain());
    }
}

#[test]
fn files_may_come_in_any_order_and_any_cut() {
    let scratch = Scratch::new();
    for (place, event) in HISTORY.iter().enumerate() {
        // The last event is in the first file.
        let name = format!("events/{}.parquet", HISTORY.len() - place);
        scratch.parquet(&name, &columns(std::slice::from_ref(event)), 1);
    }
    assert_same(&tables_of(&scratch, CONFIG), plain());
}

#[test]
fn columns_may_come_in_any_order_beside_others() {
    let (early, late) = HISTORY.split_at(5);
    let scratch = Scratch::new();
    scratch.parquet("events/a.parquet", &columns(early), 100);
    let mut turned = columns(late);
    turned.reverse();
    turned.insert(2, ("note", texts(std::iter::repeat_n("x", late.len()))));
    scratch.parquet("events/b.parquet", &turned, 100);
    assert_same(&tables_of(&scratch, CONFIG), plain());
}

#[test]
fn optional_columns_missing_in_some_files_are_unknown_there_and_said() {
    let (early, late) = HISTORY.split_at(5);
    let scratch = Scratch::new();
    let lacking: Vec<_> = columns(early).into_iter().filter(|(n, _)| *n != "amount").collect();
    scratch.parquet("events/a.parquet", &lacking, 100);
    scratch.parquet("events/b.parquet", &columns(late), 100);
    let summary = scratch.run(CONFIG).unwrap();
    let said = summary.warnings.iter().any(|w| {
        w.contains("column \"amount\" is missing in 1 of 2 files") && w.contains("a.parquet")
    });
    assert!(said, "{:?}", summary.warnings);
    let found = tables(&scratch);
    assert_eq!(total(&found, "revenue", "net_amount"), 8_025);
    assert_eq!(total(&found, "revenue", "null_amount_n"), 1);
}

#[test]
fn tables_that_need_a_column_nobody_has_are_left_out_with_the_reason() {
    let scratch = Scratch::new();
    let lacking: Vec<_> =
        columns(HISTORY).into_iter().filter(|(n, _)| *n != "customer_id").collect();
    scratch.parquet("events/a.parquet", &lacking, 100);
    let summary = scratch.run(CONFIG).unwrap();
    let (_, reason) = summary.skipped.iter().find(|(table, _)| table == "customer_growth").unwrap();
    assert!(reason.contains("customer"), "{reason}");
    assert!(!scratch.path("out/latest/customer_growth.parquet").exists());
}

/// The history cut by region into hive partitions; the files lack the column.
fn partition(scratch: &Scratch, name: impl Fn(&str) -> String) {
    for region in ["north", "south"] {
        let part: Vec<Event> = HISTORY.iter().filter(|e| e.6 == region).copied().collect();
        let lacking: Vec<_> = columns(&part).into_iter().filter(|(n, _)| *n != "region").collect();
        scratch.parquet(&format!("events/region={}/a.parquet", name(region)), &lacking, 100);
    }
}

/// The regions of `conversion`, null as `None`.
fn regions(tables: &Tables) -> Vec<Option<String>> {
    let rows = tables["conversion"].iter();
    rows.filter(|row| row["slice"] == Cell::Text("region".into()))
        .filter(|row| row["basis"] == Cell::Text("created".into()))
        .filter(|row| row["period"] == Cell::Text("all".into()))
        .map(|row| match &row["region"] {
            Cell::Text(region) => Some(region.clone()),
            _ => None,
        })
        .collect()
}

#[test]
fn hive_partitions_are_columns() {
    let scratch = Scratch::new();
    partition(&scratch, str::to_owned);
    assert_same(&tables_of(&scratch, CONFIG), plain());
}

#[test]
fn partition_values_stay_the_text_of_the_path() {
    let scratch = Scratch::new();
    partition(&scratch, |region| if region == "north" { "007" } else { "a%2Fb%20=c" }.into());
    let tables = tables_of(&scratch, CONFIG);
    assert_eq!(regions(&tables), [Some("007".into()), Some("a/b =c".into())]);
}

#[test]
fn the_null_marker_is_null_and_an_empty_value_is_none() {
    for name in ["__HIVE_DEFAULT_PARTITION__", ""] {
        let scratch = Scratch::new();
        partition(&scratch, |region| if region == "north" { name.into() } else { region.into() });
        let mut found = regions(&tables_of(&scratch, CONFIG));
        found.sort();
        assert_eq!(found, [None, Some("south".into())], "{name:?}");
    }
}

#[test]
fn declared_partitions_are_validated() {
    let declared = "partitions = { region = \"int\" }\n";
    let scratch = Scratch::new();
    partition(&scratch, |region| if region == "north" { "007" } else { "8" }.into());
    let tables = tables_of(&scratch, &format!("{CONFIG}{declared}"));
    assert_eq!(regions(&tables), [Some("7".into()), Some("8".into())]);
    let broken = Scratch::new();
    partition(&broken, |region| if region == "north" { "n0rth" } else { "8" }.into());
    let error = broken.run(&format!("{CONFIG}{declared}")).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    let path = broken.path("events/region=n0rth/a.parquet");
    let said = format!("{}, partition \"region\": holds \"n0rth\" where a whole", path.display());
    assert!(error.to_string().contains(&said), "{error}");
    let unknown = "partitions = { regoin = \"int\" }\n";
    let error = scratch.run(&format!("{CONFIG}{unknown}")).unwrap_err();
    assert!(error.hint().unwrap().contains("\"region\""), "{error} {:?}", error.hint());
}

#[test]
fn a_partition_may_be_the_time_of_the_event() {
    let scratch = Scratch::new();
    for event in HISTORY {
        let day = &event.1[..10];
        let lacking: Vec<_> = columns(std::slice::from_ref(event))
            .into_iter()
            .filter(|(n, _)| *n != "event_time")
            .collect();
        scratch.parquet(&format!("events/day={day}/{}.parquet", event.0), &lacking, 100);
    }
    let extra = "partitions = { day = \"date\" }\ncolumns = { event_time = \"day\" }\n";
    let by_day = tables_of(&scratch, &format!("{CONFIG}{extra}"));
    let in_files = Scratch::new();
    let dated = with("event_time", texts(HISTORY.iter().map(|e| &e.1[..10])));
    in_files.parquet("events/a.parquet", &dated, 100);
    assert_same(&by_day, &tables_of(&in_files, CONFIG));
}

#[test]
fn column_names_may_be_the_users_own() {
    let own = [
        ("deal_id", "opportunity"),
        ("event_time", "occurred at"),
        ("stage_id", "stage"),
        ("amount", "value"),
        ("customer_id", "account"),
        ("owner_id", "rep"),
        ("region", "territory"),
    ];
    let renamed: Vec<(&str, ArrayRef)> = columns(HISTORY)
        .into_iter()
        .zip(own)
        .map(|((_, array), (_, name))| (name, array))
        .collect();
    let mut extra = String::from("[inputs.deal_events.columns]\n");
    for (canonical, name) in own {
        extra.push_str(&format!("{canonical} = \"{name}\"\n"));
    }
    check_same(&renamed, &extra);
}
