//! `purchases`: one row per customer and purchase day, with how long it took until the next one.
//! Dimensions are those of the customer's first order.
//!
//! A purchase day is a civil day with a net amount above zero, or with orders of nothing to pay only;
//! a day of refunds is none.

use super::orders_pass::OrderDay;
use super::{Kind, RelationColumn, column};
use crate::time::Day;

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key of the customer"),
    column("customer", Kind::Int, "number of the customer within the run"),
    column("cohort_period", Kind::Day, "first day of the base period of the first order"),
    column("purchased_on", Kind::Day, "the purchase day"),
    column("amount", Kind::Int, "net amount of the day, minor units"),
    column("is_first", Kind::Flag, "the customer's first purchase day"),
    column("is_last", Kind::Flag, "the customer's last purchase day so far"),
    column("gap_days", Kind::Int, "days until the next purchase day; of the last one until as_of"),
    column(
        "missed_horizons_n",
        Kind::Small,
        "how many of the repurchase horizons are shorter than gap_days",
    ),
    column(
        "exposed_horizons_n",
        Kind::Small,
        "how many of the repurchase horizons had ended by as_of",
    ),
];

/// Columns of the relation; `customer` is the row of the customer.
#[derive(Debug, Default)]
pub(super) struct PurchaseColumns {
    pub(super) customer: Vec<u32>,
    pub(super) purchased_on: Vec<Day>,
    pub(super) amount: Vec<i64>,
    pub(super) is_first: Vec<i8>,
    pub(super) is_last: Vec<i8>,
    pub(super) gap_days: Vec<i64>,
}

impl PurchaseColumns {
    /// Adds those of one customer.
    pub(super) fn push(&mut self, customer: u32, days: &[OrderDay], as_of_day: Day) {
        let purchases = || days.iter().filter(|day| day.is_purchase());
        let nexts = purchases().skip(1).map(|day| Some(day.day)).chain([None]);
        for (place, (day, next)) in purchases().zip(nexts).enumerate() {
            self.customer.push(customer);
            self.purchased_on.push(day.day);
            self.amount.push(day.amount);
            self.is_first.push(i8::from(place == 0));
            self.is_last.push(i8::from(next.is_none()));
            let until = next.unwrap_or(as_of_day);
            self.gap_days.push(i64::from(until) - i64::from(day.day));
        }
    }

    /// For each row, how many of the horizons are shorter than its gap.
    pub(super) fn missed(&self, horizons: &[i64]) -> Vec<i16> {
        let missed = |gap: &i64| horizons.partition_point(|days| days < gap) as i16;
        self.gap_days.iter().map(missed).collect()
    }

    /// For each row, how many of the horizons had ended by the day.
    pub(super) fn exposed(&self, horizons: &[i64], as_of_day: Day) -> Vec<i16> {
        let exposed = |day: &Day| {
            let age = i64::from(as_of_day) - i64::from(*day);
            horizons.partition_point(|days| *days <= age) as i16
        };
        self.purchased_on.iter().map(exposed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: Day, amount: i64, refunds: i64) -> OrderDay {
        OrderDay { day, orders: 1, amount, refunds }
    }

    #[test]
    fn gaps_run_from_purchase_to_purchase_and_then_to_as_of() {
        let mut all = PurchaseColumns::default();
        // Days 10, 14 and 40; day 20 is one of refunds.
        all.push(3, &[day(10, 5, 0), day(14, 0, 0), day(20, -4, 1), day(40, 9, 1)], 100);
        all.push(4, &[day(7, -1, 1)], 100);
        assert_eq!(all.customer, [3, 3, 3]);
        assert_eq!(all.gap_days, [4, 26, 60]);
        assert_eq!(all.is_first, [1, 0, 0]);
        assert_eq!(all.is_last, [0, 0, 1]);
        // A horizon that ends on the day of the next purchase is kept.
        assert_eq!(all.missed(&[4, 26, 59]), [0, 1, 3]);
        assert_eq!(all.exposed(&[4, 60, 90], 100), [3, 2, 2]);
    }
}
