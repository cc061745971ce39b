"""The board in Django's admin."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from board.posts.models import Comment, Post, Tag


class CommentInline(admin.TabularInline[Comment, Post]):
    model = Comment
    extra = 0
    raw_id_fields = ["author"]


@admin.register(Post)
class PostAdmin(admin.ModelAdmin[Post]):
    list_display = ["title", "author", "created", "version", "like_count", "comment_count"]
    list_filter = ["created", "tags"]
    list_select_related = ["author"]
    search_fields = ["title", "body"]
    raw_id_fields = ["author"]
    filter_horizontal = ["tags"]
    readonly_fields = ["version", "like_count", "comment_count", "created", "updated"]
    exclude = ["photo"]
    inlines = [CommentInline]
    date_hierarchy = "created"


@admin.register(Tag)
class TagAdmin(admin.ModelAdmin[Tag]):
    list_display = ["name", "slug"]
    prepopulated_fields = {"slug": ["name"]}
    search_fields = ["name"]


@admin.register(Comment)
class CommentAdmin(admin.ModelAdmin[Comment]):
    list_display = ["__str__", "post", "author", "created"]
    raw_id_fields = ["post", "author"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Comment]:
        return super().get_queryset(request).select_related("post", "author")
