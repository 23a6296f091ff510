//! What the tables of models share: how customers are valued, and fits from grouped histories.
//!
//! Invariant: a fit is made from groups in the order of their numbers, so it is the same whatever
//! order the customers came in.

use crate::error::Error;
use crate::metrics::StateView;
use crate::stats::btyd::{Ending, Fit, GammaGamma, History, Model, Sample, Spending};
use crate::stats::float;

/// By which model customers are valued, and how far ahead.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Valuation {
    /// The model of when customers buy.
    pub model: Model,
    /// Days in the unit of the models' times.
    pub days_per_unit: f64,
    /// How far ahead customers are valued.
    pub horizon_days: u32,
    /// What comes a year later is worth 1/(1 + this).
    pub discount_rate: f64,
    /// Share of the amounts that counts as value.
    pub margin: f64,
    /// Days before the run's instant on which models are tried.
    pub holdout_days: u32,
}

impl Default for Valuation {
    fn default() -> Self {
        Self {
            model: Model::MbgNbd,
            days_per_unit: 7.0,
            horizon_days: 1_095,
            discount_rate: 0.1,
            margin: 1.0,
            holdout_days: 180,
        }
    }
}

impl Valuation {
    /// Days in the unit of the models.
    #[must_use]
    pub fn units(&self, days: f64) -> f64 {
        days / self.days_per_unit
    }

    /// A history given in days.
    #[must_use]
    pub fn history(&self, repeats_n: i64, recency: i64, age: i64, customers_n: i64) -> History {
        History {
            repeats: float(repeats_n),
            recency: self.units(float(recency)),
            age: self.units(float(age)),
            customers: float(customers_n),
        }
    }
}

/// Fewer customers with a repeat purchase than this say too little about four parameters.
pub const REPEATERS_MIN: i64 = 20;

/// What became of a fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome<const N: usize> {
    /// There were too few customers to try.
    TooFew,
    /// It was tried.
    Tried(Fit<N>),
}

impl<const N: usize> Outcome<N> {
    /// A fit of so many customers with a repeat purchase, or none.
    pub fn of(repeaters_n: i64, fit: impl FnOnce() -> Option<Fit<N>>) -> Self {
        let tried = (repeaters_n >= REPEATERS_MIN).then(fit).flatten();
        tried.map_or(Self::TooFew, Self::Tried)
    }

    /// Its name in tables.
    #[must_use]
    pub fn status(&self) -> &'static str {
        match self {
            Self::TooFew => "too_few",
            Self::Tried(fit) => fit.ending.name(),
        }
    }

    /// The fit, whatever it is worth.
    #[must_use]
    pub fn fit(&self) -> Option<&Fit<N>> {
        match self {
            Self::TooFew => None,
            Self::Tried(fit) => Some(fit),
        }
    }

    /// The parameters, if customers may be judged by them.
    #[must_use]
    pub fn usable(&self) -> Option<[f64; N]> {
        self.fit().filter(|fit| fit.ending != Ending::NotConverged).map(|fit| fit.parameters)
    }
}

/// Repeats, recency and age in days, and how many customers.
pub(super) type InDays = (i64, i64, i64, i64);

/// What is known of some customers' purchases before models are fitted to it.
#[derive(Debug, Clone)]
pub struct Known {
    /// Those with a purchase day, in as many groups as a fit takes.
    pub histories: Sample<History>,
    /// How many they are.
    pub customers_n: i64,
    /// Of these, those with a repeat.
    pub repeaters_n: i64,
}

impl Known {
    /// From customers in days: repeats, recency, age, and how many.
    pub fn new(rows: impl Iterator<Item = InDays>, valuation: &Valuation) -> Self {
        let (mut customers_n, mut repeaters_n) = (0, 0);
        let groups = rows.map(|(repeats_n, recency, age, n)| {
            customers_n += n;
            repeaters_n += if repeats_n > 0 { n } else { 0 };
            valuation.history(repeats_n, recency, age, n)
        });
        let histories = Sample::new(groups.collect()).for_fits();
        Self { histories, customers_n, repeaters_n }
    }

    /// The fit of a model.
    #[must_use]
    pub fn fit(&self, model: Model) -> Outcome<4> {
        Outcome::of(self.repeaters_n, || model.fit(&self.histories))
    }
}

/// The fit of the spending of customers: repeats, net amount of these, and how many. With the
/// number of those whose mean is not above zero, which are left out.
#[must_use]
pub fn fit_spending(rows: impl Iterator<Item = (i64, i64, i64)>) -> (Outcome<3>, Spenders) {
    let mut spenders = Spenders::default();
    let mut groups = Vec::new();
    for (repeats_n, amount, customers_n) in rows.filter(|row| row.0 > 0) {
        if amount > 0 {
            spenders.customers_n += customers_n;
            let mean = float(amount) / float(repeats_n);
            groups.push(Spending::new(float(repeats_n), mean, float(customers_n)));
        } else {
            spenders.without_amount_n += customers_n;
        }
    }
    let sample = Sample::new(groups).for_fits();
    (Outcome::of(spenders.customers_n, || GammaGamma::fit(&sample)), spenders)
}

/// How many customers the spending was fitted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spenders {
    /// Customers with repeats whose mean amount is above zero.
    pub customers_n: i64,
    /// Customers with repeats whose mean amount is not.
    pub without_amount_n: i64,
}

/// The rows of three keys and a value of a state.
pub(super) fn histories<'a>(
    state: &StateView<'a>,
    [repeats, recency, age, customers]: [&str; 4],
) -> Result<impl Iterator<Item = InDays> + use<'a>, Error> {
    let keys = state.key(repeats)?.iter().zip(state.key(recency)?).zip(state.key(age)?);
    let rows = keys.zip(state.value(customers)?);
    Ok(rows.map(|(((x, t_x), age), n)| (*x, *t_x, *age, *n)))
}

/// A number with so many significant digits: what a fit can tell, and the same on every machine.
#[must_use]
pub(super) fn significant(value: f64, digits: i32) -> f64 {
    if value.abs() < f64::MIN_POSITIVE || !value.is_finite() {
        return value;
    }
    let scale = 10_f64.powi(digits - 1 - value.abs().log10().floor() as i32);
    let scaled = (value * scale).round_ties_even() / scale;
    if scaled.is_finite() { scaled } else { value }
}

/// A number with so many decimals.
#[must_use]
pub(super) fn decimals(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round_ties_even() / scale
}
