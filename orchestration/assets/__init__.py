"""Thin adapters between Dagster and the code of the warehouse: one module a layer.

Belongs here: asset keys, groups, owners, dependencies, metadata. Does not belong here: anything that could be
tested without Dagster.
"""
