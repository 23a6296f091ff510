//! The sections `[forecast]` and `[triggers]`: what is expected of deals, and when somebody should act.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Config;
use super::places::Problems;

/// What is expected of open deals and of those to come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Forecast {
    /// A dimension by whose values chances are told apart, where there are enough deals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// Entries to a stage, followed longer than the deal has been in it, that its chances must rest
    /// on; where there are fewer, those of a wider group are taken.
    pub entries_floor: u32,
    /// How many calendar months ahead are forecast, 1 to 36.
    pub months: u32,
    /// Whether deals that are yet to come count.
    pub new_deals: NewDeals,
    /// How many futures are simulated, 100 to 100000; fewer where there are very many deals.
    pub draws: u32,
    /// Seed of these.
    pub seed: u64,
    /// At how many past months' ends the forecast is tried, 1 to 60.
    pub backtest_months: u32,
}

impl Default for Forecast {
    fn default() -> Self {
        Self {
            segment: None,
            entries_floor: 30,
            months: 6,
            new_deals: NewDeals::default(),
            draws: 1_000,
            seed: 1,
            backtest_months: 12,
        }
    }
}

/// Whether deals that are yet to come count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NewDeals {
    /// As many as came in the last twelve months, won as often and as soon.
    #[default]
    Expected,
    /// Only what is open is forecast.
    LeftOut,
}

/// When somebody should act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Triggers {
    /// A deal that is longer in its stage than this share of all visits is stalled.
    pub stalled_quantile: f64,
    /// A customer that still is one with less probability than this is silent.
    pub silent_p_alive: f64,
    /// The same of a customer of the highest tier, who is at risk.
    pub vip_p_alive: f64,
    /// So many of each kind are listed: those that crossed the threshold last.
    pub list_max: u32,
    /// How many open deals of the highest expected amount are listed.
    pub hot_deals: u32,
    /// Within how many days that is expected.
    pub hot_days: u32,
    /// A target is off pace below this share of what is expected by now.
    pub off_pace: f64,
}

impl Default for Triggers {
    fn default() -> Self {
        Self {
            stalled_quantile: 0.9,
            silent_p_alive: 0.2,
            vip_p_alive: 0.5,
            list_max: 1_000,
            hot_deals: 50,
            hot_days: 90,
            off_pace: 0.8,
        }
    }
}

/// Gathers what the types cannot refuse.
pub(super) fn check(config: &Config, problems: &mut Problems<'_>) {
    let (forecast, triggers) = (&config.forecast, &config.triggers);
    for (key, found, most) in [
        ("forecast.months", forecast.months, 36),
        ("forecast.backtest_months", forecast.backtest_months, 60),
        ("triggers.hot_days", triggers.hot_days, 36_525),
    ] {
        if !(1..=most).contains(&found) {
            problems.add(key, format!("expected 1 to {most}, found {found}"));
        }
    }
    if !(100..=100_000).contains(&forecast.draws) {
        let problem = format!("expected 100 to 100000, found {}", forecast.draws);
        problems.add("forecast.draws", problem);
    }
    for (key, share) in [
        ("stalled_quantile", triggers.stalled_quantile),
        ("silent_p_alive", triggers.silent_p_alive),
        ("vip_p_alive", triggers.vip_p_alive),
        ("off_pace", triggers.off_pace),
    ] {
        if !(0.0..=1.0).contains(&share) {
            let problem = format!("expected 0 to 1, found {share}");
            problems.add(&format!("triggers.{key}"), problem);
        }
    }
}
