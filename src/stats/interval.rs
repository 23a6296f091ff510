//! Limits of a rate: how far the true share may lie from the observed one.
//!
//! It does not correct for finite populations or for many rates looked at together.

use super::float;

/// The Wilson score interval of a share.
///
/// Definition: centre `(p + z²/2n) / (1 + z²/n)`, half width
/// `z/(1 + z²/n) · √(p(1 − p)/n + z²/4n²)` with `p = successes / trials`; never outside 0 to 1.
///
/// Edge cases: `None` without trials, or where successes are not between 0 and the trials.
///
/// Source: Wilson, 1927, Probable Inference, the Law of Succession, and Statistical Inference.
#[must_use]
pub fn wilson(successes: i64, trials: i64, z: f64) -> Option<(f64, f64)> {
    if trials <= 0 || successes < 0 || successes > trials {
        return None;
    }
    let n = float(trials);
    let share = float(successes) / n;
    let z2 = z * z;
    let scale = 1.0 + z2 / n;
    let centre = (share + z2 / (2.0 * n)) / scale;
    let half = z / scale * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    // At the ends the limit is exact; rounding must not move it off 0 or 1.
    let low = if successes == 0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if successes == trials { 1.0 } else { (centre + half).min(1.0) };
    Some((low, high))
}

/// The limits of the difference of two shares, each given as successes and trials.
///
/// Definition: with p and its Wilson limits l, u of each, from
/// `d − √((p1 − l1)² + (u2 − p2)²)` to `d + √((u1 − p1)² + (p2 − l2)²)`.
///
/// Edge cases: as [`wilson`].
///
/// Source: Newcombe, 1998, Interval Estimation for the Difference Between Independent Proportions
/// (method 10).
#[must_use]
pub fn newcombe(one: (i64, i64), other: (i64, i64), z: f64) -> Option<(f64, f64)> {
    let (low1, high1) = wilson(one.0, one.1, z)?;
    let (low2, high2) = wilson(other.0, other.1, z)?;
    let (p1, p2) = (float(one.0) / float(one.1), float(other.0) / float(other.1));
    let difference = p1 - p2;
    Some((difference - (p1 - low1).hypot(high2 - p2), difference + (high1 - p1).hypot(p2 - low2)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Z_95;
    use crate::stats::testdata::close;

    #[track_caller]
    fn check(successes: i64, trials: i64, low: f64, high: f64) {
        let (l, h) = wilson(successes, trials, Z_95).expect("trials");
        close(l, low, 1e-6);
        close(h, high, 1e-6);
    }

    #[test]
    fn published_limits_are_reproduced() {
        check(8, 10, 0.490_162, 0.943_318);
        check(37, 50, 0.604_468, 0.841_285);
        check(3, 6, 0.187_616, 0.812_384);
    }

    #[test]
    fn limits_stay_inside_the_unit_interval() {
        check(0, 10, 0.0, 0.277_533);
        check(10, 10, 0.722_467, 1.0);
    }

    #[test]
    fn no_trials_have_no_limits() {
        assert_eq!(wilson(0, 0, Z_95), None);
        assert_eq!(wilson(3, 2, Z_95), None);
    }

    #[test]
    fn newcombe_prints_the_limits_of_a_difference() {
        // Newcombe 1998, table II: 56/70 − 48/80, method 10.
        let (low, high) = newcombe((56, 70), (48, 80), Z_95).expect("trials");
        close(low, 0.0524, 5e-5);
        close(high, 0.3339, 5e-5);
        assert_eq!(newcombe((1, 2), (0, 0), Z_95), None);
    }
}
