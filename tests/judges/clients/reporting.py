"""What the clients of the judges have in common; it runs in their environments, so it needs nothing but Python."""

import asyncio
import re
import sys
import unittest
from functools import partial, update_wrapper


def tell(checks, *given):
    """Run every check with what it is given, tell of each on stderr, and end: with status 0 if all passed."""
    suite = unittest.TestSuite(
        unittest.FunctionTestCase(update_wrapper(partial(check, *given), check)) for check in checks
    )
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    sys.exit(0 if result.testsRun and result.wasSuccessful() else 1)


def awaited(check):
    """A check out of a coroutine function; what it is given makes a client, as an asynchronous context."""

    async def run(connect):
        async with connect() as connected:
            await check(connected)

    def checked(connect):
        asyncio.run(run(connect))

    checked.__name__ = check.__name__
    return checked


def refused(words, error, call, *arguments, **options):
    """Check that a call raises an error with these words in it; the error."""
    with unittest.TestCase().assertRaisesRegex(error, re.escape(words)) as seen:  # noqa: PT027  # no pytest there
        call(*arguments, **options)
    return seen.exception


async def refused_async(words, error, awaitable):
    """Check that what is awaited raises an error with these words in it."""
    with unittest.TestCase().assertRaisesRegex(error, re.escape(words)):  # noqa: PT027  # as above
        await awaitable
