//! The pipeline told the plain way: the deal is told again from its beginning for every time that is
//! asked about.

use super::{Cells, Deal, Event, date, day, flag, month_of, on};
use crate::laws::dirty::{AS_OF, Shape};

/// First days of the months of the made-up histories, and the day after the last.
const MONTHS: [i64; 4] = [0, 31, 60, 91];

/// The number of 2024-01-01 in days since 1970-01-01.
const EPOCH: i64 = 19_723;

/// What a deal is at some time.
#[derive(Debug, Clone, PartialEq)]
struct State {
    minute: i64,
    day: i64,
    status: &'static str,
    stage: &'static str,
    entered: Option<i64>,
    amount: Option<i64>,
    owner: &'static str,
    region: &'static str,
    close: Option<i64>,
}

impl State {
    /// After the first `n` events; `None` before there is a deal.
    fn after(events: &[Event], n: usize, shape: &Shape) -> Option<Self> {
        let known = &events[..n];
        let last = known.last()?;
        let deal = Deal::tell(known, shape);
        let visit = deal.visits.last().filter(|visit| visit.end.is_none());
        Some(Self {
            minute: last.minute,
            day: day(last.minute, shape),
            status: deal.outcome(),
            stage: visit.map_or("START", |visit| visit.stage),
            entered: visit.map(|visit| visit.entered),
            amount: deal.amount,
            owner: deal.owner,
            region: deal.region(known, shape),
            close: deal.close,
        })
    }

    fn is_open(&self) -> bool {
        self.status == "open"
    }

    fn value(&self) -> i64 {
        self.amount.unwrap_or(0)
    }
}

/// How many events there are before a day.
fn until(events: &[Event], first: i64, shape: &Shape) -> usize {
    events.iter().filter(|event| day(event.minute, shape) < first).count()
}

/// The months that have begun.
fn months(shape: &Shape) -> impl Iterator<Item = (i64, i64)> {
    let today = day(AS_OF, shape);
    let pairs = MONTHS.into_iter().zip(MONTHS.into_iter().skip(1));
    pairs.filter(move |(first, _)| *first <= today)
}

/// `pipeline_stock`, by what the deal is at the end of every month.
pub(crate) fn stock(tag: &str, events: &[Event], shape: &Shape) -> Vec<Cells> {
    let mut rows = Vec::new();
    let mut before: Option<(State, bool)> = None;
    for (first, next) in months(shape) {
        let last_day = (next - 1).min(day(AS_OF, shape));
        let state = State::after(events, until(events, next, shape), shape);
        let now = state.filter(State::is_open).map(|state| {
            let is_overdue = state.close.is_some_and(|close| close < last_day);
            // When it came to be so, and when it is to end, is no part of what it is.
            (State { minute: 0, day: 0, close: None, ..state }, is_overdue)
        });
        if before != now {
            let both = [(-1, &before), (1, &now)];
            for (sign, (state, is_overdue)) in
                both.iter().filter_map(|(s, b)| Some((s, b.as_ref()?)))
            {
                let number = |n: i64| (sign * n).to_string();
                rows.push(Cells::from([
                    ("tag", tag.to_owned()),
                    ("region", state.region.to_owned()),
                    ("grain", "month".to_owned()),
                    ("period_start", on(first).to_string()),
                    ("pipeline", "default".to_owned()),
                    ("stage", state.stage.to_owned()),
                    ("stage_entered_on", date(state.entered, shape)),
                    ("created_on", date(Some(events[0].minute), shape)),
                    ("open_n", number(1)),
                    ("amount", number(state.value())),
                    ("amounts_n", number(i64::from(state.amount.is_some()))),
                    ("weighted_n", "0".to_owned()),
                    ("weighted_amount", "0".to_owned()),
                    ("unweighted_amount", number(state.value())),
                    ("entered_day_n", number(state.entered.map_or(0, |m| EPOCH + day(m, shape)))),
                    ("created_day_n", number(EPOCH + day(events[0].minute, shape))),
                    ("overdue_n", number(i64::from(*is_overdue))),
                    ("overdue_amount", number(if *is_overdue { state.value() } else { 0 })),
                    ("owner", state.owner.to_owned()),
                ]));
            }
        }
        before = now;
    }
    rows
}

/// Of several states of one minute only the last, but for those that the deal passed through.
fn at_once(before: Option<&State>, states: impl Iterator<Item = State>) -> Vec<State> {
    let mut kept: Vec<State> = Vec::new();
    for state in states {
        let earlier = kept.len().checked_sub(2).map(|at| &kept[at]).or(before);
        let is_one = kept.last().is_some_and(|last| {
            let did_not_move = earlier.is_some_and(|earlier| earlier.status == last.status);
            last.minute == state.minute && (did_not_move || last.status == state.status)
        });
        if is_one {
            kept.pop();
        }
        kept.push(state);
    }
    kept
}

/// What happened to a deal from one state to the next, by name.
fn causes(before: Option<&State>, steps: &[State]) -> Vec<(&'static str, i64)> {
    let mut told = Vec::new();
    let all: Vec<&State> = before.into_iter().chain(steps).collect();
    if before.is_none() {
        told.extend([("created_n", 1), ("created_amount", steps[0].value())]);
        let kind = match steps[0].status {
            "won" => "wins_n",
            "lost" => "losses_n",
            "deleted" => "deletions_n",
            _ => "",
        };
        told.push((kind, 1));
    }
    for pair in all.windows(2) {
        let (old, new) = (pair[0], pair[1]);
        if old.status != new.status {
            let kind = match new.status {
                "open" => "reopens_n",
                "won" => "wins_n",
                "lost" => "losses_n",
                _ => "deletions_n",
            };
            told.push((kind, 1));
        }
        let more = new.value() - old.value();
        if old.is_open() && more > 0 {
            told.extend([("raises_n", 1), ("raised_amount", more)]);
        }
        if old.is_open() && more < 0 {
            told.extend([("cuts_n", 1), ("cut_amount", -more)]);
        }
        if let (true, true, Some(was), Some(is)) =
            (old.is_open(), new.is_open(), old.close, new.close)
        {
            if is > was {
                told.extend([("pushes_n", 1), ("pushed_days", is - was)]);
            }
            if is < was {
                told.extend([("pulls_n", 1), ("pulled_days", was - is)]);
            }
        }
    }
    told
}

const CAUSES: [&str; 14] = [
    "created_n",
    "created_amount",
    "raises_n",
    "raised_amount",
    "cuts_n",
    "cut_amount",
    "pushes_n",
    "pushed_days",
    "pulls_n",
    "pulled_days",
    "reopens_n",
    "wins_n",
    "losses_n",
    "deletions_n",
];

/// `pipeline_flows`, month by month.
pub(crate) fn flows(tag: &str, events: &[Event], shape: &Shape) -> Vec<Cells> {
    let mut rows = Vec::new();
    for (first, next) in months(shape) {
        let (from, to) = (until(events, first, shape), until(events, next, shape));
        let before = State::after(events, from, shape);
        let steps = (from + 1..=to).filter_map(|n| State::after(events, n, shape));
        let steps = at_once(before.as_ref(), steps);
        for window in ["all", "close_date"] {
            let is_in = |state: &State| {
                let is_due = state.close.is_some_and(|close| first <= close && close < next);
                state.is_open() && (window == "all" || is_due)
            };
            let month = Month { first, window, is_in: &is_in };
            rows.extend(month.rows(tag, before.as_ref(), &steps));
        }
    }
    rows
}

struct Month<'m> {
    first: i64,
    window: &'static str,
    is_in: &'m dyn Fn(&State) -> bool,
}

impl Month<'_> {
    fn rows(&self, tag: &str, before: Option<&State>, steps: &[State]) -> Vec<Cells> {
        let is_in = self.is_in;
        let starts = before.is_some_and(is_in);
        let Some(last) = steps.last().or(before) else { return Vec::new() };
        // From the first state that is in the pipeline to the one with which it is left.
        let mut path: Vec<&State> = before.filter(|_| starts).into_iter().chain(steps).collect();
        let Some(begin) = path.iter().position(|state| is_in(state)) else { return Vec::new() };
        path.drain(..begin);
        let entry = match before {
            _ if starts => "start",
            None => "new",
            Some(state) if state.is_open() => "moved_in",
            Some(_) => "reopened",
        };
        let exit = match last.status {
            _ if is_in(last) => "end",
            "open" => "moved_out",
            closed => closed,
        };
        let stays = |state: &&&State| match exit {
            "end" => true,
            "moved_out" => !is_in(state),
            closed => state.status == closed,
        };
        let tail = path.iter().rev().take_while(stays).count();
        if exit != "end" {
            path.truncate(path.len() - tail + 1);
        }
        let segments: Vec<&[&State]> = path.chunk_by(|a, b| a.region == b.region).collect();
        let told = causes(before, steps);
        let changed = segments.len() > 1 || path[0].value() != path[path.len() - 1].value();
        let quiet = (entry, exit) == ("start", "end") && !changed && told.is_empty();
        if quiet && self.window == "all" {
            return Vec::new();
        }
        let mut rows = Vec::new();
        for (number, own) in segments.iter().enumerate() {
            let after = segments.get(number + 1).map(|next| next[0]);
            let came = number.checked_sub(1).map(|n| segments[n][segments[n].len() - 1]);
            let (entry_amount, exit_amount) =
                (came.unwrap_or(own[0]).value(), own[own.len() - 1].value());
            let is_last = after.is_none();
            let absent = self.absent(own, number == 0 && starts, after);
            let mut cells = Cells::from([
                ("tag", tag.to_owned()),
                ("region", own[0].region.to_owned()),
                ("grain", "month".to_owned()),
                ("period_start", month_of(self.first)),
                ("flow_window", self.window.to_owned()),
                ("is_inside", flag(!starts && exit != "end")),
                ("entry_kind", if number == 0 { entry } else { "transferred" }.to_owned()),
                ("exit_kind", if is_last { exit } else { "transferred" }.to_owned()),
                ("entry_amount", entry_amount.to_string()),
                ("exit_amount", exit_amount.to_string()),
                ("fx_amount", "0".to_owned()),
                ("change_amount", (exit_amount - entry_amount).to_string()),
                ("absent_days", absent.to_string()),
            ]);
            for name in CAUSES {
                let own = told.iter().filter(|(cause, _)| *cause == name && is_last);
                cells.insert(name, own.map(|(_, n)| n).sum::<i64>().to_string());
            }
            rows.push(cells);
        }
        rows
    }

    /// Days to each coming less those to each going.
    fn absent(&self, own: &[&State], starts: bool, after: Option<&State>) -> i64 {
        let mut was_in = starts;
        let mut days = 0;
        for (place, state) in own.iter().enumerate() {
            let is_in = (self.is_in)(state);
            let offset = state.day - self.first;
            // The state at the beginning has no day of the month.
            if !(starts && place == 0) {
                days += offset * (i64::from(is_in) - i64::from(was_in));
            }
            was_in = is_in;
        }
        match after {
            Some(after) if was_in => days - (after.day - self.first),
            _ => days,
        }
    }
}
