//! What does not fit into memory: how much there is, what is held, and the scratch files beside it.
//!
//! It knows columns, bytes and files; not what the columns mean. Nothing here changes a number:
//! whatever is put into a [`Store`] comes out again, in the same order, whether it was held in
//! memory or written and read back.

mod budget;
mod file;
mod limit;
mod room;
mod scratch;
mod store;

pub use budget::{Budget, Held, PROGRAM_BYTES, Part, Spilling};
pub use file::{Extent, SpillFile};
pub use limit::{
    Demand, allowed_bytes, default_limit, parse_size, refuse, size_text, smallest_limit,
};
pub use room::Room;
pub use scratch::Scratch;
pub use store::{Chunk, Complete, Parts, Spillable, Store};
