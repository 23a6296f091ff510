//! Decoders of other people's bytes may panic on damaged ones; here that becomes an answer.
//!
//! Known to panic in parquet 60.1, each found by damaged files in the tests:
//! - `ByteArrayDecoderPlain::read` divides by the number of values, which a dictionary's header may
//!   claim to be zero;
//! - `ColumnValueDecoderImpl::set_data` expects a dictionary that may not be there (refused before);
//! - `DeltaByteArrayDecoder::read` takes a negative length for a very great one;
//! - statistics of a wrong width, and lengths that do not fit, fail assertions in many places.
//!
//! What would not panic but end the process, room that cannot be had, is refused beforehand by
//! `pages.rs` and `deltas.rs`.
//!
//! A panic of our own code is not meant to pass through here: only calls into decoders are guarded.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static GUARDED: Cell<u32> = const { Cell::new(0) };
}

/// Takes the mark back also when the work panics.
struct Mark;

impl Mark {
    fn set() -> Self {
        GUARDED.with(|depth| depth.set(depth.get() + 1));
        Self
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        GUARDED.with(|depth| depth.set(depth.get().saturating_sub(1)));
    }
}

/// What the work gives, or `None` where it panicked.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    let _mark = Mark::set();
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// Whether a panic of this thread will be caught and told as a broken file; whoever prints panics
/// asks this first.
#[must_use]
pub fn is_guarded() -> bool {
    GUARDED.with(Cell::get) > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_answer_and_leaves_no_mark() {
        assert_eq!(guarded(is_guarded), Some(true));
        // Without a message on stderr: the unwinding begins without the hook.
        let broken: Option<()> = guarded(|| std::panic::resume_unwind(Box::new(())));
        assert_eq!(broken, None);
        assert!(!is_guarded());
    }
}
