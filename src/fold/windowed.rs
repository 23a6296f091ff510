//! How far deals come in funnels of the user's own: steps, windows, exclusions, entries anew.
//!
//! A funnel is walked over a deal's visits in one pass an attempt. For each step the walk keeps the
//! latest times at which it could be taken, because whatever allows a later step allows it sooner
//! after a later one; the times that it tells are those at which each step was first taken.
//! It does not know periods or money; the levels of the pipeline's own funnel are in
//! [`super::levels`].
//!
//! Invariant: the steps of an attempt that may not be left out are taken in order, each not before
//! the one before, all within the window of its entry.

use super::deal::{Outcome, Visit};
use super::machine::Machine;
use super::{Chunk, Settings, TakenRow};
use crate::config::{Breakdown, Reentry, StepOrder, Strict, WindowClock};
use crate::contract::NO_CODE;
use crate::time::{Calendar, Instant, MICROS_PER_DAY, NO_INSTANT};

const MICROS_PER_SECOND: i64 = MICROS_PER_DAY / 86_400;

/// A funnel with the codes of its stages.
#[derive(Debug, Clone)]
pub struct Funnel {
    /// Its name.
    pub name: String,
    /// Its steps in order; there are two or more.
    pub steps: Vec<Step>,
    /// From the entry to any step at most so long.
    pub window: Option<Window>,
    /// The order in which steps are taken.
    pub order: StepOrder,
    /// What else must hold.
    pub strict: Vec<Strict>,
    /// Which entries begin an attempt.
    pub reentry: Reentry,
    /// Stages that end an attempt.
    pub excluded: Vec<u16>,
    /// The time whose dimensions an attempt carries.
    pub breakdown: Breakdown,
}

/// A step of a funnel.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// The stages that count as the step.
    pub stages: Vec<u16>,
    /// Whether it may be left out.
    pub is_optional: bool,
    /// From the step before to this one at most so long.
    pub window: Option<Window>,
}

/// A span of time, its edge included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// How long; whole days where civil days are counted.
    pub seconds: i64,
    /// How days are counted.
    pub clock: WindowClock,
}

impl Window {
    /// Whether a later instant is within the span of an earlier one.
    #[must_use]
    pub fn holds(&self, calendar: &Calendar, from: Instant, to: Instant) -> bool {
        match self.clock {
            WindowClock::Elapsed => {
                to.saturating_sub(from) <= self.seconds.saturating_mul(MICROS_PER_SECOND)
            }
            WindowClock::Calendar => {
                let days = i64::from(calendar.day(to)) - i64::from(calendar.day(from));
                days <= self.seconds / 86_400
            }
        }
    }
}

/// Whether the dimensions at the beginning of each visit are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VisitDimensions {
    /// Nobody asks.
    #[default]
    Unread,
    /// A funnel is broken down by them.
    Read,
}

/// Whether any funnel is broken down by the dimensions of its visits.
#[must_use]
pub fn reads_dimensions(funnels: &[Funnel]) -> VisitDimensions {
    if funnels.iter().any(|funnel| funnel.breakdown != Breakdown::Deal) {
        VisitDimensions::Read
    } else {
        VisitDimensions::Unread
    }
}

/// Puts the steps that the machine's deal took into a chunk.
pub(super) fn emit(settings: &Settings<'_>, machine: &Machine<'_>, deal: u32, out: &mut Chunk) {
    let visits = machine.visits.as_slice();
    let is_open = machine.deal.outcome == Outcome::Open;
    for (code, funnel) in (0_u16..).zip(settings.funnels) {
        let attempts = funnel.attempts(visits, &settings.calendar);
        for (number, attempt) in (1_u32..).zip(&attempts) {
            let entry = attempt.taken.first().and_then(|taken| visits.get(taken.visit));
            let Some(entry) = entry else { continue };
            let is_mature = match funnel.window {
                Some(window) => !window.holds(&settings.calendar, entry.entered, settings.as_of),
                None => !is_open || attempt.level() == funnel.steps.len(),
            };
            let mut before = entry.entered;
            for taken in &attempt.taken {
                let of = |visit: usize| visits.get(visit).map_or(NO_INSTANT, |v| v.entered);
                let at = of(taken.visit);
                out.taken.push(TakenRow {
                    deal,
                    funnel: code,
                    attempt: number,
                    step: (taken.step + 1) as u16,
                    entered: of(taken.entry),
                    before: before.min(at),
                    at,
                    is_last: attempt.level() == taken.step + 1,
                    is_excluded: attempt.is_excluded,
                    is_mature,
                    amount: entry.amount,
                    owner: entry.owner,
                });
                before = at;
            }
            let last = attempt.taken.last().map_or(0, |taken| taken.visit);
            let first = attempt.taken.first().map_or(0, |taken| taken.visit);
            let of_visit = match funnel.breakdown {
                Breakdown::Deal => None,
                Breakdown::FirstStep => Some(first),
                Breakdown::LastStep => Some(last),
            };
            for (place, column) in out.taken_dimensions.iter_mut().enumerate() {
                let count = machine.dimensions.len();
                let told = of_visit.zip(machine.visit_dimensions.as_ref());
                let value = match told {
                    Some((visit, all)) => all.get(visit * count + place).copied(),
                    None => machine.dimensions.get(place).copied(),
                };
                let value = value.unwrap_or(NO_CODE);
                column.extend(std::iter::repeat_n(value, attempt.taken.len()));
            }
        }
    }
}

/// A step that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Its number, from 0.
    pub step: usize,
    /// The visit by which it was taken.
    pub visit: usize,
    /// The visit by which the attempt was entered: that of the first step, unless the clock was
    /// started again.
    pub entry: usize,
}

/// One way of a deal through a funnel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempt {
    /// The steps taken, in order; the first one is the entry.
    pub taken: Vec<Taken>,
    /// Whether an excluded stage ended it.
    pub is_excluded: bool,
}

impl Attempt {
    /// The number of the last step taken, from 1; 0 for none.
    #[must_use]
    pub fn level(&self) -> usize {
        self.taken.last().map_or(0, |taken| taken.step + 1)
    }
}

/// A step as it could be taken: the visits of the entry and of the step.
#[derive(Debug, Clone, Copy)]
struct Reach {
    entry: usize,
    visit: usize,
    at: Instant,
}

/// What is known of one step during an attempt.
#[derive(Debug, Clone, Copy, Default)]
struct Reached {
    first: Option<Reach>,
    latest: Option<Reach>,
    /// The latest one at an instant before that of `latest`.
    before: Option<Reach>,
}

impl Reached {
    fn add(&mut self, reach: Reach) {
        self.first = self.first.or(Some(reach));
        if self.latest.is_some_and(|latest| latest.at < reach.at) {
            self.before = self.latest;
        }
        self.latest = Some(reach);
    }
}

/// A visit as a walk sees it: its place among the deal's and when it began.
type Seen = (usize, Instant);

impl Funnel {
    /// The attempts of a deal with these visits, in order of their entries; none without an entry.
    #[must_use]
    pub fn attempts(&self, visits: &[Visit], calendar: &Calendar) -> Vec<Attempt> {
        let seen = self.in_order(visits);
        if self.order == StepOrder::Any {
            return self.any_order(visits, &seen, calendar);
        }
        let is_entry = |(_, (visit, _)): &(usize, &Seen)| self.is_step(visits, *visit, 0);
        let entries: Vec<usize> =
            seen.iter().enumerate().filter(is_entry).map(|(place, _)| place).collect();
        let walk = |from: usize, to: usize| {
            self.ordered(visits, seen.get(from..to).unwrap_or_default(), calendar)
        };
        let Some((first, last)) = entries.first().zip(entries.last()) else { return Vec::new() };
        match self.reentry {
            Reentry::First | Reentry::Restart => vec![walk(*first, seen.len())],
            Reentry::Last => vec![walk(*last, seen.len())],
            Reentry::Every => {
                let ends = entries.iter().skip(1).copied().chain([seen.len()]);
                entries.iter().zip(ends).map(|(from, to)| walk(*from, to)).collect()
            }
            Reentry::Best => {
                let all = entries.iter().map(|from| walk(*from, seen.len()));
                all.reduce(|best, next| if next.level() > best.level() { next } else { best })
                    .into_iter()
                    .collect()
            }
        }
    }

    /// The visits in order of time, those at one instant in the order of the steps, because which
    /// of them was first nobody can know.
    fn in_order(&self, visits: &[Visit]) -> Vec<Seen> {
        let mut seen: Vec<Seen> = visits.iter().map(|visit| visit.entered).enumerate().collect();
        let step = |visit: usize| {
            let of =
                |step: &Step| visits.get(visit).is_some_and(|v| step.stages.contains(&v.stage));
            self.steps.iter().position(of).map_or(0, |step| step + 1)
        };
        seen.sort_by_key(|(visit, at)| (*at, step(*visit), *visit));
        seen
    }

    fn is_step(&self, visits: &[Visit], visit: usize, step: usize) -> bool {
        let stage = visits.get(visit).map(|visit| visit.stage);
        let step = self.steps.get(step);
        stage.zip(step).is_some_and(|(stage, step)| step.stages.contains(&stage))
    }

    fn is(&self, strict: Strict) -> bool {
        self.strict.contains(&strict)
    }

    /// The attempt that the first of these visits enters.
    fn ordered(&self, visits: &[Visit], seen: &[Seen], calendar: &Calendar) -> Attempt {
        let mut reached = vec![Reached::default(); self.steps.len()];
        let mut is_excluded = false;
        for (place, (visit, at)) in seen.iter().enumerate() {
            let stage = visits.get(*visit).map_or(0, |visit| visit.stage);
            if place > 0 && self.excluded.contains(&stage) {
                is_excluded = true;
                break;
            }
            let is_entry = self.is_step(visits, *visit, 0);
            if is_entry && (place == 0 || self.reentry == Reentry::Restart) {
                let entry = Reach { entry: *visit, visit: *visit, at: *at };
                if let Some(first) = reached.first_mut() {
                    first.add(entry);
                }
                if self.is(Strict::StrictOnce) {
                    continue;
                }
            }
            let goes_on = self.take(visits, (*visit, *at), is_entry, &mut reached, calendar);
            if !goes_on || reached.last().is_some_and(|last| last.first.is_some()) {
                break;
            }
        }
        let taken = reached.iter().enumerate().filter_map(|(step, reached)| {
            let reach = reached.first?;
            Some(Taken { step, visit: reach.visit, entry: reach.entry })
        });
        Attempt { taken: taken.collect(), is_excluded }
    }

    /// Takes the steps that a visit counts as. Gives whether the attempt goes on.
    fn take(
        &self,
        visits: &[Visit],
        (visit, at): Seen,
        is_entry: bool,
        reached: &mut [Reached],
        calendar: &Calendar,
    ) -> bool {
        let mut is_known = is_entry;
        // From the last step down, one visit cannot be a step and the next one.
        let is_once = self.is(Strict::StrictOnce);
        let steps = self.steps.len();
        for place in 1..steps {
            let step = if is_once { steps - place } else { place };
            if !self.is_step(visits, visit, step) {
                continue;
            }
            is_known = true;
            let is_taken = reached.get(step).is_some_and(|reached| reached.first.is_some());
            if self.is(Strict::StrictDeduplication) && is_taken {
                return false;
            }
            if self.is(Strict::StrictOrder) && self.before(step, reached).all(|r| r.first.is_none())
            {
                return false;
            }
            let from = self
                .before(step, reached)
                .flat_map(|reached| [reached.latest, reached.before])
                .flatten()
                .filter(|reach| self.allows(visits, reach, step, at, calendar))
                .max_by_key(|reach| (reach.entry, reach.visit));
            if let (Some(from), Some(reached)) = (from, reached.get_mut(step)) {
                reached.add(Reach { entry: from.entry, visit, at });
                if is_once {
                    break;
                }
            }
        }
        is_known || !self.is(Strict::StrictOrder)
    }

    /// The steps from which one can go on to a step: the one before and, over optional ones, those
    /// before it.
    fn before<'a>(
        &'a self,
        step: usize,
        reached: &'a [Reached],
    ) -> impl Iterator<Item = &'a Reached> {
        let is_optional = |place: usize| self.steps.get(place).is_some_and(|s| s.is_optional);
        let first = (1..step).rev().find(|place| !is_optional(*place)).unwrap_or(0);
        reached.get(first..step).unwrap_or_default().iter()
    }

    /// Whether a step can be taken after a reach.
    fn allows(
        &self,
        visits: &[Visit],
        reach: &Reach,
        step: usize,
        at: Instant,
        calendar: &Calendar,
    ) -> bool {
        let entry = visits.get(reach.entry).map_or(at, |visit| visit.entered);
        let own = self.steps.get(step).and_then(|step| step.window);
        self.window.is_none_or(|window| window.holds(calendar, entry, at))
            && own.is_none_or(|window| window.holds(calendar, reach.at, at))
            && (reach.at < at || !self.is(Strict::StrictIncrease))
    }

    /// The steps taken in any order, of the first entry or of the best one.
    fn any_order(&self, visits: &[Visit], seen: &[Seen], calendar: &Calendar) -> Vec<Attempt> {
        let is_any = |visit: usize| (0..self.steps.len()).any(|s| self.is_step(visits, visit, s));
        let entries = seen.iter().enumerate().filter(|(_, (visit, _))| is_any(*visit));
        let attempts = entries.map(|(from, (entry, since))| {
            let mut open: Vec<usize> = (0..self.steps.len()).collect();
            let mut attempt = Attempt::default();
            for (place, (visit, at)) in seen.iter().skip(from).enumerate() {
                let stage = visits.get(*visit).map_or(0, |visit| visit.stage);
                let holds = self.window.is_none_or(|window| window.holds(calendar, *since, *at));
                attempt.is_excluded |= place > 0 && self.excluded.contains(&stage);
                if attempt.is_excluded || !holds || open.is_empty() {
                    break;
                }
                if let Some(found) = open.iter().position(|s| self.is_step(visits, *visit, *s)) {
                    open.remove(found);
                    let step = attempt.taken.len();
                    attempt.taken.push(Taken { step, visit: *visit, entry: *entry });
                }
            }
            attempt
        });
        let mut attempts = attempts;
        let chosen = match self.reentry {
            Reentry::Best => {
                attempts.reduce(|best, next| if next.level() > best.level() { next } else { best })
            }
            _ => attempts.next(),
        };
        chosen.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: i64) -> Option<Window> {
        Some(Window { seconds: days * 86_400, clock: WindowClock::Elapsed })
    }

    /// A funnel over stages A, B, C, … by the letters of its steps.
    fn funnel(steps: &str) -> Funnel {
        let step = |letter: char| Step { stages: vec![letter as u16], ..Step::default() };
        Funnel {
            name: steps.into(),
            steps: steps.chars().map(step).collect(),
            window: window(1_000),
            order: StepOrder::Ordered,
            strict: Vec::new(),
            reentry: Reentry::Restart,
            excluded: Vec::new(),
            breakdown: Breakdown::Deal,
        }
    }

    /// Visits from text: a letter a visit, at successive days; `A0` gives the day.
    fn visits(text: &str) -> Vec<Visit> {
        let mut letters = text.chars().peekable();
        let (mut visits, mut day) = (Vec::new(), 0);
        while let Some(letter) = letters.next() {
            let mut digits = String::new();
            while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            let at = digits.parse().unwrap_or(day);
            visits.push(Visit {
                stage: letter as u16,
                entered: at * MICROS_PER_DAY,
                ..Visit::default()
            });
            day = at + 1;
        }
        visits
    }

    /// The attempts of a deal as text: the days of the steps taken, `x` where it was excluded.
    fn told(funnel: &Funnel, text: &str) -> String {
        let visits = visits(text);
        let attempts = funnel.attempts(&visits, &Calendar::UTC);
        let attempt = |attempt: &Attempt| {
            let days = attempt
                .taken
                .iter()
                .map(|taken| (visits[taken.visit].entered / MICROS_PER_DAY).to_string());
            let days = days.collect::<Vec<_>>().join(",");
            if attempt.is_excluded { format!("{days}x") } else { days }
        };
        attempts.iter().map(attempt).collect::<Vec<_>>().join(" ")
    }

    fn level(strict: &[Strict], text: &str) -> usize {
        let funnel = Funnel { strict: strict.to_vec(), ..funnel("ABC") };
        funnel.attempts(&visits(text), &Calendar::UTC).first().map_or(0, Attempt::level)
    }

    /// published-numbers.md section 4: default, strict_order, strict_deduplication,
    /// strict_increase, strict_once, as ClickHouse 26.9 executes them.
    #[track_caller]
    fn check_truth(text: &str, expected: [usize; 5]) {
        let modes: [&[Strict]; 5] = [
            &[],
            &[Strict::StrictOrder],
            &[Strict::StrictDeduplication],
            &[Strict::StrictIncrease],
            &[Strict::StrictOnce],
        ];
        assert_eq!(modes.map(|strict| level(strict, text)), expected, "{text}");
    }

    #[test]
    fn levels_are_those_of_the_truth_table() {
        check_truth("ABC", [3, 3, 3, 3, 3]);
        check_truth("ADBC", [3, 1, 3, 3, 3]);
        check_truth("AABBCC", [3, 3, 2, 3, 3]);
        check_truth("AABBDCC", [3, 2, 2, 3, 3]);
        check_truth("BBCCAA", [1, 1, 1, 1, 1]);
        check_truth("AC", [1, 1, 1, 1, 1]);
        check_truth("ACB", [2, 1, 2, 2, 2]);
        check_truth("ACBC", [3, 1, 3, 3, 3]);
        check_truth("ABABC", [3, 3, 2, 3, 3]);
        check_truth("ABDC", [3, 2, 3, 3, 3]);
        for one_instant in ["A0B0C0", "A0C0B0", "B0A0C0", "B0C0A0", "C0A0B0", "C0B0A0"] {
            check_truth(one_instant, [3, 3, 3, 1, 3]);
        }
    }

    #[track_caller]
    fn check_window(text: &str, expected: usize) {
        let funnel = Funnel { window: window(10), ..funnel("ABC") };
        let attempts = funnel.attempts(&visits(text), &Calendar::UTC);
        assert_eq!(attempts.first().map_or(0, Attempt::level), expected, "{text}");
    }

    #[test]
    fn window_includes_its_edge_and_the_latest_entry_wins() {
        check_window("A0B10", 2);
        check_window("A0B11", 1);
        check_window("A0A5B14", 2);
        check_window("A0B8A9C12", 2);
    }

    #[track_caller]
    fn check(funnel: &Funnel, text: &str, expected: &str) {
        assert_eq!(told(funnel, text), expected, "{text}");
    }

    #[test]
    fn each_policy_begins_at_its_own_entry() {
        let of = |reentry| Funnel { reentry, window: window(10), ..funnel("ABC") };
        let text = "A0B8A9B12C15";
        check(&of(Reentry::First), text, "0,8");
        check(&of(Reentry::Last), text, "9,12,15");
        check(&of(Reentry::Every), text, "0,8 9,12,15");
        check(&of(Reentry::Best), text, "9,12,15");
        // B on day 8 was reached from the entry on day 0; C on day 15 from that on day 9.
        check(&of(Reentry::Restart), text, "0,8,15");
        // Of equals the earliest.
        check(&of(Reentry::Best), "A0B1A2B3", "0,1");
        check(&of(Reentry::Every), "B0C1", "");
    }

    #[test]
    fn optional_steps_may_be_left_out_and_count_where_they_are_not() {
        let mut with = Funnel { reentry: Reentry::First, ..funnel("ABCD") };
        for place in [1, 2] {
            with.steps[place].is_optional = true;
        }
        check(&with, "A0D4", "0,4");
        check(&with, "A0C2D4", "0,2,4");
        check(&with, "A0C2B3D4", "0,3,2,4");
        check(&with, "B0D4", "");
    }

    #[test]
    fn windows_of_steps_begin_at_the_step_before_whenever_that_is_best() {
        let mut funnel = Funnel { reentry: Reentry::First, window: None, ..funnel("ABC") };
        funnel.steps[2].window = window(3);
        check(&funnel, "A0B1C5", "0,1");
        // The second visit to B is near enough; the time told is that of the first.
        check(&funnel, "A0B1D2B4C5", "0,1,5");
    }

    #[test]
    fn excluded_stage_ends_the_attempt_where_it_is() {
        let funnel =
            Funnel { excluded: vec!['X' as u16], reentry: Reentry::Every, ..funnel("ABC") };
        check(&funnel, "A0B1X2C3", "0,1x");
        check(&funnel, "X0A1B2C3X4", "1,2,3");
        check(&funnel, "A0X1A2B3C4", "0x 2,3,4");
    }

    #[test]
    fn any_order_counts_distinct_steps_within_the_window() {
        let any = Funnel { order: StepOrder::Any, reentry: Reentry::First, ..funnel("ABC") };
        check(&any, "C0A1C2B3", "0,1,3");
        let near = Funnel { window: window(2), ..any.clone() };
        check(&near, "C0A1B3", "0,1");
        let best = Funnel { window: window(2), reentry: Reentry::Best, ..any };
        check(&best, "C0D1A3B4C5", "3,4,5");
    }

    #[test]
    fn strict_once_needs_a_visit_for_each_step_of_one_stage() {
        let twice = Funnel { reentry: Reentry::First, ..funnel("AAB") };
        let once = Funnel { strict: vec![Strict::StrictOnce], ..twice.clone() };
        check(&twice, "A0B1", "0,0,1");
        check(&once, "A0B1", "0");
        check(&once, "A0A1B2", "0,1,2");
    }

    #[test]
    fn calendar_days_end_at_midnight_of_the_zone() {
        let calendar = Calendar::UTC;
        let day = |clock| Window { seconds: 86_400, clock };
        let (evening, night) = (20 * 3_600 * MICROS_PER_SECOND, 47 * 3_600 * MICROS_PER_SECOND);
        assert!(day(WindowClock::Calendar).holds(&calendar, evening, night));
        assert!(!day(WindowClock::Elapsed).holds(&calendar, evening, night));
    }
}
