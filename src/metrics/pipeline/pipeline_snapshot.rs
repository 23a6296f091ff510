//! `pipeline_snapshot`: what was open at the end of every period, stage by stage.
//!
//! It is what a run as of then would have said: deals are in the stage, with the amount, owner and
//! close date that they had. Only whether the deals closed by then stayed closed is told by what is
//! known since. How one end became the next is [`super::pipeline_waterfall`], how ages are spread
//! [`super::pipeline_ages`].
//!
//! Invariant: no part of the open deals exceeds them.

use std::collections::BTreeMap;

use super::{Changes, is_complete, last_day, periods};
use crate::error::Error;
use crate::metrics::funnel::Places;
use crate::metrics::{
    Absent, Group, Identity, Metric, PIPELINE, Rows, State, StateView, View, period_start,
};
use crate::relations::Relation;
use crate::stats::ratio;
use crate::table::{ColumnSpec, Value};
use crate::time::{Day, Period};

/// Definition: open deals at the end of the last day of the period, or of as_of's. Ages are civil days
/// up to that day. The weighted amount is the amount times the chance of winning: the deal's own, or
/// else that given for its stage, or else, by history, the share won of the deals closed by then that
/// had visited the stage. A deal is overdue when its expected close is before that day.
///
/// Edge cases: unknown amounts are 0 and counted; a deal without an amount but with a chance weighs
/// nothing; the weighted amount is null where a deal has no chance of either kind; a deal in no stage
/// is in START.
pub static METRIC: Metric = Metric {
    name: "pipeline_snapshot",
    question: "What was open at the end of each period, in which stage, and what is it worth?",
    grain: "one row per slice, period, pipeline and stage with open deals",
    states: &[
        State {
            relation: Relation::PipelineStock,
            sql: "SELECT grain, period_start, pipeline, stage, SUM(open_n) AS held_n, \
                  SUM(amount) AS held_amount, SUM(amounts_n) AS known_n, \
                  SUM(weighted_n) AS given_n, SUM(weighted_amount) AS given_amount, \
                  SUM(unweighted_amount) AS rest_amount, SUM(overdue_n) AS late_n, \
                  SUM(overdue_amount) AS late_amount, SUM(entered_day_n) AS entered_days, \
                  SUM(created_day_n) AS created_days \
                  FROM pipeline_stock GROUP BY grain, period_start, pipeline, stage",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Deals,
            sql: "SELECT closed_period AS period, pipeline, touched_stages, \
                  SUM(is_won) AS won_n, SUM(is_lost) AS lost_n \
                  FROM deals WHERE is_won = 1 OR is_lost = 1 \
                  GROUP BY period, pipeline, touched_stages",
            absent: Absent::SkipTable,
        },
    ],
    output: OUTPUT,
    view: View::Bars("open_amount"),
    references: &["Salesforce, 2024, Historical Trending and forecast probabilities by stage"],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    PIPELINE,
    ColumnSpec::count("stage_order", "place", "Place of the stage in the pipeline; 0 for START.")
        .key(),
    ColumnSpec::text("stage", "Name of the stage; START where the deals are in none.").key(),
    ColumnSpec::count("open_n", "deals", "Open deals in the stage when the period ends."),
    ColumnSpec::money("open_amount", "Their amount then; unknown amounts add nothing."),
    ColumnSpec::count("unknown_amount_n", "deals", "Of these, deals of an unknown amount."),
    ColumnSpec::money(
        "weighted_amount",
        "Their amount times the chance of winning, given or by history; null where neither is.",
    )
    .nullable(),
    ColumnSpec::count("given_chance_n", "deals", "Of these, deals whose chance is given."),
    ColumnSpec::rate(
        "history_win_rate",
        "Share won of the deals closed by the end of the period that had visited the stage.",
    ),
    ColumnSpec::count("history_closed_n", "deals", "Deals that this share is of."),
    ColumnSpec::days("stage_age_days_mean", "Mean time that they are in the stage so far."),
    ColumnSpec::days("deal_age_days_mean", "Mean time since their creation."),
    ColumnSpec::count("overdue_n", "deals", "Deals past their expected close date by then."),
    ColumnSpec::money("overdue_amount", "Their amount."),
    ColumnSpec::flag("is_complete_period", "The period has ended by as_of; else this is as_of."),
    ColumnSpec::flag("low_n", "Fewer open deals than the quantile floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "0 < open_n, and unknown_amount_n, given_chance_n and overdue_n are parts of it",
        holds: |row| {
            let parts = ["unknown_amount_n", "given_chance_n", "overdue_n"];
            let open_n = row.int("open_n");
            open_n > Some(0) && parts.iter().all(|n| row.int(n) >= Some(0) && row.int(n) <= open_n)
        },
    },
    Identity {
        claim: "0 ≤ stage_age_days_mean ≤ deal_age_days_mean",
        holds: |row| match (row.float("stage_age_days_mean"), row.float("deal_age_days_mean")) {
            (Some(stage), Some(deal)) => 0.0 <= stage && stage <= deal + 1e-9,
            (None, deal) => deal.is_some(),
            (Some(_), None) => false,
        },
    },
];

/// Pipeline and stage, by their codes.
type At = (i64, i64);

/// What is open in one stage.
#[derive(Debug, Default)]
struct Held {
    n: i64,
    amount: i64,
    known_n: i64,
    given_n: i64,
    given_amount: i64,
    rest_amount: i64,
    late_n: i64,
    late_amount: i64,
    /// Numbers of the days on which they entered the stage, in all.
    entered_days: i64,
    /// Numbers of the days of their creation, in all.
    created_days: i64,
}

/// One of the things that are held.
type Pick = fn(&mut Held) -> &mut i64;

/// What is known of closed deals so far: won and lost, by pipeline and the stages they visited.
type Closed = BTreeMap<At, [i64; 2]>;

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [levels, closed] = group.states else {
        return Err(Error::Bug("the snapshot has two states".into()));
    };
    let firsts = if group.period == Period::All { &[] } else { levels.key("period_start")? };
    let all = periods(group, firsts.iter().min().map(|first| period_start(*first)));
    if all.is_empty() {
        return Ok(());
    }
    let places = Places::of(group.settings);
    let mut told = Told { held: BTreeMap::new(), closed: Closed::new() };
    let mut changes = Changes::new([levels, closed]);
    for start in all {
        told.go_on(&mut changes, start)?;
        for (at, held) in told.held.iter().filter(|(_, held)| held.n != 0) {
            let place = places.at(at.1)?;
            let settings = group.settings;
            let pipeline = settings.pipelines.name(at.0, &settings.dictionaries);
            let history = told.history(*at, place.order, settings.pipelines.open_stages(pipeline));
            let is_staged = place.order > 0;
            let row = Row { group, start, held, history, is_staged };
            let mut values = vec![
                ("pipeline", Value::Text(pipeline)),
                ("stage_order", Value::Int(place.order)),
                ("stage", Value::Text(place.name)),
            ];
            values.extend(row.values());
            rows.push(start, &values)?;
        }
    }
    Ok(())
}

/// What is told up to the end of a period.
struct Told {
    held: BTreeMap<At, Held>,
    closed: Closed,
}

impl Told {
    fn go_on(&mut self, changes: &mut Changes<'_, 2>, until: Day) -> Result<(), Error> {
        while let Some(rows) = changes.take(0, until) {
            self.add_levels(&rows)?;
        }
        while let Some(rows) = changes.take(1, until) {
            let keys = rows.key("pipeline")?.iter().zip(rows.key("touched_stages")?);
            let counts = rows.value("won_n")?.iter().zip(rows.value("lost_n")?);
            for ((pipeline, touched), (won, lost)) in keys.zip(counts) {
                let [won_n, lost_n] = self.closed.entry((*pipeline, *touched)).or_default();
                *won_n += won;
                *lost_n += lost;
            }
        }
        Ok(())
    }

    fn at(&mut self, pipeline: i64, stage: i64) -> &mut Held {
        self.held.entry((pipeline, stage)).or_default()
    }

    fn add_levels(&mut self, rows: &StateView<'_>) -> Result<(), Error> {
        let columns: [(&str, Pick); 10] = [
            ("held_n", |held| &mut held.n),
            ("held_amount", |held| &mut held.amount),
            ("known_n", |held| &mut held.known_n),
            ("given_n", |held| &mut held.given_n),
            ("given_amount", |held| &mut held.given_amount),
            ("rest_amount", |held| &mut held.rest_amount),
            ("late_n", |held| &mut held.late_n),
            ("late_amount", |held| &mut held.late_amount),
            ("entered_days", |held| &mut held.entered_days),
            ("created_days", |held| &mut held.created_days),
        ];
        let (pipelines, stages) = (rows.key("pipeline")?, rows.key("stage")?);
        for (name, pick) in columns {
            let at = pipelines.iter().zip(stages);
            for ((pipeline, stage), more) in at.zip(rows.value(name)?) {
                let sum = pick(self.at(*pipeline, *stage));
                // A sum that does not fit is refused as an amount, not wrapped.
                *sum = sum.saturating_add(*more);
            }
        }
        Ok(())
    }

    /// How many of the closed deals that had visited a stage were won, and how many there were.
    fn history(&self, at: At, order: i64, open_stages: &[String]) -> [i64; 2] {
        let bit = u32::try_from(order - 1).ok().filter(|bit| (*bit as usize) < open_stages.len());
        let Some(bit) = bit else { return [0, 0] };
        let visited = |((pipeline, touched), _): &(&At, &[i64; 2])| {
            *pipeline == at.0 && touched >> bit & 1 == 1
        };
        let own = self.closed.iter().filter(visited);
        own.fold([0, 0], |[won, all], (_, [w, l])| [won + w, all + w + l])
    }
}

/// One row of the table.
struct Row<'r> {
    group: &'r Group<'r>,
    start: Day,
    held: &'r Held,
    history: [i64; 2],
    /// The deals are in a stage.
    is_staged: bool,
}

impl Row<'_> {
    /// Given chances, and the history's for the rest, which is rounded half away from zero.
    fn weighted(&self) -> Option<i64> {
        let (held, [won, all]) = (self.held, self.history);
        if held.given_n == held.n {
            return Some(held.given_amount);
        }
        if all <= 0 {
            return None;
        }
        let exact = i128::from(held.rest_amount) * i128::from(won) * 2;
        let rounded = (exact.abs() + i128::from(all)) / (2 * i128::from(all)) * exact.signum();
        held.given_amount.checked_add(i64::try_from(rounded).ok()?)
    }

    /// The mean age of deals whose days have this sum.
    fn age_days(&self, days: i64) -> Option<f64> {
        let last = i64::from(last_day(self.group, self.start));
        ratio(last.saturating_mul(self.held.n).saturating_sub(days), self.held.n)
    }

    fn values(&self) -> [(&'static str, Value<'static>); 13] {
        let (held, [won, all]) = (self.held, self.history);
        let in_stage = self.age_days(held.entered_days).filter(|_| self.is_staged);
        [
            ("open_n", Value::Int(held.n)),
            ("open_amount", Value::Money(held.amount)),
            ("unknown_amount_n", Value::Int(held.n - held.known_n)),
            ("weighted_amount", Value::money(self.weighted())),
            ("given_chance_n", Value::Int(held.given_n)),
            ("history_win_rate", Value::float(ratio(won, all))),
            ("history_closed_n", Value::Int(all)),
            ("stage_age_days_mean", Value::float(in_stage)),
            ("deal_age_days_mean", Value::float(self.age_days(held.created_days))),
            ("overdue_n", Value::Int(held.late_n)),
            ("overdue_amount", Value::Money(held.late_amount)),
            ("is_complete_period", Value::Bool(is_complete(self.group, self.start))),
            ("low_n", Value::Bool(held.n < self.group.settings.quantile_floor)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{FIXTURE_STAGES, check, eight_deals_fixture, run, settings};
    use crate::relations::fixture::Fixture;
    use crate::table::Table;
    use crate::time::Period;

    /// As of 15 March 1970. At the end of January: one deal in L since the 11th, one in Q since the
    /// 21st. In February the second is closed and the first goes to Q on the 10th of February (day
    /// 40). Four closed deals in February: three had visited Q, of which one was won.
    fn months() -> Table {
        let mut fixture = Fixture::new(&["L", "Q", "Won", "Lost"])
            .relation(Relation::PipelineStock)
            .relation(Relation::Deals);
        let changes = [
            "period_start=0 stage=L entered_day_n=10 created_day_n=10 open_n=1 amount=5000 \
             amounts_n=1 unweighted_amount=5000",
            "period_start=0 stage=Q entered_day_n=20 created_day_n=5 open_n=1",
            "period_start=31 stage=Q entered_day_n=-20 created_day_n=-5 open_n=-1",
            "period_start=31 stage=L entered_day_n=-10 created_day_n=-10 open_n=-1 amount=-5000 \
             amounts_n=-1 unweighted_amount=-5000",
            "period_start=31 stage=Q entered_day_n=40 created_day_n=10 open_n=1 amount=9000 \
             amounts_n=1 unweighted_amount=9000 overdue_n=1 overdue_amount=9000",
        ];
        for line in changes {
            let line = format!("grain=month pipeline=default {line}");
            fixture = fixture.line(Relation::PipelineStock, &line);
        }
        for (touched, outcome) in [(1, "lost"), (3, "lost"), (3, "won"), (2, "lost")] {
            let line = format!(
                "closed_period=31 pipeline=default touched_stages={touched} is_{outcome}=1"
            );
            fixture = fixture.line(Relation::Deals, &line);
        }
        run(&METRIC, &fixture.build(), &[Period::Month], &settings(&["L", "Q"], 73))
    }

    #[test]
    fn snapshot_is_all_changes_up_to_it() {
        let table = months();
        let at = ["period=month"];
        check(&table, &at, "stage", "L Q Q Q");
        check(&table, &at, "stage_order", "1 2 2 2");
        check(&table, &at, "open_n", "1 1 1 1");
        check(&table, &at, "open_amount", "50.00 0.00 90.00 90.00");
        check(&table, &at, "unknown_amount_n", "0 1 0 0");
        check(&table, &at, "overdue_n", "0 0 1 1");
        check(&table, &at, "is_complete_period", "true true true false");
    }

    #[test]
    fn ages_grow_while_nothing_happens() {
        let table = months();
        let at = ["period=month"];
        // Last days 30, 58 and, as of then, 73; in the stage since 10, 20, 40, 40.
        check(&table, &at, "stage_age_days_mean", "20.0 10.0 18.0 33.0");
        check(&table, &at, "deal_age_days_mean", "20.0 25.0 48.0 63.0");
    }

    #[test]
    fn chances_that_are_not_given_are_those_of_the_deals_closed_by_then() {
        let table = months();
        // Three closed deals had visited Q, one was won; in January none was closed.
        check(&table, &["stage=Q"], "history_closed_n", "0 3 3");
        check(&table, &["stage=Q"], "history_win_rate", "- 0.3333333333333333 0.3333333333333333");
        check(&table, &["stage=Q"], "weighted_amount", "- 30.00 30.00");
        check(&table, &["stage=L"], "weighted_amount", "-");
    }

    #[test]
    fn eight_deals_worked_by_hand_leave_two_open() {
        // As of day 20: D7 in L since 0, D4 in Q since 3. Of the closed deals D1 D2 D8 (won) and D3 D5
        // (lost) had visited L, D1 D8 (won) and D3 D6 (lost) Q.
        let open = "grain=month period_start=0 open_n=1 amount=200 amounts_n=1 \
                    unweighted_amount=200";
        let relations = eight_deals_fixture()
            .line(Relation::PipelineStock, &format!("{open} stage=L"))
            .line(Relation::PipelineStock, &format!("{open} stage=Q entered_day_n=3"))
            .build();
        let table = run(&METRIC, &relations, &[Period::Month], &settings(&FIXTURE_STAGES, 20));
        check(&table, &[], "stage", "L Q");
        check(&table, &[], "stage_age_days_mean", "20.0 17.0");
        check(&table, &[], "deal_age_days_mean", "20.0 20.0");
        check(&table, &[], "history_win_rate", "0.6 0.5");
        check(&table, &[], "weighted_amount", "1.20 1.00");
    }

    #[test]
    fn given_chances_go_before_history() {
        let line = "grain=month pipeline=default period_start=0 stage=L open_n=2 amount=300 \
                    amounts_n=2 weighted_n=2 weighted_amount=75";
        let relations = Fixture::new(&["L", "Won", "Lost"])
            .relation(Relation::Deals)
            .line(Relation::PipelineStock, line)
            .build();
        let table = run(&METRIC, &relations, &[Period::Month], &settings(&["L"], 20));
        check(&table, &["stage=L"], "weighted_amount", "0.75");
        check(&table, &["stage=L"], "given_chance_n", "2");
    }
}
