//! Who is a VIP, who a regular customer and who a potential one: by the share of customers above, or
//! by rules.
//!
//! Customers with equal values are always in one tier, the better one that any of them would have.

use super::customer_value::{Customer, Judged};
use super::scores::shares_above;
use crate::metrics::{TierBy, Tiering};

/// A tier, the best one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    /// Few customers are above.
    Vip,
    /// Up to half of them, or as configured.
    Regular,
    /// All others.
    Potential,
}

impl Tier {
    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Vip => "vip",
            Self::Regular => "regular",
            Self::Potential => "potential",
        }
    }

    fn by_share(share_above: f64, tiering: &Tiering) -> Self {
        // Shares are quotients; what is meant to be a fifth is one.
        match share_above + 1e-9 {
            share if share < tiering.vip_share => Self::Vip,
            share if share < tiering.regular_share => Self::Regular,
            _ => Self::Potential,
        }
    }
}

/// Puts customers into tiers: by value, and as configured. Whom nothing is known of by which to be
/// ranked, such as one without a purchase day, is in none.
pub(super) fn assign(customers: &[Customer], judged: &mut [Judged], tiering: &Tiering) {
    let clv = |_: &Customer, judged: &Judged| judged.value.map(|[_, clv]| clv.round_ties_even());
    let by_clv = ranked(customers, judged, tiering, clv);
    for (judged, tier) in judged.iter_mut().zip(&by_clv) {
        judged.clv_tier = *tier;
    }
    let configured = match tiering.by {
        TierBy::Clv => by_clv,
        TierBy::Rfm => ranked(customers, judged, tiering, |_, judged| {
            judged.scores.map(|scores| scores.iter().sum::<i64>() as f64)
        }),
        TierBy::Amount => ranked(customers, judged, tiering, |customer, _| {
            (customer.purchase_days_n > 0).then_some(customer.amount as f64)
        }),
        TierBy::Rules(vip, regular) => {
            let of = |c: &Customer| {
                let keeps = |rule: &crate::metrics::TierRule| {
                    rule.holds(c.amount, c.purchase_days_n, c.age - c.recency)
                };
                match (c.purchase_days_n > 0, keeps(&vip), keeps(&regular)) {
                    (false, _, _) => None,
                    (_, true, _) => Some(Tier::Vip),
                    (_, _, true) => Some(Tier::Regular),
                    _ => Some(Tier::Potential),
                }
            };
            customers.iter().map(of).collect()
        }
    };
    for (judged, tier) in judged.iter_mut().zip(configured) {
        judged.tier = tier;
    }
}

/// The tier of each by rank among those that have the value.
fn ranked(
    customers: &[Customer],
    judged: &[Judged],
    tiering: &Tiering,
    value: impl Fn(&Customer, &Judged) -> Option<f64>,
) -> Vec<Option<Tier>> {
    let values: Vec<Option<f64>> = customers.iter().zip(judged).map(|(c, j)| value(c, j)).collect();
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    let mut shares = shares_above(&known).into_iter();
    let tier = |value: Option<f64>| {
        value.and_then(|_| shares.next()).map(|share| Tier::by_share(share, tiering))
    };
    values.into_iter().map(tier).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::TierRule;

    /// Customers of so many purchase days and amounts; the last purchase was as many days ago as the
    /// amount says.
    fn customers(given: &[(i64, i64)]) -> Vec<Customer> {
        let one = |(days, amount): &(i64, i64)| Customer {
            id: (1, *amount),
            orders_n: *days,
            purchase_days_n: *days,
            repeats_n: (days - 1).max(0),
            recency: 0,
            age: *amount,
            amount: *amount,
            repeat_amount: 0,
        };
        given.iter().map(one).collect()
    }

    #[track_caller]
    fn check(given: &[(i64, i64)], by: TierBy, expected: &str) {
        let customers = customers(given);
        let mut judged = vec![Judged::default(); customers.len()];
        assign(&customers, &mut judged, &Tiering { by, ..Tiering::default() });
        let names: Vec<&str> =
            judged.iter().map(|j| j.tier.map_or("-", |tier| tier.name())).collect();
        assert_eq!(names.join(" "), expected);
    }

    #[test]
    fn tiers_are_a_fifth_and_half() {
        let given: Vec<(i64, i64)> = (1..=10).rev().map(|amount| (1, amount)).collect();
        check(
            &given,
            TierBy::Amount,
            "vip vip regular regular regular potential potential potential potential potential",
        );
    }

    #[test]
    fn equal_amounts_share_the_better_tier_and_who_never_bought_has_none() {
        // None is above the three 9s, three fifths are above the 1s.
        check(
            &[(1, 9), (1, 1), (0, 0), (1, 9), (1, 9), (1, 1)],
            TierBy::Amount,
            "vip potential - vip vip potential",
        );
    }

    #[test]
    fn rules_are_asked_in_order_and_all_that_is_given_has_to_hold() {
        let vip =
            TierRule { amount_min: Some(50), silent_days_max: Some(90), ..Default::default() };
        let regular = TierRule { purchase_days_min: Some(2), ..TierRule::default() };
        // 95 days of silence are too many for a VIP.
        check(
            &[(1, 50), (2, 95), (1, 95), (3, 49), (0, 60)],
            TierBy::Rules(vip, regular),
            "vip regular potential regular -",
        );
    }

    #[test]
    fn without_a_value_by_a_model_nobody_is_ranked_by_it() {
        check(&[(1, 5), (2, 7)], TierBy::Clv, "- -");
    }
}
