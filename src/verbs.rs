//! One function per verb: resolves its arguments, does the work, writes what it has to say.
