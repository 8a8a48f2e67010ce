"""From what ATC printed to one cause and what to do: `diagnose.diagnose`. Pure (facts: ATC §2)."""
