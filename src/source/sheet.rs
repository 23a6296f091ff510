//! Small tables beside the histories, read as they are: a batch at a time, columns by their
//! canonical names, each row kept or refused by whoever knows what it means.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow::array::{Array, ArrayRef};

use super::convert;
use super::intern::Interner;
use super::read::{CheckedInput, Unit};
use super::{clock, wanted_columns};
use crate::config::{Config, Input, Shape};
use crate::contract::{self, CanonicalColumn, ColumnType, Id};
use crate::error::Error;
use crate::money::{Currency, NO_AMOUNT};
use crate::quality::{Counts, Examples, Ledger, QuarantinedRow, Rule};
use crate::time::{Calendar, Day, Instant, NO_DAY, NO_INSTANT};

/// An input of a shape that is no deal history, opened and checked.
pub(crate) struct Sheet {
    pub(crate) checked: CheckedInput,
    input: Input,
    columns: &'static [CanonicalColumn],
}

impl Sheet {
    /// Lists and checks the input of a shape; `None` if there is none. Such inputs are known by their
    /// names, so there is no second one.
    ///
    /// # Errors
    /// Everything that is wrong with its files.
    pub(crate) fn open(
        config: &Config,
        calendar: Calendar,
        shape: Shape,
    ) -> Result<Option<Self>, Error> {
        let columns = contract::columns_of(shape).unwrap_or_default();
        let mut own = config.inputs.iter().filter(|(_, input)| input.shape == shape);
        let Some((name, input)) = own.next() else { return Ok(None) };
        let wanted = wanted_columns(input, columns);
        let checked = CheckedInput::open(name, input, &wanted, clock(name, input, calendar)?)?;
        Ok(Some(Self { checked, input: input.clone(), columns }))
    }

    /// Reads every batch and brings what became of its rows into the ledger: `take` settles each
    /// row by [`SheetBatch::keep`], [`SheetBatch::refuse`] or [`SheetBatch::after_as_of`].
    ///
    /// # Errors
    /// The first file that cannot be decoded; whatever `take` returns.
    pub(crate) fn read(
        &self,
        ledger: &Ledger,
        mut take: impl FnMut(&mut SheetBatch<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut part = Part::default();
        for unit in self.checked.units() {
            self.checked.read(&unit, |arrays, first_row| {
                let len = arrays.iter().flatten().map(|array| array.len()).next().unwrap_or(0);
                part.counts.rows_in += len as u64;
                let is_shown = ledger.is_profiling();
                let part = &mut part;
                take(&mut SheetBatch { sheet: self, unit, arrays, first_row, len, is_shown, part })
            })?;
        }
        part.counts.quarantined = part.quarantine.len() as u64;
        ledger.record(&self.checked.name, &part.counts);
        ledger.quarantine(&self.checked.name, part.quarantine);
        ledger.exemplify(&self.checked.name, part.examples);
        self.checked.settle_refused(ledger);
        Ok(())
    }
}

/// What became of the rows of an input.
#[derive(Default)]
struct Part {
    counts: Counts,
    quarantine: Vec<QuarantinedRow>,
    /// The first rows that break a rule and are kept, where somebody wants to see some.
    examples: Examples,
}

/// Some rows, column by column. A column that the files do not have is none in every row.
pub(crate) struct SheetBatch<'a> {
    sheet: &'a Sheet,
    unit: Unit,
    arrays: &'a [Option<ArrayRef>],
    first_row: u64,
    len: usize,
    /// Whether somebody wants to see rows that break a rule and are kept.
    is_shown: bool,
    part: &'a mut Part,
}

impl<'a> SheetBatch<'a> {
    /// The rows of a column as `convert` makes them, or so many nones.
    fn column<T: Clone>(
        &self,
        name: &str,
        none: T,
        convert: impl FnOnce(usize, &'a ArrayRef) -> Result<Vec<T>, Error>,
    ) -> Result<Vec<T>, Error> {
        let place = self.sheet.columns.iter().position(|column| column.name == name);
        let Some(place) = place else {
            return Err(Error::Bug(format!("{} has no column {name}", self.sheet.checked.name)));
        };
        match self.arrays.get(place) {
            Some(Some(array)) => convert(place, array),
            _ => Ok(vec![none; self.len]),
        }
    }

    /// Names, trimmed and replaced; empty text is none.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<Option<String>>, Error> {
        self.column(name, None, |_, array| texts(array, self.sheet.input.values.get(name)))
    }

    /// Identifiers; [`Id::NONE`] where there is none.
    pub(crate) fn ids(&self, name: &str, names: &Interner) -> Result<Vec<Id>, Error> {
        let replace = self.sheet.input.values.get(name);
        self.column(name, Id::NONE, |_, array| convert::ids(array, names, replace))
    }

    /// Instants: none, [`convert::BAD_INSTANT`], or any that [`convert::is_plausible`] has to judge.
    pub(crate) fn instants(&self, name: &str) -> Result<Vec<Instant>, Error> {
        let checked = &self.sheet.checked;
        self.column(name, NO_INSTANT, |at, array| checked.instants(&self.unit, at, array))
    }

    /// Civil days; [`NO_DAY`] where there is none or it cannot be read.
    pub(crate) fn days(&self, name: &str) -> Result<Vec<Day>, Error> {
        let checked = &self.sheet.checked;
        self.column(name, NO_DAY, |at, array| checked.days(&self.unit, at, array))
    }

    /// Whole numbers; `i64::MIN` where there is none or it cannot be read.
    pub(crate) fn integers(&self, name: &str) -> Result<Vec<i64>, Error> {
        self.column(name, i64::MIN, |_, array| convert::integers(array))
    }

    /// Yes, no or nothing; what is neither is counted and taken as nothing.
    pub(crate) fn flags(&mut self, name: &str) -> Result<Vec<Option<bool>>, Error> {
        let mut bad = Vec::new();
        let flags = self.column(name, None, |_, array| convert::flags(array, &mut bad))?;
        bad.into_iter().for_each(|row| self.note(row, Rule::BadFlag));
        Ok(flags)
    }

    /// Amounts in units of 10^-`scale`: [`NO_AMOUNT`], [`convert::BAD_AMOUNT`] where it cannot be
    /// read. With the rows, ascending, that had to be rounded.
    pub(crate) fn decimals(&self, name: &str, scale: u8) -> Result<(Vec<i64>, Vec<usize>), Error> {
        let currency = Currency { code: String::new(), scale };
        let mut inexact = Vec::new();
        let amounts = self.column(name, NO_AMOUNT, |_, array| {
            let (amounts, rounded) = self.sheet.checked.money(array, &currency)?;
            inexact = rounded;
            Ok(amounts)
        })?;
        Ok((amounts, inexact))
    }

    /// The file that a row is in, and its number from 1.
    pub(crate) fn place(&self, row: usize) -> (PathBuf, u64) {
        let file = self.sheet.checked.path(&self.unit).to_path_buf();
        (file, self.first_row + row as u64 + 1)
    }

    /// The row counts.
    pub(crate) fn keep(&mut self) {
        self.part.counts.folded += 1;
    }

    /// The row is later than the run.
    pub(crate) fn after_as_of(&mut self) {
        self.part.counts.after_as_of += 1;
    }

    /// The row breaks a rule that does not keep it out.
    pub(crate) fn note(&mut self, row: usize, rule: Rule) {
        self.part.counts.add(rule, 1);
        if self.is_shown && self.part.examples.wants(rule) {
            let found = self.found(row, rule);
            self.part.examples.add(rule, found);
        }
    }

    /// The same, where it does.
    pub(crate) fn note_if(&mut self, breaks: bool, row: usize, rule: Rule) {
        if breaks {
            self.note(row, rule);
        }
    }

    /// The row is kept out: it breaks a rule.
    pub(crate) fn refuse(&mut self, row: usize, rule: Rule) {
        self.part.counts.add(rule, 1);
        let found = self.found(row, rule);
        self.part.quarantine.push(found);
    }

    /// A row with its place and what stands in it: a time, an amount and a deal in their own places,
    /// everything else beside its column's name.
    fn found(&self, row: usize, rule: Rule) -> QuarantinedRow {
        let columns = self.sheet.columns;
        let cell =
            |place: usize| convert::display(self.arrays.get(place).and_then(Option::as_ref), row);
        let first = |wanted: &dyn Fn(&CanonicalColumn) -> bool| columns.iter().position(wanted);
        let is_time =
            |c: &CanonicalColumn| matches!(c.holds, ColumnType::Instant | ColumnType::Date);
        let own = [
            first(&is_time),
            first(&|column| column.holds == ColumnType::Money),
            first(&|column| column.name == "deal_id"),
        ];
        let rest = columns.iter().enumerate().filter(|(place, _)| !own.contains(&Some(*place)));
        let rest =
            rest.filter_map(|(place, column)| Some(format!("{} {}", column.name, cell(place)?)));
        let rest: Vec<String> = rest.collect();
        let [event_time, amount, deal_id] = own.map(|place| place.and_then(cell));
        let file = self.sheet.checked.path(&self.unit).to_path_buf();
        let place = QuarantinedRow::of_fold(file, self.first_row + row as u64, rule);
        let text = (!rest.is_empty()).then(|| rest.join(", "));
        QuarantinedRow { event_time, amount, deal_id, text, ..place }
    }
}

/// Names of a column, trimmed and replaced; empty text is none.
pub(super) fn texts(
    array: &ArrayRef,
    replace: Option<&BTreeMap<String, String>>,
) -> Result<Vec<Option<String>>, Error> {
    let mut texts = Vec::new();
    convert::each_text(array, |text| {
        texts.push(convert::named(text, replace).map(str::to_owned));
        Ok(())
    })?;
    Ok(texts)
}
