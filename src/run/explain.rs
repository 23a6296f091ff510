//! The story of one deal: each event, where it stands, the rule applied to it, and what became of
//! the deal. It uses the same order, the same machine and the same levels as the fold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::RunOptions;
use super::inputs::{event_dimensions, telling, with_registry};
use super::pricing;
use crate::config::{Config, Merged, Resolved, Ties};
use crate::contract::{EventBatch, Id, NO_CODE, NO_STAGE, StageTable};
use crate::error::Error;
use crate::fold::levels::Leveller;
use crate::fold::machine::{Event, Machine, Visit};
use crate::fold::observe::Observer;
use crate::fold::pricing::{Pricing, Purse};
use crate::fold::{self, Move, Outcome, Scattered, Tally, Telling, merged, order, scatter};
use crate::money::{self, NO_AMOUNT, UNPRICED};
use crate::quality::Ledger;
use crate::relations::deals::HISTORY_QUALITY;
use crate::relations::visits::MOVES;
use crate::source::{DealSource, FxSource, Interners, MergeSource, Merges, Names, RowNumbers};
use crate::time::{Instant, NO_DAY, NO_INSTANT, day_text, instant_text};

/// The story of one deal as text.
///
/// # Errors
/// As [`super::execute`]; [`Error::UnknownName`] if the deal is not in the inputs.
pub fn explain_deal(
    resolved: &Resolved,
    deal: &str,
    options: &RunOptions<'_>,
) -> Result<String, Error> {
    let resolved = &*with_registry(resolved)?;
    let config = resolved.with_joined_paths();
    let stages = StageTable::of(&config);
    let dimensions = event_dimensions(&config);
    (options.on_step)("read");
    let mut source = DealSource::open(&config, resolved.calendar, &stages, &dimensions)?;
    source.row_numbers = RowNumbers::Kept;
    let ledger = Ledger::new(&config.quality.severity);
    let names = Interners::new(&dimensions);
    let number = deal.parse().ok().map(|n| Id::integer(n).hash());
    let asked: Vec<u64> = number.into_iter().chain([Id::hash_of_text(deal)]).collect();
    let merges = MergeSource::open(&config, resolved.calendar)?;
    let merges = merges.read(config.fold.merged, &names.deal, resolved.as_of, &ledger)?;
    let hashes = with_merged(&merges, &asked);
    // Where rows have to be compared, those after as_of would change what the earlier ones mean.
    let is_compared = !telling(&source, BTreeMap::new()).is_plain();
    let (parts, read) = source.read(
        &names,
        &stages,
        &ledger,
        &resolved.native,
        resolved.as_of.filter(|_| is_compared),
        &config.pipeline.only,
        |unit, batch| Ok(scatter(unit, &only(batch, &hashes), 0)),
    )?;
    let rates = FxSource::open(&config, resolved.calendar)?.read(&ledger)?;
    let as_of = resolved.as_of.unwrap_or(read.latest.max(merges.latest));
    let pricing = pricing::of_deals(resolved, &names, &rates, as_of);
    let (mut events, mut units, mut own) = (EventBatch::default(), Vec::new(), Vec::new());
    let parts: Vec<&Scattered> = parts.iter().collect();
    scatter::gather(&parts, 0, &mut events, &mut units);
    merged::unite(&merges, &mut events, &mut own);
    let told = telling(&source, read.extracts);
    let mut story = Story {
        text: String::new(),
        events: &events,
        units: &units,
        own: &own,
        merges: &merges,
        telling: &told,
        places: places(&source, &units, &events),
        stages: &stages,
        config: &config,
        resolved,
        as_of,
        pricing: pricing.as_ref(),
        currencies: names.currency.freeze(),
    };
    story.refused(&ledger, deal);
    let is_dropped = story.merges(&names, &asked);
    if events.is_empty() && story.text.is_empty() {
        return Err(Error::UnknownName { what: "deal", name: deal.into(), nearest: Vec::new() });
    }
    if !events.is_empty() {
        story.tell(&names, dimensions.len(), is_dropped);
    }
    let heading = format!("deal {deal}, as of {}\n", instant_text(story.as_of));
    Ok(heading + &story.text)
}

/// Hashes of the deals whose rows tell the story of those with these hashes.
fn with_merged(merges: &Merges, asked: &[u64]) -> Vec<u64> {
    let mut hashes = asked.to_vec();
    if merges.policy() == Merged::Drop {
        return hashes;
    }
    let is_asked = |deal: Id| asked.contains(&deal.hash());
    let winners: BTreeSet<Id> = merges
        .iter()
        .filter(|(loser, merge)| is_asked(*loser) || is_asked(merge.winner))
        .map(|(_, merge)| merge.winner)
        .collect();
    hashes.extend(winners.iter().map(|winner| winner.hash()));
    let losers = merges.iter().filter(|(_, merge)| winners.contains(&merge.winner));
    hashes.extend(losers.map(|(loser, _)| loser.hash()));
    hashes
}

/// The events whose deal has one of the hashes.
fn only(batch: &EventBatch, hashes: &[u64]) -> EventBatch {
    let deals = batch.deal.iter().enumerate();
    let rows: Vec<usize> =
        deals.filter(|(_, deal)| hashes.contains(&deal.hash())).map(|(row, _)| row).collect();
    batch.pick(&rows)
}

/// File and row of every event, as text.
fn places(source: &DealSource, units: &[(usize, usize)], events: &EventBatch) -> Vec<String> {
    let rows: Vec<(usize, u32)> =
        (0..events.len()).map(|row| fold::locate(units, events, row as u32)).collect();
    let place =
        |(_, file, row): (String, std::path::PathBuf, u64)| format!("{} row {row}", file.display());
    source.locate(&rows).into_iter().map(place).collect()
}

struct Story<'a> {
    text: String,
    events: &'a EventBatch,
    /// The first row of each unit.
    units: &'a [(usize, usize)],
    /// The deal that each event was of, where some are united.
    own: &'a [Id],
    merges: &'a Merges,
    telling: &'a Telling,
    /// File and row of each event.
    places: Vec<String>,
    stages: &'a StageTable,
    config: &'a Config,
    resolved: &'a Resolved,
    as_of: Instant,
    pricing: Option<&'a Pricing>,
    currencies: Names,
}

impl Story<'_> {
    fn line(&mut self, line: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    fn refused(&mut self, ledger: &Ledger, deal: &str) {
        for (input, rows) in ledger.quarantined() {
            for row in rows.iter().filter(|r| r.deal_id.as_deref() == Some(deal)) {
                let place = format!("{} row {}", row.file.display(), row.row);
                let line = format!("kept out of {input} by rule {}: {place}", row.rule);
                self.line(&line);
            }
        }
    }

    /// Says which merges the deals asked for are in; whether one of them is left out for it.
    fn merges(&mut self, names: &Interners, asked: &[u64]) -> bool {
        let (merges, names) = (self.merges, names.deal.freeze());
        let is_union = merges.policy() == Merged::Union;
        let mut is_dropped = false;
        for (loser, merge) in merges.iter() {
            let is_asked = asked.contains(&loser.hash());
            if !is_asked && !asked.contains(&merge.winner.hash()) {
                continue;
            }
            let name = |deal| names.text(deal).unwrap_or_default();
            let at = if merge.at == NO_INSTANT { String::new() } else { instant_text(merge.at) };
            let what = if is_union { "their events are told together" } else { "counts no more" };
            let (loser, winner) = (name(loser), name(merge.winner));
            let at = if at.is_empty() { at } else { format!(" at {at}") };
            self.line(&format!("deal {loser} was merged into deal {winner}{at}: {what} (G17)"));
            is_dropped |= is_asked && !is_union;
        }
        is_dropped
    }

    fn stage_name(&self, code: u16) -> String {
        if code == NO_STAGE {
            return "no stage".into();
        }
        let (names, finals) = self.stages.finish();
        finals
            .get(usize::from(code))
            .and_then(|c| names.get(usize::from(*c)))
            .cloned()
            .unwrap_or_else(|| format!("stage {code}"))
    }

    fn amount(&self, amount: i64) -> String {
        let currency = &self.resolved.currency;
        if amount == NO_AMOUNT {
            "unknown".into()
        } else {
            format!("{} {}", money::to_text(amount, currency.scale), currency.code)
        }
    }

    fn tell(&mut self, names: &Interners, dimensions: usize, is_dropped: bool) {
        let rules = fold::rules(self.config);
        let mut machine = Machine::new(self.stages, rules, dimensions);
        machine.begin();
        let ordered = order::order(self.events, self.stages, self.config.fold.ties);
        let (early, late): (Vec<u32>, Vec<u32>) = ordered.rows.into_iter().partition(|row| {
            self.events.time.get(*row as usize).is_some_and(|at| *at <= self.as_of)
        });
        let mut counted = early.clone();
        if !is_dropped {
            let mut tally = Tally::default();
            merged::keep(self.merges, self.events, self.own, &mut counted, &mut tally);
        }
        let mut kept = counted.clone();
        let noticed = order::deduplicate(self.events, &mut kept, |row| {
            self.telling.input_of(self.units, row as usize)
        });
        if noticed.ties > 0 && self.config.fold.ties == Ties::Reject {
            self.line(
                "kept out of every table by rule tied_deals: ties = \"reject\" (G2); otherwise:",
            );
        }
        let mut purse = self.purse(&kept, None);
        self.line("events, in the order they are folded:");
        if self.telling.is_plain() {
            for row in early {
                let verdict = if kept.contains(&row) {
                    let event = fold::event(self.events, row as usize);
                    let codes = &self.events.dimensions;
                    let code = |i: usize| codes.get(i).and_then(|d| d.get(row as usize)).copied();
                    let code = |i| code(i).unwrap_or(NO_CODE);
                    self.apply_priced(&mut machine, &event, row as usize, &mut purse, code)
                } else if !counted.contains(&row) {
                    "of a deal that was merged, does not count (G17)".into()
                } else {
                    "duplicate, not counted again (G3)".into()
                };
                self.event_line(row as usize, &verdict);
            }
        } else {
            self.compare(&mut machine, &kept, dimensions);
        }
        for row in late {
            self.event_line(row as usize, "after as_of, does not exist yet (G1)");
        }
        let counts = machine.finish() && !is_dropped;
        self.visits(&machine);
        self.ending(&machine, counts);
        let owner = names.owner.freeze();
        let owner = owner.get(machine.deal.owner).unwrap_or("unknown").to_owned();
        self.line(&format!("owner now: {owner}"));
    }

    /// The amounts' currency while the events are told, where any has one of its own.
    fn purse(&self, rows: &[u32], observer: Option<&Observer<'_>>) -> Option<Purse> {
        let pricing = self.pricing?;
        let first = pricing.purse(self.events, rows);
        if !pricing.waits_for_close(self.events, rows) {
            return Some(first);
        }
        // Folded once, to know the close.
        let mut machine = Machine::new(self.stages, fold::rules(self.config), 0);
        machine.begin();
        match observer {
            Some(observer) => {
                observer.steps.iter().for_each(|step| machine.apply(&step.event, |_| NO_CODE));
            }
            None => rows.iter().for_each(|row| {
                machine.apply(&fold::event(self.events, *row as usize), |_| NO_CODE);
            }),
        }
        machine.finish();
        let closed = machine.deal.closed;
        Some(if closed == NO_INSTANT {
            first
        } else {
            pricing.purse_of_close(self.events, rows, closed)
        })
    }

    /// Applies an event at its worth, and says how its amount was converted.
    fn apply_priced(
        &self,
        machine: &mut Machine<'_>,
        event: &Event,
        row: usize,
        purse: &mut Option<Purse>,
        dimension: impl Fn(usize) -> u32,
    ) -> String {
        let mut priced = *event;
        if let (Some(pricing), Some(purse)) = (self.pricing, purse) {
            priced.amount = pricing.price(self.events, row, event, purse);
        }
        let said = self.apply(machine, &priced, dimension);
        let code = self.events.currency.get(row).copied().unwrap_or(NO_CODE);
        let Some(currency) = self.currencies.get(code).filter(|_| event.amount != NO_AMOUNT) else {
            return said;
        };
        let given = money::to_text(event.amount, self.resolved.native.scale);
        let verdict = if priced.amount == UNPRICED { ", which has no rate (G16)" } else { "" };
        format!("{said}; given as {given} {currency}{verdict}")
    }

    /// Tells what follows from rows that have to be compared.
    fn compare(&mut self, machine: &mut Machine<'_>, rows: &[u32], dimensions: usize) {
        let mut observer = Observer::new(&fold::Settings {
            stages: self.stages,
            dimensions,
            rules: fold::rules(self.config),
            ties: self.config.fold.ties,
            as_of: self.as_of,
            pricing: self.pricing,
            telling: self.telling,
            booking: fold::Booking::Unread,
            merges: self.merges.if_any(),
        });
        observer.observe(self.events, self.units, self.own, rows);
        if observer.steps.is_empty() {
            self.line("  nothing says when anything happened to it; it counts nowhere");
        }
        let mut purse = self.purse(rows, Some(&observer));
        for step in &observer.steps {
            let dimension = |i: usize| observer.dimension(self.events, step, i);
            let verdict = self.apply_priced(machine, &step.event, step.row, &mut purse, dimension);
            self.told_line(&step.event, step.row, &verdict);
        }
        if observer.compared.history_disagrees > 0 {
            self.line("the table of current deals says otherwise (history_disagrees)");
        }
        let quality = HISTORY_QUALITY.get(observer.quality as usize).copied().unwrap_or_default();
        self.line(&format!("history_quality: {quality}"));
    }

    fn apply(
        &self,
        machine: &mut Machine<'_>,
        event: &Event,
        dimension: impl Fn(usize) -> u32,
    ) -> String {
        let before = (machine.visits.len(), machine.deal.clone());
        machine.apply(event, dimension);
        let (visits, deal) = before;
        let mut said = Vec::new();
        match machine.visits.last() {
            Some(visit) if machine.visits.len() > visits => said.push(self.arrival(visit)),
            _ if machine.deal.no_ops > deal.no_ops => {
                said.push("no change of stage, attributes only (G4)".to_owned());
            }
            _ if machine.deal.deleted != deal.deleted => said.push("deletes the deal (G17)".into()),
            _ if machine.deal.after_deletion > deal.after_deletion => {
                said.push("after the deletion, attributes only".into());
            }
            _ => said.push("changes attributes".into()),
        }
        if machine.deal.amount != deal.amount {
            said.push(format!("amount now {}", self.amount(machine.deal.amount)));
        }
        if machine.deal.pushes > deal.pushes {
            said.push(format!(
                "expected close pushed to {}",
                day_text(machine.deal.expected_close)
            ));
        }
        said.join("; ")
    }

    fn arrival(&self, visit: &Visit) -> String {
        let to = self.stage_name(visit.stage);
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

    fn event_line(&mut self, row: usize, verdict: &str) {
        let event = fold::event(self.events, row);
        self.told_line(&event, row, verdict);
    }

    fn told_line(&mut self, event: &Event, row: usize, verdict: &str) {
        let stage = event.stage;
        let name = if stage == NO_STAGE { String::new() } else { self.stage_name(stage) };
        let place = self.places.get(row).cloned().unwrap_or_default();
        let kind = format!("{:?}", event.kind).to_lowercase();
        let at = instant_text(event.time);
        let line = format!("  {at}  {kind} {name}: {verdict}\n      from {place}");
        self.line(&line);
    }

    fn visits(&mut self, machine: &Machine<'_>) {
        self.line("visits:");
        for visit in &machine.visits {
            let left = if visit.left == NO_INSTANT { self.as_of } else { visit.left };
            let calendar = &self.resolved.calendar;
            let resolution = self.config.run.resolution;
            let units = resolution.between(calendar, visit.entered, left);
            let days = units as f64 / resolution.units_per_day() as f64;
            let ended = MOVES.get(visit.ended as usize).copied().unwrap_or("");
            let line = format!(
                "  {} from {} for {days:.3} days, then {ended} ({}), amount at entry {}",
                self.stage_name(visit.stage),
                instant_text(visit.entered),
                self.stage_name(visit.next),
                self.amount(visit.amount),
            );
            self.line(&line);
        }
    }

    fn ending(&mut self, machine: &Machine<'_>, counted: bool) {
        if !counted {
            self.line("outcome: deleted or merged, left out of every table (G17)");
            return;
        }
        let deal = &machine.deal;
        let name = |outcome| match outcome {
            Outcome::Open => "open",
            Outcome::Won => "won",
            Outcome::Lost => "lost",
            Outcome::Deleted => "deleted",
        };
        let at = |at: Instant| {
            if at == NO_INSTANT { "never".to_owned() } else { instant_text(at) }
        };
        let (end, ended) = machine.cycle_end(self.as_of);
        let mut leveller = Leveller::new(self.stages);
        let levels = leveller.levels(&machine.visits, deal);
        let customer = if deal.customer.is_none() { "no customer" } else { "has a customer" };
        let expected = if deal.expected_close == NO_DAY {
            "none".to_owned()
        } else {
            day_text(deal.expected_close)
        };
        let lines = [
            format!(
                "outcome: {} (final), first close {} at {}",
                name(deal.outcome),
                name(deal.first_outcome),
                at(deal.first_closed)
            ),
            format!("created: {}; expected close: {expected}; {customer}", at(machine.created())),
            format!("sales cycle: {} to {} ({})", at(machine.cycle_start()), at(end), name(ended)),
            format!(
                "amount: first {}, now {}, at close {}",
                self.amount(deal.created_amount),
                self.amount(deal.amount),
                self.amount(deal.closed_amount)
            ),
            format!(
                "moves: {} skips, {} regressions, {} re-opens, {} pushes",
                deal.skips, deal.regressions, deal.reopens, deal.pushes
            ),
            format!(
                "funnel levels of {} stages: reached {}, fall_through {}, ordered {}, strict {}, furthest_final {}",
                self.stages.open_n(deal.pipeline),
                levels.reached,
                levels.fall_through,
                levels.ordered,
                levels.strict,
                levels.furthest_final
            ),
        ];
        for line in lines {
            self.line(&line);
        }
    }
}
