//! What each tier of customers brings, and how much of it is at risk.
//!
//! Who is in which tier is decided as in `customer_value`. Invariant: every customer is in one row,
//! and the rows add up to all customers and all revenue.

use crate::error::Error;
use crate::metrics::lifetime::customer_value::{CUSTOMERS, Customer, Judged, judge, read};
use crate::metrics::lifetime::tiers::Tier;
use crate::metrics::{Group, Identity, Metric, Rows, View};
use crate::money::mean;
use crate::stats::{float, ratio};
use crate::table::{ColumnSpec, Value};
use crate::time::{NO_DAY, Period};

/// Definition: customers by `tier` of `customer_value` at as_of; at risk are those with P(alive) below
/// `[customers] alive_min`.
///
/// Edge cases: the row without a tier has the customers that cannot be ranked: those without a
/// purchase day, and all if tiers are by clv and no model has a usable fit. A tier without customers
/// has a row of zeros.
pub static METRIC: Metric = Metric {
    name: "customer_tiers",
    question: "What does each tier of customers bring, and how much of it is at risk?",
    grain: "one row per tier (null for customers that cannot be ranked)",
    states: &[CUSTOMERS],
    output: OUTPUT,
    view: View::Bars("amount"),
    references: &[
        "Fader, Hardie and Lee, 2005, RFM and CLV: Using Iso-Value Curves for Customer Base Analysis",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text("tier", "vip, regular or potential; null for whom cannot be ranked.")
        .key()
        .nullable(),
    ColumnSpec::count("customers_n", "customers", "Customers of the tier."),
    ColumnSpec::rate("customers_share", "customers_n over all customers."),
    ColumnSpec::count("orders_n", "orders", "Their orders."),
    ColumnSpec::count("purchase_days_n", "days", "Their purchase days."),
    ColumnSpec::money("amount", "Net amount of all their orders."),
    ColumnSpec::number("amount_share", "share", "amount over that of all customers.").nullable(),
    ColumnSpec::money("amount_per_customer", "amount / customers_n.").nullable(),
    ColumnSpec::count("valued_n", "customers", "Customers with a clv."),
    ColumnSpec::money("clv", "Sum of their clv up to the horizon."),
    ColumnSpec::number("clv_share", "share", "clv over that of all customers.").nullable(),
    ColumnSpec::rate("p_alive_mean", "Mean probability of still being a customer."),
    ColumnSpec::count("at_risk_n", "customers", "Customers with a p_alive below alive_min."),
    ColumnSpec::money("at_risk_amount", "Net amount that these have brought."),
    ColumnSpec::flag("low_n", "customers_n is below the rate floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "at_risk_n ≤ customers_n and valued_n ≤ customers_n",
        holds: |row| {
            row.int("at_risk_n") <= row.int("customers_n")
                && row.int("valued_n") <= row.int("customers_n")
        },
    },
    Identity {
        claim: "purchase_days_n ≤ orders_n",
        holds: |row| row.int("purchase_days_n") <= row.int("orders_n"),
    },
];

/// What the customers of a tier add up to.
#[derive(Debug, Default, Clone, Copy)]
struct Sum {
    customers_n: i64,
    orders_n: i64,
    purchase_days_n: i64,
    amount: i64,
    valued_n: i64,
    /// Whole minor units, so that the order of customers does not matter.
    clv: i64,
    judged_n: i64,
    /// Millionths, likewise.
    alive_ppm: i64,
    at_risk_n: i64,
    at_risk_amount: i64,
}

impl Sum {
    fn add(&mut self, customer: &Customer, judged: &Judged, alive_min: f64) {
        self.customers_n += 1;
        self.orders_n += customer.orders_n;
        self.purchase_days_n += customer.purchase_days_n;
        self.amount += customer.amount;
        if let Some([_, clv]) = judged.value {
            self.valued_n += 1;
            self.clv += clv.round_ties_even() as i64;
        }
        if let Some(alive) = judged.alive {
            self.judged_n += 1;
            self.alive_ppm += (alive * 1e6).round_ties_even() as i64;
            if alive < alive_min {
                self.at_risk_n += 1;
                self.at_risk_amount += customer.amount;
            }
        }
    }
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [state] = group.states else {
        return Err(Error::Bug("the tiers have one state".into()));
    };
    if group.period != Period::All || state.rows() == 0 {
        return Ok(());
    }
    let (customers, rules) = (read(state)?, &group.settings.customers);
    let judged = judge(&customers, &group.settings.clv, &rules.tiers);
    // In the order of the names; none before all.
    let tiers = [None, Some(Tier::Potential), Some(Tier::Regular), Some(Tier::Vip)];
    let mut sums = [Sum::default(); 4];
    let mut all = Sum::default();
    for (customer, judged) in customers.iter().zip(&judged) {
        let place = tiers.iter().position(|tier| *tier == judged.tier);
        if let Some(sum) = place.and_then(|place| sums.get_mut(place)) {
            sum.add(customer, judged, rules.alive_min);
        }
        all.add(customer, judged, rules.alive_min);
    }
    for (tier, sum) in tiers.into_iter().zip(sums) {
        push(rows, tier, &sum, &all, group.settings.rate_floor)?;
    }
    Ok(())
}

fn push(
    rows: &mut Rows<'_>,
    tier: Option<Tier>,
    sum: &Sum,
    all: &Sum,
    rate_floor: i64,
) -> Result<(), Error> {
    let share = |own, all| Value::float(ratio(own, all).filter(|_| all > 0));
    rows.push(
        NO_DAY,
        &[
            ("tier", tier.map_or(Value::Null, |tier| Value::Text(tier.name()))),
            ("customers_n", Value::Int(sum.customers_n)),
            ("customers_share", share(sum.customers_n, all.customers_n)),
            ("orders_n", Value::Int(sum.orders_n)),
            ("purchase_days_n", Value::Int(sum.purchase_days_n)),
            ("amount", Value::Money(sum.amount)),
            ("amount_share", share(sum.amount, all.amount)),
            ("amount_per_customer", Value::money(mean(sum.amount, sum.customers_n))),
            ("valued_n", Value::Int(sum.valued_n)),
            ("clv", Value::Money(sum.clv)),
            ("clv_share", share(sum.clv, all.clv)),
            (
                "p_alive_mean",
                Value::float(ratio(sum.alive_ppm, sum.judged_n).map(|ppm| ppm / float(1_000_000))),
            ),
            ("at_risk_n", Value::Int(sum.at_risk_n)),
            ("at_risk_amount", Value::Money(sum.at_risk_amount)),
            ("low_n", Value::Bool(sum.customers_n < rate_floor)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::TierBy;
    use crate::metrics::testing::{check, settings};
    use crate::relations::Relation;
    use crate::relations::fixture::Fixture;

    #[test]
    fn every_customer_is_in_one_row() {
        // Five buyers of 50, 40, 30, 20 and 10, of whom one fifth is above the second; one refunded.
        let rows = [(1, 5_000), (2, 4_000), (3, 3_000), (4, 2_000), (5, 1_000)];
        let line = |(id, amount): (i64, i64)| {
            format!("id_high=1 id_low={id} orders_n=2 purchase_days_n=1 age_days=9 amount={amount}")
        };
        let relation = Relation::CustomerIds;
        let fixture =
            rows.into_iter().fold(Fixture::new(&[]), |f, row| f.line(relation, &line(row)));
        let fixture = fixture.line(relation, "id_high=1 id_low=6 orders_n=2 age_days=9");
        let mut settings = settings(&["L"], 100);
        settings.customers.tiers.by = TierBy::Amount;
        let table =
            crate::metrics::testing::run(&METRIC, &fixture.build(), &[Period::Month], &settings);
        check(&table, &[], "tier", "- potential regular vip");
        check(&table, &[], "customers_n", "1 2 2 1");
        check(&table, &[], "amount", "0.00 30.00 70.00 50.00");
        check(&table, &[], "amount_share", "0.0 0.2 0.4666666666666667 0.3333333333333333");
        check(&table, &[], "amount_per_customer", "0.00 15.00 35.00 50.00");
        check(&table, &[], "orders_n", "2 4 4 2");
        check(&table, &[], "p_alive_mean", "- - - -");
    }
}
