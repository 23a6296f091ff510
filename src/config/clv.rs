//! The section `[clv]`: by which model customers are valued, and how far ahead.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::places::Problems;

/// Models of what customers will be worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Clv {
    /// The model by which single customers are valued; `clv_models` compares all.
    pub model: ClvModel,
    /// Unit of time of the models' parameters; no expectation depends on it.
    pub unit: ClvUnit,
    /// How many days ahead customers are valued; 365 days are always there, too.
    pub horizon_days: u32,
    /// Discount of what comes a year later: 0.1 means that it is worth 1/1.1.
    pub discount_rate: f64,
    /// Share of the amounts that counts as value, such as the contribution margin.
    pub margin: f64,
    /// So many days before `as_of` are held out to see how well a model fitted to those before
    /// foretells them.
    pub holdout_days: u32,
}

impl Default for Clv {
    fn default() -> Self {
        Self {
            model: ClvModel::default(),
            unit: ClvUnit::default(),
            horizon_days: 1_095,
            discount_rate: 0.1,
            margin: 1.0,
            holdout_days: 180,
        }
    }
}

/// A model of when customers buy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClvModel {
    /// One may stop after each purchase, the first too.
    #[default]
    MbgNbd,
    /// One may stop after each purchase but the first.
    BgNbd,
    /// One may stop at any time.
    ParetoNbd,
}

/// Unit of time of the models' parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClvUnit {
    /// Days.
    Day,
    /// Seven days.
    #[default]
    Week,
    /// A twelfth of 365.25 days.
    Month,
}

/// A century.
const DAYS_MAX: u32 = 36_525;

/// Gathers what the types cannot refuse.
pub(super) fn check(clv: &Clv, problems: &mut Problems<'_>) {
    for (key, days) in [("horizon_days", clv.horizon_days), ("holdout_days", clv.holdout_days)] {
        if !(1..=DAYS_MAX).contains(&days) {
            let problem = format!("expected 1 to {DAYS_MAX}, found {days}");
            problems.add(&format!("clv.{key}"), problem);
        }
    }
    for (key, value) in [("discount_rate", clv.discount_rate), ("margin", clv.margin)] {
        if !(0.0..=1.0).contains(&value) {
            problems.add(&format!("clv.{key}"), format!("expected 0 to 1, found {value}"));
        }
    }
}
