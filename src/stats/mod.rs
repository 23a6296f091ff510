//! Pure numerics on slices: no Polars, no I/O.
