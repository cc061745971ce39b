"""Bootstrap's looks for Django's forms."""

from typing import Any

from django import forms


class BootstrapForm(forms.BaseForm):
    """Gives every widget its Bootstrap class, and marks the wrong ones."""

    template_name = "forms/bootstrap.html"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            base = "form-select" if isinstance(field.widget, forms.Select) else "form-control"
            if isinstance(field.widget, forms.CheckboxInput):
                base = "form-check-input"
            field.widget.attrs["class"] = f"{field.widget.attrs.get('class', '')} {base}".strip()

    def full_clean(self) -> None:
        super().full_clean()
        for name in self.errors:
            if name in self.fields:
                attrs = self.fields[name].widget.attrs
                attrs["class"] = f"{attrs.get('class', '')} is-invalid".strip()
                attrs["aria-invalid"] = "true"
