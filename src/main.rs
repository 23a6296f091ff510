//! Parse, run, print the error chain and hint, exit code.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser;
use dealmill::cli::Cli;
use dealmill::verbs::{dispatch, session};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            // Help and version are errors to clap, too; a closed pipe is no one's fault.
            let _ = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    session::begin(&cli);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut err = std::io::stderr();
    let result = catch_unwind(AssertUnwindSafe(|| {
        dispatch(&cli, &mut out, &mut err).and_then(|()| session::written(out.flush()))
    }));
    // What is still buffered after a failure is written if it can be.
    let _ = out.flush();
    match result {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) if session::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            session::report(&error, cli.log_format, &mut err);
            ExitCode::from(error.exit_code())
        }
        Err(_) => ExitCode::from(session::EXIT_BUG),
    }
}
