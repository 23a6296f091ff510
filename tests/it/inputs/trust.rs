//! What `check` says beside the rules, so that somebody can decide whether to trust an input.

use super::*;
use dealmill::engine::Backend;
use dealmill::run::{self, Judged, RunOptions};

/// 30 events a day for ten weeks from 1 January 2024, but none on 5 February and 2 on the 6th;
/// every third row has an amount.
fn events() -> String {
    let mut text = String::from("deal_id,event_time,stage_id,amount,region,note\n");
    for day in 0..70 {
        let n = match day {
            35 => 0,
            36 => 2,
            _ => 30,
        };
        for row in 0..n {
            let at = chrono::DateTime::from_timestamp(1_704_067_200 + day * 86_400 + row * 60, 0);
            let at = at.unwrap().to_rfc3339();
            let amount = if row % 3 == 0 { "5" } else { "" };
            text += &format!("{},{at},lead,{amount},north,x\n", day * 100 + row);
        }
    }
    text
}

fn check(config: &str) -> Judged {
    let scratch = Scratch::new();
    scratch.write("events/all.csv", &events());
    let resolved = scratch.resolve(config).unwrap();
    run::check(&resolved, &RunOptions { on_step: &|_| (), backend: Backend::Kernel }).unwrap()
}

#[test]
fn days_that_are_cut_short_stand_out() {
    let judged = check(CONFIG);
    let profile = &judged.profiles["deal_events"];
    assert_eq!(profile.events, 68 * 30 + 2);
    let thin: Vec<(String, u64, u64)> = profile
        .thin_days()
        .iter()
        .map(|thin| (dealmill::time::day_text(thin.day), thin.events, thin.usual))
        .collect();
    assert_eq!(thin, [("2024-02-05".into(), 0, 30), ("2024-02-06".into(), 2, 30)]);
}

#[test]
fn columns_without_values_and_without_readers_are_named() {
    let judged = check(CONFIG);
    let profile = &judged.profiles["deal_events"];
    // Rows 0, 3, 6, … of a day have an amount: 10 of 30, and 1 of the 2.
    assert_eq!(profile.unknown["amount"], 68 * 20 + 1);
    assert_eq!(profile.unknown["region"], 0);
    assert!(!profile.unknown.contains_key("owner_id"), "the file has no owners");
    assert_eq!(judged.unused["deal_events"], ["note"]);
}
