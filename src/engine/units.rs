//! What is to be computed: one unit a table, with its parsed states, its slices, and its queries.
//!
//! A slice is made for a table when every relation its states read carries all the dimensions. Each
//! state runs once per maximal slice (one that is no part of another); the others are rolled up.

use std::collections::{BTreeMap, BTreeSet};

use super::Plan;
use super::custom::CustomTable;
use super::sql::StateQuery;
use super::states::Job;
use crate::config::CustomMetric;
use crate::error::Error;
use crate::metrics::{Absent, Metric, NO_PEOPLE, common_columns, slice_name};
use crate::relations::Relation;
use crate::table::ColumnSpec;
use crate::time::Period;

/// How a table comes out of merged states.
#[derive(Debug)]
pub(crate) enum Recipe {
    /// A metric's own finish.
    Metric(&'static Metric),
    /// Keys and sums as they are.
    Custom(CustomTable),
}

impl Recipe {
    fn is_about_people(&self) -> bool {
        matches!(self, Self::Metric(metric) if metric.is_about_people())
    }

    fn is_split_by_default(&self) -> bool {
        match self {
            Self::Metric(metric) => metric.is_split_by_default(),
            Self::Custom(_) => true,
        }
    }
}

/// One table to compute.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) name: String,
    pub(crate) states: Vec<StateQuery>,
    /// The slices to report, in configured order.
    pub(crate) slices: Vec<Vec<String>>,
    /// The periods to report, shorter ones first, the whole history last.
    pub(crate) periods: Vec<Period>,
    /// The slices to compute.
    pub(crate) maximal: Vec<Vec<String>>,
    pub(crate) recipe: Recipe,
}

impl Unit {
    /// The table's own columns, after the common ones.
    pub(crate) fn output(&self) -> &[ColumnSpec] {
        match &self.recipe {
            Recipe::Metric(metric) => metric.output,
            Recipe::Custom(table) => &table.output,
        }
    }

    fn new(
        name: &str,
        states: Vec<StateQuery>,
        recipe: Recipe,
        carried: &BTreeMap<Relation, Vec<String>>,
        plan: &Plan,
    ) -> Result<Self, Error> {
        let read: BTreeSet<Relation> = states.iter().map(|s| s.relation).collect();
        let carried = |dimension: &String| {
            let mut own = read.iter().filter_map(|r| carried.get(r));
            own.all(|dimensions| dimensions.contains(dimension))
        };
        let own = plan.tables.get(name);
        let asked = own.and_then(|table| table.slices.as_ref());
        // Asked of all tables, a slice is made where it can be; asked of this one, it must be.
        if let Some(dimension) = asked.and_then(|a| a.iter().flatten().find(|d| !carried(d))) {
            return Err(Error::Config(vec![format!(
                "tables.{name}.slices: the table cannot be split by {dimension:?}"
            )]));
        }
        let total = vec![Vec::new()];
        let usual = if recipe.is_split_by_default() { &plan.slices } else { &total };
        let asked = asked.unwrap_or(usual);
        let mut slices: Vec<Vec<String>> =
            asked.iter().filter(|s| s.iter().all(carried)).cloned().collect();
        if recipe.is_about_people() {
            slices.retain(|slice| slice.iter().any(|d| plan.people.contains(d)));
        } else if slices.is_empty() {
            // Such as data_quality, which cannot be split, where the total was not asked for.
            slices.push(Vec::new());
        }
        let maximal = maximal(&slices);
        let periods = periods(own.and_then(|o| o.periods.as_ref()).unwrap_or(&plan.periods));
        let unit = Self { name: name.to_owned(), states, slices, periods, maximal, recipe };
        unit.check_names(&plan.dimensions)?;
        Ok(unit)
    }

    /// Whether all values of a slice are finished at once, because the table compares them.
    pub(crate) fn compares_values(&self) -> bool {
        matches!(&self.recipe, Recipe::Metric(metric) if metric.compares_values())
    }

    /// A relation that the table cannot do without and that there is not.
    pub(crate) fn missing(&self, present: &BTreeSet<Relation>) -> Option<Relation> {
        let needed = self.states.iter().map(|s| s.relation);
        needed.into_iter().find(|r| !present.contains(r) && !self.is_optional(*r))
    }

    fn is_optional(&self, relation: Relation) -> bool {
        match &self.recipe {
            Recipe::Metric(metric) => metric
                .states
                .iter()
                .filter(|s| s.relation == relation)
                .all(|s| s.absent == Absent::NoRows),
            Recipe::Custom(_) => false,
        }
    }

    /// Refuses columns of one name: a dimension can be called what the user likes.
    fn check_names(&self, dimensions: &[String]) -> Result<(), Error> {
        let common = common_columns(dimensions);
        let mut seen = BTreeSet::new();
        for spec in common.iter().chain(self.output()) {
            if !seen.insert(spec.name.as_ref()) {
                return Err(Error::Config(vec![format!(
                    "the table {:?} has two columns {:?}; give the dimension another name",
                    self.name, spec.name
                )]));
            }
        }
        let states = self.states.iter();
        for key in states.flat_map(|s| s.keys.iter().map(|k| &k.name)) {
            if dimensions.contains(key) {
                return Err(Error::Config(vec![format!(
                    "the dimension {key:?} has the name of a key of the table {:?}; \
                     give the dimension another name",
                    self.name
                )]));
            }
        }
        Ok(())
    }
}

/// Each length once, shorter ones first, the whole history last.
fn periods(given: &[Period]) -> Vec<Period> {
    let mut periods = given.to_vec();
    periods.retain(|p| *p != Period::All);
    periods.sort_unstable();
    periods.dedup();
    periods.push(Period::All);
    periods
}

/// The slices that are no part of another one; of equal sets the first.
fn maximal(slices: &[Vec<String>]) -> Vec<Vec<String>> {
    let sets: Vec<BTreeSet<&String>> = slices.iter().map(|s| s.iter().collect()).collect();
    slices
        .iter()
        .zip(&sets)
        .enumerate()
        .filter(|(place, (_, set))| {
            !sets.iter().enumerate().any(|(other, larger)| {
                set.is_subset(larger) && (set.len() < larger.len() || other < *place)
            })
        })
        .map(|(_, (slice, _))| slice.clone())
        .collect()
}

/// Tables that cannot be made, and why.
pub(crate) type Skipped = Vec<(String, String)>;

/// The units of all tables, and those that cannot be made with the reason.
pub(crate) fn prepare(
    carried: &BTreeMap<Relation, Vec<String>>,
    metrics: &[&'static Metric],
    custom: &[CustomMetric],
    plan: &Plan,
) -> Result<(Vec<Unit>, Skipped), Error> {
    let present = carried.keys().copied().collect();
    let mut units = Vec::new();
    let mut skipped = Vec::new();
    let mut add = |name: &str, states: Vec<StateQuery>, recipe: Recipe| -> Result<(), Error> {
        let unit = Unit::new(name, states, recipe, carried, plan)?;
        match unit.missing(&present) {
            _ if unit.slices.is_empty() => skipped.push((unit.name, NO_PEOPLE.to_owned())),
            Some(relation) => skipped.push((unit.name, relation.missing_because().to_owned())),
            None => units.push(unit),
        }
        Ok(())
    };
    for metric in metrics {
        let mut states = Vec::with_capacity(metric.states.len());
        for (number, state) in metric.states.iter().enumerate() {
            let query = StateQuery::parse(state.relation, state.sql, &[]).map_err(|refusal| {
                refusal.into_error(format!("table {:?}, state {}", metric.name, number + 1))
            })?;
            states.push(query);
        }
        add(metric.name, states, Recipe::Metric(metric))?;
    }
    let mut names: BTreeSet<String> = metrics.iter().map(|m| m.name.to_owned()).collect();
    for definition in custom {
        let (query, table) = CustomTable::read(definition, &plan.dimensions)?;
        if !names.insert(definition.name.clone()) {
            let problem = format!("the metric {:?} has the name of another table", definition.name);
            return Err(Error::Config(vec![problem]));
        }
        add(&definition.name, vec![query], Recipe::Custom(table))?;
    }
    Ok((units, skipped))
}

/// Every query of every unit, unit by unit, state by state, maximal slice by maximal slice.
pub(crate) fn jobs(units: &[Unit]) -> Vec<Job> {
    let mut jobs = Vec::new();
    for unit in units {
        for (number, query) in unit.states.iter().enumerate() {
            for slice in &unit.maximal {
                let whole = unit.periods == [Period::All] && query.rolls_up();
                jobs.push(Job {
                    whole,
                    what: format!(
                        "table {:?}, state {} by {}",
                        unit.name,
                        number + 1,
                        slice_name(slice)
                    ),
                    query: query.clone(),
                    slice: slice.clone(),
                });
            }
        }
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(slices: &[&[&str]], expected: &[&str]) {
        let slices: Vec<Vec<String>> =
            slices.iter().map(|s| s.iter().map(|d| (*d).to_owned()).collect()).collect();
        let names: Vec<String> = maximal(&slices).iter().map(|s| slice_name(s)).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn parts_of_another_slice_are_not_computed() {
        check(&[&[], &["a"], &["b"], &["b", "a"], &["c"]], &["b+a", "c"]);
    }

    #[test]
    fn equal_sets_are_computed_once() {
        check(&[&["a", "b"], &["b", "a"]], &["a+b"]);
    }

    #[test]
    fn total_alone_is_computed() {
        check(&[&[]], &["all"]);
    }
}
