//! What each cohort of customers has brought at each age: revenue, orders, and who came back.
//!
//! Observed only; nothing is extrapolated to ages a cohort has not reached. Invariant: every cell
//! of cohort and age up to as_of is present, and a cell is null unless its period has ended, so
//! that a young cohort never looks worse than an old one for being young.

use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, StateView, View, by_period};
use crate::money::mean;
use crate::relations::Relation;
use crate::stats::interval::wilson;
use crate::stats::{Z_95, ratio};
use crate::table::{ColumnSpec, Value};
use crate::time::{Day, NO_DAY, Period};

/// Definition: customers by the period of their first order (`period_start`) and whole periods
/// since (`age`); an amount per customer is over all customers of the cohort, active or not.
///
/// Edge cases: a cell whose period has not ended by as_of has null measures and `exposed_n` 0;
/// amounts are net of refunds. Cohorts by day are not made (their cells would outnumber the
/// orders), nor one for the whole history (it has no age).
pub static METRIC: Metric = Metric {
    name: "clv_cohorts",
    question: "What has a customer of each cohort brought by each age, and who came back?",
    grain: "one row per slice, cohort (period_start) and age in periods",
    states: &[
        State {
            relation: Relation::CustomerPeriods,
            sql: "SELECT grain, cohort_start, age, SUM(is_active) AS active_n, \
                  SUM(orders_n) AS order_n, SUM(amount) AS net_amount FROM customer_periods \
                  GROUP BY grain, cohort_start, age",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Customers,
            sql: "SELECT cohort_period AS cohort, COUNT(*) AS customers_n FROM customers \
                  GROUP BY cohort",
            absent: Absent::SkipTable,
        },
    ],
    output: OUTPUT,
    view: View::Heatmap("retention_rate"),
    references: &[
        "Fader and Hardie, 2009, Probability Models for Customer-Base Analysis",
        "Wilson, 1927, Probable Inference, the Law of Succession, and Statistical Inference",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::count("age", "periods", "Periods since the cohort's; 0 for the first.").key(),
    ColumnSpec::date("cell_start", "First day of the period in which the cohort has this age."),
    ColumnSpec::count(
        "cohort_size_n",
        "customers",
        "Customers whose first order was in the cohort.",
    ),
    ColumnSpec::count(
        "exposed_n",
        "customers",
        "Customers for whom the whole period lies before as_of: all or none.",
    ),
    ColumnSpec::flag("is_mature", "The period of the cell has ended by as_of."),
    ColumnSpec::count("active_n", "customers", "Customers with an order; null if not mature.")
        .nullable(),
    ColumnSpec::count("orders_n", "orders", "Orders; null if not mature.").nullable(),
    ColumnSpec::money("amount", "Net amount of the orders; null if not mature.").nullable(),
    ColumnSpec::money("cumulative_amount", "Net amount from age 0 to this; null if not mature.")
        .nullable(),
    ColumnSpec::money(
        "cumulative_amount_per_customer",
        "cumulative_amount / cohort_size_n, rounded half to even; null if not mature.",
    )
    .nullable(),
    ColumnSpec::rate("retention_rate", "active_n / exposed_n; null if not mature."),
    ColumnSpec::rate("retention_rate_low", "Lower Wilson 95 % limit of retention_rate."),
    ColumnSpec::rate("retention_rate_high", "Upper Wilson 95 % limit of retention_rate."),
    ColumnSpec::flag("low_n", "Fewer customers in the cohort than the rate floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "active_n ≤ exposed_n ≤ cohort_size_n and active_n ≤ orders_n",
        holds: |row| {
            row.int("active_n") <= row.int("exposed_n")
                && row.int("exposed_n") <= row.int("cohort_size_n")
                && row.int("active_n") <= row.int("orders_n")
        },
    },
    Identity {
        claim: "at age 0 every customer of a mature cohort is active",
        holds: |row| {
            let is_later = row.int("age") != Some(0);
            is_later
                || row.int("active_n").is_none()
                || row.int("active_n") == row.int("cohort_size_n")
        },
    },
    Identity {
        claim: "measures are null exactly where the cell is not mature",
        holds: |row| row.bool("is_mature") == Some(row.int("orders_n").is_some()),
    },
];

/// What happened in one cell.
#[derive(Debug, Default, Clone, Copy)]
struct Cell {
    active_n: i64,
    orders_n: i64,
    amount: i64,
}

/// A period: its first day, and whether it has ended by as_of.
type Span = (Day, bool);

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [cells, sizes] = group.states else {
        return Err(Error::Bug("the cohorts have two states".into()));
    };
    if matches!(group.period, Period::All | Period::Day) {
        return Ok(());
    }
    let cohorts = by_period([cells, sizes]);
    let Some(first) = cohorts.keys().next() else { return Ok(()) };
    let spans = spans(group, *first)?;
    for (start, [cells, sizes]) in &cohorts {
        let Some(size_n) = sizes.value("customers_n")?.first() else { continue };
        let known = spans.partition_point(|(of, _)| of < start);
        let own = spans.get(known..).unwrap_or_default();
        push_cohort(group, rows, (*start, *size_n), own, &read_cells(cells)?)?;
    }
    Ok(())
}

/// Every period from the first cohort's to that of as_of.
fn spans(group: &Group<'_>, first: Day) -> Result<Vec<Span>, Error> {
    let (calendar, as_of) = (&group.settings.calendar, group.settings.as_of);
    if first == NO_DAY {
        return Err(Error::Bug("a customer has no cohort".into()));
    }
    let current = calendar.start(group.period, calendar.day(as_of));
    let span = |age| {
        let start = calendar.shift(group.period, first, age);
        (start, calendar.is_complete(group.period, start, as_of))
    };
    Ok((0..=calendar.distance(group.period, first, current)).map(span).collect())
}

/// The cells of one cohort in which something happened, by age.
fn read_cells(state: &StateView<'_>) -> Result<Vec<(i64, Cell)>, Error> {
    let values = state.value("active_n")?.iter().zip(state.value("order_n")?);
    let values = values.zip(state.value("net_amount")?);
    let cells =
        state.key("age")?.iter().zip(values).map(|(age, ((active_n, orders_n), amount))| {
            (*age, Cell { active_n: *active_n, orders_n: *orders_n, amount: *amount })
        });
    Ok(cells.collect())
}

fn push_cohort(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    (start, size_n): (Day, i64),
    spans: &[Span],
    cells: &[(i64, Cell)],
) -> Result<(), Error> {
    let mut cumulative = 0;
    let mut cells = cells.iter().peekable();
    for (age, (cell_start, is_mature)) in (0..).zip(spans.iter().copied()) {
        let found = cells.next_if(|(of, _)| *of == age);
        let cell = found.map_or_else(Cell::default, |(_, cell)| *cell);
        cumulative += cell.amount;
        let exposed_n = if is_mature { size_n } else { 0 };
        let limits = wilson(cell.active_n, exposed_n, Z_95);
        let mature = |value: i64| is_mature.then_some(value);
        rows.push(
            start,
            &[
                ("age", Value::Int(age)),
                ("cell_start", Value::Date(cell_start)),
                ("cohort_size_n", Value::Int(size_n)),
                ("exposed_n", Value::Int(exposed_n)),
                ("is_mature", Value::Bool(is_mature)),
                ("active_n", Value::int(mature(cell.active_n))),
                ("orders_n", Value::int(mature(cell.orders_n))),
                ("amount", Value::money(mature(cell.amount))),
                ("cumulative_amount", Value::money(mature(cumulative))),
                (
                    "cumulative_amount_per_customer",
                    Value::money(mature(cumulative).and_then(|sum| mean(sum, size_n))),
                ),
                ("retention_rate", Value::float(ratio(cell.active_n, exposed_n))),
                ("retention_rate_low", Value::float(limits.map(|l| l.0))),
                ("retention_rate_high", Value::float(limits.map(|l| l.1))),
                ("low_n", Value::Bool(size_n < group.settings.rate_floor)),
            ],
        )?;
    }
    Ok(())
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

    #[track_caller]
    fn check_cohort(table: &Table, start: &str, column: &str, expected: &str) {
        let found = cells(table, &["period=month", &format!("period_start={start}")], column);
        let head: Vec<&str> = found.iter().map(String::as_str).take(7).collect();
        assert_eq!(head.join(" "), expected, "{column} of {start}");
    }

    #[test]
    fn cdnow_cohorts_are_reproduced() {
        let Some(relations) = cdnow_sample() else { return };
        // All orders lie before July 1998.
        let settings = settings(&["L"], day("1998-07-01"));
        let table = run(&METRIC, &relations, &[Period::Month], &settings);
        check_cohort(&table, "1997-01-01", "active_n", "781 124 95 70 65 77 65");
        check_cohort(&table, "1997-02-01", "active_n", "857 134 110 75 77 75 61");
        check_cohort(&table, "1997-03-01", "active_n", "719 87 84 78 63 64 55");
        check_cohort(
            &table,
            "1997-01-01",
            "amount",
            "28592.70 7003.73 4241.64 3755.36 3833.25 3547.50 3172.31",
        );
        check_cohort(
            &table,
            "1997-03-01",
            "amount",
            "32812.09 4103.03 3456.67 3163.59 3098.32 2914.92 2102.44",
        );
        for (start, m12, m15) in [("1997-01", 45, 37), ("1997-02", 59, 59), ("1997-03", 78, 45)] {
            let start = format!("period_start={start}-01");
            check(&table, &[&start, "age=12"], "active_n", &m12.to_string());
            check(&table, &[&start, "age=15"], "active_n", &m15.to_string());
        }
        // Printed: 100.9511 105.8113 103.7119 per customer over the whole 18 months.
        for (start, age, mean) in
            [("1997-01", 17, "100.95"), ("1997-02", 16, "105.81"), ("1997-03", 15, "103.71")]
        {
            let at = [&format!("period_start={start}-01")[..], &format!("age={age}")];
            check(&table, &at, "cumulative_amount_per_customer", mean);
            check(&table, &at, "is_mature", "true");
        }
    }

    /// One customer: first order on 10 January, another on 5 March 1970, as of the day given.
    fn one_customer(as_of_day: i64) -> Table {
        let relations = orders(&[(1, 9, 500), (1, 63, 250)], as_of_day as Day);
        run(&METRIC, &relations, &[Period::Month], &settings(&["L"], as_of_day))
    }

    #[test]
    fn every_age_up_to_as_of_is_there_even_when_nobody_came() {
        // As of 1 April: March has just ended, April has just begun.
        let table = one_customer(90);
        check(&table, &[], "age", "0 1 2 3");
        check(&table, &[], "active_n", "1 0 1 -");
        check(&table, &[], "amount", "5.00 0.00 2.50 -");
        check(&table, &[], "cumulative_amount", "5.00 5.00 7.50 -");
        check(&table, &[], "retention_rate", "1.0 0.0 1.0 -");
    }

    #[test]
    fn cell_whose_period_has_not_ended_is_null() {
        let table = one_customer(70);
        check(&table, &[], "cell_start", "1970-01-01 1970-02-01 1970-03-01");
        check(&table, &[], "is_mature", "true true false");
        check(&table, &[], "exposed_n", "1 1 0");
        check(&table, &[], "active_n", "1 0 -");
        check(&table, &[], "cumulative_amount_per_customer", "5.00 5.00 -");
    }
}
