//! The fixture's moves, and states that do not balance.

use super::*;
use crate::metrics::testing::{
    FIXTURE_STAGES, WHOLE, cells, check, eight_deals, eight_deals_by_region,
    finish as finish_by_hand, run, run_slices, settings, state,
};
use crate::table::Table;

fn fixture() -> Table {
    let settings = settings(&FIXTURE_STAGES, 20);
    run(&METRIC, &eight_deals(), &[Period::Month], &settings)
}

#[track_caller]
fn check_moves(from: &str, expected: &str) {
    let (table, at) = (fixture(), [&format!("from_stage={from}")[..], "period=month"]);
    let moves = cells(&table, &at, "to_stage")
        .into_iter()
        .zip(cells(&table, &at, "move"))
        .zip(cells(&table, &at, "moves_n"))
        .map(|((to, kind), n)| format!("{to} {kind} {n}"));
    assert_eq!(moves.collect::<Vec<_>>().join(", "), expected);
}

#[test]
fn fixture_moves_are_reproduced_in_the_order_of_the_pipeline() {
    check_moves("START", "L created 7, Q created 1");
    check_moves("L", "Q advanced 4, P skipped 1, Lost lost 1, STILL still 1");
    check_moves("Q", "P advanced 5, STILL still 1");
    check_moves("P", "Q regressed 1, Won won 4, Lost lost 2");
    check_moves("Won", "P reopened 1, STILL still 3");
    check_moves("Lost", "STILL still 3");
}

#[test]
fn entries_are_exits_and_those_still_there() {
    let (table, at) = (fixture(), ["period=all", "from_stage=L"]);
    check(&table, &at, "entries_n", "7 7 7 7");
    check(&table, &at, "exits_n", "6 6 6 6");
    check(&table, &at, "still_n", "1 1 1 1");
    check(&table, &["period=all", "from_stage=P"], "exit_rate", {
        "0.14285714285714285 0.5714285714285714 0.2857142857142857"
    });
    check(&table, &["period=all", "to_stage=STILL"], "exit_rate", "- - - -");
}

#[test]
fn deal_that_moves_twice_counts_once_among_deals() {
    let table = fixture();
    // Q to P: D1, D3 twice, D6, D8.
    let at = ["period=all", "from_stage=Q", "to_stage=P"];
    check(&table, &at, "moves_n", "5");
    check(&table, &at, "deals_n", "4");
    check(&table, &at, "first_moves_n", "4");
    // Dwell before it: 3 3 2 1 0.
    check(&table, &at, "dwell_days_mean", "1.8");
    check(&table, &at, "dwell_days_p50", "2.0");
    check(&table, &at, "dwell_days_p90", "3.0");
    check(&table, &at, "moved_amount", "10.00");
    // P to Lost: D3 from its second visit, D6 from its second.
    let at = ["period=all", "from_stage=P", "to_stage=Lost"];
    check(&table, &at, "deals_n", "2");
    check(&table, &at, "first_moves_n", "0");
}

#[test]
fn those_still_there_have_no_dwell() {
    check(&fixture(), &["period=all", "move=still"], "dwell_n", "0 0 0 0");
    check(&fixture(), &["period=all", "move=still"], "dwell_days_p50", "- - - -");
    check(&fixture(), &["period=all", "move=still"], "deals_n", "1 1 3 3");
}

/// One deal: START → A (code 4) → STILL (code 1), unless told otherwise.
#[track_caller]
fn check_broken(exit: [i64; 3], arrival: [i64; 2], claim: &str) {
    let [stage, next, kind] = exit;
    let exits = state(
        &["period", "stage", "next_stage", "move"],
        &["moves_n", "deals_n", "first_moves_n", "moved_amount", "moved_amount_n"],
        &[&[WHOLE, stage, next, kind, 1, 1, 0, 0, 0]],
    );
    let dwells =
        state(&["period", "stage", "next_stage", "move", "ended_dwell"], &["visits_n"], &[]);
    let arrivals = state(
        &["period", "prev_stage", "stage", "arrival"],
        &["entries_n", "first_entries_n", "entered_amount", "entered_amount_n"],
        &[&[WHOLE, arrival[0], arrival[1], 0, 1, 1, 0, 0]],
    );
    let settings = settings(&["A", "B"], 20);
    match finish_by_hand(&METRIC, &[exits, dwells, arrivals], Period::All, &settings) {
        Err(Error::IdentityBroken { identity, .. }) => assert_eq!(identity, claim),
        other => panic!("{other:?}"),
    }
}

#[test]
fn visits_that_do_not_balance_are_refused() {
    // It arrives in A and leaves B.
    check_broken([5, 1, 10], [0, 4], "entries = exits + still");
    // It leaves A for B and never arrives there.
    check_broken([4, 5, 1], [0, 4], "moves by exit = moves by arrival");
}

#[test]
fn regions_balance_each_for_itself() {
    let relations = eight_deals_by_region();
    let settings = settings(&FIXTURE_STAGES, 20);
    let table = run_slices(&METRIC, &relations, &[&["region"]], &[Period::Month], &settings);
    // West: D2 L→P→Won, D4 L→Q, D6 Q→P→Won→P→Lost, D8 L→Q→P→Won.
    let at = ["period=all", "region=west", "from_stage=P"];
    check(&table, &at, "to_stage", "Won Lost");
    check(&table, &at, "moves_n", "3 1");
    let at = ["period=all", "region=east", "from_stage=P"];
    check(&table, &at, "to_stage", "Q Won Lost");
    check(&table, &at, "moves_n", "1 1 1");
}
