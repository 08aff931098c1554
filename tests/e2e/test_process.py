"""How the server behaves as a process: starting, ending, being refused, running out of room.

Source: contract 7 (process manners).
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.infra.documents.port import Insert
from services.infra.documents.sqlite import SqliteDocuments
from services.infra.sqlite.engine import open_engine
from services.infra.sqlite.file import FILE_NAME
from services.runtime.collections import EVENT_RECORDS, EXECUTIONS
from tests.e2e.crashing import STOP_SECONDS, Line, Server, eventually

WAITING = 100_000
EXIT = {"id": "exit", "type": "exit"}
