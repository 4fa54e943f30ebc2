//! Pulling from a registry of our own.
