"""Addresses under /weir/."""

from django.urls import path

from board.weir import views

app_name = "weir"
urlpatterns = [
    path("", views.room, name="room"),
    path("level/", views.level, name="level"),
    path("status.json", views.status, name="status"),
    path("spread/", views.spread, name="spread"),
    path("freshness/", views.freshness, name="freshness"),
    path("node/", views.node, name="node"),
    path("peak/", views.peak, name="peak"),
]
