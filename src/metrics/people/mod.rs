//! How people and teams sell, each beside the others of its kind.
//!
//! What the metrics of this area share is ranking. A deal counts with the person that its dimension
//! names: with `[dimensions] at = "close"` the owner at the close, or now where it is open.

pub mod rep_scorecard;
pub mod rep_skills;

use crate::stats::float;

/// The rank of each value among those given, the greatest first: equal values share the better rank,
/// and the next one is behind all of them (competition ranking).
fn ranks(values: &[Option<f64>]) -> Vec<Option<i64>> {
    let mut known: Vec<f64> = values.iter().flatten().copied().collect();
    known.sort_by(|a, b| b.total_cmp(a));
    let rank =
        |value: f64| known.partition_point(|other| other.total_cmp(&value).is_gt()) as i64 + 1;
    values.iter().map(|value| value.map(rank)).collect()
}

/// As [`ranks`], of counts and amounts, which are exact only as integers.
fn ranks_of(values: &[Option<i64>]) -> Vec<Option<i64>> {
    let mut known: Vec<i64> = values.iter().flatten().copied().collect();
    known.sort_unstable_by_key(|value| std::cmp::Reverse(*value));
    let rank = |value: i64| known.partition_point(|other| *other > value) as i64 + 1;
    values.iter().map(|value| value.map(rank)).collect()
}

/// What is left of a sum without a part, as a share of the counts left; `None` without any.
fn others_share(all: (i64, i64), own: (i64, i64)) -> Option<f64> {
    let (successes, trials) = (all.0 - own.0, all.1 - own.1);
    (trials > 0).then(|| float(successes) / float(trials))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_the_better_rank() {
        let values = [Some(0.2), None, Some(0.5), Some(0.2), Some(0.1)];
        assert_eq!(ranks(&values), [Some(2), None, Some(1), Some(2), Some(4)]);
        assert_eq!(ranks_of(&[Some(7), Some(9), Some(7), None]), [Some(2), Some(1), Some(2), None]);
    }
}
