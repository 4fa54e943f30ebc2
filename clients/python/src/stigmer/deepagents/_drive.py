"""Carries out plans, with and without `async`."""

from __future__ import annotations

from typing import Any, TypeVar

from stigmer._aio.transport import AsyncTransport
from stigmer._operations import Call, Stream
from stigmer._sync.transport import Transport
from stigmer.deepagents._plans import Plan, Sending, Step
from stigmer.errors import StigmerError

R = TypeVar("R")


def run(plan: Plan[R], transport: Transport) -> R:
    """Carry out a plan."""

    def ask(step: Step) -> Any:
        if isinstance(step, Call):
            return transport.call(step)
        if isinstance(step, Stream):
            return list(transport.stream(step))
        if isinstance(step, Sending):
            return transport.upload(step.asked, step.content)
        return b"".join(transport.download(step.body))

    try:
        step = next(plan)
        while True:
            try:
                answer = ask(step)
            except StigmerError as error:
                step = plan.throw(error)
            else:
                step = plan.send(answer)
    except StopIteration as end:
        result: R = end.value
        return result


async def arun(plan: Plan[R], transport: AsyncTransport) -> R:
    """Carry out a plan in an event loop."""

    async def ask(step: Step) -> Any:
        if isinstance(step, Call):
            return await transport.call(step)
        if isinstance(step, Stream):
            return [event async for event in transport.stream(step)]
        if isinstance(step, Sending):
            return await transport.upload(step.asked, step.content)
        return b"".join([piece async for piece in transport.download(step.body)])

    try:
        step = next(plan)
        while True:
            try:
                answer = await ask(step)
            except StigmerError as error:
                step = plan.throw(error)
            else:
                step = plan.send(answer)
    except StopIteration as end:
        result: R = end.value
        return result
