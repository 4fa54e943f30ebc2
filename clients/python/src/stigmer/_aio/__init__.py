"""The client with `async`."""
