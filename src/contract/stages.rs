//! The stages of a run: names, classes and orders, known ones from the configuration and unknown
//! ones as they turn up.
//!
//! Codes: the pseudo-stages, then of each pipeline the open stages in order, won, lost, ignored, then
//! unknown ones in order of arrival; [`StageTable::finish`] sorts the unknown ones by name. What only
//! a run of several pipelines needs is in [`super::pipelines`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use super::pipelines::{DEFAULT_PIPELINE, LOOSE, Several};
use super::{NO_PIPELINE, NO_PROBABILITY, NO_STAGE};
use crate::config::{Config, Pipeline};
use crate::error::Error;
use crate::relations::visits::PSEUDO_STAGES;

/// Class of a stage (G6); the number is its position in [`crate::relations::visits::CLASSES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum StageClass {
    /// A stage of the pipeline, with an order.
    Open = 0,
    /// Ends a deal as won.
    Won = 1,
    /// Ends a deal as lost.
    Lost = 2,
    /// Its events are attribute updates only.
    Ignored = 3,
    /// Not in the configuration.
    Unknown = 4,
}

/// Code of the pseudo-stage before the first visit.
pub const STAGE_START: u16 = 0;
/// Code of the pseudo-stage after a visit that has not ended.
pub const STAGE_STILL: u16 = 1;
/// Code of the pseudo-stage after a visit that ended by deletion.
pub const STAGE_DELETED: u16 = 2;
/// Code of the pseudo-stage between two pipelines.
pub const STAGE_HANDOFF: u16 = 3;

/// One stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// Its class.
    pub class: StageClass,
    /// 1 for the first open stage; 0 outside the order.
    pub order: i16,
}

/// What a pipeline's deals end in, and where they begin.
#[derive(Debug, Clone)]
pub(super) struct Ends {
    /// The pipeline's name.
    pub(super) name: String,
    /// Number of open stages.
    pub(super) open_n: i16,
    pub(super) won: u16,
    pub(super) lost: u16,
    pub(super) first_open: u16,
}

/// Names that are in no pipeline's list, as they turn up.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    /// Code by pipeline and name.
    pub(super) codes: BTreeMap<(u16, String), u16>,
    /// Pipeline and name by code, from the first unknown one on.
    pub(super) keys: Vec<(u16, String)>,
}

impl Unknown {
    /// The code of a name in a pipeline; `base` is that of the first unknown one.
    pub(super) fn code(&mut self, base: usize, pipeline: u16, name: &str) -> Result<u16, Error> {
        if let Some(code) = self.codes.get(&(pipeline, name.to_owned())) {
            return Ok(*code);
        }
        let next = base + self.keys.len();
        if next > 60_000 {
            let what = "the number of distinct stages (is the right column mapped to stage_id?)";
            return Err(Error::Overflow { what: what.into() });
        }
        self.keys.push((pipeline, name.to_owned()));
        self.codes.insert((pipeline, name.to_owned()), next as u16);
        Ok(next as u16)
    }
}

/// All stages of a run.
#[derive(Debug)]
pub struct StageTable {
    pub(super) names: Vec<String>,
    pub(super) stages: Vec<Stage>,
    /// By name: the stage, or where there are several pipelines the name alone.
    pub(super) codes: BTreeMap<String, u16>,
    pub(super) unknown: Mutex<Unknown>,
    /// Codes, of unknown stages and of names alone, that an event of the run has.
    used: Mutex<BTreeSet<u16>>,
    /// By the pipeline's code.
    pub(super) pipelines: Vec<Ends>,
    /// From which instant on a stage has which class, where that changes.
    dated: BTreeMap<u16, Vec<(i64, StageClass)>>,
    /// The chance of winning in a stage, in millionths.
    probabilities: BTreeMap<u16, i32>,
    pub(super) several: Option<Box<Several>>,
}

impl StageTable {
    /// The table of a configuration: of one pipeline, or of several and perhaps one for all others.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        if config.pipelines.is_empty() {
            return Self::new(&config.pipeline);
        }
        let mut all: BTreeMap<&str, &Pipeline> =
            config.pipelines.iter().map(|(name, pipeline)| (name.as_str(), pipeline)).collect();
        if !config.pipeline.stages.is_empty() {
            all.insert(DEFAULT_PIPELINE, &config.pipeline);
        }
        Several::table(&all, !config.pipeline.stages.is_empty())
    }

    /// The table of the configured pipeline. Without a won or lost stage, one of that name is made
    /// for events that win or lose a deal without naming a stage.
    #[must_use]
    pub fn new(pipeline: &Pipeline) -> Self {
        let mut table = Self::empty();
        table.codes = table.add_pipeline(DEFAULT_PIPELINE, pipeline);
        table
    }

    /// The pseudo-stages alone.
    pub(super) fn empty() -> Self {
        Self {
            names: PSEUDO_STAGES.iter().map(|s| (*s).to_owned()).collect(),
            stages: vec![Stage { class: StageClass::Ignored, order: 0 }; PSEUDO_STAGES.len()],
            codes: BTreeMap::new(),
            unknown: Mutex::default(),
            used: Mutex::default(),
            pipelines: Vec::new(),
            dated: BTreeMap::new(),
            probabilities: BTreeMap::new(),
            several: None,
        }
    }

    /// Adds a pipeline and its stages; gives their codes by name and alias.
    pub(super) fn add_pipeline(
        &mut self,
        name: &str,
        pipeline: &Pipeline,
    ) -> BTreeMap<String, u16> {
        let mut codes = BTreeMap::new();
        let first_open = self.names.len() as u16;
        for (index, name) in pipeline.stages.iter().enumerate() {
            let stage = Stage { class: StageClass::Open, order: index as i16 + 1 };
            codes.insert(name.clone(), self.add(name, stage));
        }
        let mut of_class = |table: &mut Self, names: &[String], default, class| {
            let fallback = [String::from(default)];
            let names = if names.is_empty() { &fallback[..] } else { names };
            let mut first = NO_STAGE;
            for name in names {
                let code = table.add(name, Stage { class, order: 0 });
                codes.insert(name.clone(), code);
                first = if first == NO_STAGE { code } else { first };
            }
            first
        };
        let won = of_class(self, &pipeline.won, "won", StageClass::Won);
        let lost = of_class(self, &pipeline.lost, "lost", StageClass::Lost);
        for name in &pipeline.ignored {
            let code = self.add(name, Stage { class: StageClass::Ignored, order: 0 });
            codes.insert(name.clone(), code);
        }
        for (alias, name) in &pipeline.aliases {
            if let Some(code) = codes.get(name).copied() {
                codes.insert(alias.clone(), code);
            }
        }
        for (name, classes) in &pipeline.dated {
            if let Some(code) = codes.get(name) {
                self.dated.insert(*code, classes.clone());
            }
        }
        for (name, probability) in &pipeline.probability {
            if let Some(code) = codes.get(name) {
                self.probabilities.insert(*code, *probability);
            }
        }
        let open_n = pipeline.stages.len() as i16;
        let first_open = if open_n == 0 { NO_STAGE } else { first_open };
        let name = name.to_owned();
        self.pipelines.push(Ends { name, open_n, won, lost, first_open });
        codes
    }

    pub(super) fn add(&mut self, name: &str, stage: Stage) -> u16 {
        let code = self.names.len() as u16;
        self.names.push(name.to_owned());
        self.stages.push(stage);
        code
    }

    /// The code of a stage's name or alias; unknown names get a new one. Where there are several
    /// pipelines it is that of the name alone: [`Self::within`] finds the stage.
    ///
    /// # Errors
    /// More than 60,000 different stages, which no pipeline has.
    pub fn code(&self, name: &str) -> Result<u16, Error> {
        if let Some(code) = self.codes.get(name) {
            return Ok(*code);
        }
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        let pipeline = if self.several.is_some() { LOOSE } else { 0 };
        unknown.code(self.names.len(), pipeline, name)
    }

    /// The codes of the listed stages of a name or alias: of one pipeline, or of every one that has
    /// such a stage.
    #[must_use]
    pub fn named(&self, pipeline: Option<&str>, name: &str) -> Vec<u16> {
        match &self.several {
            Some(several) => several.named(pipeline, name),
            None => self.codes.get(name).copied().into_iter().collect(),
        }
    }

    /// Class and order of a code; of a name alone what it is wherever it is known.
    #[must_use]
    pub fn stage(&self, code: u16) -> Stage {
        match self.stages.get(usize::from(code)) {
            Some(stage) => *stage,
            None => self.several.as_ref().map_or(UNKNOWN, |several| several.made(code)),
        }
    }

    /// Class and order of a code at an instant; the order is the same at all times.
    #[must_use]
    #[inline]
    pub fn stage_at(&self, code: u16, at: i64) -> Stage {
        let stage = self.stage(code);
        if self.dated.is_empty() {
            return stage;
        }
        let Some(classes) = self.dated.get(&code) else { return stage };
        let before = classes.partition_point(|(from, _)| *from <= at);
        let class = classes.get(before.saturating_sub(1)).map_or(stage.class, |(_, class)| *class);
        Stage { class, order: if class == StageClass::Open { stage.order } else { 0 } }
    }

    /// The chance of winning in a stage, in millionths; [`NO_PROBABILITY`] where none is given.
    #[must_use]
    pub fn probability(&self, stage: u16) -> i32 {
        self.probabilities.get(&stage).copied().unwrap_or(NO_PROBABILITY)
    }

    /// The stage of a won or lost event that names none.
    #[must_use]
    pub fn end(&self, pipeline: u16, class: StageClass) -> u16 {
        let end = |ends: &Ends| if class == StageClass::Won { ends.won } else { ends.lost };
        match (&self.several, self.pipelines.get(usize::from(pipeline))) {
            (_, Some(ends)) => end(ends),
            (Some(several), None) => several.end(pipeline, class),
            (None, None) => self.pipelines.first().map_or(NO_STAGE, end),
        }
    }

    /// The stage of a deal that is won or lost by what a row says: the one given if it is of that
    /// class.
    #[must_use]
    pub fn end_or(&self, stage: u16, class: StageClass) -> u16 {
        if self.stage(stage).class == class {
            return stage;
        }
        match &self.several {
            None => self.end(0, class),
            Some(several) => several.loose_end(class),
        }
    }

    /// The first open stage; [`NO_STAGE`] where there is none.
    #[must_use]
    pub fn first_open(&self, pipeline: u16) -> u16 {
        let pipeline = if self.several.is_some() { pipeline } else { 0 };
        self.pipelines.get(usize::from(pipeline)).map_or(NO_STAGE, |ends| ends.first_open)
    }

    /// Number of open stages of a pipeline; where there is one, of that.
    #[must_use]
    pub fn open_n(&self, pipeline: u16) -> i16 {
        let pipeline = if self.several.is_some() { pipeline } else { 0 };
        self.pipelines.get(usize::from(pipeline)).map_or(0, |ends| ends.open_n)
    }

    /// All names in the order of final codes (unknown ones sorted by name), and the final code of
    /// each code. Where several pipelines have a stage of one name, the pipeline stands behind it.
    #[must_use]
    pub fn finish(&self) -> (Vec<String>, Vec<u16>) {
        let unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        let base = self.names.len();
        let known = self.several.as_ref().map_or(base, |several| several.loose.start.into());
        let mut names: Vec<String> = self.names.iter().take(known).cloned().collect();
        let bound = unknown.codes.values().map(|code| *code + 1).max().unwrap_or(base as u16);
        let mut finals: Vec<u16> = (0..bound).collect();
        for (rank, ((_, name), code)) in self.ranked(&unknown).into_iter().enumerate() {
            // A stage may not be mistaken for the pseudo-stage of its name.
            let taken = PSEUDO_STAGES.contains(&name.as_str());
            names.push(if taken { format!("{name} (stage)") } else { name.clone() });
            if let Some(slot) = finals.get_mut(usize::from(code)) {
                *slot = (known + rank) as u16;
            }
        }
        if let Some(several) = &self.several {
            several.tell_apart(self, &unknown, &mut names, &mut finals);
        }
        (names, finals)
    }

    /// The unknown stages in the order of their final codes, which no order of arrival changes.
    pub(super) fn ranked<'a>(&self, unknown: &'a Unknown) -> Vec<(&'a (u16, String), u16)> {
        let is_stage = |key: &(u16, String)| key.0 != LOOSE;
        let stages = unknown.codes.iter().filter(|(key, _)| is_stage(key));
        let mut ranked: Vec<(&(u16, String), u16)> = stages.map(|(k, c)| (k, *c)).collect();
        if let Some(several) = &self.several {
            ranked.sort_by_cached_key(|((pipeline, name), _)| {
                (several.name(self, *pipeline), name.clone())
            });
        }
        ranked
    }

    /// Whether a code is of a name that no pipeline lists.
    #[must_use]
    pub fn is_unknown(&self, code: u16) -> bool {
        usize::from(code) >= self.names.len() && code != NO_STAGE
    }

    /// Notes that events of the run are in these stages and pipelines.
    pub fn mark_used(&self, stages: &[u16], pipelines: &[u16]) {
        let known = match &self.several {
            None => self.names.len(),
            Some(several) => {
                several.mark_used(pipelines);
                several.loose.start.into()
            }
        };
        let is_unknown = |code: &u16| usize::from(*code) >= known && *code != NO_STAGE;
        let codes: BTreeSet<u16> = stages.iter().copied().filter(is_unknown).collect();
        if !codes.is_empty() {
            self.used.lock().unwrap_or_else(PoisonError::into_inner).extend(codes);
        }
    }

    /// Forgets the unknown stages that no event of the run is in: a stage that only rows kept out or
    /// later than `as_of` name is none of the run's. Called when everything is read, because codes
    /// given out later could be those of forgotten stages. Where there are several pipelines, it
    /// settles what a name alone means in each of them.
    ///
    /// # Errors
    /// More than 60,000 different stages.
    pub fn keep_used(&self) -> Result<(), Error> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(several) = &self.several {
            several.settle_names(self, &mut used, &mut unknown)?;
        }
        unknown.codes.retain(|_, code| used.contains(code));
        Ok(())
    }

    /// Names of the unknown stages, sorted; where there are several pipelines, of those that a deal
    /// was in, with the pipeline.
    #[must_use]
    pub fn unknown(&self) -> Vec<String> {
        let unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        match &self.several {
            None => unknown.codes.keys().map(|(_, name)| name.clone()).collect(),
            Some(several) => several.unknown_stages(self, &unknown),
        }
    }

    /// The pipeline that a stage is in; [`NO_PIPELINE`] where there is only one.
    #[must_use]
    pub fn pipeline_of(&self, stage: u16) -> u16 {
        self.several.as_ref().map_or(NO_PIPELINE, |several| several.pipeline_of(stage))
    }
}

/// What is in no list.
pub(super) const UNKNOWN: Stage = Stage { class: StageClass::Unknown, order: 0 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_that_no_event_is_in_are_forgotten_and_the_others_keep_their_codes() {
        let pipeline =
            crate::config::Pipeline { stages: vec!["lead".into()], ..Default::default() };
        let table = StageTable::new(&pipeline);
        let codes: Vec<u16> =
            ["z", "ghost", "a"].iter().map(|name| table.code(name).unwrap()).collect();
        table.mark_used(&[codes[0], table.first_open(0), NO_STAGE, codes[2]], &[]);
        table.keep_used().unwrap();
        assert_eq!(table.unknown(), ["a", "z"]);
        let (names, finals) = table.finish();
        let name = |code: u16| names[usize::from(finals[usize::from(code)])].as_str();
        assert_eq!([name(codes[0]), name(codes[2]), name(table.first_open(0))], ["z", "a", "lead"]);
        assert_eq!(names.len(), usize::from(codes[0]) + 2);
    }
}
