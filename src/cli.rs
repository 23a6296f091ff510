//! What the user may type. No input or output and no environment: parsing only.
//!
//! The verbs, options and exit codes are a contract that scripts depend on.

use std::path::PathBuf;

use chrono::NaiveDate;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{Flags, Format, presets_help};
use crate::source::synthetic::{Form, GenerateOptions, Ids};

const EXIT_CODES: &str = "\
Exit codes:
  0   done
  2   usage or configuration
  3   input breaks its contract
  4   computation failed
  5   output failed
  6   another run holds the output
  70  a bug of Dealmill's

Example:
  dealmill demo";

/// Mills deal histories into summary tables: revenue, CAC, CLV, cycle length, conversion, funnel.
#[derive(Debug, Parser)]
#[command(name = "dealmill", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// Form of the log on stderr.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORM")]
    pub log_format: LogFormat,
    /// Only errors on stderr.
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// Form of the log on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a sample history, run everything on it, say where to look.
    #[command(after_help = "Example:\n  dealmill demo --deals 20000 --out out/demo")]
    Demo(DemoArgs),
    /// Read the inputs, compute every table, publish them.
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Read and judge the inputs; print the quality report, write nothing.
    #[command(after_help = "Example:\n  dealmill check -c data/sample/dealmill.toml")]
    Check(CheckArgs),
    /// Make seeded synthetic histories of any size.
    #[command(after_help = GENERATE_EXAMPLES)]
    Generate(GenerateArgs),
    /// List the output tables, or one table's columns, units and meaning.
    #[command(after_help = "Examples:\n  dealmill tables\n  dealmill tables funnel\n  \
                            dealmill tables --format markdown > METRICS.md")]
    Tables(TablesArgs),
    /// Show a finished table in the terminal.
    #[command(after_help = "Example:\n  dealmill show revenue --from out \
                            --where \"slice = 'all' AND period = 'month'\" --limit 12")]
    Show(ShowArgs),
    /// Tell every event of one deal and the rule applied to it.
    #[command(after_help = "Example:\n  dealmill explain deal 42 -c data/sample/dealmill.toml")]
    Explain(ExplainArgs),
    /// Print the SQL behind a number.
    #[command(after_help = "Examples:\n  dealmill sql conversion\n  \
                            dealmill sql revenue --slice region,source --dialect duckdb")]
    Sql(SqlArgs),
    /// Write the HTML report (comes in a later version).
    #[command(after_help = "Example:\n  dealmill report --from out --out report.html")]
    Report(ReportArgs),
    /// Print a commented configuration.
    #[command(after_help = init_help())]
    Init(InitArgs),
    /// Print a shell's completion script.
    #[command(after_help = "Example:\n  dealmill completions bash > dealmill.bash")]
    Completions(CompletionsArgs),
    /// Print the JSON Schema of the configuration.
    #[command(after_help = "Example:\n  dealmill schema > dealmill.schema.json")]
    Schema,
}

fn init_help() -> String {
    let examples = "dealmill init > dealmill.toml\n  \
                    dealmill init --preset salesforce_history > dealmill.toml";
    format!("{}\nExamples:\n  {examples}", presets_help())
}

const RUN_EXAMPLES: &str = "\
Examples:
  dealmill run -c data/sample/dealmill.toml --out out
  dealmill run --as-of 2024-12-31 --only revenue,funnel
  dealmill run --set run.timezone=Asia/Shanghai --set 'run.periods=[\"week\"]'";

const GENERATE_EXAMPLES: &str = "\
Examples:
  dealmill generate --deals 2000000 --out data/large
  dealmill generate --deals 1000 --ids string --seed 42 --out data/small";

/// Where the configuration is and what is laid over it.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The configuration file [default: dealmill.toml].
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set one key of the configuration, such as run.shards=4; repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The instant (RFC 3339) or date after which events do not exist.
    #[arg(long, value_name = "T")]
    pub as_of: Option<String>,
    /// Threads [default: all cores].
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Bound on memory: 512MiB or 2GiB (powers of 1024), 500MB or 2GB (powers of 1000), or bytes
    /// [default: 70 % of what the machine allows].
    #[arg(long, value_name = "SIZE")]
    pub memory_limit: Option<String>,
}

impl ConfigArgs {
    /// The part of the configuration that these options give.
    #[must_use]
    pub fn flags(&self) -> Flags {
        Flags {
            config: self.config.clone(),
            set: self.set.clone(),
            as_of: self.as_of.clone(),
            threads: self.threads,
            memory_limit: self.memory_limit.clone(),
            ..Flags::default()
        }
    }
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Where the configuration is and what is laid over it.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Output folder.
    #[arg(long, short, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Where the tables are computed (spark comes in a later version).
    #[arg(long, value_enum, default_value_t)]
    pub engine: Engine,
    /// Only these tables, separated by commas; `latest` then points to a run of only these.
    #[arg(long, value_name = "TABLE", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Format of the tables [default: parquet].
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Shards the tables are computed in and merged from; the numbers do not depend on it.
    #[arg(long, value_name = "N")]
    pub shards: Option<usize>,
}

impl RunArgs {
    /// The part of the configuration that these options give.
    #[must_use]
    pub fn flags(&self) -> Flags {
        Flags {
            out: self.out.clone(),
            shards: self.shards,
            format: self.format,
            only: self.only.clone(),
            ..self.config.flags()
        }
    }
}

/// Where the tables are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Engine {
    /// In this process.
    #[default]
    Local,
    /// On a cluster, over Spark Connect.
    Spark,
}

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Deals to make.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub deals: u64,
    /// Folder for the history and the tables.
    #[arg(long, short, value_name = "DIR", default_value = "out/demo")]
    pub out: PathBuf,
    /// Threads [default: all cores].
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// Options of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Where the configuration is and what is laid over it.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Options of `generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Deals to make.
    #[arg(long, value_name = "N")]
    pub deals: u64,
    /// Folder for the history.
    #[arg(long, short, value_name = "DIR")]
    pub out: PathBuf,
    /// The same seed makes the same bytes.
    #[arg(long, value_name = "S", default_value_t = 7)]
    pub seed: u64,
    /// Type of the deal and customer ids.
    #[arg(long, value_enum, default_value_t)]
    pub ids: Ids,
    /// Shape of the rows.
    #[arg(long, value_enum, default_value_t)]
    pub shape: Form,
    /// The first month, as a day in it.
    #[arg(long, value_name = "DATE", default_value = "2019-01-01")]
    pub start: NaiveDate,
    /// Months of history.
    #[arg(long, value_name = "N", default_value_t = GenerateOptions::DEFAULT_MONTHS)]
    pub months: u32,
    /// Threads [default: all cores].
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// Options of `tables`.
#[derive(Debug, Args)]
pub struct TablesArgs {
    /// One table; without it, all of them.
    pub table: Option<String>,
    /// Form of the answer.
    #[arg(long, value_enum, default_value_t)]
    pub format: ListFormat,
}

/// Form of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ListFormat {
    /// For the terminal.
    #[default]
    Text,
    /// For programs.
    Json,
    /// For documents.
    Markdown,
}

/// Options of `show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The table.
    pub table: String,
    /// Output folder of the runs.
    #[arg(long, value_name = "DIR", default_value = "out")]
    pub from: PathBuf,
    /// SQL condition on its columns.
    #[arg(long = "where", value_name = "CONDITION")]
    pub condition: Option<String>,
    /// Rows shown at most.
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub limit: usize,
}

/// Options of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// What to explain.
    #[command(subcommand)]
    pub subject: ExplainSubject,
}

/// What can be explained.
#[derive(Debug, Subcommand)]
pub enum ExplainSubject {
    /// Every event of one deal and the rule applied to it.
    #[command(after_help = "Example:\n  dealmill explain deal 42 -c data/sample/dealmill.toml")]
    Deal(ExplainDealArgs),
}

/// Options of `explain deal`.
#[derive(Debug, Args)]
pub struct ExplainDealArgs {
    /// The deal's id, as in the input.
    pub id: String,
    /// Say of every configured slice where the deal counts, not of the total only.
    #[arg(long)]
    pub all: bool,
    /// Where the configuration is and what is laid over it.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Options of `sql`.
#[derive(Debug, Args)]
pub struct SqlArgs {
    /// The table whose number is in question.
    pub metric: String,
    /// For which database; the state queries are the same text for all of them.
    #[arg(long, value_enum, default_value_t)]
    pub dialect: Dialect,
    /// Dimensions to split by, separated by commas.
    #[arg(long, value_name = "DIMENSION", value_delimiter = ',')]
    pub slice: Vec<String>,
    /// The configuration file with your own metrics [default: dealmill.toml, where there is one].
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// A database's SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Dialect {
    /// Polars' SQL context.
    #[default]
    Polars,
    /// DuckDB.
    Duckdb,
}

/// Options of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Output folder of the runs.
    #[arg(long, value_name = "DIR", default_value = "out")]
    pub from: PathBuf,
    /// The file to write.
    #[arg(long, short, value_name = "FILE", default_value = "report.html")]
    pub out: PathBuf,
}

/// Options of `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Whose columns the inputs have; `generic` has the canonical names.
    #[arg(long, value_name = "NAME", default_value = "generic")]
    pub preset: String,
}

/// Options of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}
