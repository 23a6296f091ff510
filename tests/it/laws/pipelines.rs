//! Histories in several pipelines: every way of computing gives the same, and a naive fold the same
//! moves.

use std::collections::BTreeMap;

use dealmill::config::Resolved;
use dealmill::engine::{Backend, Execution};
use dealmill::spill::Spilling;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::sample::{check_equal, parquet_files, read, tables};
use crate::support::{Scratch, execute, filter, int, rows_of};

const CONFIG: &str = r#"
[run]
as_of = "2024-03-15T00:00:00Z"
periods = ["week"]
[pipelines.a]
stages = ["s1", "s2", "s3"]
won = ["won"]
lost = ["lost"]
[pipelines.b]
stages = ["s3", "s1"]
won = ["won"]
lost = ["s2"]
[inputs.deal_events]
path = "events.csv"
timezone = "UTC"
"#;

/// Deal, pipeline, stage; the day is the row's number.
type Event = (usize, usize, usize);

const PIPELINES: [&str; 4] = ["a", "b", "x", ""];
const STAGES: [&str; 7] = ["s1", "s2", "s3", "won", "lost", "mystery", ""];

fn csv(events: &[Event]) -> String {
    let mut text = String::from("deal_id,event_time,pipeline_id,stage_id\n");
    for (row, (deal, pipeline, stage)) in events.iter().enumerate() {
        let (pipeline, stage) = (PIPELINES[*pipeline], STAGES[*stage]);
        let (day, hour) = (1 + row / 24, row % 24);
        text.push_str(&format!("{deal},2024-01-{day:02}T{hour:02}:00:00Z,{pipeline},{stage}\n"));
    }
    text
}

fn resolve(scratch: &Scratch, events: &[Event], extra: &str) -> Resolved {
    scratch.write("events.csv", &csv(events));
    scratch.resolve(&format!("{CONFIG}{extra}")).unwrap()
}

fn for_each(seed: u8, pipelines: usize, stages: usize, check: impl Fn(&[Event])) {
    let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let event = (0..6_usize, 0..pipelines, 0..stages);
    runner
        .run(&prop::collection::vec(event, 1..120), |events| {
            check(&events);
            Ok(())
        })
        .unwrap();
}

#[test]
fn shards_backends_threads_and_memory_change_nothing() {
    for_each(71, PIPELINES.len(), STAGES.len(), |events| {
        for shape in ["", "shape = \"row_history\"\n"] {
            let scratch = Scratch::new();
            let resolved = resolve(&scratch, events, shape);
            let (history, ledger) = read(&resolved);
            ledger.judge().unwrap();
            let whole = tables(&resolved, &history, Execution::Whole, Backend::Memory);
            for (execution, backend) in [
                (Execution::Sharded(3), Backend::Streaming),
                (Execution::Whole, Backend::Kernel),
                (Execution::Sharded(2), Backend::Kernel),
            ] {
                let other = tables(&resolved, &history, execution, backend);
                check_equal(&whole, &other, &format!("{shape}{execution:?}, {backend:?}"));
            }
        }
    });
    let events: Vec<Event> = (0..600).map(|n| (n % 40, n * 7 % 4, n * 5 % 7)).collect();
    let published = |threads: usize, spilling: Spilling| {
        let scratch = Scratch::new();
        let mut resolved = Resolved { spilling, ..resolve(&scratch, &events, "") };
        resolved.config.run.threads = Some(threads);
        let folder = execute(&resolved).unwrap().run_dir;
        let files = parquet_files(&folder).into_iter();
        files.map(|path| rows_of(&path)).collect::<Vec<_>>()
    };
    let one = published(1, Spilling::AsNeeded);
    assert!(one == published(3, Spilling::AsNeeded), "threads");
    assert!(one == published(2, Spilling::Always), "memory");
}

/// Class and place of a stage in pipeline a or b.
fn place(pipeline: usize, stage: usize) -> Option<usize> {
    let open: [&[&str]; 2] = [&["s1", "s2", "s3"], &["s3", "s1"]];
    open[pipeline].iter().position(|name| *name == STAGES[stage])
}

/// Moves by pipeline, stage, next stage and kind, of events that all name a listed stage.
fn naive(events: &[Event]) -> BTreeMap<[String; 4], i64> {
    let mut moves: BTreeMap<[String; 4], i64> = BTreeMap::new();
    let mut count = |(pipeline, stage): (usize, usize), next: &str, kind: &str| {
        let key = [PIPELINES[pipeline], STAGES[stage], next, kind].map(str::to_owned);
        *moves.entry(key).or_default() += 1;
    };
    let mut now: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for (deal, pipeline, stage) in events.iter().copied() {
        let Some(from) = now.insert(deal, (pipeline, stage)) else { continue };
        if from.0 != pipeline {
            count(from, "HANDOFF", "handoff");
        } else if from.1 != stage {
            let kind = match (place(pipeline, from.1), place(pipeline, stage)) {
                (_, None) if STAGES[stage] == "won" => "won",
                (_, None) => "lost",
                (None, _) => "reopened",
                (Some(from), Some(to)) if to < from => "regressed",
                (Some(from), Some(to)) if to == from + 1 => "advanced",
                _ => "skipped",
            };
            count(from, STAGES[stage], kind);
        }
    }
    for own in now.into_values() {
        count(own, "STILL", "still");
    }
    moves
}

/// Deals won, lost and open in the end, wins booked and wins taken back, one deal after the other:
/// only the pipeline in which a deal was won can re-open it; a loss anywhere is one.
fn naive_outcomes(events: &[Event]) -> [i64; 5] {
    let (mut booked, mut reversed) = (0, 0);
    let mut ends = [0; 3];
    for deal in 0..6 {
        let own: Vec<(usize, usize)> =
            events.iter().filter(|e| e.0 == deal).map(|e| (e.1, e.2)).collect();
        // The pipeline of the win that holds, and whether the deal is lost.
        let (mut won_in, mut is_lost) = (None, false);
        for (pipeline, stage) in &own {
            let before = won_in;
            if STAGES[*stage] == "won" {
                (won_in, is_lost) = (Some(*pipeline), false);
            } else if place(*pipeline, *stage).is_none() {
                (won_in, is_lost) = (None, true);
            } else {
                is_lost = false;
                won_in = won_in.filter(|home| home != pipeline);
            }
            booked += i64::from(before.is_none() && won_in.is_some());
            reversed += i64::from(before.is_some() && won_in.is_none());
        }
        if !own.is_empty() {
            ends[if won_in.is_some() { 0 } else { 2 - usize::from(is_lost) }] += 1;
        }
    }
    [ends[0], ends[1], ends[2], booked, reversed]
}

#[test]
fn outcomes_are_those_of_a_naive_fold() {
    let (won, reversed) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    for_each(73, 2, 4, |events| {
        let scratch = Scratch::new();
        execute(&resolve(&scratch, events, "")).unwrap();
        let whole = [("slice", "all"), ("period", "all")];
        let row = |table: &str, more: &[(&str, &str)]| {
            crate::support::only(&scratch.table(table), &[&whole[..], more].concat())
        };
        let created = row("conversion", &[("basis", "created")]);
        let [a, b, c] = ["won_n", "lost_n", "open_n"].map(|column| int(&created, column));
        let clocks = filter(&scratch.table("revenue_clocks"), &whole);
        let of = |column| clocks.first().map_or(0, |row| int(row, column));
        let (d, e) = (of("ledger_booked_n"), of("ledger_reversed_n"));
        assert_eq!([a, b, c, d, e], naive_outcomes(events));
        won.set(won.get() + a);
        reversed.set(reversed.get() + e);
    });
    assert!(won.get() > 30 && reversed.get() > 30, "{} and {}", won.get(), reversed.get());
}

#[test]
fn moves_are_those_of_a_naive_fold() {
    for_each(72, 2, 4, |events| {
        let scratch = Scratch::new();
        execute(&resolve(&scratch, events, "")).unwrap();
        let rows =
            filter(&scratch.table("stage_transitions"), &[("slice", "all"), ("period", "all")]);
        let text = |row: &crate::support::Row, name: &str| match &row[name] {
            crate::support::Cell::Text(text) => text.clone(),
            other => panic!("{other:?}"),
        };
        let mut found = BTreeMap::new();
        for row in rows {
            let key = ["pipeline", "from_stage", "to_stage", "move"].map(|name| text(&row, name));
            if !["START", "HANDOFF"].contains(&key[1].as_str()) {
                found.insert(key, int(&row, "moves_n"));
            }
        }
        assert_eq!(found, naive(events));
    });
}
