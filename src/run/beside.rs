//! What stands beside the histories: look-ups, rates, spend, payments, shares in deals and other
//! small tables. They are opened together, and read once the histories are and the run's instant is
//! known.

use std::collections::BTreeSet;

use super::inputs::kept;
use super::pricing::{self, Foreign, Spending};
use super::tables::{self, Spans};
use crate::config::{Config, Resolved};
use crate::error::{Error, Fault};
use crate::fold::pricing::Pricing;
use crate::quality::Ledger;
use crate::relations::Relation;
use crate::relations::assemble::Assembler;
use crate::source::{
    CheckedInput, FxRates, FxSource, Interners, Lookup, LookupSource, Merges, PaymentSource,
    Payments, Spend, SpendSource, SplitSource, Splits, Tables, TablesSource,
};
use crate::time::{Calendar, Instant};

/// The opened and checked inputs.
pub(super) struct Sources {
    lookups: LookupSource,
    spend: SpendSource,
    rates: FxSource,
    payments: PaymentSource,
    splits: SplitSource,
    tables: TablesSource,
}

/// All that is in them.
pub(super) struct Beside {
    pub(super) lookups: Vec<Lookup>,
    pub(super) spend: Option<Spend>,
    pub(super) rates: FxRates,
    pub(super) payments: Option<Payments>,
    pub(super) splits: Option<Splits>,
    pub(super) tables: Tables,
    /// How the amounts of deals are converted.
    pub(super) pricing: Option<Pricing>,
    /// Rows in another currency where none is converted.
    pub(super) foreign: Foreign,
}

impl Sources {
    /// Opens every input; faults are kept. `None` if there are any.
    ///
    /// # Errors
    /// Whatever is no fault of the files.
    pub(super) fn open(
        config: &Config,
        calendar: Calendar,
        faults: &mut Vec<Fault>,
    ) -> Result<Option<Self>, Error> {
        let lookups = kept(LookupSource::open(config, calendar), faults)?;
        let spend = kept(SpendSource::open(config, calendar), faults)?;
        let rates = kept(FxSource::open(config, calendar), faults)?;
        let payments = kept(PaymentSource::open(config, calendar), faults)?;
        let splits = kept(SplitSource::open(config, calendar), faults)?;
        let tables = kept(TablesSource::open(config, calendar), faults)?;
        let all = || {
            Some(Self {
                lookups: lookups?,
                spend: spend?,
                rates: rates?,
                payments: payments?,
                splits: splits?,
                tables: tables?,
            })
        };
        Ok(all())
    }

    /// Reads everything.
    ///
    /// # Errors
    /// The first file that cannot be decoded.
    pub(super) fn read(
        self,
        resolved: &Resolved,
        (names, merges): (&Interners, &Merges),
        as_of: Instant,
        ledger: &Ledger,
    ) -> Result<Beside, Error> {
        let lookups = self.lookups.read(ledger)?;
        let rates = self.rates.read(ledger)?;
        let pricing = pricing::of_deals(resolved, names, &rates, as_of);
        let spending = Spending { resolved, rates: &rates, as_of, names };
        let (spend, foreign_spend) = spending.read(self.spend, ledger)?;
        let (mut payments, foreign_payments) = spending.read_payments(self.payments, ledger)?;
        if let Some(payments) = &mut payments {
            payments.follow(merges);
        }
        let splits = self.splits.read(names, ledger)?;
        let (tables, foreign_rows) = tables::read(self.tables, &spending, ledger)?;
        let foreign = Foreign {
            deals: 0,
            spend: foreign_spend,
            payments: foreign_payments,
            tables: foreign_rows,
        };
        Ok(Beside { lookups, spend, rates, payments, splits, tables, pricing, foreign })
    }
}

impl Beside {
    /// Bytes of what is kept whole and may be large.
    pub(super) fn bytes(&self) -> u64 {
        let payments = self.payments.as_ref().map_or(0, Payments::bytes);
        payments + self.splits.as_ref().map_or(0, Splits::bytes) + self.tables.bytes()
    }

    /// The relations that can be made of these and of the folded history.
    pub(super) fn present(&self, assembler: &Assembler<'_>) -> BTreeSet<Relation> {
        let folded = [Relation::Visits, Relation::Deals, Relation::Bookings, Relation::Credits];
        let mut present = BTreeSet::from(folded);
        present.insert(Relation::Findings);
        if assembler.has_customers() {
            present.insert(Relation::Orders);
        }
        if assembler.has_payers() {
            present.extend([Relation::Customers, Relation::CustomerPeriods]);
        }
        present.extend(self.payments.as_ref().map(|_| Relation::Payments));
        present.extend(self.spend.as_ref().map(|_| Relation::Spend));
        present.extend(tables::present(&self.tables));
        present
    }

    /// The first and last day of each table that has any.
    pub(super) fn spans(&self, calendar: &Calendar) -> Spans {
        tables::spans(&self.tables, self.spend.as_ref(), calendar)
    }

    /// Every input.
    pub(super) fn into_inputs(self) -> impl Iterator<Item = CheckedInput> {
        let mut inputs: Vec<CheckedInput> = self.lookups.into_iter().map(|l| l.checked).collect();
        inputs.extend(self.spend.map(|s| s.inputs).unwrap_or_default());
        inputs.extend(self.rates.inputs);
        inputs.extend(self.payments.map(|p| p.inputs).unwrap_or_default());
        inputs.extend(self.splits.map(|s| s.inputs).unwrap_or_default());
        inputs.extend(self.tables.inputs);
        inputs.into_iter()
    }
}
