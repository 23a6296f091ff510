//! Which rates hold for a run's amounts, and what is said where there are none (G16).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use super::tables::Given;
use crate::config::{MoneyPolicy, Resolved};
use crate::error::{Error, Fault};
use crate::fold::pricing::{Pricing, Worth};
use crate::money::{ONE, UNPRICED, by_rate};
use crate::quality::{Counts, Ledger, Rule};
use crate::source::{FxRates, Interners, PaymentSource, Payments, Spend, SpendSource, SpentIn};
use crate::time::{Day, Instant};

/// How the deals' amounts are converted; `None` where all of them are as they are to be.
pub(super) fn of_deals(
    resolved: &Resolved,
    names: &Interners,
    rates: &FxRates,
    as_of: Instant,
) -> Option<Pricing> {
    let policy = resolved.config.money.policy;
    let names = names.currency.freeze();
    if policy == MoneyPolicy::None && names.bound() == 0 {
        return None;
    }
    let worth = |(_, name): (u32, &str)| {
        let name = name.to_uppercase();
        if name == resolved.currency.code {
            return Worth::Base;
        }
        Worth::Rates(rates.rates.get(&name).cloned().unwrap_or_default())
    };
    Some(Pricing {
        policy,
        base: resolved.currency.clone(),
        scale: resolved.native.scale,
        currencies: names.iter().map(worth).collect(),
        day: day(resolved, as_of),
        calendar: resolved.calendar,
    })
}

/// The day whose rates hold where the policy names one.
fn day(resolved: &Resolved, as_of: Instant) -> Day {
    resolved.constant_day.unwrap_or_else(|| resolved.calendar.day(as_of))
}

/// How spend is converted: by the rate of its own day, unless the policy names one.
pub(super) struct Spending<'a> {
    pub(super) resolved: &'a Resolved,
    pub(super) rates: &'a FxRates,
    pub(super) as_of: Instant,
    /// The run's currencies, which those of the spend are added to.
    pub(super) names: &'a Interners,
}

impl Spending<'_> {
    /// Reads all spend, with the number of rows in another currency where none is converted.
    pub(super) fn read(
        &self,
        source: SpendSource,
        ledger: &Ledger,
    ) -> Result<(Option<Spend>, u64), Error> {
        let resolved = self.resolved;
        let foreign = AtomicU64::new(0);
        let price = |spent: &SpentIn<'_>| self.price(spent, &foreign);
        let spend = source.read(resolved.calendar, &resolved.native, &price, self.as_of, ledger)?;
        Ok((spend, foreign.into_inner()))
    }

    /// Reads all payments, with the number of rows in another currency where none is converted.
    pub(super) fn read_payments(
        &self,
        source: PaymentSource,
        ledger: &Ledger,
    ) -> Result<(Option<Payments>, u64), Error> {
        let Spending { resolved, names, as_of, .. } = *self;
        let foreign = AtomicU64::new(0);
        let price = |spent: &SpentIn<'_>| self.price(spent, &foreign);
        let (calendar, native) = (resolved.calendar, &resolved.native);
        let payments = source.read(calendar, native, &price, as_of, (names, ledger))?;
        Ok((payments, foreign.into_inner()))
    }

    pub(super) fn price(&self, spent: &SpentIn<'_>, foreign: &AtomicU64) -> i64 {
        let Spending { resolved, rates, as_of, names } = *self;
        let currency = spent.currency.map(str::to_uppercase);
        if let Some(name) = &currency {
            // More names than 32 bits can number are refused when the deals are read.
            let _ = names.currency.intern(name);
        }
        let other = currency.filter(|currency| *currency != resolved.currency.code);
        let day = match resolved.config.money.policy {
            MoneyPolicy::None => {
                foreign.fetch_add(u64::from(other.is_some()), Ordering::Relaxed);
                return spent.amount;
            }
            MoneyPolicy::AtClose | MoneyPolicy::AtEvent => spent.day,
            MoneyPolicy::AtAsOf | MoneyPolicy::Constant => day(resolved, as_of),
        };
        let rate = match other {
            None => Some(ONE),
            Some(currency) => rates.rates.get(&currency).and_then(|rates| rates.on(day)),
        };
        let worth = |rate| by_rate(spent.amount, resolved.native.scale, rate, &resolved.currency);
        rate.and_then(worth).map_or(UNPRICED, |(minor, _)| minor)
    }
}

/// How many deals and rows are in another currency where none is converted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Foreign {
    pub(super) deals: u64,
    pub(super) spend: u64,
    pub(super) payments: u64,
    /// Targets and contracts.
    pub(super) tables: u64,
}

/// Every currency that deals or spend name.
fn currencies(names: &Interners) -> BTreeSet<String> {
    names.currency.freeze().iter().map(|(_, name)| name.to_uppercase()).collect()
}

/// Refuses amounts in other currencies where none is converted, and counts the currencies that have
/// no rate.
pub(super) fn judge(
    resolved: &Resolved,
    names: &Interners,
    deals: u64,
    given: &Given,
    ledger: &Ledger,
) -> Result<(), Error> {
    refuse_mixed(resolved, names, Foreign { deals, ..given.foreign })?;
    record_missing(resolved, names, &given.rates, ledger);
    Ok(())
}

/// Refuses amounts in other currencies where none is converted: their sums would mean nothing.
fn refuse_mixed(resolved: &Resolved, names: &Interners, foreign: Foreign) -> Result<(), Error> {
    let Foreign { deals, spend, payments, tables } = foreign;
    let all = deals + spend + payments + tables;
    if resolved.config.money.policy != MoneyPolicy::None || all == 0 {
        return Ok(());
    }
    let base = &resolved.currency.code;
    let known = currencies(names);
    let others: Vec<&str> =
        known.iter().filter(|name| *name != base).map(String::as_str).take(NAMED_MAX).collect();
    let given = if resolved.inputs.contains_key("targets") { "targets" } else { "contracts" };
    let (found, input) = match (deals, spend, payments) {
        (0, 0, 0) => (format!("{tables} rows of targets and contracts"), given),
        (0, 0, payments) => (format!("{payments} payments"), "payments"),
        (0, spend, _) => (format!("{spend} rows of spend"), "spend"),
        (deals, ..) => (format!("{deals} deals"), "deal_events"),
    };
    let file = resolved.inputs.get(input).map(|i| i.path.clone()).unwrap_or_default();
    let listed = if others.is_empty() { String::new() } else { format!(": {}", others.join(", ")) };
    Err(Error::Faults(vec![Fault {
        file,
        place: "column \"currency\"".into(),
        problem: format!("{found} in other currencies than {base}{listed}"),
        hint: format!(
            "say how to convert them: [money] policy with [inputs.fx_rates]; if all are in one \
             currency, say so: [money] currency (now {base})"
        ),
    }]))
}

/// So many names of currencies in one message.
const NAMED_MAX: usize = 5;

/// Counts the currencies that have no rate at all.
fn record_missing(resolved: &Resolved, names: &Interners, rates: &FxRates, ledger: &Ledger) {
    let Some(input) = rates.inputs.first() else { return };
    let known = currencies(names);
    let has_rate = |name: &&String| {
        **name == resolved.currency.code || rates.rates.contains_key(name.as_str())
    };
    let mut counts = Counts::default();
    for name in known.iter().filter(|name| !has_rate(name)) {
        counts.add(Rule::CurrenciesWithoutRate, 1);
        ledger.mention(Rule::CurrenciesWithoutRate, &input.name, name, 0);
    }
    ledger.record(&input.name, &counts);
}
