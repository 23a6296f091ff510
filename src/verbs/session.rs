//! What every verb shares with the terminal: the log, the panic line, the text of an error.

use std::error::Error as _;
use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, LogFormat};
use crate::config::environment::{self, Backtrace};
use crate::error::Error;
use crate::report::Colour;

/// Exit code of a bug of ours.
pub const EXIT_BUG: u8 = 70;

/// Stands for the path in errors about standard output.
const STDOUT: &str = "standard output";

/// Sets up the log on stderr and the panic line. Called once, before anything else.
pub fn begin(cli: &Cli) {
    std::panic::set_hook(Box::new(|panic| {
        // A decoder's panic on damaged bytes is told as a broken file.
        if crate::source::is_guarded() {
            return;
        }
        let message = panic.payload_as_str().unwrap_or("a panic without a message");
        let place = panic.location().map_or_else(String::new, |at| format!(" at {at}"));
        let mut err = io::stderr().lock();
        let _ = writeln!(err, "internal error: {}{place}", message.replace('\n', " "));
        if environment::backtrace() == Backtrace::Shown {
            let _ = writeln!(err, "{}", std::backtrace::Backtrace::force_capture());
        }
    }));
    let level = match (cli.quiet, cli.log_format) {
        (true, _) => "error",
        (false, LogFormat::Text) => "warn",
        (false, LogFormat::Json) => "warn,dealmill=info",
    };
    let asked = environment::log_filter().and_then(|text| EnvFilter::try_new(text).ok());
    let filter = asked.unwrap_or_else(|| EnvFilter::new(level));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A second subscriber in one process is a test's doing and no fault.
    let _ = match cli.log_format {
        LogFormat::Text => log.without_time().with_target(false).compact().try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}

/// A failure to write to standard output as an error of ours.
///
/// # Errors
/// The failure.
pub fn written(result: io::Result<()>) -> Result<(), Error> {
    result.map_err(|source| Error::output("write to", STDOUT, source))
}

/// Whether an error only says that nobody reads our output any more.
#[must_use]
pub fn is_closed_pipe(error: &Error) -> bool {
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    matches!(error, Error::Output { .. })
        && cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Writes the error chain once and its hint.
pub fn report(error: &Error, format: LogFormat, err: &mut dyn Write) {
    let chain = chain(error);
    let hint = error.hint();
    if format == LogFormat::Json {
        let exit_code = error.exit_code();
        tracing::error!(exit_code, hint = hint.unwrap_or_default(), "{chain}");
        return;
    }
    // Where stderr is closed, the exit code must do.
    let _ = writeln!(err, "error: {chain}");
    if let Some(hint) = hint {
        let _ = writeln!(err, "\nhint: {hint}");
    }
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

/// Whether text on stdout may carry colours: a person looks on and `NO_COLOR` is not set.
#[must_use]
pub fn colour() -> Colour {
    match environment::colour() {
        environment::Colour::OnTerminals if io::stdout().is_terminal() => Colour::Ansi,
        _ => Colour::Plain,
    }
}

/// Columns of the terminal on stdout; `None` where stdout is a file or a pipe.
#[must_use]
pub fn width() -> Option<usize> {
    comfy_table::Table::new().width().map(usize::from)
}

/// Shows the running step where a person looks on, and logs it.
pub struct Steps {
    bar: ProgressBar,
}

impl Steps {
    /// Draws only on a terminal, and only in the text form of the log.
    #[must_use]
    pub fn new(cli: &Cli) -> Self {
        let watched = io::stderr().is_terminal() && !cli.quiet;
        let target = match cli.log_format {
            LogFormat::Text if watched => ProgressDrawTarget::stderr(),
            _ => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        Self { bar }
    }

    /// Begins a step.
    pub fn begin(&self, step: &str) {
        tracing::info!(step, "begin");
        self.bar.set_message(step.to_owned());
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
