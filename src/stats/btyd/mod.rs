//! Models of customers who buy, and one day stop without saying so ("buy till you die"): how likely
//! a customer is still one, how often they will buy, and for how much.
//!
//! Customers are given by three numbers: purchase days after the first (repeats, x), the time from
//! the first to the last purchase day (recency, t_x) and from the first to the end of the
//! observation (age, T), in one unit of time. Equal histories are one group with a weight, so that a
//! fit costs the same for a thousand customers and a million. Contracts, seasons and covariates are
//! not modelled; two customers with equal histories are expected to do the same.
//!
//! Invariant: what is expected of a customer is the probability of being alive times what would be
//! expected of a living one of the same repeats and age, in every model.

pub mod bg_nbd;
pub mod fit;
pub mod gamma_gamma;
pub mod mbg_nbd;
pub mod pareto_nbd;
pub mod sample;
pub mod special;
mod stopping;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use rayon::prelude::*;

pub use bg_nbd::BgNbd;
pub use fit::{Ending, Fit};
pub use gamma_gamma::GammaGamma;
pub use mbg_nbd::MbgNbd;
pub use pareto_nbd::ParetoNbd;
pub use sample::{History, Sample, Spending};

/// A model of when customers buy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Model {
    /// BG/NBD: one may stop after each purchase but the first.
    BgNbd,
    /// MBG/NBD: one may stop after each purchase, the first too.
    MbgNbd,
    /// Pareto/NBD: one may stop at any time.
    ParetoNbd,
}

impl Model {
    /// Every model.
    pub const EVERY: [Self; 3] = [Self::BgNbd, Self::MbgNbd, Self::ParetoNbd];

    /// Its name in tables and settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BgNbd => "bg_nbd",
            Self::MbgNbd => "mbg_nbd",
            Self::ParetoNbd => "pareto_nbd",
        }
    }

    /// The names of its parameters, in the order of their authors.
    #[must_use]
    pub fn parameters(self) -> [&'static str; 4] {
        match self {
            Self::BgNbd | Self::MbgNbd => ["r", "alpha", "a", "b"],
            Self::ParetoNbd => ["r", "alpha", "s", "beta"],
        }
    }

    /// The model with these parameters.
    #[must_use]
    pub fn with(self, parameters: [f64; 4]) -> Purchases {
        let [r, alpha, c, d] = parameters;
        match self {
            Self::BgNbd => Purchases::BgNbd(BgNbd { r, alpha, a: c, b: d }),
            Self::MbgNbd => Purchases::MbgNbd(MbgNbd { r, alpha, a: c, b: d }),
            Self::ParetoNbd => Purchases::ParetoNbd(ParetoNbd { r, alpha, s: c, beta: d }),
        }
    }

    /// The parameters under which the sample is likeliest.
    ///
    /// Edge cases: whatever the sample, there is a result, and its ending says what it is worth;
    /// `None` only without a customer of age above 0.
    #[must_use]
    pub fn fit(self, sample: &Sample<History>) -> Option<Fit<4>> {
        let customers = sample.customers();
        let ages: f64 = sample.groups().iter().map(|g| g.customers * g.age).sum();
        let repeats: f64 = sample.groups().iter().map(|g| g.customers * g.repeats).sum();
        if !(ages > 0.0 && customers > 0.0) {
            return None;
        }
        let fine = sample.within(GROUPS_MAX);
        let coarse = sample.within(GROUPS_TRIED);
        let rate = ages / repeats.max(0.5);
        let mean = |sample: &Sample<History>, parameters: &[f64; 4]| {
            self.with(*parameters).log_likelihood(sample) / customers
        };
        let starts = match self {
            Self::BgNbd | Self::MbgNbd => [
                [0.5, 0.5 * rate, 0.7, 2.0],
                [1.0, 0.5 * rate, 0.5, 5.0],
                [2.0, 2.0 * rate, 1.0, 1.0],
            ],
            Self::ParetoNbd => [
                [0.5, 0.5 * rate, 0.5, 0.5 * ages / customers],
                [1.0, 0.5 * rate, 1.0, 2.0 * ages / customers],
                [2.0, 2.0 * rate, 0.3, 0.1 * ages / customers],
            ],
        };
        let scales = match self {
            Self::BgNbd | Self::MbgNbd => [1.0, ages / customers, 1.0, 1.0],
            Self::ParetoNbd => [1.0, ages / customers, 1.0, ages / customers],
        };
        let (coarse, fine) = (|p: &[f64; 4]| mean(&coarse, p), |p: &[f64; 4]| mean(&fine, p));
        Some(fit::maximise(&coarse, &fine, &starts, scales, customers))
    }
}

/// Groups from which a fit is made at most: enough for every printed digit, few enough that it takes
/// a fraction of a second.
pub(super) const GROUPS_MAX: usize = 1 << 12;
/// Groups on which starts are tried.
pub(super) const GROUPS_TRIED: usize = 1 << 7;

/// A model of when customers buy, with its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Purchases {
    /// BG/NBD.
    BgNbd(BgNbd),
    /// MBG/NBD.
    MbgNbd(MbgNbd),
    /// Pareto/NBD.
    ParetoNbd(ParetoNbd),
}

impl Purchases {
    /// The log-likelihood of all customers of a sample.
    #[must_use]
    pub fn log_likelihood(&self, sample: &Sample<History>) -> f64 {
        match self {
            Self::BgNbd(model) => model.log_likelihood(sample),
            Self::MbgNbd(model) => model.log_likelihood(sample),
            Self::ParetoNbd(model) => model.log_likelihood(sample),
        }
    }

    /// The probability that a customer of this history has not stopped: P(alive).
    #[must_use]
    pub fn alive(&self, repeats: f64, recency: f64, age: f64) -> f64 {
        let alive = match self {
            Self::BgNbd(model) => model.alive(repeats, recency, age),
            Self::MbgNbd(model) => model.alive(repeats, recency, age),
            Self::ParetoNbd(model) => model.alive(repeats, recency, age),
        };
        alive.clamp(0.0, 1.0)
    }

    /// Purchase days expected within a time from now of a customer who has not stopped. It depends
    /// on repeats and age alone, so that it can be computed once for many customers.
    #[must_use]
    pub fn expected_if_alive(&self, repeats: f64, age: f64, time: f64) -> f64 {
        match self {
            Self::BgNbd(model) => model.expected_if_alive(repeats, age, time),
            Self::MbgNbd(model) => model.expected_if_alive(repeats, age, time),
            Self::ParetoNbd(model) => model.expected_if_alive(repeats, age, time),
        }
    }

    /// Purchase days expected within a time from now.
    #[must_use]
    pub fn expected(&self, history: &History, time: f64) -> f64 {
        let History { repeats, recency, age, .. } = *history;
        self.alive(repeats, recency, age) * self.expected_if_alive(repeats, age, time)
    }

    /// Repeat purchase days expected of a new customer within a time from the first purchase.
    #[must_use]
    pub fn expected_new(&self, time: f64) -> f64 {
        self.alive(0.0, 0.0, 0.0) * self.expected_if_alive(0.0, 0.0, time)
    }
}

/// The sum of a function over the groups of a sample, group by group of equal repeats: the same on
/// any number of threads, because groups are always summed in the same parts.
fn sum_by_repeats<G: sample::Grouped + Sync>(
    sample: &Sample<G>,
    repeats: impl Fn(&G) -> f64 + Sync,
    own: impl Fn(f64, &[G]) -> f64 + Sync,
) -> f64 {
    const PART: usize = 1 << 10;
    let part = |groups: &[G]| -> f64 {
        let runs = groups.chunk_by(|a, b| repeats(a).total_cmp(&repeats(b)).is_eq());
        runs.filter_map(|run| run.first().map(|first| own(repeats(first), run))).sum()
    };
    let groups = sample.groups();
    if groups.len() <= PART {
        return part(groups);
    }
    let parts: Vec<f64> = groups.par_chunks(PART).map(part).collect();
    parts.iter().sum()
}

/// (1 − F) / (a − 1) for a function F of a with F(1) = 1, near a = 1, too: there the quotient is
/// taken a little beside it.
fn away_from_one(a: f64) -> f64 {
    const NEAR: f64 = 1e-7;
    if (a - 1.0).abs() < NEAR { 1.0 + NEAR } else { a }
}
