//! Where those who move between states end: an absorbing Markov chain.
//!
//! It looks at the next state only; how long a state has lasted does not count, which is what tells
//! it from a conditional incidence.
//!
//! Invariant: the shares of a state's ends add up to 1.

use crate::stats::float;

/// Where one goes from a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// To another state, by position.
    State(usize),
    /// To an end, by position.
    End(usize),
}

/// Stays of one length in one state: how many ended there by going to each target, and how many
/// were last seen at it.
#[derive(Debug, Clone, Default)]
pub struct Stays {
    /// The length.
    pub duration: i64,
    /// Target and how many.
    pub left: Vec<(Target, i64)>,
    /// Those who are still there.
    pub still: i64,
}

/// The share of stays that end by going to each target.
///
/// Definition: the incidence of each target at the last exit seen, as of any number of endings that
/// exclude each other, over the sum of all. Stays that have not ended count for as long as they were
/// seen, so that slow exits are not too few where many have only just begun.
///
/// Edge cases: nothing where no stay has ended. Stays in ascending order of their lengths.
///
/// Source: Aalen and Johansen, 1978, An Empirical Transition Matrix for Non-homogeneous Markov Chains
/// Based on Censored Observations.
#[must_use]
pub fn exits(stays: &[Stays]) -> Vec<(Target, f64)> {
    let ended = |stays: &Stays| stays.left.iter().map(|(_, n)| n).sum::<i64>();
    let mut at_risk: i64 = stays.iter().map(|own| ended(own) + own.still).sum();
    let mut survival = 1.0;
    let mut shares: std::collections::BTreeMap<Target, f64> = std::collections::BTreeMap::new();
    for own in stays.iter().filter(|own| ended(own) + own.still > 0) {
        for (target, n) in own.left.iter().filter(|(_, n)| *n > 0) {
            *shares.entry(*target).or_default() += survival * float(*n) / float(at_risk);
        }
        survival *= float(at_risk - ended(own)) / float(at_risk);
        at_risk -= ended(own) + own.still;
    }
    let total: f64 = shares.values().sum();
    shares.into_iter().map(|(target, share)| (target, share / total)).collect()
}

/// The share of each state that comes to each of `ends` ends, and to none: the last column.
///
/// Definition: `B = (I − Q)⁻¹ R` with Q the shares from state to state and R those from state to end.
/// One who can reach no end comes to none.
///
/// Source: Kemeny and Snell, 1960, Finite Markov Chains, theorem 3.3.7.
#[must_use]
pub fn absorbed(exits: &[Vec<(Target, f64)>], ends: usize) -> Vec<Vec<f64>> {
    let is_final = reaches_no_end(exits);
    let states = exits.len();
    // One row a state: I − Q, then R with the column of those who come to no end.
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(states);
    for (state, own) in exits.iter().enumerate() {
        let mut row = vec![0.0; states + ends + 1];
        let mut add = |place: usize, share: f64| {
            if let Some(cell) = row.get_mut(place) {
                *cell += share;
            }
        };
        add(state, 1.0);
        if is_final.get(state).copied().unwrap_or(true) {
            add(states + ends, 1.0);
        } else {
            for (target, share) in own {
                match target {
                    Target::State(to) => add(*to, -share),
                    Target::End(end) => add(states + end, *share),
                }
            }
        }
        rows.push(row);
    }
    eliminate(&mut rows);
    rows.iter().map(|row| row.get(states..).unwrap_or_default().to_vec()).collect()
}

/// Whether a state leads to no end, not even by way of others.
fn reaches_no_end(exits: &[Vec<(Target, f64)>]) -> Vec<bool> {
    let mut lost = vec![true; exits.len()];
    loop {
        let mut is_settled = true;
        for (state, own) in exits.iter().enumerate() {
            let leads = own.iter().any(|(target, share)| {
                *share > 0.0
                    && match target {
                        Target::End(_) => true,
                        Target::State(to) => !lost.get(*to).copied().unwrap_or(true),
                    }
            });
            if let Some(own) = lost.get_mut(state).filter(|own| **own && leads) {
                (*own, is_settled) = (false, false);
            }
        }
        if is_settled {
            return lost;
        }
    }
}

/// Gauss and Jordan's elimination of the first square of the rows, with the largest pivot first.
fn eliminate(rows: &mut [Vec<f64>]) {
    for column in 0..rows.len() {
        let size = |row: &Vec<f64>| row.get(column).map_or(0.0, |v| v.abs());
        let own = rows.iter().enumerate().skip(column);
        let Some((best, _)) = own.max_by(|(_, a), (_, b)| size(a).total_cmp(&size(b))) else {
            return;
        };
        rows.swap(column, best);
        let Some(mut pivot_row) = rows.get(column).cloned() else { return };
        let pivot = pivot_row.get(column).copied().unwrap_or(1.0);
        for cell in &mut pivot_row {
            *cell /= pivot;
        }
        for (place, row) in rows.iter_mut().enumerate() {
            let factor = row.get(column).copied().unwrap_or(0.0);
            if place == column {
                row.clone_from(&pivot_row);
            } else if factor.abs() > 0.0 {
                for (cell, of_pivot) in row.iter_mut().zip(&pivot_row) {
                    *cell -= factor * of_pivot;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testdata::close;

    #[test]
    fn gambler_with_one_coin_of_three_is_ruined_two_times_of_three() {
        // Kemeny and Snell: fair steps between 0 and 3. From 1: 2/3 to 0, 1/3 to 3; from 2 the
        // reverse.
        let exits = vec![
            vec![(Target::End(0), 0.5), (Target::State(1), 0.5)],
            vec![(Target::State(0), 0.5), (Target::End(1), 0.5)],
        ];
        let ends = absorbed(&exits, 2);
        for (found, expected) in ends.concat().iter().zip([2.0, 1.0, 0.0, 1.0, 2.0, 0.0]) {
            close(*found, expected / 3.0, 1e-12);
        }
    }

    #[test]
    fn states_that_only_lead_to_each_other_come_to_no_end() {
        let exits = vec![
            vec![(Target::State(1), 1.0)],
            vec![(Target::State(0), 1.0)],
            vec![(Target::State(0), 0.25), (Target::End(0), 0.75)],
            vec![],
        ];
        let ends = absorbed(&exits, 1);
        let flat = ends.concat();
        for (found, expected) in flat.iter().zip([0.0, 1.0, 0.0, 1.0, 0.75, 0.25, 0.0, 1.0]) {
            close(*found, expected, 1e-12);
        }
    }

    #[test]
    fn slow_exits_are_not_too_few_where_many_have_just_begun() {
        // Four stays begun long ago: two left to A after 1 day, two to B after 10. Four begun
        // yesterday: two left to A after 1 day, two are there for 1 day. Counting exits says 4 : 2.
        // Of 8, half left to A on day 1; of the 2 then followed both went to B: 1/2 : 1/2.
        let (a, b) = (Target::End(0), Target::End(1));
        let stays = [
            Stays { duration: 1, left: vec![(a, 4)], still: 2 },
            Stays { duration: 10, left: vec![(b, 2)], still: 0 },
        ];
        let found = exits(&stays);
        assert_eq!(found.len(), 2);
        for (target, share) in found {
            close(share, 0.5, 1e-12);
            assert!(target == a || target == b);
        }
        assert!(exits(&[Stays { duration: 3, left: vec![], still: 9 }]).is_empty());
    }
}
