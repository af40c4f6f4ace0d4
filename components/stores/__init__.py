"""The outside world: object storage and experiment tracking, and where everything lies in them."""
