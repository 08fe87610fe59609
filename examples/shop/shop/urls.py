"""The pages of the shop."""

from django.urls import path

from store import views

urlpatterns = [
    path("", views.orders, name="orders"),
    path("healthz", views.healthz, name="healthz"),
]
