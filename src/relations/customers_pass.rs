//! From won deals to orders, customers and their active periods: one sort by customer and day, one
//! pass.

use crate::contract::Id;
use crate::fold::DealColumns;
use crate::money::NO_AMOUNT;
use crate::source::{Interner, Names};
use crate::time::{Calendar, Day, NO_DAY, Period};

/// One order: a deal won at as_of with a customer and an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order {
    /// Hash of the customer, so that the order of customers is the same in every run.
    pub(super) customer_hash: u64,
    pub(super) customer: Id,
    pub(super) closed_at: i64,
    /// Row of the deal.
    pub(super) deal: u32,
}

impl Order {
    /// Whether two orders are of one customer.
    pub(super) fn same_customer(&self, other: &Self) -> bool {
        self.customer == other.customer && self.customer_hash == other.customer_hash
    }
}

/// All orders by customer, then time; of equal times the lower deal first: numbers by value, then
/// texts, so that an identifier means the same as an integer and as text.
pub(super) fn orders(deals: &DealColumns, names: &Interner) -> Vec<Order> {
    let columns = deals.is_won.iter().zip(&deals.customer).zip(&deals.amount).zip(&deals.closed_at);
    let mut orders: Vec<Order> = columns
        .enumerate()
        .filter(|(_, (((won, customer), amount), _))| {
            **won == 1 && !customer.is_none() && **amount != NO_AMOUNT
        })
        .map(|(deal, (((_, customer), _), closed_at))| Order {
            customer_hash: customer.hash(),
            customer: *customer,
            closed_at: *closed_at,
            deal: deal as u32,
        })
        .collect();
    rayon::slice::ParallelSliceMut::par_sort_unstable(orders.as_mut_slice());
    let tied = |a: &Order, b: &Order| (a.customer, a.closed_at) == (b.customer, b.closed_at);
    let id = |order: &Order| deals.deal.get(order.deal as usize).copied().unwrap_or_default();
    let mut texts: Option<Names> = None;
    for ties in orders.chunk_by_mut(tied).filter(|ties| ties.len() > 1) {
        // Ties are few; the names are taken out only if there is one.
        let texts = texts.get_or_insert_with(|| names.freeze());
        ties.sort_by_cached_key(|order| texts.order_key(id(order)));
    }
    orders
}

/// One civil day of a customer with orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OrderDay {
    day: Day,
    orders: i64,
    amount: i64,
    refunds: i64,
}

impl OrderDay {
    /// A day whose net is zero or less because of refunds is not a purchase day; a day of
    /// zero-value orders only is.
    fn is_purchase(&self) -> bool {
        self.amount > 0 || (self.amount == 0 && self.refunds == 0)
    }
}

/// Columns of `customers`; `first_deal` is the row of the first order's deal.
#[derive(Debug, Default)]
pub(super) struct CustomerColumns {
    pub(super) first_deal: Vec<u32>,
    pub(super) first_ordered_on: Vec<i32>,
    pub(super) last_ordered_on: Vec<i32>,
    pub(super) cohort_period: Vec<i32>,
    pub(super) orders_n: Vec<i64>,
    pub(super) purchase_days_n: Vec<i64>,
    pub(super) is_repeat: Vec<i8>,
    pub(super) amount: Vec<i64>,
    pub(super) repeat_amount: Vec<i64>,
    pub(super) recency_days: Vec<i64>,
    pub(super) age_days: Vec<i64>,
}

/// Columns of `customer_periods`; `customer` is the row of the customer.
#[derive(Debug, Default)]
pub(super) struct PeriodColumns {
    pub(super) customer: Vec<u32>,
    pub(super) grain: Vec<u32>,
    pub(super) cohort_start: Vec<i32>,
    pub(super) period_start: Vec<i32>,
    pub(super) age: Vec<i64>,
    pub(super) orders_n: Vec<i64>,
    pub(super) amount: Vec<i64>,
    pub(super) is_active: Vec<i8>,
    pub(super) is_new: Vec<i8>,
    pub(super) is_returning: Vec<i8>,
    pub(super) is_reactivated: Vec<i8>,
    pub(super) churned_start: Vec<i32>,
    pub(super) is_churned: Vec<i8>,
}

/// What the pass needs to know.
#[derive(Debug, Clone, Copy)]
pub(super) struct PassSettings<'a> {
    pub(super) calendar: Calendar,
    pub(super) base: Period,
    pub(super) periods: &'a [Period],
    pub(super) as_of_day: Day,
}

/// Customers and their periods from the sorted orders.
pub(super) fn pass(
    orders: &[Order],
    deals: &DealColumns,
    settings: &PassSettings<'_>,
) -> (CustomerColumns, PeriodColumns) {
    let mut customers = CustomerColumns::default();
    let mut periods = PeriodColumns::default();
    let mut days: Vec<OrderDay> = Vec::new();
    for own in orders.chunk_by(Order::same_customer) {
        let Some(first) = own.first() else { continue };
        days.clear();
        for order in own {
            let day = deals.closed_on.get(order.deal as usize).copied().unwrap_or(NO_DAY);
            let amount = deals.amount.get(order.deal as usize).copied().unwrap_or(0);
            add_to_day(&mut days, day, amount);
        }
        let number = customers.first_deal.len() as u32;
        push_customer(&mut customers, first.deal, own.len(), &days, settings);
        for period in settings.periods.iter().filter(|p| **p != Period::All) {
            push_periods(&mut periods, number, *period, &days, settings);
        }
    }
    (customers, periods)
}

fn add_to_day(days: &mut Vec<OrderDay>, day: Day, amount: i64) {
    let refunds = i64::from(amount < 0);
    match days.last_mut() {
        Some(last) if last.day == day => {
            last.orders += 1;
            last.amount += amount;
            last.refunds += refunds;
        }
        _ => days.push(OrderDay { day, orders: 1, amount, refunds }),
    }
}

fn push_customer(
    out: &mut CustomerColumns,
    first_deal: u32,
    orders: usize,
    days: &[OrderDay],
    settings: &PassSettings<'_>,
) {
    let (Some(first), Some(last)) = (days.first(), days.last()) else { return };
    let amount: i64 = days.iter().map(|d| d.amount).sum();
    out.first_deal.push(first_deal);
    out.first_ordered_on.push(first.day);
    out.last_ordered_on.push(last.day);
    out.cohort_period.push(settings.calendar.start(settings.base, first.day));
    out.orders_n.push(orders as i64);
    out.purchase_days_n.push(days.iter().filter(|d| d.is_purchase()).count() as i64);
    out.is_repeat.push(i8::from(days.len() > 1));
    out.amount.push(amount);
    out.repeat_amount.push(amount - first.amount);
    out.recency_days.push(i64::from(last.day - first.day));
    out.age_days.push(i64::from(settings.as_of_day - first.day));
}

fn push_periods(
    out: &mut PeriodColumns,
    customer: u32,
    period: Period,
    days: &[OrderDay],
    settings: &PassSettings<'_>,
) {
    let calendar = settings.calendar;
    let grain = Period::EVERY.iter().position(|p| *p == period).unwrap_or(0) as u32;
    let start = |d: &OrderDay| calendar.start(period, d.day);
    let Some(cohort) = days.first().map(start) else { return };
    let runs: Vec<&[OrderDay]> = days.chunk_by(|a, b| start(a) == start(b)).collect();
    // The first period counts whatever becomes of the order: a customer refunded in full stays one.
    let is_active =
        |index: usize, run: &[OrderDay]| index == 0 || run.iter().any(OrderDay::is_purchase);
    let begins = |run: &[OrderDay]| run.first().map_or(NO_DAY, start);
    let mut active = runs
        .iter()
        .enumerate()
        .filter(|(index, run)| is_active(*index, run))
        .map(|(_, run)| begins(run))
        .peekable();
    let mut previous = NO_DAY;
    for (index, run) in runs.iter().enumerate() {
        let begin = begins(run);
        let counts = is_active(index, run);
        if counts {
            active.next();
        }
        let next = calendar.shift(period, begin, 1);
        let goes_on = active.peek() == Some(&next);
        let churned = counts && !goes_on && next <= settings.as_of_day;
        let is_new = index == 0;
        let is_returning = counts && !is_new && calendar.shift(period, previous, 1) == begin;
        out.customer.push(customer);
        out.grain.push(grain);
        out.cohort_start.push(cohort);
        out.period_start.push(begin);
        out.age.push(i64::from(calendar.distance(period, cohort, begin)));
        out.orders_n.push(run.iter().map(|d| d.orders).sum());
        out.amount.push(run.iter().map(|d| d.amount).sum());
        out.is_active.push(i8::from(counts));
        out.is_new.push(i8::from(is_new));
        out.is_returning.push(i8::from(is_returning));
        out.is_reactivated.push(i8::from(counts && !is_new && !is_returning));
        out.churned_start.push(if churned { next } else { NO_DAY });
        out.is_churned.push(i8::from(churned));
        if counts {
            previous = begin;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relations::customer_periods::GRAINS;

    #[test]
    fn grains_are_the_periods_in_order() {
        let names: Vec<&str> = Period::EVERY.iter().map(|p| p.name()).collect();
        assert_eq!(names, GRAINS);
    }

    #[test]
    fn a_gap_of_a_month_is_churn_then_reactivation() {
        let day = |text: &str| crate::time::from_date(text.parse().unwrap());
        let deals = DealColumns {
            is_won: vec![1; 5],
            customer: vec![Id::integer(7); 5],
            amount: vec![100, 50, -150, 30, -30],
            closed_on: ["2024-01-05", "2024-02-01", "2024-03-30", "2024-04-30", "2024-05-01"]
                .map(day)
                .to_vec(),
            closed_at: vec![1, 2, 3, 4, 5],
            deal: [1, 2, 3, 4, 5].map(Id::integer).to_vec(),
            ..DealColumns::default()
        };
        let settings = PassSettings {
            calendar: Calendar::UTC,
            base: Period::Month,
            periods: &[Period::Month],
            as_of_day: day("2024-06-01"),
        };
        let sorted = orders(&deals, &Interner::default());
        let (customers, periods) = pass(&sorted, &deals, &settings);
        assert_eq!(customers.purchase_days_n, [3], "a refund day is not a purchase day");
        assert_eq!(customers.repeat_amount, [-100]);
        assert_eq!(periods.age, [0, 1, 2, 3, 4]);
        assert_eq!(periods.is_active, [1, 1, 0, 1, 0], "nor is a month of refunds active");
        assert_eq!(periods.is_new, [1, 0, 0, 0, 0]);
        assert_eq!(periods.is_returning, [0, 1, 0, 0, 0]);
        assert_eq!(periods.is_reactivated, [0, 0, 0, 1, 0]);
        let churned = [NO_DAY, day("2024-03-01"), NO_DAY, day("2024-05-01"), NO_DAY];
        assert_eq!(periods.churned_start, churned);
    }

    #[test]
    fn of_orders_at_one_instant_the_lower_deal_is_first() {
        let names = Interner::default();
        let ids = ["10", "9", "x"].map(|id| names.id(id).unwrap());
        let deals = DealColumns {
            is_won: vec![1; 3],
            customer: vec![Id::integer(7); 3],
            amount: vec![1; 3],
            closed_at: vec![5; 3],
            deal: ids.to_vec(),
            ..DealColumns::default()
        };
        let sorted = orders(&deals, &names);
        let rows: Vec<u32> = sorted.iter().map(|o| o.deal).collect();
        assert_eq!(rows, [1, 0, 2], "numbers by value, then texts");
    }
}
