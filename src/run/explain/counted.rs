//! Where a deal counts: the values of its dimensions, and what it adds to which row of which table.
//!
//! Its rows of the relations go through the states of every table as they do in a run. Nothing is
//! finished: a sum says what one deal adds, a ratio does not.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use super::{ExplainBy, Known};
use crate::config::Resolved;
use crate::engine::{Execution, Merge, Prepared, Summed, Sums};
use crate::error::Error;
use crate::metrics::{NO_KEY, StateRows, slice_name};
use crate::money;
use crate::quality::Ledger;
use crate::relations::batch::Values;
use crate::relations::{Batch, Dictionaries, Kind, Relation, Wanted, customer_ids};
use crate::run::focus::Focus;
use crate::run::history::{self, Taker};
use crate::run::{RunOptions, carried, plan, selection};
use crate::spill::Room;
use crate::time::{Day, Period, day_text};

/// The deal's dimensions and where it counts as text. What keeps the tables from being made at all
/// is said too: then it counts nowhere.
pub(super) fn told(
    resolved: &Resolved,
    focus: Focus,
    known: &Known,
    by: ExplainBy,
    options: &RunOptions<'_>,
) -> String {
    match count(resolved, Some(focus), by, options) {
        Ok(counted) => counted.text(resolved, known),
        Err(error) => format!("counts in no table, for none can be made: {error}\n"),
    }
}

/// The sums of the deal's rows, and its row of the relation `deals`.
struct Counting {
    sums: Sums,
    deals: Mutex<Vec<Batch>>,
}

impl Taker for Counting {
    fn within(self, room: &Arc<Room>) -> Self {
        Self { sums: self.sums.within(room), ..self }
    }

    fn take(&self, batch: &Batch) -> Result<(), Error> {
        if batch.relation == Relation::Deals {
            self.deals.lock().unwrap_or_else(PoisonError::into_inner).push(batch.clone());
        }
        self.sums.take(batch)
    }
}

/// What was added up, and what is needed to put it in words.
struct Counted {
    deals: Vec<Batch>,
    summed: Vec<Summed>,
    dictionaries: Dictionaries,
    base: Period,
}

fn count(
    resolved: &Resolved,
    focus: Option<Focus>,
    by: ExplainBy,
    options: &RunOptions<'_>,
) -> Result<Counted, Error> {
    let mut plan = plan(resolved, options);
    plan.execution = Execution::Whole;
    if by == ExplainBy::Total {
        plan.slices = vec![Vec::new()];
        plan.tables.values_mut().for_each(|table| table.slices = None);
    }
    let (metrics, custom) = selection(&resolved.config);
    let prepared = Prepared::new(&carried(resolved), &metrics, &custom, &plan)?;
    let mut wanted = prepared.wanted()?;
    if let Wanted::Columns(columns) = &mut wanted {
        let dimensions = resolved.config.dimensions.columns.iter().cloned();
        columns.entry(Relation::Deals).or_default().extend(dimensions);
    }
    let ledger = Ledger::new(&resolved.config.quality.severity);
    let begin = |dictionaries: &Dictionaries| {
        Ok(Counting { sums: prepared.begin(dictionaries)?, deals: Mutex::default() })
    };
    let asked = (&wanted, focus);
    let (history, counting) =
        history::mill_focused(resolved, &ledger, options.on_step, &mut Vec::new(), asked, begin)?;
    Ok(Counted {
        deals: counting.deals.into_inner().unwrap_or_else(PoisonError::into_inner),
        summed: prepared.summed(counting.sums)?,
        dictionaries: history.relations.dictionaries,
        base: plan.base(),
    })
}

/// What a deal's rows are of; those of tables beside the deals, and what forecasts learn from, are of
/// none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Own,
    OfCustomer,
    None,
}

impl Part {
    fn of(relation: Relation) -> Self {
        match relation {
            Relation::Deals
            | Relation::Visits
            | Relation::Follows
            | Relation::FunnelSteps
            | Relation::Bookings
            | Relation::PipelineStock
            | Relation::PipelineFlows
            | Relation::Credits
            | Relation::Payments
            | Relation::Orders => Self::Own,
            Relation::Customers
            | Relation::CustomerIds
            | Relation::CustomerPeriods
            | Relation::Purchases => Self::OfCustomer,
            _ => Self::None,
        }
    }
}

impl Counted {
    fn text(&self, resolved: &Resolved, known: &Known) -> String {
        let mut text = self.dimensions(resolved, known);
        let base = self.base.name();
        let unit = format!("{:?}", resolved.config.run.resolution).to_lowercase();
        let titles = match self.base {
            Period::All => ["counts in".to_owned(), "its customer counts in".to_owned()],
            _ => [
                format!("counts in, by {base}, which longer periods add up"),
                format!("its customer, with all of its orders, counts in, by {base}"),
            ],
        };
        for (part, title) in [Part::Own, Part::OfCustomer].into_iter().zip(titles) {
            let own = self.summed.iter().filter(|summed| Part::of(summed.relation) == part);
            let lines: Vec<String> = own.flat_map(|s| self.lines(s, resolved)).collect();
            if !lines.is_empty() {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{title} (durations in {unit}s):\n{}", lines.join("\n"));
            }
        }
        text
    }

    /// Each dimension with its value and where it comes from.
    fn dimensions(&self, resolved: &Resolved, known: &Known) -> String {
        let config = &resolved.config;
        let mut text = String::new();
        for name in &config.dimensions.columns {
            let column = self.deals.iter().find_map(|batch| batch.column(name));
            let Some(Values::Codes(codes)) = column else { continue };
            let code = codes.first().map_or(-1, |code| i64::from(code.cast_signed()));
            let value = self.dictionaries.name(name, code);
            let origin = config.dimensions.from.get(name).and_then(|from| from.split_once('.'));
            let from = match (origin, known.get(name)) {
                (Some((input, column)), _) => {
                    let key = config.inputs.get(input).and_then(|i| i.key.as_deref());
                    let key = key.unwrap_or_default();
                    let found = known.get(key).map_or(String::new(), |(v, _)| format!(" {v}"));
                    format!("column {column} of input {input} by {key}{found}")
                }
                // What another row of the deal's sources told has no place of its own.
                (None, Some((_, place))) if place.is_empty() => "by the deal's history".to_owned(),
                (None, Some((found, place))) if Some(found.as_str()) != value => {
                    format!("stands for {found:?}, from {place}")
                }
                (None, Some((_, place))) => format!("from {place}"),
                (None, None) => "no event says".to_owned(),
            };
            let _ = writeln!(text, "  {name} = {}; {from}", value.unwrap_or("null"));
        }
        if text.is_empty() { text } else { format!("dimensions:\n{text}") }
    }

    /// One line for each row of a state that the deal adds to.
    fn lines(&self, summed: &Summed, resolved: &Resolved) -> Vec<String> {
        (0..summed.rows.rows).filter_map(|row| self.row(summed, row, resolved)).collect()
    }

    fn row(&self, summed: &Summed, row: usize, resolved: &Resolved) -> Option<String> {
        let rows: &StateRows = &summed.rows;
        let at = |column: &[i64]| column.get(row).copied().unwrap_or(NO_KEY);
        let mut keys = Vec::new();
        for (name, codes) in summed.slice.iter().zip(&rows.dimensions) {
            keys.push(format!(
                "{name} = {}",
                self.dictionaries.name(name, at(codes)).unwrap_or("null")
            ));
        }
        if keys.is_empty() {
            keys.push(slice_name(&summed.slice));
        }
        let scale = resolved.currency.scale;
        let mut words = None;
        let kinds = summed.kinds.iter().zip(&summed.sources);
        for ((name, codes), (kind, source)) in rows.keys.iter().zip(kinds) {
            let code = at(codes);
            let value = self.key(*kind, name, code, scale);
            match name.as_str() {
                // There is a row for each length of period; the base one stands for all.
                "grain" if value != self.base.name() => return None,
                "grain" => {}
                // The two words of an identifier, which tables show as text.
                "id_high" => words = Some(code),
                "id_low" => {
                    let of = |high| customer_ids::text(high, code, &self.dictionaries);
                    keys.extend(words.and_then(of).map(|id| format!("customer_id {id}")));
                }
                "period" | "cohort" => {
                    keys.push(format!("{} {value} by {source}", self.base.name()));
                }
                _ => keys.push(format!("{name} {value}")),
            }
        }
        let added: Vec<String> = rows
            .values
            .iter()
            .zip(&summed.merges)
            .filter_map(|((name, column), merge)| added(name, at(column), *merge, scale))
            .collect();
        let keys = keys.join(", ");
        (!added.is_empty()).then(|| format!("  {}  {keys}: {}", summed.table, added.join(", ")))
    }

    fn key(&self, kind: Option<Kind>, name: &str, code: i64, scale: u8) -> String {
        let named = |names: &str| self.dictionaries.name(names, code).map(str::to_owned);
        let text = match kind {
            _ if code == NO_KEY => None,
            Some(Kind::Stage) => named("stage"),
            Some(Kind::Dictionary(names)) => named(names),
            Some(Kind::Name(names)) => {
                usize::try_from(code).ok().and_then(|c| names.get(c)).map(|n| (*n).to_owned())
            }
            Some(Kind::Day) => Day::try_from(code).ok().map(day_text),
            Some(Kind::Flag | Kind::Small | Kind::Int) | None => Some(number(name, code, scale)),
        };
        text.unwrap_or_else(|| "null".into())
    }
}

/// What a row adds to one sum; nothing where that is zero.
fn added(name: &str, value: i64, merge: Merge, scale: u8) -> Option<String> {
    match merge {
        Merge::Sum if value == 0 => None,
        Merge::Sum if value > 0 => Some(format!("{name} +{}", number(name, value, scale))),
        Merge::Min | Merge::Max if value == NO_KEY => None,
        Merge::Sum | Merge::Min | Merge::Max => {
            Some(format!("{name} {}", number(name, value, scale)))
        }
    }
}

/// Amounts are in minor units; by convention their names end so.
fn number(name: &str, value: i64, scale: u8) -> String {
    if name.ends_with("amount") || name == "deal_size" {
        money::to_text(value, scale)
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{self, Flags};
    use crate::engine::Backend;
    use crate::source::synthetic::{GenerateOptions, generate};

    const DEALS: u64 = 40;

    /// A sum by table, number of the state, keys in words, and name.
    type Sums = BTreeMap<(String, String), i64>;

    fn add(counted: &Counted, to: &mut Sums) {
        let own = counted.summed.iter().filter(|s| Part::of(s.relation) == Part::Own);
        for (number, summed) in own.enumerate() {
            let rows = &summed.rows;
            for row in 0..rows.rows {
                let keys = rows.dimensions.iter().chain(rows.keys.iter().map(|(_, codes)| codes));
                let keys: Vec<i64> = keys.map(|codes| codes[row]).collect();
                let place = format!("{} {number} {:?} {keys:?}", summed.table, summed.slice);
                for (name, column) in &rows.values {
                    let sum = to.entry((place.clone(), name.clone()));
                    match name.rsplit_once('_') {
                        // Extremes of several deals are no sums.
                        Some((_, "min")) => {
                            sum.and_modify(|known| *known = column[row].min(*known))
                        }
                        Some((_, "max")) => {
                            sum.and_modify(|known| *known = column[row].max(*known))
                        }
                        _ => sum.and_modify(|known| *known += column[row]),
                    }
                    .or_insert(column[row]);
                }
            }
        }
        let is_extreme = |name: &str| name.ends_with("_min") || name.ends_with("_max");
        to.retain(|(_, name), sum| *sum != 0 || is_extreme(name));
    }

    #[test]
    fn what_single_deals_count_is_what_the_tables_add_up() {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("made");
        let made =
            generate(&GenerateOptions { months: 12, ..GenerateOptions::new(DEALS, 7, made) });
        let flags = Flags { config: Some(made.unwrap().config), ..Flags::default() };
        let resolved = config::load(&flags).unwrap();
        let options = RunOptions { on_step: &|_| (), backend: Backend::Kernel };
        let mut expected = Sums::new();
        add(&count(&resolved, None, ExplainBy::Slices, &options).unwrap(), &mut expected);
        assert!(expected.keys().any(|(_, name)| name == "new_n"), "there are customers");
        let mut sums = Sums::new();
        for deal in 1..=DEALS {
            let (_, found) = super::super::told(&resolved, &deal.to_string(), &options).unwrap();
            for (focus, _) in found {
                let counted = count(&resolved, Some(focus), ExplainBy::Slices, &options);
                add(&counted.unwrap(), &mut sums);
            }
        }
        let differ = |of: &Sums, other: &Sums| -> Vec<_> {
            of.iter()
                .filter(|(place, sum)| other.get(*place) != Some(*sum))
                .map(|(place, sum)| (place.clone(), *sum))
                .take(5)
                .collect()
        };
        assert_eq!(differ(&sums, &expected), differ(&expected, &sums));
    }
}
