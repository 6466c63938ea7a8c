"""Gradio in a test: it warns of its own affairs, and leaves event loops open."""

import asyncio
import gc
import warnings
from contextlib import contextmanager


@contextmanager
def importing_gradio():
    """For as long as Gradio is imported, or an application of it is at work."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        asyncio.set_event_loop(None)
        loop.close()
        with warnings.catch_warnings():  # anew, as a fixture may end under another test's filters
            warnings.simplefilter("ignore")
            gc.collect()  # loops that were left open warn now, or later
