//! `target_contributions`: whose deals a target's attained amount is made of.
//!
//! One row per target and credited owner with won deals in its span. It does not list deals, and
//! leaves out targets of which nothing is known to count.
//!
//! Invariant: the rows of a target add up to its attained amount in minor units, checked in every
//! run.

use super::plans::{self, Target, target_columns};
use super::target_attainment::{CREDITS, Credits, attained, credits};
use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, View};
use crate::relations::Relation;
use crate::stats::ratio;
use crate::table::{ColumnSpec, Value};
use crate::time::{NO_DAY, Period, day_text};

/// Definition: an owner contributes to everybody's target whatever is credited to it, and to a
/// team's what is credited to it for deals that it closed as a member.
pub static METRIC: Metric = Metric {
    name: "target_contributions",
    question: "Who contributes how much to each target?",
    grain: "one row per target and owner who is credited with a won deal of its span",
    states: &[
        State { relation: Relation::Targets, sql: plans::SQL, absent: Absent::SkipTable },
        State { relation: Relation::Credits, sql: CREDITS, absent: Absent::SkipTable },
    ],
    output: OUTPUT,
    view: View::Bars("contributed_amount"),
    references: &[],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = target_columns![
    ColumnSpec::text("credited_owner", "Who contributes; null for deals without an owner.")
        .key()
        .nullable(),
    ColumnSpec::count("won_n", "deals", "Won deals that the owner is credited with."),
    ColumnSpec::money("contributed_amount", "What the owner is credited with."),
    ColumnSpec::money("attained_amount", "What all owners of the target contribute together."),
    ColumnSpec::number(
        "contribution_share",
        "share",
        "contributed_amount / attained_amount; below zero or above 1 where refunds stand against \
         it; null where nothing is attained.",
    )
    .nullable(),
    ColumnSpec::money(
        "remaining_amount",
        "attained_amount less what this owner and those before it contribute; zero on a target's \
         last row.",
    ),
];

const IDENTITIES: &[Identity] = &[Identity {
    claim: "who contributes has won deals",
    holds: |row| row.int("won_n").is_some_and(|n| n > 0),
}];

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [targets, credited] = group.states else {
        return Err(Error::Bug("target_contributions has two states".into()));
    };
    if group.period != Period::All {
        return Ok(());
    }
    let plans = plans::read(targets, group.settings)?;
    let credits = credits(credited, group.settings)?;
    plans.keys().try_for_each(|target| push(target, &credits, rows))
}

fn push(target: &Target<'_>, credits: &Credits<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let Target { whose, from, to, .. } = *target;
    let Some(all) = attained(target, credits.between(whose, from, to)) else { return Ok(()) };
    let mut remaining = all;
    for (owner, own) in credits.contributions(whose, from, to) {
        let [_, _, won_n] = own;
        if won_n == 0 {
            continue;
        }
        let amount = attained(target, own).unwrap_or(0);
        remaining -= amount;
        let mut values = target.keys().to_vec();
        values.extend([
            ("credited_owner", owner.map_or(Value::Null, Value::Text)),
            ("won_n", Value::Int(i64::try_from(won_n).unwrap_or(i64::MAX))),
            ("contributed_amount", Value::Money(amount)),
            ("attained_amount", Value::Money(all)),
            ("contribution_share", Value::float(ratio(amount, all))),
            ("remaining_amount", Value::Money(remaining)),
        ]);
        rows.push(NO_DAY, &values)?;
    }
    if remaining == 0 {
        return Ok(());
    }
    Err(Error::IdentityBroken {
        table: METRIC.name.into(),
        identity: "the contributions of a target add up to its attained amount".into(),
        place: format!("{:?} from {} to {}", whose, day_text(from), day_text(to)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::targets::target_attainment::tests::{relations, table_of};
    use crate::metrics::testing::check;

    #[test]
    fn contributions_add_up_and_members_count_for_their_team_only() {
        let table = table_of(&METRIC, &relations(), "2024-02-15");
        let of = |scope| ["target_metric=net_won_amount", scope, "starts_on=2024-01-01"];
        // Everybody: ann 60.00 + 20.00, bob 30.00 - 5.00, nobody 7.00.
        let all = &of("target_scope=everybody");
        check(&table, all, "credited_owner", "- ann bob");
        check(&table, all, "contributed_amount", "7.00 80.00 25.00");
        check(&table, all, "remaining_amount", "105.00 25.00 0.00");
        // Of the north are ann's first deal and bob's; ann closed her second as one of the south.
        let north = &of("target_team=north");
        check(&table, north, "credited_owner", "ann bob");
        check(&table, north, "contributed_amount", "60.00 25.00");
        check(&table, north, "attained_amount", "85.00 85.00");
        check(&table, &of("target_owner=bob"), "contribution_share", "1.0");
    }
}
