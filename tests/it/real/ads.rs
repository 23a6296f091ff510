//! `kag_ads`: 1,143 ads with what they cost and how many customers they brought. The customers are
//! only counted there, so the test makes that many won deals of them, each of a new customer.

use super::answers::{answers, ints, rounded, summary, tables};
use crate::support::{Cell, Row, Scratch, filter, int, only, shared_data};
use std::path::Path;

/// The table `cac` with the column of that place as the channel.
fn cac(folder: &Path, channel: usize) -> Vec<Row> {
    let text = std::fs::read_to_string(folder.join("KAG_conversion_data.csv")).unwrap();
    let mut spend = String::from("date,channel,amount\n");
    let mut events = String::from("deal_id,event_time,event_type,customer_id,amount,campaign\n");
    let mut deals = 0;
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let (campaign, spent, customers) = (cells[channel], cells[9], cells[11]);
        // The dates of the file are not those of the ads, see its source note.
        spend += &format!("2023-08-01,{campaign},{spent}\n");
        for _ in 0..customers.parse::<usize>().unwrap() {
            deals += 1;
            events += &format!("{deals},2023-08-01,won,{deals},1,{campaign}\n");
        }
    }
    let scratch = Scratch::new();
    scratch.write("spend.csv", &spend);
    scratch.write("events.csv", &events);
    let toml = r#"
        [run]
        periods = []
        only = ["cac"]
        [pipeline]
        stages = ["enquiry"]
        won = ["won"]
        [dimensions]
        columns = ["campaign"]
        slices = [[]]
        [acquisition]
        channel = "campaign"
        [inputs.deal_events]
        path = "events.csv"
        [inputs.spend]
        path = "spend.csv"
        shape = "spend"
    "#;
    tables(&scratch, toml).remove("cac").unwrap()
}

/// The amounts are single-precision cents (1.43 is given as 1.429999948), so each is taken to the
/// cent; the answers add them as they are given, hence their sums are off by fractions of a cent.
#[track_caller]
fn check_campaigns(file: &str, column: &str, place: usize) -> Vec<Row> {
    let Some(folder) = shared_data("kag_ads") else { return Vec::new() };
    let rows = cac(&folder, place);
    let summary = summary(&folder);
    let all = [("cost_scope", "all"), ("channel_scope", "blended")];
    let blended = only(&rows, &all);
    ints(&blended, &[("spend_amount", 5_870_523), ("new_customers_n", 1_079)]);
    rounded(&blended, "cac_amount", summary["cac"].as_f64().map(|cac| cac * 100.0));
    let campaigns = answers(&folder, file);
    for answer in &campaigns {
        let wanted = [
            ("cost_scope", "all"),
            ("channel_scope", "channel"),
            ("acquisition_channel", answer.text(column)),
        ];
        let row = only(&rows, &wanted);
        ints(&row, &[("spend_amount", answer.cents("spent"))]);
        ints(&row, &[("new_customers_n", answer.int("customers"))]);
        rounded(&row, "cac_amount", answer.number("cac").map(|cac| cac * 100.0));
        let unpaid = answer.int("customers") == 0 && answer.cents("spent") > 0;
        assert_eq!(row["is_spend_without_customers"], Cell::Bool(unpaid), "{row:?}");
    }
    let channels = filter(&rows, &[("cost_scope", "all"), ("channel_scope", "channel")]);
    assert_eq!(channels.len(), campaigns.len(), "channels");
    let sum = |column: &str| channels.iter().map(|row| int(row, column)).sum::<i64>();
    assert_eq!(sum("spend_amount"), int(&blended, "spend_amount"), "channels add up");
    channels
}

#[test]
fn cac_is_as_counted_overall_and_by_campaign() {
    check_campaigns("by_xyz_campaign_id.csv", "xyz_campaign_id", 2);
}

#[test]
fn campaigns_without_customers_have_no_cac() {
    let rows = check_campaigns("by_fb_campaign_id.csv", "fb_campaign_id", 3);
    let without = rows.iter().filter(|row| row["cac_amount"] == Cell::Null).count();
    assert!(rows.is_empty() || without > 100, "{without}");
}
