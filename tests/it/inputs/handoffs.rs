//! Deals that go on in another pipeline: what that does to their outcome, and what does not.

use super::*;
use crate::support::Cell;

/// A deal is won in sales and goes on in onboarding.
const CONFIG: &str = r#"
[run]
as_of = "2024-04-01T00:00:00Z"
[pipelines.sales]
stages = ["lead", "offer"]
won = ["won"]
lost = ["lost"]
[pipelines.onboarding]
stages = ["kickoff", "setup"]
won = ["live"]
lost = ["churned"]
[[metrics]]
name = "mine"
question = "?"
relation = "deals"
sql = """SELECT created_on, SUM(is_won) AS won, SUM(is_lost) AS lost, SUM(is_open) AS open_n,
         SUM(reopens_n) AS reopens, SUM(held_amount) AS held FROM deals GROUP BY created_on"""
[inputs.deal_events]
path = "events.csv"
"#;

/// 1 goes on as it should. 2 is lost there. 3 comes back to an open stage of sales. 4 is re-opened by
/// a person. 5 is won there, too, and then moved back there. 6 was lost before. 7 says its pipeline
/// before its stage. 8 is deleted there and restored.
const HISTORIES: &str = "deal_id,event_time,event_type,pipeline_id,stage_id,amount\n\
    1,2024-01-01,stage,sales,lead,100\n1,2024-01-10,stage,sales,won,\n\
    1,2024-02-01,stage,onboarding,kickoff,\n1,2024-02-10,stage,onboarding,setup,\n\
    2,2024-01-02,stage,sales,lead,200\n2,2024-01-11,stage,sales,won,\n\
    2,2024-02-02,stage,onboarding,kickoff,\n2,2024-03-02,stage,onboarding,churned,\n\
    3,2024-01-03,stage,sales,lead,300\n3,2024-01-12,stage,sales,won,\n\
    3,2024-02-03,stage,onboarding,kickoff,\n3,2024-02-20,stage,sales,offer,\n\
    4,2024-01-04,stage,sales,lead,400\n4,2024-01-13,stage,sales,won,\n\
    4,2024-02-04,stage,onboarding,kickoff,\n4,2024-02-25,reopened,,,\n\
    5,2024-01-05,stage,sales,lead,500\n5,2024-01-14,stage,sales,won,\n\
    5,2024-02-05,stage,onboarding,kickoff,\n5,2024-02-20,stage,onboarding,live,\n\
    5,2024-03-05,stage,onboarding,setup,\n\
    6,2024-01-06,stage,sales,lead,600\n6,2024-01-15,stage,sales,lost,\n\
    6,2024-02-06,stage,onboarding,kickoff,\n\
    7,2024-01-07,stage,sales,lead,700\n7,2024-01-16,stage,sales,won,\n\
    7,2024-02-07,attribute,onboarding,,\n7,2024-02-09,stage,,kickoff,\n\
    8,2024-01-08,stage,sales,lead,800\n8,2024-01-17,stage,sales,won,\n\
    8,2024-02-08,stage,onboarding,kickoff,\n8,2024-02-12,deleted,,,\n8,2024-02-20,restored,,,\n";

fn run(histories: &str, more: &str) -> Tables {
    let scratch = Scratch::new();
    scratch.write("events.csv", histories);
    tables_of(&scratch, &format!("{CONFIG}{more}"))
}

/// A column of own numbers, a deal after the other.
#[track_caller]
fn check_deals(tables: &Tables, column: &str, expected: &[i64]) {
    let rows = filter(&tables["mine"], &[("slice", "all"), ("period", "all")]);
    let found: Vec<i64> = rows.iter().map(|row| int(row, column)).collect();
    assert_eq!(found, expected, "{column}");
}

/// A column of a table by clocks, a month after the other.
#[track_caller]
fn check_months(tables: &Tables, column: &str, expected: [i64; 3]) {
    let of = |month| {
        let at = [("slice", "all"), ("period", "month"), ("period_start", month)];
        filter(&tables["revenue_clocks"], &at).first().map_or(0, |row| int(row, column))
    };
    assert_eq!(["2024-01-01", "2024-02-01", "2024-03-01"].map(of), expected, "{column}");
}

const KEEP: &str = "[fold]\ndeleted = \"keep_until_deleted\"\n";

#[test]
fn a_win_stays_a_win_in_the_next_pipeline() {
    let tables = run(HISTORIES, KEEP);
    check_deals(&tables, "won", &[1, 0, 0, 0, 0, 0, 1, 1]);
    check_deals(&tables, "lost", &[0, 1, 0, 0, 0, 0, 0, 0]);
    check_deals(&tables, "open_n", &[0, 0, 1, 1, 1, 1, 0, 0]);
    check_deals(&tables, "reopens", &[0, 0, 1, 1, 1, 1, 0, 0]);
    assert_eq!(outcomes(&tables), [8, 3, 1, 4]);
    // 1, 7 and 8 were won in January, for 100, 700 and 800.
    check_months(&tables, "net_amount", [160_000, 0, 0]);
    check_months(&tables, "won_n", [3, 0, 0]);
}

#[test]
fn the_ledger_reverses_only_what_is_taken_back() {
    let tables = run(HISTORIES, KEEP);
    // All but 6; then 8 is restored.
    check_months(&tables, "ledger_booked_amount", [300_000, 80_000, 0]);
    // 3 and 4, and 8 by its deletion; then 2 and 5.
    check_months(&tables, "ledger_reversed_amount", [0, -150_000, -70_000]);
    check_months(&tables, "ledger_reversed_n", [0, 3, 2]);
    check_deals(&tables, "held", &[10_000, 0, 0, 0, 0, 0, 70_000, 80_000]);
}

#[test]
fn a_deletion_that_is_a_loss_gives_the_win_back_with_the_deal() {
    let tables = run(HISTORIES, "[fold]\ndeleted = \"as_lost\"\n");
    check_deals(&tables, "won", &[1, 0, 0, 0, 0, 0, 1, 1]);
    // It is won again when it is restored, on 20 February.
    check_months(&tables, "net_amount", [80_000, 80_000, 0]);
    check_months(&tables, "ledger_booked_amount", [300_000, 80_000, 0]);
}

#[test]
fn the_next_pipeline_has_its_visits_and_its_funnel() {
    let tables = run(HISTORIES, KEEP);
    let whole = [("slice", "all"), ("period", "all")];
    let at = [&whole[..], &[("pipeline", "onboarding"), ("variant", "reached")]].concat();
    let funnel = filter(&tables["funnel"], &[&at[..], &[("population", "created")]].concat());
    // All but 3, which is back in sales; 1 and 5 came to setup; 5 is live.
    let entered: Vec<i64> = funnel.iter().map(|row| int(row, "entered_n")).collect();
    assert_eq!(entered, [7, 2, 1]);
    let at = [&whole[..], &[("stage", "kickoff")]].concat();
    // Eight came there, and 8 again after its restoration.
    assert_eq!(int(&only(&tables["stage_time"], &at), "visits_n"), 9);
}

/// Moves that begin a deal's first visit, or one in another pipeline.
fn begins(tables: &Tables) -> Vec<(String, i64)> {
    let rows = filter(&tables["stage_transitions"], &[("slice", "all"), ("period", "all")]);
    let text = |row: &Row, name: &str| match &row[name] {
        Cell::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    let from = |row: &Row| {
        let begins = ["START", "HANDOFF", "DELETED"].contains(&text(row, "from_stage").as_str());
        let line = format!("{} {}", text(row, "from_stage"), text(row, "to_stage"));
        begins.then(|| (line, int(row, "moves_n")))
    };
    let mut found: Vec<(String, i64)> = rows.iter().filter_map(from).collect();
    found.sort();
    found
}

#[test]
fn a_deal_begins_once_though_its_pipeline_changes_while_it_is_deleted() {
    let head = "deal_id,event_time,event_type,pipeline_id,stage_id,amount\n";
    let one = |event: &str| {
        let line = "1,2024-01-01,stage,sales,lead,100\n1,2024-01-05,deleted,,,\n";
        run(&format!("{head}{line}{event}1,2024-01-10,stage,,kickoff,\n"), "")
    };
    let expected = |lines: &[&str]| -> Vec<(String, i64)> {
        lines.iter().map(|line| ((*line).to_owned(), 1)).collect()
    };
    // Meanwhile, by the row that restores it, and by one that names its stage, too.
    let meanwhile = one("1,2024-01-06,attribute,onboarding,,\n1,2024-01-08,restored,,,\n");
    assert_eq!(begins(&meanwhile), expected(&["HANDOFF kickoff", "START lead"]));
    let restored = one("1,2024-01-08,restored,onboarding,,\n");
    assert_eq!(begins(&restored), expected(&["HANDOFF kickoff", "START lead"]));
    let named = one("1,2024-01-08,restored,onboarding,kickoff,\n");
    assert_eq!(begins(&named), expected(&["DELETED kickoff", "START lead"]));
}
