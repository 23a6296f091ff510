//! Sums by day of everybody, of each team and of each owner, for spans of any days.
//!
//! Invariant: what the owners have of a span adds up to what everybody has of it.

use std::collections::BTreeMap;

use super::plans::Whose;
use crate::error::Error;
use crate::metrics::{NO_KEY, StateView, period_start};
use crate::relations::Dictionaries;
use crate::time::Day;

/// Sums up to each day, from the first one on.
#[derive(Debug, Clone)]
pub(super) struct Daily<const N: usize> {
    days: Vec<Day>,
    sums: Vec<[i128; N]>,
}

impl<const N: usize> Default for Daily<N> {
    fn default() -> Self {
        Self { days: Vec::new(), sums: Vec::new() }
    }
}

impl<const N: usize> Daily<N> {
    /// Adds to a day; days come in order.
    fn add(&mut self, day: Day, values: &[i128; N]) {
        let mut sum = self.sums.last().copied().unwrap_or([0; N]);
        sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        if self.days.last() == Some(&day) {
            self.sums.pop();
        } else {
            self.days.push(day);
        }
        self.sums.push(sum);
    }

    /// The sums from one day on until another, exclusive.
    pub(super) fn between(&self, from: Day, to: Day) -> [i128; N] {
        let before = |day: Day| -> [i128; N] {
            let place = self.days.partition_point(|own| *own < day);
            place.checked_sub(1).and_then(|at| self.sums.get(at).copied()).unwrap_or([0; N])
        };
        let (mut sums, less) = (before(to.max(from)), before(from));
        sums.iter_mut().zip(less).for_each(|(sum, less)| *sum -= less);
        sums
    }

    /// The first day.
    pub(super) fn first(&self) -> Option<Day> {
        self.days.first().copied()
    }
}

/// The sums of everybody, and of parts of everybody. Whose owner or team is not known is only in
/// what is everybody's.
#[derive(Debug, Clone, Default)]
pub(super) struct ByWhose<'a, const N: usize> {
    pub(super) all: Daily<N>,
    teams: BTreeMap<&'a str, Daily<N>>,
    owners: BTreeMap<Option<&'a str>, Daily<N>>,
    members: BTreeMap<&'a str, BTreeMap<Option<&'a str>, Daily<N>>>,
}

impl<'a, const N: usize> ByWhose<'a, N> {
    /// The sums of a state whose first key is a day, sorted by it; `owner` and `team` are its keys,
    /// and `values` makes a row's numbers.
    ///
    /// # Errors
    /// A bug of ours: the state has no such key.
    pub(super) fn new(
        state: &StateView<'_>,
        [day, owner, team]: [&str; 3],
        dictionaries: &'a Dictionaries,
        values: impl Fn(usize) -> [i128; N],
    ) -> Result<Self, Error> {
        let mut all = Self::default();
        let (owners, teams) = (state.key(owner)?, state.key(team)?);
        for (row, ((day, owner), team)) in state.key(day)?.iter().zip(owners).zip(teams).enumerate()
        {
            let name = |dictionary: &str, code: i64| {
                dictionaries.name(dictionary, code).filter(|_| code != NO_KEY)
            };
            let (owner, team) = (name("owner", *owner), name("team_of_owner", *team));
            all.add(period_start(*day), owner, team, &values(row));
        }
        Ok(all)
    }

    fn add(&mut self, day: Day, owner: Option<&'a str>, team: Option<&'a str>, own: &[i128; N]) {
        self.all.add(day, own);
        self.owners.entry(owner).or_default().add(day, own);
        if let Some(team) = team {
            self.teams.entry(team).or_default().add(day, own);
            self.members.entry(team).or_default().entry(owner).or_default().add(day, own);
        }
    }

    /// What somebody has of a span.
    pub(super) fn between(&self, whose: Whose<'_>, from: Day, to: Day) -> [i128; N] {
        let daily = match whose {
            Whose::Everybody => Some(&self.all),
            Whose::Team(team) => self.teams.get(team),
            Whose::Owner(owner) => self.owners.get(&Some(owner)),
        };
        daily.map_or([0; N], |daily| daily.between(from, to))
    }

    /// What each owner adds to what somebody has of a span.
    pub(super) fn contributions(
        &self,
        whose: Whose<'_>,
        from: Day,
        to: Day,
    ) -> Vec<(Option<&'a str>, [i128; N])> {
        let is_asked = |owner: &Option<&str>| match whose {
            Whose::Owner(asked) => *owner == Some(asked),
            Whose::Everybody | Whose::Team(_) => true,
        };
        let owners = match whose {
            Whose::Team(team) => self.members.get(team),
            Whose::Everybody | Whose::Owner(_) => Some(&self.owners),
        };
        let own = owners.into_iter().flatten().filter(|(owner, _)| is_asked(owner));
        own.map(|(owner, daily)| (*owner, daily.between(from, to))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_begins_with_its_first_day_and_ends_before_its_last() {
        let mut daily = Daily::<1>::default();
        for (day, value) in [(3, 5), (3, 1), (7, 10)] {
            daily.add(day, &[value]);
        }
        let spans = [(0, 3), (3, 4), (3, 7), (4, 8), (0, 99), (8, 9), (9, 3)];
        let sums = spans.map(|(from, to)| daily.between(from, to)[0]);
        assert_eq!(sums, [0, 6, 6, 10, 16, 0, 0]);
    }
}
