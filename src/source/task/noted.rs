//! Rows that break a rule which need not keep them out, and what stands in a row that breaks one.

use arrow::array::ArrayRef;

use super::TaskState;
use crate::quality::{QuarantinedRow, Rule};
use crate::source::convert;

impl TaskState<'_> {
    /// Judges a row's flags; `bad` are the rows with one that is neither yes nor no.
    pub(in crate::source) fn judge_flags(&mut self, bad: &[usize], row: usize) -> Result<(), Rule> {
        if bad.binary_search(&row).is_err() {
            return Ok(());
        }
        self.break_mildly(Rule::BadFlag, row)
    }

    /// Counts the breach of a rule that need not keep a row out, or gives the rule where it does.
    pub(super) fn break_mildly(&mut self, rule: Rule, row: usize) -> Result<(), Rule> {
        if self.strict.contains(&rule) {
            return Err(rule);
        }
        self.counts.add(rule, 1);
        if self.decoding.ledger.is_profiling() {
            self.noted.push((rule, self.noted_row.unwrap_or(row)));
        }
        Ok(())
    }

    /// Keeps the first of the noted rows as examples.
    pub(super) fn settle_noted(&mut self, arrays: &[Option<ArrayRef>], first_row: u64) {
        for (rule, row) in std::mem::take(&mut self.noted) {
            if self.examples.wants(rule) {
                let found = self.found(rule, arrays, row, first_row);
                self.examples.add(rule, found);
            }
        }
        self.noted_row = None;
    }

    /// A row with its place and what stands in it.
    pub(super) fn found(
        &self,
        rule: Rule,
        arrays: &[Option<ArrayRef>],
        row: usize,
        first_row: u64,
    ) -> QuarantinedRow {
        let text = |index: Option<usize>| {
            convert::display(index.and_then(|i| arrays.get(i)?.as_ref()), row)
        };
        QuarantinedRow {
            file: self.input.path(&self.unit).to_path_buf(),
            row: first_row + row as u64,
            rule: rule.name(),
            deal_id: text(self.layout.deal_id),
            event_time: text(self.layout.event_time),
            event_type: text(self.layout.event_type),
            stage_id: text(self.layout.stage_id),
            amount: text(self.layout.amount),
            line: None,
            text: None,
        }
    }
}
