//! Targets that are off pace: less was won by now than the share of their working days that is over.
//!
//! It looks at targets of net won amounts of everybody or of one owner, whose period has begun and is
//! not over; whose team an owner is, it does not know.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::metrics::{Absent, NO_KEY, Settings, State, StateView};
use crate::relations::Relation;
use crate::relations::targets::SCOPES;

/// What is to be reached.
pub(super) const TARGETS: State = State {
    relation: Relation::Targets,
    sql: "SELECT target_scope, target_owner, target_metric, starts_on, ends_on, workdays_n, \
          elapsed_workdays_n, SUM(target_amount) AS goal_amount, SUM(has_amount) AS goal_n, \
          COUNT(*) AS targets_n FROM targets GROUP BY target_scope, target_owner, target_metric, \
          starts_on, ends_on, workdays_n, elapsed_workdays_n",
    absent: Absent::NoRows,
};

/// What was won, by day and who is credited.
pub(super) const CREDITED: State = State {
    relation: Relation::Credits,
    sql: "SELECT credited_owner, credited_on, SUM(amount) AS credited_amount FROM credits \
          GROUP BY credited_owner, credited_on",
    absent: Absent::NoRows,
};

/// What the targets are of that are looked at.
const METRIC: &str = "net_won_amount";

/// A target whose period is under way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pace {
    /// The owner; none of everybody.
    pub(super) owner: Option<String>,
    pub(super) starts: i64,
    /// Minor units.
    pub(super) goal: i64,
    pub(super) reached: i64,
    /// Share of the working days that is over.
    pub(super) elapsed: f64,
}

impl Pace {
    /// What was reached, as a share of what is expected by now.
    pub(super) fn pace(&self) -> f64 {
        self.reached as f64 / self.due()
    }

    /// What is expected by now.
    pub(super) fn due(&self) -> f64 {
        self.goal as f64 * self.elapsed
    }
}

/// Of everybody and each owner the target that is furthest behind.
pub(super) fn paces(
    targets: &StateView<'_>,
    credited: &StateView<'_>,
    settings: &Settings,
) -> Result<Vec<Pace>, Error> {
    let today = i64::from(settings.calendar.day(settings.as_of));
    let name = |dictionary: &str, code: i64| settings.dictionaries.name(dictionary, code);
    let won = won_by_owner(credited, settings)?;
    let [scope, owner, metric, starts, ends, days, elapsed] = [
        targets.key("target_scope")?,
        targets.key("target_owner")?,
        targets.key("target_metric")?,
        targets.key("starts_on")?,
        targets.key("ends_on")?,
        targets.key("workdays_n")?,
        targets.key("elapsed_workdays_n")?,
    ];
    let (goal, goal_n, n) =
        (targets.value("goal_amount")?, targets.value("goal_n")?, targets.value("targets_n")?);
    let mut worst: BTreeMap<Option<String>, Pace> = BTreeMap::new();
    for row in 0..targets.rows() {
        let at = |column: &[i64]| column.get(row).copied().unwrap_or(NO_KEY);
        let scope = usize::try_from(at(scope)).ok().and_then(|code| SCOPES.get(code).copied());
        let is_ours = name("target_metric", at(metric)) == Some(METRIC) && scope != Some("team");
        let is_known = at(goal_n) == at(n) && at(goal) > 0;
        let is_under_way = (at(starts)..at(ends)).contains(&today) && at(elapsed) > 0;
        if !(is_ours && is_known && is_under_way && at(days) > 0) {
            continue;
        }
        let owner = name("target_owner", at(owner)).map(str::to_owned);
        if scope == Some("owner") && owner.is_none() {
            continue;
        }
        let reached =
            |days: &BTreeMap<i64, i64>| days.range(at(starts)..at(ends)).map(|d| d.1).sum::<i64>();
        let pace = Pace {
            reached: match &owner {
                Some(owner) => won.get(owner.as_str()).map_or(0, reached),
                None => won.values().map(reached).sum(),
            },
            owner,
            starts: at(starts),
            goal: at(goal),
            elapsed: (at(elapsed) as f64 / at(days) as f64).min(1.0),
        };
        let place = worst.entry(pace.owner.clone()).or_insert_with(|| pace.clone());
        if pace.pace() < place.pace() {
            *place = pace;
        }
    }
    Ok(worst.into_values().collect())
}

/// What each owner won a day; the empty name is nobody's.
fn won_by_owner<'a>(
    credited: &StateView<'_>,
    settings: &'a Settings,
) -> Result<BTreeMap<&'a str, BTreeMap<i64, i64>>, Error> {
    let keys = credited.key("credited_owner")?.iter().zip(credited.key("credited_on")?);
    let mut won: BTreeMap<&str, BTreeMap<i64, i64>> = BTreeMap::new();
    for ((owner, day), amount) in keys.zip(credited.value("credited_amount")?) {
        let owner = settings.dictionaries.name("owner", *owner).unwrap_or_default();
        *won.entry(owner).or_default().entry(*day).or_default() += amount;
    }
    Ok(won)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{settings, state};

    const EVERYBODY: i64 = 0;
    const TEAM: i64 = 1;
    const OWNER: i64 = 2;

    #[test]
    fn pace_is_what_was_won_over_what_the_days_gone_by_call_for() {
        // As of day 19 of 40: ten of twenty working days are over. Ann won 300 of 1,000: 300/500;
        // her quarter's target is less behind. Bob won 200 of 400: on pace. All won 500 of 4,000.
        let keys = [
            "target_scope",
            "target_owner",
            "target_metric",
            "starts_on",
            "ends_on",
            "workdays_n",
            "elapsed_workdays_n",
        ];
        let values = ["goal_amount", "goal_n", "targets_n"];
        let rows: [&[i64]; 7] = [
            &[EVERYBODY, NO_KEY, 0, 0, 40, 20, 10, 4_000, 1, 1],
            &[TEAM, NO_KEY, 0, 0, 40, 20, 10, 9_000, 1, 1],
            &[OWNER, 0, 0, 0, 40, 20, 10, 1_000, 1, 1],
            &[OWNER, 0, 0, 0, 90, 60, 10, 2_000, 1, 1],
            &[OWNER, 1, 0, 0, 40, 20, 10, 400, 1, 1],
            // Of something else; and not begun.
            &[OWNER, 1, 1, 0, 40, 20, 10, 90_000, 1, 1],
            &[OWNER, 1, 0, 40, 80, 20, 0, 90_000, 1, 1],
        ];
        let credited: [&[i64]; 4] = [&[0, 3, 200], &[0, 19, 100], &[1, 5, 200], &[1, -4, 70_000]];
        let mut settings = settings(&["L"], 19);
        for (key, own) in [
            ("target_owner", vec!["ann", "bob"]),
            ("owner", vec!["ann", "bob"]),
            ("target_metric", vec!["net_won_amount", "visits"]),
        ] {
            let own: Vec<String> = own.into_iter().map(str::to_owned).collect();
            settings.dictionaries.names.insert(key.into(), own.into());
        }
        let found = paces(
            &state(&keys, &values, &rows).view(),
            &state(&["credited_owner", "credited_on"], &["credited_amount"], &credited).view(),
            &settings,
        )
        .unwrap();
        let told: Vec<(Option<&str>, i64, f64)> =
            found.iter().map(|p| (p.owner.as_deref(), p.reached, p.pace())).collect();
        assert_eq!(told, [(None, 500, 0.25), (Some("ann"), 300, 0.6), (Some("bob"), 200, 1.0)]);
    }
}
