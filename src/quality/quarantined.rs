//! A row that breaks a rule, with its place and what stands in it.

use std::path::PathBuf;

use super::Rule;

/// A row that was kept out, with what is needed to find it again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuarantinedRow {
    /// The file it is in.
    pub file: PathBuf,
    /// Its position among the file's rows, from 0; whoever reads it is told the number from 1.
    pub row: u64,
    /// The rule it breaks.
    pub rule: &'static str,
    /// Its deal, as found.
    pub deal_id: Option<String>,
    /// Its time, as found.
    pub event_time: Option<String>,
    /// Its event type, as found.
    pub event_type: Option<String>,
    /// Its stage, as found.
    pub stage_id: Option<String>,
    /// Its amount, as found.
    pub amount: Option<String>,
    /// The number of its line, from 1, where its fields are not certain.
    pub line: Option<u64>,
    /// What stands in that line, or in the other columns of a table beside the histories.
    pub text: Option<String>,
}

impl QuarantinedRow {
    /// Bytes that the row takes, about.
    pub(crate) fn bytes(&self) -> u64 {
        let texts = [
            &self.deal_id,
            &self.event_time,
            &self.event_type,
            &self.stage_id,
            &self.amount,
            &self.text,
        ];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        (size_of::<Self>() + self.file.as_os_str().len() + texts) as u64
    }

    /// A row that is known by its place only, such as one that the fold kept out.
    #[must_use]
    pub fn of_fold(file: PathBuf, row: u64, rule: Rule) -> Self {
        Self {
            file,
            row,
            rule: rule.name(),
            deal_id: None,
            event_time: None,
            event_type: None,
            stage_id: None,
            amount: None,
            line: None,
            text: None,
        }
    }
}
