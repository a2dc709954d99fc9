"""The whole job: find, plan, ask, receive, verify, ask again, report."""
