//! How much each factor of a product has to do with its change.
//!
//! Each factor is changed from old to new in every order that the factors can be changed in; its
//! contribution is the mean of what that made. It is exact, treats factors alike, and unlike
//! logarithms knows zeros and signs.
//!
//! Invariant: the contributions add up to the change of the product, but for rounding.

/// The contributions of the factors to `Π new − Π old`.
///
/// Definition: `Σ_S |S|!(n−1−|S|)!/n! · Π_{j∈S} new_j · Π_{j∉S} old_j · (new_i − old_i)` over the sets
/// S of the other factors.
///
/// Edge cases: more than 16 factors would take long; there are four.
///
/// Source: Shapley, 1953, A Value for n-Person Games; Ang, 2004, Decomposition Analysis for
/// Policymaking in Energy.
#[must_use]
pub fn of_product<const N: usize>(old: &[f64; N], new: &[f64; N]) -> [f64; N] {
    std::array::from_fn(|own| {
        let others = |set: usize| {
            let factor = |(place, (old, new)): (usize, (&f64, &f64))| match place {
                place if place == own => 1.0,
                place if set >> place & 1 == 1 => *new,
                _ => *old,
            };
            old.iter().zip(new).enumerate().map(factor).product::<f64>()
        };
        let sets = (0..1_usize << N).filter(|set| set >> own & 1 == 0);
        let mean: f64 = sets.map(|set| weight(set.count_ones() as usize, N) * others(set)).sum();
        let change = new.get(own).copied().unwrap_or(0.0) - old.get(own).copied().unwrap_or(0.0);
        mean * change
    })
}

/// The share of the orders of `n` factors in which just so many given ones stand before another.
fn weight(before: usize, n: usize) -> f64 {
    let factorial = |k: usize| (1..=k).map(|i| i as f64).product::<f64>();
    factorial(before) * factorial(n - 1 - before) / factorial(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testdata::close;

    #[track_caller]
    fn check<const N: usize>(old: [f64; N], new: [f64; N], expected: [f64; N]) {
        let found = of_product(&old, &new);
        for (found, expected) in found.iter().zip(expected) {
            close(*found, expected, 1e-12);
        }
        let change = new.iter().product::<f64>() - old.iter().product::<f64>();
        close(found.iter().sum(), change, 1e-12);
    }

    #[test]
    fn two_factors_share_what_they_made_together() {
        // 2·5 = 10 to 4·8 = 32: 2·(5 + 8)/2 = 13 and 3·(2 + 4)/2 = 9.
        check([2.0, 5.0], [4.0, 8.0], [13.0, 9.0]);
    }

    #[test]
    fn four_factors_by_hand() {
        // All from 1 to 2: 15 in equal parts.
        check([1.0; 4], [2.0; 4], [3.75; 4]);
        // Only the second changes: all is its own.
        check([3.0, 1.0, 2.0, 5.0], [3.0, 4.0, 2.0, 5.0], [0.0, 90.0, 0.0, 0.0]);
        // The first from 0: with others unchanged it makes 2·3·4·1 alone.
        check([0.0, 3.0, 4.0, 1.0], [2.0, 3.0, 4.0, 1.0], [24.0, 0.0, 0.0, 0.0]);
        // Zero to zero by another factor: what the one made, the other takes.
        // a 1→2, b 1→0: Δ = −1; a: 1·(1 + 0)/2 = 0.5, b: −1·(1 + 2)/2 = −1.5; the others share none.
        check([1.0, 1.0, 1.0, 1.0], [2.0, 0.0, 1.0, 1.0], [0.5, -1.5, 0.0, 0.0]);
    }
}
