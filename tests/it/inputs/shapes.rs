//! Shapes beside events: dates by stage, spend, look-up tables.

use super::*;
use crate::support::{Cell, filter};

const WIDE: &str = r#"
[run]
as_of = "2024-04-01T00:00:00Z"
[pipeline]
stages = ["lead", "proposal"]
won = ["won"]
lost = ["lost"]
[dimensions]
columns = ["region"]
[inputs.deal_events]
path = "deals"
shape = "stage_dates"
columns = { created_at = "created", amount = "value", customer_id = "account" }
[inputs.deal_events.stage_dates]
lead = "lead_on"
proposal = "proposal_on"
[inputs.deal_events.outcome]
column = "state"
date = "closed_on"
won = ["Won", "Signed"]
lost = ["Lost"]
"#;

const WIDE_HEADER: &str =
    "deal_id,account,region,created,lead_on,proposal_on,state,closed_on,value\n";

#[test]
fn one_row_a_deal_gives_the_events_of_its_dates() {
    let scratch = Scratch::new();
    let rows = "1,a,north,2024-01-01,2024-01-02,2024-01-05,Won,2024-01-10,100.50\n\
                2,b,south,2024-01-03,2024-01-04,,Lost,2024-02-01,7\n\
                3,a,north,2024-02-01,2024-02-02,2024-02-03,Negotiating,,9\n\
                4,c,south,,2024-02-05,,Signed,2024-03-01,\n";
    scratch.write("deals/d.csv", &format!("{WIDE_HEADER}{rows}"));
    let tables = tables_of(&scratch, WIDE);
    // Deal 3's state is neither won nor lost: it is open. Deal 4 skipped the proposal.
    assert_eq!(outcomes(&tables), [4, 2, 1, 1]);
    assert_eq!(total(&tables, "revenue", "net_amount"), 10_050);
    assert_eq!(total(&tables, "revenue", "null_amount_n"), 1);
    let visits = |stage: &str| {
        let wanted = [("slice", "all"), ("period", "all"), ("stage", stage)];
        int(&only(&tables["stage_time"], &wanted), "visits_n")
    };
    assert_eq!((visits("lead"), visits("proposal")), (4, 2));
    assert_eq!(created(&tables, "2024-01-01"), 2);
    // Deal 1 was in lead from the 2nd to the 5th: among the completed visits that of 3 days.
    let lead =
        only(&tables["stage_time"], &[("slice", "all"), ("period", "all"), ("stage", "lead")]);
    // (3 + 28 + 1 + 25) / 4
    crate::support::close(&lead, "dwell_days_mean_completed", 57.0 / 4.0, 1e-9);
}

#[test]
fn dates_of_one_day_are_ordered_by_stage_and_every_row_is_accounted_for() {
    let scratch = Scratch::new();
    let rows = "1,a,north,2024-01-01,2024-01-01,2024-01-01,Won,2024-01-01,1\n\
                2,a,north,2024-01-02,2024-01-02,2024-01-02,Lost,2024-01-02,1\n";
    scratch.write("deals/d.csv", &format!("{WIDE_HEADER}{rows}"));
    let tables = tables_of(&scratch, WIDE);
    assert_eq!(outcomes(&tables), [2, 1, 1, 0]);
    let moves: Vec<Row> =
        filter(&tables["stage_transitions"], &[("slice", "all"), ("period", "all")]);
    let moved = |from: &str, to: &str| {
        let row = filter(&moves, &[("from_stage", from), ("to_stage", to)]);
        row.first().map_or(0, |row| int(row, "moves_n"))
    };
    assert_eq!((moved("START", "lead"), moved("lead", "proposal")), (2, 2));
    assert_eq!((moved("proposal", "won"), moved("proposal", "lost")), (1, 1));
    for row in &tables["data_quality"] {
        assert_eq!((int(row, "rows_in_n"), int(row, "folded_n")), (2, 2));
    }
}

#[test]
fn rows_without_dates_or_with_bad_ones_are_kept_out() {
    let scratch = Scratch::new();
    let rows = "1,a,north,2024-01-01,2024-01-02,,Won,,5\n\
                2,a,north,,,,Open,,5\n\
                3,a,north,2024-01-01,soon,,Open,,5\n\
                ,a,north,2024-01-01,,,Open,,5\n\
                5,a,north,9999-12-31,2024-01-02,0000-00-00,Open,,5\n\
                6,a,north,2024-05-01,2024-05-02,,Open,,5\n\
                7,a,north,2024-03-01,2024-05-02,,Lost,2024-06-01,5\n";
    scratch.write("deals/d.csv", &format!("{WIDE_HEADER}{rows}"));
    let summary = scratch.run(WIDE).unwrap();
    assert_eq!((summary.rows_in, summary.rows_quarantined, summary.rows_after_as_of), (7, 4, 1));
    let tables = tables(&scratch);
    for rule in ["outcome_without_date", "undated", "bad_event_time", "null_deal_id"] {
        assert_eq!(affected(&tables, "deal_events", rule), 1, "{rule}");
    }
    // Deal 5 has one date left; deal 7 was lost after as_of, so it is open.
    assert_eq!(outcomes(&tables), [2, 0, 0, 2]);
}

#[test]
fn dates_by_stage_may_be_parquet_of_any_type() {
    let days = |values: [i32; 2]| -> ArrayRef {
        Arc::new(arrow::array::Date32Array::from(values.to_vec()))
    };
    let none: ArrayRef = arrow::array::new_null_array(&arrow::datatypes::DataType::Date32, 2);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("deal_id", texts(["x", "y"].into_iter())),
        ("account", arrow::array::new_null_array(&arrow::datatypes::DataType::Utf8, 2)),
        ("region", texts(["north", "south"].into_iter())),
        ("created", zoned([micros("2024-01-01T00:00:00Z"); 2].into_iter())),
        ("lead_on", days([19_724, 19_725])),
        ("proposal_on", none),
        ("state", texts(["Won", "Lost"].into_iter())),
        ("closed_on", days([19_730, 19_731])),
        ("value", Arc::new(Int64Array::from(vec![5, 6]))),
    ];
    let scratch = Scratch::new();
    scratch.parquet("deals/d.parquet", &columns, 1);
    let tables = tables_of(&scratch, WIDE);
    assert_eq!(outcomes(&tables), [2, 1, 1, 0]);
    assert_eq!(total(&tables, "revenue", "net_amount"), 500);
}

const SPEND: &str = r#"
[inputs.spend]
path = "spend"
columns = { date = "day", amount = "cost", channel = "medium" }
values = { channel = { Nroth = "north" } }
"#;

fn cac_config() -> String {
    format!("{CONFIG}{SPEND}[acquisition]\nchannel = \"region\"\n")
}

/// The spend of the whole history of a channel, or of all together.
#[track_caller]
fn spend_of(tables: &Tables, scope: &str, channel: &str) -> i64 {
    let wanted = [
        ("slice", "all"),
        ("period", "all"),
        ("channel_scope", scope),
        ("acquisition_channel", channel),
        ("cost_scope", "all"),
    ];
    int(&only(&tables["cac"], &wanted), "spend_amount")
}

#[test]
fn spend_is_read_judged_and_matched() {
    let scratch = Scratch::new();
    scratch.parquet("events/a.parquet", &columns(HISTORY), 100);
    let rows = "day,cost,medium,cost_type\n\
                2024-01-01,100.00,north,media\n\
                2024-02-01,\"1,000.50\",Nroth,media\n\
                2024-02-15,20,,tools\n\
                2024-02-16,,south,tools\n\
                2024-02-17,dear,south,tools\n\
                never,5,south,media\n\
                2024-06-01,77,south,media\n";
    scratch.write("spend/s.csv", rows);
    let tables = tables_of(&scratch, &cac_config());
    assert_eq!(spend_of(&tables, "blended", "null"), 10_000 + 100_050 + 2_000);
    assert_eq!(spend_of(&tables, "channel", "north"), 110_050);
    // What is attributed to no channel has a row of its own, so that rows add up.
    assert_eq!(spend_of(&tables, "channel", "null"), 2_000);
    for (rule, n) in [("null_spend", 1), ("bad_amount", 1), ("bad_event_time", 1)] {
        assert_eq!(affected(&tables, "spend", rule), n, "{rule}");
    }
    let row = only(&tables["data_quality"], &[("input", "spend"), ("rule", "null_spend")]);
    let counts = ["rows_in_n", "folded_n", "quarantined_n", "after_as_of_n"];
    assert_eq!(counts.map(|c| int(&row, c)), [7, 5, 1, 1]);
    let kept_out = rows_of(&scratch.path("out/latest/quarantine/spend.parquet"));
    assert_eq!((int(&kept_out[0], "row"), &kept_out[0]["amount"]), (6, &Cell::Text("5".into())));
}

#[test]
fn faults_of_all_inputs_come_together() {
    let scratch = Scratch::new();
    scratch.write("events/a.parquet", "these are not the bytes of a parquet file");
    scratch.write("spend/s.csv", "when,cost,medium\n2024-01-01,1,north\n");
    let error = scratch.run(&cac_config()).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    let text = error.to_string();
    assert!(text.starts_with("2 problems in the input"), "{text}");
    assert!(text.contains("a.parquet: ") && text.contains("s.csv, column \"day\""), "{text}");
}

fn lookup_config(key: &str) -> String {
    CONFIG.replace(
        "columns = [\"region\"]",
        "columns = [\"region\", \"team\"]\nfrom = { team = \"people.squad\" }",
    ) + &format!("[inputs.people]\npath = \"people\"\nshape = \"lookup\"\nkey = \"{key}\"\n")
}

/// Net cents of a team over the whole history.
#[track_caller]
fn team_net(tables: &Tables, team: &str) -> i64 {
    let wanted = [("slice", "team"), ("team", team), ("period", "all")];
    int(&only(&tables["revenue"], &wanted), "net_amount")
}

#[test]
fn lookups_give_dimensions_without_fanning_out() {
    let scratch = Scratch::new();
    scratch.parquet("events/a.parquet", &columns(HISTORY), 100);
    // Ann is there twice; the first row counts. Bob is missing; a row has no key.
    let rows = "owner_id,squad\nann,red\nann,blue\n,green\ncarl,green\n";
    scratch.write("people/p.csv", rows);
    let tables = tables_of(&scratch, &lookup_config("owner_id"));
    assert_eq!(total(&tables, "revenue", "net_amount"), 20_575);
    assert_eq!(affected(&tables, "people", "duplicate_keys"), 1);
    assert_eq!(affected(&tables, "people", "rows_without_key"), 1);
    // Owners at close: ann won deal 1, bob has deals 2, 3 and 4.
    assert_eq!(team_net(&tables, "red"), 12_550);
    assert_eq!(team_net(&tables, "null"), 8_025);
    assert_eq!(affected(&tables, "people", "orphans"), 3);
    assert_eq!(affected(&tables, "people", "null_keys"), 0);
}

#[test]
fn lookups_by_customer_take_integer_keys_of_either_side() {
    for key in ["int", "text"] {
        let scratch = Scratch::new();
        scratch.parquet("events/a.parquet", &columns(HISTORY), 100);
        let keys: ArrayRef = match key {
            "int" => Arc::new(arrow::array::Int32Array::from(vec![11, 12])),
            _ => texts(["11", "12"].into_iter()),
        };
        let squads = texts(["red", "blue"].into_iter());
        scratch.parquet("people/p.parquet", &[("customer_id", keys), ("squad", squads)], 100);
        let tables = tables_of(&scratch, &lookup_config("customer_id"));
        assert_eq!(team_net(&tables, "red"), 20_575, "{key}");
        assert_eq!(affected(&tables, "people", "orphans"), 1, "{key}");
    }
}

#[test]
fn lookups_by_a_dimension_use_its_mended_values() {
    let scratch = Scratch::new();
    scratch.parquet("events/a.parquet", &columns(HISTORY), 100);
    scratch.write("people/p.csv", "region,squad\nn,red\nsouth,blue\n");
    let config = lookup_config("region") + "values = { region = { n = \"north\" } }\n";
    let tables = tables_of(&scratch, &config);
    assert_eq!(team_net(&tables, "red"), 20_575);
    assert_eq!(affected(&tables, "people", "orphans"), 0);
}
