//! Amounts in other currencies to the reporting one, while a deal is folded (G16).
//!
//! Every amount of a deal is converted as its event is applied, by the rate of the day that the
//! policy names, so that whatever comes out of the fold is in one currency. The day of the close is
//! known only when the deal has been folded, so such a deal is folded a second time; a deal without
//! another currency never is.
//!
//! Invariant: an amount without a rate is unknown, never zero and never in its own currency.

use super::machine::Event;
use crate::config::MoneyPolicy;
use crate::contract::{EventBatch, EventKind, NO_CODE};
use crate::money::{Currency, NO_AMOUNT, ONE, Rates, UNPRICED, by_rate};
use crate::time::{Calendar, Day, Instant};

/// What amounts are worth.
#[derive(Debug, Clone)]
pub struct Pricing {
    /// By the rate of which day.
    pub policy: MoneyPolicy,
    /// The reporting currency.
    pub base: Currency,
    /// Digits after the point of the amounts as they were read.
    pub scale: u8,
    /// By the code of each currency: its rates, or that it is the reporting currency itself.
    pub currencies: Vec<Worth>,
    /// The run's day, or the one of policy `constant`.
    pub day: Day,
    /// For the days of events and closes.
    pub calendar: Calendar,
}

/// What a currency is worth.
#[derive(Debug, Clone)]
pub enum Worth {
    /// It is the reporting currency.
    Base,
    /// By these rates; there may be none.
    Rates(Rates),
}

/// The currency of a deal's amounts, from event to event.
#[derive(Debug, Clone, Copy)]
pub struct Purse {
    /// Code of the latest currency given.
    currency: u32,
    /// The latest amount, as given.
    amount: i64,
    /// The day whose rates hold; of each event where there is none.
    day: Option<Day>,
    /// Amounts in the reporting currency that had to be rounded.
    pub inexact: u64,
}

impl Purse {
    /// The amount that an event gives the deal, in the currency noted here: its own, or where only
    /// the currency changes the deal's amount so far; [`NO_AMOUNT`] without either.
    fn value(&mut self, events: &EventBatch, row: usize, event: &Event) -> i64 {
        let code = events.currency.get(row).copied().unwrap_or(NO_CODE);
        let is_other = code != NO_CODE && code != self.currency;
        if is_other {
            self.currency = code;
        }
        if event.amount != NO_AMOUNT || event.kind == EventKind::Cleared {
            self.amount = event.amount;
        }
        if is_other { self.amount } else { event.amount }
    }
}

/// How an amount in another currency is converted.
#[derive(Debug, Clone, Copy)]
pub struct Conversion {
    /// Code of the currency.
    pub currency: u32,
    /// The day whose rate is asked for.
    pub day: Day,
    /// The rate, with the day from which it holds.
    pub rate: Option<(Day, i64)>,
}

impl Pricing {
    /// What to convert a deal's amounts by at first. Amounts before the first currency that its rows
    /// name are in that one.
    #[must_use]
    pub fn purse(&self, events: &EventBatch, rows: &[u32]) -> Purse {
        let code = |row: &u32| events.currency.get(*row as usize).copied();
        let currency = rows.iter().filter_map(code).find(|code| *code != NO_CODE);
        let day = (self.policy != MoneyPolicy::AtEvent).then_some(self.day);
        let currency = currency.unwrap_or(NO_CODE);
        Purse { currency, amount: NO_AMOUNT, day, inexact: 0 }
    }

    /// What to convert them by once the close is known.
    #[must_use]
    pub fn purse_of_close(&self, events: &EventBatch, rows: &[u32], closed: Instant) -> Purse {
        Purse { day: Some(self.calendar.day(closed)), ..self.purse(events, rows) }
    }

    /// Whether a deal with these rows has to be folded again when its close is known.
    #[must_use]
    pub fn waits_for_close(&self, events: &EventBatch, rows: &[u32]) -> bool {
        self.policy == MoneyPolicy::AtClose && self.is_foreign(events, rows)
    }

    /// Whether any of these rows is in another currency than the reporting one.
    #[must_use]
    pub fn is_foreign(&self, events: &EventBatch, rows: &[u32]) -> bool {
        let code = |row: &u32| events.currency.get(*row as usize).copied().unwrap_or(NO_CODE);
        rows.iter().any(|row| !matches!(self.worth(code(row)), Worth::Base))
    }

    /// The amount of an event in minor units of the reporting currency; [`UNPRICED`] without a
    /// rate. `row` is where it comes from; events of a deal are given in order. An event that changes
    /// the currency only changes what the amount so far is worth.
    #[must_use]
    pub fn price(&self, events: &EventBatch, row: usize, event: &Event, purse: &mut Purse) -> i64 {
        if self.policy == MoneyPolicy::None {
            return event.amount;
        }
        let amount = purse.value(events, row, event);
        if amount == NO_AMOUNT {
            return amount;
        }
        let worth = match self.worth(purse.currency) {
            Worth::Base => by_rate(amount, self.scale, ONE, &self.base).map(|(minor, is_exact)| {
                purse.inexact += u64::from(!is_exact);
                minor
            }),
            Worth::Rates(rates) => {
                let rate = rates.on(self.rate_day(event, purse));
                rate.and_then(|rate| by_rate(amount, self.scale, rate, &self.base)).map(|w| w.0)
            }
        };
        worth.unwrap_or(UNPRICED)
    }

    /// An amount as given, in this currency, in minor units of the reporting one by the rate of a
    /// day; `None` without a rate.
    #[must_use]
    pub fn worth_on(&self, amount: i64, currency: u32, day: Day) -> Option<i64> {
        let rate = match self.worth(currency) {
            Worth::Base => ONE,
            Worth::Rates(rates) => rates.on(day)?,
        };
        by_rate(amount, self.scale, rate, &self.base).map(|(minor, _)| minor)
    }

    /// What the amount so far is worth by the rates of an event that is about to be priced; `None`
    /// where a deal has but one rate for all of its events, or there is none.
    #[must_use]
    pub fn worth_again(&self, event: &Event, purse: &Purse) -> Option<i64> {
        if self.policy != MoneyPolicy::AtEvent || purse.amount == NO_AMOUNT {
            return None;
        }
        let Worth::Rates(rates) = self.worth(purse.currency) else { return None };
        let rate = rates.on(self.rate_day(event, purse))?;
        by_rate(purse.amount, self.scale, rate, &self.base).map(|(minor, _)| minor)
    }

    /// As [`Self::price`], but how it is converted; `None` where it is not.
    #[must_use]
    pub fn conversion(
        &self,
        events: &EventBatch,
        row: usize,
        event: &Event,
        purse: &mut Purse,
    ) -> Option<Conversion> {
        if self.policy == MoneyPolicy::None || purse.value(events, row, event) == NO_AMOUNT {
            return None;
        }
        let Worth::Rates(rates) = self.worth(purse.currency) else { return None };
        let day = self.rate_day(event, purse);
        Some(Conversion { currency: purse.currency, day, rate: rates.dated(day) })
    }

    fn rate_day(&self, event: &Event, purse: &Purse) -> Day {
        purse.day.unwrap_or_else(|| self.calendar.day(event.time))
    }

    fn worth(&self, code: u32) -> &Worth {
        self.currencies.get(code as usize).unwrap_or(&Worth::Base)
    }
}
