//! The ledger by hand: each entry by what was known on its own day.

use super::*;

const RUN: &str = r#"
[run]
as_of = "2024-04-01T00:00:00Z"
periods = ["month"]
[pipeline]
stages = ["lead"]
won = ["won"]
lost = ["lost"]
"#;

const EVENTS: &str = "[inputs.deal_events]\npath = \"events.csv\"\ntimezone = \"UTC\"\n";

const HEAD: &str = "deal_id,event_time,event_type,stage_id,amount,currency,owner_id\n";

/// A column of the ledger, a month after the other from January to March.
#[track_caller]
fn check(tables: &Tables, at: &[(&str, &str)], column: &str, expected: [i64; 3]) {
    let of = |month| {
        let at = [at, &[("period", "month"), ("period_start", month)]].concat();
        filter(&tables["revenue_clocks"], &at).first().map_or(0, |row| int(row, column))
    };
    let found = ["2024-01-01", "2024-02-01", "2024-03-01"].map(of);
    assert_eq!(found, expected, "{column} of {at:?}");
}

const ALL: &[(&str, &str)] = &[("slice", "all")];

/// Euros are 1.10 in January, 1.20 in February, 1.30 in March.
const RATES: &str = "date,currency,rate_to_base\n\
    2024-01-01,EUR,1.1\n2024-02-01,EUR,1.2\n2024-03-01,EUR,1.3\n2024-01-01,CHF,2\n";

/// 1 is raised to 150 in February and re-opened in March; 2 stays won for 200; 3 turns out to be in
/// francs; 4 has no currency at all.
const FOREIGN: &str = "1,2024-01-05,stage,lead,100,EUR,\n1,2024-01-10,stage,won,,,\n\
    1,2024-02-10,amount,,150,,\n1,2024-03-10,reopened,,,,\n\
    2,2024-01-05,stage,lead,200,EUR,\n2,2024-01-15,stage,won,,,\n2,2024-02-15,owner,,,,bob\n\
    3,2024-01-20,stage,won,300,EUR,\n3,2024-02-20,attribute,,,CHF,\n\
    4,2024-02-01,stage,won,50,,\n";

#[track_caller]
fn priced(policy: &str) -> Tables {
    let scratch = Scratch::new();
    scratch.write("events.csv", &format!("{HEAD}{FOREIGN}"));
    scratch.write("rates.csv", RATES);
    let money = format!("[money]\npolicy = \"{policy}\"\n");
    let rates = "[inputs.fx_rates]\npath = \"rates.csv\"\n";
    tables_of(&scratch, &format!("{RUN}{money}{EVENTS}{rates}"))
}

#[test]
fn entries_are_worth_what_they_are_on_their_own_day() {
    // 100, 200 and 300 euros at 1.10 are 660. In February 50 euros more at 1.20 are 60, and 300
    // francs at 2 instead of 330 are 270 more; 50 without a currency are 50. In March 110 + 60 go.
    for policy in ["at_close", "at_as_of"] {
        let tables = priced(policy);
        check(&tables, ALL, "ledger_booked_amount", [66_000, 5_000, 0]);
        check(&tables, ALL, "ledger_adjusted_amount", [0, 33_000, 0]);
        check(&tables, ALL, "ledger_reversed_amount", [0, 0, -17_000]);
        // 220, 600 and 50.
        assert_eq!(total(&tables, "revenue_clocks", "held_amount"), 87_000, "{policy}");
    }
    // At the close 200 euros are 220; at as_of 260; 300 francs are 600 in any case.
    assert_eq!(total(&priced("at_close"), "revenue_clocks", "net_amount"), 87_000);
    assert_eq!(total(&priced("at_as_of"), "revenue_clocks", "net_amount"), 91_000);
}

#[test]
fn a_policy_that_looks_at_the_event_prices_each_amount_by_its_own_day() {
    let tables = priced("at_event");
    check(&tables, ALL, "ledger_booked_amount", [66_000, 5_000, 0]);
    // 150 euros at 1.20 are 180, 70 more than before; francs as above.
    check(&tables, ALL, "ledger_adjusted_amount", [0, 34_000, 0]);
    check(&tables, ALL, "ledger_reversed_amount", [0, 0, -18_000]);
    let clocks = |column| total(&tables, "revenue_clocks", column);
    assert_eq!((clocks("held_amount"), clocks("net_amount")), (87_000, 87_000));
}

#[test]
fn deals_that_leave_every_table_were_booked_until_then() {
    let scratch = Scratch::new();
    // 1 goes on and is won in March; 2 is merged into it, 3 into 2 before; 4 is deleted, 5 too, by
    // an event of type merged; 6 came into no other deal, for its merge has no time.
    let events = "1,2024-01-02,stage,lead,90,,\n1,2024-03-05,stage,won,100,,\n\
        2,2024-01-20,stage,won,70,,\n3,2024-01-21,stage,won,30,,\n\
        4,2024-01-25,stage,won,40,,\n4,2024-02-20,deleted,,,,\n\
        5,2024-01-26,stage,won,5,,\n5,2024-03-20,merged,,,,\n\
        6,2024-01-27,stage,won,600,,\n";
    scratch.write("events.csv", &format!("{HEAD}{events}"));
    scratch.write("merges.csv", "loser_id,winner_id,at\n2,1,2024-02-10\n3,2,2024-02-05\n6,1,\n");
    let merges = "[inputs.merges]\npath = \"merges.csv\"\n";
    for merged in ["drop", "union"] {
        let fold = format!("[fold]\nmerged = \"{merged}\"\n");
        let tables = tables_of(&scratch, &format!("{RUN}{fold}{EVENTS}{merges}"));
        assert_eq!(outcomes(&tables), [1, 1, 0, 0], "{merged}");
        check(&tables, ALL, "ledger_booked_n", [4, 0, 1]);
        check(&tables, ALL, "ledger_booked_amount", [14_500, 0, 10_000]);
        check(&tables, ALL, "ledger_reversed_n", [0, 3, 1]);
        check(&tables, ALL, "ledger_reversed_amount", [0, -14_000, -500]);
        check(&tables, ALL, "net_amount", [0, 0, 10_000]);
    }
}

#[test]
fn a_deal_without_rows_goes_on_as_the_one_that_was_merged_into_it() {
    let scratch = Scratch::new();
    // 2 is merged into 1, of which nothing is known until March; then the win of 2 is none of it.
    let events = "1,2024-03-05,stage,lead,90,,\n2,2024-01-20,stage,won,70,,\n";
    scratch.write("events.csv", &format!("{HEAD}{events}"));
    scratch.write("merges.csv", "loser_id,winner_id,at\n2,1,2024-02-10\n");
    let merges = "[inputs.merges]\npath = \"merges.csv\"\n";
    let fold = "[fold]\nmerged = \"union\"\n";
    let tables = tables_of(&scratch, &format!("{RUN}{fold}{EVENTS}{merges}"));
    assert_eq!(outcomes(&tables), [1, 0, 0, 1]);
    check(&tables, ALL, "ledger_booked_amount", [7_000, 7_000, 0]);
    check(&tables, ALL, "ledger_reversed_amount", [0, -7_000, -7_000]);
}

/// Ann is in the east until February, then in the west; bob is in the north.
const USERS: &str = "owner_id,team,valid_from,valid_to\n\
    ann,east,,2024-02-01\nann,west,2024-02-01,\nbob,north,,\n";

#[track_caller]
fn by_team(at: &str) -> Tables {
    let scratch = Scratch::new();
    // Won by ann, raised by 20 in February, bob's from March on; the other is lost in March.
    let events = "1,2024-01-05,stage,lead,100,,ann\n1,2024-01-10,stage,won,,,\n\
        1,2024-02-15,amount,,120,,\n1,2024-03-03,owner,,,,bob\n\
        2,2024-01-05,stage,lead,7,,ann\n2,2024-01-10,stage,won,,,\n2,2024-03-10,stage,lost,,,\n";
    scratch.write("events.csv", &format!("{HEAD}{events}"));
    scratch.write("users.csv", USERS);
    let team = format!(
        "[dimensions]\ncolumns = [\"team\"]\nat = \"{at}\"\n\
         [dimensions.from]\nteam = \"users.team\"\n"
    );
    let users = "[inputs.users]\npath = \"users.csv\"\nshape = \"lookup\"\nkey = \"owner_id\"\n\
        timezone = \"UTC\"\n";
    tables_of(&scratch, &format!("{RUN}{team}{EVENTS}{users}"))
}

#[track_caller]
fn check_team(tables: &Tables, team: &str, column: &str, expected: [i64; 3]) {
    check(tables, &[("slice", "team"), ("team", team)], column, expected);
}

#[test]
fn a_team_that_is_asked_for_as_of_now_takes_its_deals_along_when_it_changes() {
    let tables = by_team("as_of");
    check_team(&tables, "east", "ledger_net_amount", [10_700, -10_700, 0]);
    check_team(&tables, "east", "ledger_transferred_n", [0, -2, 0]);
    check_team(&tables, "west", "ledger_transferred_amount", [0, 10_700, -12_000]);
    check_team(&tables, "west", "ledger_adjusted_amount", [0, 2_000, 0]);
    check_team(&tables, "west", "ledger_reversed_amount", [0, 0, -700]);
    check_team(&tables, "north", "ledger_net_amount", [0, 0, 12_000]);
    check_team(&tables, "north", "net_amount", [12_000, 0, 0]);
}

#[test]
fn a_team_of_the_close_keeps_what_it_closed() {
    let tables = by_team("close");
    check_team(&tables, "east", "ledger_net_amount", [10_700, 2_000, -700]);
    check_team(&tables, "east", "ledger_transferred_n", [0, 0, 0]);
    check_team(&tables, "north", "ledger_net_amount", [0, 0, 0]);
}
