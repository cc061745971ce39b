"""Addresses under /insights/."""

from django.urls import path

from board.insights import views

app_name = "insights"
urlpatterns = [
    path("", views.report, name="report"),
    path("posts.csv", views.export, name="export"),
    path("visit/<int:pk>/", views.visit, name="visit"),
]
