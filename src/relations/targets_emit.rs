//! The columns of `targets`: whose they are, their working days, and whether anybody knows whose.

use std::collections::BTreeSet;

use super::Relation;
use super::assemble::{Assembler, shard};
use super::batch::{Batch, BatchBuilder};
use super::tables_emit::Optional;
use super::teams::TEAMS;
use crate::contract::hash_text;
use crate::error::Error;
use crate::fold::amount_or_zero;
use crate::money::NO_AMOUNT;
use crate::source::{LookupKey, TargetRow};

impl Assembler<'_> {
    pub(super) fn targets(
        &self,
        optional: &Optional<'_>,
        rows: &[TargetRow],
        known: &[bool],
    ) -> Result<Batch, Error> {
        let work = &optional.tables.workdays;
        let after_today = self.calendar.day(self.as_of) + 1;
        let scope = |row: &TargetRow| match (&row.owner, &row.team) {
            (Some(_), _) => 2_u32,
            (None, Some(_)) => 1,
            (None, None) => 0,
        };
        let split = |row: &TargetRow| {
            let whose = row.owner.as_deref().or(row.team.as_deref());
            shard(hash_text(whose.unwrap_or_default()))
        };
        let elapsed = |row: &TargetRow| work.workdays(row.from, row.to.min(after_today));
        let builder = BatchBuilder::new(Relation::Targets, rows.len(), self.wanted)
            .small("shard", || rows.iter().map(split).collect())
            .name("target_scope", || rows.iter().map(scope).collect::<Vec<_>>())
            .name("target_owner", || {
                self.codes("target_owner", rows.iter().map(|r| r.owner.as_ref()))
            })
            .name("target_team", || self.codes("target_team", rows.iter().map(|r| r.team.as_ref())))
            .name("member_team", || self.member_teams(rows))
            .name("target_metric", || {
                self.codes("target_metric", rows.iter().map(|r| Some(&r.metric)))
            })
            .day("starts_on", || rows.iter().map(|r| r.from).collect())
            .day("ends_on", || rows.iter().map(|r| r.to).collect())
            .day("starts_period", || rows.iter().map(|r| self.starts.start(r.from)).collect())
            .int("target_amount", || rows.iter().map(|r| amount_or_zero(r.amount)).collect())
            .flag("has_amount", || rows.iter().map(|r| i8::from(r.amount != NO_AMOUNT)).collect())
            .int("workdays_n", || rows.iter().map(|r| work.workdays(r.from, r.to)).collect())
            .int("elapsed_workdays_n", || rows.iter().map(elapsed).collect())
            .flag("is_known", || known.iter().map(|known| i8::from(*known)).collect());
        let key = |row: &TargetRow| row.owner.clone();
        let at = |row: &TargetRow| self.calendar.instant(row.from);
        let team = |row: &TargetRow| row.team.clone().filter(|_| row.owner.is_none());
        self.looked_up(builder, &LookupKey::Owner, rows, &key, &at, &team)
            .finish(&self.dictionaries)
    }

    fn member_teams(&self, rows: &[TargetRow]) -> Vec<u32> {
        let owners = rows
            .iter()
            .map(|row| (self.code("owner", row.owner.as_ref()), self.calendar.instant(row.from)));
        let known = rows.iter().zip(self.teams_of(owners));
        known
            .map(|(row, known)| match &row.team {
                Some(team) => self.code(TEAMS, Some(team)),
                None => known,
            })
            .collect()
    }

    /// Which targets are of somebody: an owner of a deal or in the users, a team of the users, or
    /// everybody. A team is not judged where there are no users to tell the teams.
    pub(super) fn known_targets(&self, rows: &[TargetRow]) -> Vec<bool> {
        let owners = self.dictionaries.names.get("owner");
        let users: Vec<&crate::source::Lookup> = self
            .lookups
            .iter()
            .map(|join| join.lookup)
            .filter(|lookup| lookup.key == LookupKey::Owner)
            .collect();
        let teams: BTreeSet<&String> = self.teams().into_iter().flatten().collect();
        let has_owner = |owner: &String| {
            owners.is_some_and(|names| names.binary_search(owner).is_ok())
                || users.iter().any(|users| users.rows.contains_key(owner))
        };
        let is_known = |row: &TargetRow| match (&row.owner, &row.team) {
            (Some(owner), _) => has_owner(owner),
            (None, Some(team)) => teams.is_empty() || teams.contains(team),
            (None, None) => true,
        };
        rows.iter().map(is_known).collect()
    }

    /// The names of each dimension that is the team of the users.
    fn teams(&self) -> Vec<&[String]> {
        let is_team = |name: &&String| self.team_dimensions.contains(*name);
        let own = self.dimensions.iter().filter(is_team);
        own.filter_map(|name| self.dictionaries.names.get(name)).map(|n| n.as_slice()).collect()
    }
}
