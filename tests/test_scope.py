"""metadata(...) belongs to the context that it is in: a block, a function, a generator while it runs, a task."""

import asyncio
import contextvars
import functools
import gc
import inspect
import threading

import pytest

import byteplus_trace
from byteplus_trace._scope import current_metadata


def now():
    return dict(current_metadata())


def test_a_block_says_what_calls_inside_carry():
    with byteplus_trace.metadata(user="u-7", team="search"):
        assert {"user": "u-7", "team": "search"} == now()

    assert {} == now()


def test_blocks_nest_and_the_inner_values_win():
    with byteplus_trace.metadata(user="outer", team="search"):
        with byteplus_trace.metadata(user="inner", session="s"):
            assert {"user": "inner", "team": "search", "session": "s"} == now()
        assert {"user": "outer", "team": "search"} == now()


def test_values_are_written_as_text_and_none_is_not_set():
    with byteplus_trace.metadata(user=7, beta=True, team=None):
        assert {"user": "7", "beta": "True"} == now()


def test_an_exception_leaves_the_block_as_any_end_does():
    with pytest.raises(ValueError, match="mine"), byteplus_trace.metadata(user="u"):
        raise ValueError("mine")

    assert {} == now()


def test_one_block_can_be_used_again_and_inside_itself():
    block = byteplus_trace.metadata(user="u")
    for _ in range(2):
        with block, block:
            assert {"user": "u"} == now()
        assert {} == now()


def test_one_block_can_be_used_by_many_tasks_at_once():
    block = byteplus_trace.metadata(user="u")

    async def use(first, second):
        with block:
            await asyncio.sleep(first)
            assert {"user": "u"} == now()
        await asyncio.sleep(second)
        assert {} == now()

    async def main():
        await asyncio.gather(use(0.01, 0), use(0.02, 0), use(0, 0.02))

    asyncio.run(main())


def test_one_block_can_be_used_by_many_threads_at_once():
    block = byteplus_trace.metadata(user="u")
    entered, faults = threading.Barrier(2), []

    def use():
        try:
            with block:
                entered.wait(5)
            entered.wait(5)
            assert {} == now()
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == faults


def test_a_block_left_in_another_context_raises_nothing():
    """As test frameworks do with async fixtures: entered in one context, left in another."""
    block = byteplus_trace.metadata(user="u")
    contextvars.copy_context().run(block.__enter__)

    block.__exit__(None, None, None)

    assert {} == now()


def test_tasks_do_not_see_each_others():
    seen = {}

    async def work(name):
        with byteplus_trace.metadata(user=name):
            await asyncio.sleep(0.01)
            seen[name] = now()

    async def main():
        await asyncio.gather(*[work(f"u-{number}") for number in range(5)])
        assert {} == now()

    asyncio.run(main())

    assert {name: {"user": name} for name in seen} == seen
    assert 5 == len(seen)


def test_a_task_made_in_a_block_keeps_it():
    async def child():
        await asyncio.sleep(0)
        return now()

    async def main():
        with byteplus_trace.metadata(user="u"):
            task = asyncio.create_task(child())
        return await task

    assert {"user": "u"} == asyncio.run(main())


# As a decorator.


def test_a_function():
    @byteplus_trace.metadata(user="u")
    def work(argument, *, kept):
        """What it does."""
        return argument, kept, now()

    assert (1, 2, {"user": "u"}) == work(1, kept=2)
    assert ("work", "What it does.") == (work.__name__, work.__doc__)
    assert {} == now()


def test_a_coroutine_function():
    @byteplus_trace.metadata(user="u")
    async def work():
        await asyncio.sleep(0)
        return now()

    assert inspect.iscoroutinefunction(work)
    assert {"user": "u"} == asyncio.run(work())


class Work:
    async def __call__(self):
        await asyncio.sleep(0)
        return now()


class Steps:
    def __call__(self):
        yield now()
        yield now()


def test_an_object_that_is_called_is_of_the_kind_of_its_call():
    """Frameworks ask before they call whether they are to await."""
    work = byteplus_trace.metadata(user="u")(Work())
    steps = byteplus_trace.metadata(user="u")(Steps())

    assert inspect.iscoroutinefunction(work)
    assert {"user": "u"} == asyncio.run(work())
    assert inspect.isgeneratorfunction(steps)
    assert [{"user": "u"}] * 2 == list(steps())


def test_a_class_is_called_to_make_one():
    made = byteplus_trace.metadata(user="u")(Work)()

    assert isinstance(made, Work)


def begin_work():
    return Work()()


@pytest.mark.parametrize(
    "function", [begin_work, functools.partial(Work())], ids=["a function", "a partial of an object"]
)
def test_what_returns_a_coroutine_has_it_while_that_runs(function):
    work = byteplus_trace.metadata(user="u")(function)

    async def main():
        coroutine = work()
        assert {} == now()
        return await coroutine

    assert {"user": "u"} == asyncio.run(main())


def test_what_is_returned_and_is_no_coroutine_is_handed_on():
    async def main():
        task = asyncio.create_task(Work()())
        assert task is byteplus_trace.metadata(user="u")(lambda: task)()
        await task

    asyncio.run(main())


@pytest.mark.parametrize("argument", [5, "work", None])
def test_what_cannot_be_called_cannot_be_decorated(argument):
    with pytest.raises(TypeError, match="decorates functions"):
        byteplus_trace.metadata(user="u")(argument)


def test_a_function_that_calls_itself():
    @byteplus_trace.metadata(user="u")
    def work(depth):
        return work(depth - 1) if depth else now()

    assert {"user": "u"} == work(3)
    assert {} == now()


def test_a_generator_has_it_while_it_runs_and_its_caller_has_not():
    @byteplus_trace.metadata(user="u")
    def work():
        sent = yield now()
        yield sent, now()
        return "returned"

    generator = work()
    assert {"user": "u"} == next(generator)
    assert {} == now()
    assert ("sent", {"user": "u"}) == generator.send("sent")
    assert {} == now()
    with pytest.raises(StopIteration, match="returned"):
        next(generator)
    assert inspect.isgeneratorfunction(work)


def test_a_generator_is_thrown_into_and_closed_as_ever():
    ended = []

    @byteplus_trace.metadata(user="u")
    def work():
        try:
            yield 1
        except KeyError:
            yield "caught", now()
        finally:
            ended.append(now())

    generator = work()
    next(generator)
    assert ("caught", {"user": "u"}) == generator.throw(KeyError())
    generator.close()
    assert [{"user": "u"}] == ended
    assert {} == now()


def test_a_generator_of_a_block_around_its_steps_keeps_that_too():
    @byteplus_trace.metadata(user="u")
    def work():
        yield now()
        yield now()

    generator = work()
    with byteplus_trace.metadata(team="a"):
        assert {"user": "u", "team": "a"} == next(generator)
    assert {"user": "u"} == next(generator)


def test_an_async_generator_has_it_while_it_runs_and_its_caller_has_not():
    seen = []

    @byteplus_trace.metadata(user="u")
    async def work():
        sent = yield now()
        await asyncio.sleep(0)
        yield sent, now()

    async def main():
        generator = work()
        seen.append(await anext(generator))
        assert {} == now()
        seen.append(await generator.asend("sent"))
        assert {} == now()
        await generator.aclose()

    asyncio.run(main())

    assert [{"user": "u"}, ("sent", {"user": "u"})] == seen
    assert inspect.isasyncgenfunction(work)


def test_an_async_generator_is_thrown_into_and_closed_as_ever():
    ended = []

    @byteplus_trace.metadata(user="u")
    async def work():
        try:
            yield 1
        except KeyError:
            yield "caught", now()
        finally:
            ended.append(now())

    async def main():
        generator = work()
        await anext(generator)
        assert ("caught", {"user": "u"}) == await generator.athrow(KeyError())
        await generator.aclose()

    asyncio.run(main())

    assert [{"user": "u"}] == ended


def test_an_async_generator_begun_in_one_task_and_ended_in_another():
    """As web frameworks do with streamed replies."""

    @byteplus_trace.metadata(user="u")
    async def work():
        yield now()
        yield now()

    async def main():
        generator = work()

        async def step():
            return await anext(generator)

        seen = [await asyncio.create_task(step()) for _ in range(2)]
        await asyncio.create_task(generator.aclose())
        return seen

    assert [{"user": "u"}] * 2 == asyncio.run(main())


def test_a_generator_that_is_forgotten_raises_nothing():
    @byteplus_trace.metadata(user="u")
    def work():
        yield 1

    contextvars.copy_context().run(next, generator := work())
    del generator
    gc.collect()

    assert {} == now()


def test_a_mapping_is_as_good_as_keywords():
    with byteplus_trace.metadata({"team": "a", "cost-centre": 7, "none": None}, user="u-1"):
        assert {"team": "a", "cost-centre": "7", "user": "u-1"} == dict(current_metadata())


@pytest.mark.parametrize("value", ["team", 7, [("team", "a")], print])
def test_what_is_no_mapping_is_refused_with_the_two_that_are_right(value):
    with pytest.raises(TypeError, match="metadata\\(team='search'\\)"):
        byteplus_trace.metadata(value)
