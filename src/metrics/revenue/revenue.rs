//! `revenue`: what the won deals bring in, per period of the win.
//!
//! The clock is the entry into the won stage that holds at `as_of` (final basis, G7 and G8): a
//! re-opened deal is not revenue until it is won again. It does not convert currencies and does not
//! book reversals on a ledger.
//!
//! Invariant: net = gross + refunds = new + existing + unassigned business, in minor units.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, StateView, View, by_period};
use crate::money::mean;
use crate::relations::Relation;
use crate::stats::float;
use crate::stats::quantile::type7_from_counts;
use crate::table::{ColumnSpec, Value};
use crate::time::{Day, NO_DAY, Period};

/// The metric.
pub static METRIC: Metric = Metric {
    name: "revenue",
    question: "How much do won deals bring in, how large are they, and does it grow?",
    grain: "one row per slice, period length and period from the group's first win to as_of",
    states: &[
        State {
            relation: Relation::Deals,
            sql: "SELECT closed_period AS period, COUNT(*) AS won_n, SUM(has_amount) AS priced_n, \
                  SUM(CASE WHEN amount > 0 THEN amount ELSE 0 END) AS gross_amount, \
                  SUM(CASE WHEN amount < 0 THEN amount ELSE 0 END) AS refund_amount, \
                  SUM(CASE WHEN has_amount = 1 AND amount = 0 THEN 1 ELSE 0 END) AS zero_amount_n \
                  FROM deals WHERE is_won = 1 GROUP BY period",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Deals,
            sql: "SELECT closed_period AS period, amount AS deal_size, COUNT(*) AS deals_n \
                  FROM deals WHERE is_won = 1 AND has_amount = 1 GROUP BY period, deal_size",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Orders,
            sql: "SELECT ordered_period AS period, COUNT(*) AS order_n, \
                  SUM(is_first_order) AS new_n, SUM(amount) AS order_amount, \
                  SUM(CASE WHEN is_first_order = 1 THEN amount ELSE 0 END) AS new_amount \
                  FROM orders GROUP BY period",
            absent: Absent::NoRows,
        },
    ],
    output: OUTPUT,
    view: View::Line("net_amount"),
    references: &["Hyndman and Fan, 1996, Sample Quantiles in Statistical Packages (type 7)"],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::count("won_n", "deals", "Deals won in the period and still won at as_of."),
    ColumnSpec::money("gross_amount", "Sum of their amounts above zero."),
    ColumnSpec::money("refund_amount", "Sum of their amounts below zero; zero or negative."),
    ColumnSpec::money("net_amount", "gross_amount + refund_amount."),
    ColumnSpec::count("null_amount_n", "deals", "Won deals without an amount, which add nothing."),
    ColumnSpec::count("zero_amount_n", "deals", "Won deals with an amount of zero."),
    ColumnSpec::count("new_business_n", "deals", "Won deals that are a customer's first order."),
    ColumnSpec::money("new_business_amount", "Net amount of them."),
    ColumnSpec::count("existing_business_n", "deals", "Won deals that are a later order."),
    ColumnSpec::money("existing_business_amount", "Net amount of them."),
    ColumnSpec::count(
        "unassigned_business_n",
        "deals",
        "Won deals without a customer or without an amount, which are no order.",
    ),
    ColumnSpec::money("unassigned_business_amount", "Net amount of them."),
    ColumnSpec::money(
        "deal_size_mean",
        "net_amount / won deals with an amount, half to even; null without any.",
    )
    .nullable(),
    ColumnSpec::money(
        "deal_size_p25",
        "Lower quartile of the amounts (type 7), half to even; null without any.",
    )
    .nullable(),
    ColumnSpec::money(
        "deal_size_p50",
        "Median of the amounts (type 7), half to even; null without any.",
    )
    .nullable(),
    ColumnSpec::money(
        "deal_size_p75",
        "Upper quartile of the amounts (type 7), half to even; null without any.",
    )
    .nullable(),
    ColumnSpec::money(
        "deal_size_p90",
        "Ninth decile of the amounts (type 7), half to even; null without any.",
    )
    .nullable(),
    ColumnSpec::money(
        "prev_net_amount",
        "net_amount of the period before; null before the group's first win.",
    )
    .nullable(),
    ColumnSpec::number(
        "growth",
        "ratio",
        "net_amount / prev_net_amount − 1; null unless the base is above zero and the period over.",
    )
    .nullable(),
    ColumnSpec::money(
        "year_before_net_amount",
        "net_amount of the same period one year before; null before the group's first win.",
    )
    .nullable(),
    ColumnSpec::number(
        "year_growth",
        "ratio",
        "net_amount / year_before_net_amount − 1; null unless the base is above zero and the \
         period over.",
    )
    .nullable(),
    ColumnSpec::flag("is_complete_period", "The period has ended by as_of; never the whole."),
    ColumnSpec::flag("low_n", "Fewer won deals with an amount than the quantile floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "net_amount = gross_amount + refund_amount",
        holds: |row| {
            let parts = ["gross_amount", "refund_amount"];
            row.money("net_amount") == parts.iter().map(|n| row.money(n)).sum()
        },
    },
    Identity {
        claim: "net_amount = new_business_amount + existing_business_amount + \
                unassigned_business_amount",
        holds: |row| {
            let parts =
                ["new_business_amount", "existing_business_amount", "unassigned_business_amount"];
            row.money("net_amount") == parts.iter().map(|n| row.money(n)).sum()
        },
    },
    Identity {
        claim: "won_n = new_business_n + existing_business_n + unassigned_business_n, none below 0",
        holds: |row| {
            let parts = ["new_business_n", "existing_business_n", "unassigned_business_n"];
            row.int("won_n") == parts.iter().map(|n| row.int(n)).sum()
                && parts.iter().all(|n| row.int(n) >= Some(0))
        },
    },
    Identity {
        claim: "null_amount_n + zero_amount_n ≤ won_n",
        holds: |row| {
            let parts = ["null_amount_n", "zero_amount_n"];
            parts.iter().map(|n| row.int(n)).sum::<Option<i64>>() <= row.int("won_n")
        },
    },
];

/// What was won in one period by one group.
#[derive(Debug, Default, Clone)]
struct Won<'a> {
    won_n: i64,
    priced_n: i64,
    gross_amount: i64,
    refund_amount: i64,
    zero_amount_n: i64,
    new_n: i64,
    new_amount: i64,
    order_n: i64,
    order_amount: i64,
    /// Distinct amounts, ascending, and how many deals have each.
    sizes: &'a [i64],
    size_counts: &'a [i64],
}

impl Won<'_> {
    fn net_amount(&self) -> i64 {
        self.gross_amount + self.refund_amount
    }

    /// A quantile of the amounts, to the nearest minor unit.
    fn size(&self, p: f64) -> Option<i64> {
        let quantile = type7_from_counts(self.sizes, self.size_counts, p)?;
        Some(quantile.round_ties_even() as i64)
    }
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [totals, sizes, orders] = group.states else {
        return Err(Error::Bug("revenue has three states".into()));
    };
    let mut won: BTreeMap<Day, Won<'_>> = BTreeMap::new();
    for (start, [totals, sizes, orders]) in by_period([totals, sizes, orders]) {
        won.insert(start, read_won(&totals, &sizes, &orders)?);
    }
    push_periods(group, rows, &won)
}

fn read_won<'a>(
    totals: &StateView<'a>,
    sizes: &StateView<'a>,
    orders: &StateView<'a>,
) -> Result<Won<'a>, Error> {
    let value = |of: &StateView<'a>, name: &str| -> Result<i64, Error> {
        Ok(of.value(name)?.first().copied().unwrap_or(0))
    };
    Ok(Won {
        won_n: value(totals, "won_n")?,
        priced_n: value(totals, "priced_n")?,
        gross_amount: value(totals, "gross_amount")?,
        refund_amount: value(totals, "refund_amount")?,
        zero_amount_n: value(totals, "zero_amount_n")?,
        new_n: value(orders, "new_n")?,
        new_amount: value(orders, "new_amount")?,
        order_n: value(orders, "order_n")?,
        order_amount: value(orders, "order_amount")?,
        sizes: sizes.key("deal_size")?,
        size_counts: sizes.value("deals_n")?,
    })
}

/// Every period from the first win to that of as_of, also those without a win.
fn push_periods(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    won: &BTreeMap<Day, Won<'_>>,
) -> Result<(), Error> {
    let (Some(first), Some(last)) = (won.keys().next(), won.keys().next_back()) else {
        return Ok(());
    };
    let calendar = &group.settings.calendar;
    let current = calendar.start(group.period, calendar.day(group.settings.as_of)).max(*last);
    let none = Won::default();
    for step in 0..=calendar.distance(group.period, *first, current) {
        let start = calendar.shift(group.period, *first, step);
        let of = won.get(&start).unwrap_or(&none);
        let net_at = |day: Day| {
            let known = group.period != Period::All && day != NO_DAY && day >= *first;
            known.then(|| won.get(&day).map_or(0, Won::net_amount))
        };
        let prev = net_at(calendar.shift(group.period, start, -1));
        let year_before = net_at(calendar.year_before(group.period, start));
        push(group, rows, start, of, (prev, year_before))?;
    }
    Ok(())
}

fn push(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    start: Day,
    won: &Won<'_>,
    (prev, year_before): (Option<i64>, Option<i64>),
) -> Result<(), Error> {
    let settings = group.settings;
    let is_complete = settings.calendar.is_complete(group.period, start, settings.as_of);
    let net_amount = won.net_amount();
    let growth = |base: Option<i64>| {
        base.filter(|b| *b > 0 && is_complete).map(|b| float(net_amount) / float(b) - 1.0)
    };
    rows.push(
        start,
        &[
            ("won_n", Value::Int(won.won_n)),
            ("gross_amount", Value::Money(won.gross_amount)),
            ("refund_amount", Value::Money(won.refund_amount)),
            ("net_amount", Value::Money(net_amount)),
            ("null_amount_n", Value::Int(won.won_n - won.priced_n)),
            ("zero_amount_n", Value::Int(won.zero_amount_n)),
            ("new_business_n", Value::Int(won.new_n)),
            ("new_business_amount", Value::Money(won.new_amount)),
            ("existing_business_n", Value::Int(won.order_n - won.new_n)),
            ("existing_business_amount", Value::Money(won.order_amount - won.new_amount)),
            ("unassigned_business_n", Value::Int(won.won_n - won.order_n)),
            ("unassigned_business_amount", Value::Money(net_amount - won.order_amount)),
            ("deal_size_mean", Value::money(mean(net_amount, won.priced_n))),
            ("deal_size_p25", Value::money(won.size(0.25))),
            ("deal_size_p50", Value::money(won.size(0.5))),
            ("deal_size_p75", Value::money(won.size(0.75))),
            ("deal_size_p90", Value::money(won.size(0.9))),
            ("prev_net_amount", Value::money(prev)),
            ("growth", Value::float(growth(prev))),
            ("year_before_net_amount", Value::money(year_before)),
            ("year_growth", Value::float(growth(year_before))),
            ("is_complete_period", Value::Bool(is_complete)),
            ("low_n", Value::Bool(won.priced_n < settings.quantile_floor)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::{end_of, plan, settings, table};
    use crate::metrics::testing::check;
    use crate::relations::fixture::Fixture;
    use crate::table::Table;

    /// The table of won deals; the inputs know no customers.
    fn of(lines: &[&str], as_of: &str) -> Table {
        with_orders(lines, &[], as_of)
    }

    fn with_orders(won: &[&str], orders: &[&str], as_of: &str) -> Table {
        let none = Fixture::new(&[]).dimensions(&["region"]);
        let deal = |f: Fixture, line: &&str| f.line(Relation::Deals, &format!("is_won=1 {line}"));
        let order = |f: Fixture, line: &&str| f.line(Relation::Orders, line);
        let relations = orders.iter().fold(won.iter().fold(none, deal), order).build();
        let plan = plan(&[&[], &["region"]], &[Period::Month, Period::Quarter]);
        table(&relations, &METRIC, &plan, &settings(&relations, end_of(as_of)))
    }

    const MONTHS: &[&str] = &["slice=all", "period=month"];

    #[test]
    fn gross_refunds_and_unknown_amounts_are_told_apart() {
        let table = with_orders(
            &[
                "closed_period=2024-01-01 amount=10000 has_amount=1",
                "closed_period=2024-01-01 amount=-2500 has_amount=1",
                "closed_period=2024-01-01 amount=0 has_amount=1",
                "closed_period=2024-01-01",
                "closed_period=2024-01-01 amount=700 has_amount=1",
            ],
            // The first three have a customer.
            &[
                "ordered_period=2024-01-01 customer=1 amount=10000 is_first_order=1",
                "ordered_period=2024-01-01 customer=1 amount=-2500",
                "ordered_period=2024-01-01 customer=1 amount=0",
            ],
            "2024-01-31",
        );
        check(&table, MONTHS, "won_n", "5");
        check(&table, MONTHS, "gross_amount", "107.00");
        check(&table, MONTHS, "refund_amount", "-25.00");
        check(&table, MONTHS, "net_amount", "82.00");
        check(&table, MONTHS, "null_amount_n", "1");
        check(&table, MONTHS, "zero_amount_n", "1");
        check(&table, MONTHS, "new_business_n", "1");
        check(&table, MONTHS, "new_business_amount", "100.00");
        check(&table, MONTHS, "existing_business_n", "2");
        check(&table, MONTHS, "existing_business_amount", "-25.00");
        check(&table, MONTHS, "unassigned_business_n", "2");
        check(&table, MONTHS, "unassigned_business_amount", "7.00");
        // 8200 / 4 deals with an amount.
        check(&table, MONTHS, "deal_size_mean", "20.50");
        check(&table, MONTHS, "low_n", "true");
    }

    #[test]
    fn deal_sizes_are_type_7_quantiles() {
        // R: quantile(c(1, 2, 3, 4, 10), c(.25, .5, .75, .9)) is 2, 3, 4, 7.6.
        let table = of(
            &["100", "200", "300", "400", "1000"]
                .map(|a| format!("closed_period=2024-01-01 amount={a} has_amount=1"))
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
            "2024-01-31",
        );
        check(&table, MONTHS, "deal_size_p25", "2.00");
        check(&table, MONTHS, "deal_size_p50", "3.00");
        check(&table, MONTHS, "deal_size_p75", "4.00");
        check(&table, MONTHS, "deal_size_p90", "7.60");
        check(&table, MONTHS, "deal_size_mean", "4.00");
        check(&table, MONTHS, "low_n", "false");
        // Without customers nothing is known to be new business.
        check(&table, MONTHS, "new_business_n", "0");
        check(&table, MONTHS, "unassigned_business_n", "5");
        check(&table, MONTHS, "unassigned_business_amount", "20.00");
    }

    #[test]
    fn growth_needs_a_base_and_a_complete_period() {
        let table = of(
            &[
                "closed_period=2024-01-01 amount=10000 has_amount=1 region=e",
                "closed_period=2024-02-01 amount=15000 has_amount=1 region=e",
                "closed_period=2024-04-01 amount=12000 has_amount=1 region=w",
                "closed_period=2024-05-01 amount=9000 has_amount=1 region=e",
                "closed_period=2024-06-01 amount=3000 has_amount=1 region=e",
            ],
            "2024-06-20",
        );
        check(&table, MONTHS, "net_amount", "100.00 150.00 0.00 120.00 90.00 30.00");
        check(&table, MONTHS, "prev_net_amount", "- 100.00 150.00 0.00 120.00 90.00");
        // 150/100 − 1, 0/150 − 1, no base, 90/120 − 1, June is not over.
        check(&table, MONTHS, "growth", "- 0.5 -1.0 - -0.25 -");
        check(&table, MONTHS, "is_complete_period", "true true true true true false");
        let quarters = &["slice=all", "period=quarter"];
        check(&table, quarters, "net_amount", "250.00 240.00");
        check(&table, quarters, "growth", "- -");
        let west = &["slice=region", "period=month", "region=w"];
        check(&table, west, "net_amount", "120.00 0.00 0.00");
        check(&table, &["slice=all", "period=all"], "net_amount", "490.00");
        check(&table, &["slice=all", "period=all"], "prev_net_amount", "-");
    }

    #[test]
    fn year_before_is_the_same_month() {
        let table = of(
            &[
                "closed_period=2023-03-01 amount=8000 has_amount=1",
                "closed_period=2024-03-01 amount=10000 has_amount=1",
            ],
            "2024-03-31",
        );
        let march = &["slice=all", "period=month", "period_start=2024-03-01"];
        check(&table, march, "year_before_net_amount", "80.00");
        check(&table, march, "year_growth", "0.25");
        check(&table, march, "growth", "-");
    }
}
