//! A bound on the values of a dimension: the most frequent ones stand for themselves, all others
//! together as [`OTHER`].

/// What stands for all values beyond the bound.
pub(super) const OTHER: &str = "(other)";

/// A dimension's names in order, and the rank of each of its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ranked {
    /// Names in order.
    pub(super) names: Vec<String>,
    /// The place among them of each number; out of range where a number has no name.
    pub(super) ranks: Vec<u32>,
    /// How many names gave way to [`OTHER`].
    pub(super) lumped: usize,
}

/// Keeps the `most` names that occur most often, the first in order among equals, and lets the
/// others give way to [`OTHER`]. `counts` says of every number how often it occurs.
pub(super) fn cap(names: Vec<String>, ranks: Vec<u32>, counts: &[u64], most: usize) -> Ranked {
    if names.len() <= most {
        return Ranked { names, ranks, lumped: 0 };
    }
    let mut by_rank = vec![0_u64; names.len()];
    for (rank, n) in ranks.iter().zip(counts) {
        if let Some(sum) = by_rank.get_mut(*rank as usize) {
            *sum += n;
        }
    }
    let mut order: Vec<(usize, u64)> = by_rank.into_iter().enumerate().collect();
    order.sort_by_key(|(rank, n)| (std::cmp::Reverse(*n), *rank));
    let mut is_kept = vec![false; names.len()];
    for (rank, _) in order.iter().take(most) {
        if let Some(kept) = is_kept.get_mut(*rank) {
            *kept = true;
        }
    }
    let kept = names.iter().zip(&is_kept).filter(|(_, kept)| **kept);
    let mut all: Vec<String> = kept.map(|(name, _)| name.clone()).collect();
    all.push(OTHER.to_owned());
    all.sort();
    all.dedup();
    let place =
        |name: &str| all.binary_search_by(|n| n.as_str().cmp(name)).map_or(u32::MAX, |p| p as u32);
    let moved: Vec<u32> = names
        .iter()
        .zip(&is_kept)
        .map(|(name, kept)| if *kept { place(name) } else { place(OTHER) })
        .collect();
    let rank = |old: &u32| moved.get(*old as usize).copied().unwrap_or(u32::MAX);
    let ranks = ranks.iter().map(rank).collect();
    Ranked { names: all, ranks, lumped: names.len() - most }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn the_most_frequent_stay_and_the_others_are_one() {
        // Numbers 0 to 3 are d, a, c, b.
        let all = names(&["a", "b", "c", "d"]);
        let capped = cap(all.clone(), vec![3, 0, 2, 1], &[9, 5, 5, 1], 2);
        assert_eq!(capped.names, names(&[OTHER, "a", "d"]));
        assert_eq!(capped.ranks, [2, 1, 0, 0], "a comes before c, which occurs as often");
        assert_eq!(capped.lumped, 2);
        assert_eq!(cap(all.clone(), vec![3, 0, 2, 1], &[], 4).names, all);
    }

    #[test]
    fn a_value_of_that_name_is_among_the_others() {
        let capped = cap(names(&[OTHER, "x", "y"]), vec![0, 1, 2], &[9, 5, 1], 2);
        assert_eq!(capped.names, names(&[OTHER, "x"]));
        assert_eq!(capped.ranks, [0, 1, 0]);
    }
}
