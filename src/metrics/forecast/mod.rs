//! What comes: of single open deals, of months ahead, how well past forecasts did, and who should
//! act on what.
//!
//! What the metrics of this area share are the curves by which open deals are judged.

mod chain;
mod curves;
#[expect(clippy::module_inception, reason = "one file per metric, named by the metric")]
pub mod forecast;
pub mod forecast_backtest;
pub mod forecast_deals;
mod history;
mod horizons;
mod paces;
mod replay;
pub mod triggers;

use crate::relations::Dictionaries;
use crate::relations::customer_ids::text_of;

/// How forecasts are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecasting {
    /// Entries followed beyond a deal's age that its chances must rest on.
    pub entries_floor: i64,
    /// Calendar months ahead.
    pub months: u32,
    /// Whether deals that are yet to come count.
    pub new_deals: NewDeals,
    /// Simulated futures.
    pub draws: u32,
    /// Their seed.
    pub seed: u64,
    /// Past months' ends at which the forecast is tried.
    pub backtest_months: u32,
}

/// Whether deals that are yet to come count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewDeals {
    /// As many as came in the last twelve months.
    Expected,
    /// They do not.
    LeftOut,
}

impl Default for Forecasting {
    fn default() -> Self {
        Self {
            entries_floor: 30,
            months: 6,
            new_deals: NewDeals::Expected,
            draws: 1_000,
            seed: 1,
            backtest_months: 12,
        }
    }
}

/// When somebody should act.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Share of visits to a stage that are over when a deal is stalled in it.
    pub stalled_quantile: f64,
    /// Probability of being a customer below which one is silent.
    pub silent_p_alive: f64,
    /// The same of one of the highest tier.
    pub vip_p_alive: f64,
    /// So many of each kind are listed, the latest ones.
    pub list_max: usize,
    /// Open deals of the highest expected amount that are listed.
    pub hot_deals: usize,
    /// Days ahead in which that is expected.
    pub hot_days: i64,
    /// Share of what is expected by now below which a target is off pace.
    pub off_pace: f64,
}

impl Default for Thresholds {
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

/// The text of a deal's identifier of these words.
fn deal_text(high: i64, low: i64, dictionaries: &Dictionaries) -> String {
    text_of(high, low, &dictionaries.long_deals).unwrap_or_default()
}
