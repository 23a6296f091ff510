//! The relations about customers beside what a plain reading of their orders gives.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Datelike as _, NaiveDate};
use dealmill::relations::{Relation, export::to_arrow};

use super::cells;
use crate::laws::dirty::{Shape, check_many, resolve};
use crate::laws::sample::read;
use crate::support::Scratch;

type Cells = BTreeMap<String, String>;

/// Last ages of the brackets that are the default.
const BRACKETS: [i32; 4] = [1, 3, 6, 12];

fn int(row: &Cells, column: &str) -> i64 {
    row[column].parse().unwrap()
}

fn date(row: &Cells, column: &str) -> NaiveDate {
    row[column].parse().unwrap()
}

/// Net amount, and whether there is a refund among it.
#[derive(Default, Clone, Copy)]
struct Day {
    amount: i64,
    is_refund: bool,
}

impl Day {
    fn is_purchase(self) -> bool {
        self.amount > 0 || (self.amount == 0 && !self.is_refund)
    }
}

/// The days of each customer's orders.
fn days_of(orders: &[Cells]) -> BTreeMap<String, BTreeMap<NaiveDate, Day>> {
    let mut all: BTreeMap<String, BTreeMap<NaiveDate, Day>> = BTreeMap::new();
    for order in orders {
        let days = all.entry(order["customer"].clone()).or_default();
        let day = days.entry(date(order, "ordered_on")).or_default();
        day.amount += int(order, "amount");
        day.is_refund |= int(order, "amount") < 0;
    }
    all
}

#[track_caller]
fn check_purchases(days: &BTreeMap<NaiveDate, Day>, rows: &[&Cells], as_of: NaiveDate) {
    let bought: Vec<NaiveDate> =
        days.iter().filter(|(_, day)| day.is_purchase()).map(|(on, _)| *on).collect();
    assert_eq!(rows.len(), bought.len(), "purchase days");
    for (place, on) in bought.iter().enumerate() {
        let row = rows.iter().find(|row| date(row, "purchased_on") == *on).unwrap();
        let gap = (*bought.get(place + 1).unwrap_or(&as_of) - *on).num_days();
        let age = (as_of - *on).num_days();
        let horizons = |holds: &dyn Fn(i64) -> bool| {
            [30, 90, 180, 365].into_iter().filter(|days| holds(*days)).count() as i64
        };
        assert_eq!(int(row, "gap_days"), gap);
        assert_eq!(int(row, "amount"), days[on].amount);
        assert_eq!(int(row, "is_first"), i64::from(place == 0));
        assert_eq!(int(row, "is_last"), i64::from(place + 1 == bought.len()));
        assert_eq!(int(row, "missed_horizons_n"), horizons(&|days| days < gap));
        assert_eq!(int(row, "exposed_horizons_n"), horizons(&|days| days <= age));
    }
}

fn month(on: NaiveDate) -> i32 {
    on.year() * 12 + on.month0() as i32
}

#[track_caller]
fn check_months(days: &BTreeMap<NaiveDate, Day>, rows: &[&Cells]) {
    let first = month(*days.keys().next().unwrap());
    let amount = |of: i32| -> i64 {
        days.iter().filter(|(on, _)| month(**on) == of).map(|(_, day)| day.amount).sum()
    };
    let bought = days.iter().filter(|(_, day)| day.is_purchase());
    let active: BTreeSet<i32> = bought.map(|(on, _)| month(*on)).chain([first]).collect();
    let bracket = |of: i32| BRACKETS.iter().position(|last| of - first <= *last);
    for row in rows {
        let own = month(date(row, "period_start"));
        let is_active = active.contains(&own);
        let is_last = active.last() == Some(&own);
        assert_eq!(int(row, "is_last_active"), i64::from(is_last), "{own}");
        let is_returning = is_active && own > first && active.contains(&(own - 1));
        let before = if is_returning { amount(own - 1) } else { 0 };
        assert_eq!(int(row, "previous_amount"), before, "{own}");
        let mut earlier = active.iter().filter(|of| **of > first && **of < own);
        let is_bracket_first = is_active
            && own > first
            && bracket(own).is_some()
            && !earlier.any(|of| bracket(*of) == bracket(own));
        assert_eq!(int(row, "is_bracket_first"), i64::from(is_bracket_first), "{own}");
    }
}

#[test]
fn habits_of_customers_equal_a_plain_reading_of_their_orders() {
    check_many(37, &Shape::EVERY, |rows, shape| {
        let scratch = Scratch::new();
        let resolved = resolve(&scratch, rows, shape);
        let (history, _) = read(&resolved);
        let relations = &history.relations;
        if !relations.batches.contains_key(&Relation::Orders) {
            return;
        }
        let of = |relation| cells(&to_arrow(relations, relation).unwrap());
        let as_of = resolved.calendar.day(history.as_of);
        let as_of = dealmill::time::to_date(as_of).unwrap();
        let (purchases, periods) = (of(Relation::Purchases), of(Relation::CustomerPeriods));
        let customers = days_of(&of(Relation::Orders));
        let known: BTreeSet<&String> = purchases.iter().map(|row| &row["customer"]).collect();
        assert!(known.iter().all(|customer| customers.contains_key(*customer)));
        for (customer, days) in &customers {
            let own: Vec<&Cells> =
                purchases.iter().filter(|row| row["customer"] == *customer).collect();
            check_purchases(days, &own, as_of);
            let months = periods.iter().filter(|row| row["customer"] == *customer);
            let months: Vec<&Cells> = months.filter(|row| row["grain"] == "month").collect();
            check_months(days, &months);
        }
    });
}
