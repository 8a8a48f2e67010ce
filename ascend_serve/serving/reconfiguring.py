"""Takes a deployment's `user_config`, in a replica that starts and in one that serves; what it may say is in `live`.

Serve ends a replica whose `reconfigure` raises, one that serves too (`check_ready` answers `FAILED`, and the replica is
stopped: ray/serve/_private/deployment_state.py). So a wrong one is raised only while the replica starts, where the
deployment then fails and says why. Later it is logged in one line, and the replica serves on as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ascend_serve.errors import ConfigError
from ascend_serve.serving.config import AppConfig
from ascend_serve.serving.live import live_settings
from ascend_serve.serving.log import logger
from ascend_serve.serving.served_model import ServedModel


class Reconfiguring:
    """Changes the settings of a replica. Used on its event loop.

    Args:
        config: the `args`.
        names: of the models, in the order of `config.served`.
        models: in the same order.
        limit: bounds the bytes of a request's body from now on.

    Attributes:
        in_service: whether the replica has started.
    """

    def __init__(
        self,
        config: AppConfig,
        names: Sequence[str],
        models: Sequence[ServedModel],
        limit: Callable[[int], None],
    ) -> None:
        self._config = config
        self._names = names
        self._models = models
        self._limit = limit
        self._one_at_a_time = asyncio.Lock()  # Serve does not wait for one call before it makes the next
        self.in_service = False

    async def take(self, user_config: object) -> None:
        """Go by these settings from now on; what waits and what runs goes on. A wrong one changes nothing.

        Args:
            user_config: as the Serve file has it.

        Raises:
            ConfigError: it is wrong, and the replica is starting.
        """
        async with self._one_at_a_time:
            try:
                settings = live_settings(user_config, self._config, self._names)
                for model, config in zip(self._models, settings.models, strict=True):
                    model.check(config)
            except ConfigError as error:
                if not self.in_service:
                    raise
                logger.error(f"the new user_config is not taken, and the settings stay as they were: {error}")
                return
            for model, config in zip(self._models, settings.models, strict=True):
                await model.take(config)
            self._limit(settings.max_body_bytes)
            logger.info("the user_config is taken")
