//! MBG/NBD: as BG/NBD, but one may stop after the first purchase, too.
//!
//! So a customer who bought once and never again is not taken for alive forever: the default where
//! many customers buy once.

use super::sample::{History, Sample};
use super::special::{hyp2f1, ln_beta_ratio, ln_gamma};
use super::{away_from_one, stopping};

/// The model with its parameters: purchase rates are gamma(r, alpha), stopping probabilities
/// beta(a, b).
///
/// Source: Batislam, Denizel and Filiztekin, 2007, Empirical Validation and Comparison of Models
/// for Customer Base Analysis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MbgNbd {
    /// Shape of the purchase rates.
    pub r: f64,
    /// Their inverse scale, in units of time.
    pub alpha: f64,
    /// First shape of the stopping probabilities.
    pub a: f64,
    /// Second shape of the stopping probabilities.
    pub b: f64,
}

impl MbgNbd {
    /// The log-likelihood of all customers of a sample.
    ///
    /// Definition: per customer `lnΓ(r+x) − lnΓ(r) + r ln α + lnB(a,b+x+1) − lnB(a,b) +
    /// ln(e^{−(r+x)ln(α+T)} + e^{ln a − ln(b+x) − (r+x)ln(α+t_x)})`.
    #[must_use]
    pub fn log_likelihood(&self, sample: &Sample<History>) -> f64 {
        let Self { r, alpha, a, b } = *self;
        let fixed = r * alpha.ln() - ln_gamma(r);
        stopping::log_likelihood(sample, (r, alpha), |x| {
            let common = fixed + ln_gamma(r + x) + ln_beta_ratio(a, b, x + 1.0);
            (common, (a / (b + x)).ln())
        })
    }

    /// P(alive).
    #[must_use]
    pub fn alive(&self, repeats: f64, recency: f64, age: f64) -> f64 {
        let Self { r, alpha, a, b } = *self;
        stopping::alive((a / (b + repeats)).ln(), (r, alpha), (repeats, recency, age))
    }

    /// Purchase days expected of a customer who has not stopped.
    ///
    /// Definition: `(a+b+x)/(a−1) · (1 − w^{r+x} ₂F₁(r+x, b+x+1; a+b+x; z))` with `z = t/(α+T+t)`
    /// and `w = 1−z`, of which Euler's transformation leaves `w^{a−1} ₂F₁(a+b−r, a−1; a+b+x; z)`.
    #[must_use]
    pub fn expected_if_alive(&self, repeats: f64, age: f64, time: f64) -> f64 {
        let Self { r, alpha, b, .. } = *self;
        let a = away_from_one(self.a);
        let c = a + b + repeats;
        let left = (alpha + age) / (alpha + age + time);
        let series = hyp2f1(a + b - r, a - 1.0, c, 1.0 - left);
        c / (a - 1.0) * (1.0 - left.powf(a - 1.0) * series)
    }
}
