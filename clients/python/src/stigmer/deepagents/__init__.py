"""stigmer as a backend of deepagents (`pip install stigmer[deepagents]`).

from deepagents import create_deep_agent
from stigmer.deepagents import StigmerSandbox

with StigmerSandbox("project") as sandbox:
agent = create_deep_agent(model=…, backend=sandbox, system_prompt=sandbox.system_prompt)
"""

from stigmer.deepagents._sandbox import StigmerSandbox

__all__ = ["StigmerSandbox"]
