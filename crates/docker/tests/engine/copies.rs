//! Workspaces that the engine does not see.
