"""What is recorded and who is told: store, alarms, outbox, pictures."""
