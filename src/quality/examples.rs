//! The first rows that break a rule, for whoever wants to look at some: the same ones whatever the
//! threads.

use std::collections::{BTreeMap, BTreeSet};

use super::{QuarantinedRow, Rule};

/// So many rows a rule.
const MOST: usize = 10;

/// The first rows of one input that break each rule, in order of file and row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examples(BTreeMap<Rule, BTreeSet<QuarantinedRow>>);

impl Examples {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a further row of a rule can be among the first; rows come in order.
    #[must_use]
    pub(crate) fn wants(&self, rule: Rule) -> bool {
        self.0.get(&rule).is_none_or(|rows| rows.len() < MOST)
    }

    /// Adds a row that breaks a rule; later rows give way to earlier ones.
    pub(crate) fn add(&mut self, rule: Rule, row: QuarantinedRow) {
        let rows = self.0.entry(rule).or_default();
        rows.insert(row);
        if rows.len() > MOST {
            rows.pop_last();
        }
    }

    /// Adds those of another part of the input.
    pub(super) fn merge(&mut self, other: Self) {
        for (rule, rows) in other.0 {
            rows.into_iter().for_each(|row| self.add(rule, row));
        }
    }

    /// Every rule with its first rows.
    pub fn rules(&self) -> impl Iterator<Item = (Rule, impl Iterator<Item = &QuarantinedRow>)> {
        self.0.iter().map(|(rule, rows)| (*rule, rows.iter()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rows_stay_in_whatever_order_they_come() {
        let row = |n| QuarantinedRow::of_fold("f".into(), n, Rule::BadAmount);
        let mut examples = Examples::default();
        for n in (0..30).rev() {
            let mut part = Examples::default();
            part.add(Rule::BadAmount, row(n));
            examples.merge(part);
        }
        let (rule, rows) = examples.rules().next().unwrap();
        assert_eq!(rule, Rule::BadAmount);
        assert_eq!(rows.map(|row| row.row).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        assert!(!examples.wants(Rule::BadAmount));
    }
}
