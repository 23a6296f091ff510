//! Durations as states hold them, counted per distinct value, and what finishes say of them.
//!
//! Inside, a duration is a whole number of the run's units; every answer is in days of 24 hours.
//! Values must be added in ascending order, as sorted states give them.

use std::ops::Range;

use crate::stats::survival::{Curve, QuantileRule, Tally};
use crate::stats::{Z_95, float, quantile};
use crate::time::Resolution;

/// Durations that have ended, as a state counts them: each distinct value once, ascending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted<'a> {
    values: &'a [i64],
    counts: &'a [i64],
}

impl<'a> Counted<'a> {
    /// Some rows of a state, by its columns of durations and of counts.
    #[must_use]
    pub fn of(values: &'a [i64], counts: &'a [i64], rows: Range<usize>) -> Self {
        let values = values.get(rows.clone()).unwrap_or_default();
        Self { values, counts: counts.get(rows).unwrap_or_default() }
    }

    /// How many durations.
    #[must_use]
    pub fn count(&self) -> i64 {
        self.counts.iter().sum()
    }

    /// Their mean in days; `None` without any.
    #[must_use]
    pub fn mean_days(&self, resolution: Resolution) -> Option<f64> {
        quantile::mean_from_counts(self.values, self.counts).map(|v| v / unit(resolution))
    }

    /// Their type 7 quantile in days; `None` without any.
    #[must_use]
    pub fn quantile_days(&self, p: f64, resolution: Resolution) -> Option<f64> {
        quantile::type7_from_counts(self.values, self.counts, p).map(|v| v / unit(resolution))
    }
}

/// Durations that have ended, gathered from rows of a state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Durations {
    values: Vec<i64>,
    counts: Vec<i64>,
}

impl Durations {
    /// Adds `count` durations of one length, not shorter than those added before.
    pub fn add(&mut self, duration: i64, count: i64) {
        if self.values.last() == Some(&duration) {
            if let Some(last) = self.counts.last_mut() {
                *last += count;
            }
        } else if count != 0 {
            self.values.push(duration);
            self.counts.push(count);
        }
    }

    /// What has been added.
    #[must_use]
    pub fn counted(&self) -> Counted<'_> {
        Counted { values: &self.values, counts: &self.counts }
    }
}

/// Adds those who had the event or were censored at one duration, not shorter than those before.
pub fn tally(tallies: &mut Vec<Tally>, duration: i64, observed: i64, censored: i64) {
    match tallies.last_mut() {
        Some(last) if last.duration == duration => {
            last.observed += observed;
            last.censored += censored;
        }
        _ => tallies.push(Tally { duration, observed, censored }),
    }
}

/// A whole number of units in days.
#[must_use]
pub fn days(units: i64, resolution: Resolution) -> f64 {
    float(units) / unit(resolution)
}

/// `Σ units / count` in days; `None` on a zero count.
#[must_use]
pub fn mean_days(units: i128, count: i64, resolution: Resolution) -> Option<f64> {
    (count > 0).then(|| units as f64 / float(count) / unit(resolution))
}

/// A curve's quantile in days; `None` where it is not reached.
#[must_use]
pub fn curve_days(
    curve: &Curve,
    p: f64,
    rule: QuantileRule,
    resolution: Resolution,
) -> Option<f64> {
    curve.quantile(p, rule).map(|v| v / unit(resolution))
}

/// Log-log limits at 95 % of a curve's quantile, in days.
#[must_use]
pub fn limits_days(curve: &Curve, p: f64, resolution: Resolution) -> (Option<f64>, Option<f64>) {
    let (low, high) = curve.quantile_limits(p, Default::default(), Z_95);
    (low.map(|v| days(v, resolution)), high.map(|v| days(v, resolution)))
}

fn unit(resolution: Resolution) -> f64 {
    float(resolution.units_per_day())
}
