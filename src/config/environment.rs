//! What the environment may say. It never changes a number: only the log, colour and back-traces.

/// Whether `NO_COLOR` asks for plain output (set to anything but the empty text).
#[must_use]
pub fn colour() -> Colour {
    match read("NO_COLOR") {
        Some(value) if !value.is_empty() => Colour::Never,
        _ => Colour::OnTerminals,
    }
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Only where a person looks on.
    OnTerminals,
    /// Not at all.
    Never,
}

/// The log filter in `DEALMILL_LOG`, such as `dealmill=debug`.
#[must_use]
pub fn log_filter() -> Option<String> {
    read("DEALMILL_LOG").filter(|value| !value.is_empty())
}

/// Whether `RUST_BACKTRACE` asks for the way to an internal error.
#[must_use]
pub fn backtrace() -> Backtrace {
    match read("RUST_BACKTRACE").as_deref() {
        None | Some("" | "0") => Backtrace::Hidden,
        Some(_) => Backtrace::Shown,
    }
}

/// Whether an internal error shows the way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backtrace {
    /// One line only.
    Hidden,
    /// The whole stack.
    Shown,
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn read(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
