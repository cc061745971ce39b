"""Visits in Django's admin."""

from django.contrib import admin

from board.insights.models import Visit


@admin.register(Visit)
class VisitAdmin(admin.ModelAdmin[Visit]):
    list_display = ["day", "post", "count"]
    list_select_related = ["post"]
    raw_id_fields = ["post"]
