//! Makes sales histories out of a seed: how does this run on data of any size, without any data?
//!
//! The histories have the traits that make real ones hard: lognormal stage times that depend on
//! owner, source and product; skipped stages, regressions, re-opened deals and deals that stall;
//! growth, seasons and quiet weekends; customers that come back, some of them very often; null,
//! zero and negative amounts; spend by channel. They do not imitate any company, and hold none of
//! the faults (unknown stages, ties, duplicates) that quality rules are for.
//!
//! Invariant: the bytes depend on the options and on nothing else, whatever the number of threads.
//! (Logarithms of another platform's C library may differ in the last bit; times are whole seconds
//! and amounts whole cents, so that such a bit does not show.)
//!
//! The memory needed does not grow with the number of deals: a deal depends on its number only,
//! deals are told in the order of their creation, and a month is written as soon as its row groups
//! fill.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::error::Error;
use crate::time::Day;

mod dice;
mod files;
mod forms;
mod history;
mod tables;
#[cfg(test)]
mod tests;
mod world;

use files::{MonthFiles, Written};
use forms::Whole;
use history::{Event, tell};
use tables::{NOTE, Note};
use world::World;

/// Form of the ids of deals and customers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Ids {
    /// 64-bit integers.
    #[default]
    Int,
    /// Text of 14 characters: `D` or `C`, then 13 digits of base 32.
    String,
}

/// How the rows tell the histories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Form {
    /// One row per change.
    #[default]
    Events,
    /// One row per deal, with one date column per stage.
    StageDates,
    /// One row per change of a field; with a table of current deals.
    FieldHistory,
    /// Full rows, to be compared.
    RowHistory,
    /// Full rows with validity intervals.
    Intervals,
    /// Every deal at the end of every month: a row for each.
    Snapshots,
}

/// What to generate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerateOptions {
    /// Number of deals; at least 1.
    pub deals: u64,
    /// Form of the ids.
    pub ids: Ids,
    /// How the rows tell the histories.
    pub form: Form,
    /// Seed of all that is random.
    pub seed: u64,
    /// Folder to write; it must not exist, or be empty, or be one that the generator made.
    pub out: PathBuf,
    /// A day in the first month.
    pub start: Day,
    /// Number of months, 1 to 1200; the histories end with the last one.
    pub months: u32,
    /// Threads to use; `None` = all cores. Does not change the result.
    pub threads: Option<usize>,
}

impl GenerateOptions {
    /// 2019-01-01 as a day: the first month unless told otherwise.
    pub const DEFAULT_START: Day = 17_897;
    /// Six years, unless told otherwise.
    pub const DEFAULT_MONTHS: u32 = 72;

    /// Six years from 2019 with integer ids, on all cores.
    #[must_use]
    pub fn new(deals: u64, seed: u64, out: impl Into<PathBuf>) -> Self {
        Self {
            deals,
            ids: Ids::Int,
            form: Form::Events,
            seed,
            out: out.into(),
            start: Self::DEFAULT_START,
            months: Self::DEFAULT_MONTHS,
            threads: None,
        }
    }

    fn check(&self) -> Result<(), Error> {
        let mut wrong = Vec::new();
        if self.deals == 0 {
            wrong.push("deals: expected at least 1, found 0".to_owned());
        }
        if !(1..=1200).contains(&self.months) {
            wrong.push(format!("months: expected 1 to 1200, found {}", self.months));
        }
        if self.threads == Some(0) {
            wrong.push("threads: expected at least 1, found 0".to_owned());
        }
        if wrong.is_empty() { Ok(()) } else { Err(Error::Config(wrong)) }
    }
}

/// What was generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// The folder.
    pub out: PathBuf,
    /// The configuration that runs on it.
    pub config: PathBuf,
    /// Deals, as asked for.
    pub deals: u64,
    /// Distinct customers.
    pub customers: u64,
    /// Rows of the deal events.
    pub events: u64,
    /// Parquet files of the deal events.
    pub files: u64,
}

/// Deals that one thread tells at a time.
const BLOCK_DEALS: u64 = 4_096;
/// Blocks between two looks at what can be written; bounds the memory.
const ROUND_BLOCKS: u64 = 64;

/// Generates histories into a folder: `deal_events/year=YYYY/month=MM/part-0.parquet`,
/// `spend/part-0.parquet`, `owners.parquet`, `dealmill.toml` and a note, `generated.json`.
///
/// Shape: about 3.25 events a deal; each an entry into a stage; every deal begins as a lead. How
/// many rows that makes depends on the [`Form`], which does not change what happens.
/// Edge cases: in a folder made before, only the generator's own files are replaced; other things
/// in it, such as published runs, stay.
/// Errors: [`Error::Config`] for options that cannot be met, [`Error::Output`] when the folder is
/// somebody else's or cannot be written; it is then left as it was.
pub fn generate(options: &GenerateOptions) -> Result<Generated, Error> {
    options.check()?;
    let target = Target::open(&options.out)?;
    let mut pool = rayon::ThreadPoolBuilder::new();
    if let Some(threads) = options.threads {
        pool = pool.num_threads(threads);
    }
    let pool = pool.build().map_err(|e| Error::compute("the histories: start threads", e))?;
    let world = World::new(options);
    let (written, customers) = pool.install(|| write_histories(&world, options, &target.fresh))?;
    tables::write_spend(&world, &target.fresh)?;
    tables::write_owners(&world, &target.fresh)?;
    tables::write_config(&world, options.form, &target.fresh)?;
    Note::new(&world, options, customers, written.rows).write(&target.fresh)?;
    target.publish()?;
    Ok(Generated {
        out: options.out.clone(),
        config: options.out.join("dealmill.toml"),
        deals: options.deals,
        customers,
        events: written.rows,
        files: written.files,
    })
}

/// What is written of the histories: rows of events, of deals, or both.
struct Histories<'w> {
    events: Option<MonthFiles<'w, Event>>,
    deals: Option<MonthFiles<'w, Whole>>,
}

impl<'w> Histories<'w> {
    fn new(world: &'w World, options: &GenerateOptions, folder: &Path) -> Result<Self, Error> {
        let (ids, form) = (options.ids, options.form);
        let (own, deals) = (folder.join("deal_events"), folder.join("deals"));
        Ok(match form {
            Form::StageDates => Self {
                events: None,
                deals: Some(MonthFiles::new(world, ids, forms::stage_dates(), &own)?),
            },
            _ => Self {
                events: Some(MonthFiles::new(world, ids, forms::columns(form), &own)?),
                deals: match form {
                    Form::FieldHistory => {
                        Some(MonthFiles::new(world, ids, forms::deals(), &deals)?)
                    }
                    _ => None,
                },
            },
        })
    }

    fn push(&mut self, told: &Told) {
        if let Some(files) = &mut self.events {
            files.push(&told.rows);
        }
        if let Some(files) = &mut self.deals {
            files.push(&told.deals);
        }
    }

    /// What was written of the events, or of the deals where these are all there is.
    fn flush(&mut self, complete: usize) -> Result<Written, Error> {
        let deals = self.deals.as_mut().map(|files| files.flush(complete)).transpose()?;
        let events = self.events.as_mut().map(|files| files.flush(complete)).transpose()?;
        Ok(events.or(deals).unwrap_or_default())
    }
}

fn write_histories(
    world: &World,
    options: &GenerateOptions,
    folder: &Path,
) -> Result<(Written, u64), Error> {
    let mut files = Histories::new(world, options, folder)?;
    let mut written = Written::default();
    let mut customers = 0;
    let mut next = 0;
    while next < world.deals {
        let blocks: Vec<u64> = (0..ROUND_BLOCKS)
            .map(|block| next + block * BLOCK_DEALS)
            .filter(|first| *first < world.deals)
            .collect();
        let told: Vec<Told> =
            blocks.into_par_iter().map(|first| tell_block(world, options.form, first)).collect();
        for told in told {
            files.push(&told);
            customers += told.founded;
        }
        next += ROUND_BLOCKS * BLOCK_DEALS;
        // No deal has an event before the day of its creation, and deals come in order of days.
        let complete = if next < world.deals {
            world.month(world.start() + world.intake.day(next) as Day)
        } else {
            world.months_n()
        };
        let more = files.flush(complete)?;
        written.rows += more.rows;
        written.files += more.files;
    }
    Ok((written, customers))
}

/// What is written of a block of deals, and how many customers they found.
#[derive(Default)]
struct Told {
    rows: Vec<Event>,
    deals: Vec<Whole>,
    founded: u64,
}

fn tell_block(world: &World, form: Form, first: u64) -> Told {
    let deals = first..(first + BLOCK_DEALS).min(world.deals);
    let mut told = Told { rows: Vec::with_capacity(4 * BLOCK_DEALS as usize), ..Told::default() };
    let mut events = Vec::new();
    for deal in deals {
        events.clear();
        told.founded += u64::from(tell(world, deal, &mut events) == deal);
        if form != Form::Events {
            history::carry_amounts(&mut events);
        }
        match form {
            Form::StageDates => told.deals.extend(Whole::of(&events)),
            Form::FieldHistory => {
                told.deals.extend(Whole::of(&events));
                told.rows.extend_from_slice(&events);
            }
            _ => forms::rows(form, world, &events, &mut told.rows),
        }
    }
    told
}

/// The folder asked for, and the temporary one beside it in which everything is made first.
struct Target {
    out: PathBuf,
    fresh: PathBuf,
    staging: tempfile::TempDir,
}

/// Everything the generator puts into a folder; the note last, since it vouches for the rest.
const OWN: [&str; 6] = ["deal_events", "deals", "spend", "owners.parquet", "dealmill.toml", NOTE];

impl Target {
    fn open(out: &Path) -> Result<Self, Error> {
        let empty = match std::fs::read_dir(out) {
            Ok(mut entries) => entries.next().is_none(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => true,
            Err(e) => return Err(Error::output("read the folder", out, e)),
        };
        if !empty && !Note::is_in(out) {
            let problem = format!(
                "it is not empty and holds no {NOTE} of `dealmill generate`; \
                 choose another --out, or empty it"
            );
            return Err(Error::output("generate into", out, problem));
        }
        let parent = match out.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(parent)
            .map_err(|e| Error::output("create the folder", parent, e))?;
        let staging = tempfile::Builder::new()
            .prefix(".dealmill-generate-")
            .tempdir_in(parent)
            .map_err(|e| Error::output("create a folder in", parent, e))?;
        // A folder of its own within, because the outer one is for its maker's eyes only.
        let fresh = staging.path().join("fresh");
        std::fs::create_dir(&fresh).map_err(|e| Error::output("create the folder", &fresh, e))?;
        Ok(Self { out: out.to_owned(), fresh, staging })
    }

    /// Puts the new files in place of the old ones, which go with the temporary folder.
    fn publish(self) -> Result<(), Error> {
        let failed = |e| Error::output("replace", &self.out, e);
        if !Note::is_in(&self.out) {
            if self.out.is_dir() {
                std::fs::remove_dir(&self.out).map_err(failed)?;
            }
            return std::fs::rename(&self.fresh, &self.out).map_err(failed);
        }
        let old = self.staging.path().join("old");
        std::fs::create_dir(&old).map_err(failed)?;
        for name in OWN {
            let place = self.out.join(name);
            // The note is replaced in one step, so that the folder stays the generator's own.
            if name != NOTE && place.exists() {
                std::fs::rename(&place, old.join(name)).map_err(failed)?;
            }
            // Not every form has all of them.
            let fresh = self.fresh.join(name);
            if fresh.exists() {
                std::fs::rename(fresh, place).map_err(failed)?;
            }
        }
        Ok(())
    }
}
