//! One deal told as text: its events in the order they are folded, each with its place and what it
//! does, then its visits, its outcome and its dimensions.

use std::fmt::Write;

use super::Known;
use super::teller::{Facts, Teller};
use crate::config::{Merged, Resolved, Ties};
use crate::contract::{EventBatch, Id, NO_CODE, NO_STAGE};
use crate::fold::machine::{Event, Machine};
use crate::fold::{self, DealRow, Followed, Outcome, Settings, Tally, merged, order};
use crate::quality::Ledger;
use crate::relations::deals::HISTORY_QUALITY;
use crate::relations::visits::MOVES;
use crate::run::focus::Focus;
use crate::source::{DealSource, Interners, Merges, Names};
use crate::time::{Instant, NO_DAY, NO_INSTANT, day_text, instant_text};

/// The rows of the deals that are told of.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) events: &'a EventBatch,
    /// The first row of each unit.
    pub(super) units: &'a [(usize, usize)],
    /// The deal that each event was of, where some are united.
    pub(super) own: &'a [Id],
}

/// The story while it is told.
pub(super) struct Story<'a> {
    text: String,
    facts: Facts<'a>,
    rows: Rows<'a>,
    owners: Names,
    customers: Names,
    dimensions: Vec<(String, Names)>,
}

impl<'a> Story<'a> {
    pub(super) fn new(
        settings: &'a Settings<'a>,
        resolved: &'a Resolved,
        rows: Rows<'a>,
        source: &DealSource,
        names: &Interners,
    ) -> Self {
        let Rows { events, units, .. } = rows;
        let located: Vec<(usize, u32)> =
            (0..events.len()).map(|row| fold::locate(units, events, row as u32)).collect();
        let place = |(input, file, row): (String, std::path::PathBuf, u64)| {
            format!("{input}: {} row {}", file.display(), row + 1)
        };
        let places = source.locate(&located).into_iter().map(place).collect();
        let currencies = names.currency.freeze();
        let facts = Facts { settings, resolved, events, places, currencies };
        let frozen = names.dimensions.iter().map(|d| d.freeze());
        Self {
            text: String::new(),
            facts,
            rows,
            owners: names.owner.freeze(),
            customers: names.customer.freeze(),
            dimensions: source.dimensions.iter().cloned().zip(frozen).collect(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn line(&mut self, line: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    /// The rows of the deal that were kept out.
    pub(super) fn refused(&mut self, ledger: &Ledger, deal: &str) {
        for (input, rows) in ledger.quarantined() {
            for row in rows.iter().filter(|r| r.deal_id.as_deref() == Some(deal)) {
                let (rule, file) = (row.rule, row.file.display());
                let line = format!("kept out by rule {rule}: {input}: {file} row {}", row.row + 1);
                self.line(&line);
            }
        }
    }

    /// Says which merges the deals asked for are in.
    pub(super) fn merges(&mut self, merges: &Merges, names: &Interners, asked: &[u64]) {
        let names = names.deal.freeze();
        let name = |deal| names.text(deal).unwrap_or_default();
        let what = match merges.policy() {
            Merged::Union => "their events are told together",
            Merged::Drop => "counts no more",
        };
        for (loser, merge) in merges.iter() {
            if [loser, merge.winner].iter().any(|deal| asked.contains(&deal.hash())) {
                let at = match merge.at {
                    NO_INSTANT => String::new(),
                    at => format!(" at {}", instant_text(at)),
                };
                let (loser, winner) = (name(loser), name(merge.winner));
                self.line(&format!("deal {loser} was merged into deal {winner}{at}: {what} (G17)"));
            }
        }
    }

    /// Tells of one deal by its ordered rows; gives what is needed to find it in the tables, where
    /// it counts.
    pub(super) fn tell(&mut self, rows: &[u32]) -> Option<(Focus, Known)> {
        let settings = self.facts.settings;
        let events = self.facts.events;
        let is_late =
            |row: &u32| events.time.get(*row as usize).is_some_and(|t| *t > settings.as_of);
        let (late, early): (Vec<u32>, Vec<u32>) = rows.iter().copied().partition(is_late);
        let Rows { units, own, .. } = self.rows;
        let mut counted = early.clone();
        if let Some(merges) = settings.merges {
            merged::keep(merges, events, own, &mut counted, &mut Tally::default());
        }
        let is_left_out = counted.is_empty() && !early.is_empty();
        let mut kept = if is_left_out { early.clone() } else { counted.clone() };
        let noticed = order::deduplicate(events, &mut kept, |row| {
            settings.telling.input_of(units, row as usize)
        });
        let is_rejected = noticed.ties > 0 && settings.ties == Ties::Reject;
        if is_rejected {
            self.line(
                "kept out of every table by rule tied_deals: ties = \"reject\" (G2); otherwise:",
            );
        }
        let mut teller = Teller::new(&self.facts);
        let followed = fold::follow((events, own), units, &kept, settings, &mut teller);
        let Teller { lines, given, .. } = teller;
        self.line("events, in the order they are folded:");
        let merged: Vec<u32> = match is_left_out {
            true => Vec::new(),
            false => early.iter().copied().filter(|row| !counted.contains(row)).collect(),
        };
        self.event_lines(&early, &kept, &merged, lines);
        for row in late {
            self.event_line(row, "after as_of, does not exist yet (G1)");
        }
        self.compared(&followed);
        self.visits(&followed.machine);
        if is_left_out {
            self.line("outcome: merged, left out of every table but the ledger (G17)");
            return self.booked(&followed, &kept);
        }
        let Some(row) = self.ending(&followed) else { return self.booked(&followed, &kept) };
        let mut known = self.known(&followed.machine, &given);
        if let Some(customer) = self.customers.text(row.deal.customer) {
            known.entry("customer_id".into()).or_insert((customer, String::new()));
        }
        (!is_rejected).then_some(())?;
        let customer = row.deal.customer;
        let customer = (!customer.is_none()).then(|| customer.hash());
        Some((Focus { deal: row.id.hash(), customer }, known))
    }

    /// What is needed to find a deal in the ledger that is in no other table.
    fn booked(&self, followed: &Followed<'_>, rows: &[u32]) -> Option<(Focus, Known)> {
        let first = rows.first().and_then(|row| self.facts.events.deal.get(*row as usize))?;
        let is_booked = followed.is_told && followed.machine.deal.ever_won;
        is_booked.then(|| (Focus { deal: first.hash(), customer: None }, Known::new()))
    }

    /// What was said of each row, and of those that nothing was said of.
    fn event_lines(
        &mut self,
        early: &[u32],
        kept: &[u32],
        merged: &[u32],
        lines: Vec<(u32, Event, String)>,
    ) {
        const DUPLICATE: &str = "duplicate, not counted again (G3)";
        const MERGED: &str = "of a deal that was merged, does not count (G17)";
        let is_plain = self.facts.settings.telling.is_plain();
        let mut lines = lines.into_iter().peekable();
        for row in early {
            if !kept.contains(row) {
                self.event_line(*row, if merged.contains(row) { MERGED } else { DUPLICATE });
            } else if is_plain && let Some((_, event, said)) = lines.next() {
                self.told_line(&event, *row, &said);
            }
        }
        if is_plain {
            return;
        }
        if lines.peek().is_none() {
            self.line("  nothing says when that happened; it counts nowhere");
        }
        let mut silent: Vec<u32> = kept.to_vec();
        for (row, event, said) in lines {
            silent.retain(|other| *other != row);
            self.told_line(&event, row, &said);
        }
        if let Some(first) = silent.first() {
            let place = self.facts.place(*first);
            self.line(&format!("  rows that say nothing new: {}, such as {place}", silent.len()));
        }
    }

    fn event_line(&mut self, row: u32, verdict: &str) {
        let event = fold::event(self.facts.events, row as usize);
        self.told_line(&event, row, verdict);
    }

    fn told_line(&mut self, event: &Event, row: u32, verdict: &str) {
        let stage = event.stage;
        let name =
            if stage == NO_STAGE { String::new() } else { format!(" {}", self.facts.stage(stage)) };
        let place = self.facts.place(row);
        let kind = format!("{:?}", event.kind).to_lowercase();
        let at = instant_text(event.time);
        self.line(&format!("  {at}  {kind}{name}: {verdict}\n      from {place}"));
    }

    /// What comparing rows showed.
    fn compared(&mut self, followed: &Followed<'_>) {
        if self.facts.settings.telling.is_plain() {
            return;
        }
        let compared = &followed.compared;
        for (n, said) in [
            (
                compared.history_disagrees,
                "the table of current deals says otherwise (history_disagrees)",
            ),
            (
                compared.unlogged_outcomes,
                "its outcome is in the table of current deals only (unlogged_outcomes)",
            ),
            (
                compared.undated_outcomes,
                "it is won or lost by the table of current deals, which does not say when \
                 (undated_outcomes)",
            ),
            (compared.unlogged_deals, "it is in the table of current deals only (unlogged_deals)"),
            (
                compared.overlapping_intervals,
                "an interval begins before another has ended (overlapping_intervals)",
            ),
            (compared.vanished_deals, "it is missing in a later snapshot (vanished_deals)"),
            (
                compared.closed_when_first_seen,
                "it was closed when first seen (closed_when_first_seen)",
            ),
        ] {
            if n > 0 {
                self.line(said);
            }
        }
        let quality = HISTORY_QUALITY.get(followed.quality as usize).copied().unwrap_or_default();
        self.line(&format!("history_quality: {quality}"));
    }

    fn visits(&mut self, machine: &Machine<'_>) {
        self.line("visits:");
        let as_of = self.facts.settings.as_of;
        for visit in &machine.visits {
            let left = if visit.left == NO_INSTANT { as_of } else { visit.left };
            let resolved = self.facts.resolved;
            let resolution = resolved.config.run.resolution;
            let units = resolution.between(&resolved.calendar, visit.entered, left);
            let days = units as f64 / resolution.units_per_day() as f64;
            let ended = MOVES.get(visit.ended as usize).copied().unwrap_or("");
            let line = format!(
                "  {} from {} for {days:.3} days, then {ended} ({}), amount at entry {}",
                self.facts.stage(visit.stage),
                instant_text(visit.entered),
                self.facts.stage(visit.next),
                self.facts.amount(visit.amount),
            );
            self.line(&line);
        }
    }

    /// The outcome; gives the deal as the tables have it.
    fn ending(&mut self, followed: &Followed<'_>) -> Option<DealRow> {
        let Some(row) = followed.row.clone() else {
            let why = match followed.is_told {
                true => "deleted or merged, left out of every table but the ledger (G17)",
                false => "none, for nothing is known of when anything happened",
            };
            self.line(&format!("outcome: {why}"));
            return None;
        };
        let deal = &row.deal;
        let at = |at: Instant| {
            if at == NO_INSTANT { "never".to_owned() } else { instant_text(at) }
        };
        let customer = self.customers.text(deal.customer).unwrap_or_else(|| "none".into());
        let day = deal.expected_close;
        let expected = if day == NO_DAY { "none".to_owned() } else { day_text(day) };
        let levels = &row.levels;
        let owner = |code: u32| self.owners.get(code).unwrap_or("unknown").to_owned();
        let amount = |amount: i64| self.facts.amount(amount);
        let lines = [
            format!(
                "outcome: {} (final), first close {} at {}",
                outcome(deal.outcome),
                outcome(deal.first_outcome),
                at(deal.first_closed)
            ),
            format!(
                "created: {}; expected close: {expected}; customer: {customer}",
                at(row.created)
            ),
            format!(
                "sales cycle: {} to {} ({}{})",
                at(row.cycle_from),
                at(row.cycle_to),
                outcome(row.cycle_status),
                if row.has_cycle { "" } else { "; left out of durations (G12)" }
            ),
            format!(
                "amount: first {}, now {}, at close {}",
                amount(deal.created_amount),
                amount(deal.amount),
                amount(deal.closed_amount)
            ),
            format!(
                "moves: {} skips, {} regressions, {} re-opens, {} pushes",
                deal.skips, deal.regressions, deal.reopens, deal.pushes
            ),
            format!(
                "funnel levels of {} stages: reached {}, fall_through {}, ordered {}, strict {}, \
                 furthest_final {}",
                self.facts.settings.stages.open_n(deal.pipeline),
                levels.reached,
                levels.fall_through,
                levels.ordered,
                levels.strict,
                levels.furthest_final
            ),
            format!(
                "owner now: {}; at creation: {}; at close: {}",
                owner(deal.owner),
                owner(deal.created_owner),
                owner(deal.closed_owner)
            ),
        ];
        lines.iter().for_each(|line| self.line(line));
        Some(row)
    }

    /// The values of the dimensions that come with the events, and the row each is from; with the
    /// keys of look-ups that are no dimension.
    fn known(&self, machine: &Machine<'_>, given: &[Option<u32>]) -> Known {
        let mut known = Known::new();
        for (place, (name, names)) in self.dimensions.iter().enumerate() {
            let code = machine.dimensions.get(place).copied().unwrap_or(NO_CODE);
            let Some(value) = names.get(code) else { continue };
            let from = given.get(place).copied().flatten().map(|row| self.facts.place(row));
            known.insert(name.clone(), (value.to_owned(), from.unwrap_or_default()));
        }
        known
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Open => "open",
        Outcome::Won => "won",
        Outcome::Lost => "lost",
        Outcome::Deleted => "deleted",
    }
}
