"""Every operation as a request: what is sent, and how the answer is read. No input or output."""

from stigmer._operations import files, processes, server, transfers, workspaces
from stigmer._operations.call import Call, Stream, Upload

__all__ = ["Call", "Stream", "Upload", "files", "processes", "server", "transfers", "workspaces"]
