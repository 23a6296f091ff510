//! What will be won in the months ahead: of the deals that are open, of those that are yet to come, and
//! how far off that may be.
//!
//! It adds up what `forecast_deals` says of single deals. Beside it stand what a Markov chain of the
//! stages expects of the same deals, and what the series of past months says without any deal.

use std::collections::BTreeMap;

use super::NewDeals;
use super::chain::{Chain, ENDS, STAYS};
use super::curves::{CURVES, Curves};
use super::forecast_deals::{Alike, OPEN_DEALS, OpenDeal, alike};
use super::history::{BOOKED, CREATED, Created, Kept, SIZES, booked, sizes};
use super::horizons::{Ahead, months_ahead, months_end, series};
use crate::error::Error;
use crate::metrics::{Group, Identity, Metric, Rows, Settings, StateView, View};
use crate::stats::float;
use crate::stats::forecast::draws::{Arrivals, Prospects, mix, order_statistic};
use crate::stats::forecast::series::{Chosen, choose};
use crate::table::{ColumnSpec, Value};
use crate::time::{NO_DAY, Period};

/// Definition: `open_amount` of a month = Σ over open deals of (P(won by its end) − P(won before it)) ×
/// amount × (1 − reopen_rate) × (1 − refund_rate), with the probabilities of `forecast_deals`.
/// `new_amount` is the same of deals that come from now on: as many a day as in the last twelve
/// complete months, won as often and as soon after their creation as all so far, of the sizes of all
/// won deals. The shares of `draws_n` simulated futures in which less comes are the quantiles: in each
/// an open deal is won once or never, and new wins come as a compound Poisson sum; a quantile is the
/// order statistic. `baseline_amount` carries the net bookings of past months on: as in the same month
/// a year before, or by exponential smoothing where that was better one month ahead over the last
/// twelve months. `markov_…` are Σ over the open deals of the shares of their stage in
/// `B = (I − Q)⁻¹ R`, with exits from stages corrected for stays that have not ended.
///
/// Edge cases: the first month is what is left of the current one, its baseline that share of it. The
/// row without a month is of all time, of open deals only. Deals without an amount add none
/// (`unknown_amount_n`); deals that nobody can judge are left out (`unjudged_n`). Amounts of new deals
/// are null without a complete month of history or where `[forecast] new_deals` leaves them out. Deals
/// are independent in the futures, so that the quantiles know nothing of good and bad times.
///
/// Source: Aalen and Johansen, 1978; Kemeny and Snell, 1960; Hyndman and others, 2008.
pub static METRIC: Metric = Metric {
    name: "forecast",
    question: "What will be won in the months ahead?",
    grain: "one row per slice and month ahead, and one of all time",
    states: &[OPEN_DEALS, CURVES, STAYS, CREATED, SIZES, BOOKED],
    output: OUTPUT,
    view: View::Bars("amount"),
    references: &[
        "Aalen and Johansen, 1978, An Empirical Transition Matrix for Non-homogeneous Markov \
         Chains Based on Censored Observations",
        "Kemeny and Snell, 1960, Finite Markov Chains",
        "Hyndman, Koehler, Ord and Snyder, 2008, Forecasting with Exponential Smoothing",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::count("ahead_n", "months", "1 for the first month ahead; null for all time.")
        .key()
        .nullable(),
    ColumnSpec::date(
        "starts_on",
        "First day ahead of the month; the day after as_of for all time.",
    ),
    ColumnSpec::date("ends_on", "Last day of the month; null for all time.").nullable(),
    ColumnSpec::count("open_n", "deals", "Open deals that are judged."),
    ColumnSpec::count("unjudged_n", "deals", "Open deals that nothing is known of."),
    ColumnSpec::count("unknown_amount_n", "deals", "Judged deals without an amount."),
    ColumnSpec::count("low_n_n", "deals", "Judged deals whose chances rest on few entries."),
    ColumnSpec::number("open_won_n", "deals", "Open deals expected to be won and stay so."),
    ColumnSpec::number(
        "new_won_n",
        "deals",
        "The same of deals yet to come; null if not expected.",
    )
    .nullable(),
    ColumnSpec::money("open_amount", "Net amount expected of open deals."),
    ColumnSpec::money("open_amount_p10", "In 10 % of the futures open deals bring no more.")
        .nullable(),
    ColumnSpec::money("open_amount_p50", "The same of 50 %.").nullable(),
    ColumnSpec::money("open_amount_p90", "The same of 90 %.").nullable(),
    ColumnSpec::money("new_amount", "Net amount expected of deals yet to come.").nullable(),
    ColumnSpec::money("amount", "open_amount + new_amount; null if the latter is.").nullable(),
    ColumnSpec::money("amount_p10", "In 10 % of the futures all bring no more.").nullable(),
    ColumnSpec::money("amount_p50", "The same of 50 %.").nullable(),
    ColumnSpec::money("amount_p90", "The same of 90 %.").nullable(),
    ColumnSpec::count("draws_n", "futures", "How many were simulated."),
    ColumnSpec::rate("reopen_rate", "Share of wins so far that did not stay so."),
    ColumnSpec::rate("refund_rate", "Share of won amounts so far that was taken back."),
    ColumnSpec::money(
        "baseline_amount",
        "What the months before say; null for all time, or without a complete month.",
    )
    .nullable(),
    ColumnSpec::text(
        "baseline_method",
        "naive, seasonal_naive or exponential_smoothing; null without a baseline.",
    )
    .nullable(),
    ColumnSpec::number("markov_won_n", "deals", "Won by the chain; null except for all time.")
        .nullable(),
    ColumnSpec::number("markov_lost_n", "deals", "Lost by the chain.").nullable(),
    ColumnSpec::number("markov_gone_n", "deals", "Deleted, or moved to another pipeline.")
        .nullable(),
    ColumnSpec::number("markov_unresolved_n", "deals", "In stages that no deal was seen to leave.")
        .nullable(),
    ColumnSpec::number("markov_open_n", "deals", "Open deals in a stage that the chain knows.")
        .nullable(),
    ColumnSpec::money("markov_amount", "Net amount expected by the chain.").nullable(),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "open_amount + new_amount = amount",
        holds: |row| match (row.money("new_amount"), row.money("amount")) {
            (Some(new), Some(all)) => row.money("open_amount").map(|own| own + new) == Some(all),
            (new, all) => new.is_none() && all.is_none(),
        },
    },
    Identity {
        claim: "markov_won_n + markov_lost_n + markov_gone_n + markov_unresolved_n = markov_open_n",
        holds: |row| {
            let ends = ["won", "lost", "gone", "unresolved"];
            let of = |end: &&str| row.float(&format!("markov_{end}_n"));
            match (ends.iter().map(of).sum::<Option<f64>>(), row.float("markov_open_n")) {
                (Some(sum), Some(all)) => (sum - all).abs() <= 1e-6 * all.max(1.0),
                (sum, all) => sum.is_none() && all.is_none(),
            }
        },
    },
    Identity {
        claim: "open_amount_p10 ≤ open_amount_p50 ≤ open_amount_p90",
        holds: |row| {
            ["open_amount_p10", "open_amount_p50", "open_amount_p90"]
                .map(|name| row.money(name))
                .is_sorted()
        },
    },
    Identity {
        claim: "amount_p10 ≤ amount_p50 ≤ amount_p90",
        holds: |row| {
            ["amount_p10", "amount_p50", "amount_p90"].map(|name| row.money(name)).is_sorted()
        },
    },
    Identity {
        claim: "open_won_n ≤ open_n",
        holds: |row| {
            let open_n = row.int("open_n").map(float);
            row.float("open_won_n").zip(open_n).is_none_or(|(won, all)| won <= all + 1e-6)
        },
    },
];

/// Deals × futures that a table may take: a tenth of a second on two cores.
const WORK_MAX: usize = 60_000_000;
/// Futures that a quantile needs at least.
const DRAWS_MIN: usize = 200;

/// Deals that have the same chances.
#[derive(Debug, Clone, Default)]
struct Alikes {
    /// Probability of being won by the end of each month ahead, then ever.
    by: Vec<f64>,
    deals_n: i64,
    amount: i64,
}

/// What is expected of the open deals.
#[derive(Debug, Default)]
struct Open {
    judged_n: i64,
    unjudged_n: i64,
    unknown_amount_n: i64,
    low_n_n: i64,
    alikes: Vec<Alikes>,
    prospects: Prospects,
}

impl Open {
    fn of(
        deals: &[OpenDeal],
        curves: &Curves<'_>,
        months: &[Ahead],
        kept: Kept,
        settings: &Settings,
    ) -> Self {
        let today = settings.calendar.day(settings.as_of);
        let mut open = Self::default();
        let mut known: BTreeMap<Alike, Option<(usize, bool)>> = BTreeMap::new();
        for deal in deals {
            let key = alike(deal, today);
            let own = *known.entry(key).or_insert_with(|| {
                let (stage, segment, age) = key;
                let judged = curves.judge((stage, segment), age?, settings)?;
                let by_end = |month: &Ahead| judged.outlook.within(month.days_to_end(today));
                let [ever, _] = judged.outlook.eventually();
                let by = months.iter().map(|month| by_end(month)[0]).chain([ever]);
                let by: Vec<f64> = by.map(|p| p * kept.deals()).collect();
                open.prospects.kind(&by);
                open.alikes.push(Alikes { by, ..Alikes::default() });
                Some((open.alikes.len() - 1, judged.low_n))
            });
            let Some((place, low_n)) = own else {
                open.unjudged_n += 1;
                continue;
            };
            open.judged_n += 1;
            open.low_n_n += i64::from(low_n);
            open.unknown_amount_n += i64::from(deal.amount.is_none());
            let amount = deal.amount.unwrap_or(0);
            if let Some(alikes) = open.alikes.get_mut(place) {
                alikes.deals_n += 1;
                alikes.amount += amount;
            }
            // By the text, because the same identifier may come as a number or as text.
            let text = super::deal_text(deal.id.0, deal.id.1, &settings.dictionaries);
            let key = text.bytes().fold(0, |key, byte| mix(key ^ u64::from(byte)));
            let net = (amount as f64 * kept.amounts()).round_ties_even() as i64;
            open.prospects.push(key, place as u32, net);
        }
        open
    }

    /// Deals and amount expected in each month and later, then in all.
    fn expected(&self, periods: usize, kept: Kept) -> Vec<(f64, f64)> {
        let mut expected = vec![(0.0, 0.0); periods + 2];
        for alikes in &self.alikes {
            let mut before = 0.0;
            let mut add = |place: usize, p: f64| {
                if let Some((n, amount)) = expected.get_mut(place) {
                    *n += p * float(alikes.deals_n);
                    *amount += p * alikes.amount as f64 * kept.amounts();
                }
            };
            for (place, by) in alikes.by.iter().enumerate() {
                add(place, by - before);
                before = *by;
            }
            add(periods + 1, before);
        }
        expected
    }
}

/// What is expected of deals yet to come, in each month.
struct New {
    won: Vec<f64>,
    arrivals: Arrivals,
}

impl New {
    fn of(
        created: &Created,
        sizes: &[(i64, i64)],
        months: &[Ahead],
        kept: Kept,
        settings: &Settings,
    ) -> Option<Self> {
        let today = settings.calendar.day(settings.as_of);
        if settings.forecast.new_deals == NewDeals::LeftOut {
            return None;
        }
        let by_day = created.wins_by_day(months.last()?.days_to_end(today))?;
        let mut before = 0.0;
        let mut won = Vec::with_capacity(months.len());
        for month in months {
            let place = usize::try_from(month.days_to_end(today)).ok()?;
            let by = by_day.get(place)? * kept.deals();
            won.push(by - before);
            before = by;
        }
        let net = |amount: i64| (amount as f64 * kept.amounts()).round_ties_even() as i64;
        let sizes: Vec<(i64, i64)> = sizes.iter().map(|(n, amount)| (*n, net(*amount))).collect();
        Some(Self { arrivals: Arrivals::new(won.clone(), &sizes), won })
    }
}

/// The sums of the futures in order: of each month and of all time those of open deals, then of each
/// month those of all deals.
struct Futures {
    open: Vec<Vec<i64>>,
    all: Vec<Vec<i64>>,
    draws_n: usize,
}

impl Futures {
    fn of(open: &Open, new: Option<&New>, periods: usize, settings: &Settings) -> Self {
        let most = (WORK_MAX / open.prospects.len().max(1)).max(DRAWS_MIN);
        let draws_n = (settings.forecast.draws as usize).min(most);
        let (draws, seed) = (draws_n as u32, settings.forecast.seed);
        let mut of_open = vec![Vec::with_capacity(draws_n); periods + 1];
        let mut of_all = vec![Vec::with_capacity(draws_n); periods];
        let simulated = open.prospects.simulate(draws, seed);
        for (draw, mut sums) in (0..draws).zip(simulated) {
            sums.resize(periods + 1, 0);
            let total: i64 = sums.iter().sum();
            if let Some(later) = sums.last_mut() {
                *later = total;
            }
            let arriving = new.map_or_else(Vec::new, |new| new.arrivals.simulate(draw, seed));
            for ((column, own), more) in of_all.iter_mut().zip(&sums).zip(&arriving) {
                column.push(own + more);
            }
            for (column, own) in of_open.iter_mut().zip(sums) {
                column.push(own);
            }
        }
        for column in of_open.iter_mut().chain(&mut of_all) {
            column.sort_unstable();
        }
        Self { open: of_open, all: of_all, draws_n }
    }

    /// The quantiles of a column as money.
    fn quantiles(columns: &[Vec<i64>], place: usize) -> [Value<'static>; 3] {
        let sums = columns.get(place).map_or(&[][..], Vec::as_slice);
        [0.1, 0.5, 0.9].map(|p| Value::money(order_statistic(sums, p)))
    }
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [open, curves, stays, created, sizes_of, booked_of] = group.states else {
        return Err(Error::Bug("the forecast has six states".into()));
    };
    if group.period != Period::All || group.states.iter().all(|state| state.rows() == 0) {
        return Ok(());
    }
    let settings = group.settings;
    let today = settings.calendar.day(settings.as_of);
    let end = months_end(&settings.calendar, today);
    let months = months_ahead(&settings.calendar, today, settings.forecast.months);
    let kept = Kept::read(booked_of)?;
    let deals = OpenDeal::read(open)?;
    let curves = Curves::read(curves, settings)?;
    let open = Open::of(&deals, &curves, &months, kept, settings);
    let created = Created::read(created, &settings.calendar, end)?;
    let new = New::of(&created, &sizes(sizes_of)?, &months, kept, settings);
    let table = Forecast {
        expected: open.expected(months.len(), kept),
        futures: Futures::of(&open, new.as_ref(), months.len(), settings),
        baseline: Baseline::of(booked_of, &months, settings)?,
        markov: Markov::of(stays, &deals, kept)?,
        open,
        new,
        kept,
    };
    table.push(None, None, today, rows)?;
    for (place, month) in months.iter().enumerate() {
        table.push(Some(place), Some(month), today, rows)?;
    }
    Ok(())
}

/// The series of past months carried on.
struct Baseline {
    method: &'static str,
    amounts: Vec<f64>,
}

impl Baseline {
    fn of(
        state: &StateView<'_>,
        months: &[Ahead],
        settings: &Settings,
    ) -> Result<Option<Self>, Error> {
        let end = months_end(&settings.calendar, settings.calendar.day(settings.as_of));
        let past = series(&settings.calendar, booked(state)?, end);
        let Chosen { method, .. } = choose(&past);
        let Some(ahead) = method.ahead(&past, months.len()) else { return Ok(None) };
        let amounts = ahead.iter().zip(months).map(|(amount, month)| amount * month.share());
        Ok(Some(Self { method: method.name(), amounts: amounts.collect() }))
    }
}

/// What the chain of the stages expects of the open deals.
struct Markov {
    ends: [f64; ENDS + 1],
    open_n: i64,
    amount: f64,
}

impl Markov {
    fn of(state: &StateView<'_>, deals: &[OpenDeal], kept: Kept) -> Result<Self, Error> {
        let chain = Chain::read(state)?;
        let mut stages: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        for deal in deals {
            let (n, amount) = stages.entry(deal.stage).or_default();
            *n += 1;
            *amount += deal.amount.unwrap_or(0);
        }
        let mut all = Self { ends: [0.0; ENDS + 1], open_n: 0, amount: 0.0 };
        for (stage, (n, amount)) in stages {
            let Some(shares) = chain.of(stage) else { continue };
            all.open_n += n;
            for (end, share) in all.ends.iter_mut().zip(shares) {
                *end += share * float(n);
            }
            let won = shares.first().copied().unwrap_or(0.0);
            all.amount += won * amount as f64 * kept.deals() * kept.amounts();
        }
        Ok(all)
    }
}

struct Forecast {
    open: Open,
    new: Option<New>,
    expected: Vec<(f64, f64)>,
    futures: Futures,
    baseline: Option<Baseline>,
    markov: Markov,
    kept: Kept,
}

/// Six decimals.
fn rounded(value: f64) -> Value<'static> {
    Value::Float((value * 1e6).round_ties_even() / 1e6)
}

fn minor(value: f64) -> i64 {
    value.round_ties_even() as i64
}

impl Forecast {
    /// The row of a month, or of all time.
    fn push(
        &self,
        place: Option<usize>,
        month: Option<&Ahead>,
        today: i32,
        rows: &mut Rows<'_>,
    ) -> Result<(), Error> {
        let all = self.expected.len() - 1;
        let (won_n, amount) = self.expected.get(place.unwrap_or(all)).copied().unwrap_or_default();
        let open_amount = minor(amount);
        let of_new = self.new.as_ref().zip(place);
        let new_won = of_new.and_then(|(new, place)| new.won.get(place).copied());
        let new_amount =
            of_new.and_then(|(new, place)| new.arrivals.amounts().nth(place)).map(minor);
        let last = self.futures.open.len() - 1;
        let [open_p10, open_p50, open_p90] =
            Futures::quantiles(&self.futures.open, place.unwrap_or(last));
        let [p10, p50, p90] = match of_new {
            Some((_, place)) => Futures::quantiles(&self.futures.all, place),
            None => [Value::Null, Value::Null, Value::Null],
        };
        let baseline = self.baseline.as_ref().zip(place);
        let markov = |value: f64| if place.is_none() { rounded(value) } else { Value::Null };
        let [won, lost, gone, unresolved] = self.markov.ends;
        let open = &self.open;
        let rate = |rate: Option<f64>| rate.map_or(Value::Null, rounded);
        rows.push(
            NO_DAY,
            &[
                ("ahead_n", Value::int(place.map(|place| place as i64 + 1))),
                ("starts_on", Value::Date(month.map_or(today + 1, |month| month.starts))),
                ("ends_on", month.map_or(Value::Null, |month| Value::Date(month.ends))),
                ("open_n", Value::Int(open.judged_n)),
                ("unjudged_n", Value::Int(open.unjudged_n)),
                ("unknown_amount_n", Value::Int(open.unknown_amount_n)),
                ("low_n_n", Value::Int(open.low_n_n)),
                ("open_won_n", rounded(won_n)),
                ("new_won_n", new_won.map_or(Value::Null, rounded)),
                ("open_amount", Value::Money(open_amount)),
                ("open_amount_p10", open_p10),
                ("open_amount_p50", open_p50),
                ("open_amount_p90", open_p90),
                ("new_amount", Value::money(new_amount)),
                ("amount", Value::money(new_amount.map(|new| new + open_amount))),
                ("amount_p10", p10),
                ("amount_p50", p50),
                ("amount_p90", p90),
                ("draws_n", Value::Int(self.futures.draws_n as i64)),
                ("reopen_rate", rate(self.kept.reopen_rate)),
                ("refund_rate", rate(self.kept.refund_rate)),
                (
                    "baseline_amount",
                    Value::money(
                        baseline.and_then(|(b, place)| b.amounts.get(place).copied()).map(minor),
                    ),
                ),
                ("baseline_method", baseline.map_or(Value::Null, |(b, _)| Value::Text(b.method))),
                ("markov_won_n", markov(won)),
                ("markov_lost_n", markov(lost)),
                ("markov_gone_n", markov(gone)),
                ("markov_unresolved_n", markov(unresolved)),
                ("markov_open_n", markov(float(self.markov.open_n))),
                ("markov_amount", Value::money(place.is_none().then(|| minor(self.markov.amount)))),
            ],
        )
    }
}
