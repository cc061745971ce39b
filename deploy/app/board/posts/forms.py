"""Forms to write a post and a comment."""

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.utils.text import slugify

from board.core.forms import BootstrapForm
from board.posts import photos, uploads
from board.posts.models import TAG_CHARS_MAX, Comment, Post, Tag

TAGS_MAX = 5


class TagsField(forms.CharField):
    """Words, separated by commas or blanks."""

    def clean(self, value: Any) -> list[str]:
        text = super().clean(value)
        names = [name for name in re.split(r"[,\s]+", text.lower().replace("#", " ")) if name]
        unique = list(dict.fromkeys(names))
        if len(unique) > TAGS_MAX:
            raise ValidationError(f"At most {TAGS_MAX} tags, please.", code="too_many_tags")
        for name in unique:
            if len(name) > TAG_CHARS_MAX or not slugify(name):
                raise ValidationError(f"“{name[:40]}” cannot be a tag.", code="bad_tag")
        return unique


class PostForm(BootstrapForm, forms.ModelForm[Post]):
    """A post with its tags and photo; the version says which state the editor has seen."""

    tag_names = TagsField(label="Tags", required=False, help_text="Up to five words.")
    photo = forms.FileField(
        required=False,
        help_text="JPEG, PNG or WebP, up to 5 MB. We keep the picture, not where it was taken.",
        widget=forms.ClearableFileInput(attrs={"accept": ",".join(sorted(photos.CONTENT_TYPES))}),
    )
    # Set by the browser where it has sent the photo straight to the bucket.
    upload_token = forms.CharField(required=False, widget=forms.HiddenInput, max_length=500)
    seen_version = forms.IntegerField(required=False, widget=forms.HiddenInput, min_value=1)

    field_order = ["title", "body", "tag_names", "photo", "photo_text"]

    class Meta:
        model = Post
        fields = ["title", "body", "photo_text"]
        widgets = {"body": forms.Textarea(attrs={"rows": 7})}

    def __init__(self, *args: Any, user_id: int, **kwargs: Any) -> None:
        self.user_id = user_id
        self.encoded: photos.Encoded | None = None
        super().__init__(*args, **kwargs)
        self.fields["title"].widget.attrs["autofocus"] = True
        if self.instance.pk:
            self.initial["tag_names"] = " ".join(tag.name for tag in self.instance.tags.all())
            self.initial["seen_version"] = self.instance.version
            self.initial["photo"] = self.instance.photo or None

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        upload = data.get("photo")
        if token := data.get("upload_token"):
            with self.blame("photo"):
                self.encoded = uploads.fetch(token, self.user_id)
        elif isinstance(upload, UploadedFile) and upload.file is not None:
            with self.blame("photo"):
                self.encoded = photos.encode(upload.file, upload.size or 0)
        return data

    def blame(self, field: str) -> "Blame":
        """Turns a ValidationError inside the block into an error of that field."""
        return Blame(self, field)

    def save(self, commit: bool = True) -> Post:
        """Saves the post with photo and tags: call it inside a transaction."""
        post = super().save(commit=False)
        if self.encoded:
            post.photo = self.encoded.photo
            post.thumbnail = self.encoded.thumbnail
        elif self.cleaned_data.get("photo") is False:
            post.photo = post.thumbnail = None
        post.save()
        post.tags.set(Tag.named(self.cleaned_data["tag_names"]))
        return post


class Blame:
    """A block whose ValidationError becomes a field's."""

    def __init__(self, form: forms.BaseForm, field: str) -> None:
        self.form, self.field = form, field

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, ValidationError):
            self.form.add_error(self.field, error)
            return True
        return False


class CommentForm(BootstrapForm, forms.ModelForm[Comment]):
    """What one says to a post."""

    class Meta:
        model = Comment
        fields = ["body"]
        labels = {"body": "Your comment"}
        widgets = {"body": forms.Textarea(attrs={"rows": 3})}
