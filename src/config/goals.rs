//! The sections `[commission]` and `[kpi.NAME]`: what owners earn by the tiers of their targets, and
//! what the columns of finished tables are to reach.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Config;
use super::places::Problems;
use super::resolve::did_you_mean;
use super::validate::table_names;
use crate::metrics::REGISTRY;
use crate::table::{Dtype, Role};
use crate::time::Period;

/// What owners earn for what they win.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Commission {
    /// The length of period in which amounts add up to a tier: month, quarter or year, or a fiscal
    /// one.
    pub period: Period,
    /// From which share of the owner's target on which rate is paid; without any the table
    /// `commission` is left out.
    pub tiers: Vec<Tier>,
    /// What a tier that is reached changes: `marginal`, what is above its beginning, or `whole`,
    /// everything.
    pub method: CommissionMethod,
}

impl Default for Commission {
    fn default() -> Self {
        let method = CommissionMethod::default();
        Self { period: Period::Quarter, tiers: Vec::new(), method }
    }
}

/// From which share of a target on which rate holds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Share of the target, such as 1.0; the first tier is from 0.
    pub from: f64,
    /// What is earned of an amount, such as 0.05.
    pub rate: f64,
}

/// What a tier that is reached changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CommissionMethod {
    /// What is above its beginning earns its rate.
    #[default]
    Marginal,
    /// Everything earns its rate.
    Whole,
}

/// What a column of a finished table is to reach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kpi {
    /// The table.
    pub table: String,
    /// Its column, a number.
    pub column: String,
    /// Which of its rows: values of key columns as text, such as `slice = "all"`; all rows where it is
    /// empty.
    #[serde(default, rename = "where")]
    pub rows: BTreeMap<String, String>,
    /// What is to be reached; of amounts in the currency, of shares between 0 and 1.
    pub target: f64,
    /// Whether more or less is better.
    #[serde(default)]
    pub direction: Direction,
    /// So far from the target, as a share of it, a value still is `near`.
    #[serde(default = "tolerance")]
    pub tolerance: f64,
}

/// A tenth.
fn tolerance() -> f64 {
    0.1
}

/// Whether more or less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The target or more is met.
    #[default]
    AtLeast,
    /// The target or less is met.
    AtMost,
}

/// Parts of a whole: rates have at most six digits.
const MILLION: f64 = 1e6;

/// A share in millionths; `None` where it has more digits, or is not between zero and `most`.
#[must_use]
pub fn millionths(share: f64, most: f64) -> Option<i64> {
    let parts = (share * MILLION).round();
    let is_exact = (share * MILLION - parts).abs() < 1e-6;
    ((0.0..=most).contains(&share) && is_exact).then_some(parts as i64)
}

/// The greatest share of a target that a tier may begin with.
pub const FROM_MAX: f64 = 1_000.0;

/// Gathers what the types cannot refuse.
pub(super) fn check(config: &Config, problems: &mut Problems<'_>) {
    check_commission(&config.commission, problems);
    for (name, kpi) in &config.kpi {
        check_kpi(&format!("kpi.{name}"), kpi, config, problems);
    }
}

fn check_commission(commission: &Commission, problems: &mut Problems<'_>) {
    if matches!(commission.period, Period::All | Period::Day | Period::Week) {
        problems.add("commission.period", "expected a month, a quarter, a year or a fiscal one");
    }
    let tiers = &commission.tiers;
    let key = "commission.tiers";
    let is_read = |tier: &Tier| {
        millionths(tier.from, FROM_MAX).is_some() && millionths(tier.rate, 1.0).is_some()
    };
    if !tiers.iter().all(is_read) {
        let problem = "from and rate are shares of at most six digits after the point, a rate from \
                       0 to 1, a tier from 0 to 1000 times the target";
        problems.add(key, problem);
    }
    if tiers.first().is_some_and(|first| first.from > 0.0) {
        problems.add(key, "the first tier has from = 0");
    }
    let pairs = || tiers.iter().zip(tiers.iter().skip(1));
    if pairs().any(|(before, own)| before.from >= own.from) {
        problems.add(key, "tiers come in ascending order of from, no two of the same");
    }
    let falls = pairs().any(|(before, own)| before.rate > own.rate);
    if commission.method == CommissionMethod::Whole && falls {
        let problem = "with method = \"whole\" no rate may fall: who wins more would earn less";
        problems.add(key, problem);
    }
}

fn check_kpi(key: &str, kpi: &Kpi, config: &Config, problems: &mut Problems<'_>) {
    if !kpi.target.is_finite() {
        problems.add(&format!("{key}.target"), "expected a number");
    }
    if !(0.0..=1.0).contains(&kpi.tolerance) {
        problems.add(&format!("{key}.tolerance"), "expected a share from 0 to 1");
    }
    let known = table_names(config);
    if !known.contains(&kpi.table.as_str()) || kpi.table == KPI_STATUS {
        let meant = did_you_mean(&kpi.table, known.iter().copied());
        problems.add(&format!("{key}.table"), format!("unknown table {:?}{meant}", kpi.table));
        return;
    }
    // The columns of one's own metrics are known when their SQL is read.
    let Some(metric) = REGISTRY.iter().find(|metric| metric.name == kpi.table) else { return };
    let is_number = |dtype| matches!(dtype, Dtype::Int | Dtype::Float | Dtype::Money);
    let numbers = metric.output.iter().filter(|c| c.role == Role::Measure && is_number(c.dtype));
    let numbers: Vec<&str> = numbers.map(|column| column.name.as_ref()).collect();
    if !numbers.contains(&kpi.column.as_str()) {
        let meant = did_you_mean(&kpi.column, numbers.iter().copied());
        let problem = format!("{:?} is no number of the table {}{meant}", kpi.column, kpi.table);
        problems.add(&format!("{key}.column"), problem);
    }
    let keys = metric.output.iter().filter(|c| c.role == Role::Key).map(|c| c.name.as_ref());
    let dimensions = config.dimensions.columns.iter().map(String::as_str);
    let common = ["slice", "period", "period_start"];
    let keys: Vec<&str> = common.into_iter().chain(dimensions).chain(keys).collect();
    for column in kpi.rows.keys().filter(|column| !keys.contains(&column.as_str())) {
        let meant = did_you_mean(column, keys.iter().copied());
        let problem = format!("{column:?} is no key of the table {}{meant}", kpi.table);
        problems.add(&format!("{key}.where"), problem);
    }
}

/// The table of what they come to, which none can be about.
const KPI_STATUS: &str = "kpi_status";

#[cfg(test)]
mod tests {
    use super::millionths;

    #[test]
    fn shares_of_more_than_six_digits_are_none() {
        let shares = [0.0, 0.05, 0.1, 1.0, 0.000_001, 0.333_333, 0.000_000_1, 1.5, -0.1, f64::NAN];
        let expected = [0, 50_000, 100_000, 1_000_000, 1, 333_333].map(Some);
        let expected: Vec<Option<i64>> = expected.into_iter().chain([None; 4]).collect();
        assert_eq!(shares.map(|share| millionths(share, 1.0)).to_vec(), expected);
    }
}
