//! The hand-worked eight deals, through the whole pipeline: stages L, Q, P, won W, lost X, days as
//! dates from 1 January (day 0), as_of day 20. Every printed line is a test; the histories are
//!
//! D1 L0 Q2 P5 W9 · D2 L0 P3 W4 · D3 L0 Q1 P4 Q6 P8 X10 · D4 L0 Q3 · D5 L0 X7 ·
//! D6 Q0 P1 W3 P5 X12 · D7 L0 · D8 L2 Q2 P2 W2 (all at one instant).

use std::sync::LazyLock;

use super::answers::{Tables, ints, same, tables, text};
use crate::support::{Row, Scratch, filter, float, int, only};

const HISTORIES: [&str; 8] = [
    "L0 Q2 P5 W9",
    "L0 P3 W4",
    "L0 Q1 P4 Q6 P8 X10",
    "L0 Q3",
    "L0 X7",
    "Q0 P1 W3 P5 X12",
    "L0",
    "L2 Q2 P2 W2",
];

static FIRST_CLOSE: LazyLock<Tables> = LazyLock::new(|| run("first_close"));
static FINAL: LazyLock<Tables> = LazyLock::new(|| run("final"));

fn run(cycle_end: &str) -> Tables {
    let mut events = String::from("deal_id,event_time,stage_id\n");
    for (deal, history) in HISTORIES.iter().enumerate() {
        for word in history.split_whitespace() {
            let (stage, day) = word.split_at(1);
            let day: u32 = day.parse().unwrap();
            events += &format!("D{},2024-01-{:02},{stage}\n", deal + 1, day + 1);
        }
    }
    let scratch = Scratch::new();
    scratch.write("events.csv", &events);
    let toml = format!(
        r#"
        [run]
        as_of = "2024-01-21"
        periods = []
        horizons_days = [9, 20, 21]
        resolution = "day"
        [pipeline]
        stages = ["L", "Q", "P"]
        won = ["W"]
        lost = ["X"]
        [fold]
        cycle_end = "{cycle_end}"
        [inputs.deal_events]
        path = "events.csv"
        [[metrics]]
        name = "levels"
        relation = "deals"
        sql = """
        SELECT ordered_level, COUNT(*) AS deals_n, SUM(reopens_n) AS reopens_n
        FROM deals GROUP BY ordered_level
        """
        "#
    );
    tables(&scratch, &toml)
}

/// Deals that count at L, Q, P and won.
#[track_caller]
fn check_funnel(variant: &str, expected: [i64; 4]) {
    let wanted = [("variant", variant), ("population", "created")];
    let rows = filter(&FIRST_CLOSE["funnel"], &wanted);
    let got: Vec<(&str, i64)> =
        rows.iter().map(|row| (text(row, "stage"), int(row, "entered_n"))).collect();
    let names = ["L", "Q", "P", "won"];
    assert_eq!(got, names.into_iter().zip(expected).collect::<Vec<_>>(), "{variant}");
}

/// Moves out of a stage, the entries they add up to, and nothing besides.
#[track_caller]
fn check_moves(from: &str, entries: i64, expected: &[(&str, &str, i64)]) {
    let rows = filter(&FIRST_CLOSE["stage_transitions"], &[("from_stage", from)]);
    let mut got: Vec<(&str, &str, i64)> =
        rows.iter().map(|r| (text(r, "to_stage"), text(r, "move"), int(r, "moves_n"))).collect();
    let mut expected = expected.to_vec();
    got.sort_unstable();
    expected.sort_unstable();
    assert_eq!(got, expected, "from {from}");
    assert_eq!(expected.iter().map(|(_, _, n)| n).sum::<i64>(), entries);
    for row in &rows {
        ints(row, &[("entries_n", entries)]);
    }
}

fn stage(name: &str) -> Row {
    only(&FIRST_CLOSE["stage_time"], &[("stage", name)])
}

#[test]
fn touched_7_5_5_4_and_3_lost() {
    check_funnel("touched", [7, 5, 5, 4]);
    let transitions = &FIRST_CLOSE["stage_transitions"];
    let lost = filter(transitions, &[("move", "lost")]);
    assert_eq!(lost.iter().map(|row| int(row, "deals_n")).sum::<i64>(), 3);
}

#[test]
fn fall_through_7_4_3_2() {
    check_funnel("fall_through", [7, 4, 3, 2]);
}

#[test]
fn ordered_7_4_3_2() {
    check_funnel("ordered", [7, 4, 3, 2]);
    // Levels of the deals: D1 4, D2 1, D3 3, D4 2, D5 1, D6 0, D7 1, D8 4.
    let levels = &FIRST_CLOSE["levels"];
    let got: Vec<(i64, i64)> =
        levels.iter().map(|row| (int(row, "ordered_level"), int(row, "deals_n"))).collect();
    assert_eq!(got, [(0, 1), (1, 3), (2, 1), (3, 1), (4, 2)]);
}

/// Printed are L, Q and P; of the three won at some time D6 came by Q, so four are won.
#[test]
fn reached_8_6_5() {
    check_funnel("reached", [8, 6, 5, 4]);
}

#[test]
fn moves_add_up_to_entries() {
    let from_l =
        [("Q", "advanced", 4), ("P", "skipped", 1), ("X", "lost", 1), ("STILL", "still", 1)];
    check_moves("L", 7, &from_l);
    check_moves("Q", 6, &[("P", "advanced", 5), ("STILL", "still", 1)]);
    check_moves("P", 7, &[("W", "won", 4), ("X", "lost", 2), ("Q", "regressed", 1)]);
    check_moves("W", 4, &[("P", "reopened", 1), ("STILL", "still", 3)]);
    check_moves("X", 3, &[("STILL", "still", 3)]);
    check_moves("START", 8, &[("L", "created", 7), ("Q", "created", 1)]);
}

#[test]
fn win_rates_are_3_of_6_4_of_6_and_3_of_8() {
    let conversion = &FIRST_CLOSE["conversion"];
    let last = only(conversion, &[("basis", "closed")]);
    ints(&last, &[("won_n", 3), ("lost_n", 3)]);
    same(&last, "win_rate_closed", Some(0.5), 0.0);
    same(&last, "win_rate_closed_low", Some(0.187_616), 5e-7);
    same(&last, "win_rate_closed_high", Some(0.812_384), 5e-7);
    let first = only(conversion, &[("basis", "first_closed")]);
    ints(&first, &[("won_n", 4), ("lost_n", 2)]);
    same(&first, "win_rate_closed", Some(4.0 / 6.0), 1e-12);
    let created = only(conversion, &[("basis", "created")]);
    ints(&created, &[("deals_n", 8), ("won_n", 3), ("open_n", 2)]);
    same(&created, "win_rate_created", Some(3.0 / 8.0), 0.0);
}

#[test]
fn won_cycles_depend_on_the_close_that_counts() {
    let row = only(&FINAL["cycle_length"], &[]);
    same(&row, "won_days_mean", Some(13.0 / 3.0), 1e-12);
    same(&row, "won_days_p50", Some(4.0), 0.0);
    let row = only(&FIRST_CLOSE["cycle_length"], &[]);
    same(&row, "won_days_mean", Some(4.0), 0.0);
}

/// Cumulative incidence of wins and losses, and what is open, at a day.
#[track_caller]
fn check_incidence(tables: &Tables, day: f64, won: f64, lost: f64, open: f64) -> Row {
    let points = filter(&tables["outcome_curve"], &[]);
    let until = |row: &&Row| float(row, "duration_days").unwrap() <= day;
    let last = points.iter().take_while(until).last().expect("a point").clone();
    same(&last, "win_share", Some(won), 1e-12);
    same(&last, "loss_share", Some(lost), 1e-12);
    same(&last, "open_share", Some(open), 1e-12);
    last
}

#[test]
fn competing_risks_of_the_first_close() {
    let nine = check_incidence(&FIRST_CLOSE, 9.0, 0.5, 0.125, 0.375);
    // Losses censored instead overstate the wins.
    same(&nine, "win_share_naive", Some(0.53125), 1e-12);
    check_incidence(&FIRST_CLOSE, 10.0, 0.5, 0.25, 0.25);
    let outcomes = only(&FIRST_CLOSE["cycle_outcomes"], &[]);
    ints(&outcomes, &[("won_n", 4), ("lost_n", 2), ("censored_n", 2)]);
    same(&outcomes, "win_share_eventual", Some(0.5), 1e-12);
    same(&outcomes, "win_days_p50", Some(9.0), 0.0);
    same(&outcomes, "winner_days_p50", Some(3.0), 0.0);
    let at = |days| only(&FIRST_CLOSE["win_horizons"], &[("horizon_days", days)]);
    same(&at("9"), "win_rate", Some(0.5), 1e-12);
    ints(&at("9"), &[("won_n", 4), ("lost_n", 1), ("censored_n", 0)]);
    // Both deals still open have been followed for 20 days, and nobody for longer.
    same(&at("20"), "open_rate", Some(0.25), 1e-12);
    same(&at("21"), "win_rate", None, 0.0);
    ints(&at("21"), &[("censored_n", 2)]);
}

#[test]
fn competing_risks_of_the_final_close() {
    check_incidence(&FINAL, 12.0, 0.375, 0.375, 0.25);
}

/// Completed mean and median, exposure mean, Kaplan–Meier median and its midpoint rule.
#[track_caller]
fn check_dwell(name: &str, completed: f64, median: f64, exposure: f64, km: f64, midpoint: f64) {
    let row = stage(name);
    same(&row, "dwell_days_mean_completed", Some(completed), 1e-12);
    same(&row, "dwell_days_p50", Some(median), 0.0);
    same(&row, "dwell_days_mean_exposure", Some(exposure), 1e-12);
    same(&row, "dwell_days_km_p50", Some(km), 0.0);
    same(&row, "dwell_days_km_p50_midpoint", Some(midpoint), 0.0);
}

#[test]
fn dwell_is_as_printed() {
    check_dwell("L", 16.0 / 6.0, 2.5, 36.0 / 6.0, 3.0, 3.0);
    check_dwell("Q", 9.0 / 5.0, 2.0, 26.0 / 5.0, 2.0, 2.5);
    check_dwell("P", 18.0 / 7.0, 2.0, 18.0 / 7.0, 2.0, 2.0);
}

#[test]
fn rework_and_reopens_are_as_printed() {
    ints(&stage("L"), &[("rework_deals_n", 0)]);
    ints(&stage("Q"), &[("rework_deals_n", 1)]);
    ints(&stage("P"), &[("rework_deals_n", 2)]);
    let levels = &FIRST_CLOSE["levels"];
    assert_eq!(levels.iter().map(|row| int(row, "reopens_n")).sum::<i64>(), 1);
}

#[test]
fn the_instant_deal_is_the_one_tie() {
    let quality = &FIRST_CLOSE["data_quality"];
    let ties = only(quality, &[("rule", "tied_events")]);
    ints(&ties, &[("affected_n", 4), ("rows_in_n", 27), ("folded_n", 27)]);
}
