"""The HTTP routes. They translate between HTTP and the rest, and decide nothing themselves."""
