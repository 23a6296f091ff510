//! Gamma-Gamma: what customers spend on a purchase day varies around a mean of their own.
//!
//! Means must not depend on how often one buys. The first purchase is left out, as its authors do.

use super::fit::{self, Fit};
use super::sample::{Sample, Spending};
use super::special::ln_gamma;
use super::{GROUPS_MAX, GROUPS_TRIED, sum_by_repeats};

/// The model with its parameters: a day's amount is gamma(p, v), and v is gamma(q, gamma).
///
/// Source: Fader and Hardie, 2013, The Gamma-Gamma Model of Monetary Value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GammaGamma {
    /// Shape of the amounts of one customer.
    pub p: f64,
    /// Shape of the customers' inverse scales.
    pub q: f64,
    /// Their inverse scale, in units of money.
    pub gamma: f64,
}

impl GammaGamma {
    /// The names of its parameters.
    pub const PARAMETERS: [&'static str; 3] = ["p", "q", "gamma"];

    /// The model with these parameters.
    #[must_use]
    pub fn with([p, q, gamma]: [f64; 3]) -> Self {
        Self { p, q, gamma }
    }

    /// The parameters under which the sample is likeliest.
    ///
    /// Edge cases: `None` without a customer.
    #[must_use]
    pub fn fit(sample: &Sample<Spending>) -> Option<Fit<3>> {
        let customers = sample.customers();
        if customers <= 0.0 {
            return None;
        }
        let sum: f64 = sample.groups().iter().map(|g| g.customers * g.mean).sum();
        let typical = sum / customers;
        let (fine, coarse) = (sample.within(GROUPS_MAX), sample.within(GROUPS_TRIED));
        let mean = |sample: &Sample<Spending>, parameters: &[f64; 3]| {
            Self::with(*parameters).log_likelihood(sample) / customers
        };
        // Each with the sample's mean as that of the population: p · gamma / (q − 1).
        let starts =
            [(6.0, 4.0), (1.5, 2.5), (20.0, 10.0)].map(|(p, q)| [p, q, typical * (q - 1.0) / p]);
        Some(fit::maximise(&|p| mean(&coarse, p), &|p| mean(&fine, p), &starts, customers))
    }

    /// The log-likelihood of all customers of a sample.
    ///
    /// Definition: per customer `lnΓ(px+q) − lnΓ(px) − lnΓ(q) + q ln γ + (px−1) ln m + px ln x −
    /// (px+q) ln(γ + xm)`.
    #[must_use]
    pub fn log_likelihood(&self, sample: &Sample<Spending>) -> f64 {
        let Self { p, q, gamma } = *self;
        let fixed = q * gamma.ln() - ln_gamma(q);
        sum_by_repeats(
            sample,
            |g| g.repeats,
            |x, groups| {
                let px = p * x;
                let common = fixed + ln_gamma(px + q) - ln_gamma(px) + px * x.ln();
                let own = |g: &Spending| {
                    let own = (px - 1.0) * g.ln_mean - (px + q) * (gamma + x * g.mean).ln();
                    g.customers * (common + own)
                };
                groups.iter().map(own).sum()
            },
        )
    }

    /// The mean amount of a purchase day over all customers.
    ///
    /// Edge cases: `None` unless q is above 1: the mean is infinite.
    #[must_use]
    pub fn population_mean(&self) -> Option<f64> {
        (self.q > 1.0).then(|| self.p * self.gamma / (self.q - 1.0))
    }

    /// The amount expected of a purchase day of a customer with these repeats and this mean of
    /// them: the customer's own mean, drawn towards the population's the fewer repeats there are.
    ///
    /// Edge cases: the population's mean without repeats; `None` where there is no mean.
    #[must_use]
    pub fn expected(&self, repeats: f64, mean: f64) -> Option<f64> {
        let Self { p, q, gamma } = *self;
        if repeats <= 0.0 {
            return self.population_mean();
        }
        let below = p * repeats + q - 1.0;
        (below > 0.0).then(|| p * (gamma + repeats * mean) / below)
    }
}
