//! Quality rules, quarantine, aliases and value maps, ties, deletions.

use super::*;
use crate::support::Cell;
use arrow::array::{BooleanArray, StringBuilder};

/// The history with broken rows after it, one for each rule that keeps a row out.
fn broken(scratch: &Scratch) -> std::path::PathBuf {
    let mut history = HISTORY.to_vec();
    for stage in ["lead", "lead", "lead", "lead", "lead"] {
        history.push((50, "2024-03-04T00:00:00Z", stage, 1, 50, "eve", "west"));
    }
    let n = HISTORY.len();
    let mut columns = columns(&history);
    let is_first: BooleanArray = (0..history.len()).map(|row| Some(row == n)).collect();
    columns[0].1 = arrow::compute::nullif(&columns[0].1, &is_first).unwrap();
    let times = history.iter().enumerate().map(|(row, e)| match row - n.min(row) {
        1 if row > n => "",
        2 if row > n => "yesterday",
        3 if row > n => "9999-12-31",
        _ => e.1,
    });
    columns[1].1 = texts(times);
    let mut kinds = StringBuilder::new();
    for row in 0..history.len() {
        if row == n + 4 { kinds.append_value("exploded") } else { kinds.append_null() }
    }
    columns.push(("event_type", Arc::new(kinds.finish())));
    scratch.parquet("events/a.parquet", &columns, 4)
}

const KEPT_OUT: [&str; 5] = [
    "null_deal_id",
    "null_event_time",
    "bad_event_time",
    "sentinel_event_time",
    "unknown_event_type",
];

#[test]
fn rows_kept_out_are_counted_and_written_with_file_row_and_rule() {
    let scratch = Scratch::new();
    let path = broken(&scratch);
    let summary = scratch.run(CONFIG).unwrap();
    assert_eq!((summary.rows_in, summary.rows_quarantined), (14, 5));
    let found = tables(&scratch);
    for rule in KEPT_OUT {
        assert_eq!(affected(&found, "deal_events", rule), 1, "{rule}");
    }
    let quarantine = rows_of(&scratch.path("out/latest/quarantine/deal_events.parquet"));
    let text = |row: &Row, column: &str| match &row[column] {
        Cell::Text(text) => text.clone(),
        other => panic!("{column}: {other:?}"),
    };
    let listed: Vec<(String, i64, String)> =
        quarantine.iter().map(|r| (text(r, "file"), int(r, "row"), text(r, "rule"))).collect();
    let expected: Vec<(String, i64, String)> = KEPT_OUT
        .iter()
        .zip(HISTORY.len() as i64 + 1..)
        .map(|(rule, row)| (path.display().to_string(), row, (*rule).to_owned()))
        .collect();
    assert_eq!(listed, expected);
    assert_eq!(text(&quarantine[2], "event_time"), "yesterday");
    assert_eq!(text(&quarantine[4], "event_type"), "exploded");
    // What is left are the deals of the plain form.
    assert_eq!(outcomes(&found), outcomes(plain()));
}

#[test]
fn severity_fail_exits_with_3_and_publishes_nothing() {
    let scratch = Scratch::new();
    scratch.parquet("events/a.parquet", &columns(HISTORY), 100);
    scratch.run(CONFIG).unwrap();
    let before = std::fs::read_link(scratch.path("out/latest")).unwrap();
    broken(&scratch);
    let config = format!("{CONFIG}[quality.severity]\nnull_deal_id = \"fail\"\n");
    let error = scratch.run(&config).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("null_deal_id (1 in deal_events)"), "{error}");
    assert!(error.hint().unwrap().contains("[quality]"));
    assert_eq!(std::fs::read_link(scratch.path("out/latest")).unwrap(), before);
    assert_eq!(std::fs::read_dir(scratch.path("out/runs")).unwrap().count(), 1);
}

#[test]
fn strict_runs_fail_on_unknown_stages() {
    let scratch = Scratch::new();
    scratch.parquet("events/a.parquet", &columns(HISTORY), 100);
    let config = CONFIG.replace("\"proposal\"", "\"demo\"");
    let found = tables_of(&scratch, &config);
    assert_eq!(affected(&found, "deal_events", "unknown_stages"), 1);
    assert_eq!(affected(&found, "deal_events", "unknown_stage_events"), 2);
    let strict = format!("{config}[quality.severity]\nunknown_stages = \"fail\"\n");
    assert_eq!(scratch.run(&strict).unwrap_err().exit_code(), 3);
    // Or the rows are kept out; then there is nothing unknown left.
    let apart = format!("{config}[quality.severity]\nunknown_stage_events = \"quarantine\"\n");
    let summary = scratch.run(&apart).unwrap();
    assert_eq!((summary.rows_in, summary.rows_quarantined), (9, 2));
    let found = tables(&scratch);
    assert_eq!(affected(&found, "deal_events", "unknown_stage_events"), 2);
    // No finding of a rule that nothing was checked for.
    let unknown = [("input", "deal_events"), ("rule", "unknown_stages")];
    assert!(crate::support::filter(&found["data_quality"], &unknown).is_empty());
}

#[test]
fn amounts_that_cannot_be_read_may_keep_their_row_out() {
    let scratch = Scratch::new();
    let amounts = ["100", "100", "n/a", "200", "200", "80", "80", "80.25", "10.001"];
    scratch.parquet("events/a.parquet", &with("amount", texts(amounts.into_iter())), 100);
    let config = format!(
        "{CONFIG}[quality.severity]\nbad_amount = \"quarantine\"\ninexact_amount = \"quarantine\"\n"
    );
    let summary = scratch.run(&config).unwrap();
    assert_eq!(summary.rows_quarantined, 2);
    // Deal 1 was not won without that row, and deal 4 has no other.
    assert_eq!(outcomes(&tables(&scratch)), [3, 1, 1, 1]);
}

#[test]
fn severities_that_cannot_be_kept_are_refused() {
    let scratch = Scratch::new();
    for (rule, severity) in [("null_deal_id", "ignore"), ("tied_events", "quarantine")] {
        let config = format!("{CONFIG}[quality.severity]\n{rule} = \"{severity}\"\n");
        let error = scratch.run(&config).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(error.to_string().contains(rule), "{error}");
    }
}

#[test]
fn stage_aliases_and_value_maps_mend_names() {
    let misspelt: Vec<Event> = HISTORY
        .iter()
        .map(|e| {
            let stage = if e.2 == "lead" { "Lead (old)" } else { e.2 };
            let region = if e.0 == 3 { "Nroth" } else { e.6 };
            (e.0, e.1, stage, e.3, if e.0 == 3 { 911 } else { e.4 }, e.5, region)
        })
        .collect();
    let config =
        CONFIG.replace("[dimensions]", "aliases = { \"Lead (old)\" = \"lead\" }\n[dimensions]");
    let values = "[inputs.deal_events.values]\nregion = { Nroth = \"north\" }\n\
                  customer_id = { 911 = \"11\" }\n";
    let scratch = Scratch::new();
    scratch.parquet("events/a.parquet", &columns(&misspelt), 4);
    assert_same(&tables_of(&scratch, &format!("{config}{values}")), plain());
    let as_text: Vec<String> = misspelt.iter().map(|e| e.4.to_string()).collect();
    let as_text = texts(as_text.iter().map(String::as_str));
    let scratch = Scratch::new();
    let columns = replaced(columns(&misspelt), "customer_id", as_text);
    scratch.parquet("events/a.parquet", &columns, 4);
    assert_same(&tables_of(&scratch, &format!("{config}{values}")), plain());
}

#[test]
fn values_of_times_and_amounts_cannot_be_mapped() {
    let scratch = Scratch::new();
    let config = format!("{CONFIG}values = {{ amount = {{ \"n/a\" = \"0\" }} }}\n");
    let error = scratch.run(&config).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("inputs.deal_events.values.amount"), "{error}");
}

#[test]
fn event_types_may_be_given_and_mapped() {
    let types: Vec<&str> = HISTORY
        .iter()
        .map(|e| match e.2 {
            "won" => "WON!",
            "lost" => "lost",
            _ => "stage",
        })
        .collect();
    let mut columns = columns(HISTORY);
    columns.push(("event_type", texts(types.into_iter())));
    check_same(&columns, "values = { event_type = { \"WON!\" = \"won\" } }\n");
}

/// The history and deal 9, whose first two stages have one instant.
fn tied() -> Vec<Event> {
    let mut history = HISTORY.to_vec();
    history.push((9, "2024-01-09T00:00:00Z", "proposal", 1, 9, "ann", "north"));
    history.push((9, "2024-01-09T00:00:00Z", "lead", 1, 9, "ann", "north"));
    history
}

/// First stages of the deals by name, with their number.
fn first_stages(tables: &Tables) -> Vec<(String, i64)> {
    let rows = tables["stage_transitions"].iter();
    rows.filter(|r| r["slice"] == Cell::Text("all".into()))
        .filter(|r| r["period"] == Cell::Text("all".into()))
        .filter(|r| r["from_stage"] == Cell::Text("START".into()))
        .map(|r| match &r["to_stage"] {
            Cell::Text(to) => (to.clone(), int(r, "moves_n")),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn tied_stage_events_are_ordered_as_configured_or_their_deal_is_kept_out() {
    let scratch = Scratch::new();
    scratch.parquet("events/a.parquet", &columns(&tied()), 100);
    let ties = |ties: &str| format!("{CONFIG}[fold]\nties = \"{ties}\"\n");
    let forward = tables_of(&scratch, &ties("forward"));
    assert_eq!(first_stages(&forward), [("lead".to_owned(), 5)]);
    assert_eq!(affected(&forward, "deal_events", "tied_events"), 2);
    let source = tables_of(&scratch, &ties("source_order"));
    assert_eq!(first_stages(&source), [("lead".to_owned(), 4), ("proposal".to_owned(), 1)]);
    let summary = scratch.run(&ties("reject")).unwrap();
    assert_eq!((summary.rows_in, summary.rows_quarantined), (11, 2));
    let rejected = tables(&scratch);
    assert_eq!(first_stages(&rejected), [("lead".to_owned(), 4)]);
    assert_eq!(affected(&rejected, "deal_events", "tied_deals"), 1);
    let rows = rows_of(&scratch.path("out/latest/quarantine/deal_events.parquet"));
    assert_eq!(rows.iter().map(|r| int(r, "row")).collect::<Vec<_>>(), [10, 11]);
    assert!(rows.iter().all(|r| r["rule"] == Cell::Text("tied_deals".into())));
}

#[test]
fn seq_orders_what_time_does_not() {
    let scratch = Scratch::new();
    let history = tied();
    let mut columns = columns(&history);
    columns.push(("seq", Arc::new(Int64Array::from_iter_values(0..history.len() as i64))));
    scratch.parquet("events/a.parquet", &columns, 100);
    let tables = tables_of(&scratch, CONFIG);
    assert_eq!(first_stages(&tables), [("lead".to_owned(), 4), ("proposal".to_owned(), 1)]);
    assert_eq!(affected(&tables, "deal_events", "tied_events"), 0);
}

#[test]
fn deleted_deals_follow_the_policy() {
    let scratch = Scratch::new();
    let mut history = HISTORY.to_vec();
    history.push((4, "2024-03-10T00:00:00Z", "", 1_000, 13, "bob", "south"));
    let mut columns = columns(&history);
    let types = (0..history.len()).map(|row| if row < HISTORY.len() { "stage" } else { "deleted" });
    columns.push(("event_type", texts(types)));
    scratch.parquet("events/a.parquet", &columns, 100);
    // Deal 4 is the one open deal: left out, lost, or neither open nor lost.
    for (policy, expected, deleted) in [
        ("exclude", [3, 2, 1, 0], 1),
        ("as_lost", [4, 2, 2, 0], 0),
        ("keep_until_deleted", [4, 2, 1, 0], 1),
    ] {
        let config = format!("{CONFIG}[fold]\ndeleted = \"{policy}\"\n");
        let tables = tables_of(&scratch, &config);
        assert_eq!(outcomes(&tables), expected, "{policy}");
        assert_eq!(affected(&tables, "deal_events", "deleted_deals"), deleted, "{policy}");
    }
}
