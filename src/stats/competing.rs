//! How soon each of two endings comes when each makes the other impossible, such as a deal won or
//! lost: the cumulative incidence of Aalen and Johansen from counts per distinct whole duration.
//!
//! A Kaplan–Meier curve with the other ending censored overstates the share that will ever have the
//! ending; the naive share stands beside it in [`Step::naive`] so that the bias is seen.
//!
//! Invariant: at every step the two incidences and the share with neither add up to 1; at one
//! duration endings come before censorings.

use super::float;
use super::survival::entering;

#[cfg(test)]
mod tests;

/// How far a computed share may be off a level and still equal it.
const SAME: f64 = 1e-12;

/// Those who reach one duration, and what becomes of them there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// The duration.
    pub duration: i64,
    /// How many had each ending at it.
    pub ended: [i64; 2],
    /// How many were last seen at it, with neither.
    pub censored: i64,
}

/// One of the two endings: a position in [`Tally::ended`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The first one.
    First,
    /// The second one.
    Second,
}

impl Cause {
    fn of<T: Copy>(self, pair: &[T; 2]) -> T {
        match (self, pair) {
            (Self::First, [own, _]) | (Self::Second, [_, own]) => *own,
        }
    }
}

/// The incidences at one duration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The duration.
    pub duration: i64,
    /// How many had neither ending nor a censoring before it.
    pub at_risk: i64,
    /// How many had each ending at it.
    pub ended: [i64; 2],
    /// How many were censored at it.
    pub censored: i64,
    /// Share that has had each ending by this duration.
    pub incidence: [f64; 2],
    /// Share with neither after it.
    pub survival: f64,
    /// Variance of each incidence.
    pub variance: [f64; 2],
    /// 1 − the Kaplan–Meier curve of each ending with the other one censored.
    pub naive: [f64; 2],
}

impl Step {
    /// Share that has had the ending by this duration.
    #[must_use]
    pub fn share(&self, cause: Cause) -> f64 {
        cause.of(&self.incidence)
    }

    /// What the share would be read as with the other ending censored.
    #[must_use]
    pub fn naive_share(&self, cause: Cause) -> f64 {
        cause.of(&self.naive)
    }

    /// Limits of an incidence at `z` standard errors, symmetric on the scale of log(−log F).
    ///
    /// Edge cases: `None` where the incidence is 0 or 1, whose variance cannot be estimated.
    ///
    /// Source: Choudhury, 2002, Non-parametric Confidence Interval Estimation for Competing Risks
    /// Analysis.
    #[must_use]
    pub fn limits(&self, cause: Cause, z: f64) -> Option<(f64, f64)> {
        let (share, variance) = (cause.of(&self.incidence), cause.of(&self.variance));
        if share <= 0.0 || share >= 1.0 {
            return None;
        }
        let width = z * variance.sqrt() / (share * share.ln().abs());
        Some((share.powf(width.exp()), share.powf((-width).exp())))
    }
}

/// The cumulative incidences of two endings.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Incidence {
    /// One step per distinct duration, ascending.
    pub steps: Vec<Step>,
}

/// The sums over the durations so far that a variance at a later one is made of.
#[derive(Debug, Clone, Copy, Default)]
struct VarianceSums {
    /// Σ w, Σ w·F, Σ w·F² with w = d/(n(n − d)).
    weights: [f64; 3],
    /// Σ S²·d(n − d)/n³.
    own: f64,
    /// Σ S·d/n², Σ F·S·d/n².
    crossed: [f64; 2],
}

impl VarianceSums {
    /// Adds one duration: `at_risk` of whom `ended` had either ending and `own` this one, with the
    /// survival before it and the incidence after it.
    fn add(&mut self, at_risk: i64, ended: i64, own: i64, before: f64, incidence: f64) {
        let (n, d, own_n) = (float(at_risk), float(ended), float(own));
        if ended < at_risk {
            // Where all end the incidence does not change any more, and the term is zero.
            let weight = d / (n * (n - d));
            let [sum, first, second] = &mut self.weights;
            *sum += weight;
            *first += weight * incidence;
            *second += weight * incidence * incidence;
        }
        self.own += before * before * own_n * (n - own_n) / (n * n * n);
        let step = before * own_n / (n * n);
        let [sum, first] = &mut self.crossed;
        *sum += step;
        *first += step * incidence;
    }

    /// The variance of an incidence at the duration added last, where it is this.
    fn variance(&self, incidence: f64) -> f64 {
        let [sum, first, second] = self.weights;
        let [crossed, crossed_first] = self.crossed;
        let spread = incidence * incidence * sum - 2.0 * incidence * first + second;
        let both = incidence * crossed - crossed_first;
        (spread + self.own - 2.0 * both).max(0.0)
    }
}

impl Incidence {
    /// Fits the incidences to tallies of ascending, distinct durations.
    ///
    /// Definition: `F_k += S(u−)·d_k/n` and `S = 1 − F_1 − F_2` at each duration u with n at risk
    /// and d_k endings of kind k; between two censorings the sums are one quotient of counts, so
    /// that without censoring an incidence is exactly the share of all. The variance is that of the
    /// delta method.
    ///
    /// Edge cases: tallies with neither ending nor censoring add no step.
    ///
    /// Source: Aalen and Johansen, 1978, An Empirical Transition Matrix for Non-homogeneous Markov
    /// Chains Based on Censored Observations; Marubini and Valsecchi, 1995, Analysing Survival Data
    /// from Clinical Trials and Observational Studies, chapter 10.
    #[must_use]
    pub fn fit(tallies: &[Tally]) -> Self {
        Self::fit_late(tallies, &[])
    }

    /// The same where some were first seen after their start: `late` are the durations at which so
    /// many were, ascending, as in [`super::survival::Curve::fit_late`].
    #[must_use]
    pub fn fit_late(tallies: &[Tally], late: &[(i64, i64)]) -> Self {
        let total = |tally: &Tally| tally.ended.iter().sum::<i64>() + tally.censored;
        let mut at_risk: i64 = tallies.iter().map(total).sum();
        at_risk -= late.iter().map(|(_, n)| n).sum::<i64>();
        let mut late = late.iter().peekable();
        // At the last censoring: what had happened, and how many were at risk just after it.
        let (mut since, mut since_at_risk, mut since_survival) = ([0.0; 2], at_risk, 1.0);
        let mut ended_since = [0; 2];
        let (mut survival, mut naive) = (1.0, [1.0; 2]);
        let mut latest = [0.0; 2];
        let mut sums = [VarianceSums::default(); 2];
        let mut steps = Vec::with_capacity(tallies.len());
        for tally in tallies.iter().filter(|tally| total(tally) > 0) {
            let entered = entering(&mut late, tally.duration);
            if entered > 0 {
                // What happened so far stays; shares are now of more.
                at_risk += entered;
                (since, since_at_risk, since_survival) = (latest, at_risk, survival);
                ended_since = [0; 2];
            }
            let before = survival;
            let both: i64 = tally.ended.iter().sum();
            for (sum, own) in ended_since.iter_mut().zip(tally.ended) {
                *sum += own;
            }
            let share = |ended: i64| since_survival * float(ended) / float(since_at_risk);
            let [first, second] = since;
            let [first_n, second_n] = ended_since;
            let incidence = [first + share(first_n), second + share(second_n)];
            survival = share(since_at_risk - first_n - second_n);
            latest = incidence;
            let mut variance = [0.0; 2];
            let columns = variance.iter_mut().zip(&mut sums).zip(&mut naive);
            for (((variance, sums), naive), (own, incidence)) in
                columns.zip(tally.ended.into_iter().zip(incidence))
            {
                if both > 0 {
                    sums.add(at_risk, both, own, before, incidence);
                }
                *variance = sums.variance(incidence);
                *naive *= float(at_risk - own) / float(at_risk);
            }
            steps.push(Step {
                duration: tally.duration,
                at_risk,
                ended: tally.ended,
                censored: tally.censored,
                incidence,
                survival,
                variance,
                naive: naive.map(|left| 1.0 - left),
            });
            at_risk -= both + tally.censored;
            if tally.censored > 0 {
                (since, since_at_risk, since_survival) = (incidence, at_risk, survival);
                ended_since = [0; 2];
            }
        }
        Self { steps }
    }

    /// How many were followed.
    #[must_use]
    pub fn subjects(&self) -> i64 {
        let all = |step: &Step| step.ended.iter().sum::<i64>() + step.censored;
        self.steps.iter().map(all).sum()
    }

    /// The step that holds at a duration.
    ///
    /// Edge cases: `None` before the first step, where nothing has happened, and after the last one
    /// while some are left whose end was not seen.
    #[must_use]
    pub fn at(&self, duration: i64) -> At<'_> {
        let next = self.steps.partition_point(|step| step.duration <= duration);
        let step = next.checked_sub(1).and_then(|place| self.steps.get(place));
        match step {
            None if self.steps.is_empty() => At::Unknown,
            None => At::Nothing,
            Some(step) if next < self.steps.len() || step.duration == duration => At::Step(step),
            Some(step) if step.survival <= SAME => At::Step(step),
            Some(_) => At::Unknown,
        }
    }

    /// The last step: what is known in the end.
    #[must_use]
    pub fn last(&self) -> Option<&Step> {
        self.steps.last()
    }

    /// The first duration by which a share `p` has had the ending; `None` where it is not reached.
    #[must_use]
    pub fn quantile(&self, cause: Cause, p: f64) -> Option<i64> {
        let step = self.steps.iter().find(|step| cause.of(&step.incidence) >= p - SAME)?;
        Some(step.duration)
    }

    /// Limits of a quantile: the first durations by which the upper and the lower limit of the
    /// incidence reach the share; each `None` where its limit never does.
    ///
    /// Edge cases: a step whose limits cannot be estimated counts as not reaching it.
    #[must_use]
    pub fn quantile_limits(&self, cause: Cause, p: f64, z: f64) -> (Option<i64>, Option<i64>) {
        let (mut earliest, mut latest) = (None, None);
        for step in &self.steps {
            let Some((low, high)) = step.limits(cause, z) else { continue };
            if earliest.is_none() && high >= p - SAME {
                earliest = Some(step.duration);
            }
            if low >= p - SAME {
                latest = Some(step.duration);
                break;
            }
        }
        (earliest, latest)
    }

    /// As [`Self::quantile`], of those who have the ending in the end; `None` without any.
    #[must_use]
    pub fn conditional_quantile(&self, cause: Cause, p: f64) -> Option<i64> {
        let eventual = self.last().map(|step| cause.of(&step.incidence))?;
        if eventual <= 0.0 { None } else { self.quantile(cause, p * eventual) }
    }
}

/// What is known at a duration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum At<'a> {
    /// Nobody has been followed that long.
    Unknown,
    /// Nothing has happened yet.
    Nothing,
    /// What this step says.
    Step(&'a Step),
}
