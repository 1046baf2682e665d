"""ValidationGate, and the statistics and drift checks that it runs."""
