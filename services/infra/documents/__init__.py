"""The document-store port and its adapters.

Law: a guarded write applies to exactly one document and is atomic and durable when acknowledged; no write is
blind and no transaction spans two documents, so every adapter can promise the same.
"""
