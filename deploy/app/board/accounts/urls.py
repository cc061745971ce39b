"""Addresses under /accounts/."""

from django.contrib.auth import views as auth
from django.urls import path

from board.accounts import views
from board.accounts.forms import LoginForm

app_name = "accounts"
urlpatterns = [
    path("signup/", views.SignUp.as_view(), name="signup"),
    path(
        "login/",
        auth.LoginView.as_view(
            template_name="accounts/login.html",
            authentication_form=LoginForm,
            redirect_authenticated_user=True,
        ),
        name="login",
    ),
    path("logout/", auth.LogoutView.as_view(), name="logout"),
    path("edit/", views.EditProfile.as_view(), name="edit"),
    path("<str:username>/", views.ProfilePage.as_view(), name="profile"),
]
