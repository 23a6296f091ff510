//! Whether a unit, such as a seller, has more successes than its mix of cases explains: indirect
//! standardisation by strata.
//!
//! Every stratum's expectation is what all units together achieve in it, so a unit is compared with
//! others only where they have the same cases; what only one unit does tells nothing of it.
//!
//! Invariant: over all units the expected successes add up to those observed.

use super::distributions::chi_squared_tail;
use super::{Z_95, float};

/// A unit's cases of one stratum, and everybody's, the unit's among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stratum {
    /// The unit's cases.
    pub trials: i64,
    /// Of these, successes.
    pub successes: i64,
    /// Everybody's cases.
    pub all_trials: i64,
    /// Of these, successes.
    pub all_successes: i64,
}

/// A unit's successes beside what its mix lets expect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standardised {
    /// The unit's cases.
    pub trials: i64,
    /// Successes.
    pub observed: i64,
    /// Successes that everybody's rates let expect.
    pub expected: f64,
    /// Variance of the successes, were they drawn from everybody's.
    pub variance: f64,
}

impl Standardised {
    /// Adds up the strata.
    ///
    /// Definition: expected `Σ n·D/N`, variance `Σ n(N − n)·D(N − D)/(N²(N − 1))`, with n of the
    /// unit's and N of everybody's cases, of which D are successes.
    ///
    /// Source: Mantel and Haenszel, 1959, Statistical Aspects of the Analysis of Data From
    /// Retrospective Studies of Disease.
    #[must_use]
    pub fn of(strata: impl Iterator<Item = Stratum>) -> Self {
        let mut all = Self { trials: 0, observed: 0, expected: 0.0, variance: 0.0 };
        for stratum in strata.filter(|s| s.trials > 0 && s.all_trials > 0) {
            let (own, everybody) = (float(stratum.trials), float(stratum.all_trials));
            let (events, others) = (float(stratum.all_successes), everybody - own);
            all.trials += stratum.trials;
            all.observed += stratum.successes;
            all.expected += own * events / everybody;
            if stratum.all_trials > 1 {
                let spread = events * (everybody - events) / (everybody * everybody);
                all.variance += own * others * spread / (everybody - 1.0);
            }
        }
        all
    }

    /// Observed / expected; `None` where nothing is expected.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        (self.expected > 0.0).then(|| float(self.observed) / self.expected)
    }

    /// 95 % limits of the ratio: those of a funnel around 1, moved to the ratio.
    ///
    /// Source: Spiegelhalter, 2005, Funnel Plots for Comparing Institutional Performance.
    #[must_use]
    pub fn ratio_limits(&self) -> Option<(f64, f64)> {
        let ratio = self.ratio()?;
        let half = Z_95 * self.variance.sqrt() / self.expected;
        Some(((ratio - half).max(0.0), ratio + half))
    }

    /// The chance of a difference as large if the unit were like everybody; `None` where nothing
    /// can vary.
    #[must_use]
    pub fn p_value(&self) -> Option<f64> {
        let difference = float(self.observed) - self.expected;
        (self.variance > 0.0)
            .then(|| chi_squared_tail(difference * difference / self.variance, 1))
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testdata::close;

    /// Applicants to six departments of Berkeley in 1973: admitted and rejected, men and women.
    ///
    /// Source: Bickel, Hammel and O'Connell, 1975, Sex Bias in Graduate Admissions.
    const ADMISSIONS: [[i64; 4]; 6] = [
        [512, 313, 89, 19],
        [353, 207, 17, 8],
        [120, 205, 202, 391],
        [138, 279, 131, 244],
        [53, 138, 94, 299],
        [22, 351, 24, 317],
    ];

    fn men() -> Standardised {
        Standardised::of(ADMISSIONS.into_iter().map(|[in_men, out_men, in_women, out_women]| {
            Stratum {
                trials: in_men + out_men,
                successes: in_men,
                all_trials: in_men + out_men + in_women + out_women,
                all_successes: in_men + in_women,
            }
        }))
    }

    #[test]
    fn printed_test_over_strata_is_reproduced() {
        // mantelhaen.test(UCBAdmissions) in R, which takes 1/2 off the difference: 1.4269.
        let men = men();
        let corrected = ((float(men.observed) - men.expected).abs() - 0.5).powi(2) / men.variance;
        close(corrected, 1.4269, 1e-4);
        assert_eq!((men.observed, men.trials), (1198, 2691));
        // Men are admitted more often in all, and not where they apply.
        assert!(men.ratio().expect("some") < 1.0 && men.p_value().expect("some") > 0.2);
        let (low, high) = men.ratio_limits().expect("some");
        assert!(low < 1.0 && 1.0 < high);
    }

    #[test]
    fn what_nobody_else_does_tells_nothing() {
        let alone = Stratum { trials: 9, successes: 7, all_trials: 9, all_successes: 7 };
        let found = Standardised::of([alone].into_iter());
        close(found.expected, 7.0, 1e-12);
        assert_eq!((found.p_value(), found.ratio()), (None, Some(1.0)));
        let none = Standardised::of([].into_iter());
        assert_eq!((none.p_value(), none.ratio(), none.ratio_limits()), (None, None, None));
    }
}
