//! Two sides of a comparison, or all groups of it, as counts on a common grid of whole days.
//!
//! Values are kept as the days on which something happened to their deals; only what is being
//! compared is laid out on the whole grid, so that thousands of values take little room.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::super::{Ending, Late, NO_DURATION, seen_endings};
use crate::error::Error;
use crate::metrics::Group;
use crate::stats::Z_95;
use crate::stats::comparison::{Counts, Event, Test, gray, log_rank};
use crate::stats::competing::{self, At, Cause, Incidence};
use crate::stats::survival::{Curve, QuantileRule, Tally};

/// Groups in a test of all values together: the largest ones, and all others as one.
const GROUPS_MAX: usize = 32;
/// Pairs are compared where there are no more values, so that there are at most 15.
pub(super) const PAIRED_VALUES_MAX: usize = 6;

/// One of the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    CloseLogRank,
    WinLogRank,
    WinGray,
}

/// Every test, in the order of their names.
pub(super) const TESTS: [Kind; 3] = [Kind::CloseLogRank, Kind::WinGray, Kind::WinLogRank];

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::CloseLogRank => "close_log_rank",
            Self::WinLogRank => "win_log_rank",
            Self::WinGray => "win_gray",
        }
    }

    fn of(self, groups: &[&[Counts]]) -> Test {
        match self {
            Self::CloseLogRank => log_rank(groups, Event::Any),
            Self::WinLogRank => log_rank(groups, Event::Only(Cause::First)),
            Self::WinGray => gray(groups, Cause::First),
        }
    }

    fn events(self, counts: &[Counts]) -> i64 {
        let of = |c: &Counts| match (self, c.ended) {
            (Self::CloseLogRank, [won, lost]) => won + lost,
            (_, [won, _]) => won,
        };
        counts.iter().map(of).sum()
    }
}

/// The outcome of one test of one comparison.
pub(super) struct Compared {
    pub(super) test: &'static str,
    pub(super) groups_n: i64,
    /// Deals of each side; all on the first where all values are compared.
    pub(super) subjects: [i64; 2],
    pub(super) events: [i64; 2],
    /// `None` where it was not made.
    pub(super) outcome: Option<Test>,
    pub(super) effect: Effect,
}

/// By how much the sides differ; what a test is not about is `None`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Effect {
    pub(super) hazard_ratio: Option<(f64, f64, f64)>,
    pub(super) horizon: Option<i64>,
    pub(super) close_p50: [Option<f64>; 2],
    pub(super) restricted_mean: [Option<f64>; 2],
    pub(super) mean_difference: Option<(f64, f64)>,
    pub(super) win_share: [Option<f64>; 2],
    pub(super) share_difference: Option<(f64, f64)>,
}

/// The cycles of every value of a slice by whole days.
pub(super) struct DayGrid {
    /// Every day on which a cycle of any value ended or was last seen, ascending.
    days: Vec<i64>,
    /// The days of each value, ascending.
    values: Vec<Vec<(i64, Counts)>>,
}

impl DayGrid {
    pub(super) fn read(group: &Group<'_>) -> Result<Self, Error> {
        let per_day = group.settings.resolution.units_per_day();
        let read = |segment: &crate::metrics::Segment<'_>| {
            let [state, late] = segment.states.as_slice() else {
                return Err(Error::Bug("comparisons of cycles have two states".into()));
            };
            let late = Late::read(late)?;
            let mut own: Vec<(i64, Counts)> = Vec::new();
            for row in seen_endings(state, &late)? {
                let (duration, ending, n) = row?;
                if duration == NO_DURATION {
                    continue;
                }
                let day = duration.div_euclid(per_day);
                if own.last().is_none_or(|(last, _)| *last != day) {
                    own.push((day, Counts::default()));
                }
                let Some((_, counts)) = own.last_mut() else { continue };
                let [won, lost] = &mut counts.ended;
                *match ending {
                    Ending::Won => won,
                    Ending::Lost => lost,
                    Ending::Censored => &mut counts.censored,
                } += n;
            }
            enter(&mut own, &late, per_day);
            Ok(own)
        };
        let values = group.segments.par_iter().map(read).collect::<Result<Vec<_>, Error>>()?;
        let mut days: Vec<i64> = values.iter().flatten().map(|(day, _)| *day).collect();
        days.sort_unstable();
        days.dedup();
        Ok(Self { days, values })
    }

    /// The places of values with deals that were followed.
    pub(super) fn followed(&self) -> Vec<usize> {
        let values = self.values.iter().enumerate();
        values.filter(|(_, own)| !own.is_empty()).map(|(place, _)| place).collect()
    }

    /// One value on the whole grid.
    fn laid_out(&self, value: usize) -> Vec<Counts> {
        let mut all = vec![Counts::default(); self.days.len()];
        self.add(value, &mut all);
        all
    }

    fn add(&self, value: usize, to: &mut [Counts]) {
        let own = self.values.get(value).map_or(&[][..], Vec::as_slice);
        let mut places = self.days.iter().zip(to);
        for (day, counts) in own {
            if let Some((_, place)) = places.find(|(at, _)| *at == day) {
                *place = place.with(counts);
            }
        }
    }

    /// All values together.
    pub(super) fn pooled(&self) -> Vec<Counts> {
        let mut all = vec![Counts::default(); self.days.len()];
        (0..self.values.len()).for_each(|value| self.add(value, &mut all));
        all
    }

    /// The tests of all values together.
    pub(super) fn all_values(&self, followed: &[usize]) -> Vec<Compared> {
        let size = |value: &usize| -> i64 {
            self.values.get(*value).into_iter().flatten().map(|(_, counts)| counts.all()).sum()
        };
        let mut by_size = followed.to_vec();
        by_size.sort_by_key(|value| (std::cmp::Reverse(size(value)), *value));
        let alone = if by_size.len() > GROUPS_MAX { GROUPS_MAX - 1 } else { by_size.len() };
        let (large, small) = by_size.split_at_checked(alone).unwrap_or((&by_size, &[]));
        let mut groups: Vec<Vec<Counts>> = large.iter().map(|v| self.laid_out(*v)).collect();
        if !small.is_empty() {
            let mut others = vec![Counts::default(); self.days.len()];
            small.iter().for_each(|value| self.add(*value, &mut others));
            groups.push(others);
        }
        let groups: Vec<&[Counts]> = groups.iter().map(Vec::as_slice).collect();
        let compare = |kind: &Kind| Compared {
            test: kind.name(),
            groups_n: i64::try_from(groups.len()).unwrap_or(i64::MAX),
            subjects: [followed.iter().map(size).sum(), 0],
            events: [groups.iter().map(|own| kind.events(own)).sum(), 0],
            outcome: Some(kind.of(&groups)),
            effect: Effect::default(),
        };
        TESTS.par_iter().map(compare).collect()
    }
}

/// Notes at which day of a value's own late entries are first seen: they are at risk from the next.
fn enter(own: &mut Vec<(i64, Counts)>, late: &Late, per_day: i64) {
    let mut entries: BTreeMap<i64, i64> = BTreeMap::new();
    for (age, n) in &late.entries {
        *entries.entry(age.div_euclid(per_day)).or_default() += n;
    }
    for (day, n) in entries {
        // Who leaves on the day it is first seen is at risk on it.
        let at = own.partition_point(|(own, _)| *own < day - 1);
        match own.get_mut(at) {
            Some((own, counts)) if *own == day - 1 => counts.entered += n,
            _ => own.insert(at, (day - 1, Counts { entered: n, ..Counts::default() })),
        }
    }
}

/// Two sides of a comparison on one grid.
pub(super) struct Sides<'a> {
    days: &'a [i64],
    own: Vec<Counts>,
    other: Vec<Counts>,
}

impl<'a> Sides<'a> {
    /// A value and all others together.
    pub(super) fn rest(grid: &'a DayGrid, value: usize, pooled: &[Counts]) -> Self {
        let own = grid.laid_out(value);
        let other = pooled.iter().zip(&own).map(|(all, own)| all.without(own)).collect();
        Self { days: &grid.days, own, other }
    }

    /// Two values.
    pub(super) fn pair(grid: &'a DayGrid, value: usize, other: usize) -> Self {
        Self { days: &grid.days, own: grid.laid_out(value), other: grid.laid_out(other) }
    }

    /// Every test, where both sides have at least so many deals.
    pub(super) fn compare(&self, floor: i64) -> Vec<Compared> {
        let subjects = [&self.own, &self.other].map(|side| side.iter().map(Counts::all).sum());
        let is_tested = subjects.iter().all(|n: &i64| *n >= floor.max(1));
        let compare = |kind: Kind| {
            let outcome = is_tested.then(|| kind.of(&[&self.own, &self.other]));
            Compared {
                test: kind.name(),
                groups_n: 2,
                subjects,
                events: [kind.events(&self.own), kind.events(&self.other)],
                effect: if is_tested {
                    self.effect(kind, outcome.as_ref())
                } else {
                    Effect::default()
                },
                outcome,
            }
        };
        TESTS.into_iter().map(compare).collect()
    }

    fn effect(&self, kind: Kind, test: Option<&Test>) -> Effect {
        let horizon = self.horizon();
        let hazard_ratio = test.and_then(Test::hazard_ratio);
        match kind {
            Kind::CloseLogRank => Effect { hazard_ratio, horizon, ..self.close_times(horizon) },
            Kind::WinLogRank => Effect { hazard_ratio, horizon, ..Effect::default() },
            Kind::WinGray => Effect { horizon, ..self.win_shares(horizon) },
        }
    }

    /// The longest duration that both sides were followed.
    fn horizon(&self) -> Option<i64> {
        let last = |side: &[Counts]| {
            let own = self.days.iter().zip(side).filter(|(_, counts)| counts.all() > 0);
            own.map(|(day, _)| *day).next_back()
        };
        last(&self.own).zip(last(&self.other)).map(|(a, b)| a.min(b))
    }

    /// Days on which so many of a side were first seen.
    fn late(&self, side: &[Counts]) -> Vec<(i64, i64)> {
        let late = self.days.iter().zip(side).filter(|(_, counts)| counts.entered > 0);
        late.map(|(day, counts)| (*day, counts.entered)).collect()
    }

    fn close_times(&self, horizon: Option<i64>) -> Effect {
        let curve = |side: &[Counts]| {
            let tally = |(day, counts): (&i64, &Counts)| Tally {
                duration: *day,
                observed: counts.ended.iter().sum(),
                censored: counts.censored,
            };
            let tallies: Vec<Tally> = self.days.iter().zip(side).map(tally).collect();
            Curve::fit_late(&tallies, &self.late(side))
        };
        let [own, other] = [curve(&self.own), curve(&self.other)];
        let mean = |curve: &Curve| horizon.and_then(|horizon| curve.restricted_mean_error(horizon));
        let (own_mean, other_mean) = (mean(&own), mean(&other));
        let limits = own_mean.zip(other_mean).map(|((own, error), (other, other_error))| {
            limits(own - other, error * error + other_error * other_error)
        });
        Effect {
            close_p50: [&own, &other].map(|curve| curve.quantile(0.5, QuantileRule::First)),
            restricted_mean: [own_mean, other_mean].map(|mean| mean.map(|(mean, _)| mean)),
            mean_difference: limits,
            ..Effect::default()
        }
    }

    fn win_shares(&self, horizon: Option<i64>) -> Effect {
        let share = |side: &[Counts]| {
            let tally = |(day, counts): (&i64, &Counts)| competing::Tally {
                duration: *day,
                ended: counts.ended,
                censored: counts.censored,
            };
            let tallies: Vec<competing::Tally> = self.days.iter().zip(side).map(tally).collect();
            let curve = Incidence::fit_late(&tallies, &self.late(side));
            match curve.at(horizon?) {
                At::Step(step) => {
                    let [variance, _] = step.variance;
                    Some((step.share(Cause::First), variance))
                }
                At::Nothing => Some((0.0, 0.0)),
                At::Unknown => None,
            }
        };
        let (own, other) = (share(&self.own), share(&self.other));
        let limits = own.zip(other).map(|((own, variance), (other, other_variance))| {
            let (low, high) = limits(own - other, variance + other_variance);
            (low.max(-1.0), high.min(1.0))
        });
        Effect {
            win_share: [own, other].map(|share| share.map(|(share, _)| share)),
            share_difference: limits,
            ..Effect::default()
        }
    }
}

/// Limits of a difference at 95 %, from its variance.
fn limits(difference: f64, variance: f64) -> (f64, f64) {
    let half = Z_95 * variance.max(0.0).sqrt();
    (difference - half, difference + half)
}
