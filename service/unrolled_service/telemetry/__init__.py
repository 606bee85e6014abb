"""What is known of a call while it is served, and what is said of it in the log and in traces."""
