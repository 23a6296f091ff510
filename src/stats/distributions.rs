//! Tails and quantiles of the distributions that tests and shrunk rates are judged by: chi-squared,
//! normal, beta.
//!
//! `libm` has the error function and the logarithm of the gamma function; the incomplete gamma and
//! beta functions are the usual series and continued fractions.

use super::float;

/// Terms of a series or steps of a fraction after which we stop whatever is left.
const STEPS_MAX: u32 = 1_000;
/// A change that no longer matters.
const DONE: f64 = 1e-15;
const TINY: f64 = 1e-300;

/// The chance that a chi-squared variable of so many degrees of freedom exceeds `x`: the p-value of
/// a test statistic.
///
/// Edge cases: 1 for `x ≤ 0`; `None` without degrees of freedom.
///
/// Source: NIST Digital Library of Mathematical Functions, 8.11.4 and 8.9.2.
#[must_use]
pub fn chi_squared_tail(x: f64, degrees: i64) -> Option<f64> {
    if degrees <= 0 || x.is_nan() {
        return None;
    }
    if x <= 0.0 {
        return Some(1.0);
    }
    if degrees == 1 {
        return Some(libm::erfc((x / 2.0).sqrt()));
    }
    let (a, x) = (float(degrees) / 2.0, x / 2.0);
    let scale = (a * x.ln() - x - libm::lgamma(a)).exp();
    let tail =
        if x < a + 1.0 { 1.0 - scale * gamma_series(a, x) } else { scale * gamma_fraction(a, x) };
    Some(tail.clamp(0.0, 1.0))
}

/// Σ xⁿ / (a(a + 1)…(a + n)).
fn gamma_series(a: f64, x: f64) -> f64 {
    let mut term = 1.0 / a;
    let mut sum = term;
    for n in 1..=STEPS_MAX {
        term *= x / (a + f64::from(n));
        sum += term;
        if term < sum * DONE {
            break;
        }
    }
    sum
}

/// 1/(x + 1 − a − 1(1 − a)/(x + 3 − a − …)), by Lentz's algorithm.
fn gamma_fraction(a: f64, x: f64) -> f64 {
    let mut step = x + 1.0 - a;
    let (mut above, mut below) = (1.0 / TINY, 1.0 / not_zero(step));
    let mut fraction = below;
    for n in 1..=STEPS_MAX {
        let n = f64::from(n);
        let numerator = -n * (n - a);
        step += 2.0;
        below = 1.0 / not_zero(numerator * below + step);
        above = not_zero(step + numerator / above);
        let change = below * above;
        fraction *= change;
        if (change - 1.0).abs() < DONE {
            break;
        }
    }
    fraction
}

fn not_zero(v: f64) -> f64 {
    if v.abs() < TINY { TINY } else { v }
}

/// The chance that a standard normal variable is as far from 0 as `z`, on either side.
#[must_use]
pub fn normal_two_sided(z: f64) -> f64 {
    libm::erfc(z.abs() / std::f64::consts::SQRT_2)
}

/// The chance that a beta variable is at most `x`.
///
/// Edge cases: meant for `a` and `b` above 0; 0 and 1 outside 0 to 1.
///
/// Source: NIST Digital Library of Mathematical Functions, 8.17.22.
#[must_use]
pub fn beta_below(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let ln_beta = libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b);
    let front = (a * x.ln() + b * (-x).ln_1p() - ln_beta).exp();
    // The fraction converges quickly on the side where the smaller part of the mass is.
    let share = if x <= (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(x, a, b) / a
    } else {
        1.0 - front * beta_fraction(1.0 - x, b, a) / b
    };
    share.clamp(0.0, 1.0)
}

fn beta_fraction(x: f64, a: f64, b: f64) -> f64 {
    let (mut above, mut below) = (1.0, 1.0 / not_zero(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = below;
    for m in 1..=STEPS_MAX {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for part in [even, odd] {
            below = 1.0 / not_zero(1.0 + part * below);
            above = not_zero(1.0 + part / above);
            change = below * above;
            fraction *= change;
        }
        if (change - 1.0).abs() < DONE {
            break;
        }
    }
    fraction
}

/// The value that a beta variable does not exceed with probability `p`, to 12 digits.
///
/// Edge cases: meant for `a` and `b` above 0 and `p` between 0 and 1.
#[must_use]
pub fn beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    let ln_beta = libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b);
    let (mut low, mut high) = (0.0, 1.0);
    let mut x = a / (a + b);
    for _ in 0..100 {
        let error = beta_below(x, a, b) - p;
        if error < 0.0 {
            low = x
        } else {
            high = x
        }
        let density = ((a - 1.0) * x.ln() + (b - 1.0) * (-x).ln_1p() - ln_beta).exp();
        // Newton's step where it stays between the limits, else half way.
        let step = x - error / density;
        let next = if step > low && step < high { step } else { f64::midpoint(low, high) };
        if (next - x).abs() <= 1e-13 * x {
            return next;
        }
        x = next;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testdata::close;

    #[test]
    fn printed_critical_values_are_reproduced() {
        // NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.4: upper 5 %, 1 % and 0.1 %.
        for (degrees, x, p) in [
            (1, 3.841, 0.05),
            (1, 10.828, 0.001),
            (2, 5.991, 0.05),
            (5, 15.086, 0.01),
            (10, 18.307, 0.05),
            (30, 43.773, 0.05),
            (100, 149.449, 0.001),
        ] {
            let found = chi_squared_tail(x, degrees).expect("degrees");
            assert!((found / p - 1.0).abs() < 2e-3, "{degrees} {x}: {found}");
        }
    }

    #[test]
    fn two_degrees_are_an_exponential() {
        for x in [0.1, 1.0, 3.9, 4.1, 20.0, 400.0] {
            close(chi_squared_tail(x, 2).expect("degrees") / (-x / 2.0).exp(), 1.0, 1e-11);
        }
        assert_eq!(chi_squared_tail(0.0, 3), Some(1.0));
        assert_eq!(chi_squared_tail(1.0, 0), None);
    }

    #[test]
    fn both_sides_of_the_normal_are_printed() {
        close(normal_two_sided(1.959_963_984_540_054), 0.05, 1e-14);
        close(normal_two_sided(-2.575_829_303_548_901), 0.01, 1e-13);
    }

    #[test]
    fn beta_of_whole_parameters_is_a_binomial_sum() {
        // P(Beta(3, 4) ≤ x) = P(Binomial(6, x) ≥ 3); at one half 42/64.
        close(beta_below(0.5, 3.0, 4.0), 42.0 / 64.0, 1e-14);
        // Uniform, and arcsine: P(Beta(1/2, 1/2) ≤ 1/4) = 2/π · asin(1/2) = 1/3.
        close(beta_below(0.3, 1.0, 1.0), 0.3, 1e-14);
        close(beta_below(0.25, 0.5, 0.5), 1.0 / 3.0, 1e-13);
        close(beta_below(0.2, 200.0, 800.0) + beta_below(0.8, 800.0, 200.0), 1.0, 1e-12);
    }

    #[test]
    fn quantiles_lead_back_to_their_chance() {
        for (a, b) in [(0.5, 0.5), (1.0, 3.0), (37.5, 13.5), (2_000.0, 9_000.0), (0.2, 40.0)] {
            for p in [0.025, 0.5, 0.975] {
                close(beta_below(beta_quantile(p, a, b), a, b), p, 1e-10);
            }
        }
        // Jeffreys' limits of 8 of 10, printed by Brown, Cai and DasGupta's binom.bayes: 0.4939 0.9564.
        close(beta_quantile(0.025, 8.5, 2.5), 0.4939, 1e-2);
    }
}
