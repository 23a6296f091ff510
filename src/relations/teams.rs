//! Whose team an owner was at an instant, for tables about teams.
//!
//! Teams are known where a dimension is the team of the users. It knows no target.

use std::sync::Arc;

use super::assemble::{Assembler, Column};
use super::joins::Key;
use crate::contract::NO_CODE;
use crate::source::Tables;
use crate::time::Instant;

/// The dictionary of the columns that hold teams.
pub(super) const TEAMS: &str = "team_of_owner";

/// Every team that the users have or that a target is of.
pub(super) fn names(of_users: Option<&[String]>, tables: Option<&Tables>) -> Arc<Vec<String>> {
    let targets = tables.iter().flat_map(|tables| tables.targets.iter().flatten());
    let mut all: Vec<String> = targets.filter_map(|row| row.team.clone()).collect();
    all.extend(of_users.unwrap_or_default().iter().cloned());
    all.sort();
    all.dedup();
    Arc::new(all)
}

impl Assembler<'_> {
    /// The team that each owner, by the code of its name, had at an instant; null where nobody knows.
    pub(super) fn teams_of(&self, owners: impl Iterator<Item = (u32, Instant)>) -> Vec<u32> {
        let own = self.dimensions.iter().zip(&self.sources);
        let team = own.into_iter().find_map(|(name, source)| match source {
            Column::Lookup(place, by_row) if self.team_dimensions.contains(name) => {
                Some((name, self.lookups.get(*place)?, by_row))
            }
            _ => None,
        });
        let Some((dimension, join, by_row)) = team else {
            return owners.map(|_| NO_CODE).collect();
        };
        let names = |dictionary: &str| self.dictionaries.names.get(dictionary);
        let place = |team: &String| {
            let found = names(TEAMS).and_then(|teams| teams.binary_search(team).ok());
            found.map_or(NO_CODE, |place| place as u32)
        };
        let teams: Vec<u32> =
            names(dimension).iter().flat_map(|all| all.iter().map(place)).collect();
        let keys: Vec<Key> =
            names("owner").iter().flat_map(|all| all.iter().map(|name| join.find(name))).collect();
        let team = |(owner, at): (u32, Instant)| {
            let key = keys.get(owner as usize).copied().unwrap_or(Key::Null);
            let Key::Row(row) = join.row_at(key, at) else { return NO_CODE };
            let code = by_row.get(row as usize).copied().unwrap_or(NO_CODE);
            teams.get(code as usize).copied().unwrap_or(NO_CODE)
        };
        owners.map(team).collect()
    }
}
