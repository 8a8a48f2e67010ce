"""Models on a card: `network` computes, `graph` infers shapes and counts work, `loaded` is one load of an .om."""

from ascend_emulator.card.models.loaded import LoadedModel, Plan, store
from ascend_emulator.card.models.network import Network, Networks

__all__ = ["LoadedModel", "Network", "Networks", "Plan", "store"]
