//! What contracts keep bringing: net and gross revenue retention, customers lost, contracts renewed.
//!
//! It compares what contracts bring a month as a period closes with what they brought as it opened;
//! orders and payments do not matter. Invariant: closing = opening + new + reactivated + expansion −
//! contraction − churned, in customers and in money.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, View, period_start};
use crate::relations::Relation;
use crate::stats::interval::wilson;
use crate::stats::{Z_95, ratio};
use crate::table::{ColumnSpec, Value};
use crate::time::{Day, Period};

/// Definition: per customer the sum of the contracts that run on the last day before the period
/// (opening) and on its last day, or on that of as_of (closing). NRR = (opening + expansion −
/// contraction − churned) / opening, GRR the same without expansion, so it is never above 1; new and
/// reactivated customers are in neither. A contract that ends in the period is renewed if another one
/// of the customer runs on the day of its end.
///
/// Edge cases: a contract without an amount keeps its customer, with nothing; customers who come and
/// go within a period are in `due_n` alone. In the period that has not ended rates are null. For
/// yearly NRR report by year or fiscal year; monthly rates do not add up to it.
pub static METRIC: Metric = Metric {
    name: "contract_retention",
    question: "How much of what contracts bring is kept, won and lost in each period?",
    grain: "one row per slice and period",
    states: &[State {
        relation: Relation::ContractPeriods,
        sql: "SELECT grain, period_start, SUM(has_opening) AS opening_n, \
              SUM(has_closing) AS closing_n, SUM(is_new) AS new_n, \
              SUM(is_reactivated) AS reactivated_n, SUM(is_churned) AS churned_n, \
              SUM(opening_amount) AS opening, SUM(closing_amount) AS closing, \
              SUM(CASE WHEN is_new = 1 THEN closing_amount ELSE 0 END) AS new_amount, \
              SUM(CASE WHEN is_reactivated = 1 THEN closing_amount ELSE 0 END) \
              AS reactivated_amount, \
              SUM(CASE WHEN is_churned = 1 THEN opening_amount ELSE 0 END) AS churned_amount, \
              SUM(CASE WHEN has_opening = 1 AND has_closing = 1 \
              AND closing_amount > opening_amount THEN 1 ELSE 0 END) AS expanded_n, \
              SUM(CASE WHEN has_opening = 1 AND has_closing = 1 \
              AND closing_amount > opening_amount THEN closing_amount - opening_amount ELSE 0 END) \
              AS expansion_amount, \
              SUM(CASE WHEN has_opening = 1 AND has_closing = 1 \
              AND closing_amount < opening_amount THEN 1 ELSE 0 END) AS contracted_n, \
              SUM(CASE WHEN has_opening = 1 AND has_closing = 1 \
              AND closing_amount < opening_amount THEN opening_amount - closing_amount ELSE 0 END) \
              AS contraction_amount, SUM(due_n) AS due_contracts_n, \
              SUM(renewed_n) AS renewed_contracts_n, SUM(unpriced_n) AS unpriced_contracts_n \
              FROM contract_periods GROUP BY grain, period_start",
        absent: Absent::SkipTable,
    }],
    output: OUTPUT,
    view: View::Line("nrr"),
    references: &[
        "Skok, 2010, SaaS Metrics: A Guide to Measuring and Improving What Matters",
        "Wilson, 1927, Probable Inference, the Law of Succession, and Statistical Inference",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::count("opening_n", "customers", "Customers with a contract as the period opens."),
    ColumnSpec::count("new_n", "customers", "Customers whose first contract began in it."),
    ColumnSpec::count("reactivated_n", "customers", "Customers with a contract again."),
    ColumnSpec::count("churned_n", "customers", "Customers left without a contract."),
    ColumnSpec::count("closing_n", "customers", "Customers with a contract as it closes."),
    ColumnSpec::count("expanded_n", "customers", "Customers whose contracts bring more."),
    ColumnSpec::count("contracted_n", "customers", "Customers whose contracts bring less."),
    ColumnSpec::money("opening_amount", "What contracts bring a month as it opens (MRR)."),
    ColumnSpec::money("new_amount", "What those of new customers bring."),
    ColumnSpec::money("reactivated_amount", "What those of reactivated customers bring."),
    ColumnSpec::money("expansion_amount", "What staying customers bring more."),
    ColumnSpec::money("contraction_amount", "What staying customers bring less."),
    ColumnSpec::money("churned_amount", "What churned customers brought."),
    ColumnSpec::money("closing_amount", "What contracts bring a month as it closes."),
    ColumnSpec::number(
        "nrr",
        "share",
        "Net revenue retention: (opening + expansion − contraction − churned) / opening; null while \
         the period has not ended.",
    )
    .nullable(),
    ColumnSpec::rate("grr", "Gross revenue retention: the same without expansion."),
    ColumnSpec::rate("logo_churn_rate", "churned_n / opening_n; null while it has not ended."),
    ColumnSpec::rate("logo_churn_rate_low", "Lower Wilson 95 % limit of logo_churn_rate."),
    ColumnSpec::rate("logo_churn_rate_high", "Upper Wilson 95 % limit of logo_churn_rate."),
    ColumnSpec::count("due_n", "contracts", "Contracts that ended in the period."),
    ColumnSpec::count("renewed_n", "contracts", "Of these, those that were followed on the day."),
    ColumnSpec::rate("renewal_rate", "renewed_n / due_n."),
    ColumnSpec::rate("renewal_rate_low", "Lower Wilson 95 % limit of renewal_rate."),
    ColumnSpec::rate("renewal_rate_high", "Upper Wilson 95 % limit of renewal_rate."),
    ColumnSpec::count("unpriced_n", "contracts", "Contracts as it opens and closes without amount."),
    ColumnSpec::flag("is_complete_period", "The period has ended by as_of."),
    ColumnSpec::flag("low_n", "opening_n is below the rate floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "closing_amount = opening_amount + new_amount + reactivated_amount + \
                expansion_amount − contraction_amount − churned_amount",
        holds: |row| {
            let sum = |names: &[&str]| names.iter().map(|n| row.money(n)).sum::<Option<i64>>();
            let plus =
                sum(&["opening_amount", "new_amount", "reactivated_amount", "expansion_amount"]);
            let minus = sum(&["contraction_amount", "churned_amount"]);
            row.money("closing_amount") == plus.zip(minus).map(|(plus, minus)| plus - minus)
        },
    },
    Identity {
        claim: "closing_n = opening_n + new_n + reactivated_n − churned_n",
        holds: |row| {
            let plus = ["opening_n", "new_n", "reactivated_n"];
            let sum = plus.iter().map(|n| row.int(n)).sum::<Option<i64>>();
            row.int("closing_n") == sum.zip(row.int("churned_n")).map(|(sum, lost)| sum - lost)
        },
    },
    Identity {
        claim: "renewed_n ≤ due_n and grr ≤ nrr",
        holds: |row| {
            row.int("renewed_n") <= row.int("due_n") && row.float("grr") <= row.float("nrr")
        },
    },
];

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [state] = group.states else {
        return Err(Error::Bug("contract retention has one state".into()));
    };
    if group.period == Period::All {
        return Ok(());
    }
    let starts = state.key("period_start")?;
    let mut by_start: BTreeMap<Day, BTreeMap<&str, i64>> = BTreeMap::new();
    for (name, column) in state.values() {
        for (start, value) in starts.iter().zip(column) {
            by_start.entry(period_start(*start)).or_default().insert(name, *value);
        }
    }
    let Some((first, last)) = by_start.keys().next().zip(by_start.keys().next_back()) else {
        return Ok(());
    };
    let (calendar, nothing) = (&group.settings.calendar, BTreeMap::new());
    for step in 0..=calendar.distance(group.period, *first, *last) {
        let start = calendar.shift(group.period, *first, step);
        push(group, rows, start, by_start.get(&start).unwrap_or(&nothing))?;
    }
    Ok(())
}

fn push(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    start: Day,
    values: &BTreeMap<&str, i64>,
) -> Result<(), Error> {
    let settings = group.settings;
    let own = |name| values.get(name).copied().unwrap_or(0);
    let count = |name| Value::Int(own(name));
    let money = |name| Value::Money(own(name));
    let is_complete = settings.calendar.is_complete(group.period, start, settings.as_of);
    let opening = if is_complete { own("opening") } else { 0 };
    let kept = opening - own("contraction_amount") - own("churned_amount");
    let opening_n = if is_complete { own("opening_n") } else { 0 };
    let churn = wilson(own("churned_n"), opening_n, Z_95);
    let (due_n, renewed_n) = (own("due_contracts_n"), own("renewed_contracts_n"));
    let renewal = wilson(renewed_n, due_n, Z_95);
    rows.push(
        start,
        &[
            ("opening_n", count("opening_n")),
            ("new_n", count("new_n")),
            ("reactivated_n", count("reactivated_n")),
            ("churned_n", count("churned_n")),
            ("closing_n", count("closing_n")),
            ("expanded_n", count("expanded_n")),
            ("contracted_n", count("contracted_n")),
            ("opening_amount", money("opening")),
            ("new_amount", money("new_amount")),
            ("reactivated_amount", money("reactivated_amount")),
            ("expansion_amount", money("expansion_amount")),
            ("contraction_amount", money("contraction_amount")),
            ("churned_amount", money("churned_amount")),
            ("closing_amount", money("closing")),
            ("nrr", Value::float(ratio(kept + own("expansion_amount"), opening))),
            ("grr", Value::float(ratio(kept, opening))),
            ("logo_churn_rate", Value::float(ratio(own("churned_n"), opening_n))),
            ("logo_churn_rate_low", Value::float(churn.map(|l| l.0))),
            ("logo_churn_rate_high", Value::float(churn.map(|l| l.1))),
            ("due_n", Value::Int(due_n)),
            ("renewed_n", Value::Int(renewed_n)),
            ("renewal_rate", Value::float(ratio(renewed_n, due_n))),
            ("renewal_rate_low", Value::float(renewal.map(|l| l.0))),
            ("renewal_rate_high", Value::float(renewal.map(|l| l.1))),
            ("unpriced_n", count("unpriced_contracts_n")),
            ("is_complete_period", Value::Bool(is_complete)),
            ("low_n", Value::Bool(own("opening_n") < settings.rate_floor)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{check, run, settings};
    use crate::relations::fixture::Fixture;

    #[test]
    fn net_retention_counts_growth_of_those_who_stay_and_gross_does_not() {
        // 1000, 500 and 300 as February opens: the first grows to 1200, the second falls to 400, the
        // third leaves; a fourth comes with 900. NRR (1800 + 200 − 100 − 300)/1800 = 1600/1800.
        let rows = [
            "has_opening=1 has_closing=1 opening_amount=100000 closing_amount=120000",
            "has_opening=1 has_closing=1 opening_amount=50000 closing_amount=40000 due_n=1 renewed_n=1",
            "has_opening=1 is_churned=1 opening_amount=30000 due_n=1",
            "has_closing=1 is_new=1 closing_amount=90000",
        ];
        let line = |f: Fixture, row: &str| {
            let row = format!("grain=month period_start=1970-02-01 {row}");
            f.line(Relation::ContractPeriods, &row)
        };
        let relations = rows.into_iter().fold(Fixture::new(&[]), line).build();
        let table = run(&METRIC, &relations, &[Period::Month], &settings(&["L"], 90));
        check(&table, &[], "opening_amount", "1800.00");
        check(&table, &[], "closing_amount", "2500.00");
        check(&table, &[], "nrr", "0.8888888888888888");
        // 1400/1800.
        check(&table, &[], "grr", "0.7777777777777778");
        check(&table, &[], "logo_churn_rate", "0.3333333333333333");
        check(&table, &[], "renewal_rate", "0.5");
        // As of 20 February there is nothing to say yet.
        let early = run(&METRIC, &relations, &[Period::Month], &settings(&["L"], 50));
        check(&early, &[], "nrr", "-");
        check(&early, &[], "closing_amount", "2500.00");
    }
}
