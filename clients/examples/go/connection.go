// SPDX-License-Identifier: Apache-2.0

package main

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/local"
)

const maxMessageBytes = 64 << 20

// A photo may be cut out twice without harm, so a call is tried again where the gateway was busy or away. How long to
// wait, the gateway says (grpc-retry-pushback-ms), and grpc-go obeys; the times below are for when nobody says it.
// When most calls fail, trying again makes it worse: each failure costs a token, and success gives a tenth back.
const serviceConfig = `{
  "retryThrottling": {"maxTokens": 20, "tokenRatio": 0.1},
  "methodConfig": [{
    "name": [{"service": "matting.v1.MattingService", "method": "RemoveBackground"}],
    "retryPolicy": {
      "maxAttempts": 4,
      "initialBackoff": "0.2s",
      "maxBackoff": "5s",
      "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
    }
  }]
}`

// connect returns the way to a gateway, which keeps its connection: make one and keep it.
//
// authority is a file with certificates of the authority that the gateway's own is of; without one the connection is
// plaintext, and to this machine alone.
func connect(address, authority string) (*grpc.ClientConn, error) {
	transport := local.NewCredentials()
	if authority != "" {
		var err error
		if transport, err = credentials.NewClientTLSFromFile(authority, ""); err != nil {
			return nil, err
		}
	}
	return grpc.Dial( // grpc.NewClient, from version 1.63 on
		address,
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithDefaultCallOptions(
			// 4 MiB by default, which a large cutout exceeds.
			grpc.MaxCallRecvMsgSize(maxMessageBytes),
			// Only what is kept can be sent again: by default no request over 256 KiB.
			grpc.MaxRetryRPCBufferSize(maxMessageBytes),
		),
	)
}
