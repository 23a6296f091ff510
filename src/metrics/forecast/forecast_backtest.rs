//! How good the forecast was at the ends of past months, when it knew only what had happened by then.
//!
//! It makes no other forecast than `forecast` does, but for two things: amounts are those at the entry
//! to the stage that a deal was in, and the spread of a total is that of a normal sum in place of
//! simulated ones.

use rayon::prelude::*;

use super::NewDeals;
use super::curves::Curves;
use super::history::{BOOKED, Kept, booked};
use super::horizons::{months_end, series};
use super::replay::{ENDED, Replay, STOOD, WON_SIZES};
use crate::error::Error;
use crate::metrics::{Group, Identity, Metric, NO_KEY, Rows, Settings, StateView, View};
use crate::stats::float;
use crate::stats::forecast::scores::{Z_80, brier, crps_normal};
use crate::stats::forecast::series::Method;
use crate::table::{ColumnSpec, Value};
use crate::time::{Day, NO_DAY, Period};

/// Definition: at the end of each of the last months the history is cut, deals that were open then are
/// judged as in `forecast_deals`, and what came in the next month, or the next three, is compared:
/// `brier` = mean of (probability − 1 if won, else 0)² over the deals, beside that of giving all deals
/// the share that was won of those open as long before; `crps` of the total amount as a normal
/// distribution, beside that of the same months a year before (the last month where there is no year)
/// with the spread of its own errors up to then; `coverage` = share of totals between the 10 % and 90 %
/// quantiles, which should be .8. What came is the net amount booked, reversals in their own month.
///
/// Edge cases: deals that were deleted or merged since are unknown then, too, unless they are kept.
/// Without errors of the past the baseline has no spread, and its score is its absolute error. The row
/// without a date is of all dates: means of the scores by deal (Brier) and by date (CRPS, coverage).
///
/// Source: Gneiting and Raftery, 2007; Brier, 1950.
pub static METRIC: Metric = Metric {
    name: "forecast_backtest",
    question: "How good were past forecasts, and better than what could be had for nothing?",
    grain: "one row per slice, months ahead and past month's end, and one of all of them",
    states: &[ENDED, STOOD, WON_SIZES, BOOKED],
    output: OUTPUT,
    view: View::Table,
    references: &[
        "Gneiting and Raftery, 2007, Strictly Proper Scoring Rules, Prediction, and Estimation",
        "Brier, 1950, Verification of Forecasts Expressed in Terms of Probability",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::count("months_n", "months", "How far the forecast went.").key(),
    ColumnSpec::date("forecast_on", "The day whose end it was made at; null for all of them.")
        .key()
        .nullable(),
    ColumnSpec::count("trials_n", "dates", "How many there are."),
    ColumnSpec::count("open_n", "deals", "Deals that were open and could be judged."),
    ColumnSpec::count("won_n", "deals", "Those of them that were won within the months."),
    ColumnSpec::number("expected_won_n", "deals", "How many were expected to be."),
    ColumnSpec::rate("brier", "Mean squared error of the deals' probabilities."),
    ColumnSpec::rate("brier_baseline", "The same with one probability for all deals."),
    ColumnSpec::flag("deals_beat_baseline", "brier < brier_baseline; null without either.")
        .nullable(),
    ColumnSpec::money("expected_amount", "Net amount expected, of new deals too if they count."),
    ColumnSpec::money("expected_amount_p10", "10 % quantile of it; null for all.").nullable(),
    ColumnSpec::money("expected_amount_p90", "90 % quantile of it; null for all.").nullable(),
    ColumnSpec::money("booked_amount", "Net amount that was booked."),
    ColumnSpec::money("baseline_amount", "Net amount as in the months before.").nullable(),
    ColumnSpec::money("bias_amount", "expected_amount − booked_amount."),
    ColumnSpec::number(
        "bias",
        "share",
        "The same over booked_amount; null if that is not above 0.",
    )
    .nullable(),
    ColumnSpec::rate("coverage", "Share of booked_amount between the two quantiles."),
    ColumnSpec::money("crps", "Mean score of the total: how far off it was; less is better."),
    ColumnSpec::money("crps_baseline", "The same of the baseline.").nullable(),
    ColumnSpec::flag("beats_baseline", "crps < crps_baseline; null without a baseline.").nullable(),
    ColumnSpec::flag("low_n", "Fewer dates than the quantile floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "won_n ≤ open_n and expected_won_n ≤ open_n",
        holds: |row| {
            let open_n = row.int("open_n");
            row.int("won_n") <= open_n
                && row.float("expected_won_n") <= open_n.map(|n| float(n) + 1e-6)
        },
    },
    Identity {
        claim: "expected_amount − booked_amount = bias_amount",
        holds: |row| {
            let booked = row.money("booked_amount");
            let bias = row.money("expected_amount").zip(booked).map(|(a, b)| a - b);
            row.money("bias_amount") == bias
        },
    },
    Identity {
        claim: "expected_amount_p10 ≤ expected_amount_p90",
        holds: |row| row.money("expected_amount_p10") <= row.money("expected_amount_p90"),
    },
    Identity {
        claim: "brier, brier_baseline and coverage are shares, crps is not negative",
        holds: |row| {
            let is_share = |name| row.float(name).is_none_or(|s| (0.0..=1.0).contains(&s));
            ["brier", "brier_baseline", "coverage"].into_iter().all(is_share)
                && row.money("crps").is_none_or(|crps| crps >= 0)
        },
    },
];

/// How many months ahead a forecast is tried.
const MONTHS: [i32; 2] = [1, 3];
/// Past errors that tell a spread.
const ERRORS_MIN: usize = 3;

/// One forecast and what came, or the sums of several.
#[derive(Debug, Clone, Copy, Default)]
struct Trial {
    trials_n: i64,
    open_n: i64,
    won_n: i64,
    expected_won_n: f64,
    /// Sums over the deals.
    brier: f64,
    brier_baseline: Option<f64>,
    expected: f64,
    spread: f64,
    booked: i64,
    baseline: Option<f64>,
    covered_n: i64,
    crps: f64,
    crps_baseline: Option<f64>,
}

impl Trial {
    fn add(&mut self, other: &Self) {
        let both = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a + b);
        // One that is missing is missing in the sum.
        let first = self.trials_n == 0;
        let sum = |a: Option<f64>, b: Option<f64>| if first { b } else { both(a, b) };
        *self = Self {
            trials_n: self.trials_n + other.trials_n,
            open_n: self.open_n + other.open_n,
            won_n: self.won_n + other.won_n,
            expected_won_n: self.expected_won_n + other.expected_won_n,
            brier: self.brier + other.brier,
            brier_baseline: sum(self.brier_baseline, other.brier_baseline),
            expected: self.expected + other.expected,
            spread: 0.0,
            booked: self.booked + other.booked,
            baseline: sum(self.baseline, other.baseline),
            covered_n: self.covered_n + other.covered_n,
            crps: self.crps + other.crps,
            crps_baseline: sum(self.crps_baseline, other.crps_baseline),
        };
    }
}

/// What all trials look at.
struct Past<'a> {
    replay: Replay,
    booked_of: StateView<'a>,
    settings: &'a Settings,
    /// The first day after the last complete month.
    end: Day,
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [ended, stood, sizes, booked_of] = group.states else {
        return Err(Error::Bug("the backtest has four states".into()));
    };
    if group.period != Period::All || stood.rows() == 0 {
        return Ok(());
    }
    let settings = group.settings;
    let calendar = &settings.calendar;
    let end = months_end(calendar, calendar.day(settings.as_of));
    let replay = Replay::read(ended, stood, sizes)?;
    let past = Past { replay, booked_of: booked_of.clone(), settings, end };
    let back = i32::try_from(settings.forecast.backtest_months).unwrap_or(i32::MAX);
    let dates: Vec<i32> = (1..=back).rev().collect();
    let trials =
        dates.into_par_iter().map(|back| past.trials(back)).collect::<Result<Vec<_>, Error>>()?;
    for (place, months) in MONTHS.iter().enumerate() {
        let own: Vec<(Day, Trial)> = trials
            .iter()
            .filter_map(|(on, all)| all.get(place).copied().flatten().map(|trial| (*on, trial)))
            .collect();
        if own.is_empty() {
            continue;
        }
        let mut total = Trial::default();
        own.iter().for_each(|(_, trial)| total.add(trial));
        push(rows, *months, None, &total, settings)?;
        for (on, trial) in &own {
            push(rows, *months, Some(*on), trial, settings)?;
        }
    }
    Ok(())
}

impl Past<'_> {
    /// The trials so many months before the last complete one ended: the day, and one for each length.
    fn trials(&self, back: i32) -> Result<(Day, Vec<Option<Trial>>), Error> {
        let calendar = &self.settings.calendar;
        let next = calendar.shift(Period::Month, self.end, -back);
        let tallies = self.replay.tallies(next);
        if tallies.is_empty() {
            return Ok((next - 1, vec![None; MONTHS.len()]));
        }
        let curves = Curves::of(&tallies, self.settings);
        let is_over = |months: &i32| *months <= back;
        let trial = |months: &i32| -> Result<Option<Trial>, Error> {
            is_over(months).then(|| self.trial(next, *months, &curves)).transpose()
        };
        let trials = MONTHS.iter().map(trial).collect::<Result<Vec<_>, Error>>()?;
        Ok((next - 1, trials))
    }

    fn trial(&self, next: Day, months: i32, curves: &Curves<'_>) -> Result<Trial, Error> {
        let (settings, calendar) = (self.settings, &self.settings.calendar);
        let until = calendar.shift(Period::Month, next, months);
        let days = i64::from(until) - i64::from(next);
        let kept = self.kept(next)?;
        let sizes = self.replay.sizes(next);
        let before = calendar.shift(Period::Month, next, -months);
        let usual = self.replay.share_won(before, next);
        let mut trial = Trial { trials_n: 1, ..Trial::default() };
        let (mut baseline, mut variance) = (0.0, 0.0);
        // How much larger the mean square of amounts is than the square of their mean.
        let uneven = if sizes.mean > 0.0 { sizes.square / (sizes.mean * sizes.mean) } else { 1.0 };
        for own in self.replay.standing(next) {
            let Some(judged) = curves.judge(own.group, own.age, settings) else { continue };
            let [p, _] = judged.outlook.within(days);
            let (n, won) = (float(own.n), if own.won < i64::from(until) { own.n } else { 0 });
            trial.open_n += own.n;
            trial.won_n += won;
            trial.brier += brier(p, float(won), n);
            baseline += usual.map_or(0.0, |usual| brier(usual, float(won), n));
            let p = p * kept.deals();
            trial.expected_won_n += p * n;
            let amount = own.amount as f64 * kept.amounts();
            trial.expected += p * amount;
            variance += p * (1.0 - p) * amount * amount / n * uneven.max(1.0);
        }
        trial.brier_baseline = usual.map(|_| baseline);
        if settings.forecast.new_deals == NewDeals::Expected {
            let by_day = self.replay.created(calendar, next).wins_by_day(days);
            let won = by_day.and_then(|by_day| by_day.last().copied()).unwrap_or(0.0);
            let won = won * kept.deals();
            trial.expected += won * sizes.mean * kept.amounts();
            variance += won * sizes.square * kept.amounts() * kept.amounts();
        }
        trial.spread = variance.sqrt();
        self.score(&mut trial, next, until, months)?;
        Ok(trial)
    }

    /// Compares a trial's total with what was booked.
    fn score(&self, trial: &mut Trial, next: Day, until: Day, months: i32) -> Result<(), Error> {
        let span = i64::from(next)..i64::from(until);
        let came = booked(&self.booked_of)?.filter(|(day, _)| span.contains(day));
        trial.booked = came.map(|(_, amount)| amount).sum();
        let actual = trial.booked as f64;
        trial.crps = crps_normal(trial.expected, trial.spread, actual);
        let off = (actual - trial.expected).abs();
        trial.covered_n = i64::from(off <= Z_80 * trial.spread);
        let past = series(&self.settings.calendar, booked(&self.booked_of)?, next);
        let months = usize::try_from(months).unwrap_or(1);
        let sum = |known: &[f64]| -> Option<f64> {
            Method::naive(known).ahead(known, months).map(|ahead| ahead.iter().sum())
        };
        trial.baseline = sum(&past);
        trial.crps_baseline = trial.baseline.map(|baseline| {
            let errors: Vec<f64> = (1..=past.len().saturating_sub(months))
                .filter_map(|place| {
                    let (known, later) = past.split_at(place);
                    let came: f64 = later.iter().take(months).sum();
                    sum(known).map(|expected| (expected - came).powi(2))
                })
                .collect();
            let is_told = errors.len() >= ERRORS_MIN;
            let spread = (errors.iter().sum::<f64>() / errors.len().max(1) as f64).sqrt();
            crps_normal(baseline, if is_told { spread } else { 0.0 }, actual)
        });
        Ok(())
    }

    /// What was kept of what had been won by then.
    fn kept(&self, next: Day) -> Result<Kept, Error> {
        let days = self.booked_of.key("booked_on")?;
        // In the order of their days; a day that does not exist is first.
        let known = days.partition_point(|day| *day == NO_KEY || *day < i64::from(next));
        Kept::read(&self.booked_of.part(0..known))
    }
}

fn push(
    rows: &mut Rows<'_>,
    months: i32,
    on: Option<Day>,
    trial: &Trial,
    settings: &Settings,
) -> Result<(), Error> {
    let share = |value: f64| Value::Float((value * 1e6).round_ties_even() / 1e6);
    let minor = |value: f64| value.round_ties_even() as i64;
    let money = |value: Option<f64>| Value::money(value.map(minor));
    let of_deals = |sum: f64| (trial.open_n > 0).then(|| sum / float(trial.open_n));
    let of_dates = |sum: f64| sum / float(trial.trials_n);
    let flag = |own: Option<f64>, other: Option<f64>| {
        own.zip(other).map_or(Value::Null, |(own, other)| Value::Bool(own < other))
    };
    let brier = of_deals(trial.brier);
    let brier_baseline = trial.brier_baseline.and_then(of_deals);
    let (expected, crps) = (minor(trial.expected), of_dates(trial.crps));
    let crps_baseline = trial.crps_baseline.map(of_dates);
    let quantile = |z: f64| money(on.map(|_| trial.expected + z * trial.spread));
    let bias = expected - trial.booked;
    let relative = (trial.booked > 0).then(|| bias as f64 / trial.booked as f64);
    let optional = |value: Option<f64>| value.map_or(Value::Null, share);
    rows.push(
        NO_DAY,
        &[
            ("months_n", Value::Int(months.into())),
            ("forecast_on", on.map_or(Value::Null, Value::Date)),
            ("trials_n", Value::Int(trial.trials_n)),
            ("open_n", Value::Int(trial.open_n)),
            ("won_n", Value::Int(trial.won_n)),
            ("expected_won_n", share(trial.expected_won_n)),
            ("brier", optional(brier)),
            ("brier_baseline", optional(brier_baseline)),
            ("deals_beat_baseline", flag(brier, brier_baseline)),
            ("expected_amount", Value::Money(expected)),
            ("expected_amount_p10", quantile(-Z_80)),
            ("expected_amount_p90", quantile(Z_80)),
            ("booked_amount", Value::Money(trial.booked)),
            ("baseline_amount", money(trial.baseline)),
            ("bias_amount", Value::Money(bias)),
            ("bias", optional(relative)),
            ("coverage", share(of_dates(float(trial.covered_n)))),
            ("crps", Value::Money(minor(crps))),
            ("crps_baseline", money(crps_baseline)),
            ("beats_baseline", flag(Some(crps), crps_baseline)),
            ("low_n", Value::Bool(trial.trials_n < settings.quantile_floor)),
        ],
    )
}
