//! What each verb does: it resolves what was typed, calls the part that knows, and writes the
//! answer to the stream it is given. Nothing here computes a number.

mod pipeline;
pub mod session;
mod tables;

use std::io::Write;

use clap::CommandFactory;

use crate::cli::{Cli, ExplainSubject, GenerateArgs, ShowArgs, SqlArgs, Verb};
use crate::config::{self, Config};
use crate::error::{Error, nearest_names};
use crate::metrics::{Metric, REGISTRY};
use session::written;

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
    let metric = find_metric("metric", &args.metric)?;
    written(writeln!(out, "-- {}: {}", metric.name, metric.question))?;
    for (position, state) in metric.states.iter().enumerate() {
        let (n, of) = (position + 1, metric.states.len());
        let relation = state.relation.name();
        written(writeln!(out, "\n-- state {n} of {of}, over the relation {relation}"))?;
        written(writeln!(out, "{};", state.sql.trim()))?;
    }
    Ok(())
}

fn generate(_cli: &Cli, _args: &GenerateArgs, _err: &mut dyn Write) -> Result<(), Error> {
    Err(Error::Bug("the generator is not connected".into()))
}

fn show(args: &ShowArgs, _out: &mut dyn Write) -> Result<(), Error> {
    find_metric("table", &args.table)?;
    Err(Error::Bug("the terminal tables are not connected".into()))
}
