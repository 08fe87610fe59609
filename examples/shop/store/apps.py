"""The one app of the shop."""

from django.apps import AppConfig


class StoreConfig(AppConfig):
    name = "store"
