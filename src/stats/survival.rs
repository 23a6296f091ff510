//! How long until something happens, when for some it has not happened yet: the Kaplan–Meier curve
//! from counts per distinct whole duration, its limits, quantiles and restricted mean.
//!
//! It assumes that being censored tells nothing about the time to the event. Where another event
//! makes the first impossible (a lost deal is never won) that is false, and "1 − curve" overstates
//! the share that will ever have it; the cumulative incidence for competing risks (Aalen–Johansen)
//! belongs beside [`Curve`], over the same [`Tally`] with a count per cause.
//!
//! Invariant: at one duration events come before censorings, so those censored at `t` are at risk
//! at `t`.

use std::iter::Peekable;

use super::float;

#[cfg(test)]
mod tests;

/// How far a computed survival may be off a level and still equal it: far more than the rounding of
/// a product of thousands of quotients, far less than one subject among any number that is read.
const SAME: f64 = 1e-12;

/// Far more than a limit may be off by rounding.
const SURE: f64 = 1e-9;

/// Those who reach one duration, and what becomes of them there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// The duration.
    pub duration: i64,
    /// How many had the event at it.
    pub observed: i64,
    /// How many were last seen at it, without the event.
    pub censored: i64,
}

/// The curve at one duration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The duration.
    pub duration: i64,
    /// How many had neither the event nor a censoring before it.
    pub at_risk: i64,
    /// How many had the event at it.
    pub observed: i64,
    /// How many were censored at it.
    pub censored: i64,
    /// Share without the event after this duration, from here to the next step.
    pub survival: f64,
    /// Greenwood's sum Σ d/(n(n − d)) up to here: the variance of the logarithm of the survival;
    /// infinite once the survival is 0.
    pub log_variance: f64,
}

/// The scale on which limits of the survival are symmetric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// log(−log S): limits never leave 0 to 1.
    #[default]
    LogLog,
    /// log S: the default of R's survival package; the upper limit is cut at 1.
    Log,
}

/// Which duration is the quantile when the survival equals the level on a whole interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QuantileRule {
    /// Its left end: the first duration at which the survival is at or below the level.
    #[default]
    First,
    /// Its midpoint, as R's survival package does.
    Midpoint,
}

/// A Kaplan–Meier curve.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Curve {
    /// One step per distinct duration, ascending.
    pub steps: Vec<Step>,
}

impl Step {
    /// Greenwood's variance of the survival; 0 where the survival is 0 or 1.
    #[must_use]
    pub fn variance(&self) -> f64 {
        if self.survival > 0.0 { self.survival * self.survival * self.log_variance } else { 0.0 }
    }

    /// Limits of the survival at `z` standard errors.
    ///
    /// Edge cases: (1, 1) before the first event; `None` once the survival is 0, where the
    /// variance cannot be estimated.
    #[must_use]
    pub fn limits(&self, scale: Scale, z: f64) -> Option<(f64, f64)> {
        if self.survival <= 0.0 {
            return None;
        }
        if self.log_variance <= 0.0 {
            return Some((1.0, 1.0));
        }
        let error = self.log_variance.sqrt();
        Some(match scale {
            Scale::LogLog => {
                // S^exp(±w) with w the half width of log(−log S).
                let width = z * error / self.survival.ln().abs();
                (self.survival.powf(width.exp()), self.survival.powf((-width).exp()))
            }
            Scale::Log => {
                let width = z * error;
                (self.survival * (-width).exp(), (self.survival * width.exp()).min(1.0))
            }
        })
    }
}

impl Step {
    /// Whether the lower limit is above a level by so much that it need not be computed, which
    /// takes three times as long. Where this is not sure, it is `false`.
    fn lower_is_surely_above(&self, level: f64, scale: Scale, z: f64) -> bool {
        if scale != Scale::LogLog || self.survival <= 0.0 || self.survival >= 1.0 {
            return false;
        }
        let log = self.survival.ln();
        let width = z * self.log_variance.sqrt() / log.abs();
        width.exp() * log > level.ln() + SURE
    }
}

/// How many enter before a duration, of those who have not yet.
pub(super) fn entering<'a>(
    late: &mut Peekable<impl Iterator<Item = &'a (i64, i64)>>,
    duration: i64,
) -> i64 {
    let mut entered = 0;
    while let Some((_, n)) = late.next_if(|(at, _)| *at < duration) {
        entered += n;
    }
    entered
}

impl Curve {
    /// Fits the curve to tallies of ascending, distinct durations.
    ///
    /// Definition: `S = Π (1 − d/n)` over the durations with events.
    /// Between two censorings the product telescopes to one quotient of counts, and is computed as
    /// that quotient, so that a curve without censoring is exact: S is the share left.
    ///
    /// Edge cases: tallies with neither event nor censoring add no step.
    ///
    /// Source: Kaplan and Meier, 1958, Nonparametric Estimation from Incomplete Observations;
    /// Greenwood, 1926, The Natural Duration of Cancer.
    #[must_use]
    pub fn fit(tallies: &[Tally]) -> Self {
        Self::fit_late(tallies, &[])
    }

    /// The same where some subjects were first seen after their start (left truncation): `late` are
    /// the durations at which so many were, ascending. They are at risk only at later ones.
    ///
    /// Edge cases: whoever leaves must have entered at a shorter duration; once nobody is left at
    /// risk and all had the event, the survival is 0 whoever enters later.
    ///
    /// Source: Klein and Moeschberger, 2003, Survival Analysis, section 4.6.
    #[must_use]
    pub fn fit_late(tallies: &[Tally], late: &[(i64, i64)]) -> Self {
        let all: i64 = tallies.iter().map(|t| t.observed + t.censored).sum();
        let mut at_risk = all - late.iter().map(|(_, n)| n).sum::<i64>();
        let mut late = late.iter().peekable();
        // The survival at the last censoring, and how many were at risk just after it.
        let (mut block_survival, mut block_at_risk) = (1.0, at_risk);
        let (mut survival, mut log_variance) = (1.0, 0.0);
        let mut steps = Vec::with_capacity(tallies.len());
        for tally in tallies.iter().filter(|t| t.observed + t.censored > 0) {
            let entered = entering(&mut late, tally.duration);
            if entered > 0 {
                at_risk += entered;
                (block_survival, block_at_risk) = (survival, at_risk);
            }
            let left = at_risk - tally.observed;
            if tally.observed > 0 {
                survival = block_survival * float(left) / float(block_at_risk);
                log_variance += float(tally.observed) / (float(at_risk) * float(left));
            }
            steps.push(Step {
                duration: tally.duration,
                at_risk,
                observed: tally.observed,
                censored: tally.censored,
                survival,
                log_variance,
            });
            at_risk = left - tally.censored;
            if tally.censored > 0 {
                (block_survival, block_at_risk) = (survival, at_risk);
            }
        }
        Self { steps }
    }

    /// How many were followed.
    #[must_use]
    pub fn subjects(&self) -> i64 {
        self.steps.iter().map(|s| s.observed + s.censored).sum()
    }

    /// How many had the event.
    #[must_use]
    pub fn observed(&self) -> i64 {
        self.steps.iter().map(|s| s.observed).sum()
    }

    /// The longest duration seen, event or not.
    #[must_use]
    pub fn horizon(&self) -> Option<i64> {
        self.steps.last().map(|s| s.duration)
    }

    /// The duration by which a share `p` has had the event: the first with `S ≤ 1 − p`.
    ///
    /// Edge cases: `None` where the curve does not fall that far.
    /// Where S equals 1 − p on an interval, the rule decides; an interval that never ends has its
    /// left end only.
    ///
    /// Source: Brookmeyer and Crowley, 1982, A Confidence Interval for the Median Survival Time.
    #[must_use]
    pub fn quantile(&self, p: f64, rule: QuantileRule) -> Option<f64> {
        let level = 1.0 - p;
        let first = self.steps.iter().find(|s| s.survival <= level + SAME)?;
        let is_equal = (first.survival - level).abs() <= SAME;
        let next = self.steps.iter().find(|s| s.survival < level - SAME);
        Some(match (rule, next) {
            (QuantileRule::Midpoint, Some(next)) if is_equal => {
                f64::midpoint(float(first.duration), float(next.duration))
            }
            _ => float(first.duration),
        })
    }

    /// Limits of a quantile: the first durations at which the lower and the upper limit of the
    /// survival are at or below `1 − p`.
    ///
    /// Edge cases: each is `None` where its limit does not fall that far; a limit without variance
    /// (S = 0) counts as not fallen.
    ///
    /// Source: Brookmeyer and Crowley, 1982, A Confidence Interval for the Median Survival Time.
    #[must_use]
    pub fn quantile_limits(&self, p: f64, scale: Scale, z: f64) -> (Option<i64>, Option<i64>) {
        let level = 1.0 - p + SAME;
        let low = self.steps.iter().find(|s| {
            !s.lower_is_surely_above(level, scale, z)
                && s.limits(scale, z).is_some_and(|(low, _)| low <= level)
        });
        // The upper limit is above the survival.
        let fallen = self.steps.iter().skip_while(|s| s.survival > level + SURE);
        let mut fallen =
            fallen.filter(|s| s.limits(scale, z).is_some_and(|(_, high)| high <= level));
        (low.map(|s| s.duration), fallen.next().map(|s| s.duration))
    }

    /// The mean duration up to a horizon: the area under the curve from 0 to it.
    ///
    /// Edge cases: `None` without subjects; beyond the last step the curve stays level.
    ///
    /// Source: Irwin, 1949, The Standard Error of an Estimate of Expectation of Life.
    #[must_use]
    pub fn restricted_mean(&self, horizon: i64) -> Option<f64> {
        if self.steps.is_empty() {
            return None;
        }
        let (mut area, mut since, mut height) = (0.0, 0, 1.0);
        for step in self.steps.iter().take_while(|s| s.duration < horizon) {
            area += height * float(step.duration - since);
            (since, height) = (step.duration, step.survival);
        }
        Some(area + height * float(horizon - since))
    }

    /// The mean duration up to a horizon and its standard error.
    ///
    /// Definition: variance `Σ A²·d/(n(n − d))` over the events before the horizon, with A the area
    /// under the curve from the event to the horizon.
    ///
    /// Edge cases: `None` without subjects; an event that takes all who are left has no area behind
    /// it and adds nothing.
    ///
    /// Source: Klein and Moeschberger, 2003, Survival Analysis, section 4.5.
    #[must_use]
    pub fn restricted_mean_error(&self, horizon: i64) -> Option<(f64, f64)> {
        let mean = self.restricted_mean(horizon)?;
        let (mut area, mut until, mut variance) = (0.0, horizon, 0.0);
        for step in self.steps.iter().rev().skip_while(|s| s.duration >= horizon) {
            area += step.survival * float(until - step.duration);
            until = step.duration;
            let left = step.at_risk - step.observed;
            if step.observed > 0 && left > 0 {
                variance +=
                    area * area * float(step.observed) / (float(step.at_risk) * float(left));
            }
        }
        Some((mean, variance.sqrt()))
    }
}
