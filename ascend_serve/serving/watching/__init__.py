"""What a replica tells about itself: metrics, statistics, journal, traces and profiles."""
