//! The engine over small relations: slices, periods, merging, custom metrics, refusals.

use super::testing::{end_of, in_batches, plan, settings};
use super::{Backend, Execution, Plan, check_plans, compute, state_sql};
use crate::config::{CustomMetric, TableOptions};
use crate::error::Error;
use crate::metrics::testing::check;
use crate::metrics::{Absent, REGISTRY, State};
use crate::relations::fixture::Fixture;
use crate::relations::{Relation, Relations};
use crate::spill::Spilling;
use crate::table::Table;
use crate::time::Period;

fn deals() -> Relations {
    Fixture::new(&["lead", "won"])
        .dimensions(&["region", "source"])
        .line(Relation::Deals, "closed_period=2024-01-01 is_won=1 amount=100 region=e source=a")
        .line(Relation::Deals, "closed_period=2024-02-01 is_won=1 amount=200 region=e source=b")
        .line(Relation::Deals, "closed_period=2024-04-01 is_won=1 amount=400 region=w source=a")
        .line(Relation::Deals, "closed_period=2024-01-01 is_lost=1 amount=800 source=a")
        .line(Relation::Deals, "is_open=1 amount=1600 region=w")
        .build()
}

fn custom(sql: &str) -> CustomMetric {
    CustomMetric {
        name: "mine".into(),
        relation: "deals".into(),
        sql: sql.into(),
        question: "What is it?".into(),
    }
}

const SLICES: &[&[&str]] = &[&[], &["region"], &["source"], &["region", "source"]];

fn run(sql: &str, plan: &Plan) -> Result<Table, Error> {
    let relations = deals();
    let settings = settings(&relations, end_of("2024-06-30"));
    Ok(compute(&relations, &[], &[custom(sql)], plan, &settings)?.tables.remove(0))
}

/// The table of a query, the same in every execution and backend.
#[track_caller]
fn table(sql: &str) -> Table {
    let base = plan(SLICES, &[Period::Month, Period::Quarter]);
    let whole = run(sql, &base).unwrap();
    for backend in [Backend::Kernel, Backend::Memory, Backend::Streaming] {
        for execution in [Execution::Whole, Execution::Sharded(1), Execution::Sharded(4)] {
            let other = run(sql, &Plan { backend, execution, ..base.clone() }).unwrap();
            assert_eq!(
                whole.whole().unwrap(),
                other.whole().unwrap(),
                "{execution:?}, {backend:?}"
            );
        }
    }
    let relations = deals();
    let settings = settings(&relations, end_of("2024-06-30"));
    for way in [
        (1, Spilling::AsNeeded),
        (2, Spilling::AsNeeded),
        (2, Spilling::Always),
        (5, Spilling::Always),
    ] {
        let other = in_batches(&relations, &[], &[custom(sql)], (&base, &settings), way);
        assert_eq!(whole.whole().unwrap(), other[0].whole().unwrap(), "{way:?}");
    }
    whole
}

const BY_CLOSE: &str = "SELECT closed_period AS period, COUNT(*) AS deals_n, SUM(amount) AS total, \
                        SUM(is_won) AS won_n, MIN(amount) AS least, MAX(closed_period) AS last \
                        FROM deals WHERE closed_period IS NOT NULL GROUP BY period";

#[test]
fn base_periods_roll_up_to_quarters_and_the_whole() {
    let table = table(BY_CLOSE);
    check(&table, &["slice=all", "period=month"], "total", "9.00 2.00 4.00");
    check(&table, &["slice=all", "period=quarter"], "total", "11.00 4.00");
    check(&table, &["slice=all", "period=quarter"], "deals_n", "3 1");
    check(&table, &["slice=all", "period=quarter"], "least", "1.00 4.00");
    check(&table, &["slice=all", "period=all"], "total", "15.00");
    check(&table, &["slice=all", "period=all"], "last", "2024-04-01");
    check(&table, &["slice=all", "period=all"], "period_start", "-");
}

/// The whole plan, but with other slices and periods for the one table.
fn own(slices: Option<&[&[&str]]>, periods: Option<&[Period]>) -> Plan {
    let mut whole = plan(SLICES, &[Period::Quarter]);
    let slices = slices.map(|s| plan(s, &[]).slices);
    let options = TableOptions { slices, periods: periods.map(<[Period]>::to_vec) };
    whole.tables.insert("mine".into(), options);
    whole
}

#[test]
fn table_reports_by_its_own_slices_and_periods_only() {
    let sliced = run(BY_CLOSE, &own(Some(&[&["region"]]), None)).unwrap();
    check(&sliced, &["period=all"], "slice", "region region region");
    check(&sliced, &["period=quarter", "region=e"], "total", "3.00");
    let timed = run(BY_CLOSE, &own(None, Some(&[Period::Month]))).unwrap();
    check(&timed, &["slice=all"], "period", "all month month month");
    check(&timed, &["slice=all", "period=month"], "total", "9.00 2.00 4.00");
}

#[test]
fn other_tables_keep_the_slices_and_periods_of_all() {
    let mut plan = own(Some(&[&["region"]]), Some(&[Period::Month]));
    let options = plan.tables.remove("mine").unwrap();
    plan.tables.insert("theirs".into(), options);
    let table = run(BY_CLOSE, &plan).unwrap();
    check(&table, &["slice=all", "period=quarter"], "total", "11.00 4.00");
    check(&table, &["slice=all", "period=month"], "total", "");
    check(&table, &["slice=source", "period=all"], "won_n", "2 1");
}

#[test]
fn table_that_cannot_have_its_own_slice_is_refused() {
    let refusal = run(BY_CLOSE, &own(Some(&[&[], &["planet"]]), None)).unwrap_err();
    let expected = "tables.mine.slices: the table cannot be split by \"planet\"";
    assert!(refusal.to_string().contains(expected), "{refusal}");
}

#[test]
fn slices_roll_up_from_the_finest_and_null_is_a_group() {
    let table = table(BY_CLOSE);
    check(&table, &["slice=region", "period=all"], "region", "- e w");
    check(&table, &["slice=region", "period=all"], "total", "8.00 3.00 4.00");
    check(&table, &["slice=source", "period=all"], "won_n", "2 1");
    check(&table, &["slice=region+source", "period=all"], "total", "8.00 1.00 2.00 4.00");
}

#[test]
fn query_without_a_period_gives_the_whole_history_only() {
    let table = table("SELECT is_won, COUNT(*) AS n FROM deals GROUP BY is_won");
    check(&table, &["slice=all"], "n", "2 3");
    check(&table, &["slice=all"], "period", "all all");
    check(&table, &["slice=region", "region=w"], "n", "1 1");
}

#[test]
fn query_without_keys_gives_one_row_or_none() {
    check(&table("SELECT COUNT(*) AS n FROM deals"), &["slice=all"], "n", "5");
    let none = table("SELECT COUNT(*) AS n, MAX(amount) AS m FROM deals WHERE amount > 9000");
    assert_eq!(none.rows(), 0);
}

#[test]
fn computed_key_groups_by_its_value() {
    let table = table(
        "SELECT CASE WHEN amount >= 400 THEN 1 ELSE 0 END AS is_large, COUNT(*) AS n, \
         SUM(2 * is_won + is_lost) AS points FROM deals GROUP BY is_large",
    );
    check(&table, &["slice=all"], "is_large", "0 1");
    check(&table, &["slice=all"], "n", "2 3");
    check(&table, &["slice=all"], "points", "4 3");
}

#[test]
fn names_and_dates_can_be_asked_for() {
    let table = table(
        "SELECT cycle_status, COUNT(*) AS n FROM deals WHERE cycle_status = 'open' \
         AND (closed_period >= DATE '2024-02-01' OR closed_period IS NULL) GROUP BY cycle_status",
    );
    check(&table, &["slice=all"], "cycle_status", "open");
    check(&table, &["slice=all"], "n", "3");
}

#[test]
fn sum_of_constants_does_not_wrap_in_32_bits() {
    let table = table(
        "SELECT SUM(CASE WHEN is_won = 1 THEN 2000000000 ELSE 0 END) AS n, \
         SUM(is_won * 2000000000) AS m FROM deals",
    );
    check(&table, &["slice=all"], "n", "6000000000");
    check(&table, &["slice=all"], "m", "6000000000");
}

#[test]
fn sum_that_could_wrap_is_refused() {
    let relations = Fixture::new(&[])
        .line(Relation::Deals, "amount=4611686018427387904")
        .line(Relation::Deals, "amount=4611686018427387904")
        .build();
    let settings = settings(&relations, 0);
    let metric = custom("SELECT SUM(amount) AS total FROM deals");
    let error = compute(&relations, &[], &[metric], &plan(&[&[]], &[]), &settings).unwrap_err();
    assert!(matches!(error, Error::Overflow { .. }), "{error}");
}

#[track_caller]
fn check_refused(sql: &str, reason: &str) {
    let error = run(sql, &plan(SLICES, &[Period::Month])).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    let text = error.to_string();
    assert!(text.contains(reason), "{text}");
    assert!(error.hint().is_some(), "{text}");
}

#[test]
fn queries_that_do_not_add_up_are_refused() {
    let from = "FROM deals";
    check_refused("SELECT", "not valid SQL");
    check_refused("DELETE FROM deals", "not a SELECT");
    check_refused("SELECT COUNT(*) AS n FROM deals; SELECT 1", "more than one statement");
    check_refused("SELECT COUNT(*) AS n FROM deals UNION SELECT 1", "UNION joins");
    check_refused("WITH d AS (SELECT 1) SELECT COUNT(*) AS n FROM d", "WITH is a subquery");
    check_refused(&format!("SELECT DISTINCT is_won {from}"), "DISTINCT");
    check_refused(&format!("SELECT COUNT(DISTINCT owner) AS n {from}"), "COUNT(DISTINCT");
    check_refused(&format!("SELECT AVG(amount) AS n {from}"), "AVG does not add up");
    check_refused(&format!("SELECT MEDIAN(amount) AS n {from}"), "MEDIAN does not add up");
    check_refused(&format!("SELECT COUNT(owner) AS n {from}"), "COUNT(owner) is not COUNT(*)");
    check_refused(&format!("SELECT SUM(amount) {from}"), "has no name");
    check_refused(
        &format!("SELECT SUM(amount) FILTER (WHERE is_won = 1) AS n {from}"),
        "FILTER is not reliable",
    );
    check_refused(&format!("SELECT SUM(amount) OVER () AS n {from}"), "is a window");
    check_refused(&format!("SELECT COUNT(*) AS n {from} ORDER BY n"), "ORDER BY");
    check_refused(&format!("SELECT COUNT(*) AS n {from} LIMIT 1"), "LIMIT");
    check_refused(&format!("SELECT is_won, COUNT(*) AS n {from}"), "is not in GROUP BY");
    check_refused(&format!("SELECT COUNT(*) AS n {from} GROUP BY is_won"), "is not selected");
    check_refused(
        &format!("SELECT is_won, COUNT(*) AS n {from} GROUP BY is_won HAVING COUNT(*) > 1"),
        "HAVING",
    );
    check_refused("SELECT COUNT(*) AS n FROM visits", "instead of deals");
    check_refused("SELECT COUNT(*) AS n FROM deals JOIN visits ON 1 = 1", "a join");
    check_refused("SELECT COUNT(*) AS n FROM (SELECT 1)", "a subquery");
    check_refused(&format!("SELECT COUNT(*) AS n {from} WHERE amount > (SELECT 1)"), "a subquery");
    check_refused(&format!("SELECT SUM(amuont) AS n {from}"), "no column \"amuont\"");
    check_refused(&format!("SELECT SUM(amount / 2) AS n {from}"), "divides");
    check_refused(&format!("SELECT SUM(SUM(amount)) AS n {from}"), "inside another");
    check_refused(&format!("SELECT SUM(is_won = 1) AS n {from}"), "is not a number");
    check_refused(&format!("SELECT SUM(owner) AS n {from}"), "is not a number");
    check_refused(
        &format!("SELECT SUM(CASE WHEN is_won = 1 THEN 0.5 ELSE 0 END) AS n {from}"),
        "0.5 is not a whole number",
    );
    check_refused(&format!("SELECT SUM(LENGTH(owner)) AS n {from}"), "LENGTH is not allowed");
    check_refused(&format!("SELECT is_won {from} GROUP BY is_won"), "adds nothing up");
    check_refused(
        &format!("SELECT is_lost AS is_won, COUNT(*) AS n {from} GROUP BY is_lost"),
        "also a column",
    );
    check_refused(&format!("SELECT COUNT(*) AS n, SUM(amount) AS n {from}"), "there twice");
    check_refused(
        &format!("SELECT region, COUNT(*) AS n {from} GROUP BY region"),
        "two columns \"region\"",
    );
    check_refused(&format!("SELECT COUNT(*) AS slice {from}"), "two columns \"slice\"");
}

#[test]
fn missing_relation_skips_its_table_with_the_reason() {
    let relations = deals();
    let mut mine = custom("SELECT SUM(amount) AS total FROM spend");
    mine.relation = "spend".into();
    let settings = settings(&relations, 0);
    let outcome = compute(&relations, &[], &[mine], &plan(&[&[]], &[]), &settings).unwrap();
    assert!(outcome.tables.is_empty());
    assert_eq!(
        outcome.skipped,
        [("mine".to_owned(), Relation::Spend.missing_because().to_owned())]
    );
}

#[test]
fn slice_is_written_into_the_sql() {
    let state = State {
        relation: Relation::Deals,
        sql: "SELECT closed_period AS period, SUM(is_won) AS won_n, SUM(amount) AS total \
              FROM deals WHERE is_won = 1 GROUP BY period",
        absent: Absent::SkipTable,
    };
    let sql = state_sql(&state, &["region".into(), "order".into()]).unwrap();
    let expected = "SELECT\n  region,\n  \"order\",\n  closed_period AS period,\n  \
                    SUM(CAST(is_won AS BIGINT)) AS won_n,\n  SUM(amount) AS total\n\
                    FROM deals\nWHERE is_won = 1\nGROUP BY region, \"order\", closed_period";
    assert_eq!(sql, expected);
}

#[test]
fn every_state_plans_as_declared_over_empty_relations() {
    let dimensions = ["region".to_owned(), "source".to_owned()];
    let relations = Relations::empty(&dimensions).unwrap();
    check_plans(&relations, REGISTRY, &[], &plan(SLICES, &[Period::Month])).unwrap();
}

#[test]
fn empty_relations_give_empty_tables() {
    let dimensions = ["region".to_owned(), "source".to_owned()];
    let relations = Relations::empty(&dimensions).unwrap();
    let settings = settings(&relations, end_of("2024-06-30"));
    for backend in [Backend::Kernel, Backend::Memory, Backend::Streaming] {
        let plan = Plan { backend, ..plan(SLICES, &[Period::Month]) };
        let outcome = compute(&relations, REGISTRY, &[], &plan, &settings).unwrap();
        assert_eq!(outcome.tables.len(), REGISTRY.len());
        for table in outcome.tables {
            assert_eq!(table.rows(), 0, "{}", table.name);
        }
    }
}
