//! How forecasts and triggers are made, as the metrics are told.

use crate::config;
use crate::metrics::{Forecasting, NewDeals, Thresholds};

/// The section `[forecast]`.
pub(super) fn forecasting(forecast: &config::Forecast) -> Forecasting {
    Forecasting {
        entries_floor: i64::from(forecast.entries_floor),
        months: forecast.months,
        new_deals: match forecast.new_deals {
            config::NewDeals::Expected => NewDeals::Expected,
            config::NewDeals::LeftOut => NewDeals::LeftOut,
        },
        draws: forecast.draws,
        seed: forecast.seed,
        backtest_months: forecast.backtest_months,
    }
}

/// The section `[triggers]`.
pub(super) fn thresholds(triggers: &config::Triggers) -> Thresholds {
    Thresholds {
        stalled_quantile: triggers.stalled_quantile,
        silent_p_alive: triggers.silent_p_alive,
        vip_p_alive: triggers.vip_p_alive,
        list_max: triggers.list_max as usize,
        hot_deals: triggers.hot_deals as usize,
        hot_days: i64::from(triggers.hot_days),
        off_pace: triggers.off_pace,
    }
}
