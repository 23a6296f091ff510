//! Funnels the long way: every visit that can be a step, from every visit that can be the one before.

use super::naive::Visit;

/// What a funnel of the test configuration says.
pub(crate) struct Funnel {
    pub(crate) name: &'static str,
    /// The stages of each step, whether it may be left out, and minutes or days from the one before.
    pub(crate) steps: &'static [(&'static [&'static str], bool, Option<i64>)],
    pub(crate) window: Option<i64>,
    pub(crate) is_calendar: bool,
    pub(crate) is_increasing: bool,
    pub(crate) takes_every: bool,
    pub(crate) excluded: &'static [&'static str],
    pub(crate) is_by_entry: bool,
}

/// The funnels of [`TOML`].
pub(crate) const FUNNELS: [Funnel; 2] = [
    Funnel {
        name: "loose",
        steps: &[
            (&["s1"], false, None),
            (&["s2", "s3"], true, Some(2)),
            (&["won", "signed"], false, None),
        ],
        window: None,
        is_calendar: true,
        is_increasing: true,
        takes_every: false,
        excluded: &[],
        is_by_entry: false,
    },
    Funnel {
        name: "plain",
        steps: &[(&["s1"], false, None), (&["s2"], false, None), (&["won"], false, None)],
        window: Some(3 * 1440),
        is_calendar: false,
        is_increasing: false,
        takes_every: true,
        excluded: &["lost"],
        is_by_entry: true,
    },
];

/// The same as configuration.
pub(crate) const TOML: &str = r#"
        [funnels.loose]
        steps = [
            "s1",
            { stages = ["s2", "s3"], is_optional = true, window = "2 days" },
            { stages = ["won", "signed"] },
        ]
        clock = "calendar"
        strict = ["strict_increase"]
        reentry = "best"
        [funnels.plain]
        steps = ["s1", "s2", "won"]
        window = "72 hours"
        reentry = "every"
        exclude = ["lost"]
        breakdown = "first_step"
"#;

/// An attempt: the visits by which each step was first taken, and whether it was excluded.
pub(crate) struct Attempt {
    pub(crate) taken: Vec<(usize, usize)>,
    pub(crate) is_excluded: bool,
}

impl Funnel {
    fn is(&self, step: usize, visit: &Visit) -> bool {
        self.steps[step].0.contains(&visit.stage)
    }

    pub(crate) fn holds(
        &self,
        window: Option<i64>,
        from: i64,
        to: i64,
        day: &dyn Fn(i64) -> i64,
    ) -> bool {
        window.is_none_or(|most| {
            if self.is_calendar { day(to) - day(from) <= most } else { to - from <= most }
        })
    }

    /// The attempts of a deal, in order of entry.
    pub(crate) fn attempts(&self, visits: &[Visit], day: &dyn Fn(i64) -> i64) -> Vec<Attempt> {
        // At one instant the steps come in their order, whatever the visits say.
        let step_of =
            |v: &Visit| (0..self.steps.len()).find(|s| self.is(*s, v)).map_or(0, |s| s + 1);
        let mut order: Vec<usize> = (0..visits.len()).collect();
        order.sort_by_key(|v| (visits[*v].entered, step_of(&visits[*v]), *v));
        let entries: Vec<usize> =
            (0..order.len()).filter(|place| self.is(0, &visits[order[*place]])).collect();
        let ends = entries.iter().skip(1).copied().chain([order.len()]);
        let ends: Vec<usize> =
            ends.map(|end| if self.takes_every { end } else { order.len() }).collect();
        let all =
            entries.iter().zip(ends).map(|(from, to)| self.attempt(visits, &order[*from..to], day));
        if self.takes_every {
            return all.collect();
        }
        let mut best: Option<Attempt> = None;
        for attempt in all {
            let level = |a: &Attempt| a.taken.last().map_or(0, |(step, _)| *step);
            if best.as_ref().is_none_or(|b| level(&attempt) > level(b)) {
                best = Some(attempt);
            }
        }
        best.into_iter().collect()
    }

    fn attempt(&self, visits: &[Visit], order: &[usize], day: &dyn Fn(i64) -> i64) -> Attempt {
        let banned = order.iter().skip(1).position(|v| self.excluded.contains(&visits[*v].stage));
        let mut is_excluded = banned.is_some();
        let order = &order[..banned.map_or(order.len(), |place| place + 1)];
        let start = visits[order[0]].entered;
        // Every place at which each step can be taken.
        let mut places: Vec<Vec<usize>> = vec![vec![0]];
        for step in 1..self.steps.len() {
            let mut before: Vec<usize> = Vec::new();
            for earlier in (0..step).rev() {
                before.extend(&places[earlier]);
                if !self.steps[earlier].1 {
                    break;
                }
            }
            let fits = |place: &usize| {
                let own = &visits[order[*place]];
                self.is(step, own)
                    && self.holds(self.window, start, own.entered, day)
                    && before.iter().any(|earlier| {
                        let since = visits[order[*earlier]].entered;
                        earlier <= place
                            && self.holds(self.steps[step].2, since, own.entered, day)
                            && (!self.is_increasing || since < own.entered)
                    })
            };
            places.push((0..order.len()).filter(fits).collect());
        }
        // What comes after the last step no longer matters.
        let end = places.last().and_then(|last| last.first()).copied();
        let taken = places.iter().enumerate().filter_map(|(step, all)| {
            let first = all.first().filter(|place| end.is_none_or(|end| **place <= end))?;
            Some((step, order[*first]))
        });
        is_excluded &= end.is_none();
        Attempt { taken: taken.collect(), is_excluded }
    }
}
