//! From won deals to customers and their active periods: orders by shard of the customer, one sort a
//! shard, one pass.

use super::purchases::PurchaseColumns;
use super::{SHARDS_MAX, assemble::shard};
use crate::contract::{Id, NO_CODE};
use crate::fold::scatter::packed::Steps;
use crate::fold::scatter::{self, Column, Scattered};
use crate::money::NO_AMOUNT;
use crate::source::{Interner, Names};
use crate::time::{Calendar, Day, NO_DAY, Period, Starts};

/// Orders: deals won at `as_of` with a customer and an amount.
#[derive(Debug, Clone, Default)]
pub struct OrderColumns {
    /// Hash of the customer, so that the order of customers is the same in every run.
    pub(super) customer_hash: Vec<u64>,
    pub(super) customer: Vec<Id>,
    pub(super) closed_at: Vec<i64>,
    pub(super) deal: Vec<Id>,
    /// Minor units.
    pub(super) amount: Vec<i64>,
    /// Codes of every dimension of the run.
    pub(super) dimensions: Vec<Vec<u32>>,
}

impl OrderColumns {
    /// No orders, with so many dimensions.
    #[must_use]
    pub(super) fn new(dimensions: usize) -> Self {
        Self { dimensions: vec![Vec::new(); dimensions], ..Self::default() }
    }

    /// Number of orders.
    #[must_use]
    pub fn len(&self) -> usize {
        self.customer.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.customer.is_empty()
    }

    /// Takes every order out and keeps the room.
    pub fn clear(&mut self) {
        self.customer_hash.clear();
        self.customer.clear();
        self.closed_at.clear();
        self.deal.clear();
        self.amount.clear();
        self.dimensions.iter_mut().for_each(Vec::clear);
    }

    /// Adds other orders.
    pub fn append(&mut self, mut other: Self) {
        self.customer_hash.append(&mut other.customer_hash);
        self.customer.append(&mut other.customer);
        self.closed_at.append(&mut other.closed_at);
        self.deal.append(&mut other.deal);
        self.amount.append(&mut other.amount);
        self.dimensions.resize_with(other.dimensions.len(), Vec::new);
        for (to, from) in self.dimensions.iter_mut().zip(&mut other.dimensions) {
            to.append(from);
        }
    }

    /// The orders, packed and by shard of the customer, so that those of all of a shard's customers
    /// can be taken together.
    #[must_use]
    pub fn scatter(&self) -> Scattered {
        let shards = self.customer_hash.iter().map(|hash| shard(*hash) as usize);
        let (offsets, places) = scatter::places(shards, SHARDS_MAX as usize);
        let at = places.as_slice();
        let (customer_high, customer_low) = scatter::pack_ids(&self.customer, at);
        let (deal_high, deal_low) = scatter::pack_ids(&self.deal, at);
        let mut columns = vec![
            customer_high,
            customer_low,
            deal_high,
            deal_low,
            Column::pack(&self.closed_at, at, i64::MIN, Steps::Times, |v| v),
            Column::pack(&self.amount, at, NO_AMOUNT, Steps::One, |v| v),
        ];
        let (none, wide) = (i64::from(NO_CODE.cast_signed()), |v: u32| i64::from(v.cast_signed()));
        let codes = self.dimensions.iter();
        columns.extend(codes.map(|d| Column::pack(d, at, none, Steps::One, wide)));
        Scattered { unit: 0, first: 0, offsets, columns }
    }

    /// The orders of a range of shards, of all parts.
    pub fn gather<'a>(
        parts: impl Iterator<Item = &'a Scattered>,
        shards: &std::ops::Range<usize>,
    ) -> Self {
        let mut all = Self::default();
        for part in parts {
            let Some(([a, b, c, d, closed_at, amount], dimensions)) =
                part.columns.split_first_chunk::<6>()
            else {
                continue;
            };
            let rows = || part.rows_in(shards);
            scatter::unpack_ids(a, b, rows(), &mut all.customer);
            scatter::unpack_ids(c, d, rows(), &mut all.deal);
            closed_at.unpack(rows(), &mut all.closed_at, |v| v);
            amount.unpack(rows(), &mut all.amount, |v| v);
            all.dimensions.resize_with(dimensions.len(), Vec::new);
            for (to, from) in all.dimensions.iter_mut().zip(dimensions) {
                from.unpack(rows(), to, |v| v as u32);
            }
        }
        all.customer_hash = all.customer.iter().map(|id| id.hash()).collect();
        all
    }
}

/// One order in the order of its customer's orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order {
    pub(super) customer_hash: u64,
    pub(super) customer: Id,
    pub(super) closed_at: i64,
    /// Its row.
    pub(super) row: u32,
}

impl Order {
    /// Whether two orders are of one customer.
    pub(super) fn same_customer(&self, other: &Self) -> bool {
        self.customer == other.customer && self.customer_hash == other.customer_hash
    }
}

/// All orders by customer, then time; of equal times the lower deal first: numbers by value, then
/// texts, so that an identifier means the same as an integer and as text.
pub(super) fn in_order(orders: &OrderColumns, names: &Interner) -> Vec<Order> {
    let columns = orders.customer_hash.iter().zip(&orders.customer).zip(&orders.closed_at);
    let mut sorted: Vec<Order> = columns
        .zip(0_u32..)
        .map(|(((hash, customer), closed_at), row)| Order {
            customer_hash: *hash,
            customer: *customer,
            closed_at: *closed_at,
            row,
        })
        .collect();
    sorted.sort_unstable();
    let tied = |a: &Order, b: &Order| (a.customer, a.closed_at) == (b.customer, b.closed_at);
    let id = |order: &Order| orders.deal.get(order.row as usize).copied().unwrap_or_default();
    let mut texts: Option<Names> = None;
    for ties in sorted.chunk_by_mut(tied).filter(|ties| ties.len() > 1) {
        // Ties are few; the names are taken out only if there is one.
        let texts = texts.get_or_insert_with(|| names.freeze());
        ties.sort_by_cached_key(|order| texts.order_key(id(order)));
    }
    sorted
}

/// One civil day of a customer with orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OrderDay {
    pub(super) day: Day,
    pub(super) orders: i64,
    pub(super) amount: i64,
    pub(super) refunds: i64,
}

impl OrderDay {
    /// A day whose net is zero or less because of refunds is not a purchase day; a day of
    /// zero-value orders only is.
    pub(super) fn is_purchase(&self) -> bool {
        self.amount > 0 || (self.amount == 0 && self.refunds == 0)
    }
}

/// Columns of `customers`; `first` is the row of the first order.
#[derive(Debug, Default)]
pub(super) struct CustomerColumns {
    pub(super) first: Vec<u32>,
    pub(super) first_ordered_on: Vec<i32>,
    pub(super) last_ordered_on: Vec<i32>,
    pub(super) cohort_period: Vec<i32>,
    pub(super) orders_n: Vec<i64>,
    pub(super) is_repeat: Vec<i8>,
    pub(super) amount: Vec<i64>,
    /// Of all days, where models ask for it.
    pub(super) purchases: Vec<Purchases>,
    /// Of the days before the hold-out, likewise.
    pub(super) calibration: Vec<Purchases>,
    /// Of the days up to an earlier one, with the net amount of all of these, where tables compare
    /// the two.
    pub(super) before: Vec<(Purchases, i64)>,
}

/// The purchase days of a customer up to a day, as models ask for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Purchases {
    pub(super) days_n: i64,
    /// Net amount of those after the first.
    pub(super) repeat_amount: i64,
    /// From the first to the last.
    pub(super) recency_days: i64,
    /// From the first to the day up to which they are counted.
    pub(super) age_days: i64,
}

impl Purchases {
    /// Those up to a day.
    fn until(last: Day, days: &[OrderDay]) -> Self {
        let mut all = Self::default();
        let mut first: Option<Day> = None;
        for day in days.iter().filter(|d| d.day <= last && d.is_purchase()) {
            let since = *first.get_or_insert(day.day);
            all.days_n += 1;
            all.recency_days = i64::from(day.day - since);
            all.repeat_amount += if day.day > since { day.amount } else { 0 };
        }
        let since = first.or_else(|| days.first().map(|d| d.day)).unwrap_or(last);
        all.age_days = i64::from(last) - i64::from(since);
        all
    }

    pub(super) fn repeats_n(&self) -> i64 {
        (self.days_n - 1).max(0)
    }

    pub(super) fn is_buyer(&self) -> i8 {
        i8::from(self.days_n > 0)
    }
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
    /// Where anybody asks, as the next two.
    pub(super) is_last_active: Vec<i8>,
    pub(super) is_bracket_first: Vec<i8>,
    pub(super) previous_amount: Vec<i64>,
}

/// What the pass needs to know.
#[derive(Debug, Clone, Copy)]
pub(super) struct PassSettings<'a> {
    pub(super) calendar: Calendar,
    /// First days of the base period.
    pub(super) base: &'a Starts,
    /// First days of every configured period, none for the whole history.
    pub(super) periods: &'a [Starts],
    pub(super) as_of_day: Day,
    /// The last day before the hold-out, where models ask for the customers' purchase days.
    pub(super) calibrated_day: Option<Day>,
    /// The last ages of the brackets in which customers may come back, where anybody asks how they
    /// do.
    pub(super) brackets: Option<&'a [i64]>,
    /// The earlier day with which today is compared, where it is.
    pub(super) before_day: Option<Day>,
    /// Whether the purchase days become rows.
    pub(super) purchases: Rows,
}

/// Whether rows are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    Made,
    Unmade,
}

/// Customers, their periods and their purchase days from orders and their order.
pub(super) fn pass(
    sorted: &[Order],
    orders: &OrderColumns,
    settings: &PassSettings<'_>,
) -> (CustomerColumns, PeriodColumns, PurchaseColumns) {
    let mut customers = CustomerColumns::default();
    let mut periods = PeriodColumns::default();
    let mut purchases = PurchaseColumns::default();
    let mut days: Vec<OrderDay> = Vec::new();
    for own in sorted.chunk_by(Order::same_customer) {
        let Some(first) = own.first() else { continue };
        days.clear();
        for order in own {
            let amount = orders.amount.get(order.row as usize).copied().unwrap_or(0);
            add_to_day(&mut days, settings.calendar.day(order.closed_at), amount);
        }
        let number = customers.first.len() as u32;
        push_customer(&mut customers, first.row, own.len(), &days, settings);
        for starts in settings.periods {
            push_periods(&mut periods, number, starts, &days, settings);
        }
        if settings.purchases == Rows::Made {
            purchases.push(number, &days, settings.as_of_day);
        }
    }
    (customers, periods, purchases)
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
    first: u32,
    orders: usize,
    days: &[OrderDay],
    settings: &PassSettings<'_>,
) {
    let (Some(earliest), Some(last)) = (days.first(), days.last()) else { return };
    let amount: i64 = days.iter().map(|d| d.amount).sum();
    out.first.push(first);
    out.first_ordered_on.push(earliest.day);
    out.last_ordered_on.push(last.day);
    out.cohort_period.push(settings.base.start(earliest.day));
    out.orders_n.push(orders as i64);
    out.is_repeat.push(i8::from(days.len() > 1));
    out.amount.push(amount);
    if let Some(calibrated_day) = settings.calibrated_day {
        out.purchases.push(Purchases::until(settings.as_of_day, days));
        out.calibration.push(Purchases::until(calibrated_day, days));
    }
    if let Some(before_day) = settings.before_day {
        let known = days.iter().filter(|d| d.day <= before_day);
        let amount = known.map(|d| d.amount).sum();
        out.before.push((Purchases::until(before_day, days), amount));
    }
}

fn push_periods(
    out: &mut PeriodColumns,
    customer: u32,
    starts: &Starts,
    days: &[OrderDay],
    settings: &PassSettings<'_>,
) {
    let (calendar, period) = (settings.calendar, starts.period());
    let grain = Period::EVERY.iter().position(|p| *p == period).unwrap_or(0) as u32;
    let start = |d: &OrderDay| starts.start(d.day);
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
    let (mut previous, mut previous_amount) = (NO_DAY, 0);
    // Of the last active period but the first.
    let mut last_bracket = None;
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
        let age = i64::from(calendar.distance(period, cohort, begin));
        let amount = run.iter().map(|d| d.amount).sum();
        if let Some(brackets) = settings.brackets {
            let bracket = brackets.partition_point(|last| *last < age);
            let has_bracket = counts && age > 0 && bracket < brackets.len();
            let is_first = has_bracket && last_bracket.replace(bracket) != Some(bracket);
            out.is_bracket_first.push(i8::from(is_first));
            out.is_last_active.push(i8::from(counts && active.peek().is_none()));
            out.previous_amount.push(if is_returning { previous_amount } else { 0 });
        }
        out.customer.push(customer);
        out.grain.push(grain);
        out.cohort_start.push(cohort);
        out.period_start.push(begin);
        out.age.push(age);
        out.orders_n.push(run.iter().map(|d| d.orders).sum());
        out.amount.push(amount);
        out.is_active.push(i8::from(counts));
        out.is_new.push(i8::from(is_new));
        out.is_returning.push(i8::from(is_returning));
        out.is_reactivated.push(i8::from(counts && !is_new && !is_returning));
        out.churned_start.push(if churned { next } else { NO_DAY });
        out.is_churned.push(i8::from(churned));
        if counts {
            (previous, previous_amount) = (begin, amount);
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

    /// Orders of one customer.
    fn orders(deals: &[Id], closed_at: &[i64], amounts: &[i64]) -> OrderColumns {
        OrderColumns {
            customer_hash: vec![9; deals.len()],
            customer: vec![Id::integer(7); deals.len()],
            closed_at: closed_at.to_vec(),
            deal: deals.to_vec(),
            amount: amounts.to_vec(),
            dimensions: Vec::new(),
        }
    }

    #[test]
    fn a_gap_of_a_month_is_churn_then_reactivation() {
        let day = |text: &str| crate::time::from_date(text.parse().unwrap());
        let closed = ["2024-01-05", "2024-02-01", "2024-03-30", "2024-04-30", "2024-05-01"]
            .map(|d| Calendar::UTC.instant(day(d)));
        let given = orders(&[1, 2, 3, 4, 5].map(Id::integer), &closed, &[100, 50, -150, 30, -30]);
        let settings = PassSettings {
            calendar: Calendar::UTC,
            base: &Starts::new(Calendar::UTC, Period::Month),
            periods: &[Starts::new(Calendar::UTC, Period::Month)],
            as_of_day: day("2024-06-01"),
            calibrated_day: Some(day("2024-04-15")),
            brackets: Some(&[1, 3]),
            before_day: Some(day("2024-03-31")),
            purchases: Rows::Made,
        };
        let sorted = in_order(&given, &Interner::default());
        let (customers, periods, all) = pass(&sorted, &given, &settings);
        // A refund day is not a purchase day: 5 January, 1 February and 30 April are.
        let purchases =
            Purchases { days_n: 3, repeat_amount: 80, recency_days: 116, age_days: 148 };
        assert_eq!(customers.purchases, [purchases]);
        let calibration =
            Purchases { days_n: 2, repeat_amount: 50, recency_days: 27, age_days: 101 };
        assert_eq!(customers.calibration, [calibration]);
        assert_eq!(periods.age, [0, 1, 2, 3, 4]);
        assert_eq!(periods.is_active, [1, 1, 0, 1, 0], "nor is a month of refunds active");
        assert_eq!(periods.is_new, [1, 0, 0, 0, 0]);
        assert_eq!(periods.is_returning, [0, 1, 0, 0, 0]);
        assert_eq!(periods.is_reactivated, [0, 0, 0, 1, 0]);
        let churned = [NO_DAY, day("2024-03-01"), NO_DAY, day("2024-05-01"), NO_DAY];
        assert_eq!(periods.churned_start, churned);
        assert_eq!(periods.is_last_active, [0, 0, 0, 1, 0]);
        // Ages 1, then 2 and 3; age 2 is not active.
        assert_eq!(periods.is_bracket_first, [0, 1, 0, 1, 0]);
        assert_eq!(periods.previous_amount, [0, 100, 0, 0, 0]);
        // Up to the end of March, 86 days after 5 January.
        let before = Purchases { days_n: 2, repeat_amount: 50, recency_days: 27, age_days: 86 };
        assert_eq!(customers.before, [(before, 0)]);
        // From 1 February 89 days to 30 April in a leap year, and 32 from there to 1 June.
        assert_eq!(all.gap_days, [27, 89, 32]);
    }

    #[test]
    fn of_orders_at_one_instant_the_lower_deal_is_first() {
        let names = Interner::default();
        let ids = ["10", "9", "x"].map(|id| names.id(id).unwrap());
        let sorted = in_order(&orders(&ids, &[5; 3], &[1; 3]), &names);
        let rows: Vec<u32> = sorted.iter().map(|o| o.row).collect();
        assert_eq!(rows, [1, 0, 2], "numbers by value, then texts");
    }

    #[test]
    fn every_order_is_gathered_once_with_those_of_its_customer() {
        let mut given = OrderColumns::new(1);
        for i in 0..500_i64 {
            given.customer_hash.push(Id::integer(i % 50).hash());
            given.customer.push(Id::integer(i % 50));
            given.closed_at.push(i);
            given.deal.push(Id::integer(i));
            given.amount.push(1);
            given.dimensions[0].push(i as u32);
        }
        let parts = [given.scatter(), given.scatter()];
        let mut customers = Vec::new();
        for shards in [0..100, 100..700, 700..1024] {
            let own = OrderColumns::gather(parts.iter(), &shards);
            let sorted = in_order(&own, &Interner::default());
            customers
                .extend(sorted.chunk_by(Order::same_customer).map(|c| (c[0].customer, c.len())));
        }
        customers.sort_unstable();
        assert_eq!(customers, (0..50).map(|c| (Id::integer(c), 20)).collect::<Vec<_>>());
    }
}
