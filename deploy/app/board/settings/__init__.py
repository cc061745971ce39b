"""Settings, split by environment: choose one with DJANGO_SETTINGS_MODULE."""
