"""Signing up, profiles, and editing one's own."""

from typing import Any

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.forms import BaseForm
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse_lazy
from django.views.generic import CreateView, DetailView, UpdateView

from board.accounts.forms import ProfileForm, SignUpForm
from board.accounts.models import Profile
from board.core.views import RefusesPolitely
from board.posts.models import Post

POSTS_ON_PROFILE_MAX = 12


class SignUp(RefusesPolitely, CreateView[User, SignUpForm]):
    """Makes the account and logs in at once: write, redirect, read."""

    form_class = SignUpForm
    template_name = "accounts/signup.html"
    success_url = reverse_lazy("posts:list")

    def form_valid(self, form: SignUpForm) -> HttpResponse:
        with transaction.atomic():
            response = super().form_valid(form)
        assert self.object is not None
        login(self.request, self.object)
        messages.success(self.request, f"Welcome, {self.object.get_username()}!")
        return response


class ProfilePage(DetailView[Profile]):
    """A person and their latest posts."""

    template_name = "accounts/profile.html"

    def get_object(self, queryset: QuerySet[Profile] | None = None) -> Profile:
        return get_object_or_404(
            Profile.objects.select_related("user"), user__username=self.kwargs["username"]
        )

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        posts = Post.objects.filter(author=self.object.user).for_cards(self.request.user)
        return super().get_context_data(posts=posts[:POSTS_ON_PROFILE_MAX], **kwargs)


class EditProfile(LoginRequiredMixin, RefusesPolitely, UpdateView[Profile, ProfileForm]):
    """Edits the profile of whoever asks."""

    form_class = ProfileForm
    template_name = "accounts/edit.html"

    def get_object(self, queryset: QuerySet[Profile] | None = None) -> Profile:
        assert isinstance(self.request.user, User)
        profile, _ = Profile.objects.select_related("user").get_or_create(user=self.request.user)
        return profile

    def form_valid(self, form: BaseForm) -> HttpResponse:
        messages.success(self.request, "Your profile is saved.")
        return super().form_valid(form)  # type: ignore[arg-type]
