//! The fixture's counts by every variant, and states that contradict one another.

use super::*;
use crate::metrics::testing::{
    FIXTURE_STAGES, check, eight_deals, eight_deals_by_region, finish as finish_by_hand, run,
    run_slices, settings, state,
};
use crate::table::Table;
use crate::time::Period;

fn fixture() -> Table {
    let settings = settings(&FIXTURE_STAGES, 20);
    run(&METRIC, &eight_deals(), &[Period::Month], &settings)
}

#[track_caller]
fn check_variant(population: &str, variant: &str, expected: &str) {
    let (population, variant) = (format!("population={population}"), format!("variant={variant}"));
    for period in ["period=all", "period=month"] {
        check(&fixture(), &[&population, &variant, period], "entered_n", expected);
    }
}

#[test]
fn fixture_counts_of_every_variant_are_reproduced() {
    check_variant("created", "touched", "7 5 5 4");
    check_variant("created", "fall_through", "7 4 3 2");
    check_variant("created", "ordered", "7 4 3 2");
    check_variant("created", "strict", "7 4 3 2");
    check_variant("created", "reached", "8 6 5 4");
    // D6 is lost from P, D3 too; won now are D1, D2 and D8.
    check_variant("created", "furthest_final", "8 6 5 3");
}

#[test]
fn deal_that_began_in_the_middle_is_not_in_the_entered_population() {
    // Without D6: it never came to L.
    check_variant("entered", "touched", "7 4 4 3");
    check_variant("entered", "reached", "7 5 4 3");
    check_variant("entered", "fall_through", "7 4 3 2");
}

#[test]
fn rates_are_over_the_stage_before_and_the_first() {
    let table = fixture();
    let at = ["period=all", "population=created", "variant=reached"];
    check(&table, &at, "stage", "L Q P won");
    check(&table, &at, "population_n", "8 8 8 8");
    check(&table, &at, "previous_n", "- 8 6 5");
    check(&table, &at, "step_rate", "- 0.75 0.8333333333333334 0.8");
    check(&table, &at, "overall_rate", "1.0 0.75 0.625 0.5");
    check(&table, &at, "entered_here_first_n", "7 1 0 0");
    check(&table, &at, "low_n", "true true true true");
}

const KEYS: &[&str] = &[
    "period",
    "pipeline",
    "reached_level",
    "furthest_final_level",
    "first_level",
    "fall_through_level",
    "ordered_level",
    "strict_level",
    "touched_stages",
];

#[test]
fn rate_on_nobody_is_null() {
    // One deal began in the second of two stages and is there.
    let created = state(KEYS, &["deals_n"], &[&[0, 0, 2, 2, 2, 0, 0, 0, 0b10, 1]]);
    let entered = state(KEYS, &["deals_n"], &[]);
    let settings = settings(&["A", "B"], 20);
    let table =
        finish_by_hand(&METRIC, &[created, entered], Period::Month, &settings).expect("a table");
    check(&table, &["variant=touched"], "entered_n", "0 1 0");
    check(&table, &["variant=touched"], "step_rate", "- - 0.0");
    check(&table, &["variant=touched"], "overall_rate", "- - -");
    check(&table, &["variant=reached"], "entered_n", "1 1 0");
}

#[test]
fn visits_that_contradict_the_levels_break_the_identity() {
    // The level says that a deal passed through stage 1, and its visits do not.
    let created = state(KEYS, &["deals_n"], &[&[0, 0, 1, 1, 1, 1, 1, 1, 0b0, 1]]);
    let entered = state(KEYS, &["deals_n"], &[]);
    let found = finish_by_hand(&METRIC, &[created, entered], Period::All, &settings(&["A"], 20));
    assert!(matches!(found, Err(Error::IdentityBroken { .. })), "{found:?}");
}

#[test]
fn no_deals_make_no_rows() {
    let empty = crate::metrics::testing::empty(&[Relation::Deals, Relation::Visits]);
    let table = run(&METRIC, &empty, &[Period::Month], &settings(&FIXTURE_STAGES, 20));
    assert_eq!(table.rows(), 0);
}

#[test]
fn regions_are_funnels_of_their_own_beside_the_total() {
    let relations = eight_deals_by_region();
    let settings = settings(&FIXTURE_STAGES, 20);
    let table = run_slices(&METRIC, &relations, &[&[], &["region"]], &[Period::Month], &settings);
    let reached = ["population=created", "variant=reached", "period=month"];
    let at = |slice, region| [reached[0], reached[1], reached[2], slice, region];
    check(&table, &at("slice=all", "region=-"), "entered_n", "8 6 5 4");
    // East: D1 D3 D5 D7; west: D2 D4 D6 D8.
    check(&table, &at("slice=region", "region=east"), "entered_n", "4 2 2 1");
    check(&table, &at("slice=region", "region=west"), "entered_n", "4 4 3 3");
}
