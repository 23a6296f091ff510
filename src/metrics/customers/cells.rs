//! Retention by cohort and age, as both of its tables need it: how many customers of a cohort came
//! back at an age, at that age or later, and within a bracket of ages.
//!
//! Invariant: a cell is mature when the last period that it looks at has ended by as_of.

use crate::error::Error;
use crate::metrics::{Absent, Group, State, StateView, by_period};
use crate::relations::Relation;
use crate::time::{Day, NO_DAY, Period};

/// What both tables are made of.
pub(super) const STATES: &[State] = &[
    State {
        relation: Relation::CustomerPeriods,
        sql: "SELECT grain, cohort_start, age, SUM(is_active) AS active_n, \
              SUM(is_last_active) AS last_active_n, SUM(is_bracket_first) AS bracket_n \
              FROM customer_periods GROUP BY grain, cohort_start, age",
        absent: Absent::SkipTable,
    },
    State {
        relation: Relation::Customers,
        sql: "SELECT cohort_period AS cohort, COUNT(*) AS customers_n FROM customers \
              GROUP BY cohort",
        absent: Absent::SkipTable,
    },
];

/// What counts as coming back, in the order of the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Method {
    /// In any period of a bracket of ages.
    Bracketed,
    /// In the period of the age itself.
    Classic,
    /// In the period of the age or any later one.
    Rolling,
}

impl Method {
    /// Its name in tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bracketed => "bracketed",
            Self::Classic => "classic",
            Self::Rolling => "rolling",
        }
    }
}

/// One cell of a cohort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) method: Method,
    pub(super) age: i64,
    /// The last age it looks at; that of as_of where it looks at all later ones.
    pub(super) last_age: i64,
    pub(super) is_mature: bool,
    pub(super) retained_n: i64,
}

/// One cohort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cohort {
    pub(super) start: Day,
    pub(super) size_n: i64,
    /// By method, then age.
    pub(super) cells: Vec<Cell>,
}

/// Every cohort of a group, in order. There are none by day, whose cells would outnumber the orders,
/// nor for the whole history, which has no age.
pub(super) fn cohorts(group: &Group<'_>) -> Result<Vec<Cohort>, Error> {
    let [cells, sizes] = group.states else {
        return Err(Error::Bug("retention has two states".into()));
    };
    if matches!(group.period, Period::All | Period::Day) {
        return Ok(Vec::new());
    }
    let mut cohorts = Vec::new();
    for (start, [cells, sizes]) in by_period([cells, sizes]) {
        if let Some(size_n) = sizes.value("customers_n")?.first().filter(|_| start != NO_DAY) {
            cohorts.push(cohort(group, (start, *size_n), &cells)?);
        }
    }
    Ok(cohorts)
}

fn cohort(
    group: &Group<'_>,
    (start, size_n): (Day, i64),
    state: &StateView<'_>,
) -> Result<Cohort, Error> {
    let (calendar, as_of) = (&group.settings.calendar, group.settings.as_of);
    let current = calendar.start(group.period, calendar.day(as_of));
    let last_age = i64::from(calendar.distance(group.period, start, current));
    // Only the period of as_of may be under way.
    let is_over = calendar.is_complete(group.period, current, as_of);
    let is_mature = |age: i64| age < last_age || (age == last_age && is_over);
    let at = |column: &'static str| -> Result<Vec<i64>, Error> {
        let mut by_age = vec![0; usize::try_from(last_age + 1).unwrap_or(0)];
        for (age, value) in state.key("age")?.iter().zip(state.value(column)?) {
            let place = usize::try_from(*age).ok().and_then(|age| by_age.get_mut(age));
            *place.ok_or_else(|| Error::Bug("a cohort is older than as_of".into()))? += value;
        }
        Ok(by_age)
    };
    let (active, last, firsts) = (at("active_n")?, at("last_active_n")?, at("bracket_n")?);
    let mut cells = Vec::new();
    let mut first_age = 1;
    for bracket in &group.settings.customers.retention_brackets {
        if first_age > last_age {
            break;
        }
        let own = (0..).zip(&firsts).filter(|(age, _)| (first_age..=*bracket).contains(age));
        cells.push(Cell {
            method: Method::Bracketed,
            age: first_age,
            last_age: *bracket,
            is_mature: is_mature(*bracket),
            retained_n: own.map(|(_, n)| n).sum(),
        });
        first_age = bracket + 1;
    }
    cells.extend((0..).zip(&active).map(|(age, retained_n)| Cell {
        method: Method::Classic,
        age,
        last_age: age,
        is_mature: is_mature(age),
        retained_n: *retained_n,
    }));
    let mut still_n: i64 = last.iter().sum();
    cells.extend((0..).zip(&last).map(|(age, last_n)| {
        let retained_n = still_n;
        still_n -= last_n;
        Cell { method: Method::Rolling, age, last_age, is_mature: is_mature(age), retained_n }
    }));
    Ok(Cohort { start, size_n, cells })
}
