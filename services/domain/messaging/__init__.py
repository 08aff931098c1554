"""Rules about messages: who a message may be shown as sent to, and when a failed send is tried again.

Law: nothing here renders or sends; those are adapters' work.
"""
