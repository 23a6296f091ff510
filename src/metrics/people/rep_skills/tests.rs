//! Skills worked out by hand.

use super::*;
use crate::engine::testing::{end_of, plan, settings, table};
use crate::metrics::testing::{cells, check};
use crate::relations::fixture::Fixture;
use crate::table::Table;

/// So many deals of each line.
fn of(lines: &[(usize, Relation, &str)]) -> Table {
    let mut fixture = Fixture::new(&["L", "Q", "Won", "Lost"])
        .dimensions(&["owner"])
        .relation(Relation::Deals)
        .relation(Relation::Visits);
    for (count, relation, line) in lines {
        for _ in 0..*count {
            fixture = fixture.line(*relation, line);
        }
    }
    let relations = fixture.build();
    let settings = settings(&relations, end_of("2024-06-30"));
    table(&relations, &METRIC, &plan(&[&["owner"]], &[]), &settings)
}

#[track_caller]
fn close(table: &Table, at: &[&str], column: &str, expected: f64) {
    let found = cells(table, at, column);
    let [found] = found.as_slice() else { panic!("{found:?}") };
    crate::stats::testdata::close(found.parse().expect(column), expected, 1e-6);
}

const WIN: &str = "is_won=1 is_first_won=1";
const LOSS: &str = "is_lost=1 is_first_lost=1";

/// Deals of the owners: won and lost of the easy stratum 1, then of the hard stratum 2.
fn by_strata(owners: &[(&str, [usize; 4])]) -> Table {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (owner, counts) in owners {
        let kinds = [(1, WIN), (1, LOSS), (2, WIN), (2, LOSS)];
        for (n, (stratum, outcome)) in counts.iter().zip(kinds) {
            lines.push((*n, format!("owner={owner} stratum={stratum} {outcome}")));
        }
    }
    let lines = lines.iter().map(|(n, line)| (*n, Relation::Deals, line.as_str()));
    of(&lines.collect::<Vec<_>>())
}

#[test]
fn who_has_the_harder_deals_is_not_weaker() {
    // Easy deals are won 3 in 4, hard ones 1 in 4, by both; Ann has the hard ones.
    let table = by_strata(&[("ann", [15, 5, 20, 60]), ("bob", [60, 20, 5, 15])]);
    let ann = ["skill=win_rate", "owner=ann"];
    check(&table, &ann, "skill_value", "0.35");
    check(&table, &ann, "peer_value", "0.65");
    check(&table, &ann, "expected_value", "0.35");
    check(&table, &ann, "ratio", "1.0");
    check(&table, &ann, "p_value", "1.0");
    check(&table, &ann, "verdict", "-");
    check(&table, &ann, "verdict_reason", "not_significant");
    check(&table, &ann, "shrunk_value", "0.35");
}

#[test]
fn who_wins_more_of_alike_deals_is_named() {
    // One stratum, 60 of 80 and 20 of 80: expected 40 each, variance 80·80·80·80/(160²·159).
    let table = by_strata(&[("ann", [60, 20, 0, 0]), ("bob", [20, 60, 0, 0])]);
    let at = |owner| ["skill=win_rate", owner];
    check(&table, &at("owner=ann"), "ratio", "1.5");
    check(&table, &at("owner=ann"), "verdict", "strength");
    check(&table, &at("owner=bob"), "verdict", "weakness");
    check(&table, &["skill=win_rate"], "skill_rank", "1 2");
    let variance: f64 = 1600.0 / 159.0;
    let limits = 1.959_964 * variance.sqrt() / 40.0;
    close(&table, &at("owner=ann"), "ratio_low", 1.5 - limits);
    // χ² = 400/10.0629 = 39.75; the chance is 2.9e-10.
    let p = cells(&table, &at("owner=ann"), "p_value")[0].parse::<f64>().expect("a number");
    assert!((2.5e-10..3.3e-10).contains(&p), "{p}");
    // Nobody pushed, sent back or re-opened a deal: nothing varies.
    check(&table, &["skill=push_rate"], "verdict_reason", "no_peers no_peers");
    check(&table, &["skill=push_rate"], "skill_value", "0.0 0.0");
    check(&table, &at("owner=ann"), "tests_n", "2");
}

#[test]
fn few_deals_and_deals_of_nobody_are_not_judged() {
    let table = of(&[
        (30, Relation::Deals, "owner=ann is_won=1"),
        (30, Relation::Deals, "owner=bob is_lost=1"),
        (9, Relation::Deals, "owner=cid is_won=1"),
        (20, Relation::Deals, "is_won=1"),
    ]);
    let wins = ["skill=win_rate"];
    check(&table, &wins, "owner", "- ann bob cid");
    check(&table, &wins, "verdict_reason", "no_name significant significant low_n");
    check(&table, &wins, "skill_rank", "- 1 2 -");
    check(&table, &wins, "ranked_n", "2 2 2 2");
    check(&table, &wins, "peer_cases_n", "69 59 59 80");
}

#[test]
fn stages_are_judged_one_by_one() {
    let visit = |owner: &str, stage: &str, order: i64, kind: &str| {
        format!("owner={owner} stage={stage} stage_order={order} move={kind} is_first_exit=1")
    };
    let lines = [
        (20, visit("ann", "L", 1, "advanced")),
        (5, visit("ann", "L", 1, "lost")),
        (10, visit("bob", "L", 1, "skipped")),
        (15, visit("bob", "L", 1, "regressed")),
        (4, visit("bob", "L", 1, "handoff")),
        (12, visit("ann", "Q", 2, "won")),
        (12, visit("bob", "Q", 2, "won")),
    ];
    let lines = lines.iter().map(|(n, line)| (*n, Relation::Visits, line.as_str()));
    let table = of(&lines.collect::<Vec<_>>());
    let lead = ["skill=stage_rate", "skill_stage=L"];
    check(&table, &lead, "skill_value", "0.8 0.4");
    check(&table, &lead, "cases_n", "25 25");
    check(&table, &lead, "expected_value", "0.6 0.6");
    check(&table, &lead, "verdict", "strength weakness");
    check(&table, &["skill=stage_rate", "skill_stage=Q"], "verdict", "- -");
}

#[test]
fn sizes_are_compared_by_their_logarithms() {
    // Ann's wins are of 100 and 400 currency units, Bob's of 10 and 40: geometric means 200 and 20.
    let line = |owner: &str, amount: i64| {
        let ln = (1000.0 * (amount as f64).ln()).round();
        format!("owner={owner} is_won=1 amount={amount} has_amount=1 amount_ln_milli={ln}")
    };
    let lines = [
        (10, line("ann", 10_000)),
        (10, line("ann", 40_000)),
        (10, line("bob", 1_000)),
        (10, line("bob", 4_000)),
    ];
    let lines = lines.iter().map(|(n, line)| (*n, Relation::Deals, line.as_str()));
    let table = of(&lines.collect::<Vec<_>>());
    let sizes = ["skill=deal_size", "owner=ann"];
    let near = |column: &str, expected: f64| {
        let found = cells(&table, &sizes, column)[0].parse::<f64>().expect("a number");
        assert!((found / expected - 1.0).abs() < 2e-3, "{column}: {found}");
    };
    near("skill_value", 200.0);
    near("peer_value", 20.0);
    near("ratio", 10.0);
    // The logarithms lie ln 2 from their means; 38 degrees of freedom; error √(2·v/20).
    let variance = 40.0 * std::f64::consts::LN_2.powi(2) / 38.0;
    near("ratio_low", 10.0 * (-1.959_964 * (variance / 10.0).sqrt()).exp());
    check(&table, &sizes, "verdict", "strength");
    check(&table, &sizes, "expected_value", "-");
}
