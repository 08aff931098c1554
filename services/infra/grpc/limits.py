"""What fits into one call, the same on both sides.

Law: a limit that only one side knows is a call that fails.
"""

from typing import Final

MAX_MESSAGE_BYTES: Final = 32 * 1024 * 1024
MAX_PAGE_BYTES: Final = (
    8 * 1024 * 1024
)  # of documents in a page of a list: as JSON, with faults, it may be several times that
# Answers that hold a bundle: of 20 MB of export, with what it became and what was kept of it. Only whoever asks for
# bundles takes so much; that others may send it harms nobody, since the receiving side refuses.
MAX_BUNDLE_BYTES: Final = 128 * 1024 * 1024
# A body of 1 MiB can hold thousands of faults, and all of them travel in trailing metadata (gRPC's default: 8 KiB).
MAX_METADATA_BYTES: Final = 16 * 1024 * 1024

SIZES: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_BUNDLE_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
)
