// SPDX-License-Identifier: Apache-2.0

// Calls a unary method once with a service config, and prints the code of the status that comes of it.
//
// retry HOST:PORT METHOD SERVICE_CONFIG [REQUEST_IN_BASE64]
package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

type raw struct{}

func (raw) Marshal(message interface{}) ([]byte, error) { return *message.(*[]byte), nil }

func (raw) Unmarshal(data []byte, message interface{}) error {
	*message.(*[]byte) = append([]byte{}, data...)
	return nil
}

func (raw) Name() string { return "raw" }

func main() {
	address, method, config := os.Args[1], os.Args[2], os.Args[3]
	connection, err := grpc.Dial(address, grpc.WithInsecure(), grpc.WithDefaultServiceConfig(config))
	if err != nil {
		panic(err)
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	request, answer := []byte("x"), []byte{}
	if len(os.Args) > 4 {
		if request, err = base64.StdEncoding.DecodeString(os.Args[4]); err != nil {
			panic(err)
		}
	}
	err = connection.Invoke(ctx, method, &request, &answer, grpc.ForceCodec(raw{}))
	fmt.Println(int(status.Code(err)))
}
