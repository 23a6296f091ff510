//! The engine's own way to compute states: batch by batch as the fold makes them, so that no
//! relation is ever whole in memory.
//!
//! All states of a relation are compiled into one program ([`program`], [`compile`]); each state and
//! slice has a hash table of sums ([`groups`]), one a thread, merged at the end. Polars computes the
//! same states from the same SQL over whole relations; tests compare the two.
//!
//! On the workload of `benches/peers` this took the tables from ten seconds to a few tenths: nothing
//! is written to memory that is read once, and no column is made that no state reads.

mod compile;
mod groups;
mod program;
mod sums;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use self::compile::Compiler;
use self::groups::{Groups, Overflow};
use self::program::{BLOCK, NULL, Program, Register, Registers};
use self::sums::StateSums;
use super::merge::Merge;
use super::runs::{Layout, Run, Source};
use super::sql::{StateQuery, quoted};
use super::states::{Job, overflow};
use crate::error::Error;
use crate::metrics::StateRows;
use crate::relations::{Batch, Dictionaries, Relation, Wanted};
use crate::spill::Room;

/// All states of all tables while the batches come in.
pub(crate) struct Sums {
    relations: BTreeMap<Relation, Compiled>,
    /// Where each job's rows come from: relation, state, slice.
    places: Vec<Place>,
    /// Tables that no thread works on at present.
    idle: Mutex<Vec<Part>>,
    /// What the tables may take; without it they may take what they need.
    room: Option<Arc<Room>>,
    /// Groups that there was no room for.
    written: Mutex<BTreeMap<Place, Vec<Run>>>,
}

/// Relation, state, slice.
type Place = (Relation, usize, usize);

/// The states of one relation.
#[derive(Default)]
struct Compiled {
    program: Program,
    states: Vec<State>,
}

/// One state, in registers of its relation's program.
struct State {
    /// Table and state, for errors.
    what: String,
    /// What it is, so that equal ones are computed once.
    text: String,
    condition: Option<Register>,
    keys: Vec<(String, Register, Option<usize>)>,
    values: Vec<(String, Merge, Option<Register>)>,
    /// The dimensions of each slice, with the number of their names.
    slices: Vec<Vec<(String, Register, Option<usize>)>>,
}

/// One thread's sums: by relation, state and slice.
#[derive(Default)]
struct Part {
    states: BTreeMap<Relation, Vec<StateSums>>,
    registers: Registers,
    rows: Vec<u32>,
}

impl Sums {
    /// Compiles the states of all jobs.
    ///
    /// # Errors
    /// SQL that cannot be compiled.
    pub(crate) fn new(jobs: &[Job], dictionaries: &Dictionaries) -> Result<Self, Error> {
        let mut relations: BTreeMap<Relation, Compiled> = BTreeMap::new();
        let mut places = Vec::with_capacity(jobs.len());
        for job in jobs {
            let relation = job.query.relation;
            let compiled = relations.entry(relation).or_default();
            let (state, slice) = compiled.add(job, dictionaries)?;
            places.push((relation, state, slice));
        }
        let (idle, written) = (Mutex::default(), Mutex::default());
        Ok(Self { relations, places, idle, room: None, written })
    }

    /// The sums, which write what exceeds the room to its scratch file.
    pub(crate) fn within(self, room: &Arc<Room>) -> Self {
        Self { room: Some(room.clone()), ..self }
    }

    /// Adds the rows of a batch. Threads do not wait for each other.
    ///
    /// # Errors
    /// A sum that leaves 64 bits; a bug of ours: a column is missing.
    pub(crate) fn take(&self, batch: &Batch) -> Result<(), Error> {
        let Some(compiled) = self.relations.get(&batch.relation) else { return Ok(()) };
        let columns = program::columns(&compiled.program, batch)?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut part = idle.unwrap_or_default();
        for begin in (0..batch.rows).step_by(BLOCK) {
            let end = (begin + BLOCK).min(batch.rows);
            let run = part.registers.run(&compiled.program, &columns, begin, end);
            run.map_err(|_| overflow(batch.relation.name(), "an expression"))?;
            part.add(batch.relation, compiled, end - begin)?;
            if let Some(room) = &self.room
                && part.bytes() > room.thread_bytes()
            {
                self.write(&mut part, room, room.thread_bytes() / 4)?;
            }
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(part);
        Ok(())
    }

    /// Bytes that the tables of sums hold.
    pub(crate) fn bytes(&self) -> u64 {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.iter().map(Part::bytes).sum()
    }

    /// Writes a part's tables, the largest first, until no more than so many bytes are left.
    fn write(&self, part: &mut Part, room: &Room, left: u64) -> Result<(), Error> {
        let file = room.file()?;
        for (relation, states) in &mut part.states {
            for (number, sums) in states.iter_mut().enumerate() {
                sums.confine(self.state((*relation, number, 0))?)?;
            }
        }
        let mut bytes = part.bytes();
        let mut tables: Vec<(Place, &mut Groups)> = Vec::new();
        for (relation, states) in &mut part.states {
            for (state, sums) in states.iter_mut().enumerate() {
                let own = sums.slices.iter_mut().enumerate();
                tables.extend(own.map(|(slice, groups)| ((*relation, state, slice), groups)));
            }
        }
        tables.sort_by_key(|(_, groups)| std::cmp::Reverse(groups.bytes()));
        for (place, groups) in tables {
            if bytes <= left {
                break;
            }
            bytes = bytes.saturating_sub(groups.bytes() as u64);
            let run = groups.write(&self.state(place)?.layout(place.2), &file)?;
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            written.entry(place).or_default().push(run);
        }
        Ok(())
    }

    fn state(&self, place: Place) -> Result<&State, Error> {
        let compiled = self.relations.get(&place.0);
        let state = compiled.and_then(|c| c.states.get(place.1));
        state.ok_or_else(|| Error::Bug("a state without a program".into()))
    }

    /// The room, if finishing all states at a time would exceed it.
    pub(crate) fn narrow(&self) -> Option<Arc<Room>> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let room = self.room.as_ref()?;
        let bytes = self.bytes();
        tracing::debug!(bytes, is_written = !written.is_empty(), "sums");
        (!written.is_empty() || !room.can_finish_all(bytes)).then(|| room.clone())
    }

    /// The rows of every job in a scratch file, for finishing them in little room.
    ///
    /// # Errors
    /// They cannot be written.
    pub(crate) fn into_sources(self, room: &Room) -> Result<Vec<Arc<Source>>, Error> {
        let parts = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for mut part in parts {
            self.write(&mut part, room, 0)?;
        }
        let mut written =
            std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner));
        let file = room.file()?;
        let mut sources: BTreeMap<Place, Arc<Source>> = BTreeMap::new();
        for place in &self.places {
            if !sources.contains_key(place) {
                let runs = written.remove(place).unwrap_or_default();
                let layout = self.state(*place)?.layout(place.2);
                sources.insert(*place, Arc::new(Source::new(layout, &file, runs)?));
            }
        }
        Ok(self.places.iter().filter_map(|place| sources.get(place).cloned()).collect())
    }

    /// The states of every job. Nothing has been written.
    pub(crate) fn into_states(mut self) -> States {
        let parts = std::mem::take(self.idle.get_mut().unwrap_or_else(PoisonError::into_inner));
        let mut waiting: BTreeMap<(Relation, usize), Vec<StateSums>> =
            self.places.iter().map(|place| ((place.0, place.1), Vec::new())).collect();
        for part in parts {
            for (relation, states) in part.states {
                for (number, own) in states.into_iter().enumerate() {
                    waiting.entry((relation, number)).or_default().push(own);
                }
            }
        }
        States { sums: self, waiting, made: BTreeMap::new(), next: 0 }
    }

    /// The rows of every job, sorted by dimensions, then keys. Nothing has been written.
    ///
    /// # Errors
    /// A sum that leaves 64 bits.
    pub(crate) fn finish(self) -> Result<Vec<Arc<StateRows>>, Error> {
        let jobs = self.places.len();
        self.into_states().take(jobs)
    }
}

/// States that become rows when they are asked for, so that not all are there at a time.
pub(crate) struct States {
    sums: Sums,
    /// What each thread has of the states that are not rows yet.
    waiting: BTreeMap<(Relation, usize), Vec<StateSums>>,
    /// Rows that later jobs ask for too.
    made: BTreeMap<Place, Arc<StateRows>>,
    next: usize,
}

impl States {
    /// The rows of the next jobs, sorted by dimensions, then keys.
    ///
    /// # Errors
    /// A sum that leaves 64 bits.
    pub(crate) fn take(&mut self, jobs: usize) -> Result<Vec<Arc<StateRows>>, Error> {
        let places = self.sums.places.get(self.next..).unwrap_or_default();
        let (own, later) = places.split_at_checked(jobs).unwrap_or((places, &[]));
        self.next += jobs;
        let wanted: BTreeSet<(Relation, usize)> = own.iter().map(|p| (p.0, p.1)).collect();
        let waiting = &mut self.waiting;
        let parts: Vec<_> =
            wanted.into_iter().filter_map(|state| Some((state, waiting.remove(&state)?))).collect();
        let sums = &self.sums;
        let make = |((relation, number), parts): ((Relation, usize), Vec<StateSums>)| {
            let slices = sums.state((relation, number, 0))?.all_rows(parts)?;
            let place = |(slice, rows)| ((relation, number, slice), Arc::new(rows));
            Ok(slices.into_iter().enumerate().map(place).collect::<Vec<_>>())
        };
        let made: Result<Vec<_>, Error> = parts.into_par_iter().map(make).collect();
        self.made.extend(made?.into_iter().flatten());
        let rows = |place| self.made.get(place).cloned().unwrap_or_default();
        let rows = own.iter().map(rows).collect();
        let later: BTreeSet<&Place> = later.iter().collect();
        self.made.retain(|place, _| later.contains(place));
        Ok(rows)
    }
}

/// The columns that the states of all jobs read.
///
/// # Errors
/// SQL that cannot be compiled.
pub(crate) fn wanted(jobs: &[Job]) -> Result<Wanted, Error> {
    // Names are not known yet; which columns are read does not depend on them.
    let sums = Sums::new(jobs, &Dictionaries::default())?;
    let columns = sums.relations.into_iter().map(|(relation, compiled)| {
        (relation, compiled.program.columns.into_iter().collect::<BTreeSet<String>>())
    });
    Ok(Wanted::Columns(columns.collect()))
}

impl Compiled {
    /// The positions of a job's state and slice.
    fn add(&mut self, job: &Job, dictionaries: &Dictionaries) -> Result<(usize, usize), Error> {
        // A table of the whole history alone needs no base periods.
        let text = format!("{} {}", job.whole, job.query.text(&[]));
        let known = self.states.iter().position(|s| s.text == text);
        let state = match known {
            Some(known) => known,
            None => {
                let refused = |refusal: super::sql::Refusal| refusal.into_error(job.what.clone());
                let state = self.compile(job, text, dictionaries).map_err(refused)?;
                self.states.push(state);
                self.states.len() - 1
            }
        };
        let mut slice = Vec::with_capacity(job.slice.len());
        for dimension in &job.slice {
            let names = dictionaries.names.get(dimension).map(|names| names.len());
            slice.push((dimension.clone(), self.program.load(dimension), names.or(Some(0))));
        }
        let Some(own) = self.states.get_mut(state) else {
            return Err(Error::Bug("a state that was just made".into()));
        };
        let same = |s: &Vec<(String, Register, Option<usize>)>| *s == slice;
        let place = own.slices.iter().position(same).unwrap_or_else(|| {
            own.slices.push(slice.clone());
            own.slices.len() - 1
        });
        Ok((state, place))
    }

    fn compile(
        &mut self,
        job: &Job,
        text: String,
        dictionaries: &Dictionaries,
    ) -> Result<State, super::sql::Refusal> {
        let query: &StateQuery = &job.query;
        let program = &mut self.program;
        let mut compiler = Compiler { relation: query.relation, dictionaries, program };
        let condition = query.condition.as_ref().map(|c| compiler.value(c)).transpose()?;
        let mut keys = Vec::with_capacity(query.keys.len());
        for key in &query.keys {
            if job.whole && super::finish::is_period(&key.name) {
                let none = compiler.program.step(program::Step::Constant(NULL));
                keys.push((key.name.clone(), none, None));
                continue;
            }
            let (register, names) = compiler.key(&key.expr)?;
            keys.push((key.name.clone(), register, names));
        }
        let mut values = Vec::with_capacity(query.values.len());
        for value in &query.values {
            let register = value.argument.as_ref().map(|a| compiler.value(a)).transpose()?;
            values.push((value.name.clone(), value.merge, register));
        }
        let what = job.what.clone();
        Ok(State { what, text, condition, keys, values, slices: Vec::new() })
    }
}

impl Part {
    /// Bytes that the tables of sums hold.
    fn bytes(&self) -> u64 {
        self.states.values().flatten().map(StateSums::bytes).sum()
    }

    fn add(&mut self, relation: Relation, compiled: &Compiled, block: usize) -> Result<(), Error> {
        let sums = self.states.entry(relation).or_default();
        for state in compiled.states.iter().skip(sums.len()) {
            sums.push(StateSums::new(state));
        }
        for (state, sums) in compiled.states.iter().zip(sums) {
            let rows = match state.condition {
                None => None,
                Some(condition) => {
                    let truths = self.registers.of(condition).iter().zip(0_u32..);
                    self.rows.clear();
                    self.rows.extend(truths.filter(|(t, _)| **t == 1).map(|(_, row)| row));
                    Some(self.rows.as_slice())
                }
            };
            sums.add(state, |register| self.registers.of(register), rows, block)?;
        }
        Ok(())
    }
}

impl State {
    fn groups(&self, slice: usize) -> Groups {
        let dimensions = self.slices.get(slice).map_or(&[][..], Vec::as_slice);
        let names: Vec<Option<usize>> =
            dimensions.iter().chain(&self.keys).map(|(_, _, names)| *names).collect();
        Groups::new(&names, self.values.iter().map(|(_, merge, _)| *merge).collect())
    }

    fn overflowed(&self, overflowed: &Overflow) -> Error {
        let name = self.values.get(overflowed.0).map_or("", |(name, _, _)| name);
        overflow(&self.what, &quoted(name))
    }

    /// What the rows of a slice consist of.
    fn layout(&self, slice: usize) -> Layout {
        Layout {
            what: self.what.clone(),
            dimensions: self.slices.get(slice).map_or(0, Vec::len),
            keys: self.keys.iter().map(|(name, _, _)| name.clone()).collect(),
            values: self.values.iter().map(|(name, merge, _)| (name.clone(), *merge)).collect(),
        }
    }

    /// The rows of one slice from every thread's sums.
    fn rows(&self, slice: usize, mut tables: Vec<Groups>) -> Result<StateRows, Error> {
        // The largest takes the others in.
        tables.sort_by_key(Groups::len);
        let mut all = tables.pop().unwrap_or_else(|| self.groups(slice));
        for groups in tables {
            all.absorb(&groups).map_err(|o| self.overflowed(&o))?;
        }
        tracing::debug!(state = %self.what, rows = all.len(), bytes = all.bytes(), "merged sums");
        let (keys, values) = all.into_columns();
        Ok(self.layout(slice).rows(keys, values))
    }
}
