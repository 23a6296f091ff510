//! The sections `[customers]` and `[tiers]`: from when on a customer is silent, within which times
//! customers come back, and who is a VIP.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::places::Problems;
use crate::time::Period;

/// How customers come back and fall silent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Customers {
    /// Last ages of the brackets of bracketed retention, in periods, ascending: 1, 3, 6 are the
    /// periods 1, 2 to 3, and 4 to 6 after the first.
    pub retention_brackets: Vec<u32>,
    /// Within how many days of the first purchase customers buy again, ascending.
    pub repurchase_days: Vec<u32>,
    /// A customer is silent after more days than this without a purchase. Default: the 95th
    /// percentile of the days between two purchases that have been observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent_days: Option<u32>,
    /// A customer with a lower chance of being alive is at risk.
    pub alive_min: f64,
    /// Within how many days of an answer to a survey the next purchase is looked for.
    pub survey_days: u32,
}

impl Default for Customers {
    fn default() -> Self {
        Self {
            retention_brackets: vec![1, 3, 6, 12],
            repurchase_days: vec![30, 90, 180, 365],
            silent_days: None,
            alive_min: 0.2,
            survey_days: 90,
        }
    }
}

/// Who is a VIP, who a regular customer; all others are potential ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tiers {
    /// By what customers are ranked, or "rules".
    pub by: TierBy,
    /// Customers with less than this share of customers above them are VIPs.
    pub vip_share: f64,
    /// Of the others, those with less than this share above them are regular ones.
    pub regular_share: f64,
    /// Tiers are compared with those of the last day before the current one of these periods.
    pub previous: Period,
    /// For by = "rules": who is a VIP.
    pub vip: TierRule,
    /// For by = "rules": who of the others is a regular customer.
    pub regular: TierRule,
}

impl Default for Tiers {
    fn default() -> Self {
        Self {
            by: TierBy::default(),
            vip_share: 0.2,
            regular_share: 0.5,
            previous: Period::Month,
            vip: TierRule::default(),
            regular: TierRule::default(),
        }
    }
}

/// By what customers are put into tiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TierBy {
    /// What a model expects them to bring up to the horizon.
    #[default]
    Clv,
    /// The sum of their scores for recency, frequency and amount.
    Rfm,
    /// What they have brought.
    Amount,
    /// Rules of your own.
    Rules,
}

/// What a customer has to keep; what is not given is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TierRule {
    /// At least this net amount of all orders, in whole units of the reporting currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount_min: Option<u32>,
    /// At least so many purchase days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purchase_days_min: Option<u32>,
    /// At most so many days since the last purchase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent_days_max: Option<u32>,
}

/// Gathers what the types cannot refuse.
pub(super) fn check(customers: &Customers, tiers: &Tiers, problems: &mut Problems<'_>) {
    let lists = [
        ("customers.retention_brackets", &customers.retention_brackets),
        ("customers.repurchase_days", &customers.repurchase_days),
    ];
    for (key, list) in lists {
        let steps = [0].iter().chain(list).zip(list);
        if list.len() > 50 || !steps.into_iter().all(|(before, own)| before < own) {
            let problem = format!("expected at most 50 ascending numbers above 0, found {list:?}");
            problems.add(key, problem);
        }
    }
    for (key, days) in [
        ("customers.silent_days", customers.silent_days.unwrap_or(1)),
        ("customers.survey_days", customers.survey_days),
    ] {
        if !(1..=36_525).contains(&days) {
            problems.add(key, format!("expected 1 to 36525, found {days}"));
        }
    }
    for (key, share) in [
        ("customers.alive_min", customers.alive_min),
        ("tiers.vip_share", tiers.vip_share),
        ("tiers.regular_share", tiers.regular_share),
    ] {
        if !(0.0..=1.0).contains(&share) {
            problems.add(key, format!("expected 0 to 1, found {share}"));
        }
    }
    if tiers.vip_share > tiers.regular_share {
        let problem = "it has to be at least vip_share: both are shares of all customers";
        problems.add("tiers.regular_share", problem);
    }
    if tiers.previous == Period::All {
        problems.add("tiers.previous", "nothing was before the whole history");
    }
    for (key, rule) in [("tiers.vip", tiers.vip), ("tiers.regular", tiers.regular)] {
        if (tiers.by == TierBy::Rules) == (rule == TierRule::default()) {
            let problem = if tiers.by == TierBy::Rules {
                "by = \"rules\" needs amount_min, purchase_days_min or silent_days_max"
            } else {
                "only by = \"rules\" has rules"
            };
            problems.add(key, problem);
        }
    }
}
