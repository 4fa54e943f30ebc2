"""A deep agent whose hands are stigmer's, with a model that follows a script.

Needs `pip install 'stigmer[deepagents]'`, and neither a key nor a network:

    python examples/deep_agent.py

Give `create_deep_agent` a real model and the same agent thinks for itself.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from deepagents import create_deep_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from stigmer.deepagents import StigmerSandbox


class ScriptedModel(GenericFakeChatModel):
    """Says what it is given to say, one message after the other."""

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> ScriptedModel:
        return self


def call(tool: str, **arguments: str) -> AIMessage:
    return AIMessage("", tool_calls=[{"id": f"call-{tool}", "name": tool, "args": arguments}])


def script(root: str) -> list[AIMessage]:
    return [
        call("write_file", file_path=f"{root}/greet.sh", content='echo "Hello, $1"\n'),
        call("execute", command="sh greet.sh world"),
        call("edit_file", file_path=f"{root}/greet.sh", old_string="Hello", new_string="Bye"),
        call("execute", command="sh greet.sh world"),
        AIMessage("The script says good-bye now."),
    ]


def main(mode: str) -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        StigmerSandbox(directory, mode="sandbox" if mode == "sandbox" else "local") as sandbox,
    ):
        agent = create_deep_agent(
            model=ScriptedModel(messages=iter(script(sandbox.root))),
            backend=sandbox.as_composite(),
            system_prompt=sandbox.system_prompt,
        )
        done = agent.invoke({"messages": [HumanMessage("Make the script say good-bye.")]})
        for message in done["messages"]:
            if isinstance(message, ToolMessage):
                print(f"{message.name}: {message.text.strip()}")
        print(done["messages"][-1].text)
        if sandbox.workspace.mode != "local":
            sandbox.delete()


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["local"])
