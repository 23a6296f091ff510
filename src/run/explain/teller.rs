//! What each event does to a deal, noted while the deal is folded.

use crate::config::{MoneyPolicy, Resolved};
use crate::contract::{EventBatch, NO_STAGE};
use crate::fold::machine::{Event, Machine, Visit};
use crate::fold::pricing::Purse;
use crate::fold::{self, Hearing, Move, Outcome, Settings};
use crate::money::{self, NO_AMOUNT, RATE_SCALE, UNPRICED};
use crate::source::Names;
use crate::time::day_text;

/// What telling needs to look up.
pub(super) struct Facts<'a> {
    pub(super) settings: &'a Settings<'a>,
    pub(super) resolved: &'a Resolved,
    pub(super) events: &'a EventBatch,
    /// Input, file and row of each event.
    pub(super) places: Vec<String>,
    pub(super) currencies: Names,
}

impl Facts<'_> {
    pub(super) fn place(&self, row: u32) -> String {
        self.places.get(row as usize).cloned().unwrap_or_default()
    }

    pub(super) fn stage(&self, code: u16) -> String {
        if code == NO_STAGE {
            return "no stage".into();
        }
        let (names, finals) = self.settings.stages.finish();
        finals
            .get(usize::from(code))
            .and_then(|c| names.get(usize::from(*c)))
            .cloned()
            .unwrap_or_else(|| format!("stage {code}"))
    }

    /// An amount as it was read, without the zeros that it was read with in vain.
    fn native(&self, amount: i64) -> String {
        let (read, shown) = (self.resolved.native.scale, self.resolved.currency.scale);
        let mut text = money::to_text(amount, read);
        for _ in shown.max(1)..read {
            if text.ends_with('0') {
                text.pop();
            }
        }
        text
    }

    pub(super) fn amount(&self, amount: i64) -> String {
        let currency = &self.resolved.currency;
        if amount == NO_AMOUNT {
            "unknown".into()
        } else {
            format!("{} {}", money::to_text(amount, currency.scale), currency.code)
        }
    }
}

/// Notes what each event does while the deal is folded.
pub(super) struct Teller<'a> {
    facts: &'a Facts<'a>,
    purse: Option<Purse>,
    /// Visits, deal and dimensions before the event.
    before: (usize, fold::deal::Deal, Vec<u32>),
    /// Row, event and what it does.
    pub(super) lines: Vec<(u32, Event, String)>,
    /// The row that gave each dimension its value.
    pub(super) given: Vec<Option<u32>>,
}

impl<'a> Teller<'a> {
    pub(super) fn new(facts: &'a Facts<'a>) -> Self {
        let (lines, given) = (Vec::new(), vec![None; facts.settings.dimensions]);
        Self { facts, purse: None, before: Default::default(), lines, given }
    }

    fn arrival(&self, visit: &Visit) -> String {
        let to = self.facts.stage(visit.stage);
        let how = match visit.arrival {
            Move::Created => "begins in",
            Move::Advanced => "advances to",
            Move::Skipped => "skips forward to (G10)",
            Move::Regressed => "goes back to (G9)",
            Move::Won => "is won in",
            Move::Lost => "is lost in",
            Move::Reopened => "is re-opened in (G8)",
            Move::Unordered => "moves outside the order to (G6)",
            Move::Handoff => "comes from another pipeline to",
            Move::Deleted | Move::Still => "moves to",
        };
        format!("{how} {to}, visit {} to it", visit.visit_no)
    }

    /// How the amount was converted, where it was given in another currency.
    fn conversion(&mut self, row: usize, given: &Event, priced: &Event) -> Option<String> {
        let (pricing, purse) = (self.facts.settings.pricing?, self.purse.as_mut()?);
        if pricing.policy == MoneyPolicy::None {
            let code = *self.facts.events.currency.get(row)?;
            let foreign = self.facts.currencies.get(code)?.to_uppercase();
            let base = &self.facts.resolved.currency.code;
            return (foreign != *base).then(|| {
                format!(
                    "its currency is {foreign}, not {base}, and [money] policy = \"none\" \
                     converts nothing: a run refuses it (G16)"
                )
            });
        }
        let conversion = pricing.conversion(self.facts.events, row, given, purse)?;
        let amount = self.facts.native(given.amount);
        let currency = self.facts.currencies.get(conversion.currency).unwrap_or("?");
        let day = day_text(conversion.day);
        Some(match conversion.rate {
            Some((from, rate)) if priced.amount != UNPRICED => {
                let rate = money::to_text(rate, RATE_SCALE);
                let rate = rate.trim_end_matches('0').trim_end_matches('.');
                let of = if from == conversion.day {
                    String::new()
                } else {
                    format!(", which is that of {}", day_text(from))
                };
                format!("given as {amount} {currency}, at {rate} of {day}{of}")
            }
            _ => format!("given as {amount} {currency}, which has no rate on {day} (G16)"),
        })
    }

    fn said(&self, machine: &Machine<'_>) -> Vec<String> {
        let (visits, deal, _) = &self.before;
        let now = &machine.deal;
        let mut said = Vec::new();
        match machine.visits.last() {
            Some(visit) if machine.visits.len() > *visits => {
                said.push(self.arrival(visit));
                let is_won = [deal.outcome, now.outcome] == [Outcome::Won; 2];
                if is_won && visit.arrival != Move::Won {
                    said.push("stays won, as in the other pipeline (G8)".into());
                }
            }
            _ if now.no_ops > deal.no_ops => {
                said.push("no change of stage, attributes only (G4)".to_owned());
            }
            _ if now.pipeline != deal.pipeline => {
                said.push("goes to another pipeline (G6)".to_owned());
            }
            _ if now.deleted != deal.deleted => said.push("deletes the deal (G17)".into()),
            _ if now.after_deletion > deal.after_deletion => {
                said.push("after the deletion, attributes only".into());
            }
            _ => said.push("changes attributes".into()),
        }
        if now.amount != deal.amount {
            said.push(format!("amount now {}", self.facts.amount(now.amount)));
        }
        if now.pushes > deal.pushes {
            said.push(format!("expected close pushed to {}", day_text(now.expected_close)));
        }
        said
    }
}

impl Hearing for Teller<'_> {
    fn begin(&mut self, purse: Option<Purse>) {
        self.purse = purse;
        self.lines.clear();
        self.given.fill(None);
    }

    fn before(&mut self, machine: &Machine<'_>) {
        self.before = (machine.visits.len(), machine.deal.clone(), machine.dimensions.clone());
    }

    fn after(&mut self, machine: &Machine<'_>, row: usize, given: &Event, priced: &Event) {
        let mut said = self.said(machine);
        said.extend(self.conversion(row, given, priced));
        let changed = machine.dimensions.iter().zip(&self.before.2);
        for (from, (now, before)) in self.given.iter_mut().zip(changed) {
            if now != before {
                *from = Some(row as u32);
            }
        }
        self.lines.push((row as u32, *given, said.join("; ")));
    }
}
