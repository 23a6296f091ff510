//! The tables that a run can do without and that stand in no relation to events: targets, surveys,
//! touches, contracts and the calendar, opened and read together.
//!
//! What a row means is said in the file of its table; what becomes of rows is counted in the ledger.

use super::Interners;
use super::calendar::Workdays;
use super::contracts::{self, ContractRow};
use super::read::CheckedInput;
use super::sheet::{Sheet, SheetBatch};
use super::spend::SpentIn;
use super::surveys::{Answers, SurveyRow};
use super::targets::{self, TargetRow};
use super::touches::{self, TouchRow};
use crate::config::{Config, Severity, Shape};
use crate::error::{Error, Fault};
use crate::money::{Currency, NO_AMOUNT, UNPRICED};
use crate::quality::{Ledger, Rule};
use crate::time::{Calendar, Day, Instant};

/// What reading them needs to know of the run.
pub struct TableSettings<'a> {
    /// Zone and calendar.
    pub calendar: Calendar,
    /// As what amounts are read.
    pub currency: &'a Currency,
    /// What an amount is worth in the reporting currency, or [`UNPRICED`].
    pub price: &'a dyn Fn(&SpentIn<'_>) -> i64,
    /// The run's instant.
    pub as_of: Instant,
    /// The run's names, which those of the tables are added to.
    pub names: &'a Interners,
    /// Where broken rules are counted.
    pub ledger: &'a Ledger,
}

impl TableSettings<'_> {
    /// What an amount of a day is worth; [`NO_AMOUNT`] without a rate.
    pub(super) fn worth(
        &self,
        (day, amount, currency): (Day, i64, Option<&str>),
        (row, is_inexact): (usize, bool),
        batch: &mut SheetBatch<'_>,
    ) -> Result<i64, Rule> {
        let inexact = Rule::InexactAmount;
        if is_inexact && self.ledger.severity(inexact) == Severity::Quarantine {
            return Err(inexact);
        }
        batch.note_if(is_inexact, row, inexact);
        let worth = (self.price)(&SpentIn { day, amount, currency });
        batch.note_if(worth == UNPRICED, row, Rule::UnpricedRows);
        Ok(if worth == UNPRICED { NO_AMOUNT } else { worth })
    }
}

/// The checked inputs.
#[derive(Default)]
pub struct TablesSource {
    targets: Option<Sheet>,
    surveys: Option<Sheet>,
    touches: Option<Sheet>,
    contracts: Option<Sheet>,
    calendar: Option<Sheet>,
}

/// What they hold; `None` where there is no such input.
#[derive(Debug, Default)]
pub struct Tables {
    /// Targets, in order of the source.
    pub targets: Option<Vec<TargetRow>>,
    /// Answers up to `as_of`.
    pub surveys: Option<Vec<SurveyRow>>,
    /// Contacts up to `as_of`.
    pub touches: Option<Vec<TouchRow>>,
    /// Contracts that began up to `as_of`.
    pub contracts: Option<Vec<ContractRow>>,
    /// Which days are worked.
    pub workdays: Workdays,
    /// The checked inputs they come from.
    pub inputs: Vec<CheckedInput>,
}

impl TablesSource {
    /// Lists and checks every input of these shapes.
    ///
    /// # Errors
    /// Everything that is wrong with their files.
    pub fn open(config: &Config, calendar: Calendar) -> Result<Self, Error> {
        let mut faults: Vec<Fault> = Vec::new();
        let mut open = |shape| match Sheet::open(config, calendar, shape) {
            Err(Error::Faults(more)) => {
                faults.extend(more);
                Ok(None)
            }
            opened => opened,
        };
        let source = Self {
            targets: open(Shape::Targets)?,
            surveys: open(Shape::Surveys)?,
            touches: open(Shape::Touches)?,
            contracts: open(Shape::Contracts)?,
            calendar: open(Shape::Calendar)?,
        };
        if faults.is_empty() { Ok(source) } else { Err(Error::Faults(faults)) }
    }

    /// Reads every row.
    ///
    /// # Errors
    /// The first file that cannot be decoded.
    pub fn read(self, settings: &TableSettings<'_>) -> Result<Tables, Error> {
        let (mut targets, mut touches, mut contracts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut answers, mut workdays) = (Answers::default(), Workdays::default());
        let ledger = settings.ledger;
        if let Some(sheet) = &self.targets {
            sheet.read(ledger, |batch| targets::read_batch(batch, settings, &mut targets))?;
        }
        if let Some(sheet) = &self.surveys {
            sheet.read(ledger, |batch| answers.read_batch(batch, settings))?;
        }
        if let Some(sheet) = &self.touches {
            sheet.read(ledger, |batch| touches::read_batch(batch, settings, &mut touches))?;
        }
        if let Some(sheet) = &self.contracts {
            sheet.read(ledger, |batch| contracts::read_batch(batch, settings, &mut contracts))?;
        }
        if let Some(sheet) = &self.calendar {
            sheet.read(ledger, |batch| workdays.read_batch(batch))?;
        }
        let mut calendar = self.calendar;
        let untold = workdays.untold();
        if let (Some(sheet), true) = (calendar.as_mut(), untold > 0) {
            sheet.checked.warnings.push(format!(
                "{untold} days between the first and the last one are not told: Monday to Friday \
                 count as worked, as before and after"
            ));
        }
        let mut tables = Tables {
            targets: self.targets.is_some().then_some(targets),
            surveys: self.surveys.is_some().then_some(answers.rows),
            touches: self.touches.is_some().then_some(touches),
            contracts: self.contracts.is_some().then_some(contracts),
            workdays,
            inputs: Vec::new(),
        };
        let sheets = [self.targets, self.surveys, self.touches, self.contracts, calendar];
        tables.inputs = sheets.into_iter().flatten().map(|sheet| sheet.checked).collect();
        Ok(tables)
    }
}

impl Tables {
    /// Bytes that the rows take, about.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let of = |rows: usize, each: usize| (rows * each) as u64;
        let text = |name: &Option<String>| name.as_ref().map_or(0, String::len) as u64;
        let targets = self.targets.iter().flatten();
        let touches = self.touches.iter().flatten();
        let texts: u64 = targets.map(|row| text(&row.owner) + text(&row.team)).sum::<u64>()
            + touches.map(|row| text(&row.channel) + text(&row.campaign)).sum::<u64>();
        texts
            + of(self.targets.as_ref().map_or(0, Vec::len), size_of::<TargetRow>())
            + of(self.surveys.as_ref().map_or(0, Vec::len), size_of::<SurveyRow>())
            + of(self.touches.as_ref().map_or(0, Vec::len), size_of::<TouchRow>())
            + of(self.contracts.as_ref().map_or(0, Vec::len), size_of::<ContractRow>())
            + of(self.workdays.len(), size_of::<(Day, Option<bool>)>())
    }

    /// The first and the last day of each table that has rows, by the name of its shape.
    #[must_use]
    pub fn spans(&self, calendar: &Calendar) -> Vec<(&'static str, (Day, Day))> {
        let day = |at: Instant| calendar.day(at);
        let targets = self.targets.iter().flatten().flat_map(|row| [row.from, row.to - 1]);
        let surveys = self.surveys.iter().flatten().map(|row| day(row.at));
        let touches = self.touches.iter().flatten().map(|row| day(row.at));
        let contracts = self.contracts.iter().flatten().map(|row| row.from);
        let spans = [
            ("targets", span(targets)),
            ("surveys", span(surveys)),
            ("touches", span(touches)),
            ("contracts", span(contracts)),
            ("calendar", self.workdays.span()),
        ];
        spans.into_iter().filter_map(|(name, span)| Some((name, span?))).collect()
    }
}

/// The least and the greatest of some days.
pub(super) fn span(days: impl Iterator<Item = Day>) -> Option<(Day, Day)> {
    days.fold(None, |span: Option<(Day, Day)>, day| {
        Some(span.map_or((day, day), |(first, last)| (first.min(day), last.max(day))))
    })
}
