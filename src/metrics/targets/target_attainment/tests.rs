//! Tests of `target_attainment` over hand-made relations.

use super::*;
use crate::engine::testing::{end_of, plan, settings};
use crate::metrics::testing::check;
use crate::relations::Relations;
use crate::relations::fixture::Fixture;
use crate::table::Table;

/// January 2024 is over, February is half over (11 of 21 working days), ann has both, bob January;
/// the north has a row of its own for January.
pub(crate) fn relations() -> Relations {
    let months = |line: &str, from: &str, to: &str, days: (i64, i64)| {
        format!(
            "{line} starts_on={from} ends_on={to} has_amount=1 workdays_n={} elapsed_workdays_n={}",
            days.0, days.1
        )
    };
    let january = |line: &str| months(line, "2024-01-01", "2024-02-01", (23, 23));
    let february = |line: &str| months(line, "2024-02-01", "2024-03-01", (21, 11));
    let net = "target_metric=net_won_amount";
    let targets = [
        january(&format!(
            "{net} target_scope=owner target_owner=ann member_team=north target_amount=10000"
        )),
        january(&format!(
            "{net} target_scope=owner target_owner=bob member_team=north target_amount=2000"
        )),
        january(&format!("{net} target_scope=team target_team=north target_amount=17000")),
        february(&format!(
            "{net} target_scope=owner target_owner=ann member_team=south target_amount=10000"
        )),
        february("target_metric=demos target_scope=everybody target_amount=300"),
        february(&format!("{net} target_scope=team target_team=north target_amount=0")),
        months(
            &format!("{net} target_scope=owner target_owner=bob target_amount=5000"),
            "2024-04-01",
            "2024-05-01",
            (22, 0),
        ),
    ];
    let credits = [
        // December, half of it by the half of the month.
        "credited_on=2023-12-01 credited_owner=ann credited_team=north amount=4000",
        "credited_on=2023-12-31 credited_owner=ann credited_team=north amount=4000",
        "credited_on=2024-01-02 credited_owner=ann credited_team=north amount=6000",
        "credited_on=2024-01-31 credited_owner=ann credited_team=south amount=2000",
        "credited_on=2024-01-10 credited_owner=bob credited_team=north amount=3000",
        "credited_on=2024-01-11 credited_owner=bob credited_team=north amount=-500",
        "credited_on=2024-01-12 amount=700",
        "credited_on=2024-02-15 credited_owner=ann credited_team=south amount=5000",
    ];
    let open = "is_open=1 owner=ann team_of_owner=south has_amount=1";
    let deals = [
        format!(
            "{open} expected_close_on=2024-02-20 amount=8000 has_probability=1 probability_ppm=250000"
        ),
        format!("{open} expected_close_on=2024-02-29 amount=2000"),
        format!("{open} expected_close_on=2024-03-01 amount=99900"),
        "is_won=1 owner=ann expected_close_on=2024-02-20 amount=77700".to_owned(),
    ];
    let fixture = Fixture::new(&[]);
    let add = |fixture: Fixture, relation, lines: &[String]| {
        lines.iter().fold(fixture, |fixture, line| fixture.line(relation, line))
    };
    let fixture = add(fixture, Relation::Targets, &targets);
    let fixture = add(fixture, Relation::Credits, &credits.map(str::to_owned));
    add(fixture, Relation::Deals, &deals).build()
}

/// A table of these relations at the end of a day.
pub(crate) fn table_of(metric: &'static Metric, relations: &Relations, day: &str) -> Table {
    let settings = settings(relations, end_of(day));
    crate::engine::testing::table(relations, metric, &plan(&[&[]], &[Period::Month]), &settings)
}

#[test]
fn attainment_gap_and_pace_are_those_of_ones_own_deals() {
    let table = table_of(&METRIC, &relations(), "2024-02-15");
    let january = &["target_scope=owner", "starts_on=2024-01-01"];
    check(&table, january, "target_owner", "ann bob");
    check(&table, january, "attained_amount", "80.00 25.00");
    check(&table, january, "attainment", "0.8 1.25");
    check(&table, january, "gap_amount", "20.00 -5.00");
    check(&table, january, "status", "missed reached");
    check(&table, january, "is_over", "true true");
    // 50 of 100 where 11 of 21 days are over: 0.5 / (11 / 21) = 0.9545…; 50 in 10 days are left.
    let february = &["target_owner=ann", "starts_on=2024-02-01"];
    check(&table, february, "pace_workdays", &(0.5 / (11.0 / 21.0)).to_string());
    check(&table, february, "status", "behind");
    check(&table, february, "gap_per_workday_amount", "5.00");
    // April is to come; a target of zero and one of something else have no attainment.
    check(&table, &["starts_on=2024-04-01"], "status", "to_come to_come");
    check(&table, &["target_team=north", "starts_on=2024-02-01"], "status", "unknown");
    check(&table, &["target_team=north", "starts_on=2024-02-01"], "is_nonpositive_target", "true");
    check(&table, &["target_metric=demos"], "attained_amount", "-");
    check(&table, &["target_metric=demos"], "is_counted_metric", "false");
}

#[test]
fn a_team_has_its_own_row_or_the_sum_of_its_members() {
    let table = table_of(&METRIC, &relations(), "2024-02-15");
    let of = |scope, start| ["target_metric=net_won_amount", scope, start];
    let north = &of("target_team=north", "starts_on=2024-01-01");
    check(&table, north, "target_source", "row");
    check(&table, north, "target_amount", "170.00");
    check(&table, north, "members_target_amount", "120.00");
    // Ann's second deal of January was closed as one of the south.
    check(&table, north, "attained_amount", "85.00");
    check(&table, north, "attainment", "0.5");
    let south = &of("target_team=south", "starts_on=2024-02-01");
    check(&table, south, "target_source", "members");
    check(&table, south, "target_amount", "100.00");
    let all = &of("target_scope=everybody", "starts_on=2024-01-01");
    check(&table, all, "target_source", "members");
    check(&table, all, "target_amount", "120.00");
    check(&table, all, "attained_amount", "112.00");
}

#[test]
fn coverage_is_of_deals_expected_to_close_in_the_span() {
    let table = table_of(&METRIC, &relations(), "2024-02-15");
    let february = &["target_owner=ann", "starts_on=2024-02-01"];
    check(&table, february, "open_n", "2");
    check(&table, february, "open_amount", "100.00");
    check(&table, february, "open_chance_n", "1");
    check(&table, february, "open_expected_amount", "20.00");
    // The gap is 50.00.
    check(&table, february, "coverage", "2.0");
    check(&table, february, "coverage_expected", "0.4");
    check(&table, &["target_owner=bob", "starts_on=2024-01-01"], "coverage", "-");
}

#[test]
fn the_curve_is_that_of_earlier_months() {
    let table = table_of(&METRIC, &relations(), "2024-02-15");
    let february = &["target_owner=ann", "starts_on=2024-02-01"];
    // 15 of 29 days: 16 of 31 days of January (31 × 15/29 = 16.03) brought 92 of 112, of December
    // 40 of 80.
    check(&table, february, "curve_spans_n", "2");
    check(&table, february, "expected_share_curve", &(132.0 / 192.0).to_string());
    check(&table, february, "pace_curve", &(0.5 / (132.0 / 192.0)).to_string());
    check(&table, february, "curve_low_n", "true");
    check(&table, &["starts_on=2024-04-01"], "expected_share_curve", "- -");
}

#[test]
fn halves_go_to_the_even_neighbour() {
    let pairs = [(5, 2), (15, 10), (25, 10), (-5, 2), (-15, 10), (7, 3), (-7, 3)];
    assert_eq!(pairs.map(|(value, by)| half_even(value, by)), [2, 2, 2, -2, -2, 2, -2]);
}
