"""What people run today, to compare with. Nothing here is part of the product."""
