//! The stages of a run: names, classes and orders, known ones from the configuration and unknown
//! ones as they turn up.
//!
//! Codes: the pseudo-stages, then the open stages in order, won, lost, ignored, then unknown ones in
//! order of arrival; [`StageTable::finish`] sorts the unknown ones by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use super::NO_STAGE;
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

/// One stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// Its class.
    pub class: StageClass,
    /// 1 for the first open stage; 0 outside the order.
    pub order: i16,
}

/// All stages of a run.
#[derive(Debug)]
pub struct StageTable {
    names: Vec<String>,
    stages: Vec<Stage>,
    codes: BTreeMap<String, u16>,
    unknown: Mutex<BTreeMap<String, u16>>,
    /// Codes of unknown stages that an event of the run names.
    used: Mutex<BTreeSet<u16>>,
    /// Number of open stages.
    pub open_n: i16,
    won: u16,
    lost: u16,
    first_open: u16,
}

impl StageTable {
    /// The table of the configured pipeline. Without a won or lost stage, one of that name is made
    /// for events that win or lose a deal without naming a stage.
    #[must_use]
    pub fn new(pipeline: &crate::config::Pipeline) -> Self {
        let mut table = Self {
            names: PSEUDO_STAGES.iter().map(|s| (*s).to_owned()).collect(),
            stages: vec![Stage { class: StageClass::Ignored, order: 0 }; PSEUDO_STAGES.len()],
            codes: BTreeMap::new(),
            unknown: Mutex::new(BTreeMap::new()),
            used: Mutex::new(BTreeSet::new()),
            open_n: 0,
            won: 0,
            lost: 0,
            first_open: PSEUDO_STAGES.len() as u16,
        };
        for (index, name) in pipeline.stages.iter().enumerate() {
            table.add(name, Stage { class: StageClass::Open, order: index as i16 + 1 });
        }
        table.open_n = pipeline.stages.len() as i16;
        table.won = table.add_class(&pipeline.won, "won", StageClass::Won);
        table.lost = table.add_class(&pipeline.lost, "lost", StageClass::Lost);
        for name in &pipeline.ignored {
            table.add(name, Stage { class: StageClass::Ignored, order: 0 });
        }
        for (alias, name) in &pipeline.aliases {
            if let Some(code) = table.codes.get(name).copied() {
                table.codes.insert(alias.clone(), code);
            }
        }
        table
    }

    fn add(&mut self, name: &str, stage: Stage) -> u16 {
        let code = self.names.len() as u16;
        self.names.push(name.to_owned());
        self.stages.push(stage);
        self.codes.insert(name.to_owned(), code);
        code
    }

    fn add_class(&mut self, names: &[String], default: &str, class: StageClass) -> u16 {
        let fallback = [default.to_owned()];
        let names = if names.is_empty() { &fallback[..] } else { names };
        let codes: Vec<u16> =
            names.iter().map(|name| self.add(name, Stage { class, order: 0 })).collect();
        codes.first().copied().unwrap_or(NO_STAGE)
    }

    /// The code of a stage's name or alias; unknown names get a new one.
    ///
    /// # Errors
    /// More than 60,000 different stages, which no pipeline has.
    pub fn code(&self, name: &str) -> Result<u16, Error> {
        if let Some(code) = self.codes.get(name) {
            return Ok(*code);
        }
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.names.len() + unknown.len();
        if let Some(code) = unknown.get(name) {
            return Ok(*code);
        }
        if next > 60_000 {
            let what = "the number of distinct stages (is the right column mapped to stage_id?)";
            return Err(Error::Overflow { what: what.into() });
        }
        unknown.insert(name.to_owned(), next as u16);
        Ok(next as u16)
    }

    /// Class and order of a code.
    #[must_use]
    pub fn stage(&self, code: u16) -> Stage {
        let unknown = Stage { class: StageClass::Unknown, order: 0 };
        self.stages.get(usize::from(code)).copied().unwrap_or(unknown)
    }

    /// The stage of a won event that names none.
    #[must_use]
    pub fn won(&self) -> u16 {
        self.won
    }

    /// The stage of a lost event that names none.
    #[must_use]
    pub fn lost(&self) -> u16 {
        self.lost
    }

    /// The stage of a won deal: the one given if it is of that class.
    #[must_use]
    pub fn won_or(&self, stage: u16) -> u16 {
        if self.stage(stage).class == StageClass::Won { stage } else { self.won }
    }

    /// The stage of a lost deal: the one given if it is of that class.
    #[must_use]
    pub fn lost_or(&self, stage: u16) -> u16 {
        if self.stage(stage).class == StageClass::Lost { stage } else { self.lost }
    }

    /// The first open stage.
    #[must_use]
    pub fn first_open(&self) -> u16 {
        self.first_open
    }

    /// All names in the order of final codes (unknown ones sorted by name), and the final code of
    /// each code.
    #[must_use]
    pub fn finish(&self) -> (Vec<String>, Vec<u16>) {
        let unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.names.len();
        let mut names = self.names.clone();
        let bound = unknown.values().map(|code| *code + 1).max().unwrap_or(known as u16);
        let mut finals: Vec<u16> = (0..bound).collect();
        for (rank, (name, code)) in unknown.iter().enumerate() {
            // A stage may not be mistaken for the pseudo-stage of its name.
            let taken = PSEUDO_STAGES.contains(&name.as_str());
            names.push(if taken { format!("{name} (stage)") } else { name.clone() });
            if let Some(slot) = finals.get_mut(usize::from(*code)) {
                *slot = (known + rank) as u16;
            }
        }
        (names, finals)
    }

    /// Notes that events of the run are in these stages.
    pub fn mark_used(&self, stages: &[u16]) {
        let known = self.names.len();
        let is_unknown = |code: &u16| usize::from(*code) >= known && *code != NO_STAGE;
        let codes: BTreeSet<u16> = stages.iter().copied().filter(is_unknown).collect();
        if !codes.is_empty() {
            self.used.lock().unwrap_or_else(PoisonError::into_inner).extend(codes);
        }
    }

    /// Forgets the unknown stages that no event of the run is in: a stage that only rows kept out or
    /// later than `as_of` name is none of the run's. Called when everything is read, because codes
    /// given out later could be those of forgotten stages.
    pub fn keep_used(&self) {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        unknown.retain(|_, code| used.contains(code));
    }

    /// Names of the unknown stages, sorted.
    #[must_use]
    pub fn unknown(&self) -> Vec<String> {
        let unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        unknown.keys().cloned().collect()
    }
}

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
        table.mark_used(&[codes[0], table.first_open(), NO_STAGE, codes[2]]);
        table.keep_used();
        assert_eq!(table.unknown(), ["a", "z"]);
        let (names, finals) = table.finish();
        let name = |code: u16| names[usize::from(finals[usize::from(code)])].as_str();
        assert_eq!([name(codes[0]), name(codes[2]), name(table.first_open())], ["z", "a", "lead"]);
        assert_eq!(names.len(), usize::from(codes[0]) + 2);
    }
}
