//! `pipeline_causes`: what happened to the deals of the pipeline in a period, each cause by itself.
//!
//! A deal counts for every cause that it had, so the rows do not add up; where it counts once, and
//! everything adds up, is [`super::pipeline_waterfall`].
//!
//! Invariant: no cause happened less often than to one deal each.

use super::name_of;
use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, View, period_start};
use crate::relations::Relation;
use crate::relations::pipeline_flows::WINDOWS;
use crate::table::{ColumnSpec, Value};
use crate::time::Period;

/// Definition: events of deals that were in the pipeline of the window at some time of the period;
/// amounts and close dates count while the deal is open. A deal is counted under the values that its
/// dimensions have at the end of the period, or as it left.
///
/// Edge cases: causes that did not happen have no row; rates of exchange are no cause.
pub static METRIC: Metric = Metric {
    name: "pipeline_causes",
    question: "What happened to the deals of the pipeline, and how often?",
    grain: "one row per slice, period, window and cause",
    states: &[State {
        relation: Relation::PipelineFlows,
        sql: "SELECT grain, period_start, flow_window, SUM(created_n) AS created_times, \
              SUM(created_amount) AS came_amount, SUM(reopens_n) AS reopened_times, \
              SUM(CASE WHEN reopens_n > 0 THEN 1 ELSE 0 END) AS reopened_deals, \
              SUM(raises_n) AS raised_times, SUM(raised_amount) AS more_amount, \
              SUM(CASE WHEN raises_n > 0 THEN 1 ELSE 0 END) AS raised_deals, \
              SUM(cuts_n) AS cut_times, SUM(cut_amount) AS less_amount, \
              SUM(CASE WHEN cuts_n > 0 THEN 1 ELSE 0 END) AS cut_deals, \
              SUM(pushes_n) AS pushed_times, SUM(pushed_days) AS later_days, \
              SUM(CASE WHEN pushes_n > 0 THEN 1 ELSE 0 END) AS pushed_deals, \
              SUM(pulls_n) AS pulled_times, SUM(pulled_days) AS earlier_days, \
              SUM(CASE WHEN pulls_n > 0 THEN 1 ELSE 0 END) AS pulled_deals, \
              SUM(wins_n) AS won_times, SUM(CASE WHEN wins_n > 0 THEN 1 ELSE 0 END) AS won_deals, \
              SUM(losses_n) AS lost_times, \
              SUM(CASE WHEN losses_n > 0 THEN 1 ELSE 0 END) AS lost_deals, \
              SUM(deletions_n) AS deleted_times, \
              SUM(CASE WHEN deletions_n > 0 THEN 1 ELSE 0 END) AS deleted_deals \
              FROM pipeline_flows GROUP BY grain, period_start, flow_window",
        absent: Absent::SkipTable,
    }],
    output: OUTPUT,
    view: View::Bars("times_n"),
    references: &["Salesforce, 2024, Pipeline Inspection (the causes of change)"],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text(
        "window",
        "Which pipeline: all open deals, or those whose expected close_date is in the period.",
    )
    .key(),
    ColumnSpec::text(
        "cause",
        "created, reopened, raised and cut (the amount), pushed and pulled (the expected close \
         date, later and earlier), won, lost, deleted.",
    )
    .key(),
    ColumnSpec::count("deals_n", "deals", "Deals to which it happened."),
    ColumnSpec::count("times_n", "times", "How often it happened."),
    ColumnSpec::money(
        "cause_amount",
        "The amount at creation, or by how much amounts rose or fell in all; else null.",
    )
    .nullable(),
    ColumnSpec::count("moved_days", "days", "By how much close dates moved in all; else null.")
        .nullable(),
];

const IDENTITIES: &[Identity] = &[Identity {
    claim: "0 < deals_n ≤ times_n",
    holds: |row| row.int("deals_n") > Some(0) && row.int("deals_n") <= row.int("times_n"),
}];

/// Name, columns of deals and times, of the amount and of days; in the order of names.
const CAUSES: &[(&str, &str, &str, &str, &str)] = &[
    ("created", "created_times", "created_times", "came_amount", ""),
    ("cut", "cut_deals", "cut_times", "less_amount", ""),
    ("deleted", "deleted_deals", "deleted_times", "", ""),
    ("lost", "lost_deals", "lost_times", "", ""),
    ("pulled", "pulled_deals", "pulled_times", "", "earlier_days"),
    ("pushed", "pushed_deals", "pushed_times", "", "later_days"),
    ("raised", "raised_deals", "raised_times", "more_amount", ""),
    ("reopened", "reopened_deals", "reopened_times", "", ""),
    ("won", "won_deals", "won_times", "", ""),
];

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [state] = group.states else {
        return Err(Error::Bug("the causes have one state".into()));
    };
    if group.period == Period::All {
        return Ok(());
    }
    let (starts, windows) = (state.key("period_start")?, state.key("flow_window")?);
    for (row, (start, window)) in starts.iter().zip(windows).enumerate() {
        let of = |name: &str| match name {
            "" => Ok(None),
            name => state.value(name).map(|column| column.get(row).copied()),
        };
        for (cause, deals, times, amount, days) in CAUSES {
            let (deals_n, times_n) = (of(deals)?.unwrap_or(0), of(times)?.unwrap_or(0));
            if times_n == 0 {
                continue;
            }
            rows.push(
                period_start(*start),
                &[
                    ("window", Value::Text(name_of(WINDOWS, *window))),
                    ("cause", Value::Text(cause)),
                    ("deals_n", Value::Int(deals_n)),
                    ("times_n", Value::Int(times_n)),
                    ("cause_amount", Value::money(of(amount)?)),
                    ("moved_days", Value::int(of(days)?)),
                ],
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{check, run, settings};
    use crate::relations::fixture::Fixture;

    #[test]
    fn a_deal_counts_for_every_cause_that_it_had() {
        // One deal is created, pushed twice and won; another pulled and cut.
        let relations = Fixture::new(&["L", "Won", "Lost"])
            .line(
                Relation::PipelineFlows,
                "grain=month period_start=0 created_n=1 created_amount=500 pushes_n=2 \
                 pushed_days=40 wins_n=1",
            )
            .line(
                Relation::PipelineFlows,
                "grain=month period_start=0 pulls_n=1 pulled_days=7 cuts_n=1 cut_amount=150",
            )
            .build();
        let table = run(&METRIC, &relations, &[Period::Month], &settings(&["L"], 20));
        check(&table, &[], "cause", "created cut pulled pushed won");
        check(&table, &[], "deals_n", "1 1 1 1 1");
        check(&table, &[], "times_n", "1 1 1 2 1");
        check(&table, &[], "cause_amount", "5.00 1.50 - - -");
        check(&table, &[], "moved_days", "- - 7 40 -");
    }
}
