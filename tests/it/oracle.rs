//! The same numbers by a naive fold and by DuckDB.
