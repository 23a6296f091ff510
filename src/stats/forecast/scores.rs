//! How good a forecast was once it is known what came.

use std::f64::consts::{PI, SQRT_2};

/// The 90 % quantile of the standard normal distribution: 80 % lie within it to both sides.
pub const Z_80: f64 = 1.281_551_565_544_600_4;

/// The continuous ranked probability score of a normal forecast: how far off it was, in the unit of
/// what is forecast; less is better.
///
/// Definition: `σ (z (2Φ(z) − 1) + 2φ(z) − 1/√π)` with `z = (actual − mean)/σ`.
///
/// Edge cases: without a spread the absolute error.
///
/// Source: Gneiting and Raftery, 2007, Strictly Proper Scoring Rules, Prediction, and Estimation.
#[must_use]
pub fn crps_normal(mean: f64, sd: f64, actual: f64) -> f64 {
    let off = actual - mean;
    if sd <= 0.0 {
        return off.abs();
    }
    let z = off / sd;
    let density = (-z * z / 2.0).exp() / (2.0 * PI).sqrt();
    let cumulative = 0.5 * libm::erfc(-z / SQRT_2);
    sd * (z * (2.0 * cumulative - 1.0) + 2.0 * density - 1.0 / PI.sqrt())
}

/// The mean squared difference between a probability and what came, of `n` of which `happened` did.
///
/// Source: Brier, 1950, Verification of Forecasts Expressed in Terms of Probability.
#[must_use]
pub fn brier(p: f64, happened: f64, n: f64) -> f64 {
    happened * (1.0 - p) * (1.0 - p) + (n - happened) * p * p
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testdata::close;

    #[test]
    fn normal_forecasts_score_as_worked_out() {
        // At the mean: 2/√(2π) − 1/√π = .797885 − .564190 = .233695, times σ.
        close(crps_normal(10.0, 2.0, 10.0), 2.0 * 0.233_695, 1e-5);
        // One σ off: .682689 + 2 × .241971 − .564190 = .602441.
        close(crps_normal(0.0, 1.0, 1.0), 0.602_441, 1e-5);
        close(crps_normal(0.0, 1.0, -1.0), 0.602_441, 1e-5);
        // Far off it is the distance less 1/√π; without a spread the distance.
        close(crps_normal(0.0, 1.0, 50.0), 50.0 - 0.564_190, 1e-5);
        close(crps_normal(3.0, 0.0, 5.0), 2.0, 1e-12);
    }

    #[test]
    fn it_is_the_mean_difference_of_draws() {
        // CRPS = E|X − y| − ½ E|X − X'|, here by the midpoints of 400 equal parts of a normal X.
        let quantile = |p: f64| {
            let (mut low, mut high) = (-8.0, 8.0);
            for _ in 0..80 {
                let middle = (low + high) / 2.0;
                let below = 0.5 * libm::erfc(-middle / SQRT_2) < p;
                if below { low = middle } else { high = middle }
            }
            low
        };
        let draws: Vec<f64> = (0..400).map(|i| quantile((f64::from(i) + 0.5) / 400.0)).collect();
        let off = draws.iter().map(|x| (x - 0.7).abs()).sum::<f64>() / 400.0;
        let apart = draws.iter().flat_map(|x| draws.iter().map(move |y| (x - y).abs()));
        let apart = apart.sum::<f64>() / 160_000.0;
        close(crps_normal(0.0, 1.0, 0.7), off - apart / 2.0, 2e-3);
    }
}
