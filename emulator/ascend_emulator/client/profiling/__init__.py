"""What `acl.prof` does: profiles of what this process and its cards do, marks in them, and records of executions."""
