//! What finishes and relations are told of the configuration's rules about customers.

use crate::config::{self, ClvModel, ClvUnit, Config};
use crate::metrics::{self, CustomerRules, TierBy, TierRule, Tiering};
use crate::relations::Habits;
use crate::stats::btyd::Model;

/// How customers are valued, as the metrics are told.
pub(super) fn valuation(clv: &config::Clv) -> metrics::Valuation {
    metrics::Valuation {
        model: match clv.model {
            ClvModel::MbgNbd => Model::MbgNbd,
            ClvModel::BgNbd => Model::BgNbd,
            ClvModel::ParetoNbd => Model::ParetoNbd,
        },
        days_per_unit: match clv.unit {
            ClvUnit::Day => 1.0,
            ClvUnit::Week => 7.0,
            ClvUnit::Month => 365.25 / 12.0,
        },
        horizon_days: clv.horizon_days,
        discount_rate: clv.discount_rate,
        margin: clv.margin,
        holdout_days: clv.holdout_days,
    }
}

/// The rules by which customers are judged; amounts have so many minor digits.
pub(super) fn customers(config: &Config, money_scale: u8) -> CustomerRules {
    let (own, tiers) = (&config.customers, &config.tiers);
    let minor = 10_i64.pow(money_scale.into());
    let rule = |rule: &config::TierRule| TierRule {
        amount_min: rule.amount_min.map(|whole| i64::from(whole) * minor),
        purchase_days_min: rule.purchase_days_min.map(i64::from),
        silent_days_max: rule.silent_days_max.map(i64::from),
    };
    CustomerRules {
        retention_brackets: wide(&own.retention_brackets),
        repurchase_days: wide(&own.repurchase_days),
        silent_days: own.silent_days.map(i64::from),
        alive_min: own.alive_min,
        survey_days: own.survey_days.into(),
        tiers: Tiering {
            by: match tiers.by {
                config::TierBy::Clv => TierBy::Clv,
                config::TierBy::Rfm => TierBy::Rfm,
                config::TierBy::Amount => TierBy::Amount,
                config::TierBy::Rules => TierBy::Rules(rule(&tiers.vip), rule(&tiers.regular)),
            },
            vip_share: tiers.vip_share,
            regular_share: tiers.regular_share,
            previous: tiers.previous,
        },
    }
}

/// What the columns of the relations about customers depend on.
pub(super) fn habits(config: &Config) -> Habits {
    Habits {
        holdout_days: config.clv.holdout_days,
        brackets: wide(&config.customers.retention_brackets),
        horizons: wide(&config.customers.repurchase_days),
        survey_days: config.customers.survey_days.into(),
        previous: config.tiers.previous,
    }
}

fn wide(numbers: &[u32]) -> Vec<i64> {
    numbers.iter().copied().map(i64::from).collect()
}
