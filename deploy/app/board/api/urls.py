"""Addresses under /api/."""

from django.urls import path

from board.api import views

app_name = "api"
urlpatterns = [
    path("posts/", views.Posts.as_view(), name="posts"),
    path("posts/<int:pk>/", views.OnePost.as_view(), name="post"),
]
