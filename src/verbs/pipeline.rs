//! The verbs that run the pipeline: `run`, `check`, `explain`, `demo`, and the summary they print.

use std::io::Write;
use std::path::Path;

use super::session::{self, Steps, written};
use super::{findings, thousands};
use crate::cli::{CheckArgs, Cli, DemoArgs, Engine, ExplainDealArgs, LogFormat, RunArgs};
use crate::config::{self, Flags};
use crate::engine::Backend;
use crate::error::Error;
use crate::metrics::REGISTRY;
use crate::report;
use crate::run::{self, RunOptions, Summary};
use crate::sink;
use crate::source::synthetic::{self, GenerateOptions};
use crate::time::{Calendar, Period, instant_text};

pub(super) fn run(cli: &Cli, args: &RunArgs, err: &mut dyn Write) -> Result<(), Error> {
    if args.engine == Engine::Spark {
        return Err(Error::NotYet {
            what: "--engine spark".into(),
            hint: "leave it out: --engine local runs everything in this process".into(),
        });
    }
    execute(cli, &args.flags(), err)
}

fn execute(cli: &Cli, flags: &Flags, err: &mut dyn Write) -> Result<(), Error> {
    let resolved = config::load(flags)?;
    let summary = with_steps(cli, |options| run::execute(&resolved, options))?;
    summarise(cli, &summary, &resolved.output, err);
    Ok(())
}

pub(super) fn check(
    cli: &Cli,
    args: &CheckArgs,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Error> {
    let resolved = config::load(&args.config.flags())?;
    let judged = with_steps(cli, |options| run::check(&resolved, options))?;
    let run::Judged { mut summary, table, verdict, profiles, unused, optional } = judged;
    let custom = resolved.config.metrics.iter().map(|metric| metric.name.as_str());
    let skipped = |name: &str| summary.skipped.iter().any(|(table, _)| table == name);
    let possible: Vec<&str> = REGISTRY
        .iter()
        .map(|metric| metric.name)
        .chain(custom)
        .filter(|name| !skipped(name))
        .collect();
    written(out.write_all(findings::text(&table).as_bytes()))?;
    written(out.write_all(findings::profiles(&profiles, &unused).as_bytes()))?;
    written(out.write_all(findings::optional(&optional).as_bytes()))?;
    written(writeln!(out, "\nTables that would come out: {}.", possible.join(", ")))?;
    // Nothing was written.
    summary.tables.clear();
    summarise(cli, &summary, &resolved.output, err);
    verdict
}

pub(super) fn explain_deal(
    cli: &Cli,
    args: &ExplainDealArgs,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let resolved = config::load(&args.config.flags())?;
    let story = with_steps(cli, |options| run::explain_deal(&resolved, &args.id, options))?;
    written(out.write_all(story.as_bytes()))
}

/// The demo's histories are these months, and always the same for the same number of deals.
const DEMO_MONTHS: u32 = 36;
const DEMO_SEED: u64 = 7;

pub(super) fn demo(
    cli: &Cli,
    args: &DemoArgs,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Error> {
    // The history and the tables lie beside each other: an output never lies inside an input.
    let history = args.out.join("history");
    let tables = args.out.join("tables");
    let steps = Steps::new(cli);
    steps.begin("make a history");
    let calendar = Calendar::UTC;
    let skipped = GenerateOptions::DEFAULT_MONTHS - DEMO_MONTHS;
    let start = GenerateOptions::DEFAULT_START;
    let made = synthetic::generate(&GenerateOptions {
        start: calendar.shift(Period::Month, start, i32::try_from(skipped).unwrap_or(0)),
        months: DEMO_MONTHS,
        threads: args.threads,
        ..GenerateOptions::new(args.deals, DEMO_SEED, history)
    })?;
    drop(steps);
    let flags = Flags {
        config: Some(made.config),
        out: Some(tables.clone()),
        threads: args.threads,
        ..Flags::default()
    };
    execute(cli, &flags, err)?;
    let text = report::highlights(&sink::open_latest(&tables)?, session::colour())?;
    written(out.write_all(text.as_bytes()))
}

fn with_steps<T>(
    cli: &Cli,
    work: impl FnOnce(&RunOptions<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let steps = Steps::new(cli);
    let on_step = |step: &str| steps.begin(step);
    work(&RunOptions { on_step: &on_step, backend: Backend::Kernel })
}

/// Says on stderr what came out: one log line in JSON, or a few lines for people.
fn summarise(cli: &Cli, summary: &Summary, output: &Path, err: &mut dyn Write) {
    if cli.log_format == LogFormat::Json {
        tracing::info!(
            as_of = instant_text(summary.as_of),
            rows_in = summary.rows_in,
            rows_quarantined = summary.rows_quarantined,
            rows_after_as_of = summary.rows_after_as_of,
            deals = summary.deals,
            tables = summary.tables.len(),
            skipped = summary.skipped.len(),
            warnings = summary.warnings.len(),
            seconds = summary.seconds,
            run_dir = %summary.run_dir.display(),
            "done"
        );
        for (table, why) in &summary.skipped {
            tracing::warn!(table, why, "left out");
        }
        for warning in &summary.warnings {
            tracing::warn!("{warning}");
        }
    } else if !cli.quiet {
        // A closed stderr is no reason to fail a finished run.
        let _ = err.write_all(summary_text(summary, output).as_bytes());
    }
}

fn summary_text(summary: &Summary, output: &Path) -> String {
    let mut lines = vec![
        format!("as of    {}", instant_text(summary.as_of)),
        format!(
            "rows in  {} ({} quarantined, {} after as_of)",
            thousands(summary.rows_in),
            thousands(summary.rows_quarantined),
            thousands(summary.rows_after_as_of),
        ),
        format!("deals    {}", thousands(summary.deals)),
    ];
    if !summary.tables.is_empty() {
        let rows = summary.tables.iter().map(|(_, rows)| rows).sum();
        lines.push(format!("tables   {} ({} rows)", summary.tables.len(), thousands(rows)));
    }
    lines.extend(summary.skipped.iter().map(|(table, why)| format!("left out {table}: {why}")));
    lines.extend(summary.warnings.iter().map(|warning| format!("warning  {warning}")));
    lines.push(format!("seconds  {:.2}", summary.seconds));
    if !summary.run_dir.as_os_str().is_empty() {
        lines.push(format!("look in  {}", output.join("latest").display()));
        if let Some((table, _)) = summary.tables.first() {
            lines.push(format!("or       dealmill show {table} --from {}", output.display()));
        }
    }
    lines.join("\n") + "\n"
}
