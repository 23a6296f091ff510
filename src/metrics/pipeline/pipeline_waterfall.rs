//! `pipeline_waterfall`: how the pipeline at the beginning of a period became that at its end.
//!
//! Every deal is in one bucket as it comes, one as it goes, and its amount rose or fell in between,
//! so the buckets add up to the end exactly, in minor units. How often each thing happened, whatever
//! its bucket, is [`super::pipeline_causes`]. Nothing is said of stages; see
//! [`super::pipeline_snapshot`].
//!
//! Invariant: end = start + new + reopened + moved_in + increased + fx + transferred − decreased −
//! moved_out − lost − won − deleted, in amounts and, without the changes of amounts, in deals.

use std::collections::BTreeMap;

use super::{is_complete, name_of, periods};
use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, StateView, View, period_start};
use crate::relations::Relation;
use crate::relations::pipeline_flows::{ENTRIES, EXITS, WINDOWS};
use crate::table::{ColumnSpec, Value};
use crate::time::Day;

/// Definition: the pipeline of window `all` is every open deal; that of `close_date` every open deal
/// whose expected close date is in the period. A deal that comes is valued as it comes, one that goes
/// as it goes: 100 at the beginning, raised to 120 and won are 20 increased and 120 won. A deal that
/// goes is won, lost, deleted or moved out by what it is at the end of the period. In mode `gross` a
/// deal that is there neither at the beginning nor at the end has both buckets, in `net` none, as when
/// two snapshots are compared.
///
/// Edge cases: unknown amounts are 0, and an amount that becomes known has increased; with
/// `deleted = "exclude"` deleted deals were never there; a deal that is only in other periods' windows
/// has no row; a deal whose rows of another pipeline are not read stays as it was last seen.
///
/// Source: the waterfall of pipeline vendors, with re-opened, deleted and re-priced deals apart.
pub static METRIC: Metric = Metric {
    name: "pipeline_waterfall",
    question: "How did the pipeline at the beginning of a period become that at its end?",
    grain: "one row per slice, period, window and mode",
    states: &[State {
        relation: Relation::PipelineFlows,
        sql: "SELECT grain, period_start, flow_window, is_inside, entry_kind, exit_kind, \
              COUNT(*) AS deals_n, SUM(entry_amount) AS came_amount, \
              SUM(exit_amount) AS left_amount, SUM(fx_amount) AS rates_amount, \
              SUM(CASE WHEN change_amount > 0 THEN 1 ELSE 0 END) AS more_n, \
              SUM(CASE WHEN change_amount > 0 THEN change_amount ELSE 0 END) AS more_amount, \
              SUM(CASE WHEN change_amount < 0 THEN 1 ELSE 0 END) AS less_n, \
              SUM(CASE WHEN change_amount < 0 THEN 0 - change_amount ELSE 0 END) AS less_amount, \
              SUM(pushes_n) AS push_n, SUM(pushed_days) AS push_days, \
              SUM(pulls_n) AS pull_n, SUM(pulled_days) AS pull_days \
              FROM pipeline_flows \
              GROUP BY grain, period_start, flow_window, is_inside, entry_kind, exit_kind",
        absent: Absent::SkipTable,
    }],
    output: OUTPUT,
    view: View::Line("end_amount"),
    references: &[
        "Weflow, 2024, Pipeline waterfall (the identity and its printed example)",
        "Salesforce, 2024, Pipeline Inspection (the causes of change)",
    ],
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
        "mode",
        "Whether deals that are there neither at the beginning nor at the end are on both sides \
         (gross) or left out (net).",
    )
    .key(),
    ColumnSpec::count("start_n", "deals", "Open deals of the window when the period begins."),
    ColumnSpec::money("start_amount", "Their amount then."),
    ColumnSpec::count("new_n", "deals", "Deals that did not exist when the period began."),
    ColumnSpec::money("new_amount", "Their amount as they came."),
    ColumnSpec::count("reopened_n", "deals", "Deals that came and were closed or deleted before."),
    ColumnSpec::money("reopened_amount", "Their amount as they came."),
    ColumnSpec::count(
        "moved_in_n",
        "deals",
        "Deals that were open before and came by their expected close date; 0 in window all.",
    ),
    ColumnSpec::money("moved_in_amount", "Their amount as they came."),
    ColumnSpec::count("increased_n", "deals", "Deals whose amount rose in all while there."),
    ColumnSpec::money("increased_amount", "By so much, rates of exchange apart."),
    ColumnSpec::money(
        "fx_amount",
        "What rates of exchange made of amounts; not 0 only with money.policy = \"at_event\".",
    ),
    ColumnSpec::count(
        "transferred_n",
        "deals",
        "Deals that came from other values of the slice's dimensions, less those that went there; \
         0 in total.",
    ),
    ColumnSpec::money("transferred_amount", "Their amount, in less out."),
    ColumnSpec::count("decreased_n", "deals", "Deals whose amount fell in all while there."),
    ColumnSpec::money("decreased_amount", "By so much, rates of exchange apart."),
    ColumnSpec::count(
        "moved_out_n",
        "deals",
        "Deals that are open at the end and left by their expected close date; 0 in window all.",
    ),
    ColumnSpec::money("moved_out_amount", "Their amount as they left."),
    ColumnSpec::count("lost_n", "deals", "Deals that left and are lost at the end."),
    ColumnSpec::money("lost_amount", "Their amount at the loss."),
    ColumnSpec::count("won_n", "deals", "Deals that left and are won at the end."),
    ColumnSpec::money("won_amount", "Their amount at the win: what was booked."),
    ColumnSpec::count("deleted_n", "deals", "Deals that left and are deleted at the end."),
    ColumnSpec::money("deleted_amount", "Their amount at the deletion."),
    ColumnSpec::count("end_n", "deals", "Open deals of the window when the period ends."),
    ColumnSpec::money("end_amount", "Their amount then."),
    ColumnSpec::count("pushes_n", "moves", "Expected close dates moved later, by deals there."),
    ColumnSpec::count("pushed_days", "days", "By so many days in all."),
    ColumnSpec::count("pulls_n", "moves", "Expected close dates moved earlier, by deals there."),
    ColumnSpec::count("pulled_days", "days", "By so many days in all."),
    ColumnSpec::flag("is_complete_period", "The period has ended by as_of; else its end is as_of."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "end_amount = start_amount + new_amount + reopened_amount + moved_in_amount + \
                increased_amount + fx_amount + transferred_amount − decreased_amount − \
                moved_out_amount − lost_amount − won_amount − deleted_amount",
        holds: |row| {
            let sum = |names: &[&str]| names.iter().map(|n| row.money(n)).sum::<Option<i64>>();
            let plus = sum(&[
                "start_amount",
                "new_amount",
                "reopened_amount",
                "moved_in_amount",
                "increased_amount",
                "fx_amount",
                "transferred_amount",
            ]);
            let minus = sum(&[
                "decreased_amount",
                "moved_out_amount",
                "lost_amount",
                "won_amount",
                "deleted_amount",
            ]);
            row.money("end_amount") == plus.zip(minus).map(|(plus, minus)| plus - minus)
        },
    },
    Identity {
        claim: "end_n = start_n + new_n + reopened_n + moved_in_n + transferred_n − moved_out_n − \
                lost_n − won_n − deleted_n, and none but transferred_n is below 0",
        holds: |row| {
            let plus = ["start_n", "new_n", "reopened_n", "moved_in_n"];
            let minus = ["moved_out_n", "lost_n", "won_n", "deleted_n"];
            let sum = |names: &[&str]| names.iter().map(|n| row.int(n)).sum::<Option<i64>>();
            let parts = sum(&plus).zip(row.int("transferred_n")).zip(sum(&minus));
            let end = parts.map(|((plus, moved), minus)| plus + moved - minus);
            row.int("end_n") == end
                && plus.iter().chain(&minus).all(|n| row.int(n) >= Some(0))
                && end >= Some(0)
        },
    },
];

/// Deals and their amount.
#[derive(Debug, Default, Clone, Copy)]
struct Side {
    n: i64,
    amount: i64,
}

impl Side {
    // A sum that does not fit is refused as an amount, not wrapped.
    fn add(&mut self, n: i64, amount: i64) {
        self.n = self.n.saturating_add(n);
        self.amount = self.amount.saturating_add(amount);
    }
}

/// One period of one window.
#[derive(Debug, Default, Clone, Copy)]
struct Buckets {
    start: Side,
    new: Side,
    reopened: Side,
    moved_in: Side,
    increased: Side,
    decreased: Side,
    transferred: Side,
    moved_out: Side,
    lost: Side,
    won: Side,
    deleted: Side,
    end: Side,
    fx_amount: i64,
    pushes: Side,
    pulls: Side,
}

/// A row of the state.
struct Told {
    entry: &'static str,
    exit: &'static str,
    came: Side,
    left: Side,
    more: Side,
    less: Side,
    rates_amount: i64,
    pushes: Side,
    pulls: Side,
}

impl Buckets {
    fn add(&mut self, told: &Told) -> Result<(), Error> {
        let (came, left) = (told.came, told.left);
        match told.entry {
            "start" => self.start.add(came.n, came.amount),
            "new" => self.new.add(came.n, came.amount),
            "reopened" => self.reopened.add(came.n, came.amount),
            "moved_in" => self.moved_in.add(came.n, came.amount),
            "transferred" => self.transferred.add(came.n, came.amount),
            other => return Err(Error::Bug(format!("an entry of kind {other:?}"))),
        }
        match told.exit {
            "end" => self.end.add(left.n, left.amount),
            "won" => self.won.add(left.n, left.amount),
            "lost" => self.lost.add(left.n, left.amount),
            "deleted" => self.deleted.add(left.n, left.amount),
            "moved_out" => self.moved_out.add(left.n, left.amount),
            "transferred" => self.transferred.add(-left.n, left.amount.saturating_neg()),
            other => return Err(Error::Bug(format!("an exit of kind {other:?}"))),
        }
        self.increased.add(told.more.n, told.more.amount);
        self.decreased.add(told.less.n, told.less.amount);
        self.fx_amount = self.fx_amount.saturating_add(told.rates_amount);
        self.pushes.add(told.pushes.n, told.pushes.amount);
        self.pulls.add(told.pulls.n, told.pulls.amount);
        Ok(())
    }

    /// The same with all deals that nothing happened to, of which so many were there before.
    fn beside(mut self, before: Side) -> Self {
        let (own_start, own_end) = (self.start, self.end);
        self.start = before;
        self.end = before;
        self.end.add(own_end.n, own_end.amount);
        self.end.add(-own_start.n, own_start.amount.saturating_neg());
        self
    }
}

/// Gross and net.
type Both = [Buckets; 2];
const MODES: [&str; 2] = ["gross", "net"];

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [state] = group.states else {
        return Err(Error::Bug("the waterfall has one state".into()));
    };
    let [all, by_date] = read(state)?;
    let firsts = [all.keys().next(), by_date.keys().next()];
    let mut before = Side::default();
    for start in periods(group, firsts.into_iter().flatten().min().copied()) {
        let own = all.get(&start).copied().unwrap_or_default().map(|own| own.beside(before));
        push(group, rows, start, "all", &own)?;
        if let Some(own) = by_date.get(&start) {
            push(group, rows, start, "close_date", own)?;
        }
        before = own.first().map_or(before, |own| own.end);
    }
    Ok(())
}

/// The buckets of every period, of each window.
fn read(state: &StateView<'_>) -> Result<[BTreeMap<Day, Both>; 2], Error> {
    let keys = ["period_start", "flow_window", "is_inside", "entry_kind", "exit_kind"];
    let [starts, windows, inside, entries, exits] = keys.map(|name| state.key(name));
    let (starts, windows, inside) = (starts?, windows?, inside?);
    let (entries, exits) = (entries?, exits?);
    let value = |name: &str| state.value(name);
    let (deals, came, left) = (value("deals_n")?, value("came_amount")?, value("left_amount")?);
    let (more_n, more) = (value("more_n")?, value("more_amount")?);
    let (less_n, less) = (value("less_n")?, value("less_amount")?);
    let rates = value("rates_amount")?;
    let (push_n, push_days) = (value("push_n")?, value("push_days")?);
    let (pull_n, pull_days) = (value("pull_n")?, value("pull_days")?);
    let mut found: [BTreeMap<Day, Both>; 2] = Default::default();
    for row in 0..state.rows() {
        let at = |column: &[i64]| column.get(row).copied().unwrap_or(0);
        let side = |n: &[i64], amount: &[i64]| Side { n: at(n), amount: at(amount) };
        let told = Told {
            entry: name_of(ENTRIES, at(entries)),
            exit: name_of(EXITS, at(exits)),
            came: side(deals, came),
            left: side(deals, left),
            more: side(more_n, more),
            less: side(less_n, less),
            rates_amount: at(rates),
            pushes: side(push_n, push_days),
            pulls: side(pull_n, pull_days),
        };
        let [all, by_date] = &mut found;
        let of = if name_of(WINDOWS, at(windows)) == "all" { all } else { by_date };
        let [gross, net] = of.entry(period_start(at(starts))).or_default();
        gross.add(&told)?;
        if at(inside) == 0 {
            net.add(&told)?;
        }
    }
    Ok(found)
}

fn push(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    start: Day,
    window: &str,
    both: &Both,
) -> Result<(), Error> {
    for (mode, own) in MODES.into_iter().zip(both) {
        rows.push(
            start,
            &[
                ("window", Value::Text(window)),
                ("mode", Value::Text(mode)),
                ("start_n", Value::Int(own.start.n)),
                ("start_amount", Value::Money(own.start.amount)),
                ("new_n", Value::Int(own.new.n)),
                ("new_amount", Value::Money(own.new.amount)),
                ("reopened_n", Value::Int(own.reopened.n)),
                ("reopened_amount", Value::Money(own.reopened.amount)),
                ("moved_in_n", Value::Int(own.moved_in.n)),
                ("moved_in_amount", Value::Money(own.moved_in.amount)),
                ("increased_n", Value::Int(own.increased.n)),
                ("increased_amount", Value::Money(own.increased.amount)),
                ("fx_amount", Value::Money(own.fx_amount)),
                ("transferred_n", Value::Int(own.transferred.n)),
                ("transferred_amount", Value::Money(own.transferred.amount)),
                ("decreased_n", Value::Int(own.decreased.n)),
                ("decreased_amount", Value::Money(own.decreased.amount)),
                ("moved_out_n", Value::Int(own.moved_out.n)),
                ("moved_out_amount", Value::Money(own.moved_out.amount)),
                ("lost_n", Value::Int(own.lost.n)),
                ("lost_amount", Value::Money(own.lost.amount)),
                ("won_n", Value::Int(own.won.n)),
                ("won_amount", Value::Money(own.won.amount)),
                ("deleted_n", Value::Int(own.deleted.n)),
                ("deleted_amount", Value::Money(own.deleted.amount)),
                ("end_n", Value::Int(own.end.n)),
                ("end_amount", Value::Money(own.end.amount)),
                ("pushes_n", Value::Int(own.pushes.n)),
                ("pushed_days", Value::Int(own.pushes.amount)),
                ("pulls_n", Value::Int(own.pulls.n)),
                ("pulled_days", Value::Int(own.pulls.amount)),
                ("is_complete_period", Value::Bool(is_complete(group, start))),
            ],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{check, run, settings};
    use crate::relations::fixture::Fixture;
    use crate::table::Table;
    use crate::time::Period;

    /// Months of 1970 from lines of flows, as of 15 March.
    fn months(lines: &[&str]) -> Table {
        let fixture = Fixture::new(&["L", "Won", "Lost"]).relation(Relation::PipelineFlows);
        let add = |fixture: Fixture, line: &&str| {
            fixture.line(Relation::PipelineFlows, &format!("grain=month {line}"))
        };
        let relations = lines.iter().fold(fixture, add).build();
        run(&METRIC, &relations, &[Period::Month], &settings(&["L"], 73))
    }

    #[test]
    fn printed_example_of_a_vendor_ends_where_it_says() {
        // Weflow: 1,257,559 + 1,501,878 + 180,171 + 149,382 − 0 − 271,125 − 556,292 − 287,487. The
        // increase is on deals that stay; those that leave were there at the beginning.
        let table = months(&[
            "period_start=0 flow_window=close_date entry_kind=start exit_kind=end \
             entry_amount=14265500 exit_amount=29203700 change_amount=14938200",
            "period_start=0 flow_window=close_date entry_kind=new exit_kind=end \
             entry_amount=150187800 exit_amount=150187800",
            "period_start=0 flow_window=close_date entry_kind=moved_in exit_kind=end \
             entry_amount=18017100 exit_amount=18017100",
            "period_start=0 flow_window=close_date entry_kind=start exit_kind=moved_out \
             entry_amount=27112500 exit_amount=27112500",
            "period_start=0 flow_window=close_date entry_kind=start exit_kind=lost \
             entry_amount=55629200 exit_amount=55629200",
            "period_start=0 flow_window=close_date entry_kind=start exit_kind=won \
             entry_amount=28748700 exit_amount=28748700",
        ]);
        let at = ["window=close_date", "mode=gross"];
        check(&table, &at, "start_amount", "1257559.00");
        check(&table, &at, "increased_amount", "149382.00");
        check(&table, &at, "end_amount", "1974086.00");
        check(&table, &["window=close_date", "mode=net"], "end_amount", "1974086.00");
    }

    #[test]
    fn deal_raised_and_won_has_increased_and_is_booked_at_its_last_amount() {
        // In January 100 comes; in February it is raised to 120 and won.
        let table = months(&[
            "period_start=0 entry_kind=new exit_kind=end entry_amount=10000 exit_amount=10000",
            "period_start=31 entry_kind=start exit_kind=won entry_amount=10000 exit_amount=12000 \
             change_amount=2000",
        ]);
        let at = ["window=all", "mode=gross"];
        check(&table, &at, "start_amount", "0.00 100.00 0.00");
        check(&table, &at, "new_amount", "100.00 0.00 0.00");
        check(&table, &at, "increased_amount", "0.00 20.00 0.00");
        check(&table, &at, "won_amount", "0.00 120.00 0.00");
        check(&table, &at, "end_amount", "100.00 0.00 0.00");
        check(&table, &at, "end_n", "1 0 0");
        check(&table, &at, "is_complete_period", "true true false");
    }

    #[test]
    fn deal_that_came_and_went_between_two_snapshots_is_not_in_net() {
        let table = months(&[
            "period_start=0 is_inside=1 entry_kind=new exit_kind=lost entry_amount=500 \
             exit_amount=300 change_amount=-200",
            "period_start=0 entry_kind=new exit_kind=end entry_amount=700 exit_amount=700",
        ]);
        let of = |mode, column, expected| {
            check(&table, &["period_start=1970-01-01", mode], column, expected);
        };
        of("mode=gross", "new_n", "2");
        of("mode=gross", "decreased_amount", "2.00");
        of("mode=gross", "lost_amount", "3.00");
        of("mode=net", "new_n", "1");
        of("mode=net", "lost_n", "0");
        of("mode=gross", "end_amount", "7.00");
        of("mode=net", "end_amount", "7.00");
    }

    #[test]
    fn deals_that_nothing_happens_to_stay() {
        // Two deals come in January; one leaves in March, and nothing happens in February.
        let table = months(&[
            "period_start=0 entry_kind=new exit_kind=end entry_amount=100 exit_amount=100",
            "period_start=0 entry_kind=new exit_kind=end entry_amount=40 exit_amount=40",
            "period_start=59 entry_kind=start exit_kind=deleted entry_amount=40 exit_amount=40",
        ]);
        let at = ["mode=gross"];
        check(&table, &at, "start_n", "0 2 2");
        check(&table, &at, "end_n", "2 2 1");
        check(&table, &at, "end_amount", "1.40 1.40 1.00");
        check(&table, &at, "deleted_n", "0 0 1");
    }
}
