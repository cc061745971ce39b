"""To compare: Django's own way of splitting reads from writes, and what it gets wrong."""
