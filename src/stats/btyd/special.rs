//! Special functions in the form the purchase models need: logarithms, and hypergeometric functions
//! where their arguments make them easy.
//!
//! The logarithm of the gamma function comes from `libm`; no well-kept crate has the rest in log
//! space.

/// The natural logarithm of the gamma function.
#[must_use]
pub fn ln_gamma(x: f64) -> f64 {
    libm::lgamma(x)
}

/// ln(B(a, b + x) / B(a, b)).
#[must_use]
pub fn ln_beta_ratio(a: f64, b: f64, x: f64) -> f64 {
    ln_gamma(b + x) - ln_gamma(b) + ln_gamma(a + b) - ln_gamma(a + b + x)
}

/// ln(eᵃ + eᵇ) without leaving the range of floats.
#[must_use]
pub fn ln_add_exp(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if high == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// Terms of a series or steps of a fraction after which we stop whatever is left.
const STEPS_MAX: u32 = 200_000;

/// ₂F₁(a, b; c; z) by its series.
///
/// Edge cases: meant for 0 ≤ z < 1; the nearer z to 1, the more terms. NaN where c is zero or a
/// negative integer.
///
/// Source: NIST Digital Library of Mathematical Functions, 15.2.1.
#[must_use]
pub fn hyp2f1(a: f64, b: f64, c: f64, z: f64) -> f64 {
    let (mut term, mut sum) = (1.0, 1.0_f64);
    for n in 0..STEPS_MAX {
        let n = f64::from(n);
        term *= (a + n) * (b + n) / ((c + n) * (n + 1.0)) * z;
        sum += term;
        // What is left is less than a geometric series in z.
        if term.abs() <= sum.abs() * 1e-17 * (1.0 - z) {
            break;
        }
    }
    sum
}

/// ₂F₁(1, b; c; z) by Gauss's continued fraction, quick up to z = 1.
///
/// Edge cases: meant for 0 ≤ z < 1, b > 0 and c > b, where every step adds.
///
/// Source: NIST Digital Library of Mathematical Functions, 15.7.5; Lentz's algorithm.
#[must_use]
pub fn hyp2f1_of_one(b: f64, c: f64, z: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let c = c - 1.0;
    let not_zero = |v: f64| if v.abs() < TINY { TINY } else { v };
    // The fraction 1 − k₁z/(1 − k₂z/(1 − …)), of which the function is the inverse.
    let (mut fraction, mut above, mut below) = (1.0, 1.0, 0.0);
    for step in 0..STEPS_MAX {
        let n = f64::from(step / 2);
        let k = if step % 2 == 0 {
            (b + n) * (c + n) / ((c + 2.0 * n) * (c + 2.0 * n + 1.0))
        } else {
            let n = n + 1.0;
            n * (c - b + n) / ((c + 2.0 * n - 1.0) * (c + 2.0 * n))
        };
        below = 1.0 / not_zero(1.0 - k * z * below);
        above = not_zero(1.0 - k * z / above);
        let change = above * below;
        fraction *= change;
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    1.0 / fraction
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testdata::close;

    #[test]
    fn known_closed_forms_are_met() {
        // DLMF 15.4.1 and 15.4.6: F(1,1;2;z) = −ln(1−z)/z, F(a,b;b;z) = (1−z)^−a.
        for z in [0.01, 0.3, 0.7, 0.95] {
            close(hyp2f1(1.0, 1.0, 2.0, z), -f64::ln_1p(-z) / z, 1e-13);
            close(hyp2f1(2.5, 0.7, 0.7, z), (1.0 - z).powf(-2.5), 1e-12);
            close(hyp2f1_of_one(1.0, 2.0, z), -f64::ln_1p(-z) / z, 1e-13);
        }
        close(hyp2f1_of_one(1.0, 2.0, 0.999_999), -(1e-6_f64).ln() / 0.999_999, 1e-9);
    }

    #[test]
    fn fraction_and_series_agree() {
        for (b, c, z) in [(0.55, 2.2, 0.1), (26.5, 28.1, 0.8), (1.6, 250.0, 0.9), (3.0, 3.2, 0.0)] {
            close(hyp2f1_of_one(b, c, z), hyp2f1(1.0, b, c, z), 1e-13);
        }
    }

    #[test]
    fn sums_of_exponentials_do_not_overflow() {
        close(ln_add_exp(1000.0, 1000.0), 1000.0 + 2.0_f64.ln(), 1e-15);
        close(ln_add_exp(-2000.0, -3000.0), -2000.0, 1e-15);
        assert_eq!(ln_add_exp(f64::NEG_INFINITY, f64::NEG_INFINITY), f64::NEG_INFINITY);
    }
}
