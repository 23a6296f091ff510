//! Shape `deal_splits`: who has which share in a deal.
//!
//! It judges rows and deals. Which deals there are, it does not know, and it does not divide amounts.
//!
//! Invariant: the shares of a deal that is found here add up to 1.

use std::collections::BTreeMap;

use super::Interners;
use super::convert::BAD_AMOUNT;
use super::read::CheckedInput;
use super::sheet::{Sheet, SheetBatch};
use crate::config::{Config, Shape};
use crate::contract::Id;
use crate::error::Error;
use crate::money::NO_AMOUNT;
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
    /// In units of 1 / `WHOLE`, above zero.
    pub share: i64,
}

/// The shares of all deals that are split.
#[derive(Debug, Default)]
pub struct Splits {
    deals: BTreeMap<Id, Vec<Share>>,
    /// The checked inputs they come from.
    pub inputs: Vec<CheckedInput>,
}

impl Splits {
    /// The owners who share a deal; none if it is not split.
    #[must_use]
    pub fn of(&self, deal: Id) -> &[Share] {
        self.deals.get(&deal.as_number()).map_or(&[], Vec::as_slice)
    }

    /// Bytes that they take, about.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let of = |shares: &Vec<Share>| (shares.capacity() + 3) * size_of::<Share>();
        self.deals.values().map(|shares| of(shares) as u64).sum()
    }
}

/// The checked inputs of shape `deal_splits`.
pub struct SplitSource {
    sheets: Vec<Sheet>,
}

/// Shares by deal, and whether a row of it could not be read.
type ByDeal = BTreeMap<Id, (Vec<Share>, bool)>;

impl SplitSource {
    /// Lists and checks every input of shape `deal_splits`.
    ///
    /// # Errors
    /// Everything that is wrong with the files of the first input that has faults.
    pub fn open(config: &Config, calendar: Calendar) -> Result<Self, Error> {
        Ok(Self { sheets: Sheet::open(config, calendar, Shape::DealSplits)? })
    }

    /// Reads every share; `None` if there is no such input. Deals whose shares do not add up to 1
    /// are counted and left to their owners.
    ///
    /// # Errors
    /// The first file that cannot be decoded; more names than can be numbered.
    pub fn read(self, names: &Interners, ledger: &Ledger) -> Result<Option<Splits>, Error> {
        let mut deals = BTreeMap::new();
        for sheet in &self.sheets {
            let mut given = ByDeal::new();
            sheet.read(ledger, |batch| read_batch(batch, names, &mut given))?;
            let mut counts = Counts::of_deals(given.len() as u64);
            for (deal, (shares, is_broken)) in given {
                let sum: i128 = shares.iter().map(|share| i128::from(share.share)).sum();
                let is_whole = (sum - i128::from(WHOLE)).abs() <= i128::from(TOLERANCE);
                if is_whole && !is_broken {
                    deals.insert(deal, shares);
                } else {
                    counts.add(Rule::BadSplits, 1);
                }
            }
            ledger.record(&sheet.checked.name, &counts);
        }
        let inputs: Vec<CheckedInput> = self.sheets.into_iter().map(|s| s.checked).collect();
        Ok((!inputs.is_empty()).then_some(Splits { deals, inputs }))
    }
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
