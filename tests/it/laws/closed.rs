//! Periods that have ended do not change on the ledger clock, whatever happens to their deals later:
//! re-opened, lost, deleted under every policy, merged into others, priced by other rates, moved to
//! other owners and other teams.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::util::display::array_value_to_string;
use dealmill::config::Resolved;
use dealmill::engine::{Backend, Execution};

use super::dirty::{AS_OF, Row, Shape, check_many, instant, resolve};
use super::sample::{read, tables};
use crate::support::Scratch;

/// The ledger's columns of every row of a period that has ended, by the row's keys.
fn ended(batch: &RecordBatch) -> BTreeMap<String, String> {
    let flags = batch.column_by_name("is_complete_period").unwrap().as_boolean();
    let schema = batch.schema();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let text = |row: usize, wanted: &dyn Fn(usize, &str) -> bool| {
        let chosen = names.iter().enumerate().filter(|(place, name)| wanted(*place, name));
        let cell = |(place, name): (usize, &&str)| {
            format!("{name}={} ", array_value_to_string(batch.column(place), row).unwrap())
        };
        chosen.map(cell).collect::<String>()
    };
    let first = names.iter().position(|name| *name == "won_n").unwrap();
    let pair = |row| (text(row, &|p, _| p < first), text(row, &|_, n| n.starts_with("ledger_")));
    let is_kept = |row: &usize| flags.value(*row);
    // A row that the ledger has no part in may come and go with the other clocks.
    let has_entry = |(_, ledger): &(String, String)| ledger.contains(|c| ('1'..='9').contains(&c));
    (0..batch.num_rows()).filter(is_kept).map(pair).filter(has_entry).collect()
}

/// The ledger; that it adds up to what is won at `as_of` is asserted on the way.
fn ledger_of(resolved: &Resolved) -> BTreeMap<String, String> {
    let (history, _) = read(resolved);
    let tables = tables(resolved, &history, Execution::Whole, Backend::Kernel);
    let table = tables.iter().find(|table| table.name == "revenue_clocks").unwrap();
    table.batches.iter().flat_map(ended).collect()
}

/// Every ended period has the same rows in each later run; counts the rows compared.
#[track_caller]
fn check_kept(resolved: &Resolved, compared: &Cell<usize>) {
    let (mut before, mut over) = (BTreeMap::new(), Vec::new());
    for (day, month) in [(31, "2024-01-01"), (60, "2024-02-01"), (74, "2024-03-01")] {
        let as_of = resolved.as_of.map(|last| last - (74 - day) * 86_400_000_000);
        let now = ledger_of(&Resolved { as_of, ..resolved.clone() });
        let mut known = now.clone();
        known.retain(|key, _| over.iter().any(|start: &String| key.contains(start.as_str())));
        assert_eq!(known, before, "as of day {day}");
        compared.set(compared.get() + before.len());
        before = now;
        over.push(format!("period_start={month}"));
    }
}

#[test]
fn ledger_of_an_ended_period_stays_whatever_comes_later() {
    let kept = Shape::EVERY[4];
    let shapes = [
        kept,
        Shape { dimension_at: "as_of", ..kept },
        Shape { deleted: "exclude", ..kept },
        Shape { deleted: "as_lost", dimension_at: "created", ..kept },
    ];
    let compared = Cell::new(0);
    check_many(51, &shapes, |rows, shape| {
        let scratch = Scratch::new();
        check_kept(&resolve(&scratch, rows, shape), &compared);
    });
    assert!(compared.get() > 150, "{} rows compared", compared.get());
}

/// Owners change their teams while their deals are open, won and gone; bob has none for ten days.
const USERS: &str = "owner_id,team,valid_from,valid_to\n\
    ann,north,,2024-01-20\nann,south,2024-01-20,2024-02-25\nann,west,2024-02-25,\n\
    bob,east,,2024-02-10\nbob,north,2024-02-20,\n";

/// A chain, the later link of which is the earlier row, and a merge of its own.
const MERGES: &str = "loser_id,winner_id,at\n\
    d3,d2,2024-02-20T12:00:00Z\nd2,d1,2024-02-05T12:00:00Z\nd5,d4,2024-01-25T12:00:00Z\n";

/// Pounds have no rate before February.
const RATES: &str = "date,currency,rate_to_base\n\
    2024-01-01,EUR,1.1\n2024-01-16,EUR,1.17\n2024-02-01,EUR,1.23\n2024-02-20,EUR,0.97\n\
    2024-03-05,EUR,1.31\n2024-01-01,JPY,0.007\n2024-02-11,JPY,0.0064\n2024-02-01,GBP,1.5\n\
    2024-03-01,GBP,1.4\n";

/// The rows with a currency now and then, which is not that of the rows before.
fn csv(rows: &[Row]) -> String {
    let mut text = String::from(
        "deal_id,event_time,event_type,stage_id,amount,currency,owner_id,customer_id,region\n",
    );
    for (number, row) in rows.iter().enumerate() {
        let time = row.minute.map_or_else(String::new, instant);
        let currency = ["", "EUR", "", "JPY", "GBP", "", "USD"][(number * 5 + row.stage.len()) % 7];
        let Row { deal, kind, stage, amount, owner, customer, region, .. } = row;
        writeln!(
            text,
            "{deal},{time},{kind},{stage},{amount},{currency},{owner},{customer},{region}"
        )
        .unwrap();
    }
    text
}

/// How money, merges, deletions and look-ups are configured.
#[derive(Debug, Clone, Copy)]
struct Ways {
    money: &'static str,
    merged: &'static str,
    deleted: &'static str,
    at: &'static str,
}

fn resolve_with(scratch: &Scratch, rows: &[Row], ways: Ways) -> Resolved {
    scratch.write("events.csv", &csv(rows));
    scratch.write("users.csv", USERS);
    scratch.write("merges.csv", MERGES);
    scratch.write("rates.csv", RATES);
    let Ways { money, merged, deleted, at } = ways;
    let constant = if money == "constant" { "constant_date = \"2024-02-05\"" } else { "" };
    let text = format!(
        r#"
        [run]
        as_of = "{}"
        periods = ["month"]
        [pipeline]
        stages = ["s1", "s2", "s3"]
        won = ["won", "signed"]
        lost = ["lost"]
        ignored = ["parked"]
        aliases = {{ one = "s1" }}
        [money]
        policy = "{money}"
        {constant}
        [dimensions]
        columns = ["region", "team"]
        slices = [[], ["region"], ["team"]]
        at = "{at}"
        [dimensions.from]
        team = "users.team"
        [fold]
        deleted = "{deleted}"
        merged = "{merged}"
        [inputs.deal_events]
        path = "events.csv"
        [inputs.users]
        path = "users.csv"
        shape = "lookup"
        key = "owner_id"
        [inputs.merges]
        path = "merges.csv"
        [inputs.fx_rates]
        path = "rates.csv"
        "#,
        instant(AS_OF)
    );
    scratch.resolve(&text).unwrap()
}

#[track_caller]
fn check_ways(seed: u8, merged: &'static str) {
    let compared = Cell::new(0);
    let policies = ["at_close", "at_as_of", "at_event", "constant"];
    let deletions = ["exclude", "as_lost", "keep_until_deleted"];
    for (number, money) in policies.into_iter().enumerate() {
        for (turn, deleted) in deletions.into_iter().enumerate() {
            let at = ["close", "as_of", "created"][(number + turn) % 3];
            let ways = Ways { money, merged, deleted, at };
            check_many(seed, &[Shape::EVERY[0]], |rows, _| {
                let scratch = Scratch::new();
                check_kept(&resolve_with(&scratch, rows, ways), &compared);
            });
        }
    }
    assert!(compared.get() > 600, "{} rows compared", compared.get());
}

#[test]
fn ledger_stays_whatever_is_merged_deleted_priced_and_looked_up() {
    check_ways(52, "drop");
}

#[test]
fn ledger_stays_where_merged_histories_are_united() {
    check_ways(53, "union");
}
