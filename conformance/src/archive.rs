//! Archives, well-formed and hostile.
