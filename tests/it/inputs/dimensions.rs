//! Dimensions from tables that change over time, and more values than are to be named.

use super::*;
use crate::support::{Cell, filter};

const EVENTS: &str = "\
deal_id,event_time,stage_id,amount,owner_id
1,2024-01-05T10:00:00Z,lead,100,ann
1,2024-02-10T09:00:00Z,won,100,ann
2,2024-01-10T10:00:00Z,lead,20,ann
2,2024-03-01T00:00:00Z,won,20,ann
3,2024-03-05T10:00:00Z,lead,50,ann
4,2024-01-10T10:00:00Z,lead,3,bob
4,2024-02-15T09:00:00Z,won,3,bob
";

/// Ann moves to the south on 1 March, bob begins on 1 February and leaves on the 10th.
const USERS: &str = "\
owner_id,team,valid_from,valid_to
ann,north,2020-01-01,2024-03-01
ann,south,2024-03-01,9999-12-31
bob,north,2024-02-01,2024-02-10
bob,west,2024-02-05,2024-02-09
";

fn config(at: &str) -> String {
    format!(
        r#"
[run]
as_of = "2024-04-01T00:00:00Z"
[pipeline]
stages = ["lead"]
won = ["won"]
lost = ["lost"]
[dimensions]
columns = ["team"]
at = "{at}"
[dimensions.from]
team = "users.team"
[inputs.deal_events]
path = "events.csv"
[inputs.users]
path = "users.csv"
shape = "lookup"
key = "owner_id"
"#
    )
}

fn inputs() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("events.csv", EVENTS);
    scratch.write("users.csv", USERS);
    scratch
}

/// Deals won by team, the unknown one last.
#[track_caller]
fn check(at: &str, expected: &[(&str, i64)]) {
    let scratch = inputs();
    scratch.run(&config(at)).unwrap();
    let rows = filter(&scratch.table("revenue"), &[("slice", "team"), ("period", "all")]);
    let mut found: Vec<(String, i64)> = rows
        .iter()
        .map(|row| match row.get("team") {
            Some(Cell::Text(team)) => (team.clone(), int(row, "won_n")),
            _ => ("unknown".into(), int(row, "won_n")),
        })
        .collect();
    found.sort();
    let found: Vec<(&str, i64)> = found.iter().map(|(team, n)| (team.as_str(), *n)).collect();
    assert_eq!(found, expected, "{at}");
}

#[test]
fn an_owner_has_the_team_of_the_time_that_is_asked_for() {
    // Deal 2 is won at the very instant ann changes; bob has no team when deal 4 is won.
    check("close", &[("north", 1), ("south", 1), ("unknown", 1)]);
    check("created", &[("north", 2), ("unknown", 1)]);
    check("as_of", &[("south", 2), ("unknown", 1)]);
}

#[test]
fn rows_that_hold_at_one_time_are_counted_and_settled() {
    let scratch = inputs();
    scratch.write("users.csv", &(USERS.to_owned() + "eve,x,2024-02-01,2024-02-01\n"));
    let config = config("close").replace("2024-04-01", "2024-02-07");
    scratch.run(&config).unwrap();
    let quality = scratch.table("data_quality");
    for rule in ["overlapping_validity", "bad_validity"] {
        let rows = filter(&quality, &[("input", "users"), ("rule", rule)]);
        assert_eq!(rows.iter().map(|row| int(row, "affected_n")).sum::<i64>(), 1, "{rule}");
    }
    // On 7 February bob is in the west, since the row that begins later counts.
    let teams = filter(&scratch.table("conversion"), &[("slice", "team"), ("team", "west")]);
    assert!(!teams.is_empty());
}

#[test]
fn values_beyond_the_bound_are_reported_together() {
    let scratch = Scratch::new();
    let mut events = String::from("deal_id,event_time,stage_id,amount,region\n");
    // Regions r1, r2, r3 with 1, 2 and 3 deals, r4 and r5 with 2 each.
    for (deal, region) in [3, 3, 3, 2, 2, 1, 4, 4, 5, 5].into_iter().enumerate() {
        events += &format!("{deal},2024-01-05T10:00:00Z,lead,1,r{region}\n");
        events += &format!("{deal},2024-01-06T10:00:00Z,won,1,r{region}\n");
    }
    scratch.write("events.csv", &events);
    let config = "[run]\nas_of = \"2024-04-01T00:00:00Z\"\n\
        [pipeline]\nstages = [\"lead\"]\nwon = [\"won\"]\nlost = [\"lost\"]\n\
        [dimensions]\ncolumns = [\"region\"]\nvalues_max = 2\n\
        [inputs.deal_events]\npath = \"events.csv\"\n";
    scratch.run(config).unwrap();
    let rows = scratch.table("revenue");
    for (region, won) in [("r3", 3), ("r2", 2), ("(other)", 5)] {
        let own = only(&rows, &[("slice", "region"), ("region", region), ("period", "all")]);
        assert_eq!(int(&own, "won_n"), won, "{region}");
    }
    assert_eq!(filter(&rows, &[("slice", "region"), ("period", "all")]).len(), 3);
    let rule = [("input", "deal_events"), ("rule", "other_values")];
    assert_eq!(int(&only(&scratch.table("data_quality"), &rule), "affected_n"), 3);
}

/// Deals won by the value of a dimension, the unknown one last.
#[track_caller]
fn check_won(scratch: &Scratch, dimension: &str, expected: &[(&str, i64)]) {
    let rows = filter(&scratch.table("revenue"), &[("slice", dimension), ("period", "all")]);
    let name = |row: &Row| match row.get(dimension) {
        Some(Cell::Text(name)) => name.clone(),
        _ => "~unknown".into(),
    };
    let mut found: Vec<(String, i64)> =
        rows.iter().map(|row| (name(row), int(row, "won_n"))).collect();
    found.sort();
    let found: Vec<(&str, i64)> = found.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!(found, expected, "{dimension}");
}

const NAMED: &str = r#"
[run]
as_of = "2024-04-01T00:00:00Z"
[pipeline]
stages = ["lead"]
won = ["won"]
lost = ["lost"]
[inputs.deal_events]
path = "events.csv"
[inputs.users]
path = "users.csv"
columns = { team_id = "team" }
"#;

#[test]
fn users_are_found_by_their_name_alone_and_a_dimension_has_its_own_time() {
    let scratch = inputs();
    let dimensions = "[dimensions]\ncolumns = [\"team\", \"first_team\"]\n\
        from = { team = \"users.team_id\", first_team = \"users.team_id\" }\n\
        at_of = { first_team = \"created\" }\n";
    scratch.run(&format!("{NAMED}{dimensions}")).unwrap();
    check_won(&scratch, "team", &[("north", 1), ("south", 1), ("~unknown", 1)]);
    check_won(&scratch, "first_team", &[("north", 2), ("~unknown", 1)]);
    // The table is counted once, as of the close: deal 4's owner has no row then.
    let rule = [("input", "users"), ("rule", "orphans")];
    assert_eq!(int(&only(&scratch.table("data_quality"), &rule), "affected_n"), 1);
}

#[test]
fn the_owner_is_that_of_the_close_and_not_of_now() {
    let scratch = Scratch::new();
    // Ann closes the deal and hands it over.
    scratch.write(
        "events.csv",
        "deal_id,event_time,event_type,stage_id,owner_id\n\
         1,2024-01-05T10:00:00Z,,lead,ann\n1,2024-02-10T09:00:00Z,,won,\n\
         1,2024-03-01T09:00:00Z,owner,,bob\n",
    );
    scratch.write("users.csv", "owner_id,team\nann,north\nbob,west\n");
    let dimensions = "[dimensions]\ncolumns = [\"team\", \"team_now\"]\n\
        from = { team = \"users.team_id\", team_now = \"users.team_id\" }\n\
        at_of = { team_now = \"as_of\" }\n";
    scratch.run(&format!("{NAMED}{dimensions}")).unwrap();
    check_won(&scratch, "team", &[("north", 1)]);
    check_won(&scratch, "team_now", &[("west", 1)]);
}

#[test]
fn customers_give_dimensions_that_are_trimmed_and_replaced() {
    let scratch = Scratch::new();
    let events = EVENTS.replace("owner_id", "customer_id").replace("ann", "007");
    scratch.write("events.csv", &events);
    scratch.write("customers.csv", "account,segment\n007, Large \nbob,mid\n");
    let config =
        NAMED.replace("users", "customers").replace("team_id = \"team\"", "key = \"account\"")
            + "[inputs.customers.values]\nsegment = { Large = \"enterprise\" }\n\
           [dimensions]\ncolumns = [\"segment\"]\nfrom = { segment = \"customers.segment\" }\n";
    scratch.run(&config).unwrap();
    check_won(&scratch, "segment", &[("enterprise", 2), ("mid", 1)]);
}

#[test]
fn current_deals_give_dimensions_that_no_history_has() {
    let scratch = Scratch::new();
    scratch.write("events.csv", EVENTS);
    // Deal 4 has no product; 1 and 2 name the same one in two ways.
    scratch.write("deals.csv", "deal_id,product\n1, Mill\n2,mill\n3,press\n4,\n");
    let config = NAMED.split("[inputs.users]").next().unwrap().to_owned()
        + "[inputs.deals]\npath = \"deals.csv\"\nvalues = { product = { mill = \"Mill\" } }\n\
           [dimensions]\ncolumns = [\"product\"]\n";
    scratch.run(&config).unwrap();
    check_won(&scratch, "product", &[("Mill", 2), ("~unknown", 1)]);
}

#[test]
fn a_misspelt_column_of_users_is_refused_with_the_nearest_one() {
    let scratch = inputs();
    let refused = |config: &str| scratch.resolve(config).unwrap_err().to_string();
    let said = refused(&NAMED.replace("team_id", "taem_id"));
    assert!(said.contains("did you mean \"team_id\""), "{said}");
    // A column that becomes a dimension may have any name; one that tells its shape, any columns.
    let seat = "[dimensions]\ncolumns = [\"seat\"]\nfrom = { seat = \"users.seat\" }\n";
    scratch.resolve(&(NAMED.replace("team_id", "seat") + seat)).unwrap();
    scratch.resolve(&NAMED.replace("columns =", "shape = \"lookup\"\ncolumns =")).unwrap();
    let of_event = "[dimensions]\ncolumns = [\"region\"]\nat_of = { region = \"created\" }\n";
    let said = refused(&(NAMED.to_owned() + of_event));
    assert!(said.contains("[dimensions] at"), "{said}");
}
