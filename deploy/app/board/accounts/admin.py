"""Profiles in Django's admin."""

from django.contrib import admin

from board.accounts.models import Profile


@admin.register(Profile)
class ProfileAdmin(admin.ModelAdmin[Profile]):
    list_display = ["user", "display_name"]
    list_select_related = ["user"]
    raw_id_fields = ["user"]
