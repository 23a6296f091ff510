//! BG/NBD: customers buy at a rate of their own (gamma), and after each repeat purchase stop with a
//! probability of their own (beta).
//!
//! A customer without a repeat purchase is always alive, because nobody stops before one; where that
//! is not wanted, MBG/NBD is the model.

use super::sample::{History, Sample};
use super::special::{hyp2f1, ln_beta_ratio, ln_gamma};
use super::{away_from_one, stopping};

/// The model with its parameters: purchase rates are gamma(r, alpha), stopping probabilities
/// beta(a, b).
///
/// Source: Fader, Hardie and Lee, 2005, "Counting Your Customers" the Easy Way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BgNbd {
    /// Shape of the purchase rates.
    pub r: f64,
    /// Their inverse scale, in units of time.
    pub alpha: f64,
    /// First shape of the stopping probabilities.
    pub a: f64,
    /// Second shape of the stopping probabilities.
    pub b: f64,
}

impl BgNbd {
    /// The log-likelihood of all customers of a sample.
    ///
    /// Definition: per customer `lnΓ(r+x) − lnΓ(r) + r ln α + lnB(a,b+x) − lnB(a,b) +
    /// ln(e^{−(r+x)ln(α+T)} + [x>0] e^{ln a − ln(b+x−1) − (r+x)ln(α+t_x)})`.
    #[must_use]
    pub fn log_likelihood(&self, sample: &Sample<History>) -> f64 {
        let Self { r, alpha, a, b } = *self;
        let fixed = r * alpha.ln() - ln_gamma(r);
        stopping::log_likelihood(sample, (r, alpha), |x| {
            let stopped = if x > 0.0 { (a / (b + x - 1.0)).ln() } else { f64::NEG_INFINITY };
            (fixed + ln_gamma(r + x) + ln_beta_ratio(a, b, x), stopped)
        })
    }

    /// P(alive).
    ///
    /// Edge cases: 1 without a repeat purchase.
    #[must_use]
    pub fn alive(&self, repeats: f64, recency: f64, age: f64) -> f64 {
        let Self { r, alpha, a, b } = *self;
        if repeats <= 0.0 {
            return 1.0;
        }
        let stopped = (a / (b + repeats - 1.0)).ln();
        stopping::alive(stopped, (r, alpha), (repeats, recency, age))
    }

    /// Purchase days expected of a customer who has not stopped.
    ///
    /// Definition: `(a+b+x−1)/(a−1) · (1 − w^{r+x} ₂F₁(r+x, b+x; a+b+x−1; z))` with
    /// `z = t/(α+T+t)` and `w = 1−z`, of which Euler's transformation leaves
    /// `w^{a−1} ₂F₁(a+b−1−r, a−1; a+b+x−1; z)`, which does not overflow.
    #[must_use]
    pub fn expected_if_alive(&self, repeats: f64, age: f64, time: f64) -> f64 {
        let Self { r, alpha, b, .. } = *self;
        let a = away_from_one(self.a);
        let c = a + b + repeats - 1.0;
        // At c = 0 the product of c and the function still has a value.
        let c = if c.abs() < 1e-9 { 1e-9 } else { c };
        let left = (alpha + age) / (alpha + age + time);
        let series = hyp2f1(a + b - 1.0 - r, a - 1.0, c, 1.0 - left);
        c / (a - 1.0) * (1.0 - left.powf(a - 1.0) * series)
    }

    /// The probability of so many repeat purchases within a time from the first.
    #[must_use]
    pub fn probability(&self, repeats: u32, time: f64) -> f64 {
        let Self { r, alpha, a, b } = *self;
        let x = f64::from(repeats);
        let (stay, go) = ((alpha / (alpha + time)).ln(), (time / (alpha + time)).ln());
        // Negative binomial: so many purchases in the time, if nobody stops.
        let nbd = |j: u32| {
            let j = f64::from(j);
            (ln_gamma(r + j) - ln_gamma(r) - ln_gamma(j + 1.0) + r * stay + j * go).exp()
        };
        let still = ln_beta_ratio(a, b, x).exp() * nbd(repeats);
        if repeats == 0 {
            return still;
        }
        // B(a+1, b+x−1)/B(a, b) = a/(b+x−1) · B(a, b+x)/B(a, b).
        let stopped = ln_beta_ratio(a, b, x).exp() * a / (b + x - 1.0);
        let fewer: f64 = (0..repeats).map(nbd).sum();
        still + stopped * (1.0 - fewer)
    }
}
