//! On how few customers the revenue rests.
//!
//! Shares of the largest, the Gini coefficient, the Herfindahl–Hirschman index and ABC classes, all of
//! one list: the net amount of each customer. Customers without a positive amount have no share and
//! are counted apart. Invariant: the numbers depend on the amounts alone, so customers of equal
//! amounts cannot change places.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, Settings, State, View, period_start};
use crate::relations::Relation;
use crate::stats::{float, ratio};
use crate::table::{ColumnSpec, Value};
use crate::time::{Day, NO_DAY, Period};

/// Definition: customers by their net amount in the period, the largest first. `top_n_share` is the
/// share of the n largest in Σ amount; Gini = 2 Σ i·x_i / (n Σ x_i) − (n + 1)/n over ascending ranks
/// i; HHI = Σ (x_i / Σ x)². A customer is A if those with more have less than 80 % of the amount
/// together, B if they have less than 95 %, else C; equal amounts share the better class.
///
/// Edge cases: amounts of 0 and below have no share; where there are fewer customers than n the share
/// is 1; without any positive amount shares are null.
pub static METRIC: Metric = Metric {
    name: "concentration",
    question: "On how few customers does the revenue rest?",
    grain: "one row per slice and period",
    states: &[
        State {
            relation: Relation::CustomerPeriods,
            sql: "SELECT grain, period_start, amount, COUNT(*) AS customers_n \
                  FROM customer_periods GROUP BY grain, period_start, amount",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Customers,
            sql: "SELECT amount, COUNT(*) AS customers_n FROM customers GROUP BY amount",
            absent: Absent::SkipTable,
        },
    ],
    output: OUTPUT,
    view: View::Line("top_10_share"),
    references: &[
        "Gini, 1912, Variabilità e mutabilità",
        "Hirschman, 1964, The Paternity of an Index",
        "Dickie, 1951, ABC Inventory Analysis Shoots for Dollars, not Pennies",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::count("customers_n", "customers", "Customers with an order in the period."),
    ColumnSpec::count("payers_n", "customers", "Of these, those with a net amount above zero."),
    ColumnSpec::money("payers_amount", "Net amount of the payers."),
    ColumnSpec::money("others_amount", "Net amount of all others: zero or below."),
    ColumnSpec::money("largest_amount", "Net amount of the largest customer.").nullable(),
    ColumnSpec::rate("top_1_share", "Share of the largest customer in payers_amount."),
    ColumnSpec::rate("top_5_share", "Share of the five largest."),
    ColumnSpec::rate("top_10_share", "Share of the ten largest."),
    ColumnSpec::rate("top_tenth_share", "Share of the largest tenth of the payers, rounded up."),
    ColumnSpec::rate("top_fifth_share", "Share of the largest fifth of the payers, rounded up."),
    ColumnSpec::number("gini", "ratio", "0 where all are equal, towards 1 where one has all.")
        .nullable(),
    ColumnSpec::number("hhi", "ratio", "Sum of squared shares; 1 where one has all.").nullable(),
    ColumnSpec::number(
        "effective_payers_n",
        "customers",
        "1 / hhi: so many equal customers would be as concentrated.",
    )
    .nullable(),
    ColumnSpec::count("a_n", "customers", "Class A: the largest with four fifths of the amount."),
    ColumnSpec::count("b_n", "customers", "Class B: those up to 95 %."),
    ColumnSpec::count("c_n", "customers", "Class C: all other payers."),
    ColumnSpec::money("a_amount", "Net amount of class A."),
    ColumnSpec::money("b_amount", "Net amount of class B."),
    ColumnSpec::money("c_amount", "Net amount of class C."),
    ColumnSpec::flag("is_complete_period", "The period has ended by as_of."),
    ColumnSpec::flag("low_n", "payers_n is below the rate floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "payers_n = a_n + b_n + c_n and payers_amount = a_amount + b_amount + c_amount",
        holds: |row| {
            let counts = ["a_n", "b_n", "c_n"].iter().map(|n| row.int(n)).sum::<Option<i64>>();
            let amounts = ["a_amount", "b_amount", "c_amount"];
            row.int("payers_n") == counts
                && row.money("payers_amount") == amounts.iter().map(|n| row.money(n)).sum()
        },
    },
    Identity {
        claim: "top_1_share ≤ top_5_share ≤ top_10_share ≤ 1 and top_tenth_share ≤ top_fifth_share",
        holds: |row| {
            let shares = ["top_1_share", "top_5_share", "top_10_share"].map(|n| row.float(n));
            shares.is_sorted()
                && shares.iter().flatten().all(|share| *share <= 1.0)
                && row.float("top_tenth_share") <= row.float("top_fifth_share")
        },
    },
    Identity {
        claim: "0 ≤ gini < 1 and 1 / payers_n ≤ hhi ≤ 1",
        holds: |row| {
            let payers = float(row.int("payers_n").unwrap_or(0));
            row.float("gini").is_none_or(|gini| (0.0..1.0).contains(&gini))
                && row.float("hhi").is_none_or(|hhi| hhi * payers > 1.0 - 1e-9 && hhi < 1.0 + 1e-9)
        },
    },
];

/// Customers of one amount.
type Equals = (i64, i64);

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [periods, whole] = group.states else {
        return Err(Error::Bug("concentration has two states".into()));
    };
    if group.period == Period::All {
        let amounts = whole.key("amount")?.iter().zip(whole.value("customers_n")?);
        let all: Vec<Equals> = amounts.map(|(amount, n)| (*amount, *n)).collect();
        return if all.is_empty() {
            Ok(())
        } else {
            push(group.settings, rows, NO_DAY, &all, group)
        };
    }
    let mut by_start: BTreeMap<Day, Vec<Equals>> = BTreeMap::new();
    let amounts = periods.key("amount")?.iter().zip(periods.value("customers_n")?);
    for (start, (amount, n)) in periods.key("period_start")?.iter().zip(amounts) {
        by_start.entry(period_start(*start)).or_default().push((*amount, *n));
    }
    for (start, all) in by_start {
        push(group.settings, rows, start, &all, group)?;
    }
    Ok(())
}

/// What the largest customers have, and how unequal all are.
#[derive(Debug, Clone, Default)]
struct Spread {
    n: i64,
    amount: i64,
    /// Of the n largest, and of the tenth and the fifth.
    tops: [i64; 5],
    gini: Option<f64>,
    hhi: Option<f64>,
    /// Customers and amount of each class.
    classes: [(i64, i64); 3],
}

impl Spread {
    /// Of customers by positive amount, ascending.
    fn of(payers: &[Equals]) -> Self {
        let n: i64 = payers.iter().map(|(_, n)| n).sum();
        let amount: i64 = payers.iter().map(|(amount, n)| amount * n).sum();
        let mut spread = Self { n, amount, ..Self::default() };
        let most = [1, 5, 10, (n + 9) / 10, (n + 4) / 5];
        let (mut above_n, mut above) = (0_i64, 0_i64);
        // Sums of squares and of rank by amount outgrow 64 bits.
        let (mut squares, mut ranked) = (0_i128, 0_i128);
        for (own, equal_n) in payers.iter().rev() {
            for (top, most) in spread.tops.iter_mut().zip(most) {
                *top += own * (most - above_n).clamp(0, *equal_n);
            }
            let class = match i128::from(above) * 100 {
                share if share < i128::from(amount) * 80 => 0,
                share if share < i128::from(amount) * 95 => 1,
                _ => 2,
            };
            if let Some((class_n, class_amount)) = spread.classes.get_mut(class) {
                *class_n += equal_n;
                *class_amount += own * equal_n;
            }
            let (wide, count) = (i128::from(*own), i128::from(*equal_n));
            squares += wide * wide * count;
            // Twice the sum of their ascending ranks, from n − above_n down.
            let last = i128::from(n - above_n);
            ranked += wide * count * (2 * last - count + 1);
            above_n += equal_n;
            above += own * equal_n;
        }
        if amount > 0 {
            let (all, total) = (float(n), amount as f64);
            let gini = ranked as f64 / (all * total) - (all + 1.0) / all;
            spread.gini = Some(gini.max(0.0));
            spread.hhi = Some(squares as f64 / (total * total));
        }
        spread
    }
}

fn push(
    settings: &Settings,
    rows: &mut Rows<'_>,
    start: Day,
    all: &[Equals],
    group: &Group<'_>,
) -> Result<(), Error> {
    let (others, payers) = all.split_at(all.partition_point(|(amount, _)| *amount <= 0));
    let spread = Spread::of(payers);
    let customers_n: i64 = all.iter().map(|(_, n)| n).sum();
    let is_complete =
        start != NO_DAY && settings.calendar.is_complete(group.period, start, settings.as_of);
    let [one, five, ten, tenth, fifth] =
        spread.tops.map(|top| Value::float(ratio(top, spread.amount)));
    let [a, b, c] = spread.classes;
    rows.push(
        start,
        &[
            ("customers_n", Value::Int(customers_n)),
            ("payers_n", Value::Int(spread.n)),
            ("payers_amount", Value::Money(spread.amount)),
            ("others_amount", Value::Money(others.iter().map(|(amount, n)| amount * n).sum())),
            ("largest_amount", Value::money(payers.last().map(|(amount, _)| *amount))),
            ("top_1_share", one),
            ("top_5_share", five),
            ("top_10_share", ten),
            ("top_tenth_share", tenth),
            ("top_fifth_share", fifth),
            ("gini", Value::float(spread.gini)),
            ("hhi", Value::float(spread.hhi)),
            ("effective_payers_n", Value::float(spread.hhi.map(|hhi| 1.0 / hhi))),
            ("a_n", Value::Int(a.0)),
            ("b_n", Value::Int(b.0)),
            ("c_n", Value::Int(c.0)),
            ("a_amount", Value::Money(a.1)),
            ("b_amount", Value::Money(b.1)),
            ("c_amount", Value::Money(c.1)),
            ("is_complete_period", Value::Bool(is_complete)),
            ("low_n", Value::Bool(spread.n < settings.rate_floor)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{check, orders, run, settings};

    #[test]
    fn one_to_four_have_a_gini_of_a_quarter() {
        // 2·(1·1 + 2·2 + 3·3 + 4·4)/(4·10) − 5/4 = 60/40 − 5/4; HHI (1 + 4 + 9 + 16)/100.
        let spread = Spread::of(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
        assert!((spread.gini.unwrap() - 0.25).abs() < 1e-12);
        assert!((spread.hhi.unwrap() - 0.3).abs() < 1e-12);
        // 4 and 3 are 70 %, with 2 they are 90 %: 4, 3 and 2 are A, 1 is B.
        assert_eq!(spread.classes, [(3, 9), (1, 1), (0, 0)]);
        assert_eq!(spread.tops, [4, 10, 10, 4, 4]);
    }

    #[test]
    fn market_of_four_firms_has_the_printed_index() {
        // U.S. Department of Justice, Herfindahl–Hirschman Index: shares of 30, 30, 20 and 20 percent
        // have an index of 2,600 points.
        let spread = Spread::of(&[(20, 2), (30, 2)]);
        assert!((spread.hhi.unwrap() * 10_000.0 - 2_600.0).abs() < 1e-9);
        // Before the 20s there are 60 %, so both are A.
        assert_eq!(spread.classes, [(4, 100), (0, 0), (0, 0)]);
    }

    #[test]
    fn equals_are_not_concentrated() {
        let spread = Spread::of(&[(7, 1_000)]);
        assert!(spread.gini.unwrap().abs() < 1e-12);
        assert_eq!(spread.tops, [7, 35, 70, 700, 1_400]);
    }

    #[test]
    fn refunds_have_no_share() {
        // January: 90, 10 and a refund of 20; for all of time customer 3 has nothing left.
        let found = [(1, 9, 9_000), (2, 10, 1_000), (3, 2, 2_000), (3, 3, -4_000), (3, 40, 2_000)];
        let relations = orders(&found, 60);
        let table = run(&METRIC, &relations, &[Period::Month], &settings(&["L"], 60));
        let january = &["period=month", "period_start=1970-01-01"][..];
        check(&table, january, "customers_n", "3");
        check(&table, january, "payers_n", "2");
        check(&table, january, "top_1_share", "0.9");
        check(&table, january, "others_amount", "-20.00");
        check(&table, january, "hhi", "0.82");
        check(&table, &["period=all"], "payers_n", "2");
        check(&table, &["period=all"], "others_amount", "0.00");
    }
}
