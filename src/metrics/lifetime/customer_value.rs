//! What each customer has been worth and is likely to be: history, scores, the probability of still
//! being a customer, expected purchases, spend and value.
//!
//! The models are fitted to all customers, as in `clv_models` for the total; a customer's own
//! dimensions do not count. Two customers with equal histories are expected to do the same.

use rayon::prelude::*;

use super::scores::{score, shares_above};
use super::tiers::{self, Tier};
use super::valuation::{self, Known, Valuation, decimals};
use crate::error::Error;
use crate::metrics::{
    Absent, Group, Identity, Metric, Rows, Settings, State, StateView, Tiering, View,
};
use crate::money::mean;
use crate::relations::{Relation, customer_ids};
use crate::stats::btyd::{GammaGamma, Purchases};
use crate::stats::float;
use crate::table::{ColumnSpec, Value};
use crate::time::{Day, NO_DAY, Period};

/// Definition: P(alive) and expected purchase days by the configured model; spend of a purchase day
/// by Gamma-Gamma; value = margin × spend × Σ expected purchase days of each month ahead ×
/// (1 + discount_rate)^(−middle of the month in years of 365.25 days).
///
/// Edge cases: a customer without a purchase day (refunded in full) has no scores and no
/// expectations; where a model has no usable fit, what it would tell is null; one whose repeats are
/// worth nothing has no expected spend. Scores: 5 for those with less than a fifth of the customers
/// above them, then 4, 3, 2, 1; equal values have equal scores.
pub static METRIC: Metric = Metric {
    name: "customer_value",
    question: "What is each customer worth, and is it still one?",
    grain: "one row per customer",
    states: &[CUSTOMERS],
    output: OUTPUT,
    view: View::Table,
    references: &[
        "Fader and Hardie, 2013, The Gamma-Gamma Model of Monetary Value",
        "Fader, Hardie and Lee, 2005, RFM and CLV: Using Iso-Value Curves for Customer Base Analysis",
    ],
    finish,
    identities: IDENTITIES,
};

/// Every customer by its identifier, as all tables ask that judge single ones.
pub(crate) const CUSTOMERS: State = State {
    relation: Relation::CustomerIds,
    sql: "SELECT id_high, id_low, SUM(orders_n) AS order_n, \
          SUM(purchase_days_n) AS purchase_day_n, SUM(repeats_n) AS repeat_n, \
          SUM(recency_days) AS recency, SUM(age_days) AS age, SUM(amount) AS net_amount, \
          SUM(repeat_amount) AS repeat_net_amount FROM customer_ids GROUP BY id_high, id_low",
    absent: Absent::SkipTable,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text("customer_id", "The customer's identifier in the inputs.").key(),
    ColumnSpec::date("first_purchase_on", "First purchase day; null without one.").nullable(),
    ColumnSpec::date("last_purchase_on", "Last purchase day; null without one.").nullable(),
    ColumnSpec::count("orders_n", "orders", "Orders."),
    ColumnSpec::count("purchase_days_n", "days", "Days with a net amount above zero."),
    ColumnSpec::count("repeats_n", "days", "Purchase days after the first (x)."),
    ColumnSpec::count("recency_days", "days", "From the first to the last purchase day (t_x)."),
    ColumnSpec::count("age_days", "days", "From the first purchase day to as_of (T)."),
    ColumnSpec::money("amount", "Net amount of all orders."),
    ColumnSpec::money(
        "repeat_amount_mean",
        "Mean net amount of a purchase day after the first (m); null without one.",
    )
    .nullable(),
    ColumnSpec::count("recency_score", "1 to 5", "5 for the latest last purchase days.").nullable(),
    ColumnSpec::count("frequency_score", "1 to 5", "5 for the most purchase days.").nullable(),
    ColumnSpec::count("monetary_score", "1 to 5", "5 for the largest amounts.").nullable(),
    ColumnSpec::rate("p_alive", "Probability of still being a customer."),
    ColumnSpec::number("expected_purchases_90d", "days", "Purchase days in the next 90 days.")
        .nullable(),
    ColumnSpec::number("expected_purchases_365d", "days", "Purchase days in the next 365 days.")
        .nullable(),
    ColumnSpec::number("expected_purchases", "days", "Purchase days up to the horizon.").nullable(),
    ColumnSpec::money("expected_spend", "Net amount expected of a purchase day.").nullable(),
    ColumnSpec::money("clv_365d", "Discounted value of the next 365 days.").nullable(),
    ColumnSpec::money("clv", "Discounted value up to the horizon.").nullable(),
    ColumnSpec::text(
        "clv_tier",
        "vip: less than [tiers] vip_share of the customers have a higher clv; regular: less than \
         regular_share; potential: the others; null without clv.",
    )
    .nullable(),
    ColumnSpec::text(
        "tier",
        "vip, regular or potential as [tiers] by says: as clv_tier, by the sum of the three scores, by \
         amount, or by rules; null for whom it cannot say.",
    )
    .nullable(),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "repeats_n ≤ purchase_days_n ≤ orders_n and recency_days ≤ age_days",
        holds: |row| {
            row.int("repeats_n") <= row.int("purchase_days_n")
                && row.int("purchase_days_n") <= row.int("orders_n")
                && row.int("recency_days") <= row.int("age_days")
        },
    },
    Identity {
        claim: "0 ≤ p_alive ≤ 1",
        holds: |row| row.float("p_alive").is_none_or(|p| (0.0..=1.0).contains(&p)),
    },
    Identity {
        claim: "more is expected of 365 days than of 90",
        holds: |row| row.float("expected_purchases_90d") <= row.float("expected_purchases_365d"),
    },
];

/// One customer as the relation tells it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Customer {
    pub(crate) id: (i64, i64),
    pub(crate) orders_n: i64,
    pub(crate) purchase_days_n: i64,
    pub(crate) repeats_n: i64,
    pub(crate) recency: i64,
    pub(crate) age: i64,
    pub(crate) amount: i64,
    pub(crate) repeat_amount: i64,
}

/// What the models say of a customer, and the scores.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Judged {
    pub(crate) scores: Option<[i64; 3]>,
    pub(crate) alive: Option<f64>,
    /// Expected purchase days in 90 days, 365 days and up to the horizon.
    expected: Option<[f64; 3]>,
    /// Minor units.
    spend: Option<f64>,
    /// Of 365 days and up to the horizon; minor units.
    pub(crate) value: Option<[f64; 2]>,
    pub(crate) clv_tier: Option<Tier>,
    /// As configured.
    pub(crate) tier: Option<Tier>,
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [state] = group.states else {
        return Err(Error::Bug("the customers have one state".into()));
    };
    if group.period != Period::All || state.rows() == 0 {
        return Ok(());
    }
    let customers = read(state)?;
    let judged = judge(&customers, &group.settings.clv, &group.settings.customers.tiers);
    let name = |customer: &Customer| {
        let (high, low) = customer.id;
        customer_ids::text(high, low, &group.settings.dictionaries).unwrap_or_default()
    };
    let mut named: Vec<(String, usize)> =
        customers.par_iter().map(name).zip(0..customers.len()).collect();
    named.par_sort_unstable();
    for (name, place) in named {
        if let (Some(customer), Some(judged)) = (customers.get(place), judged.get(place)) {
            push(rows, &name, customer, judged, group.settings)?;
        }
    }
    Ok(())
}

/// The customers of [`CUSTOMERS`], in the order of their identifiers' words.
pub(crate) fn read(state: &StateView<'_>) -> Result<Vec<Customer>, Error> {
    let (high, low) = (state.key("id_high")?, state.key("id_low")?);
    let (orders_n, purchase_days_n) = (state.value("order_n")?, state.value("purchase_day_n")?);
    let (repeats_n, recency, age) =
        (state.value("repeat_n")?, state.value("recency")?, state.value("age")?);
    let (amount, repeat_amount) = (state.value("net_amount")?, state.value("repeat_net_amount")?);
    let customer = |row: usize| {
        let at = |column: &[i64]| column.get(row).copied().unwrap_or_default();
        Customer {
            id: (at(high), at(low)),
            orders_n: at(orders_n),
            purchase_days_n: at(purchase_days_n),
            repeats_n: at(repeats_n),
            recency: at(recency),
            age: at(age),
            amount: at(amount),
            repeat_amount: at(repeat_amount),
        }
    };
    Ok((0..state.rows()).map(customer).collect())
}

/// Judges every customer by all of them.
pub(crate) fn judge(
    customers: &[Customer],
    valuation: &Valuation,
    tiering: &Tiering,
) -> Vec<Judged> {
    let buyers = || customers.iter().filter(|c| c.purchase_days_n > 0);
    let (purchases, spending) = rayon::join(
        || {
            let rows = buyers().map(|c| (c.repeats_n, c.recency, c.age, 1));
            let fit = Known::new(rows, valuation).fit(valuation.model);
            fit.usable().map(|parameters| valuation.model.with(parameters))
        },
        || {
            let rows = buyers().map(|c| (c.repeats_n, c.repeat_amount, 1));
            valuation::fit_spending(rows).0.usable().map(GammaGamma::with)
        },
    );
    let mut judged = vec![Judged::default(); customers.len()];
    score_all(customers, &mut judged);
    if let Some(purchases) = purchases {
        expect_all(customers, &mut judged, &purchases, spending.as_ref(), valuation);
    }
    tiers::assign(customers, &mut judged, tiering);
    judged
}

/// Recency, frequency and monetary scores among all customers with a purchase day.
fn score_all(customers: &[Customer], judged: &mut [Judged]) {
    let mut buyers: Vec<(&Customer, &mut Judged)> =
        customers.iter().zip(judged).filter(|(c, _)| c.purchase_days_n > 0).collect();
    let of = |value: fn(&Customer) -> i64| -> Vec<f64> {
        shares_above(&buyers.iter().map(|(c, _)| value(c)).collect::<Vec<i64>>())
    };
    // Fewer days since the last purchase are better.
    let recency = of(|c| c.recency - c.age);
    let (frequency, monetary) = (of(|c| c.purchase_days_n), of(|c| c.amount));
    let scores = recency.into_iter().zip(frequency).zip(monetary);
    for ((_, judged), ((r, f), m)) in buyers.iter_mut().zip(scores) {
        judged.scores = Some([score(r), score(f), score(m)]);
    }
}

/// What is expected of customers of some repeats and age while they are alive.
#[derive(Debug, Clone, Copy, Default)]
struct Outlook {
    expected: [f64; 3],
    /// Purchase days up to 365 days and up to the horizon, discounted.
    discounted: [f64; 2],
}

/// Expectations of every customer with a purchase day: what depends on repeats and age alone is
/// computed once for all who share them.
fn expect_all(
    customers: &[Customer],
    judged: &mut [Judged],
    model: &Purchases,
    spending: Option<&GammaGamma>,
    valuation: &Valuation,
) {
    let buyers = customers.iter().zip(judged).filter(|(c, _)| c.purchase_days_n > 0);
    let mut buyers: Vec<(&Customer, &mut Judged)> = buyers.collect();
    buyers.par_sort_unstable_by_key(|(c, _)| (c.repeats_n, c.age));
    let ends = ends(valuation.horizon_days);
    let alike: Vec<&mut [(&Customer, &mut Judged)]> = buyers
        .chunk_by_mut(|(a, _), (b, _)| (a.repeats_n, a.age) == (b.repeats_n, b.age))
        .collect();
    alike.into_par_iter().for_each(|alike| {
        let Some((first, _)) = alike.first() else { return };
        let known = valuation.history(first.repeats_n, 0, first.age, 1);
        let outlook = outlook(model, (known.repeats, known.age), &ends, valuation);
        for (customer, judged) in alike {
            expect(customer, judged, model, spending, &outlook, valuation);
        }
    });
}

fn expect(
    customer: &Customer,
    judged: &mut Judged,
    model: &Purchases,
    spending: Option<&GammaGamma>,
    outlook: &Outlook,
    valuation: &Valuation,
) {
    let own = valuation.history(customer.repeats_n, customer.recency, customer.age, 1);
    let alive = model.alive(own.repeats, own.recency, own.age);
    judged.alive = Some(alive).filter(|p| p.is_finite());
    judged.expected = Some(outlook.expected.map(|days| days * alive))
        .filter(|all| all.iter().all(|days| days.is_finite()));
    let is_worth = customer.repeats_n == 0 || customer.repeat_amount > 0;
    let repeat_mean = float(customer.repeat_amount) / own.repeats.max(1.0);
    judged.spend = spending
        .filter(|_| is_worth)
        .and_then(|model| model.expected(own.repeats, repeat_mean))
        .filter(|spend| spend.is_finite());
    judged.value = judged
        .spend
        .map(|spend| outlook.discounted.map(|days| days * alive * spend * valuation.margin))
        .filter(|all| all.iter().all(|value| value.is_finite()));
}

/// Ends of the months ahead in days, with 90 and 365 days and the horizon among them, in order.
fn ends(horizon_days: u32) -> Vec<f64> {
    const MONTH: f64 = 365.25 / 12.0;
    let last = f64::from(horizon_days.max(365));
    let months = (1..).map(|month| f64::from(month) * MONTH).take_while(|end| *end < last);
    let mut ends: Vec<f64> = months.chain([90.0, 365.0, f64::from(horizon_days)]).collect();
    ends.sort_by(f64::total_cmp);
    ends.dedup_by(|a, b| (*a - *b).abs() < 1e-9);
    ends
}

fn outlook(
    model: &Purchases,
    (repeats, age): (f64, f64),
    ends: &[f64],
    valuation: &Valuation,
) -> Outlook {
    let horizon = f64::from(valuation.horizon_days);
    let mut outlook = Outlook::default();
    let (mut before, mut expected_before) = (0.0, 0.0);
    for end in ends {
        let expected =
            model.expected_if_alive(repeats, age, valuation.units(*end)).max(expected_before);
        let middle = (before + end) / 2.0 / 365.25;
        let discounted =
            (expected - expected_before) * (1.0 + valuation.discount_rate).powf(-middle);
        let [to_90, to_365, to_horizon] = &mut outlook.expected;
        for (limit, total) in [(90.0, to_90), (365.0, to_365), (horizon, to_horizon)] {
            *total = if *end <= limit { expected } else { *total };
        }
        let [to_365, to_horizon] = &mut outlook.discounted;
        for (limit, total) in [(365.0, to_365), (horizon, to_horizon)] {
            *total += if *end <= limit { discounted } else { 0.0 };
        }
        (before, expected_before) = (*end, expected);
    }
    outlook
}

fn push(
    rows: &mut Rows<'_>,
    name: &str,
    customer: &Customer,
    judged: &Judged,
    settings: &Settings,
) -> Result<(), Error> {
    let today = settings.calendar.day(settings.as_of);
    let before = |days: i64| -> Value<'_> {
        let day = Day::try_from(i64::from(today) - days);
        let day = day.ok().filter(|_| customer.purchase_days_n > 0);
        day.map_or(Value::Null, Value::Date)
    };
    let score = |place: usize| Value::int(judged.scores.and_then(|all| all.get(place).copied()));
    let days = |place: usize| {
        let own = judged.expected.and_then(|all| all.get(place).copied());
        Value::float(own.map(|days| decimals(days, 6)))
    };
    let tier = |tier: Option<Tier>| tier.map_or(Value::Null, |tier| Value::Text(tier.name()));
    let minor = |value: f64| Value::Money(value.round_ties_even() as i64);
    let value = |place: usize| {
        judged.value.and_then(|all| all.get(place).copied()).map_or(Value::Null, minor)
    };
    rows.push(
        NO_DAY,
        &[
            ("customer_id", Value::Text(name)),
            ("first_purchase_on", before(customer.age)),
            ("last_purchase_on", before(customer.age - customer.recency)),
            ("orders_n", Value::Int(customer.orders_n)),
            ("purchase_days_n", Value::Int(customer.purchase_days_n)),
            ("repeats_n", Value::Int(customer.repeats_n)),
            ("recency_days", Value::Int(customer.recency)),
            ("age_days", Value::Int(customer.age)),
            ("amount", Value::Money(customer.amount)),
            ("repeat_amount_mean", Value::money(mean(customer.repeat_amount, customer.repeats_n))),
            ("recency_score", score(0)),
            ("frequency_score", score(1)),
            ("monetary_score", score(2)),
            ("p_alive", Value::float(judged.alive.map(|p| decimals(p, 6)))),
            ("expected_purchases_90d", days(0)),
            ("expected_purchases_365d", days(1)),
            ("expected_purchases", days(2)),
            ("expected_spend", judged.spend.map_or(Value::Null, minor)),
            ("clv_365d", value(0)),
            ("clv", value(1)),
            ("clv_tier", tier(judged.clv_tier)),
            ("tier", tier(judged.tier)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{cells, check, finish as table, settings, state};
    use crate::stats::btyd::Model;
    use crate::stats::btyd::testing::cdnow;
    use crate::stats::testdata::{csv, shared};
    use crate::table::Table;

    const KEYS: [&str; 2] = ["id_high", "id_low"];
    const VALUES: [&str; 7] = [
        "order_n",
        "purchase_day_n",
        "repeat_n",
        "recency",
        "age",
        "net_amount",
        "repeat_net_amount",
    ];

    fn valued(rows: &[[i64; 9]], settings: &Settings) -> Table {
        let rows: Vec<&[i64]> = rows.iter().map(|row| &row[..]).collect();
        table(&METRIC, &[state(&KEYS, &VALUES, &rows)], Period::All, settings).unwrap()
    }

    fn numbers(table: &Table, column: &str) -> Vec<f64> {
        let found = cells(table, &[], column);
        found.iter().map(|cell| cell.parse().unwrap()).collect()
    }

    #[test]
    fn cdnow_customers_are_worth_what_another_program_says() {
        let Some(customers) = cdnow() else { return };
        let Some(text) = shared("cdnow/answers/sample_customer_predictions.csv") else { return };
        let days = |weeks: f64| (weeks * 7.0).round() as i64;
        // Integers of four digits, so that the order of their text is theirs.
        let rows: Vec<[i64; 9]> = (1000..)
            .zip(&customers)
            .map(|(id, c)| {
                let x = c.history.repeats as i64;
                let cents = (c.mean * c.history.repeats * 100.0).round() as i64;
                [1, id, x + 1, x + 1, x, days(c.history.recency), days(c.history.age), cents, cents]
            })
            .collect();
        let mut settings = settings(&["L"], 10_134);
        settings.clv.model = Model::BgNbd;
        settings.clv.horizon_days = 273;
        // 1 % a month.
        settings.clv.discount_rate = 1.01_f64.powi(12) - 1.0;
        let table = valued(&rows, &settings);
        let answers = csv(&text);
        assert_eq!(answers.len(), table.rows());
        let answer = |at: usize| answers.iter().map(move |row| row[at].parse::<f64>().unwrap());
        for (column, at, tolerance) in [("p_alive", 5, 1e-3), ("expected_purchases", 6, 2e-3)] {
            for (found, expected) in numbers(&table, column).into_iter().zip(answer(at)) {
                let off = (found - expected).abs() / expected.max(1.0);
                assert!(off < tolerance, "{column}: {found}, there {expected}");
            }
        }
        for (found, expected) in numbers(&table, "expected_spend").into_iter().zip(answer(7)) {
            assert!((found - expected).abs() < 0.02, "{found}, there {expected}");
        }
        // There months end 30.4 days after one another and are discounted from their ends, half a
        // month more: 1.01^½ = 1.005.
        for (found, expected) in numbers(&table, "clv_365d").into_iter().zip(answer(10)) {
            let ratio = found / expected;
            // Times have two decimals there.
            let allowed = 0.006 + 0.006 / expected;
            assert!((ratio - 1.005).abs() < allowed, "{found}, there {expected}");
        }
        let ratio = numbers(&table, "clv_365d").iter().sum::<f64>() / answer(10).sum::<f64>();
        assert!((ratio - 1.005).abs() < 0.001, "{ratio}");
    }

    #[test]
    fn scores_stand_without_any_fit() {
        // As of day 100: identifiers 5 to 7, the last one refunded in full.
        let rows = [
            [1, 5, 4, 3, 2, 60, 90, 9_000, 6_000],
            [1, 6, 1, 1, 0, 0, 10, 500, 0],
            [1, 7, 1, 0, 0, 0, 50, 0, 0],
        ];
        let table = valued(&rows, &settings(&["L"], 100));
        check(&table, &[], "customer_id", "5 6 7");
        check(&table, &[], "first_purchase_on", "1970-01-11 1970-04-01 -");
        check(&table, &[], "last_purchase_on", "1970-03-12 1970-04-01 -");
        check(&table, &[], "repeat_amount_mean", "30.00 - -");
        // Of two customers the second best has half above it: 5 − ⌊2.5⌋ = 3.
        check(&table, &[], "recency_score", "3 5 -");
        check(&table, &[], "frequency_score", "5 3 -");
        check(&table, &[], "monetary_score", "5 3 -");
        check(&table, &[], "p_alive", "- - -");
        check(&table, &[], "clv_tier", "- - -");
        check(&table, &[], "tier", "- - -");
    }

    #[test]
    fn months_ahead_end_at_the_horizon() {
        let ends = ends(100);
        assert_eq!(ends.len(), 14, "eleven months, and days 90, 100 and 365");
        assert!(ends.contains(&90.0) && ends.contains(&100.0));
        assert_eq!(ends.last(), Some(&365.0));
    }
}
