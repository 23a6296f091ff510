//! Which optional columns of the events a run reads.
//!
//! What nobody needs is neither read nor decoded nor counted among the bytes read. One thing sees
//! every column, though: rows without an identifier that are equal in all of them are one event
//! (G3). Rows that differ in no column that is read may differ in one that is not. So the promise is
//! this: **if a narrowed read leaves out no row for being equal, it gives what a full one gives**,
//! because rows that differ in some column differ; if it does leave one out, the caller widens and
//! reads again. Rows with the same identifier are not compared, so they are no reason to.

use std::collections::BTreeSet;

use super::preflight::Origin;
use super::{DealInput, DealSource, Layout};
use crate::config::Severity;
use crate::quality::{Ledger, Rule};

/// An optional column of the events that a run may do without.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attribute {
    /// The amount.
    Amount,
    /// The owner.
    Owner,
    /// The customer.
    Customer,
    /// The expected close date.
    ExpectedClose,
    /// The chance of winning.
    Probability,
    /// A dimension that comes with the events.
    Dimension(String),
}

/// How much of the events is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Width {
    /// Every column that the contract and the configuration name.
    #[default]
    Full,
    /// Only what is needed; see the module for what the caller has to check.
    Narrow,
}

impl DealSource {
    /// Reads only these attributes from now on, beside what every run needs, and says whether any
    /// column is left out. What is left out is as if no file had it.
    ///
    /// Edge cases: the amount is read wherever a bad one keeps its row out or ends the run. Counts
    /// of rows with a bad or an inexact amount need the amount.
    pub fn narrow(&mut self, needed: &BTreeSet<Attribute>, ledger: &Ledger) -> Width {
        let counts_only = |rule| matches!(ledger.severity(rule), Severity::Ignore | Severity::Warn);
        let judged = !(counts_only(Rule::BadAmount) && counts_only(Rule::InexactAmount));
        let mut width = Width::Full;
        for input in &mut self.inputs {
            input.layout = input.full_layout.clone();
            let unread = leave_out(&mut input.layout, needed, judged);
            if narrows(input, &unread) {
                width = Width::Narrow;
            }
            input.checked.unread = unread;
        }
        self.note_present();
        width
    }

    /// Reads everything again from now on.
    pub fn widen(&mut self) {
        for input in &mut self.inputs {
            input.layout = input.full_layout.clone();
            input.checked.unread.clear();
        }
        self.note_present();
    }
}

/// Takes what is not needed out of a layout, and gives the positions of it.
fn leave_out(layout: &mut Layout, needed: &BTreeSet<Attribute>, judged: bool) -> BTreeSet<usize> {
    let mut unread = BTreeSet::new();
    let mut drop = |slot: &mut Option<usize>| unread.extend(slot.take());
    let named = [
        (&mut layout.owner_id, Attribute::Owner),
        (&mut layout.customer_id, Attribute::Customer),
        (&mut layout.expected_close, Attribute::ExpectedClose),
        (&mut layout.probability, Attribute::Probability),
    ];
    if !judged && !needed.contains(&Attribute::Amount) {
        drop(&mut layout.amount);
        drop(&mut layout.currency);
    }
    for (slot, attribute) in named {
        if !needed.contains(&attribute) {
            drop(slot);
        }
    }
    for (name, slot) in &mut layout.dimensions {
        if !needed.contains(&Attribute::Dimension(name.clone())) {
            drop(slot);
        }
    }
    unread
}

/// Whether leaving these out leaves any file's column unread.
fn narrows(input: &DealInput, unread: &BTreeSet<usize>) -> bool {
    let is_column = |index: &usize| {
        let of = |file: &super::preflight::CheckedFile| {
            matches!(file.origins.get(*index), Some(Origin::Column(_) | Origin::Partition(_)))
        };
        input.checked.files.iter().any(of)
    };
    unread.iter().any(is_column)
}
