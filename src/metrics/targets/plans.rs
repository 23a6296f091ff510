//! Targets as they are planned: whose, of what, from when until when, and how much.
//!
//! Several rows of one owner, team or everybody for one thing and span add up. A team, and everybody,
//! has the target of its own row, or else the sum of its members'; that sum stands beside it anyway.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::metrics::{NO_KEY, Settings, StateView, period_start};
use crate::relations::targets::SCOPES;
use crate::table::Value;
use crate::time::Day;

/// The state of every table about targets.
pub(super) const SQL: &str = "SELECT target_metric, target_scope, target_owner, target_team, member_team, \
     starts_on, ends_on, COUNT(*) AS rows_n, SUM(has_amount) AS known_n, \
     SUM(target_amount) AS target_amount, MAX(workdays_n) AS workdays_n, \
     MAX(elapsed_workdays_n) AS elapsed_workdays_n FROM targets \
     GROUP BY target_metric, target_scope, target_owner, target_team, member_team, starts_on, ends_on";

/// The columns that say which target a row is about, and others behind them.
macro_rules! target_columns {
    ($($column:expr),* $(,)?) => {
        &[
            ColumnSpec::text("target_metric", "What is counted towards the target.").key(),
            ColumnSpec::text("target_scope", "Whose it is: everybody, team or owner.").key(),
            ColumnSpec::text("target_team", "The team; null where it is not a team's.")
                .key()
                .nullable(),
            ColumnSpec::text("target_owner", "The owner; null where it is not an owner's.")
                .key()
                .nullable(),
            ColumnSpec::date("starts_on", "First day of the target.").key(),
            ColumnSpec::date("ends_on", "The day after its last one.").key(),
            $($column,)*
        ]
    };
}
pub(super) use target_columns;

/// Whose a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose<'a> {
    Everybody,
    Team(&'a str),
    Owner(&'a str),
}

impl Whose<'_> {
    /// Its name among the scopes.
    pub(super) fn scope(self) -> &'static str {
        let place = match self {
            Self::Everybody => 0,
            Self::Team(_) => 1,
            Self::Owner(_) => 2,
        };
        SCOPES.get(place).copied().unwrap_or_default()
    }
}

/// What is counted towards a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    NetWon,
    GrossWon,
    /// Nothing that is known here.
    Unknown,
}

impl Counted {
    pub(super) fn of(metric: &str) -> Self {
        match metric {
            "net_won_amount" => Self::NetWon,
            "gross_won_amount" => Self::GrossWon,
            _ => Self::Unknown,
        }
    }
}

/// Of what and of whom a target is, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target<'a> {
    pub(super) metric: &'a str,
    pub(super) whose: Whose<'a>,
    pub(super) from: Day,
    pub(super) to: Day,
}

impl Target<'_> {
    /// The values of the columns that say which target it is.
    pub(super) fn keys(&self) -> [(&'static str, Value<'_>); 6] {
        let text = |name| Value::Text(name);
        let (team, owner) = match self.whose {
            Whose::Everybody => (Value::Null, Value::Null),
            Whose::Team(team) => (text(team), Value::Null),
            Whose::Owner(owner) => (Value::Null, text(owner)),
        };
        [
            ("target_metric", text(self.metric)),
            ("target_scope", text(self.whose.scope())),
            ("target_team", team),
            ("target_owner", owner),
            ("starts_on", Value::Date(self.from)),
            ("ends_on", Value::Date(self.to)),
        ]
    }
}

/// A sum of targets; unknown where one of them is, such as one without an exchange rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sum {
    amount: i64,
    rows_n: i64,
    known_n: i64,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.amount += other.amount;
        self.rows_n += other.rows_n;
        self.known_n += other.known_n;
    }

    /// What is to be reached; `None` without a target, or where one of them is unknown.
    pub(super) fn amount(self) -> Option<i64> {
        (self.rows_n > 0 && self.rows_n == self.known_n).then_some(self.amount)
    }
}

/// What is planned for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Planned {
    own: Sum,
    members: Sum,
    pub(super) workdays: i64,
    pub(super) elapsed: i64,
}

impl Planned {
    /// Whether the target is of a row of its own.
    pub(super) fn is_own(&self) -> bool {
        self.own.rows_n > 0
    }

    /// What is to be reached: by its own row, or else by its members'.
    pub(super) fn amount(&self) -> Option<i64> {
        if self.is_own() { self.own.amount() } else { self.members.amount() }
    }

    /// What its members are to reach together.
    pub(super) fn members(&self) -> Option<i64> {
        self.members.amount()
    }
}

/// Every target with what is planned.
pub(super) type Plans<'a> = BTreeMap<Target<'a>, Planned>;

/// The targets of a state of [`SQL`].
///
/// # Errors
/// A bug of ours: the state has no such column.
pub(super) fn read<'a>(state: &StateView<'_>, settings: &'a Settings) -> Result<Plans<'a>, Error> {
    let (metrics, scopes) = (state.key("target_metric")?, state.key("target_scope")?);
    let (owners, teams) = (state.key("target_owner")?, state.key("target_team")?);
    let members = state.key("member_team")?;
    let values = ["rows_n", "known_n", "target_amount", "workdays_n", "elapsed_workdays_n"];
    let mut columns = Vec::with_capacity(values.len());
    for name in values {
        columns.push(state.value(name)?);
    }
    let (starts, ends) = (state.key("starts_on")?, state.key("ends_on")?);
    let mut plans = Plans::new();
    for row in 0..state.rows() {
        let at = |column: &[i64]| column.get(row).copied().unwrap_or(NO_KEY);
        let name = |dictionary: &str, column: &[i64]| {
            settings.dictionaries.name(dictionary, at(column)).filter(|_| at(column) != NO_KEY)
        };
        let metric = name("target_metric", metrics).unwrap_or_default();
        let owner = name("target_owner", owners);
        let team = name("target_team", teams);
        let whose = match (at(scopes), owner, team) {
            (2, Some(owner), _) => Whose::Owner(owner),
            (1, _, Some(team)) => Whose::Team(team),
            _ => Whose::Everybody,
        };
        let (from, to) = (period_start(at(starts)), period_start(at(ends)));
        let [rows_n, known_n, amount, workdays, elapsed] =
            [0, 1, 2, 3, 4].map(|place| columns.get(place).map_or(0, |column| at(column)));
        let sum = Sum { amount, rows_n, known_n };
        let mut planned = |whose: Whose<'a>, is_own: bool| {
            let plan = plans.entry(Target { metric, whose, from, to }).or_default();
            let to = if is_own { &mut plan.own } else { &mut plan.members };
            to.add(sum);
            (plan.workdays, plan.elapsed) = (workdays, elapsed);
        };
        planned(whose, true);
        if let (Whose::Owner(_), Some(team)) = (whose, name("team_of_owner", members)) {
            planned(Whose::Team(team), false);
        }
        if let Whose::Owner(_) = whose {
            planned(Whose::Everybody, false);
        }
    }
    add_teams(&mut plans);
    Ok(plans)
}

/// Where no owner has a target of a thing and span, everybody's members are the teams.
fn add_teams(plans: &mut Plans<'_>) {
    let teams: Vec<(Target<'_>, Planned)> = plans
        .iter()
        .filter(|(target, plan)| matches!(target.whose, Whose::Team(_)) && plan.is_own())
        .map(|(target, plan)| (*target, *plan))
        .collect();
    let has_owners = |target: &Target<'_>| {
        let everybody = Target { whose: Whose::Everybody, ..*target };
        plans.get(&everybody).is_some_and(|plan| plan.members.rows_n > 0)
    };
    let free: Vec<_> = teams.into_iter().filter(|(target, _)| !has_owners(target)).collect();
    for (target, plan) in free {
        let all = plans.entry(Target { whose: Whose::Everybody, ..target }).or_default();
        all.members.add(plan.own);
        (all.workdays, all.elapsed) = (plan.workdays, plan.elapsed);
    }
}
