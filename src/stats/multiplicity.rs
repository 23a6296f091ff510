//! p-values of many tests looked at together.
//!
//! Holm's keep the chance of any false alarm below the level, Benjamini and Hochberg's the expected
//! share of false ones among the alarms. Both are adjusted p-values: an alarm is one below the level.
//! Tests that could not be made (`None`) do not count as tests.

use super::float;

/// Holm's adjusted p-values, in the order given.
///
/// Definition: of the i-th smallest of n, from 1, `(n + 1 − i)·p`, not below that of a smaller one
/// and not above 1.
///
/// Source: Holm, 1979, A Simple Sequentially Rejective Multiple Test Procedure.
#[must_use]
pub fn holm(p_values: &[Option<f64>]) -> Vec<Option<f64>> {
    let order = ascending(p_values);
    let left = (1..=order.len() as i64).rev();
    let mut before = 0.0_f64;
    let adjusted = order.iter().zip(left).map(|((p, place), left)| {
        before = before.max(p * float(left)).min(1.0);
        (*place, before)
    });
    placed(p_values.len(), adjusted)
}

/// Benjamini and Hochberg's adjusted p-values, in the order given.
///
/// Definition: of the i-th smallest of n, from 1, `p·n/i`, not above that of a larger one.
///
/// Source: Benjamini and Hochberg, 1995, Controlling the False Discovery Rate.
#[must_use]
pub fn benjamini_hochberg(p_values: &[Option<f64>]) -> Vec<Option<f64>> {
    let order = ascending(p_values);
    let n = float(order.len() as i64);
    let mut after = 1.0_f64;
    let adjusted = order.iter().enumerate().rev().map(|(before, (p, place))| {
        after = after.min(p * n / float(before as i64 + 1));
        (*place, after)
    });
    placed(p_values.len(), adjusted)
}

/// The p-values with their places, smallest first; equal ones in the order given.
fn ascending(p_values: &[Option<f64>]) -> Vec<(f64, usize)> {
    let known = p_values.iter().enumerate().filter_map(|(place, p)| p.map(|p| (p, place)));
    let mut order: Vec<(f64, usize)> = known.collect();
    order.sort_by(|(a, first), (b, second)| a.total_cmp(b).then(first.cmp(second)));
    order
}

fn placed(places: usize, adjusted: impl Iterator<Item = (usize, f64)>) -> Vec<Option<f64>> {
    let mut all = vec![None; places];
    for (place, p) in adjusted {
        if let Some(own) = all.get_mut(place) {
            *own = Some(p);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testdata::close;

    #[track_caller]
    fn check(found: &[Option<f64>], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            close(found.expect("a p-value"), *expected, 1e-12);
        }
    }

    #[test]
    fn hand_worked_p_values_are_adjusted() {
        let given = [Some(0.01), Some(0.04), Some(0.03), Some(0.005)];
        // Sorted .005 .01 .03 .04. Holm: 4·.005, 3·.01, 2·.03, max(.06, .04).
        check(&holm(&given), &[0.03, 0.06, 0.06, 0.02]);
        // Upwards: min(.04·4/4, …), .03·4/3 = .04, .01·4/2 = .02, .005·4 = .02.
        check(&benjamini_hochberg(&given), &[0.02, 0.04, 0.04, 0.02]);
    }

    #[test]
    fn published_false_discoveries_are_four_of_fifteen() {
        // Benjamini and Hochberg 1995, section 3.3: at 5 % four are rejected, by Holm's way three.
        let printed = [
            0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
            0.5719, 0.6528, 0.7590, 1.0000,
        ];
        let given: Vec<Option<f64>> = printed.into_iter().map(Some).collect();
        let below = |all: Vec<Option<f64>>| all.iter().filter(|p| **p <= Some(0.05)).count();
        assert_eq!((below(benjamini_hochberg(&given)), below(holm(&given))), (4, 3));
    }

    #[test]
    fn tests_that_were_not_made_do_not_count() {
        assert_eq!(holm(&[None, Some(0.02), None]), [None, Some(0.02), None]);
        assert_eq!(benjamini_hochberg(&[]), []);
    }
}
