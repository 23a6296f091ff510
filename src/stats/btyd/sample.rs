//! Customers grouped by their purchase history, so that a fit's cost does not grow with their number.
//!
//! Equal histories are one group with a weight. Where there are still too many groups, neighbouring
//! ones are put together under their mean: cells are narrow where a day more matters, wide where it
//! does not. Invariant: weights, and the weighted sums of repeats, recency and age, are kept.

use std::cmp::Ordering;

/// Customers of one purchase history, in the unit of time of the model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct History {
    /// Purchase days after the first (x).
    pub repeats: f64,
    /// From the first to the last purchase day (t_x); 0 without a repeat.
    pub recency: f64,
    /// From the first purchase day to the end of the observation (T).
    pub age: f64,
    /// How many customers.
    pub customers: f64,
}

/// Spending of some customers with equal repeats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spending {
    /// Purchase days after the first (x), above 0.
    pub repeats: f64,
    /// Mean amount of these days (m), above 0.
    pub mean: f64,
    /// Its logarithm; the mean logarithm where means were put together.
    pub ln_mean: f64,
    /// How many customers.
    pub customers: f64,
}

/// Something that can be grouped: numbers by which it is ordered, and a weight.
pub trait Grouped: Copy {
    /// The numbers, the repeats first.
    fn numbers(&self) -> [f64; 3];
    /// The weight.
    fn weight(&self) -> f64;
    /// The cell of a grid with so many cells to the logarithmic unit of time or money.
    fn cell(&self, scale: f64) -> [i64; 3];
    /// The two as one, by weighted means.
    #[must_use]
    fn joined(&self, other: &Self) -> Self;
}

impl Grouped for History {
    fn numbers(&self) -> [f64; 3] {
        [self.repeats, self.recency, self.age]
    }

    fn weight(&self) -> f64 {
        self.customers
    }

    fn cell(&self, scale: f64) -> [i64; 3] {
        // Times in the unit of a model are a few units at least; below one nothing is parted.
        let time = |t: f64| (scale * t.ln_1p()).floor() as i64;
        [repeats_cell(self.repeats, scale), time(self.recency), time(self.age)]
    }

    fn joined(&self, other: &Self) -> Self {
        let customers = self.customers + other.customers;
        let mean = |a: f64, b: f64| (a * self.customers + b * other.customers) / customers;
        Self {
            repeats: mean(self.repeats, other.repeats),
            recency: mean(self.recency, other.recency),
            age: mean(self.age, other.age),
            customers,
        }
    }
}

impl Spending {
    /// Customers with these repeats and this mean.
    #[must_use]
    pub fn new(repeats: f64, mean: f64, customers: f64) -> Self {
        Self { repeats, mean, ln_mean: mean.ln(), customers }
    }
}

impl Grouped for Spending {
    fn numbers(&self) -> [f64; 3] {
        [self.repeats, self.mean, 0.0]
    }

    fn weight(&self) -> f64 {
        self.customers
    }

    fn cell(&self, scale: f64) -> [i64; 3] {
        // One mean instead of two numbers for times: room for finer cells.
        let money = (4.0 * scale * self.ln_mean).floor() as i64;
        [repeats_cell(self.repeats, scale), money, 0]
    }

    fn joined(&self, other: &Self) -> Self {
        let customers = self.customers + other.customers;
        let mean = |a: f64, b: f64| (a * self.customers + b * other.customers) / customers;
        Self {
            repeats: mean(self.repeats, other.repeats),
            mean: mean(self.mean, other.mean),
            ln_mean: mean(self.ln_mean, other.ln_mean),
            customers,
        }
    }
}

/// Few repeats stay what they are: there each one more says much.
fn repeats_cell(repeats: f64, scale: f64) -> i64 {
    const EXACT: f64 = 12.0;
    if repeats <= EXACT {
        return repeats.round() as i64;
    }
    EXACT as i64 + 1 + (2.0 * scale * (repeats / EXACT).ln()).floor() as i64
}

/// Groups in order of their numbers, the repeats first.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<G>(Vec<G>);

impl<G: Grouped> Sample<G> {
    /// The groups in order, equal ones as one; those without weight are left out.
    #[must_use]
    pub fn new(mut groups: Vec<G>) -> Self {
        groups.retain(|g| g.weight() > 0.0);
        groups.sort_by(by_numbers);
        Self(join(groups, |a, b| by_numbers(a, b) == Ordering::Equal))
    }

    /// Each group.
    #[must_use]
    pub fn groups(&self) -> &[G] {
        &self.0
    }

    /// How many customers.
    #[must_use]
    pub fn customers(&self) -> f64 {
        self.0.iter().map(Grouped::weight).sum()
    }

    /// The same customers in at most so many groups, as far as cells of a size that is still
    /// meaningful can do it.
    #[must_use]
    pub fn within(&self, groups_max: usize) -> Self {
        let mut scale = 64.0;
        let mut coarse = self.clone();
        while coarse.0.len() > groups_max && scale >= 1.0 {
            coarse = self.in_cells(scale);
            scale /= 1.5;
        }
        coarse
    }

    fn in_cells(&self, scale: f64) -> Self {
        let mut cells: Vec<([i64; 3], usize)> =
            self.0.iter().map(|g| g.cell(scale)).zip(0..).collect();
        cells.sort_unstable();
        let cell_groups: Vec<([i64; 3], G)> = cells
            .into_iter()
            .filter_map(|(cell, place)| Some((cell, *self.0.get(place)?)))
            .collect();
        let joined = cell_groups.chunk_by(|a, b| a.0 == b.0).filter_map(|own| {
            own.iter().map(|(_, group)| *group).reduce(|all, group| all.joined(&group))
        });
        let mut groups: Vec<G> = joined.collect();
        groups.sort_by(by_numbers);
        Self(groups)
    }
}

fn by_numbers<G: Grouped>(a: &G, b: &G) -> Ordering {
    let pairs = a.numbers().into_iter().zip(b.numbers());
    pairs.fold(Ordering::Equal, |so_far, (a, b)| so_far.then(a.total_cmp(&b)))
}

fn join<G: Grouped>(groups: Vec<G>, same: impl Fn(&G, &G) -> bool) -> Vec<G> {
    let mut joined: Vec<G> = Vec::with_capacity(groups.len());
    for group in groups {
        match joined.last_mut().filter(|last| same(last, &group)) {
            Some(last) => *last = last.joined(&group),
            None => joined.push(group),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testdata::close;

    fn history(repeats: f64, recency: f64, age: f64) -> History {
        History { repeats, recency, age, customers: 1.0 }
    }

    #[test]
    fn equal_histories_are_one_group() {
        let sample = Sample::new(vec![
            history(1.0, 3.0, 9.0),
            history(0.0, 0.0, 9.0),
            history(1.0, 3.0, 9.0),
        ]);
        let weights: Vec<f64> = sample.groups().iter().map(|g| g.customers).collect();
        assert_eq!(weights, [1.0, 2.0]);
    }

    #[test]
    fn coarser_groups_keep_all_sums() {
        let all: Vec<History> = (0..5000)
            .map(|i| {
                let age = f64::from(20 + i * 7919 % 200);
                history(f64::from(i % 40), age * f64::from(i % 97) / 97.0, age)
            })
            .collect();
        let sums = |sample: &Sample<History>| {
            sample.groups().iter().fold([0.0; 4], |[n, x, t, age], g| {
                let w = g.customers;
                [n + w, x + w * g.repeats, t + w * g.recency, age + w * g.age]
            })
        };
        let exact = Sample::new(all);
        let coarse = exact.within(1000);
        assert!(coarse.groups().len() <= 1000 && coarse.groups().len() > 200);
        for (coarse, exact) in sums(&coarse).into_iter().zip(sums(&exact)) {
            close(coarse, exact, 1e-10);
        }
    }
}
