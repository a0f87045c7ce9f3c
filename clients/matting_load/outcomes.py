# SPDX-License-Identifier: Apache-2.0
"""How a call can end, beside the server's own reasons, statuses of gRPC and of HTTP."""

OK = "ok"
# Answers that are well-formed and empty are the server's fault, and would otherwise look fast.
EMPTY_ANSWER = "empty_answer"
MALFORMED_ANSWER = "malformed_answer"
NO_ANSWER_IN_TIME = "no_answer_in_time"
# Outcomes that come at once because nothing serves: a caller of a closed loop pauses after one.
AWAY = frozenset(("UNAVAILABLE", "BACKEND_UNAVAILABLE", "DRAINING", "ClientConnectorError", "HTTP_502", "HTTP_503"))

# Noted by the driver: an answer past its deadline, a call that was due and not sent, one that was given up at the end.
LATE = "late"
NOT_SENT = "not_sent"
UNFINISHED = "unfinished"
