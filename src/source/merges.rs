//! Shape `merges`: which deals were merged into which (G17).
//!
//! It settles chains and refuses circles; what becomes of the rows of a merged deal is the fold's
//! question. A merge later than `as_of` is none (G1).
//!
//! Invariant: no winner is itself merged into another deal.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::convert::{self, BAD_INSTANT};
use super::intern::Interner;
use super::read::CheckedInput;
use super::sheet::{Sheet, SheetBatch};
use crate::config::{Config, Merged, Shape};
use crate::contract::Id;
use crate::error::{Error, Fault};
use crate::quality::{Counts, Ledger, Rule};
use crate::time::{Calendar, Instant, NO_INSTANT};

/// So many circles are named in one message.
const CIRCLES_MAX: usize = 5;

/// What became of a deal that was merged into another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merge {
    /// The deal that goes on, at the end of the chain.
    pub winner: Id,
    /// The deal that it was merged into, which may have been merged into another later.
    pub into: Id,
    /// When it was merged; [`NO_INSTANT`] where that is not told.
    pub at: Instant,
}

/// All merges of a run.
#[derive(Debug, Default)]
pub struct Merges {
    policy: Merged,
    by_loser: BTreeMap<Id, Merge>,
    winners: BTreeSet<Id>,
    /// When the latest merge was; [`NO_INSTANT`] where none has a time.
    pub latest: Instant,
    /// The checked inputs they come from.
    pub inputs: Vec<CheckedInput>,
}

impl Merges {
    /// Merges of pairs of a loser and its winner, without times, for tests of the fold.
    #[cfg(test)]
    #[must_use]
    pub fn of_pairs(policy: Merged, pairs: &[(Id, Id)]) -> Self {
        let given = pairs.iter().map(|(loser, winner)| (*loser, (*winner, NO_INSTANT))).collect();
        let (by_loser, _) = settle(&given);
        let winners = by_loser.values().map(|merge| merge.winner).collect();
        Self { policy, by_loser, winners, latest: NO_INSTANT, inputs: Vec::new() }
    }

    /// Itself, where any deal was merged.
    #[must_use]
    pub fn if_any(&self) -> Option<&Self> {
        (!self.by_loser.is_empty()).then_some(self)
    }

    /// What becomes of the losers' histories.
    #[must_use]
    pub fn policy(&self) -> Merged {
        self.policy
    }

    /// How many deals were merged into others.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_loser.len()
    }

    /// The merge of a deal, where it was merged into another.
    #[must_use]
    pub fn of(&self, deal: Id) -> Option<Merge> {
        self.by_loser.get(&deal).copied()
    }

    /// Since when a deal's history is that of another, perhaps by way of others; [`NO_INSTANT`] if
    /// always, `None` if never.
    #[must_use]
    pub fn joined(&self, deal: Id, other: Id) -> Option<Instant> {
        let (mut from, mut since) = (deal, NO_INSTANT);
        loop {
            let merge = self.of(from)?;
            since = since.max(merge.at);
            if merge.into == other {
                return Some(since);
            }
            from = merge.into;
        }
    }

    /// Whether others were merged into the deal.
    #[must_use]
    pub fn is_winner(&self, deal: Id) -> bool {
        self.winners.contains(&deal)
    }

    /// The deal that a deal's events are folded with: the winner where histories are united.
    #[must_use]
    pub fn folded_as(&self, deal: Id) -> Id {
        match self.policy {
            Merged::Drop => deal,
            Merged::Union => self.of(deal).map_or(deal, |merge| merge.winner),
        }
    }

    /// Every loser with its merge.
    pub fn iter(&self) -> impl Iterator<Item = (Id, Merge)> {
        self.by_loser.iter().map(|(loser, merge)| (*loser, *merge))
    }
}

/// The checked input of shape `merges`.
pub struct MergeSource {
    sheet: Option<Sheet>,
}

/// By loser and winner, when.
type Given = BTreeMap<Id, BTreeMap<Id, Instant>>;

impl MergeSource {
    /// Lists and checks the input of shape `merges`.
    ///
    /// # Errors
    /// Everything that is wrong with the input's files.
    pub fn open(config: &Config, calendar: Calendar) -> Result<Self, Error> {
        Ok(Self { sheet: Sheet::open(config, calendar, Shape::Merges)? })
    }

    /// Reads every merge up to `as_of`. A deal that was merged into two others went into the one
    /// of the later time. Identifiers are those of the deals whatever their type in the files, so
    /// `names` are the deals'.
    ///
    /// # Errors
    /// The first file that cannot be decoded; deals that are merged in a circle.
    pub fn read(
        self,
        policy: Merged,
        names: &Interner,
        as_of: Option<Instant>,
        ledger: &Ledger,
    ) -> Result<Merges, Error> {
        let mut given = Given::new();
        if let Some(sheet) = &self.sheet {
            sheet.read(ledger, |batch| read_batch(batch, names, as_of, &mut given))?;
        }
        let mut chosen = BTreeMap::new();
        let mut counts = Counts::default();
        for (loser, winners) in given {
            counts.add(Rule::RepeatedMerges, winners.len().saturating_sub(1) as u64);
            // By hash where times are equal, so that the order of the rows does not matter.
            let last = winners.into_iter().max_by_key(|(winner, at)| (*at, winner.hash(), *winner));
            chosen.extend(last.map(|last| (loser, last)));
        }
        if let Some(sheet) = &self.sheet {
            ledger.record(&sheet.checked.name, &counts);
        }
        let (by_loser, circles) = settle(&chosen);
        if !circles.is_empty() {
            let places = places(self.sheet.as_ref(), &circles, names)?;
            return Err(in_circles(&circles, names, &places));
        }
        let winners = by_loser.values().map(|merge| merge.winner).collect();
        let latest = by_loser.values().map(|merge| merge.at).max().unwrap_or(NO_INSTANT);
        let inputs = self.sheet.into_iter().map(|sheet| sheet.checked).collect();
        Ok(Merges { policy, by_loser, winners, latest, inputs })
    }
}

fn read_batch(
    batch: &mut SheetBatch<'_>,
    names: &Interner,
    as_of: Option<Instant>,
    given: &mut Given,
) -> Result<(), Error> {
    let (losers, winners) = (batch.ids("loser_id", names)?, batch.ids("winner_id", names)?);
    let ends = losers.into_iter().zip(winners).zip(batch.instants("at")?);
    for (row, ((loser, winner), at)) in ends.enumerate() {
        if convert::is_plausible(at) && as_of.is_some_and(|as_of| at > as_of) {
            batch.after_as_of();
            continue;
        }
        let (loser, winner) = (loser.as_number(), winner.as_number());
        if at == BAD_INSTANT || loser.is_none() || winner.is_none() || loser == winner {
            batch.refuse(row, Rule::BadMerge);
            continue;
        }
        batch.keep();
        let at = if convert::is_plausible(at) { at } else { NO_INSTANT };
        let known = given.entry(loser).or_default().entry(winner).or_insert(at);
        *known = (*known).max(at);
    }
    Ok(())
}

/// Each loser's last winner, and the circles in which there is none.
fn settle(given: &BTreeMap<Id, (Id, Instant)>) -> (BTreeMap<Id, Merge>, Vec<Vec<Id>>) {
    let (mut by_loser, mut circles) = (BTreeMap::<Id, Merge>::new(), Vec::new());
    for first in given.keys() {
        let mut path: Vec<(Id, Id, Instant)> = Vec::new();
        let mut on_path = BTreeSet::new();
        let mut deal = *first;
        let winner = loop {
            if let Some(known) = by_loser.get(&deal) {
                break known.winner;
            }
            let Some((next, at)) = given.get(&deal) else { break deal };
            if !on_path.insert(deal) {
                let all = path.iter().map(|(deal, ..)| *deal);
                circles.push(all.skip_while(|other| *other != deal).collect());
                break deal;
            }
            path.push((deal, *next, *at));
            deal = *next;
        };
        let merges = path.into_iter().map(|(loser, into, at)| (loser, Merge { winner, into, at }));
        by_loser.extend(merges);
    }
    (by_loser, circles)
}

/// File and number of the first row of each deal that is merged in a circle: everything is read once
/// more, for nobody wants to look for them.
fn places(
    sheet: Option<&Sheet>,
    circles: &[Vec<Id>],
    names: &Interner,
) -> Result<BTreeMap<Id, (PathBuf, u64)>, Error> {
    let wanted: BTreeSet<Id> = circles.iter().flatten().copied().collect();
    let mut places = BTreeMap::new();
    if let Some(sheet) = sheet {
        sheet.read(&Ledger::default(), |batch| {
            for (row, loser) in batch.ids("loser_id", names)?.into_iter().enumerate() {
                let loser = loser.as_number();
                if wanted.contains(&loser) {
                    let place = batch.place(row);
                    places.entry(loser).or_insert(place);
                }
            }
            Ok(())
        })?;
    }
    Ok(places)
}

/// The circles by the names of their deals, each from the first name on.
fn in_circles(
    circles: &[Vec<Id>],
    names: &Interner,
    places: &BTreeMap<Id, (PathBuf, u64)>,
) -> Error {
    let names = names.freeze();
    let said = |circle: &Vec<Id>| {
        let mut deals: Vec<String> = circle.iter().filter_map(|deal| names.text(*deal)).collect();
        let first = deals.iter().enumerate().min_by_key(|(_, name)| *name).map_or(0, |(at, _)| at);
        deals.rotate_left(first);
        deals.extend(deals.first().cloned());
        let place = circle.iter().find_map(|deal| places.get(deal)).cloned();
        (deals.join(" into "), place.unwrap_or_default())
    };
    let mut said: Vec<(String, (PathBuf, u64))> = circles.iter().map(said).collect();
    said.sort();
    let fault = |(circle, (file, row)): (String, (PathBuf, u64))| Fault {
        file,
        place: format!("row {row}, columns \"loser_id\", \"winner_id\""),
        problem: format!("deals are merged in a circle: {circle}"),
        hint: "take one of these rows out: one of the deals has to go on".into(),
    };
    Error::Faults(said.into_iter().take(CIRCLES_MAX).map(fault).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs `a>b` by number, and what comes of them: losers with their last winners, circles.
    #[track_caller]
    fn check(pairs: &[(i64, i64)], expected: &[(i64, i64)], circles: &[&[i64]]) {
        let id = Id::integer;
        let given = pairs.iter().map(|(a, b)| (id(*a), (id(*b), NO_INSTANT))).collect();
        let (by_loser, found) = settle(&given);
        let winners = by_loser.iter().map(|(loser, merge)| (*loser, merge.winner));
        let wanted: Vec<(Id, Id)> = expected.iter().map(|(a, b)| (id(*a), id(*b))).collect();
        if circles.is_empty() {
            assert_eq!(winners.collect::<Vec<_>>(), wanted);
        }
        let circles: Vec<Vec<Id>> =
            circles.iter().map(|deals| deals.iter().map(|deal| id(*deal)).collect()).collect();
        assert_eq!(found, circles);
    }

    #[test]
    fn a_chain_of_merges_ends_in_its_last_deal() {
        check(&[(1, 2), (2, 3), (4, 2), (5, 6)], &[(1, 3), (2, 3), (4, 3), (5, 6)], &[]);
    }

    #[test]
    fn a_deal_is_part_of_another_since_the_last_merge_on_the_way() {
        let at = |(a, b, at)| (Id::integer(a), (Id::integer(b), at));
        let given = [(1, 2, 50), (2, 3, 20), (4, 2, NO_INSTANT)].map(at).into();
        let merges = Merges { by_loser: settle(&given).0, ..Merges::default() };
        let joined = |a, b| merges.joined(Id::integer(a), Id::integer(b));
        assert_eq!([joined(1, 2), joined(1, 3), joined(2, 3)], [50, 50, 20].map(Some));
        assert_eq!([joined(4, 2), joined(4, 3)], [NO_INSTANT, 20].map(Some));
        assert_eq!([joined(3, 1), joined(2, 1), joined(1, 4)], [None; 3]);
    }

    #[test]
    fn a_circle_is_found_once_whoever_leads_into_it() {
        check(&[(1, 2), (2, 3), (3, 1), (0, 1), (9, 3)], &[], &[&[1, 2, 3]]);
        check(&[(1, 2), (2, 1), (3, 4), (4, 3)], &[], &[&[1, 2], &[3, 4]]);
    }
}
