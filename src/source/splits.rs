//! Shape `deal_splits`: who has which share in a deal.
//!
//! It judges rows and deals. Which deals there are, it does not know, and it does not divide amounts.
//!
//! Invariant: the shares of a deal that is found here add up to 1.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use super::convert::BAD_AMOUNT;
use super::read::CheckedInput;
use super::sheet::{Sheet, SheetBatch};
use super::{Interners, Names};
use crate::config::{Config, Shape};
use crate::contract::Id;
use crate::error::Error;
use crate::money::{NO_AMOUNT, to_text};
use crate::quality::{Counts, Ledger, Rule};
use crate::time::Calendar;

/// Digits after the point of a share.
const SCALE: u8 = 12;
/// The share that is the whole deal.
const WHOLE: i64 = 10_i64.pow(SCALE as u32);
/// How far the shares of a deal may be off: what three thirds of nine digits are.
const TOLERANCE: i64 = WHOLE / 1_000_000_000;

/// One owner's share in a deal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Code of the owner.
    pub owner: u32,
    /// In units of 1 / `WHOLE`, above zero: who has none is credited with nothing.
    pub share: i64,
}

/// The shares of a deal, and whether a history has it.
#[derive(Debug, Default)]
struct Shared {
    shares: Vec<Share>,
    is_known: AtomicBool,
}

/// The shares of all deals that are split.
#[derive(Debug, Default)]
pub struct Splits {
    deals: BTreeMap<Id, Shared>,
    /// The checked inputs they come from.
    pub inputs: Vec<CheckedInput>,
}

impl Splits {
    /// The owners who share a deal; none if it is not split.
    #[must_use]
    pub fn of(&self, deal: Id) -> &[Share] {
        self.deals.get(&deal.as_number()).map_or(&[], |shared| &shared.shares)
    }

    /// Bytes that they take, about.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let of = |shared: &Shared| (shared.shares.capacity() + 4) * size_of::<Share>();
        self.deals.values().map(|shared| of(shared) as u64).sum()
    }

    /// Notes that a history has the deal.
    pub fn note(&self, deal: Id) {
        if let Some(shared) = self.deals.get(&deal.as_number()) {
            shared.is_known.store(true, Ordering::Relaxed);
        }
    }

    /// Brings into the ledger the deals that no history has, once all are noted.
    pub fn record_orphans(&self, ledger: &Ledger) {
        let Some(input) = self.inputs.first() else { return };
        let is_orphan = |(_, shared): &(&Id, &Shared)| !shared.is_known.load(Ordering::Relaxed);
        let orphans = self.deals.iter().filter(is_orphan).map(|(deal, _)| *deal);
        record_unknown(Rule::OrphanSplits, &input.name, orphans, ledger);
    }
}

/// The checked input of shape `deal_splits`.
pub struct SplitSource {
    sheet: Option<Sheet>,
}

/// Shares by deal, and whether a row of it could not be read.
type ByDeal = BTreeMap<Id, (Vec<Share>, bool)>;

impl SplitSource {
    /// Lists and checks the input of shape `deal_splits`.
    ///
    /// # Errors
    /// Everything that is wrong with the input's files.
    pub fn open(config: &Config, calendar: Calendar) -> Result<Self, Error> {
        Ok(Self { sheet: Sheet::open(config, calendar, Shape::DealSplits)? })
    }

    /// Reads every share; `None` if there is no such input. Deals whose shares do not add up to 1
    /// are counted and left to their owners.
    ///
    /// # Errors
    /// The first file that cannot be decoded; more names than can be numbered.
    pub fn read(self, names: &Interners, ledger: &Ledger) -> Result<Option<Splits>, Error> {
        let mut deals = BTreeMap::new();
        if let Some(sheet) = &self.sheet {
            let mut given = ByDeal::new();
            sheet.read(ledger, |batch| read_batch(batch, names, &mut given))?;
            let mut counts = Counts::of_deals(given.len() as u64);
            let deal_names = ledger.is_profiling().then(|| names.deal.freeze());
            for (deal, (shares, is_broken)) in given {
                let sum: i128 = shares.iter().map(|share| i128::from(share.share)).sum();
                let is_whole = (sum - i128::from(WHOLE)).abs() <= i128::from(TOLERANCE);
                if is_whole && !is_broken {
                    deals.insert(deal, Shared { shares, ..Shared::default() });
                    continue;
                }
                counts.add(Rule::BadSplits, 1);
                if let Some(name) = deal_names.as_ref().and_then(|names| names.text(deal)) {
                    let sum = i64::try_from(sum).map_or(String::new(), |sum| to_text(sum, SCALE));
                    let said = format!("deal {name}: {}", sum.trim_end_matches('0'));
                    ledger.mention(Rule::BadSplits, &sheet.checked.name, &said, 0);
                }
            }
            ledger.record(&sheet.checked.name, &counts);
        }
        let inputs: Vec<CheckedInput> = self.sheet.into_iter().map(|s| s.checked).collect();
        Ok((!inputs.is_empty()).then_some(Splits { deals, inputs }))
    }
}

/// Counts deals that a table names and no history has, and names them where that is asked for;
/// names too long to be packed are counted only.
pub fn record_unknown(rule: Rule, input: &str, deals: impl Iterator<Item = Id>, ledger: &Ledger) {
    let (mut counts, names) = (Counts::default(), Names::default());
    for deal in deals {
        counts.add(rule, 1);
        if let Some(name) = names.text(deal).filter(|_| ledger.is_profiling()) {
            ledger.mention(rule, input, &name, 1);
        }
    }
    ledger.record(input, &counts);
}

fn read_batch(
    batch: &mut SheetBatch<'_>,
    names: &Interners,
    deals: &mut ByDeal,
) -> Result<(), Error> {
    let ids = batch.ids("deal_id", &names.deal)?;
    let owners = batch.texts("owner_id")?;
    let (shares, _) = batch.decimals("share", SCALE)?;
    for (row, ((deal, owner), share)) in ids.into_iter().zip(owners).zip(shares).enumerate() {
        if deal.is_none() {
            batch.refuse(row, Rule::NullDealId);
            continue;
        }
        batch.keep();
        let (known, is_broken) = deals.entry(deal.as_number()).or_default();
        let owner = owner.map(|name| names.owner.intern(&name)).transpose()?;
        match owner {
            Some(_) if share == 0 => {}
            Some((owner, _)) if share > 0 && ![NO_AMOUNT, BAD_AMOUNT].contains(&share) => {
                match known.iter_mut().find(|share| share.owner == owner) {
                    Some(own) => own.share = own.share.saturating_add(share),
                    None => known.push(Share { owner, share }),
                }
            }
            _ => *is_broken = true,
        }
    }
    Ok(())
}
