"""Frozen values that every other room speaks in: tensors, gears, models, SoCs, recipes. No I/O here."""
