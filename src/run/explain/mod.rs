//! The story of one deal: each event, where it stands, the rule applied to it, what became of the
//! deal, and which rows of which tables it counts in.
//!
//! The deal is folded by the fold itself and added up by the engine itself, so the story cannot say
//! anything else than the tables. The inputs are read twice: once for the deal's own rows, also
//! those after `as_of`, and once for everything that decides where it counts.

mod counted;
mod story;
mod teller;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use self::story::{Rows, Story};
use super::RunOptions;
use super::focus::Focus;
use super::inputs::{event_dimensions, ranks, telling, with_registry};
use super::pricing;
use crate::config::{Merged, Resolved};
use crate::contract::{EventBatch, Id, StageTable};
use crate::error::{Error, nearest_names};
use crate::fold::{self, Scattered, merged, order, scatter};
use crate::quality::Ledger;
use crate::source::{DealSource, FxSource, Interners, MergeSource, Merges, Read, RowNumbers};
use crate::time::instant_text;

/// By what the tables are split in which a deal is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExplainBy {
    /// By nothing: the rows of the total.
    Total,
    /// By the configured slices.
    Slices,
}

/// The story of one deal as text.
///
/// # Errors
/// As [`super::execute`]; [`Error::UnknownName`] if the deal is not in the inputs.
pub fn explain_deal(
    resolved: &Resolved,
    deal: &str,
    by: ExplainBy,
    options: &RunOptions<'_>,
) -> Result<String, Error> {
    super::in_pool(resolved, || {
        let resolved = &*with_registry(resolved)?;
        let (mut text, found) = told(resolved, deal, options)?;
        for (focus, known) in found {
            text.push_str(&counted::told(resolved, focus, &known, by, options));
        }
        Ok(text)
    })
}

/// What is known of a deal that counts: the values of its dimensions as found, and where.
type Known = BTreeMap<String, (String, String)>;

/// The events, visits and outcome of every deal of that name, with those that count somewhere.
fn told(
    resolved: &Resolved,
    deal: &str,
    options: &RunOptions<'_>,
) -> Result<(String, Vec<(Focus, Known)>), Error> {
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
    let is_compared = !telling(&source, Read::default())?.is_plain();
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
    stages.keep_used()?;
    let mut telling = telling(&source, read)?;
    telling.settle_probabilities(&mut events, &units);
    telling.ranks = ranks(&source, &stages, &names);
    let settings = fold::Settings {
        stages: &stages,
        dimensions: dimensions.len(),
        rules: fold::rules(&config),
        ties: config.fold.ties,
        as_of,
        pricing: pricing.as_ref(),
        telling: &telling,
        asked: fold::Asked::default(),
        funnels: &[],
        calendar: resolved.calendar,
        merges: merges.if_any(),
    };
    let rows = Rows { events: &events, units: &units, own: &own };
    let mut story = Story::new(&settings, resolved, rows, &source, &names);
    story.refused(&ledger, deal);
    story.merges(&merges, &names, &asked);
    if events.is_empty() && story.is_empty() {
        let nearest = nearest(&source, &names, &stages, resolved, deal)?;
        return Err(Error::UnknownName { what: "deal", name: deal.into(), nearest });
    }
    let mut found = Vec::new();
    let ordered = order::order(&events, &stages, config.fold.ties);
    let mut begin = 0;
    for end in ordered.ends {
        let rows = ordered.rows.get(begin..end).unwrap_or_default();
        begin = end;
        found.extend(story.tell(rows));
    }
    let heading = format!("deal {deal}, as of {}\n", instant_text(as_of));
    Ok((heading + &story.into_text(), found))
}

/// The deals whose names are nearest to one that is not there: everything is read once more.
fn nearest(
    source: &DealSource,
    names: &Interners,
    stages: &StageTable,
    resolved: &Resolved,
    deal: &str,
) -> Result<Vec<String>, Error> {
    let known = names.deal.freeze();
    let found = Mutex::new(BTreeSet::new());
    let ledger = Ledger::default();
    let only = &resolved.config.pipeline.only;
    source.read(names, stages, &ledger, &resolved.native, None, only, |_, batch| {
        let deals: BTreeSet<Id> = batch.deal.iter().copied().collect();
        let texts: Vec<String> = deals.into_iter().filter_map(|deal| known.text(deal)).collect();
        let near = nearest_names(deal, texts.iter().map(String::as_str));
        found.lock().unwrap_or_else(PoisonError::into_inner).extend(near);
        Ok(())
    })?;
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(nearest_names(deal, found.iter().map(String::as_str)))
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
