// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

const domain = "matting-gateway"

// failure is what a status of the gateway says, beside its code and text: the reason, and when to come again.
type failure struct {
	status *status.Status
	// One of those in docs/errors.md; empty where the error isn't the gateway's own, such as a lost connection.
	reason     string
	retryAfter time.Duration
}

func (f *failure) Error() string {
	text := fmt.Sprintf("%s: %s", f.status.Code(), f.status.Message())
	if f.reason != "" {
		text = fmt.Sprintf("%s: %s", f.reason, f.status.Message())
	}
	if f.retryAfter > 0 {
		text += fmt.Sprintf(" (again in %s)", f.retryAfter)
	}
	return text
}

// failureOf reads the error of a call, or of one item of a stream.
func failureOf(s *status.Status) *failure {
	f := &failure{status: s}
	for _, detail := range s.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == domain {
				f.reason = detail.GetReason()
			}
		case *errdetails.RetryInfo:
			delay := detail.GetRetryDelay()
			f.retryAfter = time.Duration(delay.GetSeconds())*time.Second + time.Duration(delay.GetNanos())
		}
	}
	return f
}
