"""Bundles to serve."""

from tests.support.bundles import bundles as bundles
from tests.support.bundles import own_bundles as own_bundles
