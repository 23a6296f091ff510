//! What can go wrong, grouped by who can act on it, with the exit code and a hint for each.
//!
//! A variant says what was attempted on what; the cause is its `source()` and is never repeated in
//! the text. There is deliberately no `From<PolarsError>`: a question mark may not drop context.

use std::fmt;
use std::path::PathBuf;

/// One place where an input breaks its contract; faults are collected and reported together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, or the input's path where no single file is at fault.
    pub file: PathBuf,
    /// The column, row group or row concerned, in words (`column "amount"`); empty for the file.
    pub place: String,
    /// What is wrong, what was expected, what was found.
    pub problem: String,
    /// What to do about it; may be empty.
    pub hint: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if !self.place.is_empty() {
            write!(f, ", {}", self.place)?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// Everything Dealmill can fail with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    // ---- exit 2: usage and configuration ----
    /// The configuration file could not be read.
    #[error("cannot read the configuration file {}", path.display())]
    ConfigRead {
        /// The file asked for.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The configuration is not valid TOML or has a value of the wrong type.
    #[error("cannot understand the configuration file {}", path.display())]
    ConfigSyntax {
        /// The file concerned.
        path: PathBuf,
        /// The parser's answer with line and column.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// One or more configuration values cannot be used; all are listed.
    #[error("the configuration cannot be used{}", list_text(.0))]
    Config(Vec<String>),
    /// A name on the command line or in the configuration is not known.
    #[error("unknown {what} {name:?}{}", nearest_text(nearest))]
    UnknownName {
        /// The kind of thing (`table`, `option`, `metric`).
        what: &'static str,
        /// As typed.
        name: String,
        /// The nearest known names.
        nearest: Vec<String>,
    },
    /// A preset is not known.
    #[error("unknown preset {name:?}{}", nearest_text(nearest))]
    UnknownPreset {
        /// As typed.
        name: String,
        /// The nearest known names.
        nearest: Vec<String>,
        /// All of them, the nearest first.
        known: String,
    },
    /// A custom metric's or filter's SQL is not acceptable.
    #[error("the SQL of {what} is not acceptable: {reason}")]
    Sql {
        /// `metric "x"`.
        what: String,
        /// Why.
        reason: String,
        /// What would be accepted.
        hint: String,
    },
    /// A reserved name whose feature has not landed.
    #[error("{what} is not available in this version")]
    NotYet {
        /// The verb or option.
        what: String,
        /// What to use instead.
        hint: String,
    },
    /// A finished run has no such table, though there is one of that name.
    #[error("run {run} has no table {table:?}")]
    TableNotMade {
        /// The table.
        table: String,
        /// The run.
        run: String,
        /// Why not.
        hint: String,
    },
    /// The memory limit cannot hold the run.
    #[error("a memory limit of {limit} cannot hold this run")]
    MemoryLimit {
        /// The limit.
        limit: String,
        /// The smallest limit that can.
        smallest: String,
        /// What else would need less.
        instead: &'static str,
    },
    // ---- exit 3: input breaks its contract ----
    /// A path given as input does not exist or matches nothing.
    #[error("input {input:?}: {problem}: {}", path.display())]
    InputMissing {
        /// Name of the input in the configuration.
        input: String,
        /// The path as configured.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        hint: String,
    },
    /// One or more files break the contract; all are listed.
    #[error("{} in the input{}", count_text(.0.len(), "problem"), faults_text(.0))]
    Faults(Vec<Fault>),
    /// A data-quality rule with severity `fail` was broken.
    #[error("{} of severity \"fail\" broken: {}", count_text(.0.len(), "quality rule"), .0.join(", "))]
    QualityFailed(Vec<String>),
    // ---- exit 4: computation failed ----
    /// A step of the computation failed.
    #[error("cannot compute {what}")]
    Compute {
        /// Table and step, such as `table "revenue", state 1`.
        what: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A declared identity does not hold, which means that the numbers cannot be trusted.
    #[error("table {table:?} breaks its identity: {identity}, at {place}")]
    IdentityBroken {
        /// The table.
        table: String,
        /// The identity in words.
        identity: String,
        /// The keys of the row.
        place: String,
    },
    /// Numbers too large for 64-bit minor units.
    #[error("{what} would overflow 64-bit integers")]
    Overflow {
        /// Which sum.
        what: String,
    },
    // ---- exit 5: output failed ----
    /// A file or folder of the output could not be written or read back.
    #[error("cannot {action} {}", path.display())]
    Output {
        /// What was attempted: `write`, `create the folder`, `rename`.
        action: &'static str,
        /// The path concerned.
        path: PathBuf,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no finished run to read.
    #[error("no finished run in {}", path.display())]
    NoRun {
        /// The output folder.
        path: PathBuf,
    },
    // ---- exit 6: another run holds the output ----
    /// Another run holds the output folder's lock.
    #[error("another run holds {}: {holder}", path.display())]
    Locked {
        /// The output folder.
        path: PathBuf,
        /// Who holds it, as written in the lock file.
        holder: String,
    },
    // ---- exit 70: a bug of ours ----
    /// Something that cannot happen, happened.
    #[error("internal error: {0}")]
    Bug(String),
}

impl Error {
    /// The process exit code (design.md section 3).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::ConfigRead { .. }
            | Self::ConfigSyntax { .. }
            | Self::Config(_)
            | Self::UnknownName { .. }
            | Self::UnknownPreset { .. }
            | Self::Sql { .. }
            | Self::NotYet { .. }
            | Self::TableNotMade { .. }
            | Self::MemoryLimit { .. } => 2,
            Self::InputMissing { .. } | Self::Faults(_) | Self::QualityFailed(_) => 3,
            Self::Compute { .. } | Self::IdentityBroken { .. } | Self::Overflow { .. } => 4,
            Self::Output { .. } | Self::NoRun { .. } => 5,
            Self::Locked { .. } => 6,
            Self::Bug(_) => 70,
        }
    }

    /// What the user can do about it; printed after a blank line.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::ConfigRead { .. } => {
                "write one with `dealmill init > dealmill.toml`, or name it with -c".into()
            }
            Self::ConfigSyntax { .. } | Self::Config(_) => {
                "`dealmill schema` prints every key with its meaning".into()
            }
            Self::UnknownName { what: "table" | "metric", .. } => {
                "`dealmill tables` lists every table".into()
            }
            Self::UnknownPreset { known, .. } => format!("the presets are {known}"),
            Self::Sql { hint, .. }
            | Self::NotYet { hint, .. }
            | Self::TableNotMade { hint, .. } => hint.clone(),
            Self::MemoryLimit { smallest, instead, .. } => {
                format!("the smallest that can is --memory-limit {smallest} ({instead} less)")
            }
            Self::InputMissing { hint, .. } => hint.clone(),
            Self::Faults(faults) => first_hint(faults),
            Self::QualityFailed(_) => {
                "`dealmill check` prints every rule with its counts; severities are set in [quality]"
                    .into()
            }
            Self::Overflow { .. } => {
                "check the scale of the amounts and the unit of [run] resolution".into()
            }
            Self::NoRun { .. } => "make one with `dealmill run`".into(),
            Self::Locked { .. } => "wait for it to end, or choose another --out".into(),
            Self::IdentityBroken { .. } | Self::Bug(_) => {
                "this is a bug of Dealmill's: please report it with the configuration".into()
            }
            Self::Output { action, .. } if action.contains("scratch") => {
                "give `[run] scratch` a folder on a disk with more room, or raise --memory-limit"
                    .into()
            }
            Self::Output { action, .. } if action.starts_with("read") || action.starts_with("open") => {
                "`dealmill run` writes it again".into()
            }
            Self::Output { path, .. } if path.as_os_str() == "standard output" => String::new(),
            Self::Output { .. } => "what was published before is untouched".into(),
            Self::UnknownName { .. } | Self::Compute { .. } => String::new(),
        };
        (!text.is_empty()).then_some(text)
    }

    /// Wraps a failure of the engine with the table and step it belongs to.
    pub fn compute<E>(what: impl Into<String>, source: E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self::Compute { what: what.into(), source: source.into() }
    }

    /// Wraps a failure to write, create or rename with the path concerned.
    pub fn output<E>(action: &'static str, path: impl Into<PathBuf>, source: E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self::Output { action, path: path.into(), source: source.into() }
    }
}

/// The known names nearest to a misspelt one, best first, at most three.
#[must_use]
pub fn nearest_names<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut scored: Vec<(usize, &str)> = known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&name.to_lowercase(), &k.to_lowercase()), k))
        .filter(|(distance, k)| *distance <= 1 + k.len().max(name.len()) / 3)
        .collect();
    scored.sort();
    scored.into_iter().take(3).map(|(_, k)| k.to_owned()).collect()
}

fn nearest_text(nearest: &[String]) -> String {
    if nearest.is_empty() {
        return String::new();
    }
    let quoted: Vec<String> = nearest.iter().map(|n| format!("{n:?}")).collect();
    format!(", did you mean {}?", quoted.join(" or "))
}

fn count_text(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// One problem on the same line, several on lines of their own.
fn list_text(problems: &[String]) -> String {
    match problems {
        [only] => format!(": {only}"),
        _ => problems.iter().fold(":".into(), |text, problem| format!("{text}\n  {problem}")),
    }
}

fn faults_text(faults: &[Fault]) -> String {
    const SHOWN: usize = 20;
    let mut text = String::new();
    for fault in faults.iter().take(SHOWN) {
        text.push_str("\n  ");
        text.push_str(&fault.to_string());
    }
    if faults.len() > SHOWN {
        text.push_str(&format!("\n  … and {} more", faults.len() - SHOWN));
    }
    text
}

fn first_hint(faults: &[Fault]) -> String {
    faults.iter().map(|f| f.hint.clone()).find(|h| !h.is_empty()).unwrap_or_default()
}
