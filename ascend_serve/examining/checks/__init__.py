"""The checks: each takes facts and gives findings, and asks nothing itself."""
