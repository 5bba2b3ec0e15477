"""What stays up: servers, schedules, triggers."""
