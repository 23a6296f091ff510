//! `revenue_clocks`: the same revenue by every clock and every basis of the outcome, side by side.
//!
//! `revenue` counts a deal in the period of its win as long as that win holds: a re-opened deal is
//! taken out of the period it was won in. Here stand beside it the ledger, which books the win and
//! later the reversal, each in its own period, so that a period that has ended does not change; the
//! close date field as it is at `as_of`; and the first close and the first win, which nothing undoes
//! (G7, G8). A deal that leaves every other table, deleted or merged, stays in the ledger's past and
//! is reversed in the period of its deletion or merge; an entry keeps the rate and the dimensions of
//! its own day. It does not compute growth, and a period without anything has no row.
//!
//! Invariant: over the whole history the ledger adds up to what is won at `as_of`; its amounts to
//! `held_amount`, which differs from `net_amount` only by rates of other days.

use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, StateView, View, by_period};
use crate::relations::Relation;
use crate::table::{ColumnSpec, Value};

/// The metric.
pub static METRIC: Metric = Metric {
    name: "revenue_clocks",
    question: "What does revenue look like by another clock or another basis of the outcome?",
    grain: "one row per slice, period length and period in which any clock has a deal",
    states: &[
        State {
            relation: Relation::Deals,
            sql: "SELECT closed_period AS period, COUNT(*) AS won_n, SUM(amount) AS net_amount, \
                  SUM(held_amount) AS held_amount, \
                  SUM(CASE WHEN expected_close_period IS NULL THEN 1 ELSE 0 END) AS no_close_date_n, \
                  SUM(CASE WHEN expected_close_period IS NULL THEN amount ELSE 0 END) \
                  AS no_close_date_amount FROM deals WHERE is_won = 1 GROUP BY period",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Deals,
            sql: "SELECT expected_close_period AS period, COUNT(*) AS close_date_won_n, \
                  SUM(amount) AS close_date_net_amount FROM deals \
                  WHERE is_won = 1 AND expected_close_period IS NOT NULL GROUP BY period",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Deals,
            sql: "SELECT first_won_period AS period, COUNT(*) AS ever_won_n, \
                  SUM(first_won_amount) AS ever_won_net_amount, SUM(is_first_won) AS first_close_won_n, \
                  SUM(CASE WHEN is_first_won = 1 THEN first_won_amount ELSE 0 END) \
                  AS first_close_net_amount FROM deals WHERE ever_won = 1 GROUP BY period",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Bookings,
            sql: "SELECT booked_period AS period, SUM(won_deals_n) AS ledger_won_n, \
                  SUM(amount) AS ledger_net_amount, \
                  SUM(CASE WHEN booking_kind = 'booking' THEN 1 ELSE 0 END) AS ledger_booked_n, \
                  SUM(CASE WHEN booking_kind = 'booking' THEN amount ELSE 0 END) \
                  AS ledger_booked_amount, \
                  SUM(CASE WHEN booking_kind = 'reversal' THEN 1 ELSE 0 END) AS ledger_reversed_n, \
                  SUM(CASE WHEN booking_kind = 'reversal' THEN amount ELSE 0 END) \
                  AS ledger_reversed_amount, \
                  SUM(CASE WHEN booking_kind = 'adjustment' THEN amount ELSE 0 END) \
                  AS ledger_adjusted_amount FROM bookings GROUP BY period",
            absent: Absent::SkipTable,
        },
    ],
    output: OUTPUT,
    view: View::Line("ledger_net_amount"),
    references: &[],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::count(
        "won_n",
        "deals",
        "Deals won in the period and still won at as_of, as in revenue: later re-opening takes \
         them out.",
    ),
    ColumnSpec::money("net_amount", "Their amounts as of as_of, as in revenue."),
    ColumnSpec::money(
        "held_amount",
        "What the ledger holds for them at as_of, by the rates of the days of its entries; other \
         than net_amount only where rates of other days price that.",
    ),
    ColumnSpec::count(
        "ledger_booked_n",
        "deals",
        "Wins entered in the period, whatever became of them; a deal won twice counts twice.",
    ),
    ColumnSpec::money("ledger_booked_amount", "Their amounts when they were won."),
    ColumnSpec::count(
        "ledger_reversed_n",
        "deals",
        "Wins undone in the period, whenever they were booked: re-opened, lost, deleted, or merged \
         into other deals.",
    ),
    ColumnSpec::money("ledger_reversed_amount", "Minus what was booked for them by then."),
    ColumnSpec::money(
        "ledger_adjusted_amount",
        "Changes in the period of the amounts of deals that were won at the time; a change of a \
         rate is none.",
    ),
    ColumnSpec::count(
        "ledger_transferred_n",
        "deals",
        "Won deals that moved into this value of the slice in the period less those that moved out.",
    ),
    ColumnSpec::money("ledger_transferred_amount", "What was booked for them by then."),
    ColumnSpec::count(
        "ledger_won_n",
        "deals",
        "ledger_booked_n − ledger_reversed_n + ledger_transferred_n.",
    ),
    ColumnSpec::money(
        "ledger_net_amount",
        "ledger_booked_amount + ledger_reversed_amount + ledger_adjusted_amount + \
         ledger_transferred_amount; nothing that happens after a period has ended changes it.",
    ),
    ColumnSpec::count(
        "close_date_won_n",
        "deals",
        "Deals won at as_of whose expected close date at as_of is in the period.",
    ),
    ColumnSpec::money("close_date_net_amount", "Their amounts as of as_of."),
    ColumnSpec::count("no_close_date_n", "deals", "Of won_n, those without a close date."),
    ColumnSpec::money("no_close_date_amount", "Their amounts as of as_of."),
    ColumnSpec::count(
        "first_close_won_n",
        "deals",
        "Deals whose first close is a win in the period, whatever became of them.",
    ),
    ColumnSpec::money("first_close_net_amount", "Their amounts at that win."),
    ColumnSpec::count(
        "ever_won_n",
        "deals",
        "Deals won for the first time in the period, whatever became of them.",
    ),
    ColumnSpec::money("ever_won_net_amount", "Their amounts at that win."),
    ColumnSpec::flag("is_complete_period", "The period has ended by as_of; never the whole."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "ledger_net_amount = ledger_booked_amount + ledger_reversed_amount + \
                ledger_adjusted_amount + ledger_transferred_amount",
        holds: |row| {
            let parts = ["booked", "reversed", "adjusted", "transferred"];
            let of = |part: &&str| row.money(&format!("ledger_{part}_amount"));
            row.money("ledger_net_amount") == parts.iter().map(of).sum()
        },
    },
    Identity {
        claim: "nothing is transferred where the slice is all",
        holds: |row| {
            row.text("slice") != Some("all")
                || (row.int("ledger_transferred_n"), row.money("ledger_transferred_amount"))
                    == (Some(0), Some(0))
        },
    },
    Identity {
        claim: "over the whole history ledger_won_n = won_n and ledger_net_amount = \
                held_amount",
        holds: |row| {
            row.text("period") != Some("all")
                || (row.int("ledger_won_n") == row.int("won_n")
                    && row.money("ledger_net_amount") == row.money("held_amount"))
        },
    },
    Identity {
        claim: "over the whole history close_date_won_n + no_close_date_n = won_n, amounts likewise",
        holds: |row| {
            let both = |a, b| row.int(a).zip(row.int(b)).map(|(a, b)| a + b);
            let all = |a, b| row.money(a).zip(row.money(b)).map(|(a, b)| a + b);
            row.text("period") != Some("all")
                || (both("close_date_won_n", "no_close_date_n") == row.int("won_n")
                    && all("close_date_net_amount", "no_close_date_amount")
                        == row.money("net_amount"))
        },
    },
    Identity {
        claim: "first_close_won_n ≤ ever_won_n ≤ ledger_booked_n where the slice is all",
        holds: |row| {
            row.int("first_close_won_n") <= row.int("ever_won_n")
                && (row.text("slice") != Some("all")
                    || row.int("ever_won_n") <= row.int("ledger_booked_n"))
        },
    },
];

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [won, dated, first, booked] = group.states else {
        return Err(Error::Bug("revenue_clocks has four states".into()));
    };
    let settings = group.settings;
    let of = |state: &StateView<'_>, name: &str| -> Result<i64, Error> {
        Ok(state.value(name)?.first().copied().unwrap_or(0))
    };
    for (start, [won, dated, first, booked]) in by_period([won, dated, first, booked]) {
        let (ledger_n, ledger_amount) =
            (of(&booked, "ledger_won_n")?, of(&booked, "ledger_net_amount")?);
        let (booked_n, reversed_n) =
            (of(&booked, "ledger_booked_n")?, of(&booked, "ledger_reversed_n")?);
        let (booked_amount, reversed_amount, adjusted_amount) = (
            of(&booked, "ledger_booked_amount")?,
            of(&booked, "ledger_reversed_amount")?,
            of(&booked, "ledger_adjusted_amount")?,
        );
        let transferred_amount = ledger_amount - booked_amount - reversed_amount - adjusted_amount;
        let is_complete = settings.calendar.is_complete(group.period, start, settings.as_of);
        rows.push(
            start,
            &[
                ("won_n", Value::Int(of(&won, "won_n")?)),
                ("net_amount", Value::Money(of(&won, "net_amount")?)),
                ("held_amount", Value::Money(of(&won, "held_amount")?)),
                ("ledger_booked_n", Value::Int(booked_n)),
                ("ledger_booked_amount", Value::Money(booked_amount)),
                ("ledger_reversed_n", Value::Int(reversed_n)),
                ("ledger_reversed_amount", Value::Money(reversed_amount)),
                ("ledger_adjusted_amount", Value::Money(adjusted_amount)),
                ("ledger_transferred_n", Value::Int(ledger_n - booked_n + reversed_n)),
                ("ledger_transferred_amount", Value::Money(transferred_amount)),
                ("ledger_won_n", Value::Int(ledger_n)),
                ("ledger_net_amount", Value::Money(ledger_amount)),
                ("close_date_won_n", Value::Int(of(&dated, "close_date_won_n")?)),
                ("close_date_net_amount", Value::Money(of(&dated, "close_date_net_amount")?)),
                ("no_close_date_n", Value::Int(of(&won, "no_close_date_n")?)),
                ("no_close_date_amount", Value::Money(of(&won, "no_close_date_amount")?)),
                ("first_close_won_n", Value::Int(of(&first, "first_close_won_n")?)),
                ("first_close_net_amount", Value::Money(of(&first, "first_close_net_amount")?)),
                ("ever_won_n", Value::Int(of(&first, "ever_won_n")?)),
                ("ever_won_net_amount", Value::Money(of(&first, "ever_won_net_amount")?)),
                ("is_complete_period", Value::Bool(is_complete)),
            ],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::{end_of, plan, settings, table};
    use crate::metrics::testing::check;
    use crate::relations::fixture::Fixture;
    use crate::time::Period;

    // Won in January for 100, re-opened in February, won again in March for 120, expected in April.
    const AGAIN: &str = "is_won=1 ever_won=1 is_first_won=1 first_won_period=2024-01-01 \
                         first_won_amount=100 closed_period=2024-03-01 amount=120 held_amount=120 has_amount=1 \
                         expected_close_period=2024-04-01 region=west";
    // Lost first, then won in February for 50, without a close date.
    const LATE: &str = "is_won=1 ever_won=1 first_won_period=2024-02-01 first_won_amount=50 \
                        is_first_lost=1 closed_period=2024-02-01 amount=50 held_amount=50 has_amount=1 \
                        region=west";

    #[test]
    fn each_clock_counts_in_its_own_period() {
        let fixture = Fixture::new(&[])
            .dimensions(&["region"])
            .line(Relation::Deals, AGAIN)
            .line(Relation::Deals, LATE);
        let entries = [
            "booked_period=2024-01-01 booking_kind=booking won_deals_n=1 amount=100 region=east",
            "booked_period=2024-02-01 booking_kind=reversal won_deals_n=-1 amount=-100 region=east",
            "booked_period=2024-02-01 booking_kind=booking won_deals_n=1 amount=50 region=west",
            "booked_period=2024-03-01 booking_kind=booking won_deals_n=1 amount=110 region=east",
            "booked_period=2024-03-01 booking_kind=transfer won_deals_n=-1 amount=-110 region=east",
            "booked_period=2024-03-01 booking_kind=transfer won_deals_n=1 amount=110 region=west",
            "booked_period=2024-03-01 booking_kind=adjustment amount=10 region=west",
        ];
        let fixture = entries.iter().fold(fixture, |f, line| f.line(Relation::Bookings, line));
        let relations = fixture.build();
        let plan = plan(&[&[], &["region"]], &[Period::Month]);
        let table = table(&relations, &METRIC, &plan, &settings(&relations, end_of("2024-03-31")));
        let months = &["slice=all", "period=month"][..];
        check(&table, months, "period_start", "2024-01-01 2024-02-01 2024-03-01 2024-04-01");
        check(&table, months, "won_n", "0 1 1 0");
        check(&table, months, "net_amount", "0.00 0.50 1.20 0.00");
        check(&table, months, "ledger_booked_n", "1 1 1 0");
        check(&table, months, "ledger_reversed_amount", "0.00 -1.00 0.00 0.00");
        check(&table, months, "ledger_adjusted_amount", "0.00 0.00 0.10 0.00");
        check(&table, months, "ledger_net_amount", "1.00 -0.50 1.20 0.00");
        check(&table, months, "ledger_won_n", "1 0 1 0");
        check(&table, months, "close_date_net_amount", "0.00 0.00 0.00 1.20");
        check(&table, months, "no_close_date_n", "0 1 0 0");
        check(&table, months, "first_close_net_amount", "1.00 0.00 0.00 0.00");
        check(&table, months, "ever_won_net_amount", "1.00 0.50 0.00 0.00");
        check(&table, months, "is_complete_period", "true true true false");
        let west = &["slice=region", "period=all", "region=west"][..];
        check(&table, west, "ledger_transferred_n", "1");
        check(&table, west, "ledger_transferred_amount", "1.10");
        check(&table, west, "ledger_net_amount", "1.70");
        check(&table, &["slice=region", "period=month", "region=east"], "ledger_won_n", "1 -1 0");
    }
}
