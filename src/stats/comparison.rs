//! Whether groups differ in how soon an ending comes: the log-rank test, and Gray's test where
//! another ending makes the first impossible.
//!
//! Groups are counts on a common grid of durations, so a test costs nothing by subject. Neither test
//! says where the curves differ, and groups whose curves cross can differ without being told apart.
//!
//! Invariant: the scores of all groups add up to nothing; a test is not made where nothing can vary.

use super::competing::Cause;
use super::distributions::chi_squared_tail;
use super::{Z_95, float};

#[cfg(test)]
mod tests;

/// What becomes of a group's subjects at one duration of the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// How many had each ending at it.
    pub ended: [i64; 2],
    /// How many were last seen at it, with neither.
    pub censored: i64,
    /// How many were first seen at it, and are at risk only at later ones.
    pub entered: i64,
}

impl Counts {
    /// All subjects that leave at the duration.
    #[must_use]
    pub fn all(&self) -> i64 {
        self.ended.iter().sum::<i64>() + self.censored
    }

    /// Without some of them.
    #[must_use]
    pub fn without(&self, others: &Self) -> Self {
        let [first, second] = self.ended;
        let [other_first, other_second] = others.ended;
        let ended = [first - other_first, second - other_second];
        let censored = self.censored - others.censored;
        Self { ended, censored, entered: self.entered - others.entered }
    }

    /// Together with others.
    #[must_use]
    pub fn with(&self, others: &Self) -> Self {
        let [first, second] = self.ended;
        let [other_first, other_second] = others.ended;
        let ended = [first + other_first, second + other_second];
        let censored = self.censored + others.censored;
        Self { ended, censored, entered: self.entered + others.entered }
    }
}

/// Which endings are events; subjects with another one are censored at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Either ending.
    Any,
    /// Only this one.
    Only(Cause),
}

impl Event {
    fn count(self, counts: &Counts) -> i64 {
        let [first, second] = counts.ended;
        match self {
            Self::Any => first + second,
            Self::Only(Cause::First) => first,
            Self::Only(Cause::Second) => second,
        }
    }
}

/// The outcome of a test.
#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    /// How many events each group had.
    pub observed: Vec<i64>,
    /// How many it would have if all groups were alike.
    pub expected: Vec<f64>,
    /// The statistic; `None` where nothing can vary.
    pub chi_squared: Option<f64>,
    /// Its degrees of freedom: groups that can vary, less one.
    pub degrees: i64,
}

impl Test {
    /// The chance of a statistic as large if all groups were alike.
    #[must_use]
    pub fn p_value(&self) -> Option<f64> {
        chi_squared_tail(self.chi_squared?, self.degrees)
    }

    /// The first group's rate of events as a multiple of the second one's, with 95 % limits.
    ///
    /// Definition: `(O₁/E₁)/(O₂/E₂)`; its logarithm has the standard error `√(1/E₁ + 1/E₂)`.
    ///
    /// Edge cases: `None` unless both groups had events and expected some.
    ///
    /// Source: Berry, Kitchin and Mock, 1991, A Comparison of Two Simple Hazard Ratio Estimators
    /// Based on the Logrank Test.
    #[must_use]
    pub fn hazard_ratio(&self) -> Option<(f64, f64, f64)> {
        let (&[own, others], &[own_expected, expected]) =
            (self.observed.as_slice(), self.expected.as_slice())
        else {
            return None;
        };
        if own <= 0 || others <= 0 || own_expected <= 0.0 || expected <= 0.0 {
            return None;
        }
        let ratio = (float(own) / own_expected) / (float(others) / expected);
        let error = (Z_95 * (1.0 / own_expected + 1.0 / expected).sqrt()).exp();
        Some((ratio, ratio / error, ratio * error))
    }
}

/// How many of each group are at risk from the start.
fn subjects(groups: &[&[Counts]]) -> Vec<i64> {
    let of = |counts: &Counts| counts.all() - counts.entered;
    groups.iter().map(|group| group.iter().map(of).sum()).collect()
}

/// Calls with the counts of every group at each place of the grid.
fn at_each_place(groups: &[&[Counts]], mut see: impl FnMut(&[Counts])) {
    let places = groups.iter().map(|group| group.len()).max().unwrap_or(0);
    let mut here = Vec::with_capacity(groups.len());
    for place in 0..places {
        here.clear();
        here.extend(groups.iter().map(|group| group.get(place).copied().unwrap_or_default()));
        see(&here);
    }
}

/// The log-rank test of any number of groups on one grid of durations.
///
/// Definition: at each duration with d events among n at risk, of whom n_k in group k, the group
/// expects `d·n_k/n`; the differences from what it had are compared with their hypergeometric
/// covariance. Events come before censorings at the same duration.
///
/// Source: Mantel, 1966, Evaluation of Survival Data and Two New Rank Order Statistics Arising in
/// Its Consideration; Peto and Peto, 1972, Asymptotically Efficient Rank Invariant Test Procedures.
#[must_use]
pub fn log_rank(groups: &[&[Counts]], event: Event) -> Test {
    let mut at_risk = subjects(groups);
    let mut observed = vec![0; groups.len()];
    let mut expected = vec![0.0; groups.len()];
    let mut covariance = Matrix::zero(groups.len());
    let mut shares = Vec::with_capacity(groups.len());
    at_each_place(groups, |here| {
        let n: i64 = at_risk.iter().sum();
        let d: i64 = here.iter().map(|counts| event.count(counts)).sum();
        if d > 0 {
            shares.clear();
            shares.extend(at_risk.iter().map(|own| float(*own) / float(n)));
            for (sum, counts) in observed.iter_mut().zip(here) {
                *sum += event.count(counts);
            }
            for (sum, share) in expected.iter_mut().zip(&shares) {
                *sum += float(d) * share;
            }
            if n > 1 {
                let spread = float(d) * float(n - d) / float(n - 1);
                covariance.add(|row, column| {
                    let (a, b) = (of(&shares, row), of(&shares, column));
                    spread * (if row == column { a } else { 0.0 } - a * b)
                });
            }
        }
        for (own, counts) in at_risk.iter_mut().zip(here) {
            *own += counts.entered - counts.all();
        }
    });
    let scores = observed.iter().zip(&expected).map(|(o, e)| float(*o) - e).collect();
    let (chi_squared, degrees) = covariance.statistic(scores);
    Test { observed, expected, chi_squared, degrees }
}

fn of(values: &[f64], place: usize) -> f64 {
    values.get(place).copied().unwrap_or(0.0)
}

/// What Gray's test knows of every group at one duration.
struct Moment {
    /// Endings of the cause, of the other one, and all who leave, a group.
    own: Vec<i64>,
    other: Vec<i64>,
    /// At risk just before the duration, a group.
    at_risk: Vec<f64>,
    /// Share with neither ending just before the duration, and after it, a group.
    before: Vec<f64>,
    after: Vec<f64>,
    /// At risk as if neither ending had taken anybody away: n/S(t−), a group, and together.
    weights: Vec<f64>,
    weight: f64,
    /// At risk as if only the cause took anybody away: n·(1 − F(t−))/S(t−), a group.
    exposed: Vec<f64>,
    /// Share that the cause has taken by the duration, a group.
    incidence: Vec<f64>,
    /// The common incidence just before the duration, and after it, if all groups were alike.
    common_before: f64,
    common: f64,
}

impl Moment {
    fn begin(groups: &[&[Counts]]) -> Self {
        let k = groups.len();
        Self {
            own: vec![0; k],
            other: vec![0; k],
            at_risk: subjects(groups).into_iter().map(float).collect(),
            before: vec![1.0; k],
            after: vec![1.0; k],
            weights: vec![0.0; k],
            weight: 0.0,
            exposed: vec![0.0; k],
            incidence: vec![0.0; k],
            common_before: 0.0,
            common: 0.0,
        }
    }

    /// Goes on to a duration whose endings and risk sets are known.
    fn step(&mut self) {
        let states = self.before.iter_mut().zip(&mut self.after).zip(&mut self.weights);
        let shares = self.exposed.iter_mut().zip(&mut self.incidence).zip(&self.at_risk);
        let ended = self.own.iter().zip(&self.other);
        let rows = states.zip(shares).zip(ended);
        for ((((before, after), weight), ((exposed, incidence), n)), (own, other)) in rows {
            *before = *after;
            *weight = if *n > 0.0 && *before > 0.0 { n / *before } else { 0.0 };
            *exposed = *weight * (1.0 - *incidence);
            if *n > 0.0 {
                *incidence += *before * float(*own) / n;
                *after = *before * (n - float(own + other)) / n;
            }
        }
        self.weight = self.weights.iter().sum();
        self.common_before = self.common;
        if self.weight > 0.0 {
            self.common += float(self.own.iter().sum()) / self.weight;
        }
    }

    /// Increment of the common rate of the cause among those it has not taken.
    fn rate(&self) -> f64 {
        let left = self.weight * (1.0 - self.common_before);
        if left > 0.0 { float(self.own.iter().sum()) / left } else { 0.0 }
    }

    /// How a rate's increment moves the score of `row` where it is that of group `column`.
    fn response(&self, row: usize, column: usize) -> f64 {
        let (own, other) = (of(&self.weights, row), of(&self.weights, column));
        let same = if row == column { own } else { 0.0 };
        same - own * other / self.weight
    }
}

/// Goes through the durations at which either ending happens.
fn moments(groups: &[&[Counts]], cause: Cause, mut see: impl FnMut(&Moment)) {
    let mut now = Moment::begin(groups);
    let rest = match cause {
        Cause::First => Cause::Second,
        Cause::Second => Cause::First,
    };
    at_each_place(groups, |here| {
        now.own.clear();
        now.own.extend(here.iter().map(|counts| Event::Only(cause).count(counts)));
        now.other.clear();
        now.other.extend(here.iter().map(|counts| Event::Only(rest).count(counts)));
        if now.own.iter().chain(&now.other).any(|n| *n > 0) {
            now.step();
            see(&now);
        }
        for (n, counts) in now.at_risk.iter_mut().zip(here) {
            *n += float(counts.entered - counts.all());
        }
    });
}

/// Gray's test of whether the cumulative incidences of an ending are the same in any number of
/// groups, with the other ending taken as what it is.
///
/// Definition: as the log-rank test, but a subject whom the other ending took stays at risk with the
/// chance that it would still be watched: a group's risk set is `n·(1 − F(t−))/S(t−)`. The variance
/// adds up, over both endings, what each one changes in the score, now and by the risk sets to come.
///
/// Edge cases: a group without subjects cannot vary and has no degree of freedom.
///
/// Source: Gray, 1988, A Class of K-sample Tests for Comparing the Cumulative Incidence of a
/// Competing Risk (with ρ = 0).
#[must_use]
pub fn gray(groups: &[&[Counts]], cause: Cause) -> Test {
    let k = groups.len();
    let mut observed = vec![0; k];
    let mut expected = vec![0.0; k];
    // What a lasting change of a group's risk set does to the scores over all durations.
    let mut lasting = Matrix::zero(k);
    moments(groups, cause, |now| {
        let (events, exposed) = (float(now.own.iter().sum()), now.exposed.iter().sum::<f64>());
        for ((observed, expected), (own, share)) in
            observed.iter_mut().zip(&mut expected).zip(now.own.iter().zip(&now.exposed))
        {
            *observed += own;
            *expected += if exposed > 0.0 { events * share / exposed } else { 0.0 };
        }
        let rate = now.rate();
        if rate > 0.0 {
            lasting.add(|row, column| rate * now.response(row, column));
        }
    });
    let mut to_come = lasting;
    let mut covariance = Matrix::zero(k);
    let mut moved = Vec::with_capacity(k);
    moments(groups, cause, |now| {
        let rate = now.rate();
        if rate > 0.0 {
            to_come.add(|row, column| -rate * now.response(row, column));
        }
        for group in 0..k {
            add_variance(now, group, &to_come, &mut moved, &mut covariance);
        }
    });
    let scores = observed.iter().zip(&expected).map(|(o, e)| float(*o) - e).collect();
    let (chi_squared, degrees) = covariance.statistic(scores);
    Test { observed, expected, chi_squared, degrees }
}

/// Adds what the endings of one group at one duration contribute to the covariance of the scores.
fn add_variance(
    now: &Moment,
    group: usize,
    to_come: &Matrix,
    moved: &mut Vec<f64>,
    covariance: &mut Matrix,
) {
    let (n, before, after) =
        (of(&now.at_risk, group), of(&now.before, group), of(&now.after, group));
    let count = |ended: &[i64]| float(ended.get(group).copied().unwrap_or(0));
    let (events, other) = (float(now.own.iter().sum()), count(&now.other));
    if n <= 0.0 {
        return;
    }
    // Share of those whom the cause has not taken among those whom neither has.
    let spared = if after > 0.0 { (1.0 - now.common) / after } else { 0.0 };
    let k = now.own.len();
    if events > 0.0 && now.weight > 0.0 {
        // The events the group expects by the common incidence; those at one duration are tied.
        let ties = now.weight * before - 1.0;
        let ties = if events > 1.0 { 1.0 - (events - 1.0) / ties } else { 1.0 };
        let variance = ties * before * events / (now.weight * n);
        let by = if after > 0.0 { 1.0 - spared } else { 1.0 };
        let to_move = |row| now.response(row, group) + by * to_come.at(row, group);
        moved.clear();
        moved.extend((0..k).map(to_move));
        covariance.add(|row, column| variance * of(moved, row) * of(moved, column));
    }
    if other > 0.0 && after > 0.0 {
        let ties = if other > 1.0 { 1.0 - (other - 1.0) / (n - 1.0) } else { 1.0 };
        let variance = ties * before * before * other / (n * n);
        moved.clear();
        moved.extend((0..k).map(|row| spared * to_come.at(row, group)));
        covariance.add(|row, column| variance * of(moved, row) * of(moved, column));
    }
}

/// A square matrix.
#[derive(Debug, Clone)]
struct Matrix {
    size: usize,
    cells: Vec<f64>,
}

/// How small a pivot is, as a share of the variance it began as, that means "nothing varies".
const SINGULAR: f64 = 1e-10;

impl Matrix {
    fn zero(size: usize) -> Self {
        Self { size, cells: vec![0.0; size * size] }
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        of(&self.cells, row * self.size + column)
    }

    fn add(&mut self, value: impl Fn(usize, usize) -> f64) {
        let rows = self.cells.chunks_mut(self.size.max(1)).enumerate();
        for (row, cells) in rows {
            for (column, cell) in cells.iter_mut().enumerate() {
                *cell += value(row, column);
            }
        }
    }

    /// The scores squared in units of this covariance, and its rank: the quadratic form of a
    /// generalised inverse, by elimination. The last group follows from the others and is left out.
    fn statistic(&self, scores: Vec<f64>) -> (Option<f64>, i64) {
        let used = self.size.saturating_sub(1);
        let mut rest: Vec<Vec<f64>> = (0..used)
            .map(|row| {
                (0..used).map(|column| self.at(row, column)).chain([of(&scores, row)]).collect()
            })
            .collect();
        let (mut chi_squared, mut degrees) = (0.0, 0);
        for place in 0..used {
            let Some(pivot_row) = rest.get(place).cloned() else { break };
            let pivot = of(&pivot_row, place);
            if pivot <= SINGULAR * self.at(place, place) || pivot <= 0.0 {
                continue;
            }
            let score = of(&pivot_row, used);
            chi_squared += score * score / pivot;
            degrees += 1;
            for row in rest.iter_mut().skip(place + 1) {
                let factor = of(row, place) / pivot;
                for (cell, above) in row.iter_mut().zip(&pivot_row) {
                    *cell -= factor * above;
                }
            }
        }
        ((degrees > 0).then_some(chi_squared), degrees)
    }
}
