//! What every metric of the registry keeps.
