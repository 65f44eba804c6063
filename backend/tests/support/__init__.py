"""What the tests share: local HTTP servers, the service in this process, and waiting with a deadline."""
