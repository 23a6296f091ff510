//! What a rule counts: rows, deals or values.

/// What a rule counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Rows of the input.
    Rows,
    /// Deals.
    Deals,
    /// Distinct values.
    Values,
}

impl Subject {
    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Deals => "deals",
            Self::Values => "values",
        }
    }

    /// What so many of them are called.
    #[must_use]
    pub fn of(self, n: u64) -> &'static str {
        let name = self.name();
        if n == 1 { name.strip_suffix('s').unwrap_or(name) } else { name }
    }

    /// Its position in [`crate::relations::findings::SUBJECTS`].
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Self::Rows => 0,
            Self::Deals => 1,
            Self::Values => 2,
        }
    }
}
