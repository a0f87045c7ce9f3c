// SPDX-License-Identifier: Apache-2.0

// Cuts subjects out of photos by a matting gateway: one photo by a call of its own, or many over one stream.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc/metadata"

	pb "example.com/matting/gen/matting/v1"
)

const usage = `usage: matting [flags] cutout PHOTO RESULT
       matting [flags] stream FOLDER PHOTO...
`

func main() {
	address := flag.String("address", "127.0.0.1:50051", "where the gateway is")
	authority := flag.String("tls-ca", "", "certificates of its authority; without them plaintext, to this machine")
	timeout := flag.Duration("timeout", 30*time.Second, "the deadline, all attempts together")
	token := flag.String("token", "", "who calls, where the gateway asks for it")
	flag.Usage = func() {
		fmt.Fprint(os.Stderr, usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	command, files := flag.Arg(0), flag.Args()
	if !(command == "cutout" && len(files) == 3 || command == "stream" && len(files) > 2) {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*address, *authority, *token, *timeout, command, files[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(address, authority, token string, timeout time.Duration, command string, files []string) error {
	connection, err := connect(address, authority)
	if err != nil {
		return err
	}
	defer connection.Close()
	client := pb.NewMattingServiceClient(connection)

	// The gateway knows the deadline, and refuses at once what it can't do in time.
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	if command == "stream" {
		return stream(ctx, client, files[0], files[1:])
	}
	return cutout(ctx, client, files[0], files[1])
}
