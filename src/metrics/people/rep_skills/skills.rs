//! From states to skills: every person's cases, by the strata in which people can be compared.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::metrics::{Group, StateView};
use crate::relations::visits::MOVES;

/// What can be done well or badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    WinRate,
    StageRate,
    PushRate,
    RegressRate,
    ReopenRate,
    DealSize,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::WinRate => "win_rate",
            Self::StageRate => "stage_rate",
            Self::PushRate => "push_rate",
            Self::RegressRate => "regress_rate",
            Self::ReopenRate => "reopen_rate",
            Self::DealSize => "deal_size",
        }
    }

    pub(super) fn is_higher_better(self) -> bool {
        !matches!(self, Self::PushRate | Self::RegressRate | Self::ReopenRate)
    }

    pub(super) fn better(self) -> &'static str {
        if self.is_higher_better() { "higher" } else { "lower" }
    }
}

/// What makes cases comparable: codes of pipeline, stage, stratum, as far as a skill has them.
pub(super) type Stratum = [i64; 3];

/// One person's cases of a skill.
#[derive(Debug, Clone)]
pub(super) enum Cases {
    /// Trials and successes by stratum.
    Shares(BTreeMap<Stratum, (i64, i64)>),
    /// Count, sum and sum of squares of a thousand times the logarithm.
    Logarithms { n: i64, sum: i64, squares: i64 },
}

/// One skill of everybody.
pub(super) struct Skill<'a> {
    pub(super) kind: Kind,
    pub(super) pipeline: Option<&'a str>,
    pub(super) stage: Option<&'a str>,
    /// By the person's place among the slice's values; only those with cases.
    pub(super) people: Vec<(usize, Cases)>,
}

impl Skill<'_> {
    /// What values are divided by to be in the unit of the table.
    pub(super) fn unit(&self, group: &Group<'_>) -> f64 {
        match self.kind {
            Kind::DealSize => 10_f64.powi(i32::from(group.settings.money_scale)),
            _ => 1.0,
        }
    }
}

/// Trials and successes of one skill by person.
type Shares = BTreeMap<usize, BTreeMap<Stratum, (i64, i64)>>;

fn add(shares: &mut Shares, place: usize, stratum: Stratum, trials: i64, successes: i64) {
    if trials > 0 {
        let own = shares.entry(place).or_default().entry(stratum).or_default();
        own.0 += trials;
        own.1 += successes;
    }
}

/// Every skill of which there are cases.
pub(super) fn read<'a>(group: &Group<'a>) -> Result<Vec<Skill<'a>>, Error> {
    let mut shares: BTreeMap<(&str, i64), (Kind, Shares)> = BTreeMap::new();
    let mut sizes = Vec::new();
    for (place, segment) in group.segments.iter().enumerate() {
        let [closed, deals, visits, wins] = segment.states.as_slice() else {
            return Err(Error::Bug("skills have four states".into()));
        };
        let mut of = |kind: Kind, stage: i64, stratum, trials, successes| {
            let entry = shares.entry((kind.name(), stage));
            let (_, own) = entry.or_insert_with(|| (kind, Shares::new()));
            add(own, place, stratum, trials, successes);
        };
        read_closed(closed, &mut of)?;
        read_deals(deals, &mut of)?;
        read_visits(visits, &mut of)?;
        sizes.extend(read_wins(wins)?.map(|cases| (place, cases)));
    }
    let mut skills = Vec::new();
    for ((_, stage), (kind, own)) in shares {
        let (pipeline, stage) = if kind == Kind::StageRate {
            let (pipeline, name) = stage_names(group, stage);
            (Some(pipeline), Some(name))
        } else {
            (None, None)
        };
        let people = own.into_iter().map(|(place, cases)| (place, Cases::Shares(cases)));
        let people: Vec<(usize, Cases)> = people.collect();
        if !people.is_empty() {
            skills.push(Skill { kind, pipeline, stage, people });
        }
    }
    if !sizes.is_empty() {
        skills.push(Skill { kind: Kind::DealSize, pipeline: None, stage: None, people: sizes });
    }
    Ok(skills)
}

fn read_closed(
    state: &StateView<'_>,
    of: &mut impl FnMut(Kind, i64, Stratum, i64, i64),
) -> Result<(), Error> {
    let keys = state.key("pipeline")?.iter().zip(state.key("first_level")?);
    let keys = keys.zip(state.key("stratum")?);
    let values = state.value("closed_n")?.iter().zip(state.value("won_n")?);
    for (((pipeline, level), stratum), (closed_n, won_n)) in keys.zip(values) {
        of(Kind::WinRate, 0, [*pipeline, *level, *stratum], *closed_n, *won_n);
    }
    Ok(())
}

fn read_deals(
    state: &StateView<'_>,
    of: &mut impl FnMut(Kind, i64, Stratum, i64, i64),
) -> Result<(), Error> {
    for (kind, successes, trials) in [
        (Kind::PushRate, "pushed_n", "deals_n"),
        (Kind::RegressRate, "regressed_n", "deals_n"),
        (Kind::ReopenRate, "reopened_n", "ever_closed_n"),
    ] {
        let keys = state.key("pipeline")?.iter().zip(state.key("stratum")?);
        let values = state.value(trials)?.iter().zip(state.value(successes)?);
        for ((pipeline, stratum), (trials, successes)) in keys.zip(values) {
            // A deal that began as closed was re-opened without a first close.
            of(kind, 0, [*pipeline, 0, *stratum], *trials, *successes.min(trials));
        }
    }
    Ok(())
}

fn read_visits(
    state: &StateView<'_>,
    of: &mut impl FnMut(Kind, i64, Stratum, i64, i64),
) -> Result<(), Error> {
    let keys = state.key("stage")?.iter().zip(state.key("move")?);
    for ((stage, code), exits_n) in keys.zip(state.value("exits_n")?) {
        let name = usize::try_from(*code).ok().and_then(|code| MOVES.get(code).copied());
        let is_forward = match name {
            Some("advanced" | "skipped" | "won") => true,
            Some("regressed" | "lost") => false,
            // What was deleted, handed off or left the order says nothing of the person.
            _ => continue,
        };
        of(
            Kind::StageRate,
            *stage,
            [*stage, 0, 0],
            *exits_n,
            if is_forward { *exits_n } else { 0 },
        );
    }
    Ok(())
}

fn read_wins(state: &StateView<'_>) -> Result<Option<Cases>, Error> {
    let of = |name| state.value(name).map(|column| column.iter().sum::<i64>());
    let (n, sum, squares) = (of("sized_n")?, of("ln_sum")?, of("ln_square")?);
    Ok((n > 0).then_some(Cases::Logarithms { n, sum, squares }))
}

/// Pipeline and name of a stage.
fn stage_names<'a>(group: &Group<'a>, code: i64) -> (&'a str, &'a str) {
    let settings = group.settings;
    let own = usize::try_from(code).ok().and_then(|code| settings.pipelines.stages.get(code));
    if let Some((pipeline, name)) = own {
        return (pipeline, name);
    }
    let pipeline = settings.pipelines.open.keys().next().map_or("", String::as_str);
    (pipeline, settings.dictionaries.name("stage", code).unwrap_or_default())
}
