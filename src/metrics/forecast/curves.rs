//! How deals end that entered a stage, and by which of them an open deal is judged.
//!
//! A deal that is still in its stage after some days is not like all that came there: the quick ones
//! have gone on. So entries count only if they, too, were in the stage for about as long.
//!
//! Invariant: a deal is judged by the narrowest group of entries in which enough were followed for
//! longer than it has been in its stage; where none has enough, by all, and that is said.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::metrics::{Absent, NO_KEY, Settings, State, StateView};
use crate::relations::Relation;
use crate::relations::stage_entries::{BANDS, stay_band};
use crate::stats::competing::{Incidence, Tally};
use crate::stats::forecast::outlook::Outlook;

/// How deals ended after each entry to a stage.
pub(super) const CURVES: State = State {
    relation: Relation::StageEntries,
    sql: "SELECT stage, forecast_segment, stay_band, follow_days, ending, COUNT(*) AS entry_n \
          FROM stage_entries WHERE stage_class <> 'won' AND stage_class <> 'lost' \
          GROUP BY stage, forecast_segment, stay_band, follow_days, ending",
    absent: Absent::SkipTable,
};

/// Codes of how a deal ended, as in [`crate::relations::deals::CYCLE_STATUS`].
pub(super) const WON: i64 = 1;
/// The same of a loss.
pub(super) const LOST: i64 = 2;

/// How wide the group of entries is by which a deal is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// Entries to its stage of deals of its segment.
    Segment,
    /// Entries to its stage.
    Stage,
    /// Entries to any stage of its pipeline.
    Pipeline,
    /// Entries to any stage.
    All,
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::Stage => "stage",
            Self::Pipeline => "pipeline",
            Self::All => "all",
        }
    }
}

/// How many had each ending, and how many were last seen, at each age.
#[derive(Debug, Clone, Default)]
pub(super) struct Tallies(BTreeMap<i64, ([i64; 2], i64)>);

impl Tallies {
    /// Adds some that were followed so long; endings other than these two are the end of following.
    pub(super) fn add(&mut self, days: i64, ending: i64, n: i64) {
        let ([won, lost], censored) = self.0.entry(days).or_default();
        match ending {
            WON => *won += n,
            LOST => *lost += n,
            _ => *censored += n,
        }
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        for (days, ([more_won, more_lost], more_censored)) in &other.0 {
            let ([won, lost], censored) = self.0.entry(*days).or_default();
            *won += more_won;
            *lost += more_lost;
            *censored += more_censored;
        }
    }

    pub(super) fn fit(&self) -> Incidence {
        let tally = |(duration, (ended, censored)): (&i64, &([i64; 2], i64))| Tally {
            duration: *duration,
            ended: *ended,
            censored: *censored,
        };
        Incidence::fit(&self.0.iter().map(tally).collect::<Vec<_>>())
    }
}

/// The same by how long the stay in the stage was.
#[derive(Debug, Clone)]
pub(super) struct Banded(Vec<Tallies>);

impl Default for Banded {
    fn default() -> Self {
        Self(vec![Tallies::default(); BANDS])
    }
}

impl Banded {
    /// Adds some of a band.
    pub(super) fn add(&mut self, band: usize, days: i64, ending: i64, n: i64) {
        if let Some(own) = self.0.get_mut(band.min(BANDS - 1)) {
            own.add(days, ending, n);
        }
    }

    fn add_all(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| own.add_all(other));
    }

    /// For each band the incidences of all whose stay reached it.
    fn fit(&self) -> Vec<Incidence> {
        let mut so_far = Tallies::default();
        let fit = |own: &Tallies| {
            so_far.add_all(own);
            so_far.fit()
        };
        let mut fits: Vec<Incidence> = self.0.iter().rev().map(fit).collect();
        fits.reverse();
        fits
    }
}

/// The curves of every group, by band of the stay.
#[derive(Debug, Default)]
pub(super) struct Curves<'a> {
    by_segment: BTreeMap<(i64, i64), Vec<Incidence>>,
    by_stage: BTreeMap<i64, Vec<Incidence>>,
    by_pipeline: BTreeMap<&'a str, Vec<Incidence>>,
    all: Vec<Incidence>,
}

/// By what a deal is judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged<'a> {
    pub(super) level: Level,
    pub(super) outlook: Outlook<'a>,
    pub(super) low_n: bool,
}

impl<'a> Curves<'a> {
    /// From the state of [`CURVES`].
    pub(super) fn read(state: &StateView<'_>, settings: &'a Settings) -> Result<Self, Error> {
        let keys = state.key("stage")?.iter().zip(state.key("forecast_segment")?);
        let ends = state.key("follow_days")?.iter().zip(state.key("ending")?);
        let rows = keys.zip(state.key("stay_band")?).zip(ends).zip(state.value("entry_n")?);
        let mut segments: BTreeMap<(i64, i64), Banded> = BTreeMap::new();
        for ((((stage, segment), band), (days, ending)), n) in rows {
            let band = usize::try_from(*band).unwrap_or_default();
            segments.entry((*stage, *segment)).or_default().add(band, *days, *ending, *n);
        }
        Ok(Self::of(&segments, settings))
    }

    /// From tallies by stage and segment.
    pub(super) fn of(segments: &BTreeMap<(i64, i64), Banded>, settings: &'a Settings) -> Self {
        let mut stages: BTreeMap<i64, Banded> = BTreeMap::new();
        for ((stage, _), tallies) in segments {
            stages.entry(*stage).or_default().add_all(tallies);
        }
        let mut pipelines: BTreeMap<&str, Banded> = BTreeMap::new();
        let mut all = Banded::default();
        for (stage, tallies) in &stages {
            pipelines.entry(place(*stage, settings).0).or_default().add_all(tallies);
            all.add_all(tallies);
        }
        let known = segments.iter().filter(|((_, segment), _)| *segment != NO_KEY && *segment >= 0);
        Self {
            by_segment: known.map(|(key, tallies)| (*key, tallies.fit())).collect(),
            by_stage: stages.iter().map(|(key, tallies)| (*key, tallies.fit())).collect(),
            by_pipeline: pipelines.iter().map(|(key, tallies)| (*key, tallies.fit())).collect(),
            all: all.fit(),
        }
    }

    /// By what a deal of a stage, a segment and days in the stage is judged; `None` where nobody was
    /// in any stage for longer.
    pub(super) fn judge(
        &self,
        (stage, segment): (i64, i64),
        age: i64,
        settings: &Settings,
    ) -> Option<Judged<'_>> {
        let floor = settings.forecast.entries_floor.max(1);
        let groups = [
            (Level::Segment, self.by_segment.get(&(stage, segment))),
            (Level::Stage, self.by_stage.get(&stage)),
            (Level::Pipeline, self.by_pipeline.get(place(stage, settings).0)),
            (Level::All, Some(&self.all)),
        ];
        let band = stay_band(age);
        let mut widest = None;
        for (level, incidence) in groups {
            let own = incidence.and_then(|bands| bands.get(band));
            let Some(outlook) = own.and_then(|own| Outlook::at(own, age)) else { continue };
            let low_n = outlook.followed_n < floor;
            widest = Some(Judged { level, outlook, low_n });
            if !low_n {
                break;
            }
        }
        widest
    }
}

/// The pipeline and the name of a stage.
pub(super) fn place(stage: i64, settings: &Settings) -> (&str, &str) {
    let own = usize::try_from(stage).ok().and_then(|code| settings.pipelines.stages.get(code));
    match own {
        Some((pipeline, name)) => (pipeline, name),
        None => {
            let only = settings.pipelines.open.keys().next().map_or("", String::as_str);
            (only, settings.dictionaries.name("stage", stage).unwrap_or_default())
        }
    }
}
