"""Why brokers let nobody in: the driver says "unable to bootstrap" whatever it is, and tries again.

Law: only what waiting cannot mend is a refusal: a password, a mechanism, a certificate. No line has a secret in it.
"""

import ssl

from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from services.infra.log.kafka_address import KafkaAddress

_ASK_MS = 5_000


async def refusal_of(address: KafkaAddress) -> str | None:
    """What a broker has against us, asked of one after the other; None: nothing, or it does not answer."""
    if address.security == "PLAINTEXT":
        return None
    options = address.options()
    del options["bootstrap_servers"]
    for server in address.servers:
        host, _, port = server.rpartition(":")
        try:
            connection = await create_conn(host.strip("[]"), int(port), request_timeout_ms=_ASK_MS, **options)
        except (AuthenticationFailedError, SaslAuthenticationFailed):
            return f"{server} does not take the user and password"
        except (UnsupportedSaslMechanismError, IllegalSaslStateError):
            return f"{server} does not take the mechanism {address.mechanism}"
        except ssl.SSLCertVerificationError as error:
            return f"the certificate of {server} is not vouched for: {error.verify_message}"
        except ssl.SSLError as error:
            return f"no SSL with {server}: {error.reason}"
        except (KafkaError, OSError, TimeoutError):
            continue
        connection.close()
    return None
