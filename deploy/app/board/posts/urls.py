"""Addresses of the board."""

from django.urls import path, re_path

from board.posts import views

app_name = "posts"
urlpatterns = [
    path("", views.PostList.as_view(), name="list"),
    path("tag/<slug:slug>/", views.TagList.as_view(), name="tag"),
    re_path(
        r"^archive/(?P<year>20[0-9]{2})/(?P<month>0[1-9]|1[0-2])/$",
        views.MonthList.as_view(),
        name="month",
    ),
    path("post/<int:pk>/", views.PostDetail.as_view(), name="detail"),
    path("create/", views.PostCreate.as_view(), name="create"),
    path("update/<int:pk>/", views.PostUpdate.as_view(), name="update"),
    path("delete/<int:pk>/", views.PostDelete.as_view(), name="delete"),
    path("like/<int:pk>/", views.like, name="like"),
    path("comment/<int:pk>/", views.comment, name="comment"),
    path("comment/<int:pk>/delete/", views.delete_comment, name="delete-comment"),
    path("search/", views.search, name="search"),
    path("upload-grant/", views.upload_grant, name="upload-grant"),
]
