//! What a unit's own few cases and everybody's many say together: empirical Bayes for shares and for
//! means.
//!
//! A unit is drawn towards what is expected of it, the more so the fewer cases it has and the less
//! units differ beyond chance. It makes rankings steadier; it tests nothing.
//!
//! Invariant: a shrunk value lies between the unit's own and the expected one.

use super::distributions::beta_quantile;
use super::{Z_95, float};

/// A unit's cases.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cases {
    /// How many.
    pub trials: i64,
    /// Of these, successes.
    pub successes: i64,
    /// Share of successes that is expected of it, above 0 and below 1.
    pub expected: f64,
}

/// A shrunk value with limits of 95 %; no limits where units do not differ beyond chance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shrunk {
    /// The value.
    pub value: f64,
    /// Its limits.
    pub limits: Option<(f64, f64)>,
}

/// Least and greatest precision that is looked for, as logarithms: about half a case to a million.
const LN_PRECISIONS: (f64, f64) = (-0.7, 13.9);
/// Steps between them before the best one is refined.
const STEPS: i32 = 60;

/// How many cases the expectation counts as: the precision of the beta distribution of units' true
/// shares around what is expected of each, by maximum likelihood.
///
/// Edge cases: `None` where the likelihood grows without end: units do not differ beyond chance, or
/// there are fewer than two with cases.
///
/// Source: Casella, 1985, An Introduction to Empirical Bayes Data Analysis; Griffiths, 1973, Maximum
/// Likelihood Estimation for the Beta-Binomial Distribution.
#[must_use]
pub fn precision(units: &[Cases]) -> Option<f64> {
    let can_tell = |c: &&Cases| c.trials > 0 && c.expected > 0.0 && c.expected < 1.0;
    let units: Vec<&Cases> = units.iter().filter(can_tell).collect();
    if units.len() < 2 {
        return None;
    }
    let likelihood = |ln_precision: f64| -> f64 {
        let precision = ln_precision.exp();
        units.iter().map(|unit| ln_beta_binomial(unit, precision)).sum()
    };
    let (low, high) = LN_PRECISIONS;
    let step = (high - low) / f64::from(STEPS);
    let at = |place: i32| low + step * f64::from(place);
    let best = (0..=STEPS).max_by(|a, b| likelihood(at(*a)).total_cmp(&likelihood(at(*b))))?;
    if best == STEPS {
        return None;
    }
    // Golden section around the best step.
    let (mut from, mut to) = (at(best) - step, at(best) + step);
    let golden = (5.0_f64.sqrt() - 1.0) / 2.0;
    while to - from > 1e-6 {
        let (left, right) = (to - golden * (to - from), from + golden * (to - from));
        if likelihood(left) < likelihood(right) { from = left } else { to = right }
    }
    Some(f64::midpoint(from, to).exp())
}

/// Without the binomial coefficient, which no precision changes.
fn ln_beta_binomial(unit: &Cases, precision: f64) -> f64 {
    let (a, b) = (precision * unit.expected, precision * (1.0 - unit.expected));
    let (won, n) = (float(unit.successes), float(unit.trials));
    let ln = libm::lgamma;
    ln(a + won) - ln(a) + ln(b + n - won) - ln(b) + ln(a + b) - ln(a + b + n)
}

/// A unit's share of successes, shrunk towards what is expected of it.
///
/// Definition: `(successes + M·expected)/(trials + M)` with the precision M; limits are quantiles of
/// that beta distribution.
#[must_use]
pub fn shrunk_share(unit: &Cases, precision: Option<f64>) -> Shrunk {
    let Some(precision) = precision else {
        return Shrunk { value: unit.expected, limits: None };
    };
    let a = precision * unit.expected + float(unit.successes);
    let b = precision * (1.0 - unit.expected) + float(unit.trials - unit.successes);
    let limits =
        (a > 0.0 && b > 0.0).then(|| (beta_quantile(0.025, a, b), beta_quantile(0.975, a, b)));
    Shrunk { value: a / (a + b), limits }
}

/// A unit's mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mean {
    /// The mean of its cases.
    pub mean: f64,
    /// The variance of that mean, above 0.
    pub variance: f64,
}

/// Units' means, each shrunk towards their weighted mean.
///
/// Definition: `μ + (1 − B)(y − μ)` with `B = (k − 3)/(k − 1) · v/(v + τ²)`; the variance between
/// units τ² is such that the weighted squares add up to k − 1 (Paule and Mandel). With equal
/// variances this is the estimator of James and Stein as Efron and Morris use it.
///
/// Edge cases: fewer than four means are left as they are.
///
/// Source: Efron and Morris, 1975, Data Analysis Using Stein's Estimator and its Generalizations;
/// Morris, 1983, Parametric Empirical Bayes Inference.
#[must_use]
pub fn shrunk_means(units: &[Mean]) -> Vec<Shrunk> {
    let limited = |value: f64, variance: f64| {
        let half = Z_95 * variance.max(0.0).sqrt();
        Shrunk { value, limits: Some((value - half, value + half)) }
    };
    if units.len() < 4 {
        return units.iter().map(|unit| limited(unit.mean, unit.variance)).collect();
    }
    let k = float(units.len() as i64);
    let between = between(units, k - 1.0);
    let centre = centre(units, between);
    let shrink = |unit: &Mean| {
        let factor = (k - 3.0) / (k - 1.0) * unit.variance / (unit.variance + between);
        let value = centre + (1.0 - factor) * (unit.mean - centre);
        limited(value, unit.variance * (1.0 - factor))
    };
    units.iter().map(shrink).collect()
}

fn centre(units: &[Mean], between: f64) -> f64 {
    let weights = units.iter().map(|unit| 1.0 / (unit.variance + between));
    let sum: f64 = weights.clone().sum();
    weights.zip(units).map(|(weight, unit)| weight * unit.mean).sum::<f64>() / sum
}

/// The variance between units at which their weighted squares add up to so many; 0 where even
/// without it they add up to less.
fn between(units: &[Mean], wanted: f64) -> f64 {
    let squares = |between: f64| {
        let centre = centre(units, between);
        let square = |unit: &Mean| (unit.mean - centre).powi(2) / (unit.variance + between);
        units.iter().map(square).sum::<f64>()
    };
    if squares(0.0) <= wanted {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, 1e-12);
    while squares(high) > wanted && high < 1e12 {
        (low, high) = (high, high * 4.0);
    }
    for _ in 0..80 {
        let middle = f64::midpoint(low, high);
        if squares(middle) > wanted { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testdata::close;

    /// Hits of eighteen players in their first 45 times at bat in 1970, and what Stein's estimator
    /// foretells of each.
    ///
    /// Source: Efron and Morris, 1977, Stein's Paradox in Statistics, where all are shrunk to .265
    /// by the factor .212.
    const PLAYERS: [(i64, f64); 18] = [
        (18, 0.294),
        (17, 0.289),
        (16, 0.285),
        (15, 0.280),
        (14, 0.275),
        (14, 0.275),
        (13, 0.270),
        (12, 0.266),
        (11, 0.261),
        (11, 0.261),
        (10, 0.256),
        (10, 0.256),
        (10, 0.256),
        (10, 0.256),
        (10, 0.256),
        (9, 0.252),
        (8, 0.247),
        (7, 0.242),
    ];

    #[test]
    fn batting_averages_are_shrunk_as_published() {
        let hits: i64 = PLAYERS.iter().map(|(hits, _)| hits).sum();
        let all = float(hits) / (45.0 * 18.0);
        close(all, 0.265, 1e-3);
        let unit = |(hits, _): &(i64, f64)| Mean {
            mean: float(*hits) / 45.0,
            variance: all * (1.0 - all) / 45.0,
        };
        let shrunk = shrunk_means(&PLAYERS.iter().map(unit).collect::<Vec<_>>());
        for (found, (_, printed)) in shrunk.iter().zip(PLAYERS) {
            assert!((found.value - printed).abs() < 1.1e-3, "{found:?} {printed}");
        }
        let [best, .., worst] = shrunk.as_slice() else { panic!("eighteen") };
        // The factor .212 between the extremes, .400 and .156.
        close((best.value - worst.value) / (11.0 / 45.0), 0.212, 5e-3);
    }

    #[test]
    fn tumours_of_rats_are_shrunk_as_published() {
        // Gelman and others, Bayesian Data Analysis, section 5.1: 4 of 14 with the prior
        // Beta(1.4, 8.6) is Beta(5.4, 18.6) with the mean .225 and standard deviation .083.
        let rats = Cases { trials: 14, successes: 4, expected: 0.14 };
        let shrunk = shrunk_share(&rats, Some(10.0));
        close(shrunk.value, 0.225, 1e-12);
        let (low, high) = shrunk.limits.expect("limits");
        assert!((high - low - 4.0 * 0.083).abs() < 0.02, "{low} {high}");
        assert_eq!(shrunk_share(&rats, None), Shrunk { value: 0.14, limits: None });
    }

    #[test]
    fn precision_is_where_the_likelihood_is_greatest() {
        let unit = |successes| Cases { trials: 20, successes, expected: 0.3 };
        let units = [unit(2), unit(10), unit(4), unit(9), unit(5)];
        let found = precision(&units).expect("they differ");
        // The likelihood by products of rising powers, as it is defined.
        let rising = |a: f64, n: i64| (0..n).map(|i| (a + float(i)).ln()).sum::<f64>();
        let likelihood = |m: f64| -> f64 {
            let one = |u: &Cases| {
                rising(0.3 * m, u.successes) + rising(0.7 * m, u.trials - u.successes)
                    - rising(m, u.trials)
            };
            units.iter().map(one).sum()
        };
        assert!(likelihood(found) > likelihood(found * 1.01));
        assert!(likelihood(found) > likelihood(found / 1.01));
    }

    #[test]
    fn units_that_do_not_differ_are_all_as_expected() {
        let units = [Cases { trials: 50, successes: 15, expected: 0.3 }; 6];
        assert_eq!(precision(&units), None);
        assert_eq!(precision(&units[..1]), None);
        let means = [Mean { mean: 2.0, variance: 0.5 }; 5];
        assert!(shrunk_means(&means).iter().all(|m| (m.value - 2.0).abs() < 1e-12));
        // With few units nothing is known of how they differ.
        assert_eq!(
            shrunk_means(&[Mean { mean: 7.0, variance: 1.0 }])[0].value.to_bits(),
            7.0_f64.to_bits()
        );
    }
}
