"""Carries out plans, with and without `async`."""

from __future__ import annotations

from typing import Any, TypeVar

from stigmer._aio.place import AsyncPlace
from stigmer._operations import Call, Stream
from stigmer._sync.place import Place
from stigmer.deepagents._plans import Plan, Sending, Step
from stigmer.errors import StigmerError

R = TypeVar("R")


def run(plan: Plan[R], place: Place) -> R:
    """Carry out a plan."""

    def ask(step: Step) -> Any:
        if isinstance(step, Call):
            return place.call(step)
        if isinstance(step, Stream):
            return list(place.stream(step))
        if isinstance(step, Sending):
            return place.upload(step.asked, step.content)
        return b"".join(place.download(step.body))

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


async def arun(plan: Plan[R], place: AsyncPlace) -> R:
    """Carry out a plan in an event loop."""

    async def ask(step: Step) -> Any:
        if isinstance(step, Call):
            return await place.call(step)
        if isinstance(step, Stream):
            return [event async for event in place.stream(step)]
        if isinstance(step, Sending):
            return await place.upload(step.asked, step.content)
        return b"".join([piece async for piece in place.download(step.body)])

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
