//! Ranks as scores from 1 to 5, by the share of customers above.
//!
//! Customers with equal values always have equal scores: they get the better one.

use crate::stats::float;

/// For each value, the share of all values that are better. Larger is better.
pub(super) fn shares_above<T: Copy + PartialOrd>(values: &[T]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let by_value = |a: &usize, b: &usize| {
        let pair = values.get(*b).partial_cmp(&values.get(*a));
        pair.unwrap_or(std::cmp::Ordering::Equal)
    };
    order.sort_by(by_value);
    let mut shares = vec![0.0; values.len()];
    let all = float(values.len() as i64).max(1.0);
    let mut above = 0;
    for equal in order.chunk_by(|a, b| by_value(a, b).is_eq()) {
        for place in equal {
            if let Some(share) = shares.get_mut(*place) {
                *share = float(above) / all;
            }
        }
        above += equal.len() as i64;
    }
    shares
}

/// 5 for those with less than a fifth above them, down to 1.
pub(super) fn score(share_above: f64) -> i64 {
    // A fifth is not exact in binary; what is meant to be one is one.
    5 - ((share_above * 5.0 + 1e-9).floor() as i64).clamp(0, 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[i64], expected: &[i64]) {
        let scores: Vec<i64> = shares_above(values).into_iter().map(score).collect();
        assert_eq!(scores, expected);
    }

    #[test]
    fn fifths_of_ten_are_two_each() {
        check(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], &[1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
    }

    #[test]
    fn equal_values_have_the_better_score() {
        // None above the five 9s; half above the others.
        check(&[9, 1, 9, 1, 9, 1, 9, 1, 9, 1], &[5, 3, 5, 3, 5, 3, 5, 3, 5, 3]);
        check(&[4, 4, 4], &[5, 5, 5]);
    }
}
