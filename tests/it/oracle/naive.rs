//! A fold written for reading, not for speed: one deal at a time, one row at a time, plain text and
//! ordered maps. It shares no code with the engine; what it knows is the definitions.

mod pipeline;

use std::collections::BTreeMap;

use chrono::{Datelike as _, Days, NaiveDate};

use super::funnels::FUNNELS;
use crate::laws::dirty::{AS_OF, EventIds, Row, Seq, Shape};

/// One row of a relation: column to value, null is the empty text, `?` is anything.
pub(crate) type Cells = BTreeMap<&'static str, String>;

/// The relations of a history.
pub(crate) struct Told {
    pub(crate) deals: Vec<Cells>,
    pub(crate) visits: Vec<Cells>,
    pub(crate) entries: Vec<Cells>,
    pub(crate) open: Vec<Cells>,
    pub(crate) orders: Vec<Cells>,
    pub(crate) bookings: Vec<Cells>,
    pub(crate) follows: Vec<Cells>,
    pub(crate) funnel_steps: Vec<Cells>,
    /// The stages of each deal's visits.
    pub(crate) paths: BTreeMap<String, Vec<&'static str>>,
    pub(crate) stock: Vec<Cells>,
    pub(crate) flows: Vec<Cells>,
}

/// Tells every deal by itself.
pub(crate) fn fold(rows: &[Row], shape: &Shape) -> Told {
    let mut by_deal: BTreeMap<&str, Vec<Event>> = BTreeMap::new();
    for (position, row) in rows.iter().enumerate() {
        if let Some(event) = Event::read(row, position, shape) {
            by_deal.entry(row.deal).or_default().push(event);
        }
    }
    let (mut deals, mut visits, mut orders) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bookings, mut entries, mut open) = (Vec::new(), Vec::new(), Vec::new());
    let (mut follows, mut funnel_steps, mut paths) = (Vec::new(), Vec::new(), BTreeMap::new());
    let (mut stock, mut flows) = (Vec::new(), Vec::new());
    for (tag, events) in by_deal {
        let events = order(distinct(events), shape);
        if shape.ties == "reject" && has_ties(&events) {
            continue;
        }
        let deal = Deal::tell(&events, shape);
        // Whatever becomes of a deal, what it booked until then stays booked.
        let (held, booked) = book(tag, &events, shape);
        bookings.extend(booked);
        if deal.deleted.is_some() && (shape.deleted == "exclude" || deal.merged) {
            continue;
        }
        visits.extend(deal.visit_cells(tag, &events, shape));
        entries.extend(deal.entry_cells(tag, &events, shape));
        open.extend(deal.open_cells(tag, &events, shape));
        orders.extend(deal.order(tag, &events, shape));
        follows.extend(deal.follow_cells(tag, &events, shape));
        funnel_steps.extend(deal.funnel_cells(tag, &events, shape));
        paths.insert(tag.to_owned(), deal.visits.iter().map(|v| v.stage).collect());
        stock.extend(pipeline::stock(tag, &events, shape));
        flows.extend(pipeline::flows(tag, &events, shape));
        let mut cells = deal.cells(tag, &events, shape);
        cells.insert("held_amount", held.to_string());
        deals.push(cells);
    }
    let orders = mark_first(&orders, shape);
    Told {
        deals,
        visits,
        entries,
        open,
        orders,
        bookings,
        follows,
        funnel_steps,
        paths,
        stock,
        flows,
    }
}

/// What a row does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Does {
    Attribute,
    Restored,
    Created,
    Reopened,
    Stage,
    Won,
    Lost,
    Deleted,
    Merged,
}

#[derive(Debug, Clone)]
struct Event {
    minute: i64,
    seq: Option<i64>,
    position: usize,
    does: Does,
    stage: Option<&'static str>,
    amount: Option<i64>,
    owner: &'static str,
    customer: &'static str,
    region: &'static str,
    close: Option<i64>,
    id: &'static str,
    ingested: Option<i64>,
}

const OPEN: [&str; 3] = ["s1", "s2", "s3"];

fn class(stage: &str) -> &'static str {
    match stage {
        "s1" | "s2" | "s3" => "open",
        "won" | "signed" => "won",
        "lost" => "lost",
        _ => "unknown",
    }
}

/// 1 for the first open stage, 0 outside the order.
fn place(stage: &str) -> usize {
    OPEN.iter().position(|s| *s == stage).map_or(0, |p| p + 1)
}

impl Event {
    /// `None` for a row that is kept out or later than the end.
    fn read(row: &Row, position: usize, shape: &Shape) -> Option<Self> {
        let minute = row.minute.filter(|m| *m <= AS_OF)?;
        if row.deal.is_empty() {
            return None;
        }
        let does = match row.kind {
            "" if row.stage.is_empty() => Does::Attribute,
            "" => Does::Stage,
            "stage" if row.stage.is_empty() => return None,
            "stage" => Does::Stage,
            "created" => Does::Created,
            "won" => Does::Won,
            "lost" => Does::Lost,
            "reopened" => Does::Reopened,
            "deleted" => Does::Deleted,
            "merged" => Does::Merged,
            "restored" => Does::Restored,
            "amount" | "owner" | "attribute" => Does::Attribute,
            _ => return None,
        };
        let amount = match row.amount {
            "" | "n/a" => None,
            text => Some((text.parse::<f64>().unwrap() * 100.0) as i64),
        };
        let stage = match row.stage {
            // Events of an ignored stage change attributes only.
            "" | "parked" => None,
            "one" => Some("s1"),
            other => Some(other),
        };
        let with_ids = shape.ids == EventIds::Given;
        Some(Self {
            minute,
            seq: row.seq.filter(|_| shape.seq == Seq::Given),
            position,
            does,
            stage,
            amount,
            owner: row.owner,
            customer: row.customer,
            region: row.region,
            close: row.close,
            id: if with_ids { row.event } else { "" },
            ingested: row.ingested.filter(|_| with_ids),
        })
    }

    /// Place among the events of one instant.
    fn rank(&self) -> (u8, usize) {
        match (self.does, self.stage) {
            (Does::Attribute, _) | (Does::Stage, None) => (0, 0),
            (Does::Restored, _) => (1, 0),
            (Does::Created, _) => (2, 0),
            (Does::Reopened, _) => (3, 0),
            (Does::Stage, Some(stage)) => match class(stage) {
                "open" => (4, place(stage)),
                "unknown" => (5, 0),
                "won" => (6, 0),
                _ => (7, 0),
            },
            (Does::Won, _) => (6, 0),
            (Does::Lost, _) => (7, 0),
            (Does::Deleted | Does::Merged, _) => (8, 0),
        }
    }

    fn moves(&self) -> bool {
        matches!(self.does, Does::Created | Does::Stage | Does::Won | Does::Lost)
    }

    fn same_content(&self, other: &Self) -> bool {
        let content = |e: &Self| {
            let names = (e.owner, e.customer, e.region);
            (e.minute, e.seq, e.does, e.stage, e.amount, names, e.close)
        };
        content(self) == content(other)
    }
}

/// G3: of one id the last ingested; of equal rows without id the first.
fn distinct(events: Vec<Event>) -> Vec<Event> {
    let mut kept: Vec<Event> = Vec::new();
    for event in events {
        if event.id.is_empty() {
            if !kept.iter().any(|k| k.id.is_empty() && k.same_content(&event)) {
                kept.push(event);
            }
        } else if let Some(known) = kept.iter_mut().find(|k| k.id == event.id) {
            if event.ingested >= known.ingested {
                *known = event;
            }
        } else {
            kept.push(event);
        }
    }
    kept
}

/// G2.
fn order(mut events: Vec<Event>, shape: &Shape) -> Vec<Event> {
    let by_stage = shape.ties != "source_order";
    events.sort_by_key(|e| (e.minute, e.seq, if by_stage { e.rank() } else { (0, 0) }, e.position));
    events
}

fn has_ties(events: &[Event]) -> bool {
    let moving: Vec<&Event> = events.iter().filter(|e| e.moves()).collect();
    moving.windows(2).any(|w| (w[0].minute, w[0].seq) == (w[1].minute, w[1].seq))
}

#[derive(Debug, Clone)]
pub(crate) struct Visit {
    pub(crate) stage: &'static str,
    prev: &'static str,
    arrival: &'static str,
    pub(crate) entered: i64,
    /// Which event began it.
    at: usize,
    amount: Option<i64>,
    owner: &'static str,
    /// Kind, target, minute and amount of the move that ended it.
    end: Option<(&'static str, &'static str, i64, Option<i64>)>,
}

#[derive(Debug, Clone, Default)]
struct Deal {
    visits: Vec<Visit>,
    deleted: Option<i64>,
    merged: bool,
    /// When the deal says that it was created.
    told_created: Option<i64>,
    amount: Option<i64>,
    created_amount: Option<i64>,
    owner: &'static str,
    created_owner: &'static str,
    customer: &'static str,
    close: Option<i64>,
    pushes: i64,
    /// Every event that named a stage, repeats too, and when.
    told: Vec<(&'static str, i64)>,
}

impl Deal {
    fn tell(events: &[Event], shape: &Shape) -> Self {
        let mut deal = Self::default();
        let mut lost_from = None;
        for (at, event) in events.iter().enumerate() {
            deal.learn(event);
            // What a deletion lost, a restoration brings back to where it was.
            let as_lost = event.does == Does::Deleted && shape.deleted == "as_lost";
            let does = if as_lost { Does::Lost } else { event.does };
            if as_lost && deal.deleted.is_none() && deal.outcome() != "lost" {
                lost_from = deal.current();
            }
            if deal.deleted.is_some() {
                if does == Does::Restored {
                    deal.restore(event, at);
                }
                continue;
            }
            let of_class =
                |wanted: &'static str| event.stage.filter(|s| class(s) == wanted).unwrap_or(wanted);
            match does {
                Does::Attribute => {}
                Does::Restored => {
                    if let Some(stage) = lost_from.take() {
                        deal.go(stage, event, at);
                    }
                }
                Does::Created | Does::Stage => {
                    if does == Does::Created {
                        deal.told_created = deal.told_created.or(Some(event.minute));
                    }
                    if let Some(stage) = event.stage {
                        deal.go(stage, event, at);
                    }
                }
                Does::Won => deal.go(of_class("won"), event, at),
                Does::Lost => deal.go(of_class("lost"), event, at),
                Does::Reopened => deal.reopen(event, at),
                Does::Deleted | Does::Merged => {
                    deal.merged = does == Does::Merged;
                    deal.deleted = Some(event.minute);
                    deal.leave("deleted", "DELETED", event.minute);
                }
            }
        }
        deal
    }

    fn learn(&mut self, event: &Event) {
        self.amount = event.amount.or(self.amount);
        self.created_amount = self.created_amount.or(event.amount);
        if !event.owner.is_empty() {
            self.owner = event.owner;
            if self.created_owner.is_empty() {
                self.created_owner = event.owner;
            }
        }
        if !event.customer.is_empty() {
            self.customer = event.customer;
        }
        if let (Some(old), Some(new)) = (self.close, event.close) {
            self.pushes += i64::from(new > old);
        }
        self.close = event.close.or(self.close);
    }

    fn current(&self) -> Option<&'static str> {
        self.visits.last().filter(|v| v.end.is_none()).map(|v| v.stage)
    }

    fn leave(&mut self, kind: &'static str, to: &'static str, minute: i64) {
        let amount = self.amount;
        if let Some(visit) = self.visits.last_mut()
            && visit.end.is_none()
        {
            visit.end = Some((kind, to, minute, amount));
        }
    }

    fn begin(
        &mut self,
        stage: &'static str,
        prev: &'static str,
        arrival: &'static str,
        event: &Event,
        at: usize,
    ) {
        self.told.push((stage, event.minute));
        self.visits.push(Visit {
            stage,
            prev,
            arrival,
            entered: event.minute,
            at,
            amount: self.amount,
            owner: self.owner,
            end: None,
        });
    }

    fn go(&mut self, to: &'static str, event: &Event, at: usize) {
        let Some(from) = self.current() else {
            return self.begin(to, "START", "created", event, at);
        };
        if from == to {
            self.told.push((to, event.minute));
            return;
        }
        let kind = match (class(from), class(to)) {
            (_, "won") => "won",
            (_, "lost") => "lost",
            ("won" | "lost", _) => "reopened",
            ("open", "open") if place(to) < place(from) => "regressed",
            ("open", "open") if place(to) == place(from) + 1 => "advanced",
            ("open", "open") => "skipped",
            _ => "unordered",
        };
        self.leave(kind, to, event.minute);
        self.begin(to, from, kind, event, at);
    }

    fn reopen(&mut self, event: &Event, at: usize) {
        if let Some(stage) = event.stage {
            return self.go(stage, event, at);
        }
        let closed = self.current().is_some_and(|s| matches!(class(s), "won" | "lost"));
        if closed {
            let last = self.visits.iter().rev().find(|v| class(v.stage) == "open");
            self.go(last.map_or("s1", |v| v.stage), event, at);
        }
    }

    fn restore(&mut self, event: &Event, at: usize) {
        self.deleted = None;
        let back = self.visits.last().map(|v| v.stage);
        if let Some(stage) = event.stage.or(back) {
            self.begin(stage, "DELETED", "reopened", event, at);
        }
    }

    /// Every change of the outcome: the visit it came with, and whether it is won, lost or open.
    fn outcomes(&self) -> Vec<(&Visit, &'static str)> {
        let mut changes: Vec<(&Visit, &'static str)> = Vec::new();
        for visit in &self.visits {
            let outcome = match class(visit.stage) {
                "won" => "won",
                "lost" => "lost",
                _ => "open",
            };
            if outcome != changes.last().map_or("open", |(_, o)| *o) {
                changes.push((visit, outcome));
            }
        }
        changes
    }

    /// The close that holds in the end, as long as the deal is not deleted.
    fn closed(&self) -> Option<(&Visit, &'static str)> {
        self.outcomes().last().copied().filter(|(_, outcome)| *outcome != "open")
    }

    fn outcome(&self) -> &'static str {
        match (self.deleted, self.closed()) {
            (Some(_), _) => "deleted",
            (None, Some((_, outcome))) => outcome,
            (None, None) => "open",
        }
    }

    fn ever_won(&self) -> bool {
        self.visits.iter().any(|v| class(v.stage) == "won")
    }

    fn region(&self, events: &[Event], shape: &Shape) -> &'static str {
        let known = |e: &&Event| !e.region.is_empty();
        let first = events.iter().find(known);
        let last = events.iter().rev().find(known);
        let at_close = self.closed().and_then(|(visit, _)| {
            let before = events[..=visit.at].iter().rev().find(known);
            before.or_else(|| events[visit.at + 1..].iter().find(known))
        });
        let chosen = match (shape.dimension_at, self.closed()) {
            ("created", _) => first,
            ("close", Some(_)) => at_close,
            _ => last,
        };
        chosen.map_or("", |e| e.region)
    }

    fn cycle(&self, events: &[Event], shape: &Shape) -> (i64, &'static str, bool) {
        let open = self.visits.iter().find(|v| class(v.stage) == "open");
        let start = match shape.cycle_start {
            "created" => Some(events[0].minute),
            _ => open.map(|v| v.entered),
        };
        let changes = self.outcomes();
        let close = match shape.cycle_end {
            "first_close" => changes.first().copied(),
            _ if self.deleted.is_some() => None,
            _ => self.closed(),
        };
        let (end, status) = match (close, self.deleted) {
            (Some((visit, outcome)), _) => (visit.entered, outcome),
            (None, Some(minute)) => (minute, "deleted"),
            (None, None) => (AS_OF, "open"),
        };
        // A close before the creation is no span (G12).
        let before = status != "open" && self.told_created.is_some_and(|created| end < created);
        match start {
            Some(start) if start <= end && !before => (duration(start, end, shape), status, false),
            _ => (0, status, true),
        }
    }

    fn cells(&self, tag: &str, events: &[Event], shape: &Shape) -> Cells {
        let (outcome, changes) = (self.outcome(), self.outcomes());
        let closed = self.closed().filter(|_| self.deleted.is_none());
        let entered = self.visits.iter().find(|v| v.stage == "s1").map(|v| v.entered);
        let first_close = changes.first().copied();
        let first_win = self.visits.iter().find(|v| class(v.stage) == "won");
        let (cycle, status, negative) = self.cycle(events, shape);
        let created = Some(events[0].minute);
        let closed_at = closed.map(|(v, _)| v.entered);
        let first_closed_at = first_close.map(|(v, _)| v.entered);
        let overdue = outcome == "open" && self.close.is_some_and(|d| d < day(AS_OF, shape));
        let kind_n = |kind: &str| self.visits.iter().filter(|v| v.arrival == kind).count();
        let reopened = self.visits.iter().filter(|v| v.arrival == "reopened");
        let mut cells = Cells::from([
            ("tag", tag.to_owned()),
            ("region", self.region(events, shape).to_owned()),
            ("created_on", date(created, shape)),
            ("created_period", month(created, shape)),
            ("entered_period", month(entered, shape)),
            ("closed_on", date(closed_at, shape)),
            ("closed_period", month(closed_at, shape)),
            ("first_closed_on", date(first_closed_at, shape)),
            ("first_closed_period", month(first_closed_at, shape)),
            ("is_won", flag(outcome == "won")),
            ("is_lost", flag(outcome == "lost")),
            ("is_open", flag(outcome == "open")),
            ("close_uncertainty_seconds", "0".to_owned()),
            ("history_quality", "events".to_owned()),
            ("is_deleted", flag(outcome == "deleted")),
            ("is_first_won", flag(first_close.is_some_and(|(_, o)| o == "won"))),
            ("is_first_lost", flag(first_close.is_some_and(|(_, o)| o == "lost"))),
            ("ever_won", flag(self.ever_won())),
            ("first_won_on", date(first_win.map(|v| v.entered), shape)),
            ("first_won_period", month(first_win.map(|v| v.entered), shape)),
            ("first_won_amount", first_win.and_then(|v| v.amount).unwrap_or(0).to_string()),
            ("expected_close_on", self.close.map_or_else(String::new, |d| on(d).to_string())),
            ("expected_close_period", self.close.map_or_else(String::new, month_of)),
            ("is_overdue", flag(overdue)),
            ("cycle", cycle.to_string()),
            ("cycle_status", status.to_owned()),
            ("is_negative_cycle", flag(negative)),
            ("visits_n", self.visits.len().to_string()),
            // Held against the visits one by one.
            ("path_1", "?".to_owned()),
            ("path_2", "?".to_owned()),
            ("path_3", "?".to_owned()),
            ("path_4", "?".to_owned()),
            ("skips_n", kind_n("skipped").to_string()),
            ("regressions_n", kind_n("regressed").to_string()),
            ("reopens_n", reopened.filter(|v| v.prev != "DELETED").count().to_string()),
            ("pushes_n", self.pushes.to_string()),
            ("amount", self.amount.unwrap_or(0).to_string()),
            ("has_amount", flag(self.amount.is_some())),
            ("created_amount", self.created_amount.unwrap_or(0).to_string()),
            ("closed_amount", closed.and_then(|(v, _)| v.amount).unwrap_or(0).to_string()),
            ("has_closed_amount", flag(closed.is_some_and(|(v, _)| v.amount.is_some()))),
            ("has_customer", flag(!self.customer.is_empty())),
            ("owner", self.owner.to_owned()),
            // There are no users.
            ("team_of_owner", String::new()),
            ("owner_at_close", closed.map_or("", |(v, _)| v.owner).to_owned()),
            ("owner_at_creation", self.created_owner.to_owned()),
        ]);
        self.level_cells(&mut cells);
        cells
    }

    /// A deal won in the end, of a known customer and amount.
    fn order(&self, tag: &str, events: &[Event], shape: &Shape) -> Option<Order> {
        let (close, outcome) = self.closed()?;
        let is_one = outcome == "won" && self.deleted.is_none() && !self.customer.is_empty();
        Some(Order {
            customer: self.customer,
            minute: close.entered,
            tag: tag.to_owned(),
            amount: self.amount.filter(|_| is_one)?,
            region: self.region(events, shape),
        })
    }

    /// Definitions, section 6: each variant by trying every level.
    fn level_cells(&self, cells: &mut Cells) {
        let names: Vec<&str> = self.visits.iter().map(|v| v.stage).collect();
        let open: Vec<usize> = names.iter().map(|s| place(s)).filter(|p| *p > 0).collect();
        let won = OPEN.len() + 1;
        // What must be visited to come to each level; the last is any won stage.
        let is = |level: usize, stage: &str| {
            if level == won { class(stage) == "won" } else { place(stage) == level }
        };
        let deepest = |holds: &dyn Fn(usize) -> bool| (1..=won).rev().find(|k| holds(*k));
        let fall_through =
            deepest(&|k| (1..=k).all(|level| names.iter().any(|stage| is(level, stage))));
        let ordered = deepest(&|k| {
            let mut since = i64::MIN;
            (1..=k).all(|level| {
                let next = self.visits.iter().filter(|v| is(level, v.stage) && v.entered >= since);
                let earliest = next.map(|v| v.entered).min();
                since = earliest.unwrap_or(since);
                earliest.is_some()
            })
        });
        let strict = deepest(&|k| {
            names.windows(k).any(|run| run.iter().zip(1..).all(|(stage, level)| is(level, stage)))
        });
        let reached = if self.ever_won() { won } else { open.iter().copied().max().unwrap_or(0) };
        let last = open.last().copied().unwrap_or(0);
        let first = open.first().copied();
        let touched: usize =
            (1..=OPEN.len()).filter(|k| open.contains(k)).map(|k| 1 << (k - 1)).sum();
        let mut put = |name, level: usize| cells.insert(name, level.to_string());
        put("touched_stages", touched);
        put("stages_n", OPEN.len());
        put("reached_level", reached);
        put("fall_through_level", fall_through.unwrap_or(0));
        put("ordered_level", ordered.unwrap_or(0));
        put("strict_level", strict.unwrap_or(0));
        put("furthest_final_level", if self.outcome() == "won" { won } else { last });
        put("first_level", first.unwrap_or(if self.ever_won() { won } else { 0 }));
        cells.insert("pipeline", "default".to_owned());
        let amount = self.amount.filter(|amount| *amount > 1);
        let ln = amount.map_or(0.0, |amount| (amount as f64).log10() * std::f64::consts::LN_10);
        cells.insert("amount_ln_milli", format!("{:.0}", ln * 1000.0));
        cells.insert("stratum", "0".to_owned());
        cells.insert("probability_ppm", "0".to_owned());
        cells.insert("has_probability", "0".to_owned());
    }

    fn visit_cells(&self, tag: &str, events: &[Event], shape: &Shape) -> Vec<Cells> {
        let entered = self.visits.iter().find(|v| v.stage == "s1").map(|v| v.entered);
        let next = |v: &Visit| v.end.map_or("STILL", |(_, to, _, _)| to);
        let each = self.visits.iter().enumerate().map(|(number, v)| {
            let before = &self.visits[..number];
            let earlier = before.iter().filter(|b| b.stage == v.stage).count();
            let later = self.visits[number + 1..].iter().any(|b| b.stage == v.stage);
            let pair = before.iter().any(|b| b.stage == v.stage && next(b) == next(v));
            let kind = v.end.map_or("still", |(kind, _, _, _)| kind);
            let left = v.end.map(|(_, _, minute, _)| minute);
            let end_amount = v.end.map_or(self.amount, |(_, _, _, amount)| amount);
            Cells::from([
                ("tag", tag.to_owned()),
                ("region", self.region(events, shape).to_owned()),
                ("stage", v.stage.to_owned()),
                ("stage_class", class(v.stage).to_owned()),
                ("stage_order", place(v.stage).to_string()),
                ("pipeline", "default".to_owned()),
                ("visit_no", (earlier + 1).to_string()),
                ("prev_stage", v.prev.to_owned()),
                ("arrival", v.arrival.to_owned()),
                ("next_stage", next(v).to_owned()),
                ("move", kind.to_owned()),
                ("entered_on", date(Some(v.entered), shape)),
                ("entered_period", month(Some(v.entered), shape)),
                ("left_on", date(left, shape)),
                ("deal_created_period", month(Some(events[0].minute), shape)),
                ("deal_entered_period", month(entered, shape)),
                ("dwell", duration(v.entered, left.unwrap_or(AS_OF), shape).to_string()),
                ("dwell_days", {
                    let days = day(left.unwrap_or(AS_OF), shape) - day(v.entered, shape);
                    days.to_string()
                }),
                ("is_negative", flag(false)),
                ("is_censored", flag(matches!(kind, "still" | "deleted"))),
                ("is_entry", flag(number == 0)),
                ("is_first_visit", flag(earlier == 0)),
                ("is_last_visit", flag(!later)),
                ("is_first_move", flag(!pair)),
                ("is_first_exit", flag(earlier == 0 && kind != "still")),
                ("amount", v.amount.unwrap_or(0).to_string()),
                ("has_amount", flag(v.amount.is_some())),
                ("move_amount", end_amount.unwrap_or(0).to_string()),
                ("has_move_amount", flag(end_amount.is_some())),
                ("owner", v.owner.to_owned()),
                ("deal_is_won", flag(self.outcome() == "won")),
                ("deal_is_lost", flag(self.outcome() == "lost")),
            ])
        });
        each.collect()
    }

    fn follow_cells(&self, tag: &str, events: &[Event], shape: &Shape) -> Vec<Cells> {
        if self.told.is_empty() {
            return Vec::new();
        }
        let (first, last) = (self.told[0], self.told[self.told.len() - 1]);
        let mut steps = vec![(("START", first.1), first)];
        steps.extend(self.told.windows(2).map(|pair| (pair[0], pair[1])));
        steps.push((last, ("STILL", last.1)));
        let is_known = |number: usize| {
            let stages = |step: usize| (steps[step].0.0, steps[step].1.0);
            (0..number).any(|step| stages(step) == stages(number))
        };
        let cells = |number: usize| {
            let ((from, since), (to, at)) = &steps[number];
            Cells::from([
                ("tag", tag.to_owned()),
                ("region", self.region(events, shape).to_owned()),
                ("stage", (*from).to_owned()),
                ("next_stage", (*to).to_owned()),
                ("told_on", date(Some(*since), shape)),
                ("told_period", month(Some(*since), shape)),
                ("gap", duration(*since, *at, shape).to_string()),
                ("is_last", flag(*to == "STILL")),
                ("is_first_pair", flag(!is_known(number))),
            ])
        };
        (0..steps.len()).map(cells).collect()
    }

    fn funnel_cells(&self, tag: &str, events: &[Event], shape: &Shape) -> Vec<Cells> {
        let mut rows = Vec::new();
        for funnel in &FUNNELS {
            let day = |minute: i64| day(minute, shape);
            for (number, attempt) in funnel.attempts(&self.visits, &day).iter().enumerate() {
                let entry = &self.visits[attempt.taken[0].1];
                let furthest = attempt.taken[attempt.taken.len() - 1].0;
                let is_mature = match funnel.window {
                    Some(window) => AS_OF - entry.entered > window,
                    None => self.outcome() != "open" || furthest + 1 == funnel.steps.len(),
                };
                let known = |e: &&Event| !e.region.is_empty();
                let by_entry =
                    events[..=entry.at].iter().rev().find(known).map_or("", |e| e.region);
                let region = if funnel.is_by_entry { by_entry } else { self.region(events, shape) };
                let mut before = entry.entered;
                for (step, visit) in &attempt.taken {
                    let at = self.visits[*visit].entered;
                    rows.push(Cells::from([
                        ("tag", tag.to_owned()),
                        ("region", region.to_owned()),
                        ("funnel", funnel.name.to_owned()),
                        ("step", (step + 1).to_string()),
                        ("attempt_no", (number + 1).to_string()),
                        ("attempt_on", date(Some(entry.entered), shape)),
                        ("attempt_period", month(Some(entry.entered), shape)),
                        ("elapsed", duration(entry.entered, at, shape).to_string()),
                        ("step_elapsed", duration(before.min(at), at, shape).to_string()),
                        ("is_furthest", flag(*step == furthest)),
                        ("is_excluded", flag(*step == furthest && attempt.is_excluded)),
                        ("is_mature", flag(is_mature)),
                        ("amount", entry.amount.unwrap_or(0).to_string()),
                        ("has_amount", flag(entry.amount.is_some())),
                        ("owner", entry.owner.to_owned()),
                    ]));
                    before = at;
                }
            }
        }
        rows
    }

    /// Visits to stages that end nothing, and the first one, each with the deal's next close.
    fn entry_cells(&self, tag: &str, events: &[Event], shape: &Shape) -> Vec<Cells> {
        let ends = |v: &Visit| matches!(class(v.stage), "won" | "lost");
        let mut rows = Vec::new();
        for (number, v) in self.visits.iter().enumerate() {
            if ends(v) && number > 0 {
                continue;
            }
            let close = self.visits.iter().skip(number).find(|later| ends(later));
            let (ending, ended, amount) = match (close, self.deleted) {
                (Some(close), _) => (class(close.stage), Some(close.entered), close.amount),
                (None, Some(minute)) => ("deleted", Some(minute), None),
                (None, None) => ("open", None, None),
            };
            let left = v.end.map(|(_, _, minute, _)| minute);
            let days = |to: Option<i64>| day(to.unwrap_or(AS_OF), shape) - day(v.entered, shape);
            rows.push(Cells::from([
                ("tag", tag.to_owned()),
                ("region", self.region(events, shape).to_owned()),
                ("stage", v.stage.to_owned()),
                ("stage_class", class(v.stage).to_owned()),
                ("next_stage", v.end.map_or("STILL", |(_, to, _, _)| to).to_owned()),
                ("move", v.end.map_or("still", |(kind, _, _, _)| kind).to_owned()),
                ("forecast_segment", self.region(events, shape).to_owned()),
                ("entered_on", date(Some(v.entered), shape)),
                ("entered_month", month(Some(v.entered), shape)),
                ("left_month", month(left, shape)),
                ("stay_days", days(left).to_string()),
                ("stay_band", band(days(left)).to_string()),
                ("ending", ending.to_owned()),
                ("ended_month", month(ended, shape)),
                ("follow_days", days(ended).to_string()),
                ("is_entry", flag(number == 0)),
                ("amount", v.amount.unwrap_or(0).to_string()),
                ("has_amount", flag(v.amount.is_some())),
                ("ended_amount", amount.unwrap_or(0).to_string()),
                ("amount_class", size(amount.unwrap_or(0)).to_string()),
            ]));
        }
        rows
    }

    fn open_cells(&self, tag: &str, events: &[Event], shape: &Shape) -> Option<Cells> {
        let visit = self.visits.last().filter(|v| v.end.is_none());
        (self.outcome() == "open").then(|| {
            Cells::from([
                ("tag", tag.to_owned()),
                ("region", self.region(events, shape).to_owned()),
                // How an identifier is packed says nothing.
                ("id_high", "?".to_owned()),
                ("id_low", "?".to_owned()),
                ("stage", visit.map_or("START", |v| v.stage).to_owned()),
                ("forecast_segment", self.region(events, shape).to_owned()),
                ("deal_owner", self.owner.to_owned()),
                ("created_on", date(Some(events[0].minute), shape)),
                ("entered_on", date(visit.map(|v| v.entered), shape)),
                ("expected_close_on", self.close.map_or_else(String::new, |d| on(d).to_string())),
                ("amount", self.amount.unwrap_or(0).to_string()),
                ("has_amount", flag(self.amount.is_some())),
            ])
        })
    }
}

/// Landmarks reached.
fn band(days: i64) -> usize {
    let landmarks = [1, 3, 7, 14, 21, 30, 45, 60, 90, 120, 180, 270, 365, 730];
    landmarks.iter().filter(|landmark| days >= **landmark).count()
}

/// Quarters of doublings; -1 for what is not above 0.
fn size(amount: i64) -> i64 {
    let Some(doublings) = (0..62).rev().find(|d| amount >= 1 << d) else { return -1 };
    4 * doublings + (amount - (1 << doublings)) * 4 / (1 << doublings)
}

/// What a deal counts for after some of its events: amount, owner at the win, region.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Held {
    amount: i64,
    owner: &'static str,
    region: &'static str,
}

/// What is held in the end and the ledger, by telling the deal again after every event and comparing.
fn book(tag: &str, events: &[Event], shape: &Shape) -> (i64, Vec<Cells>) {
    let mut rows = Vec::new();
    let mut before: Option<Held> = None;
    for (number, event) in events.iter().enumerate() {
        let known = &events[..=number];
        let deal = Deal::tell(known, shape);
        let held = (deal.outcome() == "won").then(|| Held {
            amount: deal.amount.unwrap_or(0),
            owner: before.map_or(deal.owner, |b| b.owner),
            region: deal.region(known, shape),
        });
        let mut put = |kind: &str, deals: i64, amount: i64, of: Held| {
            rows.push(Cells::from([
                ("tag", tag.to_owned()),
                ("region", of.region.to_owned()),
                ("booked_on", date(Some(event.minute), shape)),
                ("booked_period", month(Some(event.minute), shape)),
                ("booking_kind", kind.to_owned()),
                ("won_deals_n", deals.to_string()),
                ("amount", amount.to_string()),
                ("owner", of.owner.to_owned()),
            ]));
        };
        match (before, held) {
            (None, Some(new)) => put("booking", 1, new.amount, new),
            (Some(old), None) => put("reversal", -1, -old.amount, old),
            (Some(old), Some(new)) => {
                if old.region != new.region {
                    put("transfer", -1, -old.amount, old);
                    put("transfer", 1, old.amount, new);
                }
                if old.amount != new.amount {
                    put("adjustment", 0, new.amount - old.amount, new);
                }
            }
            (None, None) => {}
        }
        before = held;
    }
    (before.map_or(0, |held| held.amount), rows)
}

/// What is an order, before it is known whether it is its customer's first.
struct Order {
    customer: &'static str,
    /// Of the close.
    minute: i64,
    tag: String,
    amount: i64,
    region: &'static str,
}

/// Of orders at one instant that of the lower deal is the first.
fn mark_first(orders: &[Order], shape: &Shape) -> Vec<Cells> {
    let place = |o: &Order| (o.minute, o.tag.clone());
    let is_first = |own: &Order| {
        let others = orders.iter().filter(|o| o.customer == own.customer);
        others.map(place).min() == Some(place(own))
    };
    let cells = |own: &Order| {
        Cells::from([
            ("tag", own.tag.clone()),
            ("region", own.region.to_owned()),
            // Which number a customer has says nothing.
            ("customer", "?".to_owned()),
            ("ordered_on", date(Some(own.minute), shape)),
            ("ordered_period", month(Some(own.minute), shape)),
            ("amount", own.amount.to_string()),
            ("is_first_order", flag(is_first(own))),
            ("channel", own.region.to_owned()),
        ])
    };
    orders.iter().map(cells).collect()
}

fn flag(yes: bool) -> String {
    u8::from(yes).to_string()
}

/// Days since 2024-01-01 on the clock of the reporting zone.
fn day(minute: i64, shape: &Shape) -> i64 {
    let offset = if shape.zone == "Asia/Shanghai" { 8 * 60 } else { 0 };
    (minute + offset).div_euclid(1440)
}

fn civil(minute: i64, shape: &Shape) -> NaiveDate {
    on(day(minute, shape))
}

fn on(day: i64) -> NaiveDate {
    let start = NaiveDate::from_ymd_opt(2024, 1, 1).unwrap();
    start.checked_add_days(Days::new(day as u64)).unwrap()
}

fn month_of(day: i64) -> String {
    on(day).with_day(1).unwrap().to_string()
}

fn date(minute: Option<i64>, shape: &Shape) -> String {
    minute.map_or_else(String::new, |m| civil(m, shape).to_string())
}

fn month(minute: Option<i64>, shape: &Shape) -> String {
    let first = |m| civil(m, shape).with_day(1).unwrap().to_string();
    minute.map_or_else(String::new, first)
}

fn duration(from: i64, to: i64, shape: &Shape) -> i64 {
    match shape.resolution {
        "day" => day(to, shape) - day(from, shape),
        "hour" => (to - from) / 60,
        _ => to - from,
    }
}
