"""Forms to sign up and to edit one's profile."""

from django import forms
from django.contrib.auth.forms import AuthenticationForm, UserCreationForm
from django.contrib.auth.models import User

from board.accounts.models import Profile
from board.core.forms import BootstrapForm


class SignUpForm(BootstrapForm, UserCreationForm[User]):
    """Name and password, the latter twice."""

    class Meta:
        model = User
        fields = ["username"]


class LoginForm(BootstrapForm, AuthenticationForm):
    """Django's own, in Bootstrap's clothes."""


class ProfileForm(BootstrapForm, forms.ModelForm[Profile]):
    """What other people see."""

    class Meta:
        model = Profile
        fields = ["display_name", "bio"]
        widgets = {"bio": forms.Textarea(attrs={"rows": 4})}
