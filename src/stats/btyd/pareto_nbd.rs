//! Pareto/NBD: customers buy at a rate of their own (gamma) and stop at any time, at a rate of their
//! own (gamma, too).
//!
//! Everything is in log space, so that customers with hundreds of purchases are computed like any
//! other.

use super::sample::{History, Sample};
use super::special::{hyp2f1_of_one, ln_add_exp, ln_gamma};
use super::sum_by_repeats;

/// The model with its parameters: purchase rates are gamma(r, alpha), stopping rates gamma(s, beta).
///
/// Source: Schmittlein, Morrison and Colombo, 1987, Counting Your Customers; Fader and Hardie, 2005,
/// A Note on Deriving the Pareto/NBD Model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParetoNbd {
    /// Shape of the purchase rates.
    pub r: f64,
    /// Their inverse scale, in units of time.
    pub alpha: f64,
    /// Shape of the stopping rates.
    pub s: f64,
    /// Their inverse scale, in units of time.
    pub beta: f64,
}

impl ParetoNbd {
    /// The log-likelihood of all customers of a sample.
    ///
    /// Definition: per customer `lnΓ(r+x) − lnΓ(r) + r ln α + s ln β + ln(A + S)`, where
    /// `A = (α+T)^{−(r+x)} (β+T)^{−s}` is of being alive at T, and
    /// `S = ∫ s (α+y)^{−(r+x)} (β+y)^{−(s+1)} dy` from t_x to T of having stopped between.
    #[must_use]
    pub fn log_likelihood(&self, sample: &Sample<History>) -> f64 {
        let Self { r, alpha, s, beta } = *self;
        let fixed = r * alpha.ln() + s * beta.ln() - ln_gamma(r);
        sum_by_repeats(
            sample,
            |g| g.repeats,
            |x, groups| {
                let common = fixed + ln_gamma(r + x);
                let own = |g: &History| {
                    let (alive, either) = self.ln_alive(x, g.recency, g.age);
                    g.customers * (common + ln_add_exp(alive, either))
                };
                groups.iter().map(own).sum()
            },
        )
    }

    /// ln A and ln S.
    fn ln_alive(&self, x: f64, recency: f64, age: f64) -> (f64, f64) {
        let Self { r, alpha, s, beta } = *self;
        let alive = -(r + x) * (alpha + age).ln() - s * (beta + age).ln();
        if recency >= age {
            return (alive, f64::NEG_INFINITY);
        }
        let (since, after) = (self.ln_stops_after(x, recency), self.ln_stops_after(x, age));
        // The difference loses digits only where it is small beside A.
        (alive, since + (-(after - since).exp_m1()).ln())
    }

    /// The logarithm of S from a time to infinity: the two hypergeometric forms of the model, keyed
    /// on which of α and β is larger, each by Euler's transformation with 1 as first argument.
    fn ln_stops_after(&self, x: f64, time: f64) -> f64 {
        let Self { r, alpha, s, beta } = *self;
        let (buys, stops) = (alpha + time, beta + time);
        let all = r + s + x;
        let fraction = if alpha >= beta {
            hyp2f1_of_one(r + x, all + 1.0, (alpha - beta) / buys).ln()
        } else {
            hyp2f1_of_one(s + 1.0, all + 1.0, (beta - alpha) / stops).ln() + (buys / stops).ln()
        };
        (s / all).ln() - (r + x) * buys.ln() - s * stops.ln() + fraction
    }

    /// P(alive).
    #[must_use]
    pub fn alive(&self, repeats: f64, recency: f64, age: f64) -> f64 {
        let (alive, stopped) = self.ln_alive(repeats, recency, age);
        1.0 / (1.0 + (stopped - alive).exp())
    }

    /// Purchase days expected of a customer who has not stopped.
    ///
    /// Definition: `(r+x)/(α+T) · (β+T)/(s−1) · (1 − ((β+T)/(β+T+t))^{s−1})`.
    #[must_use]
    pub fn expected_if_alive(&self, repeats: f64, age: f64, time: f64) -> f64 {
        let Self { r, alpha, s, beta } = *self;
        let log = (time / (beta + age)).ln_1p();
        let power = (s - 1.0) * log;
        let lived = if power.abs() < 1e-12 { log } else { log * -(-power).exp_m1() / power };
        (r + repeats) / (alpha + age) * (beta + age) * lived
    }

    /// Discounted purchase days expected of a customer who has not stopped, forever: the sum of all
    /// that is to come at a continuous rate per unit of time; times P(alive) the "discounted
    /// expected residual transactions" (DERT).
    ///
    /// Edge cases: `None` unless the rate is above 0.
    ///
    /// Source: Fader, Hardie and Lee, 2005, RFM and CLV: Using Iso-Value Curves.
    #[must_use]
    pub fn discounted_if_alive(&self, repeats: f64, age: f64, rate: f64) -> Option<f64> {
        let Self { r, alpha, s, beta } = *self;
        if rate <= 0.0 {
            return None;
        }
        // ∫ ((β+T)/(β+T+t))^s e^{−δt} dt, with t = (β+T)(e^v − 1), by Simpson's rule.
        let scale = rate * (beta + age);
        let last = (1.0 + 50.0 / scale).ln();
        let integrand = |v: f64| (v * (1.0 - s) - scale * v.exp_m1()).exp();
        let lived = simpson(integrand, last) * (beta + age);
        Some((r + repeats) / (alpha + age) * lived)
    }
}

/// The integral of a smooth function from 0 by Simpson's rule.
fn simpson(function: impl Fn(f64) -> f64, end: f64) -> f64 {
    const PAIRS: u32 = 1_000;
    let width = end / f64::from(2 * PAIRS);
    let at = |place: u32| function(f64::from(place) * width);
    let inner = (1..2 * PAIRS).map(|place| at(place) * if place % 2 == 1 { 4.0 } else { 2.0 });
    (at(0) + inner.sum::<f64>() + at(2 * PAIRS)) * width / 3.0
}
