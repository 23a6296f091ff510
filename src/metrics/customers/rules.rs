//! The rules by which customers are judged, as tables are told: when one is silent, within which
//! times they come back, and who is in which tier.
//!
//! Nothing here is computed; the defaults are those of the configuration.

use crate::time::Period;

/// How customers come back and fall silent, and who is a VIP.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomerRules {
    /// Last ages of the brackets of bracketed retention, in periods, ascending.
    pub retention_brackets: Vec<i64>,
    /// Within how many days of the first purchase customers buy again, ascending.
    pub repurchase_days: Vec<i64>,
    /// A customer is silent after more days than this without a purchase; `None`: as observed.
    pub silent_days: Option<i64>,
    /// A customer with a lower chance of being alive is at risk.
    pub alive_min: f64,
    /// Within how many days of an answer the next purchase is looked for.
    pub survey_days: i64,
    /// Who is in which tier.
    pub tiers: Tiering,
}

impl Default for CustomerRules {
    fn default() -> Self {
        Self {
            retention_brackets: vec![1, 3, 6, 12],
            repurchase_days: vec![30, 90, 180, 365],
            silent_days: None,
            alive_min: 0.2,
            survey_days: 90,
            tiers: Tiering::default(),
        }
    }
}

/// Who is in which tier.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tiering {
    /// By what.
    pub by: TierBy,
    /// VIPs have less than this share of customers above them.
    pub vip_share: f64,
    /// Regular ones have less than this.
    pub regular_share: f64,
    /// Tiers are compared with those of the last day before the current one of these periods.
    pub previous: Period,
}

impl Default for Tiering {
    fn default() -> Self {
        Self { by: TierBy::Clv, vip_share: 0.2, regular_share: 0.5, previous: Period::Month }
    }
}

/// By what customers are put into tiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TierBy {
    /// What a model expects of them.
    Clv,
    /// The sum of their three scores.
    Rfm,
    /// What they have brought.
    Amount,
    /// Rules: of a VIP, and of a regular customer.
    Rules(TierRule, TierRule),
}

/// What a customer has to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TierRule {
    /// At least this net amount of all orders, minor units.
    pub amount_min: Option<i64>,
    /// At least so many purchase days.
    pub purchase_days_min: Option<i64>,
    /// At most so many days since the last purchase.
    pub silent_days_max: Option<i64>,
}

impl TierRule {
    /// Whether a customer of this amount, purchase days and days since the last of them keeps it.
    #[must_use]
    pub fn holds(&self, amount: i64, purchase_days_n: i64, silent_days: i64) -> bool {
        self.amount_min.is_none_or(|least| amount >= least)
            && self.purchase_days_min.is_none_or(|least| purchase_days_n >= least)
            && self.silent_days_max.is_none_or(|most| silent_days <= most)
    }
}
