"""What is known of candidates beyond what was counted: estimates, and which of them really differ."""
