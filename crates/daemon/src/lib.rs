//! The daemon: the engine, served on a unix socket and on TCP.
