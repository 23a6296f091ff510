//! The presets of the connector, on its own published samples. Their stages are hashes, so the test
//! lists them; what is expected was counted in the files themselves.

use std::path::Path;

use super::{prepared, run};
use crate::support::{Scratch, filter, int, only, shared_data};

/// The sample's files under the names that the preset has.
fn copied(preset: &str, set: &Path, files: &[(&str, &str)]) -> Scratch {
    let scratch = prepared(preset, &[]);
    for (from, to) in files {
        scratch.write(to, &std::fs::read_to_string(set.join(from)).unwrap());
    }
    scratch
}

/// Every opportunity is marked as deleted in these files, which is left unread here.
#[test]
fn opportunities_by_the_preset_are_those_of_their_table() {
    let Some(set) = shared_data("fivetran_seeds") else { return };
    let history = "salesforce/sf_opportunity_history_data.csv";
    let scratch =
        copied("salesforce_fivetran", &set, &[(history, "salesforce/opportunity_history.csv")]);
    // The sample has no table of stages.
    let stages = "api_name,master_label,sort_order,is_closed,is_won\n\
                  9RN9J3tlxr89gDctReax5w==,,1,false,false\n";
    scratch.write("salesforce/opportunity_stage.csv", stages);
    let set = ["inputs.deal_events.columns.is_deleted=''", "fold.deleted=keep_until_deleted"];
    let summary = run(&scratch, &set);
    assert_eq!((summary.rows_in, summary.rows_quarantined), (10, 0));
    let wanted = [("slice", "all"), ("period", "all"), ("basis", "created")];
    let row = only(&scratch.table("conversion"), &wanted);
    // From the answers: 10 opportunities, 5 won; two intervals ended in 2019 without a successor.
    let counts = ["deals_n", "won_n", "lost_n", "open_n", "deleted_n"];
    assert_eq!(counts.map(|column| int(&row, column)), [10, 5, 3, 0, 2]);
}

#[test]
fn deals_of_hubspot_come_together_by_the_preset() {
    let Some(set) = shared_data("fivetran_seeds") else { return };
    let files = [
        ("hubspot/deal_stage_data.csv", "hubspot/deal_stage.csv"),
        ("hubspot/deal_property_history_data.csv", "hubspot/deal_property_history.csv"),
        ("hubspot/deal_data.csv", "hubspot/deal.csv"),
        ("hubspot/merged_deal_data.csv", "hubspot/merged_deal.csv"),
        ("hubspot/deal_pipeline_stage_data.csv", "hubspot/deal_pipeline_stage.csv"),
    ];
    let scratch = copied("hubspot_fivetran", &set, &files);
    let stages = "pipeline.stages=['f66ca9bc5a02c2f1513ce83f0a0e117d', \
                  '09a969da1d61b38bd3746f0f49c1475a']";
    run(&scratch, &[stages]);
    let quality = scratch.table("data_quality");
    let rows = |input: &str| {
        let rows = filter(&quality, &[("input", input)]);
        rows.first().map(|row| ["rows_in_n", "folded_n"].map(|column| int(row, column)))
    };
    assert_eq!(rows("deal_events"), Some([14, 14]));
    assert_eq!(rows("deals"), Some([44, 44]));
    assert_eq!(rows("stages"), Some([71, 71]));
}
