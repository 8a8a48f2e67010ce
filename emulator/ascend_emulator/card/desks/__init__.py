"""What a card does for one client, a desk per subject: each takes that subject's messages from the port."""
