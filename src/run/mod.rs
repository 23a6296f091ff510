//! The whole pipeline on one screen: source, quality, fold, relations, metrics, engine, sink.

mod account;
mod assembly;
mod explain;
mod focus;
mod folding;
mod funnels;
mod goals;
mod history;
mod inputs;
mod needs;
mod memory;
mod orders;
mod outlooks;
mod pricing;
mod rules;
mod tables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant as Stopwatch;

use self::goals::Goals;
use crate::config::{Config, Resolved};
use crate::engine::{self, Backend, Execution, Finished, Outcome, Plan, Prepared};
use crate::error::Error;
use crate::fold::Quality;
use crate::metrics;
use crate::quality::{Examples, Ledger, Mentions, Profile};
use crate::relations::{Dictionaries, Relation, Relations};
use crate::sink::{self, Heading, Output, Published, RunIdentity, Stamp};
use crate::table::Table;
use crate::time::Instant;

pub use assembly::{carried, people};
pub use explain::{ExplainBy, explain_deal};
pub use history::{History, Taker, mill, read_history};
pub use memory::Memory;
pub use tables::{OptionalInput, Spans};

/// What a run is told besides its configuration.
#[derive(Clone, Copy)]
pub struct RunOptions<'a> {
    /// Called at the beginning of each step with its name; changes no number.
    pub on_step: &'a (dyn Fn(&str) + Sync),
    /// What computes the states; changes no number.
    pub backend: Backend,
}

/// What a run has to say when it is done.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// The run's instant.
    pub as_of: Instant,
    /// Rows read from the deal history.
    pub rows_in: u64,
    /// Rows kept out and written to the quarantine.
    pub rows_quarantined: u64,
    /// Rows later than `as_of`.
    pub rows_after_as_of: u64,
    /// Deals folded.
    pub deals: u64,
    /// Tables written, with their rows.
    pub tables: Vec<(String, u64)>,
    /// Tables left out, each with the reason in a sentence.
    pub skipped: Vec<(String, String)>,
    /// What a reader should know before trusting the numbers, one sentence each.
    pub warnings: Vec<String>,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Seconds by step, in order.
    pub timings: Vec<(String, f64)>,
    /// The folder of the finished run; empty where nothing is published.
    pub run_dir: PathBuf,
}

/// Everything that was computed and is not yet written.
struct Computed {
    history: History,
    ledger: Ledger,
    tables: Vec<Finished>,
    summary: Summary,
}

/// Reads the inputs, folds them, computes every table and publishes them.
///
/// # Errors
/// Whatever [`Error`] lists; what was published before stays as it was.
pub fn execute(resolved: &Resolved, options: &RunOptions<'_>) -> Result<Summary, Error> {
    let stopwatch = Stopwatch::now();
    let paths: Vec<(&str, &Path)> =
        resolved.inputs.iter().map(|(name, i)| (name.as_str(), i.path.as_path())).collect();
    sink::check_apart(&resolved.output, &paths)?;
    let output = Output::claim(&resolved.output, &wall_clock())?;
    let resolved = &*inputs::with_registry(resolved)?;
    let computed = in_pool(resolved, || compute(resolved, options, Judging::AtOnce))?;
    (options.on_step)("publish");
    let published = in_pool(resolved, || publish(&output, resolved, &computed))?;
    let mut summary = computed.summary;
    summary.warnings.extend(published.leftovers);
    if !resolved.config.run.only.is_empty() {
        summary.warnings.push("`latest` now points to a run of these tables only (--only)".into());
    }
    summary.run_dir = published.folder;
    summary.seconds = stopwatch.elapsed().as_secs_f64();
    Ok(summary)
}

/// Reads and judges the inputs and says which tables would come out; publishes nothing.
///
/// # Errors
/// As [`execute`].
pub fn check(resolved: &Resolved, options: &RunOptions<'_>) -> Result<Judged, Error> {
    let stopwatch = Stopwatch::now();
    let resolved = &*inputs::with_registry(resolved)?;
    let mut only_quality = resolved.clone();
    only_quality.config.run.only = vec![metrics::QUALITY.to_owned()];
    let computed = in_pool(resolved, || {
        let computed = compute(&only_quality, options, Judging::Later)?;
        let plan = plan(resolved, options);
        let relations = Relations::empty(&resolved.config.dimensions.columns)?;
        engine::check_plans(&relations, &[], &resolved.config.metrics, &plan)?;
        Ok(computed)
    })?;
    let verdict = judge(&computed.history, &computed.ledger);
    let mut summary = computed.summary;
    summary.skipped = would_skip(&computed.history, resolved);
    summary.seconds = stopwatch.elapsed().as_secs_f64();
    let table = computed.tables.iter().find(|t| t.name() == metrics::QUALITY);
    let table = table.ok_or_else(|| Error::Bug("no quality table".into()))?.table()?.into_owned();
    let Computed { history, ledger, .. } = computed;
    let unused = history.inputs.iter();
    let unused = unused.map(|(input, _)| (input.name.clone(), input.unused_columns())).collect();
    let optional = tables::optional_inputs(&resolved.config, &ledger, &history.spans);
    Ok(Judged {
        summary,
        table,
        verdict,
        profiles: ledger.profiles(),
        unused,
        optional,
        examples: ledger.examples(),
        mentions: ledger.mentions(),
        notes: account::notes(&history),
        qualities: history.qualities,
    })
}

/// What [`check`] found.
#[derive(Debug)]
pub struct Judged {
    /// As of a run.
    pub summary: Summary,
    /// The quality table.
    pub table: Table,
    /// What a run would fail with.
    pub verdict: Result<(), Error>,
    /// What each input of the deals' histories looks like.
    pub profiles: BTreeMap<String, Profile>,
    /// Columns of each input that nothing reads.
    pub unused: BTreeMap<String, Vec<String>>,
    /// The inputs that a run can do without, those that there are and those that there are not.
    pub optional: Vec<OptionalInput>,
    /// The first rows of each input that break each rule, whether they are kept or not.
    pub examples: BTreeMap<String, Examples>,
    /// Values of each input that break a rule.
    pub mentions: Mentions,
    /// What else a reader should know, one sentence each.
    pub notes: Vec<String>,
    /// How good the histories of each input of deals are.
    pub qualities: Vec<(String, Quality)>,
}

/// When broken rules of severity `fail` end the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judging {
    /// Before any table is computed.
    AtOnce,
    /// After the report.
    Later,
}

/// Checks that rows add up, that no rule of severity `fail` was broken, and that there is a history
/// at all: a night without a single usable row is a broken delivery, not an empty business.
fn judge(history: &History, ledger: &Ledger) -> Result<(), Error> {
    ledger.judge()?;
    let counts = &history.counts;
    if counts.folded > 0 {
        return Ok(());
    }
    let (name, path) = history
        .inputs
        .first()
        .map(|(input, _)| (input.name.clone(), input.root().to_path_buf()))
        .unwrap_or_default();
    Err(Error::InputMissing {
        input: name,
        path,
        problem: format!(
            "none of {} rows can be used ({} quarantined, {} after as_of)",
            counts.rows_in, counts.quarantined, counts.after_as_of
        ),
        hint: "`dealmill check` names the rules that the rows break".into(),
    })
}

fn plan(resolved: &Resolved, options: &RunOptions<'_>) -> Plan {
    Plan {
        dimensions: resolved.config.dimensions.columns.clone(),
        people: people(&resolved.config),
        slices: resolved.slices.clone(),
        periods: resolved.periods.clone(),
        tables: resolved.tables.clone(),
        calendar: resolved.calendar,
        execution: match resolved.config.run.shards {
            0 | 1 => Execution::Whole,
            n => Execution::Sharded(n),
        },
        backend: options.backend,
    }
}

fn compute(
    resolved: &Resolved,
    options: &RunOptions<'_>,
    judging: Judging,
) -> Result<Computed, Error> {
    let ledger = Ledger::new(&resolved.config.quality.severity);
    let ledger = if judging == Judging::Later { ledger.profiling() } else { ledger };
    let mut timings = Vec::new();
    let plan = plan(resolved, options);
    let (metrics, custom) = selection(&resolved.config);
    let on_step = options.on_step;
    let judged = |history: &History| -> Result<(metrics::Settings, Stopwatch), Error> {
        if judging == Judging::AtOnce {
            judge(history, &ledger)?;
        }
        on_step("tables");
        Ok((history.settings(resolved), Stopwatch::now()))
    };
    let is_milled = plan.execution == Execution::Whole && plan.backend == Backend::Kernel;
    let (history, mut outcome, since) = if is_milled {
        let carried = carried(resolved);
        let prepared = Prepared::new(&carried, &metrics, &custom, &plan)?;
        let wanted = prepared.wanted()?;
        let begin = |dictionaries: &Dictionaries| prepared.begin(dictionaries);
        let (history, sums) = mill(resolved, &ledger, on_step, &mut timings, &wanted, begin)?;
        let (settings, since) = judged(&history)?;
        let outcome = prepared.finish_within(sums, &history.present, &plan, &settings)?;
        (history, outcome, since)
    } else {
        let history = read_history(resolved, &ledger, on_step, &mut timings)?;
        let (settings, since) = judged(&history)?;
        let outcome = engine::compute(&history.relations, &metrics, &custom, &plan, &settings)?;
        (history, Outcome::from(outcome), since)
    };
    timings.push(("tables".to_owned(), since.elapsed().as_secs_f64()));
    timings.extend(outcome.timings.iter().map(|(t, d)| (t.clone(), d.as_secs_f64())));
    let unjudged = Goals::new(resolved).fill(&mut outcome.tables)?;
    outcome.skipped.extend(unasked(&resolved.config));
    let mut warnings = account::warnings(&history, &ledger);
    warnings.extend(unjudged);
    warnings.extend(account::failed_fits(&outcome.tables)?);
    let summary = Summary {
        as_of: history.as_of,
        rows_in: history.counts.rows_in,
        rows_quarantined: history.counts.quarantined,
        rows_after_as_of: history.counts.after_as_of,
        deals: history.deals,
        tables: outcome.tables.iter().map(|t| (t.name().to_owned(), t.rows())).collect(),
        skipped: outcome.skipped,
        warnings,
        timings,
        ..Summary::default()
    };
    Ok(Computed { history, ledger, tables: outcome.tables, summary })
}

/// The metrics asked for; names are known to exist.
fn selection(config: &Config) -> (Vec<&'static metrics::Metric>, Vec<crate::config::CustomMetric>) {
    let only = &config.run.only;
    let asked = |name: &str| only.is_empty() || only.iter().any(|o| o == name);
    let wanted = metrics::REGISTRY.iter().copied().filter(|m| asked(m.name));
    let wanted = wanted.filter(|metric| goals::is_asked(config, metric)).collect();
    let custom = config.metrics.iter().filter(|m| asked(&m.name)).cloned().collect();
    (wanted, custom)
}

/// The tables that are asked for and that the configuration gives no reason for.
fn unasked(config: &Config) -> impl Iterator<Item = (String, String)> {
    let only = &config.run.only;
    let unasked = goals::unasked(config).into_iter();
    let asked = unasked.filter(|(name, _)| only.is_empty() || only.iter().any(|o| o == name));
    asked.map(|(name, why)| (name.to_owned(), why))
}

/// Which tables the inputs cannot give, each with the reason.
fn would_skip(history: &History, resolved: &Resolved) -> Vec<(String, String)> {
    let config = &resolved.config;
    let own = metrics::REGISTRY.iter().filter_map(|metric| {
        if !goals::is_asked(config, metric) {
            return None;
        }
        let missing = metric.states.iter().find(|state| {
            state.absent == metrics::Absent::SkipTable && !history.present.contains(&state.relation)
        })?;
        Some((metric.name.to_owned(), missing.relation))
    });
    let custom = config.metrics.iter().filter_map(|metric| {
        let relation = Relation::EVERY.into_iter().find(|r| r.name() == metric.relation)?;
        (!history.present.contains(&relation)).then(|| (metric.name.clone(), relation))
    });
    let missing = own.chain(custom);
    let missing = missing.map(|(name, relation)| (name, relation.missing_because().to_owned()));
    let people = people(config);
    let by_people = metrics::REGISTRY.iter().filter(|metric| metric.is_about_people());
    let without_people = by_people.filter(|metric| {
        let own = resolved.tables.get(metric.name).and_then(|table| table.slices.as_ref());
        let mut slices = own.unwrap_or(&resolved.slices).iter();
        !slices.any(|slice| slice.iter().any(|d| people.contains(d)))
    });
    let reason =
        |metric: &&metrics::Metric| (metric.name.to_owned(), metrics::NO_PEOPLE.to_owned());
    let missing = missing.chain(without_people.map(reason));
    missing.chain(goals::unasked(config).into_iter().map(|(n, why)| (n.to_owned(), why))).collect()
}

fn publish(output: &Output, resolved: &Resolved, computed: &Computed) -> Result<Published, Error> {
    let Computed { history, ledger, tables, summary } = computed;
    let inputs = account::inputs(history, ledger)?;
    let format = resolved.config.run.format;
    let identity = RunIdentity {
        as_of: history.as_of,
        config_hash: resolved.hash.clone(),
        inputs: account::fingerprints(&inputs),
        version: env!("CARGO_PKG_VERSION").into(),
        selection: tables.iter().map(|t| format!("{}.{format:?}", t.name())).collect(),
    };
    let stamp = Stamp {
        run_id: identity.run_id(),
        as_of: history.as_of,
        config_hash: resolved.hash.clone(),
    };
    let mut staging = output.stage(stamp)?;
    for table in tables {
        let (name, specs) = (table.name(), table.specs());
        let heading = Heading { name, specs, schema: table.schema() };
        staging.write_rows(&heading, table.blocks(), format)?;
    }
    account::write_quarantine(&mut staging, ledger)?;
    history.check_unchanged()?;
    let account = account::account(history, ledger, inputs, summary);
    staging.publish(account, resolved.config.run.keep_runs)
}

/// Runs in a pool of the configured number of threads.
fn in_pool<T: Send>(
    resolved: &Resolved,
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    let threads = resolved.config.run.threads.unwrap_or(0);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| Error::compute("starting threads", e))?;
    pool.install(work)
}

/// The wall clock as text, for the log and the lock's message only; no number depends on it.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
#[must_use]
pub fn wall_clock() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}
