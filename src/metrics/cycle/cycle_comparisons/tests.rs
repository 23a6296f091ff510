//! Comparisons worked out by hand, and printed ones.

use super::*;
use crate::metrics::Settings;
use crate::metrics::testing::{
    FIXTURE_STAGES, cells, check, eight_deals_by_region, run_slices, settings,
};
use crate::relations::fixture::Fixture;
use crate::table::Table;

const REST: [&str; 3] = ["slice=region", "comparison=rest", "region=east"];

fn eight() -> Table {
    let settings = Settings { quantile_floor: 3, ..settings(&FIXTURE_STAGES, 20) };
    run_slices(&METRIC, &eight_deals_by_region(), &[&[], &["region"]], &[Period::Month], &settings)
}

#[track_caller]
fn close(table: &Table, at: &[&str], column: &str, expected: f64) {
    let found = cells(table, at, column);
    let [found] = found.as_slice() else { panic!("{found:?}") };
    crate::stats::testdata::close(found.parse().expect(column), expected, 1e-5);
}

#[test]
fn hand_worked_regions_are_compared() {
    // Days to a close, + open. East: 7 9 10 20+ (9 won). West: 0 3 4 20+ (all won).
    // East expects 4/8 + 4/7 + 4/6 + 4/5 + 3/4 + 2/3 = 3.954762 closes and has 3; variance
    // 4·4/64 + 4·3/49 + 4·2/36 + 4·1/25 + 3·1/16 + 2·1/9 = 1.286842.
    let table = eight();
    let at = [&REST[..], &["test_kind=close_log_rank"]].concat();
    check(&table, &at, "subjects_n", "4");
    check(&table, &at, "observed_n", "3");
    check(&table, &at, "other_observed_n", "3");
    close(&table, &at, "expected_n", 3.954_762);
    close(&table, &at, "chi_squared", 0.954_762_f64.powi(2) / 1.286_842);
    check(&table, &at, "close_days_p50", "9.0");
    check(&table, &at, "other_close_days_p50", "3.0");
    check(&table, &at, "close_days_p50_difference", "6.0");
    // To day 20: 7 + 2·3/4 + 1·2/4 + 10·1/4 = 11.5, and 3·3/4 + 1·2/4 + 16·1/4 = 6.75.
    check(&table, &at, "close_days_restricted_mean", "11.5");
    check(&table, &at, "other_close_days_restricted_mean", "6.75");
    check(&table, &at, "restricted_mean_difference", "4.75");
    check(&table, &at, "win_share", "-");
    check(&table, &at, "low_n", "true");
    // One of four is won in the east, three of four in the west; variances of shares, as nobody
    // was censored before: (1·3 + 3·1)/64.
    let at = [&REST[..], &["test_kind=win_gray"]].concat();
    check(&table, &at, "win_share", "0.25");
    check(&table, &at, "other_win_share", "0.75");
    check(&table, &at, "win_share_difference", "-0.5");
    close(&table, &at, "win_share_difference_high", -0.5 + 1.959_964 * (6.0_f64 / 64.0).sqrt());
    check(&table, &at, "hazard_ratio", "-");
}

#[test]
fn every_kind_of_comparison_is_there_once() {
    let table = eight();
    check(&table, &["test_kind=win_gray"], "comparison", "all_values pair rest rest");
    check(&table, &["test_kind=win_gray"], "region", "- east east west");
    check(&table, &["comparison=pair"], "other_value", "west west west");
    // Two values: all of them together are the pair, and either against the rest is, too.
    let chi = cells(&table, &["test_kind=win_gray"], "chi_squared");
    for other in &chi {
        let number = |text: &str| text.parse::<f64>().expect("a statistic");
        crate::stats::testdata::close(number(other), number(&chi[0]), 1e-9);
    }
    check(&table, &["test_kind=win_gray"], "tests_n", "1 1 2 2");
    check(&table, &["slice=all"], "comparison", "");
}

#[test]
fn few_deals_are_not_tested_themselves() {
    let settings = settings(&FIXTURE_STAGES, 20);
    let table = run_slices(&METRIC, &eight_deals_by_region(), &[&["region"]], &[], &settings);
    let at = [&REST[..], &["test_kind=close_log_rank"]].concat();
    check(&table, &at, "chi_squared", "-");
    check(&table, &at, "is_different", "-");
    check(&table, &at, "tests_n", "0");
    check(&table, &at, "observed_n", "3");
}

#[test]
fn lung_by_sex_is_as_printed() {
    let Some(text) = crate::stats::testdata::shared("survival/lung.csv") else { return };
    let mut fixture = Fixture::new(&["L", "Won", "Lost"]).dimensions(&["sex"]);
    for row in crate::stats::testdata::csv(&text) {
        let status = if row[2] == "1" { "won" } else { "open" };
        let sex = if row[4] == "1" { "male" } else { "female" };
        let line = format!("cycle={} cycle_status={status} sex={sex}", row[1]);
        fixture = fixture.line(Relation::Deals, &line);
    }
    let settings = settings(&["L"], 2_000);
    let table = run_slices(&METRIC, &fixture.build(), &[&["sex"]], &[], &settings);
    let at = ["comparison=rest", "sex=female", "test_kind=close_log_rank"];
    close(&table, &at, "chi_squared", 10.3267);
    close(&table, &at, "p_value", 0.001_311_2);
    check(&table, &at, "close_days_p50", "426.0");
    check(&table, &at, "other_close_days_p50", "270.0");
    check(&table, &at, "is_different", "true");
    // Two tests with one p-value: Holm doubles the smaller one, Benjamini and Hochberg neither.
    close(&table, &at, "p_value_holm", 2.0 * 0.001_311_2);
    close(&table, &at, "p_value_bh", 0.001_311_2);
    // Without losses the wins are the closes.
    close(&table, &["comparison=all_values", "test_kind=win_log_rank"], "chi_squared", 10.3267);
}
