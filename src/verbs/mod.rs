//! What each verb does: it resolves what was typed, calls the part that knows, and writes the
//! answer to the stream it is given. Nothing here computes a number.

mod findings;
mod pipeline;
mod relations;
pub mod session;
mod tables;

use std::io::Write;

use clap::CommandFactory;

use crate::cli::{Cli, ExplainSubject, GenerateArgs, LogFormat, ShowArgs, SqlArgs, Verb};
use crate::config::{self, Config, CustomMetric, Flags};
use crate::engine::{custom_sql, state_sql};
use crate::error::{Error, nearest_names};
use crate::metrics::{Metric, REGISTRY};
use crate::report;
use crate::sink;
use crate::source::synthetic::{self, GenerateOptions};
use crate::time::from_date;
use session::{Steps, written};

/// Runs the verb: data goes to `out`, everything else to `err`.
///
/// # Errors
/// Whatever the verb fails with.
pub fn dispatch(cli: &Cli, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Error> {
    match &cli.verb {
        Verb::Demo(args) => pipeline::demo(cli, args, out, err),
        Verb::Run(args) => pipeline::run(cli, args, err),
        Verb::Check(args) => pipeline::check(cli, args, out, err),
        Verb::Explain(args) => match &args.subject {
            ExplainSubject::Deal(args) => pipeline::explain_deal(cli, args, out),
        },
        Verb::Generate(args) => generate(cli, args, err),
        Verb::Tables(args) => {
            let text = tables::listing(args.table.as_deref(), args.format)?;
            written(out.write_all(text.as_bytes()))
        }
        Verb::Show(args) => show(args, out),
        Verb::Sql(args) => sql(args, out),
        Verb::Report(_) => Err(Error::NotYet {
            what: "the HTML report".into(),
            hint: "`dealmill show TABLE` shows a finished table in the terminal".into(),
        }),
        Verb::Init(args) => written(out.write_all(config::template(&args.preset)?.as_bytes())),
        Verb::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "dealmill", &mut script);
            written(out.write_all(&script))
        }
        Verb::Schema => {
            let schema = serde_json::to_string_pretty(&schemars::schema_for!(Config))
                .map_err(|error| Error::Bug(format!("cannot write the schema: {error}")))?;
            written(writeln!(out, "{schema}"))
        }
    }
}

/// A metric by name, or the nearest names.
fn find_metric(what: &'static str, name: &str) -> Result<&'static Metric, Error> {
    REGISTRY.iter().find(|metric| metric.name == name).copied().ok_or_else(|| Error::UnknownName {
        what,
        name: name.to_owned(),
        nearest: nearest_names(name, REGISTRY.iter().map(|metric| metric.name)),
    })
}

fn sql(args: &SqlArgs, out: &mut dyn Write) -> Result<(), Error> {
    let metric = match find_metric("metric", &args.metric) {
        Ok(metric) => metric,
        Err(unknown) => return own_sql(args, unknown, out),
    };
    written(writeln!(out, "-- {}: {}", metric.name, metric.question))?;
    for (position, state) in metric.states.iter().enumerate() {
        let (n, of) = (position + 1, metric.states.len());
        let relation = state.relation.name();
        written(writeln!(out, "\n-- state {n} of {of}, over the relation {relation}"))?;
        let sql = state_sql(state, &args.slice)?;
        written(writeln!(out, "{};", sql.trim()))?;
    }
    Ok(())
}

/// The SQL of a metric of the configuration; without such a one it is unknown.
fn own_sql(args: &SqlArgs, unknown: Error, out: &mut dyn Write) -> Result<(), Error> {
    let resolved = match config::load(&Flags { config: args.config.clone(), ..Flags::default() }) {
        Ok(resolved) => resolved,
        Err(broken) => return Err(if args.config.is_some() { broken } else { unknown }),
    };
    let own = &resolved.config.metrics;
    let Some(metric) = own.iter().find(|metric| metric.name == args.metric) else {
        let names = REGISTRY.iter().map(|metric| metric.name);
        let names = names.chain(own.iter().map(|metric| metric.name.as_str()));
        let nearest = nearest_names(&args.metric, names);
        return Err(Error::UnknownName { what: "metric", name: args.metric.clone(), nearest });
    };
    let CustomMetric { name, question, relation, .. } = metric;
    written(writeln!(out, "-- {name}: {question}\n\n-- over the relation {relation}"))?;
    written(writeln!(out, "{};", custom_sql(metric, &args.slice)?.trim()))
}

fn generate(cli: &Cli, args: &GenerateArgs, err: &mut dyn Write) -> Result<(), Error> {
    let steps = Steps::new(cli);
    steps.begin("generate");
    let made = synthetic::generate(&GenerateOptions {
        ids: args.ids,
        form: args.shape,
        start: from_date(args.start),
        months: args.months,
        threads: args.threads,
        ..GenerateOptions::new(args.deals, args.seed, &args.out)
    })?;
    drop(steps);
    let (deals, events) = (made.deals, made.events);
    tracing::info!(deals, events, files = made.files, out = %made.out.display(), "generated");
    if !cli.quiet && cli.log_format == LogFormat::Text {
        let config = made.config.display();
        // A closed stderr is no reason to fail what is done.
        let _ = writeln!(
            err,
            "{} deals, {} rows in {} files\nrun it with `dealmill run -c {config}`",
            thousands(deals),
            thousands(events),
            thousands(made.files),
        );
    }
    Ok(())
}

fn show(args: &ShowArgs, out: &mut dyn Write) -> Result<(), Error> {
    let run = sink::open_latest(&args.from)?;
    expect_made(&run, &args.table)?;
    let condition = args.condition.as_deref();
    let text = report::show(&run, &args.table, condition, args.limit, session::width())?;
    written(out.write_all(text.as_bytes()))
}

/// Tells a table that a run was not asked for from one that there is not.
fn expect_made(run: &sink::FinishedRun, table: &str) -> Result<(), Error> {
    let account = &run.manifest.account;
    let is_skipped = account.skipped_tables.iter().any(|skipped| skipped.name == table);
    let is_known = REGISTRY.iter().any(|metric| metric.name == table);
    if !is_known || is_skipped || run.table(table).is_some() {
        return Ok(());
    }
    let made: Vec<&str> = run.manifest.tables.iter().map(|entry| entry.name.as_str()).collect();
    Err(Error::TableNotMade {
        table: table.to_owned(),
        run: run.manifest.run_id.clone(),
        hint: format!(
            "that run was of these tables only: {}; run again without --only, or with this one",
            made.join(", ")
        ),
    })
}

/// A count with separators between thousands.
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
