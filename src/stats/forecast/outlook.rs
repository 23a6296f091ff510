//! What comes of one that has had neither of two endings for some time.
//!
//! It conditions the incidences of [`Incidence`] on the time that has passed already; nothing is
//! assumed of times that nobody was followed for: what was never seen does not happen.

use crate::stats::competing::{Incidence, Step};

/// How far computed shares may be off one another and still be equal.
const SAME: f64 = 1e-12;

/// The further way of one of an age.
#[derive(Debug, Clone, Copy)]
pub struct Outlook<'a> {
    incidence: &'a Incidence,
    age: i64,
    /// Share that had each ending up to the age.
    before: [f64; 2],
    /// Share with neither.
    survival: f64,
    /// How many were followed beyond the age.
    pub followed_n: i64,
}

impl<'a> Outlook<'a> {
    /// The outlook at an age; `None` where nobody was followed beyond it.
    #[must_use]
    pub fn at(incidence: &'a Incidence, age: i64) -> Option<Self> {
        let next = incidence.steps.partition_point(|step| step.duration <= age);
        let followed_n = incidence.steps.get(next)?.at_risk;
        let last = next.checked_sub(1).and_then(|place| incidence.steps.get(place));
        let (before, survival) =
            last.map_or(([0.0; 2], 1.0), |step| (step.incidence, step.survival));
        (survival > SAME).then_some(Self { incidence, age, before, survival, followed_n })
    }

    /// Definition: `(F_k(age + days) − F_k(age)) / S(age)` of each ending k.
    #[must_use]
    pub fn within(&self, days: i64) -> [f64; 2] {
        let until = self.age.saturating_add(days);
        let next = self.incidence.steps.partition_point(|step| step.duration <= until);
        let step = next.checked_sub(1).and_then(|place| self.incidence.steps.get(place));
        step.map_or([0.0; 2], |step| self.since(step))
    }

    /// The same of all time.
    #[must_use]
    pub fn eventually(&self) -> [f64; 2] {
        self.incidence.steps.last().map_or([0.0; 2], |step| self.since(step))
    }

    fn since(&self, step: &Step) -> [f64; 2] {
        let [first, second] = step.incidence;
        let [before_first, before_second] = self.before;
        let share = |now: f64, before: f64| ((now - before) / self.survival).clamp(0.0, 1.0);
        [share(first, before_first), share(second, before_second)]
    }

    /// In how many days a share `p` of those who will have the first ending has had it; `None` where
    /// nobody will.
    #[must_use]
    pub fn days_to_first(&self, p: f64) -> Option<i64> {
        let [eventual, _] = self.eventually();
        if eventual <= SAME {
            return None;
        }
        let begin = self.incidence.steps.partition_point(|step| step.duration <= self.age);
        let later = self.incidence.steps.get(begin..)?;
        let reached = |step: &Step| {
            let [share, _] = self.since(step);
            share >= p * eventual - SAME
        };
        let place = later.partition_point(|step| !reached(step));
        later.get(place).map(|step| step.duration - self.age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::competing::Tally;
    use crate::stats::testdata::close;

    /// Ten entries: won after 2, 4 and 4 days, lost after 1, 2 and 6, still open after 3, 5, 8, 8.
    ///
    /// F1: day 2 S(1) = 9/10, 1/9 of it: .1; F2(2) = .2, S(2) = .7; one censored at 3; day 4: 6 at
    /// risk, 2 won: F1 = .1 + .7/3 = .333333, S = .466667; one censored at 5; day 6: 3 at risk, one
    /// lost: F2 = .2 + .466667/3 = .355556, S = .311111.
    fn ten() -> Incidence {
        let tally =
            |duration, won, lost, censored| Tally { duration, ended: [won, lost], censored };
        Incidence::fit(&[
            tally(1, 0, 1, 0),
            tally(2, 1, 1, 0),
            tally(3, 0, 0, 1),
            tally(4, 2, 0, 0),
            tally(5, 0, 0, 1),
            tally(6, 0, 1, 0),
            tally(8, 0, 0, 2),
        ])
    }

    #[test]
    fn chances_are_those_of_whom_nothing_has_happened_to() {
        let curve = ten();
        let fresh = Outlook::at(&curve, 0).unwrap();
        assert_eq!(fresh.followed_n, 10);
        close(fresh.within(2)[0], 0.1, 1e-12);
        close(fresh.eventually()[0], 1.0 / 3.0, 1e-12);
        // At age 2 seven are left of ten: (1/3 − 1/10)/(7/10) = 1/3.
        let later = Outlook::at(&curve, 2).unwrap();
        assert_eq!(later.followed_n, 7);
        later.within(1).into_iter().for_each(|share| close(share, 0.0, 1e-12));
        close(later.within(2)[0], 1.0 / 3.0, 1e-12);
        close(later.eventually()[1], (0.355_555_555_555 - 0.2) / 0.7, 1e-9);
        // At age 4 none is won any more; lost: (.355556 − .2)/.466667 = 1/3.
        let late = Outlook::at(&curve, 4).unwrap();
        assert_eq!(late.followed_n, 4);
        close(late.eventually()[0], 0.0, 1e-12);
        close(late.eventually()[1], 1.0 / 3.0, 1e-12);
        assert_eq!(late.days_to_first(0.5), None);
    }

    #[test]
    fn nobody_knows_beyond_the_longest() {
        assert!(Outlook::at(&ten(), 7).is_some());
        assert!(Outlook::at(&ten(), 8).is_none());
        assert!(Outlook::at(&Incidence::default(), 0).is_none());
    }

    #[test]
    fn half_of_the_wins_come_by_the_middle_one() {
        // Of wins .1 after 2 days and .233333 after 4: 30 % by day 2, all by day 4.
        let curve = ten();
        let fresh = Outlook::at(&curve, 0).unwrap();
        assert_eq!([0.25, 0.3, 0.31, 0.5].map(|p| fresh.days_to_first(p)), [2, 2, 4, 4].map(Some));
        let later = Outlook::at(&curve, 3).unwrap();
        assert_eq!(later.days_to_first(0.5), Some(1));
    }
}
