"""Reading settings from the environment."""

import os
import secrets
from pathlib import Path


def text(name: str, default: str = "") -> str:
    """The variable's value, or `default` where it is unset or empty."""
    return os.environ.get(name, "") or default


def flag(name: str, default: bool = False) -> bool:
    """True for 1, true, yes, on; `default` where the variable is unset or empty."""
    value = os.environ.get(name, "").strip().lower()
    return value in {"1", "true", "yes", "on"} if value else default


def number(name: str, default: int) -> int:
    """The variable as an integer, or `default` where it is unset or empty."""
    value = os.environ.get(name, "").strip()
    return int(value) if value else default


def words(name: str, default: str = "") -> list[str]:
    """The variable split at commas, without blanks."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def throw_away_secret(directory: Path) -> str:
    """A random key kept in `directory`, so that all workers of one machine share it.

    For development and the demo only: production takes its key from the environment.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "secret-key"
    if not path.exists():
        draft = directory / f"secret-key.{os.getpid()}"
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(50))
        try:
            os.link(draft, path)  # fails if another worker was first: its key stands
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text()
