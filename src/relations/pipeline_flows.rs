//! `pipeline_flows`: how each deal came into the pipeline, changed there and left it, in every period
//! in which it did.
//!
//! There are two pipelines, by `flow_window`: `all` open deals, and those whose expected close date
//! is in the period itself (`close_date`). In `all` a deal has a row for each period length and
//! period in which anything happened to it; in `close_date` also where it only was there at the
//! beginning. A deal has one entry and one exit at most: it is at the beginning (start) or comes (new,
//! reopened, moved_in by its close date), valued as it comes; it is at the end (end) or has gone, by
//! what it is at the end: won, lost, deleted, or open elsewhere (moved_out), valued as it goes, so that
//! a win has the amount that is booked. What came and went in between is not counted.
//!
//! Where a dimension changes on the way, the deal has a row for each of its values, and is transferred
//! from one to the next. Dimensions from look-ups are those of the deal. It knows nothing of deals
//! that are left out as deleted or merged.
//!
//! Invariant: in every row, entry_amount + fx_amount + change_amount = exit_amount.

use super::assemble::{Assembler, shard};
use super::batch::{Batch, BatchBuilder};
use super::customer_periods::GRAINS;
use super::emit::Deals;
use super::replayed::{ROWS_AT_ONCE, Step, by_period, grain, is_same_place};
use super::{Kind, Relation, RelationColumn, column};
use crate::error::Error;
use crate::fold::{Chunk, Moment, Outcome};
use crate::time::{Day, NO_DAY, Starts};

/// Columns of the relation.
pub const COLUMNS: &[RelationColumn] = &[
    column("shard", Kind::Small, "split key: the customer's, or the deal's where it has none"),
    column("grain", Kind::Name(GRAINS), "length of the period"),
    column("period_start", Kind::Day, "first day of the period"),
    column("flow_window", Kind::Name(WINDOWS), "which pipeline: all open deals, or by close date"),
    column("is_inside", Kind::Flag, "the deal is there neither at the beginning nor at the end"),
    column("entry_kind", Kind::Name(ENTRIES), "how it came, or that it was there"),
    column("exit_kind", Kind::Name(EXITS), "how it left, or that it is there"),
    column("entry_amount", Kind::Int, "amount at the beginning or as it came; 0 if unknown"),
    column("exit_amount", Kind::Int, "amount at the end or as it left; 0 if unknown"),
    column("fx_amount", Kind::Int, "of the difference, what rates of exchange made"),
    column("change_amount", Kind::Int, "the rest of the difference, below 0 where it fell"),
    column("absent_days", Kind::Int, "days from the beginning to each coming, less each leaving"),
    column("created_n", Kind::Int, "1 if it came into being in the period"),
    column("created_amount", Kind::Int, "its amount then; 0 if unknown"),
    column("raises_n", Kind::Int, "times its amount rose while it was open"),
    column("raised_amount", Kind::Int, "by so much, rates of exchange apart"),
    column("cuts_n", Kind::Int, "times its amount fell while it was open"),
    column("cut_amount", Kind::Int, "by so much, above 0, rates of exchange apart"),
    column("pushes_n", Kind::Int, "times its expected close moved to a later day while open"),
    column("pushed_days", Kind::Int, "by so many days"),
    column("pulls_n", Kind::Int, "times it moved to an earlier day while open"),
    column("pulled_days", Kind::Int, "by so many days"),
    column("reopens_n", Kind::Int, "times it became open again"),
    column("wins_n", Kind::Int, "times it was won"),
    column("losses_n", Kind::Int, "times it was lost"),
    column("deletions_n", Kind::Int, "times it was deleted"),
];

/// Which pipeline a row is of.
pub const WINDOWS: &[&str] = &["all", "close_date"];
/// How a deal came.
pub const ENTRIES: &[&str] = &["start", "new", "reopened", "moved_in", "transferred"];
/// How it left.
pub const EXITS: &[&str] = &["end", "won", "lost", "deleted", "moved_out", "transferred"];

/// A position in [`WINDOWS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Window {
    All = 0,
    CloseDate = 1,
}

/// A position in [`ENTRIES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Entry {
    Start = 0,
    New = 1,
    Reopened = 2,
    MovedIn = 3,
    Transferred = 4,
}

/// A position in [`EXITS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Exit {
    End = 0,
    Won = 1,
    Lost = 2,
    Deleted = 3,
    MovedOut = 4,
    Transferred = 5,
}

/// What happened to a deal in a period, whichever pipeline it is in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Causes {
    created_n: i64,
    created_amount: i64,
    raises_n: i64,
    raised_amount: i64,
    cuts_n: i64,
    cut_amount: i64,
    pushes_n: i64,
    pushed_days: i64,
    pulls_n: i64,
    pulled_days: i64,
    reopens_n: i64,
    wins_n: i64,
    losses_n: i64,
    deletions_n: i64,
}

impl Causes {
    fn of(before: Option<&Step<'_>>, group: &[Step<'_>]) -> Self {
        let mut causes = Self::default();
        let mut previous = before.map(|step| step.moment);
        for step in group {
            match previous {
                Some(previous) => causes.add(previous, step.moment),
                None => {
                    causes.created_n = 1;
                    causes.created_amount = step.moment.value();
                    causes.add_status(step.moment.status);
                }
            }
            previous = Some(step.moment);
        }
        causes
    }

    fn add(&mut self, old: &Moment, new: &Moment) {
        if old.status != new.status {
            self.add_status(new.status);
            self.reopens_n += i64::from(new.is_open());
        }
        if !old.is_open() {
            return;
        }
        let change = step_change(old, new);
        self.raises_n += i64::from(change > 0);
        self.cuts_n += i64::from(change < 0);
        self.raised_amount = self.raised_amount.saturating_add(change.max(0));
        self.cut_amount = self.cut_amount.saturating_sub(change.min(0));
        if new.is_open() && old.expected_close != NO_DAY {
            let days = i64::from(new.expected_close) - i64::from(old.expected_close);
            self.pushes_n += i64::from(days > 0);
            self.pulls_n += i64::from(days < 0);
            self.pushed_days += days.max(0);
            self.pulled_days -= days.min(0);
        }
    }

    fn add_status(&mut self, status: Outcome) {
        self.wins_n += i64::from(status == Outcome::Won);
        self.losses_n += i64::from(status == Outcome::Lost);
        self.deletions_n += i64::from(status == Outcome::Deleted);
    }
}

/// By how much an amount changed, but for rates of exchange.
fn step_change(old: &Moment, new: &Moment) -> i64 {
    new.value().saturating_sub(old.value()).saturating_sub(new.revalued)
}

/// One row.
#[derive(Debug, Clone, Copy)]
struct Flow {
    /// Place among the chunk's moments of what tells its deal and dimensions.
    moment: u32,
    grain: u8,
    start: Day,
    window: Window,
    is_inside: bool,
    entry: Entry,
    exit: Exit,
    entry_amount: i64,
    exit_amount: i64,
    fx_amount: i64,
    change_amount: i64,
    absent_days: i64,
    causes: Causes,
}

/// One period of one length and one of the two pipelines.
#[derive(Clone, Copy)]
struct Frame<'f> {
    chunk: &'f Chunk,
    starts: &'f Starts,
    /// Of the period length.
    grain: u8,
    start: Day,
    window: Window,
}

impl Frame<'_> {
    /// Whether a deal is in the pipeline.
    fn holds(&self, moment: &Moment) -> bool {
        let is_due = || self.starts.start(moment.expected_close) == self.start;
        moment.is_open() && (self.window == Window::All || is_due())
    }

    /// How a deal came that is not there at the beginning.
    fn entry(before: Option<&Step<'_>>) -> Entry {
        match before.map(|step| step.moment.is_open()) {
            None => Entry::New,
            Some(true) => Entry::MovedIn,
            Some(false) => Entry::Reopened,
        }
    }

    /// How a deal left that is not there at the end, and after which step of the period it had.
    fn exit(&self, group: &[Step<'_>], last: &Moment) -> (Exit, usize) {
        let closed = |exit| {
            let other = group.iter().rposition(|step| step.moment.status != last.status);
            (exit, other.map_or(0, |place| place + 1))
        };
        match last.status {
            Outcome::Won => closed(Exit::Won),
            Outcome::Lost => closed(Exit::Lost),
            Outcome::Deleted => closed(Exit::Deleted),
            Outcome::Open => {
                let there = group.iter().rposition(|step| self.holds(step.moment));
                (Exit::MovedOut, there.map_or(0, |place| place + 1))
            }
        }
    }

    /// The rows of a deal: what it was before the period, and its steps in it.
    fn flows(&self, before: Option<&Step<'_>>, group: &[Step<'_>], flows: &mut Vec<Flow>) {
        let is_first = before.is_some_and(|step| self.holds(step.moment));
        let (begin, rest, entry) = match (before, is_first) {
            (Some(step), true) => (step, group, Entry::Start),
            _ => {
                let there = group.iter().position(|step| self.holds(step.moment));
                let Some((begin, rest)) = there.and_then(|at| group.get(at..)?.split_first())
                else {
                    return;
                };
                (begin, rest, Self::entry(before))
            }
        };
        let last = group.last().unwrap_or(begin);
        let is_last = self.holds(last.moment);
        let skipped = group.len() - rest.len();
        let (exit, walked) = match is_last {
            true => (Exit::End, rest),
            false => {
                let (exit, at) = self.exit(group, last.moment);
                (exit, rest.get(..(at + 1).saturating_sub(skipped)).unwrap_or(rest))
            }
        };
        let first = flows.len();
        let mut own = self.begin(begin, entry);
        if entry != Entry::Start {
            own.absent_days = self.days(begin);
        }
        let mut previous = begin;
        for step in walked {
            own = self.walk(own, previous, step, flows);
            previous = step;
        }
        let causes = Causes::of(before, group);
        let exit_amount = previous.moment.value();
        own = Flow { moment: previous.row, exit, exit_amount, causes, ..own };
        let is_unchanged = flows.len() == first
            && (entry, exit) == (Entry::Start, Exit::End)
            && (own.fx_amount, own.change_amount, own.absent_days) == (0, 0, 0)
            && causes == Causes::default();
        if is_unchanged && self.window == Window::All {
            return;
        }
        flows.push(own);
        for flow in flows.iter_mut().skip(first) {
            flow.is_inside = !is_first && !is_last;
        }
    }

    /// Days from the beginning of the period.
    fn days(&self, step: &Step<'_>) -> i64 {
        i64::from(step.day) - i64::from(self.start)
    }

    fn begin(&self, step: &Step<'_>, entry: Entry) -> Flow {
        Flow {
            moment: step.row,
            grain: self.grain,
            start: self.start,
            window: self.window,
            is_inside: false,
            entry,
            exit: Exit::End,
            entry_amount: step.moment.value(),
            exit_amount: 0,
            fx_amount: 0,
            change_amount: 0,
            absent_days: 0,
            causes: Causes::default(),
        }
    }

    /// Takes one step further; a row that ends with a transfer is put to the others.
    fn walk(&self, own: Flow, old: &Step<'_>, new: &Step<'_>, flows: &mut Vec<Flow>) -> Flow {
        let mut own = own;
        let (was_there, is_there) = (self.holds(old.moment), self.holds(new.moment));
        let days = self.days(new);
        if !is_same_place(self.chunk, old.row, new.row) {
            let left = if was_there { days } else { 0 };
            let absent_days = own.absent_days - left;
            let (moment, exit_amount) = (old.row, old.moment.value());
            flows.push(Flow { moment, exit: Exit::Transferred, exit_amount, absent_days, ..own });
            own = Flow { absent_days: left, ..self.begin(old, Entry::Transferred) };
        }
        own.fx_amount = own.fx_amount.saturating_add(new.moment.revalued);
        own.change_amount = own.change_amount.saturating_add(step_change(old.moment, new.moment));
        match (was_there, is_there) {
            (true, false) => own.absent_days -= days,
            (false, true) => own.absent_days += days,
            _ => {}
        }
        own
    }
}

impl Assembler<'_> {
    /// Makes the rows of a chunk, some at a time.
    ///
    /// # Errors
    /// Whatever `take` returns.
    pub(super) fn pipeline_flows(
        &self,
        deals: &Deals<'_>,
        take: impl Fn(&Batch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut flows: Vec<Flow> = Vec::new();
        self.each_replayed(deals.chunk, |steps| {
            for starts in &self.period_starts {
                self.flows_of(deals.chunk, steps, starts, &mut flows);
            }
            if flows.len() >= ROWS_AT_ONCE {
                take(&self.flow_batch(deals, &flows)?)?;
                flows.clear();
            }
            Ok(())
        })?;
        take(&self.flow_batch(deals, &flows)?)
    }

    /// The rows of one deal by one period length.
    fn flows_of(&self, chunk: &Chunk, steps: &[Step<'_>], starts: &Starts, flows: &mut Vec<Flow>) {
        let grain = grain(starts.period());
        let frame = |start, window| Frame { chunk, starts, grain, start, window };
        let windows: &[Window] = match steps.iter().any(|s| s.moment.expected_close != NO_DAY) {
            true => &[Window::All, Window::CloseDate],
            false => &[Window::All],
        };
        // In the period of its expected close a deal is there even where nothing happens to it.
        let waits = |before: Option<&Step<'_>>, from: Day, until: Day| {
            let before = before.filter(|step| step.moment.is_open())?;
            let due = starts.start(before.moment.expected_close);
            (due != NO_DAY && from < due && due < until).then_some(due)
        };
        let (mut before, mut from): (Option<&Step<'_>>, Day) = (None, NO_DAY);
        for (start, group) in by_period(steps, starts) {
            if let Some(due) = waits(before, from, start) {
                frame(due, Window::CloseDate).flows(before, &[], flows);
            }
            for window in windows {
                frame(start, *window).flows(before, group, flows);
            }
            (before, from) = (group.last(), start);
        }
        let after = starts.start(self.calendar.day(self.as_of)).saturating_add(1);
        if let Some(due) = waits(before, from, after) {
            frame(due, Window::CloseDate).flows(before, &[], flows);
        }
    }

    fn flow_batch(&self, deals: &Deals<'_>, rows: &[Flow]) -> Result<Batch, Error> {
        let chunk = deals.chunk;
        let shards = || {
            let deal =
                |row: &Flow| chunk.deals.get(chunk.moments.get(row.moment as usize)?.deal as usize);
            rows.iter().map(|r| deal(r).map_or(0, |d| shard(self.split_hash(d)))).collect()
        };
        let names = |value: fn(&Flow) -> u8| rows.iter().map(value).collect::<Vec<u8>>();
        let ints = |value: fn(&Flow) -> i64| rows.iter().map(value).collect();
        let builder = BatchBuilder::new(Relation::PipelineFlows, rows.len(), self.wanted)
            .small("shard", shards)
            .name("grain", || names(|row| row.grain))
            .day("period_start", || rows.iter().map(|row| row.start).collect())
            .name("flow_window", || names(|row| row.window as u8))
            .flag("is_inside", || rows.iter().map(|row| i8::from(row.is_inside)).collect())
            .name("entry_kind", || names(|row| row.entry as u8))
            .name("exit_kind", || names(|row| row.exit as u8))
            .int("entry_amount", || ints(|row| row.entry_amount))
            .int("exit_amount", || ints(|row| row.exit_amount))
            .int("fx_amount", || ints(|row| row.fx_amount))
            .int("change_amount", || ints(|row| row.change_amount))
            .int("absent_days", || ints(|row| row.absent_days))
            .int("created_n", || ints(|row| row.causes.created_n))
            .int("created_amount", || ints(|row| row.causes.created_amount))
            .int("raises_n", || ints(|row| row.causes.raises_n))
            .int("raised_amount", || ints(|row| row.causes.raised_amount))
            .int("cuts_n", || ints(|row| row.causes.cuts_n))
            .int("cut_amount", || ints(|row| row.causes.cut_amount))
            .int("pushes_n", || ints(|row| row.causes.pushes_n))
            .int("pushed_days", || ints(|row| row.causes.pushed_days))
            .int("pulls_n", || ints(|row| row.causes.pulls_n))
            .int("pulled_days", || ints(|row| row.causes.pulled_days))
            .int("reopens_n", || ints(|row| row.causes.reopens_n))
            .int("wins_n", || ints(|row| row.causes.wins_n))
            .int("losses_n", || ints(|row| row.causes.losses_n))
            .int("deletions_n", || ints(|row| row.causes.deletions_n));
        let places = || rows.iter().map(|row| row.moment);
        let dimensions = self.dimensions.iter().enumerate();
        dimensions
            .fold(builder, |b, (at, name)| {
                b.dimension(name, || self.replayed_codes(deals, at, places()))
            })
            .finish(&self.dictionaries)
    }
}
