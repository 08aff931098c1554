"""The runtime: people, events in, executions, timers and sends.

Law: whatever touches a person goes through that person's lane, one thing after another. Decide (the planner),
commit (one guarded write per execution), then act (outbox to the log, intents to the dispatcher).
"""
