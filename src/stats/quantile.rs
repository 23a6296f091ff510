//! Quantiles of integers given as distinct values with counts.
//!
//! Values ascend and counts are positive or zero; where that does not hold the answer is
//! meaningless, not checked. Nothing is estimated: the counts hold the whole sample.

use super::float;

/// How far a product of a count and a probability may be off an integer and still mean it: the
/// rounding of one multiplication, so that the ninth of ten values is the 0.9-quantile.
const FUZZ: f64 = 1e-9;

/// The type 7 sample quantile: linear between order statistics, the default of most software.
///
/// Definition: with `h = (n − 1)p`, `x[⌊h⌋] + (h − ⌊h⌋)(x[⌊h⌋ + 1] − x[⌊h⌋])`, counted from 0.
///
/// Edge cases: `None` for an empty sample or `p` outside 0 to 1.
///
/// Source: Hyndman and Fan, 1996, Sample Quantiles in Statistical Packages.
#[must_use]
pub fn type7_from_counts(values: &[i64], counts: &[i64], p: f64) -> Option<f64> {
    let n: i64 = counts.iter().sum();
    if n <= 0 || !(0.0..=1.0).contains(&p) {
        return None;
    }
    let place = float(n - 1) * p;
    let whole = (place + FUZZ).floor();
    let part = (place - whole).max(0.0);
    let low = order_statistic(values, counts, whole as i64)?;
    if part <= FUZZ {
        return Some(float(low));
    }
    let high = order_statistic(values, counts, whole as i64 + 1)?;
    Some(float(low) + part * float(high - low))
}

/// The type 1 sample quantile: the smallest value that at least a share `p` of the sample does not
/// exceed; always a value of the sample.
///
/// Edge cases: `None` for an empty sample or `p` outside 0 to 1.
///
/// Source: Hyndman and Fan, 1996, Sample Quantiles in Statistical Packages.
#[must_use]
pub fn type1_from_counts(values: &[i64], counts: &[i64], p: f64) -> Option<f64> {
    let n: i64 = counts.iter().sum();
    if n <= 0 || !(0.0..=1.0).contains(&p) {
        return None;
    }
    let rank = (float(n) * p - FUZZ).ceil().max(1.0) as i64;
    order_statistic(values, counts, rank - 1).map(float)
}

/// The mean of counted values; `None` for an empty sample.
#[must_use]
pub fn mean_from_counts(values: &[i64], counts: &[i64]) -> Option<f64> {
    let n: i64 = counts.iter().sum();
    let sum: i128 = values.iter().zip(counts).map(|(v, c)| i128::from(*v) * i128::from(*c)).sum();
    (n > 0).then(|| sum as f64 / float(n))
}

/// The value at a position, counted from 0, of the sample written out in order.
fn order_statistic(values: &[i64], counts: &[i64], position: i64) -> Option<i64> {
    let mut before = 0;
    for (value, count) in values.iter().zip(counts) {
        before += count;
        if position < before {
            return Some(*value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testdata::close;

    #[track_caller]
    fn check(values: &[i64], counts: &[i64], p: f64, type7: f64, type1: f64) {
        close(type7_from_counts(values, counts, p).expect("a sample"), type7, 1e-12);
        close(type1_from_counts(values, counts, p).expect("a sample"), type1, 1e-12);
    }

    #[test]
    fn quantiles_of_written_out_and_counted_samples_agree() {
        // 1 2 2 2 5 9: h = 5p; p = .5 → 2.5 → 2; p = .75 → 3.75 → 2 + .75·3 = 4.25.
        check(&[1, 2, 5, 9], &[1, 3, 1, 1], 0.5, 2.0, 2.0);
        check(&[1, 2, 5, 9], &[1, 3, 1, 1], 0.75, 4.25, 5.0);
        check(&[1, 2, 5, 9], &[1, 3, 1, 1], 0.0, 1.0, 1.0);
        check(&[1, 2, 5, 9], &[1, 3, 1, 1], 1.0, 9.0, 9.0);
    }

    #[test]
    fn fixture_dwell_in_first_stage_has_median_two_and_a_half() {
        // Completed visits of the eight-deal fixture: 2 3 1 3 7 0.
        check(&[0, 1, 2, 3, 7], &[1, 1, 1, 2, 1], 0.5, 2.5, 2.0);
    }

    #[test]
    fn a_product_that_means_an_integer_is_that_integer() {
        // 0.9·10 and 0.7·10 are not exact in binary; the quantile is the 9th and the 7th of ten.
        let values: Vec<i64> = (1..=10).collect();
        check(&values, &[1; 10], 0.9, 9.1, 9.0);
        check(&values, &[1; 10], 0.7, 7.3, 7.0);
        let values: Vec<i64> = (0..=10).collect();
        check(&values, &[1; 11], 0.7, 7.0, 7.0);
    }

    #[test]
    fn zero_counts_are_no_values() {
        check(&[1, 4, 8], &[0, 2, 0], 0.5, 4.0, 4.0);
        check(&[1, 4, 8], &[0, 2, 0], 1.0, 4.0, 4.0);
    }

    #[test]
    fn an_empty_sample_has_no_quantile() {
        assert_eq!(type7_from_counts(&[], &[], 0.5), None);
        assert_eq!(type1_from_counts(&[3], &[0], 0.5), None);
        assert_eq!(mean_from_counts(&[3], &[0]), None);
    }

    #[test]
    fn the_mean_weighs_by_count() {
        close(mean_from_counts(&[2, 8], &[3, 1]).expect("a sample"), 3.5, 1e-12);
    }
}
