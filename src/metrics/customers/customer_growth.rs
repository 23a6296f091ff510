//! Who is new, who stayed, who came back and who left, in each period.
//!
//! A customer is active in a period with an order in it. Churn here is observed, period over
//! period: it may come back, and is then reactivated; it is no statement that a customer is lost
//! for good. Invariant: active = active of the previous period + new + reactivated − churned.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::metrics::{
    Absent, Group, Identity, Metric, Rows, Settings, State, StateView, View, period_start,
};
use crate::relations::Relation;
use crate::stats::interval::wilson;
use crate::stats::{Z_95, ratio};
use crate::table::{ColumnSpec, Value};
use crate::time::{Day, NO_DAY, Period};

/// Definition: customers by period; new by the period of their first order, returning if active in
/// the period before too, reactivated if active again after at least one period without.
///
/// Edge cases: every period from the first order to as_of is there, with zeros where nothing
/// happened; in the period that has not ended, who has not ordered yet counts as churned so far,
/// and the rates of retention and churn are null. The row of the whole history counts every
/// customer as new.
pub static METRIC: Metric = Metric {
    name: "customer_growth",
    question: "How many customers are won, kept, won back and lost in each period?",
    grain: "one row per slice and period",
    states: &[
        State {
            relation: Relation::CustomerPeriods,
            sql: "SELECT grain, period_start, SUM(is_active) AS active_n, SUM(is_new) AS new_n, \
                  SUM(is_returning) AS returning_n, SUM(is_reactivated) AS reactivated_n, \
                  SUM(orders_n) AS order_n, SUM(amount) AS net_amount, \
                  SUM(CASE WHEN is_new = 1 THEN amount ELSE 0 END) AS new_amount, \
                  SUM(CASE WHEN is_returning = 1 THEN amount ELSE 0 END) AS returning_amount, \
                  SUM(CASE WHEN is_reactivated = 1 THEN amount ELSE 0 END) AS reactivated_amount, \
                  SUM(CASE WHEN is_active = 0 THEN amount ELSE 0 END) AS refund_amount \
                  FROM customer_periods GROUP BY grain, period_start",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::CustomerPeriods,
            sql: "SELECT grain, churned_start, COUNT(*) AS churned_n FROM customer_periods \
                  WHERE is_churned = 1 GROUP BY grain, churned_start",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Customers,
            sql: "SELECT cohort_period AS cohort, COUNT(*) AS customers_n, \
                  SUM(orders_n) AS order_n, SUM(amount) AS net_amount, \
                  SUM(CASE WHEN purchase_days_n >= 1 THEN 1 ELSE 0 END) AS buyers_n, \
                  SUM(CASE WHEN purchase_days_n >= 2 THEN 1 ELSE 0 END) AS repeat_buyers_n \
                  FROM customers GROUP BY cohort",
            absent: Absent::SkipTable,
        },
    ],
    output: OUTPUT,
    view: View::Line("active_n"),
    references: &[
        "Wilson, 1927, Probable Inference, the Law of Succession, and Statistical Inference",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::count("previous_active_n", "customers", "Customers active in the period before."),
    ColumnSpec::count(
        "active_n",
        "customers",
        "Customers with a purchase day in the period, and all new ones.",
    ),
    ColumnSpec::count("new_n", "customers", "Active customers whose first period it is."),
    ColumnSpec::count("returning_n", "customers", "Active customers active in the period before."),
    ColumnSpec::count(
        "reactivated_n",
        "customers",
        "Active customers that are not new and were not active in the period before.",
    ),
    ColumnSpec::count("churned_n", "customers", "Active in the period before, not in this one."),
    ColumnSpec::count("orders_n", "orders", "Orders."),
    ColumnSpec::money("amount", "Net amount of the orders."),
    ColumnSpec::money("new_amount", "Of this, of new customers."),
    ColumnSpec::money("returning_amount", "Of this, of returning customers."),
    ColumnSpec::money("reactivated_amount", "Of this, of reactivated customers."),
    ColumnSpec::money(
        "refund_only_amount",
        "Of this, of customers that are not active: refunds without a purchase in the period.",
    ),
    ColumnSpec::rate("new_customer_rate", "new_n / active_n."),
    ColumnSpec::rate(
        "retention_rate",
        "returning_n / previous_active_n; null while the period has not ended.",
    ),
    ColumnSpec::rate("retention_rate_low", "Lower Wilson 95 % limit of retention_rate."),
    ColumnSpec::rate("retention_rate_high", "Upper Wilson 95 % limit of retention_rate."),
    ColumnSpec::rate(
        "churn_rate",
        "churned_n / previous_active_n; null while the period has not ended.",
    ),
    ColumnSpec::count(
        "buyers_n",
        "customers",
        "Customers of the cohort (first order in the period) with at least one purchase day.",
    ),
    ColumnSpec::count(
        "repeat_buyers_n",
        "customers",
        "Customers of the cohort with at least two purchase days by as_of.",
    ),
    ColumnSpec::rate(
        "repurchase_rate",
        "repeat_buyers_n / buyers_n; young cohorts have had less time for it.",
    ),
    ColumnSpec::rate("repurchase_rate_low", "Lower Wilson 95 % limit of repurchase_rate."),
    ColumnSpec::rate("repurchase_rate_high", "Upper Wilson 95 % limit of repurchase_rate."),
    ColumnSpec::flag("is_complete_period", "The period has ended by as_of."),
    ColumnSpec::flag("low_n", "previous_active_n is below the rate floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "active_n = previous_active_n + new_n + reactivated_n − churned_n",
        holds: |row| {
            let plus = ["previous_active_n", "new_n", "reactivated_n"];
            let sum = plus.iter().map(|n| row.int(n)).sum::<Option<i64>>();
            row.int("active_n") == sum.zip(row.int("churned_n")).map(|(sum, lost)| sum - lost)
        },
    },
    Identity {
        claim: "active_n = new_n + returning_n + reactivated_n",
        holds: |row| {
            let parts = ["new_n", "returning_n", "reactivated_n"];
            row.int("active_n") == parts.iter().map(|n| row.int(n)).sum::<Option<i64>>()
        },
    },
    Identity {
        claim: "amount = new_amount + returning_amount + reactivated_amount + refund_only_amount",
        holds: |row| {
            let parts =
                ["new_amount", "returning_amount", "reactivated_amount", "refund_only_amount"];
            row.money("amount") == parts.iter().map(|n| row.money(n)).sum()
        },
    },
    Identity {
        claim: "repeat_buyers_n ≤ buyers_n",
        holds: |row| row.int("repeat_buyers_n") <= row.int("buyers_n"),
    },
];

/// What happened to the customers of one group in one period.
#[derive(Debug, Default, Clone, Copy)]
struct Change {
    active_n: i64,
    new_n: i64,
    returning_n: i64,
    reactivated_n: i64,
    churned_n: i64,
    orders_n: i64,
    amount: i64,
    new_amount: i64,
    returning_amount: i64,
    reactivated_amount: i64,
    refund_amount: i64,
    buyers_n: i64,
    repeat_buyers_n: i64,
}

/// Per first day of the period.
type Changes = BTreeMap<Day, Change>;

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [active, churned, cohorts] = group.states else {
        return Err(Error::Bug("the customer growth has three states".into()));
    };
    let mut changes = Changes::new();
    if group.period != Period::All {
        add_active(&mut changes, active)?;
        add(&mut changes, churned, "churned_start", "churned_n", |c| &mut c.churned_n)?;
    }
    add(&mut changes, cohorts, "cohort", "buyers_n", |c| &mut c.buyers_n)?;
    add(&mut changes, cohorts, "cohort", "repeat_buyers_n", |c| &mut c.repeat_buyers_n)?;
    if group.period == Period::All {
        // Over the whole history every customer is new once; there is no period before.
        add(&mut changes, cohorts, "cohort", "customers_n", |c| &mut c.active_n)?;
        add(&mut changes, cohorts, "cohort", "customers_n", |c| &mut c.new_n)?;
        add(&mut changes, cohorts, "cohort", "order_n", |c| &mut c.orders_n)?;
        add(&mut changes, cohorts, "cohort", "net_amount", |c| &mut c.amount)?;
        add(&mut changes, cohorts, "cohort", "net_amount", |c| &mut c.new_amount)?;
    }
    push_changes(group, rows, &changes)
}

fn add_active(changes: &mut Changes, state: &StateView<'_>) -> Result<(), Error> {
    let key = "period_start";
    add(changes, state, key, "active_n", |c| &mut c.active_n)?;
    add(changes, state, key, "new_n", |c| &mut c.new_n)?;
    add(changes, state, key, "returning_n", |c| &mut c.returning_n)?;
    add(changes, state, key, "reactivated_n", |c| &mut c.reactivated_n)?;
    add(changes, state, key, "order_n", |c| &mut c.orders_n)?;
    add(changes, state, key, "net_amount", |c| &mut c.amount)?;
    add(changes, state, key, "new_amount", |c| &mut c.new_amount)?;
    add(changes, state, key, "returning_amount", |c| &mut c.returning_amount)?;
    add(changes, state, key, "reactivated_amount", |c| &mut c.reactivated_amount)?;
    add(changes, state, key, "refund_amount", |c| &mut c.refund_amount)
}

fn add(
    changes: &mut Changes,
    state: &StateView<'_>,
    key: &str,
    value: &str,
    pick: fn(&mut Change) -> &mut i64,
) -> Result<(), Error> {
    for (period, count) in state.key(key)?.iter().zip(state.value(value)?) {
        *pick(changes.entry(period_start(*period)).or_default()) += count;
    }
    Ok(())
}

/// Every period from the first in which something happened to that of as_of, in order.
fn push_changes(group: &Group<'_>, rows: &mut Rows<'_>, changes: &Changes) -> Result<(), Error> {
    let Some((first, last)) = changes.keys().next().zip(changes.keys().next_back()) else {
        return Ok(());
    };
    let (calendar, as_of) = (&group.settings.calendar, group.settings.as_of);
    let current = calendar.start(group.period, calendar.day(as_of)).max(*last);
    let mut previous_active_n = 0;
    for step in 0..=calendar.distance(group.period, *first, current) {
        let start = calendar.shift(group.period, *first, step);
        let change = changes.get(&start).copied().unwrap_or_default();
        push_change(group, rows, start, previous_active_n, &change)?;
        previous_active_n = change.active_n;
    }
    Ok(())
}

fn push_change(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    start: Day,
    previous_active_n: i64,
    change: &Change,
) -> Result<(), Error> {
    let Settings { calendar, as_of, rate_floor, .. } = group.settings;
    let is_complete = start != NO_DAY && calendar.is_complete(group.period, start, *as_of);
    let base_n = if is_complete { previous_active_n } else { 0 };
    let retention = wilson(change.returning_n, base_n, Z_95);
    let repurchase = wilson(change.repeat_buyers_n, change.buyers_n, Z_95);
    rows.push(
        start,
        &[
            ("previous_active_n", Value::Int(previous_active_n)),
            ("active_n", Value::Int(change.active_n)),
            ("new_n", Value::Int(change.new_n)),
            ("returning_n", Value::Int(change.returning_n)),
            ("reactivated_n", Value::Int(change.reactivated_n)),
            ("churned_n", Value::Int(change.churned_n)),
            ("orders_n", Value::Int(change.orders_n)),
            ("amount", Value::Money(change.amount)),
            ("new_amount", Value::Money(change.new_amount)),
            ("returning_amount", Value::Money(change.returning_amount)),
            ("reactivated_amount", Value::Money(change.reactivated_amount)),
            ("refund_only_amount", Value::Money(change.refund_amount)),
            ("new_customer_rate", Value::float(ratio(change.new_n, change.active_n))),
            ("retention_rate", Value::float(ratio(change.returning_n, base_n))),
            ("retention_rate_low", Value::float(retention.map(|l| l.0))),
            ("retention_rate_high", Value::float(retention.map(|l| l.1))),
            ("churn_rate", Value::float(ratio(change.churned_n, base_n))),
            ("buyers_n", Value::Int(change.buyers_n)),
            ("repeat_buyers_n", Value::Int(change.repeat_buyers_n)),
            ("repurchase_rate", Value::float(ratio(change.repeat_buyers_n, change.buyers_n))),
            ("repurchase_rate_low", Value::float(repurchase.map(|l| l.0))),
            ("repurchase_rate_high", Value::float(repurchase.map(|l| l.1))),
            ("is_complete_period", Value::Bool(is_complete)),
            ("low_n", Value::Bool(previous_active_n < *rate_floor)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{cdnow_sample, cells, check, orders, run, settings};
    use crate::table::Table;
    use crate::time::from_date;

    fn day(text: &str) -> i64 {
        from_date(text.parse().expect("YYYY-MM-DD")).into()
    }

    #[test]
    fn cdnow_growth_follows_from_the_printed_cohorts() {
        let Some(relations) = cdnow_sample() else { return };
        let settings = settings(&["L"], day("1998-07-01"));
        let table = run(&METRIC, &relations, &[Period::Month], &settings);
        let head = |column: &str| {
            let found = cells(&table, &["period=month"], column);
            found.into_iter().take(3).collect::<Vec<_>>().join(" ")
        };
        // Cohorts 781 857 719; active in the next months 124 95 and 134.
        assert_eq!(head("new_n"), "781 857 719");
        assert_eq!(head("active_n"), "781 981 948");
        assert_eq!(head("previous_active_n"), "0 781 981");
        // February: of the 781 of January 124 came again.
        assert_eq!(cells(&table, &["period_start=1997-02-01"], "returning_n"), ["124"]);
        assert_eq!(cells(&table, &["period_start=1997-02-01"], "churned_n"), ["657"]);
        // Printed: 1,139 of 2,357 customers with more than one distinct day.
        check(&table, &["period=all"], "active_n", "2357");
        check(&table, &["period=all"], "orders_n", "6919");
        check(&table, &["period=all"], "amount", "244091.94");
        check(&table, &["period=all"], "repeat_buyers_n", "1139");
        check(&table, &["period=all"], "buyers_n", "2357");
    }

    /// Customer 1 orders in January, March and April; customer 2 in January and February.
    fn two_customers(as_of_day: i64) -> Table {
        let found = [(1, 9, 500), (1, 63, 250), (1, 95, 100), (2, 20, 70), (2, 40, 30)];
        let found: Vec<_> =
            found.into_iter().filter(|(_, day, _)| i64::from(*day) < as_of_day).collect();
        let relations = orders(&found, as_of_day as Day);
        run(&METRIC, &relations, &[Period::Month], &settings(&["L"], as_of_day))
    }

    #[test]
    fn customer_who_comes_back_after_a_gap_is_reactivated() {
        // As of 15 June 1970: nobody ordered after April.
        let (table, at) = (two_customers(165), ["period=month"]);
        check(&table, &at, "active_n", "2 1 1 1 0 0");
        check(&table, &at, "new_n", "2 0 0 0 0 0");
        check(&table, &at, "returning_n", "0 1 0 1 0 0");
        check(&table, &at, "reactivated_n", "0 0 1 0 0 0");
        check(&table, &at, "churned_n", "0 1 1 0 1 0");
        check(&table, &at, "reactivated_amount", "0.00 0.00 2.50 0.00 0.00 0.00");
        check(&table, &at, "new_customer_rate", "1.0 0.0 0.0 0.0 - -");
        check(&table, &at, "retention_rate", "- 0.5 0.0 1.0 0.0 -");
    }

    #[test]
    fn period_that_has_not_ended_has_no_rates_of_retention_and_churn() {
        // As of 20 March: customer 2 has not ordered in March yet.
        let (table, at) = (two_customers(78), ["period_start=1970-03-01"]);
        check(&table, &at, "churned_n", "1");
        check(&table, &at, "is_complete_period", "false");
        check(&table, &at, "retention_rate", "-");
        check(&table, &at, "churn_rate", "-");
    }

    #[test]
    fn repurchase_is_of_the_cohort() {
        let (table, at) = (two_customers(165), ["period_start=1970-01-01"]);
        check(&table, &at, "buyers_n", "2");
        check(&table, &at, "repeat_buyers_n", "2");
        check(&table, &at, "repurchase_rate", "1.0");
        check(&table, &["period_start=1970-02-01"], "repurchase_rate", "-");
    }
}
