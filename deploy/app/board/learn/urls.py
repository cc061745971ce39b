"""Addresses under /learn/."""

from django.urls import path

from board.learn import views

app_name = "learn"
urlpatterns = [
    path("", views.index, name="index"),
    path("request/", views.echo, name="echo"),
    path("race/", views.race, name="race"),
]
