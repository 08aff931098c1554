"""Import and export of bundles: journeys with all they refer to, moved between workspaces or kept as files.

Law: a bundle is somebody else's word. It is read whole and every fault told before the store is asked; a plan is made
by reads alone, and is the dry run's answer; what is applied goes through the use cases that an author's own requests
go through, and makes drafts only.

    reading -> planning (records, what is there) -> report
                   +-> applying -> use cases, then records

Source: pinpoint design, sections 6 (the file) and 7 (import).
"""
