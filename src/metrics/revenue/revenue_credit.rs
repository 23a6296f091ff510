//! `revenue_credit`: who is credited with the won deals of a period.
//!
//! The owner at the close has the whole credit; where a deal is split, each owner has a share, in
//! whole minor units that add up to the deal's amount. It does not know teams or targets.
//!
//! Invariant: the owners' amounts of a period add up to the net amount that `revenue` has for it.

use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, NO_KEY, Rows, State, View};
use crate::relations::{Relation, credits::PARTS};
use crate::stats::{float, ratio};
use crate::table::{ColumnSpec, Value};

/// The metric.
pub static METRIC: Metric = Metric {
    name: "revenue_credit",
    question: "Who is credited with how much of the revenue?",
    grain: "one row per slice, period length, period and credited owner",
    states: &[State {
        relation: Relation::Credits,
        sql: "SELECT credited_period AS period, credited_owner, COUNT(*) AS won_n, \
              SUM(is_split) AS split_n, SUM(credited_parts) AS parts_n, \
              SUM(CASE WHEN amount > 0 THEN amount ELSE 0 END) AS gross_amount, \
              SUM(CASE WHEN amount < 0 THEN amount ELSE 0 END) AS refund_amount \
              FROM credits GROUP BY period, credited_owner",
        absent: Absent::SkipTable,
    }],
    output: OUTPUT,
    view: View::Bars("credited_net_amount"),
    references: &["Balinski and Young, 1982, Fair Representation (largest remainders)"],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text("credited_owner", "The owner; null for won deals without one.")
        .key()
        .nullable(),
    ColumnSpec::count("won_n", "deals", "Won deals that the owner has any share in."),
    ColumnSpec::count("split_n", "deals", "Of these, shared with others."),
    ColumnSpec::number(
        "credited_deals",
        "deals",
        "The owner's shares in them, added up in millionths of a deal.",
    ),
    ColumnSpec::money("credited_gross_amount", "The owner's shares of the amounts above zero."),
    ColumnSpec::money("credited_refund_amount", "The owner's shares of the amounts below zero."),
    ColumnSpec::money(
        "credited_net_amount",
        "credited_gross_amount + credited_refund_amount; of all owners together the net_amount of \
         revenue.",
    ),
    ColumnSpec::rate(
        "credited_share",
        "credited_gross_amount / that of all owners of the row's slice and period.",
    ),
    ColumnSpec::flag("is_complete_period", "The period has ended by as_of; never the whole."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "credited_net_amount = credited_gross_amount + credited_refund_amount",
        holds: |row| {
            let parts = ["credited_gross_amount", "credited_refund_amount"];
            row.money("credited_net_amount") == parts.iter().map(|n| row.money(n)).sum()
        },
    },
    Identity {
        claim: "won_n − split_n ≤ credited_deals ≤ won_n",
        holds: |row| {
            let deals = row.float("credited_deals");
            let whole = row.int("won_n").zip(row.int("split_n")).map(|(won, split)| won - split);
            whole.map(float) <= deals && deals <= row.int("won_n").map(float)
        },
    },
];

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [credits] = group.states else {
        return Err(Error::Bug("revenue_credit has one state".into()));
    };
    let settings = group.settings;
    for (start, of_period) in credits.by_period() {
        let gross_of_all: i64 = of_period.value("gross_amount")?.iter().sum();
        let is_complete = settings.calendar.is_complete(group.period, start, settings.as_of);
        for (row, owner) in of_period.key("credited_owner")?.iter().enumerate() {
            let of = |name: &str| -> Result<i64, Error> {
                Ok(of_period.value(name)?.get(row).copied().unwrap_or(0))
            };
            let (gross, refunds) = (of("gross_amount")?, of("refund_amount")?);
            let name = settings.dictionaries.name("owner", *owner).filter(|_| *owner != NO_KEY);
            rows.push(
                start,
                &[
                    ("credited_owner", name.map_or(Value::Null, Value::Text)),
                    ("won_n", Value::Int(of("won_n")?)),
                    ("split_n", Value::Int(of("split_n")?)),
                    ("credited_deals", Value::Float(float(of("parts_n")?) / float(PARTS))),
                    ("credited_gross_amount", Value::Money(gross)),
                    ("credited_refund_amount", Value::Money(refunds)),
                    ("credited_net_amount", Value::Money(gross + refunds)),
                    ("credited_share", Value::float(ratio(gross, gross_of_all))),
                    ("is_complete_period", Value::Bool(is_complete)),
                ],
            )?;
        }
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

    #[test]
    fn shares_of_a_deal_add_up_to_it() {
        // One deal of 1.01 shared by two, one of -0.40 of bob's alone, one of nobody's.
        let rows = [
            "credited_period=2024-01-01 credited_owner=ann credited_parts=500000 amount=51 is_split=1",
            "credited_period=2024-01-01 credited_owner=bob credited_parts=500000 amount=50 is_split=1",
            "credited_period=2024-01-01 credited_owner=bob credited_parts=1000000 amount=-40",
            "credited_period=2024-02-01 credited_parts=1000000 amount=99",
        ];
        let relations =
            rows.iter().fold(Fixture::new(&[]), |f, line| f.line(Relation::Credits, line)).build();
        let plan = plan(&[&[]], &[Period::Month]);
        let table = table(&relations, &METRIC, &plan, &settings(&relations, end_of("2024-02-15")));
        let january = &["slice=all", "period=month", "period_start=2024-01-01"][..];
        check(&table, january, "credited_owner", "ann bob");
        check(&table, january, "credited_deals", "0.5 1.5");
        check(&table, january, "credited_net_amount", "0.51 0.10");
        check(&table, january, "split_n", "1 1");
        let all = &["slice=all", "period=all"][..];
        check(&table, all, "credited_owner", "- ann bob");
        check(&table, all, "credited_gross_amount", "0.99 0.51 0.50");
        check(&table, all, "credited_share", "0.495 0.255 0.25");
    }
}
