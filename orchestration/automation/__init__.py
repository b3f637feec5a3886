"""Jobs, schedules, sensors and alerts: when things run and who hears of a failure."""
