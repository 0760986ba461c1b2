"""DSPEx, the platform's face: client, settings, dev server, worker assembly, command line and dashboard."""
