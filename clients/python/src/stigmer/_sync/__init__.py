"""The client, derived from the one with `async` by scripts/derive_sync.py."""
