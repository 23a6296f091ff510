//! From the revenue of one period to that of the next: what new customers bring, those who come back
//! after a gap, those who buy more or less, and what those took along who left.
//!
//! It compares a period with the one just before, customer by customer; it knows no contract, so a
//! customer who buys once a year is lost and won back each year. Invariant: the revenue of active
//! customers = that of the period before + new + reactivated + expansion − contraction − churned.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, StateView, View, period_start};
use crate::relations::Relation;
use crate::stats::ratio;
use crate::table::{ColumnSpec, Value};
use crate::time::{Day, Period};

/// Definition: per customer the net amount of the period beside that of the period before. New,
/// returning and reactivated customers are those of `customer_growth`; expansion and contraction are
/// of returning ones; churned is the amount of the period before of those who are not active now.
///
/// Edge cases: every period from the first order to as_of is there; in the period that has not ended,
/// who has not ordered yet counts as churned so far, and ratios are null. Refunds in a period without
/// a purchase are apart, in `refund_only_amount`. There is no row for the whole history, which has no
/// period before.
pub static METRIC: Metric = Metric {
    name: "growth_accounting",
    question: "Which customers made the revenue grow or shrink since the period before?",
    grain: "one row per slice and period",
    states: &[
        State {
            relation: Relation::CustomerPeriods,
            sql: "SELECT grain, period_start, SUM(is_active) AS active_n, SUM(is_new) AS new_n, \
                  SUM(is_returning) AS returning_n, SUM(is_reactivated) AS reactivated_n, \
                  SUM(CASE WHEN is_active = 1 THEN amount ELSE 0 END) AS active_amount, \
                  SUM(CASE WHEN is_active = 0 THEN amount ELSE 0 END) AS refund_amount, \
                  SUM(CASE WHEN is_new = 1 THEN amount ELSE 0 END) AS new_amount, \
                  SUM(CASE WHEN is_reactivated = 1 THEN amount ELSE 0 END) AS reactivated_amount, \
                  SUM(CASE WHEN is_returning = 1 AND amount > previous_amount THEN 1 ELSE 0 END) \
                  AS expanded_n, \
                  SUM(CASE WHEN is_returning = 1 AND amount < previous_amount THEN 1 ELSE 0 END) \
                  AS contracted_n, \
                  SUM(CASE WHEN is_returning = 1 AND amount > previous_amount \
                  THEN amount - previous_amount ELSE 0 END) AS expansion_amount, \
                  SUM(CASE WHEN is_returning = 1 AND amount < previous_amount \
                  THEN previous_amount - amount ELSE 0 END) AS contraction_amount \
                  FROM customer_periods GROUP BY grain, period_start",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::CustomerPeriods,
            sql: "SELECT grain, churned_start, COUNT(*) AS churned_n, \
                  SUM(amount) AS churned_amount FROM customer_periods \
                  WHERE is_churned = 1 GROUP BY grain, churned_start",
            absent: Absent::SkipTable,
        },
    ],
    output: OUTPUT,
    view: View::Line("active_amount"),
    references: &["Hsu, 2009, Diligence at Social Capital: Accounting for User Growth"],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::count("previous_active_n", "customers", "Customers active in the period before."),
    ColumnSpec::count("new_n", "customers", "Customers whose first period it is."),
    ColumnSpec::count("reactivated_n", "customers", "Active again after a period without."),
    ColumnSpec::count("churned_n", "customers", "Active in the period before, not in this one."),
    ColumnSpec::count("active_n", "customers", "Active customers."),
    ColumnSpec::count("expanded_n", "customers", "Returning customers with more than before."),
    ColumnSpec::count("contracted_n", "customers", "Returning customers with less than before."),
    ColumnSpec::count("unchanged_n", "customers", "Returning customers with the same amount."),
    ColumnSpec::money("previous_amount", "active_amount of the period before."),
    ColumnSpec::money("new_amount", "Net amount of new customers."),
    ColumnSpec::money("reactivated_amount", "Net amount of reactivated customers."),
    ColumnSpec::money("expansion_amount", "What returning customers bring more than before."),
    ColumnSpec::money("contraction_amount", "What returning customers bring less than before."),
    ColumnSpec::money("churned_amount", "What churned customers brought in the period before."),
    ColumnSpec::money("active_amount", "Net amount of active customers."),
    ColumnSpec::money(
        "refund_only_amount",
        "Refunds of customers without a purchase in the period; not in active_amount.",
    ),
    ColumnSpec::number(
        "quick_ratio",
        "ratio",
        "(new_amount + reactivated_amount + expansion_amount) / (contraction_amount + \
         churned_amount); null on a zero denominator and while the period has not ended.",
    )
    .nullable(),
    ColumnSpec::rate(
        "revenue_kept_rate",
        "(previous_amount − contraction_amount − churned_amount) / previous_amount; null while the \
         period has not ended.",
    ),
    ColumnSpec::number(
        "revenue_returned_rate",
        "share",
        "revenue_kept_rate with expansion_amount, which may be above 1.",
    )
    .nullable(),
    ColumnSpec::flag("is_complete_period", "The period has ended by as_of."),
    ColumnSpec::flag("low_n", "previous_active_n is below the rate floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "active_amount = previous_amount + new_amount + reactivated_amount + \
                expansion_amount − contraction_amount − churned_amount",
        holds: |row| {
            let sum = |names: &[&str]| names.iter().map(|n| row.money(n)).sum::<Option<i64>>();
            let plus =
                sum(&["previous_amount", "new_amount", "reactivated_amount", "expansion_amount"]);
            let minus = sum(&["contraction_amount", "churned_amount"]);
            row.money("active_amount") == plus.zip(minus).map(|(plus, minus)| plus - minus)
        },
    },
    Identity {
        claim: "active_n = previous_active_n + new_n + reactivated_n − churned_n",
        holds: |row| {
            let plus = ["previous_active_n", "new_n", "reactivated_n"];
            let sum = plus.iter().map(|n| row.int(n)).sum::<Option<i64>>();
            row.int("active_n") == sum.zip(row.int("churned_n")).map(|(sum, lost)| sum - lost)
        },
    },
    Identity {
        claim: "active_n = new_n + reactivated_n + expanded_n + contracted_n + unchanged_n",
        holds: |row| {
            let parts = ["new_n", "reactivated_n", "expanded_n", "contracted_n", "unchanged_n"];
            row.int("active_n") == parts.iter().map(|n| row.int(n)).sum::<Option<i64>>()
        },
    },
];

/// The columns of the first state, in its order, with the churned ones behind.
const VALUES: [&str; 12] = [
    "active_n",
    "new_n",
    "returning_n",
    "reactivated_n",
    "active_amount",
    "refund_amount",
    "new_amount",
    "reactivated_amount",
    "expanded_n",
    "contracted_n",
    "expansion_amount",
    "contraction_amount",
];

/// What happened in one period: its values by name.
type Change<'a> = BTreeMap<&'a str, i64>;

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [active, churned] = group.states else {
        return Err(Error::Bug("growth accounting has two states".into()));
    };
    if group.period == Period::All {
        return Ok(());
    }
    let mut changes: BTreeMap<Day, Change<'_>> = BTreeMap::new();
    for name in VALUES {
        add(&mut changes, active, "period_start", name)?;
    }
    for name in ["churned_n", "churned_amount"] {
        add(&mut changes, churned, "churned_start", name)?;
    }
    let Some((first, last)) = changes.keys().next().zip(changes.keys().next_back()) else {
        return Ok(());
    };
    let (calendar, as_of) = (&group.settings.calendar, group.settings.as_of);
    let current = calendar.start(group.period, calendar.day(as_of)).max(*last);
    let (nothing, mut before) = (Change::new(), &Change::new());
    for step in 0..=calendar.distance(group.period, *first, current) {
        let start = calendar.shift(group.period, *first, step);
        let change = changes.get(&start).unwrap_or(&nothing);
        push(group, rows, start, before, change)?;
        before = change;
    }
    Ok(())
}

fn add<'a>(
    changes: &mut BTreeMap<Day, Change<'a>>,
    state: &StateView<'_>,
    key: &str,
    name: &'a str,
) -> Result<(), Error> {
    for (period, value) in state.key(key)?.iter().zip(state.value(name)?) {
        *changes.entry(period_start(*period)).or_default().entry(name).or_default() += value;
    }
    Ok(())
}

fn push(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    start: Day,
    before: &Change<'_>,
    change: &Change<'_>,
) -> Result<(), Error> {
    let settings = group.settings;
    let of = |change: &Change<'_>, name| change.get(name).copied().unwrap_or(0);
    let own = |name| of(change, name);
    let count = |name| Value::Int(own(name));
    let money = |name| Value::Money(own(name));
    let (previous_n, previous) = (of(before, "active_n"), of(before, "active_amount"));
    let gained = own("new_amount") + own("reactivated_amount") + own("expansion_amount");
    let lost = own("contraction_amount") + own("churned_amount");
    let unchanged = own("returning_n") - own("expanded_n") - own("contracted_n");
    let is_complete = settings.calendar.is_complete(group.period, start, settings.as_of);
    let of_previous = |kept: i64| ratio(kept, previous).filter(|_| is_complete && previous > 0);
    rows.push(
        start,
        &[
            ("previous_active_n", Value::Int(previous_n)),
            ("new_n", count("new_n")),
            ("reactivated_n", count("reactivated_n")),
            ("churned_n", count("churned_n")),
            ("active_n", count("active_n")),
            ("expanded_n", count("expanded_n")),
            ("contracted_n", count("contracted_n")),
            ("unchanged_n", Value::Int(unchanged)),
            ("previous_amount", Value::Money(previous)),
            ("new_amount", money("new_amount")),
            ("reactivated_amount", money("reactivated_amount")),
            ("expansion_amount", money("expansion_amount")),
            ("contraction_amount", money("contraction_amount")),
            ("churned_amount", money("churned_amount")),
            ("active_amount", money("active_amount")),
            ("refund_only_amount", money("refund_amount")),
            ("quick_ratio", Value::float(ratio(gained, lost).filter(|_| is_complete && lost > 0))),
            ("revenue_kept_rate", Value::float(of_previous(previous - lost))),
            (
                "revenue_returned_rate",
                Value::float(of_previous(previous - lost + own("expansion_amount"))),
            ),
            ("is_complete_period", Value::Bool(is_complete)),
            ("low_n", Value::Bool(previous_n < settings.rate_floor)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{cdnow_sample, cells, check, orders, run, settings};
    use crate::time::from_date;

    #[test]
    fn revenue_of_each_period_follows_from_the_one_before() {
        // Customer 1 brings 5.00 in January, 8.00 in February, 6.00 in March and nothing in April;
        // customer 2 4.00 in January and again in April; customer 3 1.00 from March on.
        let found = [
            (1, 9, 500),
            (1, 40, 800),
            (1, 63, 600),
            (2, 20, 400),
            (2, 95, 400),
            (3, 70, 100),
            (3, 100, 100),
        ];
        let relations = orders(&found, 125);
        let table = run(&METRIC, &relations, &[Period::Month], &settings(&["L"], 125));
        check(&table, &[], "previous_amount", "0.00 9.00 8.00 7.00 5.00");
        check(&table, &[], "new_amount", "9.00 0.00 1.00 0.00 0.00");
        check(&table, &[], "reactivated_amount", "0.00 0.00 0.00 4.00 0.00");
        check(&table, &[], "expansion_amount", "0.00 3.00 0.00 0.00 0.00");
        check(&table, &[], "contraction_amount", "0.00 0.00 2.00 0.00 0.00");
        check(&table, &[], "churned_amount", "0.00 4.00 0.00 6.00 5.00");
        check(&table, &[], "active_amount", "9.00 8.00 7.00 5.00 0.00");
        check(&table, &[], "unchanged_n", "0 0 0 1 0");
        // 3/4, 1/2, 4/6; May has not ended.
        check(&table, &[], "quick_ratio", "- 0.75 0.5 0.6666666666666666 -");
        // (9 − 4)/9, (8 − 2)/8, (7 − 6)/7.
        check(&table, &[], "revenue_kept_rate", "- 0.5555555555555556 0.75 0.14285714285714285 -");
        check(
            &table,
            &[],
            "revenue_returned_rate",
            "- 0.8888888888888888 0.75 0.14285714285714285 -",
        );
    }

    #[test]
    fn cdnow_amounts_follow_from_the_printed_cohorts() {
        let Some(relations) = cdnow_sample() else { return };
        let as_of = from_date("1998-07-01".parse().unwrap());
        let settings = settings(&["L"], as_of.into());
        let table = run(&METRIC, &relations, &[Period::Month], &settings);
        let january = &["period_start=1997-01-01"][..];
        let february = &["period_start=1997-02-01"][..];
        check(&table, january, "new_amount", "28592.70");
        check(&table, february, "new_amount", "33430.08");
        // Printed: 33430.08 of the new cohort and 7003.73 of January's.
        check(&table, february, "active_amount", "40433.81");
        check(&table, february, "churned_n", "657");
        let cents = |column: &str| -> i64 {
            cells(&table, february, column)[0].replace('.', "").parse().unwrap()
        };
        let kept = 2_859_270 - cents("contraction_amount") - cents("churned_amount");
        assert_eq!(kept + cents("expansion_amount"), 700_373, "what January's customers brought");
    }
}
