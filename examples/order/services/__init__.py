"""The services of the order example: each does what it is told and knows nothing of the flow."""
