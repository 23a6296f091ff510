//! What of an amount is earned, by tiers of the target: exact in minor units.
//!
//! Invariant: what is earned by steps adds up to what is earned at once, because a step earns the
//! difference.

use super::target_attainment::half_even;
use crate::time::Period;

/// Parts of a whole in which shares of a target and rates are given.
pub const MILLION: i64 = 1_000_000;

/// From which share of the target on which rate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommissionTier {
    /// Share of the target from which on it holds, in millionths.
    pub from_ppm: i64,
    /// What is earned of an amount, in millionths.
    pub rate_ppm: i64,
}

/// What a tier that is reached changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TierMethod {
    /// What is above its beginning earns its rate.
    #[default]
    Marginal,
    /// Everything earns its rate, also what is below.
    Whole,
}

/// How owners are paid for what they win.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommissionPlan {
    /// The length of period in which amounts add up to a tier.
    pub period: Period,
    /// Ascending, the first from zero on; without any nothing is paid.
    pub tiers: Vec<CommissionTier>,
    /// What a tier that is reached changes.
    pub method: TierMethod,
}

impl Default for CommissionPlan {
    fn default() -> Self {
        Self { period: Period::Quarter, tiers: Vec::new(), method: TierMethod::default() }
    }
}

impl CommissionPlan {
    /// What an amount earns, in minor units, half to even.
    ///
    /// Definition: marginal: Σ over tiers of rate × what of the amount lies between the tier's
    /// beginning and the next one's; whole: rate of the tier reached × amount.
    ///
    /// Edge cases: below zero, and without a target above zero, everything is of the first tier.
    #[must_use]
    pub fn earned(&self, amount: i64, target: Option<i64>) -> i64 {
        let Some(first) = self.tiers.first() else { return 0 };
        let million = i128::from(MILLION);
        let target = target.filter(|target| *target > 0 && amount > 0);
        // In millionths of a minor unit, so that no tier begins between two of them.
        let amount = i128::from(amount) * million;
        let value = match (target, self.method) {
            (None, _) => amount * i128::from(first.rate_ppm),
            (Some(_), TierMethod::Whole) => {
                let reached = self.tiers.get(self.reached(amount, target));
                amount * i128::from(reached.unwrap_or(first).rate_ppm)
            }
            (Some(target), TierMethod::Marginal) => {
                let begin = |tier: &CommissionTier| i128::from(target) * i128::from(tier.from_ppm);
                let ends = self.tiers.iter().skip(1).map(|tier| begin(tier).min(amount));
                let ends = ends.chain([amount]);
                let part = |(tier, end): (&CommissionTier, i128)| {
                    (end - begin(tier)).max(0) * i128::from(tier.rate_ppm)
                };
                self.tiers.iter().zip(ends).map(part).sum()
            }
        };
        i64::try_from(half_even(value, million * million)).unwrap_or(i64::MAX)
    }

    /// The number of the tier that an amount has reached, from 1.
    #[must_use]
    pub fn tier(&self, amount: i64, target: Option<i64>) -> usize {
        let target = target.filter(|target| *target > 0 && amount > 0);
        self.reached(i128::from(amount) * i128::from(MILLION), target) + 1
    }

    fn reached(&self, millionths: i128, target: Option<i64>) -> usize {
        let Some(target) = target else { return 0 };
        let is_reached =
            |tier: &CommissionTier| millionths >= i128::from(target) * i128::from(tier.from_ppm);
        self.tiers.iter().rposition(is_reached).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(method: TierMethod) -> CommissionPlan {
        // 5 % up to the target, 8 % up to half as much again, then 12 %.
        let tiers = [(0, 50_000), (1_000_000, 80_000), (1_500_000, 120_000)];
        let tiers = tiers.map(|(from_ppm, rate_ppm)| CommissionTier { from_ppm, rate_ppm });
        CommissionPlan { period: Period::Quarter, tiers: tiers.into(), method }
    }

    #[track_caller]
    fn check(method: TierMethod, target: Option<i64>, expected: &[(i64, i64)]) {
        let plan = plan(method);
        for (amount, earned) in expected {
            assert_eq!(plan.earned(*amount, target), *earned, "{amount} of {target:?}");
        }
    }

    #[test]
    fn what_is_above_a_tier_earns_its_rate() {
        // 2,000 of 1,000: 1,000 × 5 % + 500 × 8 % + 500 × 12 % = 50 + 40 + 60.
        let expected = [(500, 25), (1_000, 50), (1_250, 70), (1_500, 90), (2_000, 150), (0, 0)];
        check(TierMethod::Marginal, Some(1_000), &expected);
        // 50 × 5 % = 2.5, which is 2; 70 × 5 % = 3.5, which is 4.
        check(TierMethod::Marginal, Some(1_000), &[(50, 2), (70, 4), (-50, -2), (-1_000, -50)]);
        // A tier may begin between two minor units: 3 × 1.5 = 4.5.
        check(TierMethod::Marginal, Some(3), &[(100, 12)]);
    }

    #[test]
    fn a_tier_that_is_reached_may_change_everything() {
        let expected = [(999, 50), (1_000, 80), (1_500, 180), (2_000, 240)];
        check(TierMethod::Whole, Some(1_000), &expected);
    }

    #[test]
    fn without_a_target_there_is_one_tier() {
        for target in [None, Some(0), Some(-5)] {
            check(TierMethod::Marginal, target, &[(2_000, 100), (-2_000, -100)]);
            assert_eq!(plan(TierMethod::Whole).tier(2_000, target), 1);
        }
        assert_eq!(
            [999, 1_000, 1_500].map(|a| plan(TierMethod::Whole).tier(a, Some(1_000))),
            [1, 2, 3]
        );
        assert_eq!(CommissionPlan::default().earned(100, Some(1)), 0);
    }
}
