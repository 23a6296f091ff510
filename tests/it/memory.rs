//! Bounded memory: what is written to scratch files changes no number and leaves nothing behind,
//! and a limit that cannot hold is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
use dealmill::config::{self, Flags, Resolved};
use dealmill::source::synthetic::{GenerateOptions, generate};
use dealmill::spill::Spilling;

use super::inputs::published;
use super::support::{Scratch, execute};

/// A seeded history with its own configuration, which has every table.
fn generated(scratch: &Scratch, deals: u64) -> Resolved {
    let made = generate(&GenerateOptions::new(deals, 11, scratch.path("history"))).unwrap();
    let flags = Flags { config: Some(made.config), ..Flags::default() };
    config::load(&flags).unwrap()
}

/// Runs into a folder of its own; the scratch folder is there and empty afterwards.
fn tables(
    scratch: &Scratch,
    resolved: &Resolved,
    spilling: Spilling,
    threads: usize,
) -> BTreeMap<String, Vec<u8>> {
    let out = scratch.path(&format!("out-{spilling:?}-{threads}"));
    let spilled = scratch.path(&format!("spilled-{spilling:?}-{threads}"));
    let mut resolved = Resolved { spilling, output: out.clone(), ..resolved.clone() };
    std::fs::create_dir(&spilled).unwrap();
    resolved.scratch = Some(spilled.clone());
    resolved.config.run.threads = Some(threads);
    execute(&resolved).unwrap();
    assert_eq!(std::fs::read_dir(spilled).unwrap().count(), 0, "something is left");
    published(&out.join("latest"))
}

#[track_caller]
fn check_same(scratch: &Scratch, resolved: &Resolved, least: usize) {
    let expected = tables(scratch, resolved, Spilling::AsNeeded, 2);
    assert!(expected.len() >= least, "{:?}", expected.keys());
    for threads in [1, 3] {
        let found = tables(scratch, resolved, Spilling::Always, threads);
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (name, bytes) in &expected {
            assert!(found[name] == *bytes, "{name} differs with {threads} threads");
        }
    }
}

#[test]
fn tables_are_the_same_when_everything_is_spilled() {
    let scratch = Scratch::new();
    let resolved = generated(&scratch, 3_000);
    check_same(&scratch, &resolved, 10);
}

#[test]
fn one_long_deal_and_one_large_customer_are_the_same_when_spilled() {
    // More than the fold hands over in one piece.
    const LONG: i64 = 200_000;
    const OTHERS: i64 = 5_000;
    let stages = ["lead", "proposal"];
    let (mut deal, mut at, mut stage, mut customer, mut amount) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut event = |d: i64, second: i64, name: &str| {
        deal.push(d);
        at.push((1_704_067_200 + second) * 1_000_000);
        stage.push(name.to_owned());
        // A tenth of all orders is one customer's.
        customer.push(if d % 10 == 0 { 0 } else { d });
        amount.push(d % 97 * 100);
    };
    for n in 0..LONG {
        event(1, n * 60, stages[(n % 2) as usize]);
    }
    for d in 2..OTHERS {
        event(d, d * 300, "lead");
        event(d, d * 300 + 86_400, "won");
    }
    let columns: [(&str, ArrayRef); 5] = [
        ("deal_id", Arc::new(Int64Array::from(deal))),
        ("event_time", Arc::new(TimestampMicrosecondArray::from(at).with_timezone("UTC"))),
        ("stage_id", Arc::new(StringArray::from(stage))),
        ("customer_id", Arc::new(Int64Array::from(customer))),
        ("amount", Arc::new(Int64Array::from(amount))),
    ];
    let scratch = Scratch::new();
    scratch.parquet("events/all.parquet", &columns, 7_000);
    let resolved = scratch
        .resolve(
            "[pipeline]\nstages = [\"lead\", \"proposal\"]\nwon = [\"won\"]\n\
             [inputs.deal_events]\npath = \"events\"\n",
        )
        .unwrap();
    check_same(&scratch, &resolved, 8);
}

#[test]
fn a_mistyped_scratch_folder_is_refused_and_not_made() {
    let scratch = Scratch::new();
    let mut resolved = generated(&scratch, 50);
    resolved.scratch = Some(scratch.path("mistyped"));
    resolved.output = scratch.path("out");
    let error = execute(&resolved).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    assert!(error.to_string().contains("mistyped"), "{error}");
    assert!(!scratch.path("mistyped").exists());
    assert!(!scratch.path("out/latest").exists());
}

#[test]
fn shards_are_refused_under_a_limit() {
    let scratch = Scratch::new();
    let made = generate(&GenerateOptions::new(50, 11, scratch.path("history"))).unwrap();
    let flags = Flags {
        config: Some(made.config),
        set: vec!["run.shards=3".into()],
        memory_limit: Some("1GiB".into()),
        ..Flags::default()
    };
    let error = config::load(&flags).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("run.shards"), "{error}");
}

#[test]
fn names_that_the_limit_cannot_hold_are_refused_while_they_are_read() {
    // By hand: 60,000 identifiers of 40 characters and 64 bytes beside each are 6.2 MB, of which the
    // limit is to hold four times: more than the 20 MiB that are added to the least limit.
    const DEALS: i64 = 60_000;
    let deals = (0..DEALS).map(|d| Some(format!("{d:040}"))).collect::<StringArray>();
    let times = (0..DEALS).map(|d| (1_704_067_200 + d) * 1_000_000);
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
    let stages = StringArray::from(vec!["lead"; DEALS as usize]);
    let columns: [(&str, ArrayRef); 3] = [
        ("deal_id", Arc::new(deals)),
        ("event_time", Arc::new(times)),
        ("stage_id", Arc::new(stages)),
    ];
    let scratch = Scratch::new();
    scratch.parquet("events/all.parquet", &columns, 1_000);
    let mut resolved = scratch
        .resolve(
            "[pipeline]\nstages = [\"lead\"]\nwon = [\"won\"]\nlost = [\"lost\"]\n\
             [inputs.deal_events]\npath = \"events\"\n",
        )
        .unwrap();
    resolved.config.run.threads = Some(1);
    resolved.memory_limit = Some(1 << 20);
    let least = |error: dealmill::error::Error| -> u64 {
        assert_eq!(error.exit_code(), 2, "{error}");
        let hint = error.hint().unwrap();
        let named = hint.split("--memory-limit ").nth(1).unwrap().split(' ').next().unwrap();
        dealmill::spill::parse_size(named).unwrap()
    };
    let without_names = least(execute(&resolved).unwrap_err());
    resolved.memory_limit = Some(without_names + (20 << 20));
    let with_names = least(execute(&resolved).unwrap_err());
    assert!(with_names > without_names + (20 << 20), "{with_names}");
    resolved.memory_limit = Some(with_names);
    execute(&resolved).unwrap();
}

#[test]
fn a_limit_that_cannot_hold_is_refused_with_one_that_can() {
    let scratch = Scratch::new();
    let mut resolved = generated(&scratch, 50);
    resolved.output = scratch.path("out");
    resolved.memory_limit = Some(1 << 20);
    let error = execute(&resolved).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    let hint = error.hint().unwrap();
    let named = hint.split("--memory-limit ").nth(1).unwrap().split_whitespace().next().unwrap();
    resolved.memory_limit = Some(dealmill::spill::parse_size(named).unwrap());
    execute(&resolved).unwrap();
}
