//! `revenue_paid`: what was paid and refunded, in the period of the payment.
//!
//! It knows nothing of wins: a payment counts whether its deal is won, lost or not in the history.
//!
//! Invariant: net = gross + refunds, in minor units.

use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, View};
use crate::relations::Relation;
use crate::table::{ColumnSpec, Value};

/// The metric.
pub static METRIC: Metric = Metric {
    name: "revenue_paid",
    question: "How much was paid, and how much of it was refunded?",
    grain: "one row per slice, period length and period with a payment",
    states: &[State {
        relation: Relation::Payments,
        sql: "SELECT paid_period AS period, COUNT(*) AS payments_n, \
              SUM(has_amount) AS priced_n, \
              SUM(CASE WHEN amount < 0 THEN 1 ELSE 0 END) AS refunds_n, \
              SUM(CASE WHEN amount > 0 THEN amount ELSE 0 END) AS gross_amount, \
              SUM(CASE WHEN amount < 0 THEN amount ELSE 0 END) AS refund_amount, \
              SUM(CASE WHEN has_deal = 0 THEN 1 ELSE 0 END) AS without_deal_n, \
              SUM(CASE WHEN has_deal = 0 THEN amount ELSE 0 END) AS without_deal_amount \
              FROM payments GROUP BY period",
        absent: Absent::SkipTable,
    }],
    output: OUTPUT,
    view: View::Line("paid_net_amount"),
    references: &[],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::count("payments_n", "rows", "Payments and refunds of the period."),
    ColumnSpec::count("refunds_n", "rows", "Of these, below zero."),
    ColumnSpec::count("null_amount_n", "rows", "Of these, without an amount; they add nothing."),
    ColumnSpec::money("paid_gross_amount", "Sum of the amounts above zero."),
    ColumnSpec::money("paid_refund_amount", "Sum of the amounts below zero; zero or negative."),
    ColumnSpec::money("paid_net_amount", "paid_gross_amount + paid_refund_amount."),
    ColumnSpec::count(
        "without_deal_n",
        "rows",
        "Payments that name no deal, or one that is not in the history or is left out.",
    ),
    ColumnSpec::money("without_deal_amount", "Net amount of them."),
    ColumnSpec::flag("is_complete_period", "The period has ended by as_of; never the whole."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "paid_net_amount = paid_gross_amount + paid_refund_amount",
        holds: |row| {
            let parts = ["paid_gross_amount", "paid_refund_amount"];
            row.money("paid_net_amount") == parts.iter().map(|n| row.money(n)).sum()
        },
    },
    Identity {
        claim: "refunds_n + null_amount_n ≤ payments_n and without_deal_n ≤ payments_n",
        holds: |row| {
            let parts = ["refunds_n", "null_amount_n"];
            parts.iter().map(|n| row.int(n)).sum::<Option<i64>>() <= row.int("payments_n")
                && row.int("without_deal_n") <= row.int("payments_n")
        },
    },
];

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [paid] = group.states else {
        return Err(Error::Bug("revenue_paid has one state".into()));
    };
    let settings = group.settings;
    for (start, paid) in paid.by_period() {
        let of = |name: &str| -> Result<i64, Error> {
            Ok(paid.value(name)?.first().copied().unwrap_or(0))
        };
        let (gross, refunds) = (of("gross_amount")?, of("refund_amount")?);
        let is_complete = settings.calendar.is_complete(group.period, start, settings.as_of);
        rows.push(
            start,
            &[
                ("payments_n", Value::Int(of("payments_n")?)),
                ("refunds_n", Value::Int(of("refunds_n")?)),
                ("null_amount_n", Value::Int(of("payments_n")? - of("priced_n")?)),
                ("paid_gross_amount", Value::Money(gross)),
                ("paid_refund_amount", Value::Money(refunds)),
                ("paid_net_amount", Value::Money(gross + refunds)),
                ("without_deal_n", Value::Int(of("without_deal_n")?)),
                ("without_deal_amount", Value::Money(of("without_deal_amount")?)),
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

    #[test]
    fn refunds_and_payments_without_a_deal_are_told_apart() {
        let rows = [
            "paid_period=2024-01-01 amount=10000 has_amount=1 has_deal=1",
            "paid_period=2024-01-01 amount=-2500 has_amount=1 has_deal=1",
            "paid_period=2024-01-01 has_deal=1",
            "paid_period=2024-03-01 amount=700 has_amount=1",
        ];
        let relations =
            rows.iter().fold(Fixture::new(&[]), |f, line| f.line(Relation::Payments, line)).build();
        let plan = plan(&[&[]], &[Period::Month]);
        let table = table(&relations, &METRIC, &plan, &settings(&relations, end_of("2024-03-15")));
        let months = &["slice=all", "period=month"][..];
        check(&table, months, "period_start", "2024-01-01 2024-03-01");
        check(&table, months, "payments_n", "3 1");
        check(&table, months, "refunds_n", "1 0");
        check(&table, months, "null_amount_n", "1 0");
        check(&table, months, "paid_net_amount", "75.00 7.00");
        check(&table, months, "without_deal_amount", "0.00 7.00");
        check(&table, months, "is_complete_period", "true false");
    }
}
