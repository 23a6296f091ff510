//! What a person sees of the written tables; recomputes nothing.
