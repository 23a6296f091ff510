//! Several pipelines in one run: a stage belongs to a pipeline and an id, so that one id in two
//! pipelines is two stages (G6).
//!
//! An event may name a stage and say nothing of the pipeline. Its code is then that of the name
//! alone, a *loose* one, and what it means depends on the pipeline that the deal is in: the stage of
//! that name there, or else the only stage of that name anywhere, or else an unknown stage of that
//! pipeline. [`Several::settle_names`] works that out for every name and pipeline once everything is
//! read, so that the fold only looks it up.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::NO_PIPELINE;
use super::stages::{Ends, Stage, StageClass, StageTable, UNKNOWN, Unknown};
use crate::config::Pipeline;
use crate::error::Error;
use crate::relations::visits::PSEUDO_STAGES;

/// The name of the one pipeline, and of that for deals of no other one.
pub const DEFAULT_PIPELINE: &str = "default";
/// The name that stands for none in tables.
const NONE: &str = "(none)";

/// In the place of a pipeline: the name stands alone.
pub(super) const LOOSE: u16 = u16::MAX - 1;
/// More than any business has.
const PIPELINES_MAX: usize = 10_000;
/// The stage of a deal that is won or lost in a pipeline which nobody listed.
const MADE: [(StageClass, &str); 2] = [(StageClass::Won, "(won)"), (StageClass::Lost, "(lost)")];

/// What a run of several pipelines knows beside the stages.
#[derive(Debug)]
pub(super) struct Several {
    /// Codes by name.
    by_name: BTreeMap<String, u16>,
    /// The pipeline for deals of no other one.
    rest: Option<u16>,
    /// The pipeline of each known stage.
    of: Vec<u16>,
    /// The stage of each name and alias in each pipeline.
    own: BTreeMap<(u16, String), u16>,
    /// Codes of known names alone; the last two are "won, wherever it is" and the same for lost.
    pub(super) loose: Range<u16>,
    /// Names of pipelines that nobody listed, as they turn up.
    found: Mutex<Vec<String>>,
    used: Mutex<BTreeSet<u16>>,
    /// Unknown stages that a deal was in.
    visited: Mutex<BTreeSet<u16>>,
    settled: OnceLock<Settled>,
}

/// What is known when everything is read.
#[derive(Debug, Default)]
struct Settled {
    /// The stage of a loose code in a pipeline.
    stages: BTreeMap<(u16, u16), u16>,
    /// The first unknown stage, and the pipelines of it and those after it.
    base: u16,
    of: Vec<u16>,
    /// Won and lost of the pipelines that nobody listed, and what they are.
    ends: BTreeMap<(u16, StageClass), u16>,
    made: BTreeMap<u16, Stage>,
}

/// The pipelines' names, sorted, and the place of each code among them.
#[derive(Debug, Clone, Default)]
pub struct PipelineNames {
    /// The names.
    pub names: Vec<String>,
    places: Vec<u32>,
    none: u32,
}

impl PipelineNames {
    /// The place of a pipeline's name.
    #[must_use]
    pub fn place(&self, pipeline: u16) -> u32 {
        self.places.get(usize::from(pipeline)).copied().unwrap_or(self.none)
    }
}

/// One stage of a run of several pipelines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageOf {
    /// The pipeline's name; empty where no deal was in the stage.
    pub pipeline: String,
    /// The stage's name in it.
    pub name: String,
}

impl Several {
    /// The table of these pipelines, sorted by name; `has_rest` if one is for all others.
    pub(super) fn table(pipelines: &BTreeMap<&str, &Pipeline>, has_rest: bool) -> StageTable {
        let mut table = StageTable::empty();
        let mut own = BTreeMap::new();
        let mut of = vec![NO_PIPELINE; table.names.len()];
        let mut by_name = BTreeMap::new();
        for ((name, pipeline), code) in pipelines.iter().zip(0_u16..) {
            by_name.insert((*name).to_owned(), code);
            let codes = table.add_pipeline(name, pipeline);
            own.extend(codes.into_iter().map(|(stage, at)| ((code, stage), at)));
            of.resize(table.names.len(), code);
        }
        let begin = table.names.len() as u16;
        let names: BTreeSet<String> = own.keys().map(|(_, name)| name.clone()).collect();
        for name in names {
            let of_name = |pipeline: u16| own.get(&(pipeline, name.clone())).copied();
            let all = (0..by_name.len() as u16).filter_map(of_name);
            let mut stages = all.map(|code| table.stage(code));
            let first = stages.next().unwrap_or(UNKNOWN);
            let is_same = stages.all(|stage| stage.class == first.class);
            let code = table.add(&name, if is_same { first } else { UNKNOWN });
            table.codes.insert(name, code);
        }
        for (class, name) in MADE {
            table.add(name, Stage { class, order: 0 });
        }
        let rest = by_name.get(DEFAULT_PIPELINE).copied().filter(|_| has_rest);
        table.several = Some(Box::new(Self {
            by_name,
            rest,
            of,
            own,
            loose: begin..table.names.len() as u16,
            found: Mutex::default(),
            used: Mutex::default(),
            visited: Mutex::default(),
            settled: OnceLock::new(),
        }));
        table
    }

    /// The codes of the stages of a name or alias, in one pipeline or in every one.
    pub(super) fn named(&self, pipeline: Option<&str>, name: &str) -> Vec<u16> {
        let of = pipeline.map(|pipeline| self.by_name.get(pipeline));
        let is_own = |code: &u16| of.is_none_or(|of| of == Some(code));
        let all = self.own.iter().filter(|((code, own), _)| own == name && is_own(code));
        all.map(|(_, stage)| *stage).collect()
    }

    /// What an unknown stage is: one that was made, or unknown.
    pub(super) fn made(&self, code: u16) -> Stage {
        let made = self.settled.get().and_then(|settled| settled.made.get(&code));
        made.copied().unwrap_or(UNKNOWN)
    }

    pub(super) fn end(&self, pipeline: u16, class: StageClass) -> u16 {
        let end = self.settled.get().and_then(|settled| settled.ends.get(&(pipeline, class)));
        end.copied().unwrap_or_else(|| self.loose_end(class))
    }

    /// The loose code of "won" or "lost", wherever the deal is.
    pub(super) fn loose_end(&self, class: StageClass) -> u16 {
        self.loose.end - if class == StageClass::Won { 2 } else { 1 }
    }

    fn is_known(&self, pipeline: u16) -> bool {
        usize::from(pipeline) < self.by_name.len()
    }

    fn settled_of(&self, code: u16) -> Option<u16> {
        let settled = self.settled.get()?;
        settled.of.get(usize::from(code.checked_sub(settled.base)?)).copied()
    }

    pub(super) fn pipeline_of(&self, stage: u16) -> u16 {
        match self.of.get(usize::from(stage)) {
            Some(pipeline) => *pipeline,
            None => self.settled_of(stage).unwrap_or(NO_PIPELINE),
        }
    }

    fn is_loose(&self, code: u16) -> bool {
        self.loose.contains(&code) || self.settled_of(code) == Some(LOOSE)
    }

    pub(super) fn mark_used(&self, pipelines: &[u16]) {
        let is_unknown = |code: &u16| !self.is_known(*code) && *code != NO_PIPELINE;
        let codes: BTreeSet<u16> = pipelines.iter().copied().filter(is_unknown).collect();
        if !codes.is_empty() {
            self.used.lock().unwrap_or_else(PoisonError::into_inner).extend(codes);
        }
    }

    /// Every pipeline that a deal can be in, the absence of one included.
    fn possible(&self) -> Vec<u16> {
        let known = 0..self.by_name.len() as u16;
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        known.chain(used.iter().copied()).chain([NO_PIPELINE]).collect()
    }

    /// Settles which stage every loose code of the run is in every pipeline.
    pub(super) fn settle_names(
        &self,
        table: &StageTable,
        used: &mut BTreeSet<u16>,
        unknown: &mut Unknown,
    ) -> Result<(), Error> {
        let base = table.names.len();
        let mut settled = Settled { base: base as u16, ..Settled::default() };
        let name_of = |code: u16, unknown: &Unknown| -> Option<String> {
            if self.loose.contains(&code) {
                return table.names.get(usize::from(code)).cloned();
            }
            let (pipeline, name) = unknown.keys.get(usize::from(code).checked_sub(base)?)?;
            (*pipeline == LOOSE).then(|| name.clone())
        };
        for pipeline in self.possible() {
            for (class, name) in MADE {
                let end = if self.is_known(pipeline) {
                    table.end(pipeline, class)
                } else {
                    let code = unknown.code(base, pipeline, name)?;
                    settled.made.insert(code, Stage { class, order: 0 });
                    settled.ends.insert((pipeline, class), code);
                    used.insert(code);
                    code
                };
                settled.stages.insert((self.loose_end(class), pipeline), end);
            }
        }
        let ends = [StageClass::Won, StageClass::Lost].map(|class| self.loose_end(class));
        let loose: Vec<u16> = used.iter().copied().filter(|code| !ends.contains(code)).collect();
        for code in loose {
            let Some(name) = name_of(code, unknown) else { continue };
            let mut all = (0..self.by_name.len() as u16)
                .filter_map(|pipeline| self.own.get(&(pipeline, name.clone())).copied());
            let only = all.next().filter(|_| all.next().is_none());
            for pipeline in self.possible() {
                let stage = match self.own.get(&(pipeline, name.clone())).copied().or(only) {
                    Some(stage) => stage,
                    None => unknown.code(base, pipeline, &name)?,
                };
                used.insert(stage);
                settled.stages.insert((code, pipeline), stage);
            }
        }
        settled.of = unknown.keys.iter().map(|(pipeline, _)| *pipeline).collect();
        // It is settled once.
        drop(self.settled.set(settled));
        Ok(())
    }

    /// Puts the pipeline behind every name that two stages have, and a number behind one that is
    /// taken all the same.
    pub(super) fn tell_apart(
        &self,
        table: &StageTable,
        unknown: &Unknown,
        names: &mut [String],
        finals: &mut [u16],
    ) {
        for code in self.loose.clone() {
            // It is settled before it reaches a visit.
            if let Some(slot) = finals.get_mut(usize::from(code)) {
                *slot = 0;
            }
        }
        let stages = self.stages(table, unknown);
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for stage in &stages {
            *counts.entry(&stage.name).or_insert(0) += 1;
        }
        let pseudo = PSEUDO_STAGES.len();
        let mut taken: BTreeSet<String> =
            counts.iter().filter(|(_, n)| **n == 1).map(|(name, _)| (*name).to_owned()).collect();
        taken.extend(PSEUDO_STAGES.iter().map(|name| (*name).to_owned()));
        for (stage, name) in stages.iter().zip(names).skip(pseudo) {
            let is_pseudo = PSEUDO_STAGES.contains(&stage.name.as_str());
            if !is_pseudo && counts.get(stage.name.as_str()).is_none_or(|n| *n == 1) {
                continue;
            }
            *name = format!("{} ({})", stage.name, stage.pipeline);
            while !taken.insert(name.clone()) {
                name.push('\'');
            }
        }
    }

    /// Every stage by its final code; pseudo-stages are in no pipeline.
    fn stages(&self, table: &StageTable, unknown: &Unknown) -> Vec<StageOf> {
        let known = table.names.iter().zip(&self.of).map(|(name, of)| (name, *of));
        let ranked = table.ranked(unknown);
        let found = ranked.iter().map(|((pipeline, name), _)| (name, *pipeline));
        let stage = |(name, of): (&String, u16)| StageOf {
            pipeline: self.name(table, of),
            name: name.clone(),
        };
        known.chain(found).map(stage).collect()
    }

    pub(super) fn name(&self, table: &StageTable, pipeline: u16) -> String {
        if let Some(ends) = table.pipelines.get(usize::from(pipeline)) {
            return ends.name.clone();
        }
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let place = usize::from(pipeline).checked_sub(self.by_name.len());
        place.and_then(|place| found.get(place).cloned()).unwrap_or_else(|| NONE.to_owned())
    }

    pub(super) fn unknown_stages(&self, table: &StageTable, unknown: &Unknown) -> Vec<String> {
        let visited = self.visited.lock().unwrap_or_else(PoisonError::into_inner);
        let of_code = |code: &u16| {
            let place = usize::from(*code).checked_sub(table.names.len())?;
            let (pipeline, name) = unknown.keys.get(place)?;
            if self.made(*code).class != StageClass::Unknown {
                return None;
            }
            Some(format!("{name} ({})", self.name(table, *pipeline)))
        };
        let mut names: Vec<String> = visited.iter().filter_map(of_code).collect();
        names.sort();
        names
    }
}

impl StageTable {
    /// Whether there is more than one pipeline, so that events say which one they are in.
    #[must_use]
    #[inline]
    pub fn has_pipelines(&self) -> bool {
        self.several.is_some()
    }

    /// The pipeline that deals are in of which nothing says so.
    #[must_use]
    pub fn first_pipeline(&self) -> u16 {
        self.several.as_ref().map_or(0, |several| several.rest.unwrap_or(NO_PIPELINE))
    }

    /// The code of a pipeline's name: one that nobody listed has one of its own, unless there is a
    /// pipeline for all others.
    ///
    /// # Errors
    /// More than 10,000 different pipelines.
    pub fn pipeline(&self, name: &str) -> Result<u16, Error> {
        let Some(several) = &self.several else { return Ok(0) };
        if let Some(code) = several.by_name.get(name).copied().or(several.rest) {
            return Ok(code);
        }
        let mut found = several.found.lock().unwrap_or_else(PoisonError::into_inner);
        let place = found.iter().position(|known| known == name).unwrap_or_else(|| {
            found.push(name.to_owned());
            found.len() - 1
        });
        if place >= PIPELINES_MAX {
            let what = "the number of pipelines (is the right column mapped to pipeline_id?)";
            return Err(Error::Overflow { what: what.into() });
        }
        Ok((several.by_name.len() + place) as u16)
    }

    /// Whether a pipeline is one of those that are listed, or there is only one.
    #[must_use]
    pub fn knows_pipeline(&self, pipeline: u16) -> bool {
        self.several.as_ref().is_none_or(|several| several.is_known(pipeline))
    }

    /// The stage that a code means in the pipeline that the same row tells; without one, the code
    /// as it is. Called while reading.
    ///
    /// # Errors
    /// More than 60,000 different stages.
    pub fn within(&self, code: u16, pipeline: u16) -> Result<u16, Error> {
        let Some(several) = self.several.as_ref().filter(|_| pipeline != NO_PIPELINE) else {
            return Ok(code);
        };
        for class in [StageClass::Won, StageClass::Lost] {
            if code == several.loose_end(class) {
                let is_known = several.is_known(pipeline);
                return Ok(if is_known { self.end(pipeline, class) } else { code });
            }
        }
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        let base = self.names.len();
        let name = if several.loose.contains(&code) {
            self.names.get(usize::from(code)).cloned()
        } else {
            let place = usize::from(code).checked_sub(base);
            let key = place.and_then(|place| unknown.keys.get(place));
            key.filter(|(of, _)| *of == LOOSE).map(|(_, name)| name.clone())
        };
        let Some(name) = name else { return Ok(code) };
        match several.own.get(&(pipeline, name.clone())) {
            Some(stage) => Ok(*stage),
            None => unknown.code(base, pipeline, &name),
        }
    }

    /// The stage that a code means for a deal in this pipeline. Called when everything is read.
    #[must_use]
    pub fn settle(&self, code: u16, pipeline: u16) -> u16 {
        let Some(several) = self.several.as_ref().filter(|s| s.is_loose(code)) else { return code };
        let settled = several.settled.get().and_then(|s| s.stages.get(&(code, pipeline)));
        settled.copied().unwrap_or(code)
    }

    /// Whether two codes can be of one stage, of which either may be a name alone.
    #[must_use]
    pub fn agree(&self, a: u16, b: u16) -> bool {
        a == b
            || self.several.as_ref().is_some_and(|several| {
                self.settle(a, several.pipeline_of(b)) == b
                    || self.settle(b, several.pipeline_of(a)) == a
            })
    }

    /// Notes that a deal was in a stage, if it is one that no pipeline lists.
    #[inline]
    pub fn note_visited(&self, stage: u16) {
        let is_found = usize::from(stage) >= self.names.len();
        if let Some(several) = self.several.as_ref().filter(|_| is_found) {
            several.visited.lock().unwrap_or_else(PoisonError::into_inner).insert(stage);
        }
    }

    /// The names of the pipelines.
    #[must_use]
    pub fn pipeline_names(&self) -> PipelineNames {
        let of = |code: u16| match &self.several {
            Some(several) => several.name(self, code),
            None => self.pipelines.first().map_or_else(String::new, |ends| ends.name.clone()),
        };
        let Some(several) = &self.several else {
            return PipelineNames { names: vec![of(0)], places: vec![0], none: 0 };
        };
        let possible = several.possible();
        let needs_none = |code: &u16| *code != NO_PIPELINE || several.rest.is_none();
        let mut names: Vec<String> = possible.iter().copied().filter(needs_none).map(of).collect();
        names.sort();
        names.dedup();
        let place = |name: &String| names.binary_search(name).unwrap_or(0) as u32;
        let codes = possible.iter().copied().filter(|code| *code != NO_PIPELINE);
        let bound = codes.clone().max().map_or(0, |code| usize::from(code) + 1);
        let none = place(&NONE.to_owned());
        let mut places = vec![none; bound];
        for code in codes {
            if let Some(slot) = places.get_mut(usize::from(code)) {
                *slot = place(&of(code));
            }
        }
        PipelineNames { names, places, none }
    }

    /// Every stage by its final code, where there are several pipelines; else nothing. An unknown
    /// stage that no deal was in is in no pipeline. Called after the fold.
    #[must_use]
    pub fn stages_of_pipelines(&self) -> Vec<StageOf> {
        let Some(several) = &self.several else { return Vec::new() };
        let unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        let visited = several.visited.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stages = several.stages(self, &unknown);
        let found = stages.iter_mut().skip(several.loose.start.into());
        for (stage, (_, code)) in found.zip(self.ranked(&unknown)) {
            if !visited.contains(&code) {
                stage.pipeline.clear();
            }
        }
        stages
    }

    /// Names of the pipelines that nobody listed and an event of the run is in, sorted.
    #[must_use]
    pub fn unknown_pipelines(&self) -> Vec<String> {
        let Some(several) = &self.several else { return Vec::new() };
        let used = several.used.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut names: Vec<String> = used.iter().map(|code| several.name(self, *code)).collect();
        names.sort();
        names
    }

    /// The open stages of every pipeline, in order.
    #[must_use]
    pub fn open_stages(&self) -> BTreeMap<String, Vec<String>> {
        let of = |ends: &Ends| {
            let names = self.names.iter().skip(usize::from(ends.first_open));
            (
                ends.name.clone(),
                names.take(usize::try_from(ends.open_n).unwrap_or(0)).cloned().collect(),
            )
        };
        self.pipelines.iter().map(of).collect()
    }
}
