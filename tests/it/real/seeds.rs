//! Small tables of two CRMs as a connector with history mode leaves them: intervals, current deals,
//! a registry of stages. What is expected was counted in the files themselves.

use crate::support::{Scratch, filter, int, only, shared_data};

/// Every opportunity is marked as deleted in these files, which is left unread here.
const SALESFORCE: &str = r#"
[run]
as_of = "2020-12-31"
[inputs.deal_events]
path = "SET/salesforce/sf_opportunity_history_data.csv"
shape = "intervals"
timezone = "UTC"
[inputs.deal_events.columns]
deal_id = "id"
valid_from = "_fivetran_start"
valid_to = "_fivetran_end"
is_active = "_fivetran_active"
stage_id = "stage_name"
created_at = "created_date"
expected_close = "close_date"
customer_id = "account_id"
is_deleted = ""
[fold]
deleted = "keep_until_deleted"
[pipeline]
stages = ["9RN9J3tlxr89gDctReax5w=="]
ignored = ["GavUFuuf4DrnQAoiRGlWpQ==", "tXi3M8u3iPxq0ggxTSxMKw=="]
"#;

#[test]
fn opportunities_in_history_mode_are_those_of_their_table() {
    let Some(set) = shared_data("fivetran_seeds") else { return };
    let scratch = Scratch::new();
    let summary = scratch.run(&SALESFORCE.replace("SET", &set.display().to_string())).unwrap();
    assert_eq!((summary.rows_in, summary.rows_quarantined), (10, 0));
    let wanted = [("slice", "all"), ("period", "all"), ("basis", "created")];
    let row = only(&scratch.table("conversion"), &wanted);
    // From the answers: 10 opportunities, 9 closed, 5 of them won. The intervals of two of them, one
    // lost and one open, ended in 2019 without a successor.
    let counts = ["deals_n", "won_n", "lost_n", "open_n", "deleted_n"];
    assert_eq!(counts.map(|column| int(&row, column)), [10, 5, 3, 0, 2]);
    let revenue = only(&scratch.table("revenue"), &[("slice", "all"), ("period", "all")]);
    assert_eq!(int(&revenue, "net_amount"), 2_412_000_000);
}

const HUBSPOT: &str = r#"
[run]
as_of = "2021-12-31"
[inputs.deal_events]
path = "SET/hubspot/deal_stage_data.csv"
shape = "intervals"
timezone = "UTC"
[inputs.deal_events.columns]
valid_from = "_fivetran_start"
valid_to = "_fivetran_end"
is_active = "_fivetran_active"
stage_id = "value"
[inputs.deals]
path = "SET/hubspot/deal_data.csv"
timezone = "UTC"
[inputs.deals.columns]
created_at = "property_createdate"
closed_at = "property_closedate"
amount = "property_amount"
stage_id = "deal_pipeline_stage_id"
[pipeline]
stages = ["f66ca9bc5a02c2f1513ce83f0a0e117d", "09a969da1d61b38bd3746f0f49c1475a"]
[inputs.stages]
path = "SET/hubspot/deal_pipeline_stage_data.csv"
[inputs.stages.columns]
stage_name = "label"
stage_order = "display_order"
is_won = "closed_won"
"#;

#[test]
fn deals_and_their_stages_come_together_from_three_tables() {
    let Some(set) = shared_data("fivetran_seeds") else { return };
    let scratch = Scratch::new();
    scratch.run(&HUBSPOT.replace("SET", &set.display().to_string())).unwrap();
    let quality = scratch.table("data_quality");
    let rows = |input: &str| {
        let rows = filter(&quality, &[("input", input)]);
        rows.first().map(|row| ["rows_in_n", "folded_n"].map(|column| int(row, column)))
    };
    // 14 stages of deals and 71 of pipelines by the answers, no id of them twice; 44 deals.
    assert_eq!(rows("deal_events"), Some([14, 14]));
    assert_eq!(rows("deals"), Some([44, 44]));
    assert_eq!(rows("stages"), Some([71, 71]));
    let affected =
        |rule: &str| int(&only(&quality, &[("input", "stages"), ("rule", rule)]), "affected_n");
    assert_eq!(affected("duplicate_keys"), 0);
}
