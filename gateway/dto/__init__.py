"""What the outside sees: one hand-made DTO per noun, filled from protos.

Law: a DTO shows, it never decides; nothing here reads a request.
"""
